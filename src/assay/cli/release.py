"""`assay release new|sign|halt|verify|show`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import STYLE, SYMBOL, program, shell_path

if TYPE_CHECKING:
    from assay.decision import Verdict
    from assay.evidence.release import Release
    from assay.evidence.releasecheck import Checked
    from assay.evidence.roles import Roles
    from assay.ledger import KeyPlace

RELEASE_NAME = "release.intoto.jsonl"
_PATH = click.Path(path_type=Path)
_FILE = click.Path(exists=True, path_type=Path)


def _trust(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which roles come to be trusted."""
    for option in (
        click.option("--state", type=_PATH, help="Your own file: roles and epochs that you have seen; nothing older is accepted. Keep it."),
        click.option("--owner", "owners", multiple=True, metavar="KEYID", help="An owner's key id, by another channel; the first time."),
        click.option("--roles", "roles_path", required=True, type=_FILE, help="The signed roles (assay roles sign)."),
    ):
        command = option(command)
    return command


@click.group()
def command() -> None:
    """What an authority says of a target: approved by an evaluator and two approvers, for a time; or halted at once. See docs/release.md.

    \b
    Examples:
      assay release new runs/first --roles roles-1.signed.json --owner KEYID --key evaluator.pem --epoch 1
      assay release sign runs/first/release.intoto.jsonl --bundle runs/first --roles roles-1.signed.json --owner KEYID --key approver.pem
      assay release verify runs/first/release.intoto.jsonl --bundle runs/first --roles roles-1.signed.json --owner KEYID
    """


@command.command()
@click.argument("bundle", type=_FILE)
@_trust
@click.option("--key", required=True, type=KEY_PLACE, help="An evaluator's signing key.")
@click.option("--epoch", type=click.IntRange(min=1), help="Larger than that of any release of this target before; by --state unless given.")
@click.option("--days", type=click.IntRange(1, 3650), help="How long it holds; as long as the policy allows unless given.")
@click.option("--verdict", type=click.Choice(["delay", "halt"]), help="Stricter than the evidence.")
@click.option("--reason", default="", help="Why it is stricter.")
@click.option("--attach", "attached", multiple=True, type=_FILE, help="A provider's statement, a model's signature or a fingerprint.")
@click.option("--model-key", type=_FILE, help="The developer's public key (PEM), with a model's signature.")
@click.option("--out", type=_PATH, help=f"Where to write it; {RELEASE_NAME} beside BUNDLE unless given.")
def new(
    bundle: Path, roles_path: Path, owners: tuple[str, ...], state: Path | None, key: KeyPlace, epoch: int | None, days: int | None,
    verdict: str | None, reason: str, attached: tuple[Path, ...], model_key: Path | None, out: Path | None,
) -> None:  # fmt: skip
    """As an evaluator: verify BUNDLE (or the run's folder) and write the release that it carries, for approvers to sign."""
    from assay.evidence.attached import read_attachment
    from assay.evidence.release import ReleaseError, target_of, write_release
    from assay.evidence.releasemake import Stated, new_release, read_basis
    from assay.evidence.statements import subject
    from assay.ledger import load_key

    bundle, now = _bundle(bundle), _now_ms()
    roles, _ = _roles(roles_path, owners, state)
    basis, _ = read_basis(bundle, roles, now)
    if basis is None:
        raise ReleaseError("the bundle does not hold", where=str(bundle))
    epoch = epoch or _next_epoch(state, roles, target_of(subject(basis.target)))
    others = tuple(read_attachment(path, model_key) for path in attached)
    stated = Stated(epoch, now, days or 0, cast("Verdict", verdict or ""), reason, others)
    release = new_release(basis, roles, load_key(key), stated)
    out = out or bundle.with_name(RELEASE_NAME)
    write_release(release, out)
    _print(release)
    if release.terms.verdict == "approve":
        click.echo(f"\nWritten to {shell_path(out)}. Next, {roles.approver.threshold} approvers sign it:\n")
        given = f"--bundle {shell_path(bundle)} --roles {shell_path(roles_path)}"
        click.echo(f"  {program()} release sign {shell_path(out)} {given} --key APPROVER")
    else:
        click.echo(f"\nIt holds as it is. Written to {shell_path(out)}. Next, those who act on it check it:\n")
        click.echo(f"  {program()} release verify {shell_path(out)} --roles {shell_path(roles_path)}")


@command.command()
@click.argument("release", type=_FILE)
@click.option("--bundle", required=True, type=_FILE, help="The bundle that it rests on: nobody signs what they have not checked.")
@_trust
@click.option("--key", required=True, type=KEY_PLACE, help="Your signing key: an approver's, or another evaluator's.")
def sign(release: Path, bundle: Path, roles_path: Path, owners: tuple[str, ...], state: Path | None, key: KeyPlace) -> int:
    """Check RELEASE against its bundle, and add your signature. Exit code: 0 if signed, 1 if it does not hold, 2 if it cannot be read."""
    from assay.evidence.release import read_release, write_release
    from assay.evidence.releasecheck import check_release
    from assay.evidence.releasemake import sign_release
    from assay.ledger import load_key

    now = _now_ms()
    roles, seen = _roles(roles_path, owners, state)
    loaded = read_release(release)
    found = check_release(loaded, roles, now, bundle=_bundle(bundle), seen=seen, approvals=False)
    if not found.ok:
        _print_checked(found)
        click.echo("\nNot signed.")
        return 1
    signed = sign_release(loaded, roles, load_key(key), now)
    write_release(signed, release)
    _print(signed)
    approvers = signed.decision.signers(roles.counting("approver", now))
    click.echo(f"\nSigned by {len(approvers)} of {roles.approver.threshold} approvers ({', '.join(approvers) or 'nobody'}).")
    if len(approvers) < roles.approver.threshold:
        click.echo("It holds only when enough of them have signed.")
        return 0
    click.echo(f"Next, check it:\n\n  {program()} release verify {shell_path(release)} --roles {shell_path(roles_path)}")
    return 0


@command.command()
@click.argument("out", type=_PATH)
@_trust
@click.option("--target", required=True, metavar="NAME", help="The target's name.")
@click.option("--target-digest", required=True, metavar="DIGEST", help="The target's digest, as releases have it.")
@click.option("--reason", required=True, help="Why.")
@click.option("--key", required=True, type=KEY_PLACE, help="An evaluator's or an approver's signing key: one suffices to stop.")
@click.option("--epoch", type=click.IntRange(min=1), help="Larger than that of any release of this target before; by --state unless given.")
def halt(
    out: Path, roles_path: Path, owners: tuple[str, ...], state: Path | None, target: str, target_digest: str, reason: str, key: KeyPlace,
    epoch: int | None,
) -> None:  # fmt: skip
    """Halt a target at once, without a run: write to OUT a release that overrides those before it."""
    from assay.evidence.release import ReleaseError, write_release
    from assay.evidence.releasemake import Stated, new_halt
    from assay.ledger import load_key

    if out.exists():
        raise ReleaseError("there is a file already", where=str(out), fix="Choose another path.")
    roles, _ = _roles(roles_path, owners, state)
    epoch = epoch or _next_epoch(state, roles, target_digest)
    release = new_halt(target, target_digest, roles, load_key(key), Stated(epoch, _now_ms(), verdict="halt", reason=reason))
    write_release(release, out)
    _print(release)
    click.echo(f"\nWritten to {shell_path(out)}. Next, give it to everybody who acts on releases:\n")
    click.echo(f"  {program()} release verify {shell_path(out)} --roles {shell_path(roles_path)}")


@command.command()
@click.argument("release", type=_FILE)
@_trust
@click.option("--bundle", type=_FILE, help="The bundle that it rests on: everything is made again from it.")
@click.option("--target-digest", default="", metavar="DIGEST", help="The digest of what is to be served.")
@click.option("--json", "as_json", is_flag=True, help="Checks and findings as JSON.")
def verify(
    release: Path, roles_path: Path, owners: tuple[str, ...], state: Path | None, bundle: Path | None, target_digest: str, as_json: bool
) -> int:
    """Check RELEASE: whose signatures count, until when it holds, whether a newer one was seen.

    Exit code: 0 it approves, 10 delay, 20 halt, 1 it does not hold, 2 it cannot be read.
    """
    from contextlib import nullcontext

    from assay.decision.gate import EXIT_CODES
    from assay.evidence.log import lock_file
    from assay.evidence.release import read_release
    from assay.evidence.releasecheck import accepted, check_release
    from assay.evidence.roles import read_signed
    from assay.evidence.seen import write_seen

    with lock_file(state.with_name(f".{state.name}.lock")) if state else nullcontext():
        roles, seen = _roles(roles_path, owners, state)
        loaded = read_release(release)
        found = check_release(
            loaded, roles, _now_ms(), bundle=_bundle(bundle) if bundle else None, target=target_digest, seen=seen
        )
        if state is not None and seen is not None:
            signed = read_signed(roles_path)
            write_seen(state, accepted(seen, found, roles, signed) if found.ok else seen.followed(roles, signed))
    if as_json:
        _print_json(found)
    else:
        _print_checked(found)
        if found.ok:
            _print(loaded)
            click.echo("\nWhat is left to trust:")
            for words in _left(found, bundle, state):
                click.echo(f"  - {words}")
        else:
            click.echo("\nThis release does not hold: whoever acts on it halts.")
    return EXIT_CODES[found.verdict] if found.ok else 1


@command.command()
@click.argument("release", type=_FILE)
def show(release: Path) -> None:
    """What RELEASE says. Signatures are not checked."""
    from assay.evidence.release import read_release

    loaded = read_release(release)
    _print(loaded)
    for envelope in loaded.envelopes:
        keys = ", ".join(keyid[:16] for keyid, _ in envelope.signatures) or "nobody"
        click.echo(f"  {envelope.statement()['predicateType']}  signed by {keys}")


def _roles(path: Path, owners: tuple[str, ...], state: Path | None) -> tuple[Roles, Any]:
    from assay.evidence.roles import read_signed
    from assay.evidence.seen import follow, read_seen

    seen = read_seen(state) if state else None
    return follow(seen, read_signed(path), owners), seen


def _next_epoch(state: Path | None, roles: Roles, target: str) -> int:
    from assay.evidence.seen import read_seen

    if state is None:
        raise click.UsageError("give the release's --epoch, or the --state that has the one before")
    before = read_seen(state).release(roles.authority, target)
    return before.epoch + 1 if before else 1


def _bundle(path: Path) -> Path:
    from assay.api import BUNDLE_NAME

    return path / BUNDLE_NAME if path.is_dir() else path


def _print(release: Release) -> None:
    from assay.evidence.releasemake import rfc3339

    terms = release.terms
    click.echo(click.style(f"{SYMBOL[terms.verdict]}", fg=STYLE[terms.verdict]) + f"  {release.subject[0].get('name')}")
    rows = [
        ("target", f"{release.target} (known by {terms.identity})"),
        ("authority", f"{terms.authority}, roles {terms.roles_version}"),
        ("epoch", str(terms.epoch)),
        ("issued", rfc3339(terms.issued)),
        ("expires", rfc3339(terms.expires)),
        ("policy", f"{terms.policy.id} {terms.policy.version}, {terms.policy.digest}" if terms.policy else "none"),
        ("evidence", f"{terms.evidence.trials} trials, {terms.evidence.verdict}" if terms.evidence else "none: by the authority's word"),
        *([("reason", json.dumps(terms.reason, ensure_ascii=False))] if terms.reason else []),
        *([("attached", f"{len(terms.attached)} statements of others")] if terms.attached else []),
    ]
    for name, value in rows:
        click.echo(f"  {name:<10} {value}")


def _print_checked(found: Checked) -> None:
    width = max((len(c) for c, _ in found.checks), default=0)
    for check, detail in found.checks:
        click.echo(f"  ✓ {check:<{width}}  {detail}")
    for finding in found.findings:
        click.echo(click.style(f"  ✕ {finding}", fg="red"))


def _print_json(found: Checked) -> None:
    value = {
        "ok": found.ok,
        "verdict": found.verdict,
        "checks": [{"check": c, "detail": d} for c, d in found.checks],
        "findings": [{"check": f.check, "what": f.what} for f in found.findings],
        "evaluators": found.evaluators,
        "approvers": found.approvers,
        "release": found.release.terms.to_json(),
        "target": found.release.target,
    }
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _left(found: Checked, bundle: Path | None, state: Path | None) -> list[str]:
    left = [*found.rests_on, "that the owners' keys are theirs, and that evaluator and approvers do not act as one"]
    if bundle is None and found.release.terms.evidence is not None:
        left.append("that approvers have checked the bundle (give it with --bundle to check it yourself)")
    if state is None:
        left.append("that no newer release of this target is there (with --state an older one than you have seen is refused)")
    if found.release.terms.identity != "weights":
        left.append("that what is served is what was tested: no digest of its weights is known")
    return left


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
