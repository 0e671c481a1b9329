"""`assay policy list|show|check|diff|sign|verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import program, shell_path
from assay.plan.policy import Policy, PolicyError, policy_names, policy_path, read_bounded, read_policy

if TYPE_CHECKING:
    from assay.ledger import KeyPlace
    from assay.plan import Plan

COLOUR = {"weaker": "red", "stronger": "green", "neither": None}
ID_HELP = "Key id (or its first 16 characters or more) that must have signed it."


@click.group()
def command() -> None:
    """Policies: the least that a plan must ask for. docs/policy.md describes the file.

    \b
    Examples:
      assay policy list
      assay policy check my-plan.yaml --policy consumer-chat
      assay policy diff old.yaml new.yaml
    """


@command.command("list")
def list_() -> None:
    """The policies to start from."""
    for name in policy_names():
        policy = read_policy(name)
        reviewed = f"reviewed by {len(policy.reviewed_by)}" if policy.reviewed_by else "reviewed by nobody yet"
        click.echo(f"{name:<24} {policy.version:<7} {reviewed:<24} {_first(policy.about)}")
    click.echo(f"\nNext, look at one: {program()} policy show {policy_names()[0]}")


@command.command()
@click.argument("policy")
@click.option("--yaml", "as_yaml", is_flag=True, help="The file itself, to start your own from.")
@click.option("--json", "as_json", is_flag=True, help="Every field, defaults included, as it is digested and signed.")
@click.option("--key-id", default="", help=ID_HELP)
def show(policy: str, as_yaml: bool, as_json: bool, key_id: str) -> None:
    """What POLICY (a name, a file or a signed file) asks for."""
    from assay.plan.policy_file import load_policy

    loaded = load_policy(policy, key_id)
    if as_yaml:
        click.echo(read_bounded(policy_path(policy)), nl=False)
    elif as_json:
        click.echo(json.dumps(loaded.to_json(), ensure_ascii=False, indent=2))
    else:
        for line in _words(loaded):
            click.echo(line)


@command.command()
@click.argument("plan")
@click.option("--policy", "name", required=True, help="A starting policy's name, a file, or a signed file.")
@click.option("--key-id", default="", help=ID_HELP)
@click.option("--json", "as_json", is_flag=True, help="The shortfalls as JSON.")
def check(plan: str, name: str, key_id: str, as_json: bool) -> int:
    """Where PLAN (a file, a built-in name, or a run, for the plan that it registered) asks for less than the policy.

    Exit code: 0 if it asks for all of it, 1 if not, 2 if either cannot be read.
    """
    from assay.plan.policy_check import check_policy
    from assay.plan.policy_file import load_policy

    policy = load_policy(name, key_id)
    loaded = _plan(plan)
    found = check_policy(policy, loaded)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "ok": not found,
                    "policy": {"id": policy.id, "version": policy.version, "digest": policy.digest},
                    "plan": {"name": loaded.name, "digest": loaded.digest},
                    "shortfalls": [{"field": s.field, "what": s.what} for s in found],
                },
                ensure_ascii=False,
                indent=2,
            )
        )
        return 1 if found else 0
    for shortfall in found:
        click.echo(click.style("  ✕ ", fg="red") + str(shortfall))
    title = f"{policy.id} {policy.version} ({policy.digest[:19]}...)"
    if found:
        click.echo(f"\n{plan} asks for less than {title}: {len(found)} shortfall(s).")
        return 1
    click.echo(f"{plan} asks for all that {title} does. A decision under it holds for {policy.decision_days} days.")
    if not policy.reviewed_by:
        click.echo("Nobody has reviewed this policy yet.")
    return 0


@command.command("diff")
@click.argument("old")
@click.argument("new")
@click.option("--json", "as_json", is_flag=True, help="The changes as JSON.")
@click.option("--old-key-id", default="", help="The same for OLD, if it is signed.")
@click.option("--key-id", default="", help=f"{ID_HELP} Of NEW, if it is signed.")
def diff_(old: str, new: str, as_json: bool, old_key_id: str, key_id: str) -> int:
    """What became weaker, stronger or merely other from OLD to NEW. Exit code 1 if anything became weaker."""
    from assay.plan.policy_diff import diff
    from assay.plan.policy_file import load_policy

    changes = diff(load_policy(old, old_key_id, "--old-key-id"), load_policy(new, key_id))
    weaker = sum(c.direction == "weaker" for c in changes)
    if as_json:
        rows = [{"field": c.field, "direction": c.direction, "what": c.what} for c in changes]
        click.echo(json.dumps({"weaker": weaker, "changes": rows}, ensure_ascii=False, indent=2))
        return 1 if weaker else 0
    for change in changes:
        click.echo(f"  {click.style(f'{change.direction:<8}', fg=COLOUR[change.direction])}  {change.field}: {change.what}")
    click.echo(("\n" if changes else "") + (f"{weaker} became weaker." if weaker else "Nothing became weaker."))
    return 1 if weaker else 0


@command.command()
@click.argument("policy")
@click.option("--key", type=KEY_PLACE, help="The signing key (PEM or PKCS#11 URI); the one that signs runs unless given.")
@click.option("--out", type=click.Path(path_type=Path), help="Where to write it; POLICY-VERSION.signed.json unless given.")
def sign(policy: str, key: KeyPlace | None, out: Path | None) -> None:
    """Sign POLICY, which somebody must have reviewed."""
    from assay import api
    from assay.ledger import load_or_create_key
    from assay.plan.policy_file import sign_policy

    loaded = read_policy(policy)
    private = load_or_create_key(key or api.default_key_path())
    text = json.dumps(sign_policy(loaded, private), ensure_ascii=False, indent=2) + "\n"
    path = out or Path(f"{loaded.id}-{loaded.version}.signed.json")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise PolicyError(
            "there is a file already", where=str(path), fix="A signed policy is not overwritten: raise its version."
        ) from None
    except OSError as e:
        raise PolicyError(f"cannot write the signed policy: {e.strerror}", where=str(path)) from None
    click.echo(f"{loaded.id} {loaded.version}, {loaded.digest}\nSigned by key {private.public.keyid}: {shell_path(path)}")
    click.echo(f"\nTell the key's id by another channel. To check it:\n\n  {program()} policy verify {shell_path(path)} --key-id KEYID")


@command.command()
@click.argument("signed")
@click.option("--key-id", required=True, help=ID_HELP)
def verify(signed: str, key_id: str) -> int:
    """Check the signature of SIGNED. Exit code: 0 if it holds and is that key's, 1 if not, 2 if the file cannot be read."""
    from assay.plan.policy_file import UnsignedError, load_policy

    try:
        policy = load_policy(signed, key_id)
    except UnsignedError as e:
        click.echo(click.style("  ✕ ", fg="red") + e.what)
        return 1
    click.echo(f"The signature holds: {policy.id} {policy.version}, {policy.digest}")
    click.echo(f"Reviewed, by its own word, by {', '.join(policy.reviewed_by) or 'nobody'}.")
    return 0


def _plan(name: str) -> Plan:
    from assay.plan import read_plan
    from assay.runs import is_run, read_run

    path = Path(name)
    if is_run(path):
        with read_run(path) as run:
            return run.opening().plan
    return read_plan(name)[0]


def _first(text: str) -> str:
    return text.strip().split(". ")[0].rstrip(".") + "."


def _words(policy: Policy) -> list[str]:
    from assay.plan.policy_check import asked, percent

    out = [f"{policy.id} {policy.version}, {policy.digest}", policy.about.strip(), ""]
    out.append(f"Reviewed by {', '.join(policy.reviewed_by) or 'nobody yet'}. A decision under it holds for {policy.decision_days} days.")
    out.append("\nA plan must have at least")
    for m in policy.requirements:
        reference = m.reference or m.each
        out.append(f"  {m.id}: {m.kind} at most {percent(m.at_most)}{asked(m.kind, reference)}")
        out.append(f"      hazards    {', '.join(policy.chosen(m))}")
        out.append(f"      languages  {', '.join(m.languages)}")
        out += [f"      attacks    {', '.join(m.attacks)}"] if m.attacks else []
    out.append(f"  errors: approve at most {percent(policy.errors.approve)}, halt at most {percent(policy.errors.halt)}")
    given = {arm: getattr(policy.exploration, arm) for arm in policy.exploration.__struct_fields__}
    if any(given.values()):
        out.append("  exploration: " + ", ".join(f"{n} trials of each {arm} stream" for arm, n in given.items() if n))
    out.append(f"  answers of {policy.answer_tokens} tokens")
    out += ["  fresh items, no bank"] * policy.fresh_items + ["  a sealed seed"] * policy.sealed_seed
    if policy.drift:
        out.append(f"  drift: {policy.drift.anchors} anchors, every {policy.drift.every:,} calls, level {percent(policy.drift.level)}")
    if j := policy.judges:
        calibrated = f", calibrated on {max(1, j.labelled)} labelled violations each" if j.calibrated else ""
        severe = ", the most severe counts" if j.most_severe else ""
        out.append(
            f"  judges: {j.panel} in the panel{severe}{calibrated}; {j.people} people a label, {percent(j.audit)} of answers audited"
        )
    if w := policy.worlds:
        local = ", all in the request's language" if w.local else ""
        out.append(f"  worlds: {len(policy.chosen(w))} hazards, {w.steps} steps, {w.calls} calls{local}")
    if a := policy.attacker:
        out.append(f"  attacker: {a.calls} calls an item, answers of {a.max_tokens} tokens")
    return out
