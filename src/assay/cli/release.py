"""`assay release new|sign|halt|verify|show`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import STYLE, SYMBOL, plain, program, shell_path

if TYPE_CHECKING:
    from assay.decision import Verdict
    from assay.evidence.release import Release
    from assay.evidence.releasecheck import Checked
    from assay.evidence.roles import Roles
    from assay.ledger import KeyPlace

RELEASE_NAME = "release.intoto.jsonl"
_PATH = click.Path(path_type=Path)
_FILE = click.Path(exists=True, path_type=Path)
_POLICY_HELP = "The digest of the policy that you agreed on: an approval under another does not hold."


def _trust(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options by which roles come to be trusted."""
    for option in (
        click.option("--state", type=_PATH, help="Your own file of what `verify` has seen; nothing older is accepted."),
        click.option("--owner", "owners", multiple=True, metavar="KEYID", help="An owner who must have signed the roles; the first time."),
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
@click.option("--days", type=click.IntRange(1, 3650), help="How long it holds; as long as the policy allows unless given, else 30.")
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
    from assay.evidence import BundleRun
    from assay.evidence.attached import read_attachment
    from assay.evidence.beside import hold_beside
    from assay.evidence.release import ReleaseError, target_of, write_release
    from assay.evidence.releasemake import Stated, new_release, read_basis
    from assay.evidence.statements import subject
    from assay.ledger import load_key

    bundle, now = _bundle(bundle), _now_ms()
    out = out or bundle.with_name(RELEASE_NAME)
    if out.exists():
        raise ReleaseError("there is a file already, perhaps with approvals", where=str(out), fix="Choose another path: --out")
    roles, seen = _roles(roles_path, owners, state, now)
    if epoch is None and seen is None:
        raise click.UsageError("give the release's --epoch, or the --state that has the one before")
    basis, _ = read_basis(bundle, roles, now)
    if basis is None:
        raise ReleaseError("the bundle does not hold", where=str(bundle))
    hold_beside(BundleRun.read(bundle), basis.ref.merkle_root)
    if epoch is None:
        before = seen.release(roles.authority, target_of(subject(basis.target)))
        epoch = before.epoch + 1 if before else 1
    others = tuple(read_attachment(path, model_key) for path in attached)
    stated = Stated(epoch, now, days or 0, cast("Verdict", verdict or ""), reason, others)
    release = new_release(basis, roles, load_key(key), stated)
    write_release(release, out)
    _print(release, basis.target)
    given = f"--roles {shell_path(roles_path)}{_trusted(owners, state)}"
    if release.terms.verdict == "approve":
        more = roles.evaluator.threshold - 1
        first = f"{more} more evaluator(s), then " if more else ""
        click.echo(f"\nWritten to {shell_path(out)}. Next, {first}{roles.approver.threshold} approvers sign it:\n")
        click.echo(f"  {program()} release sign {shell_path(out)} --bundle {shell_path(bundle)} {given} --key APPROVER")
    else:
        enough = roles.evaluator.threshold == 1
        who = "It holds as it is" if enough else f"It holds once {roles.evaluator.threshold} evaluators have signed it (release sign)"
        click.echo(f"\n{who}. Written to {shell_path(out)}. Next, those who act on it check it:\n")
        click.echo(f"  {program()} release verify {shell_path(out)} --bundle {shell_path(bundle)} {given}")


@command.command()
@click.argument("release", type=_FILE)
@click.option("--bundle", required=True, type=_FILE, help="The bundle that it rests on: nobody signs what they have not checked.")
@_trust
@click.option("--key", required=True, type=KEY_PLACE, help="Your signing key: an approver's, or another evaluator's.")
@click.option("--policy-digest", default="", metavar="DIGEST", help=_POLICY_HELP)
def sign(
    release: Path, bundle: Path, roles_path: Path, owners: tuple[str, ...], state: Path | None, key: KeyPlace, policy_digest: str
) -> int:
    """Check RELEASE against its bundle, and add your signature. Exit code: 0 if signed, 1 if it does not hold, 2 if it cannot be read."""
    from assay.evidence.release import VERIFICATION_SUMMARY, read_release, write_release
    from assay.evidence.releasecheck import check_release
    from assay.evidence.releasemake import sign_release
    from assay.ledger import load_key

    now, bundle = _now_ms(), _bundle(bundle)
    roles, seen = _roles(roles_path, owners, state, now)
    loaded = read_release(release)
    found = check_release(loaded, roles, now, bundle=bundle, policy=policy_digest, seen=seen, approvals=False)
    if not found.ok:
        _print_checked(found)
        click.echo("\nNot signed.")
        return 1
    signed = sign_release(loaded, roles, load_key(key), now)
    write_release(signed, release)
    _print(signed, _record(bundle))
    _print_left(found, bundle, state, policy_digest)
    given = f"--roles {shell_path(roles_path)}{_trusted(owners, state)}"
    approvers = signed.decision.signers(roles.counting("approver", now))
    if signed.terms.verdict == "approve":
        click.echo(f"\nSigned by {len(approvers)} of {roles.approver.threshold} approvers ({', '.join(approvers) or 'nobody'}).")
        if len(approvers) < roles.approver.threshold:
            click.echo("It holds only when enough of them have signed. Next, another approver signs it:\n")
            click.echo(f"  {program()} release sign {shell_path(release)} --bundle {shell_path(bundle)} {given} --key ANOTHER")
            return 0
        summary = signed.of(VERIFICATION_SUMMARY)
        on_summary = summary[0].signers(roles.counting("approver", now)) if summary else []
        click.echo("No signature that it needs is missing.")
        if lacking := [name for name in approvers if name not in on_summary]:
            who = f"{', '.join(lacking)} {'has' if len(lacking) == 1 else 'have'}"
            click.echo(f"The summary that others' admission rules may read {who} not signed; they may once more, if such rules ask for it.")
    click.echo(f"Next, check it:\n\n  {program()} release verify {shell_path(release)} --bundle {shell_path(bundle)} {given}")
    return 0


@command.command()
@click.argument("out", type=_PATH)
@_trust
@click.option("--target", required=True, metavar="NAME", help="The target's name.")
@click.option("--target-digest", required=True, metavar="DIGEST", help="The target's digest, as releases have it.")
@click.option("--reason", required=True, help="Why.")
@click.option("--key", required=True, type=KEY_PLACE, help="An evaluator's or an approver's signing key: one suffices to stop.")
@click.option("--epoch", type=click.IntRange(min=1), help="That of the newest release of this target, or larger; by --state unless given.")
def halt(
    out: Path, roles_path: Path, owners: tuple[str, ...], state: Path | None, target: str, target_digest: str, reason: str, key: KeyPlace,
    epoch: int | None,
) -> None:  # fmt: skip
    """Halt a target at once, without a run: write to OUT a release that overrides those before it."""
    from assay.evidence.release import MAX_EPOCH, ReleaseError, write_release
    from assay.evidence.releasemake import Stated, new_halt
    from assay.ledger import load_key

    if out.exists():
        raise ReleaseError("there is a file already", where=str(out), fix="Choose another path.")
    now = _now_ms()
    roles, seen = _roles(roles_path, owners, state, now)
    before = seen.release(roles.authority, target_digest) if seen else None
    if epoch is None and before is not None:
        epoch = min(before.epoch + 1, MAX_EPOCH)
    if epoch is None:
        raise click.UsageError(
            "no release of this target was seen, so the one to stop may have any epoch: give --epoch, that of the newest release or larger "
            f"(assay release show RELEASE prints it; {MAX_EPOCH} stops whatever there is, and nothing can be approved after it)"
        )
    release = new_halt(target, target_digest, roles, load_key(key), Stated(epoch, now, verdict="halt", reason=reason))
    write_release(release, out)
    _print(release)
    click.echo(f"\nWritten to {shell_path(out)}. It stops every release of {target_digest} up to epoch {epoch}.")
    click.echo("If a newer one may be there, halt again with a larger --epoch. Next, give it to everybody who acts on releases:\n")
    click.echo(f"  {program()} release verify {shell_path(out)} --roles {shell_path(roles_path)}{_trusted(owners, state)}")


@command.command()
@click.argument("release", type=_FILE)
@_trust
@click.option("--bundle", type=_FILE, help="The bundle that it rests on: everything is made again from it.")
@click.option("--target-digest", default="", metavar="DIGEST", help="The digest of what is to be served: sha256:... of its weights.")
@click.option("--policy-digest", default="", metavar="DIGEST", help=_POLICY_HELP)
@click.option("--json", "as_json", is_flag=True, help="Checks and findings as JSON.")
def verify(
    release: Path, roles_path: Path, owners: tuple[str, ...], state: Path | None, bundle: Path | None, target_digest: str,
    policy_digest: str, as_json: bool,
) -> int:  # fmt: skip
    """Check RELEASE: whose signatures count, until when it holds, whether a newer one was seen.

    Exit code: 0 it approves, 10 delay, 20 halt, 1 it does not hold, 2 it cannot be read.
    """
    from contextlib import nullcontext

    from assay.decision.gate import EXIT_CODES
    from assay.evidence.release import read_release
    from assay.evidence.releasecheck import accepted, check_release
    from assay.evidence.roles import read_signed
    from assay.evidence.seen import follow, lock_seen, read_seen, write_seen

    now, about = _now_ms(), _bundle(bundle) if bundle else None
    with lock_seen(state) if state else nullcontext():
        signed, seen = read_signed(roles_path), read_seen(state) if state else None
        roles, loaded = follow(seen, signed, owners, now_ms=now), read_release(release)
        found = check_release(loaded, roles, now, bundle=about, target=target_digest, policy=policy_digest, seen=seen)
        if state is not None and seen is not None:
            write_seen(state, accepted(seen, found, roles, signed) if found.ok else seen.followed(roles, signed))
    if as_json:
        _print_json(found)
    else:
        _print_checked(found)
        if found.ok:
            _print(loaded, _record(about))
            _print_left(found, bundle, state, policy_digest)
        else:
            click.echo("\nThis release does not hold: whoever acts on it halts.")
    return EXIT_CODES[found.verdict] if found.ok else 1


@command.command()
@click.argument("release", type=_FILE)
@click.option("--digest", is_flag=True, help="Only the target's digest.")
def show(release: Path, digest: bool) -> None:
    """What RELEASE says. Signatures are not checked."""
    from assay.evidence.release import read_release

    loaded = read_release(release)
    if digest:
        click.echo(loaded.target)
        return
    _print(loaded)
    for envelope in loaded.envelopes:
        keys = ", ".join(plain(keyid[:16]) for keyid, _ in envelope.signatures) or "nobody"
        click.echo(f"  {plain(envelope.statement()['predicateType'])}  signed by {keys}")
    click.echo("\nSignatures were not checked. Next, check them:\n")
    click.echo(f"  {program()} release verify {shell_path(release)} --roles ROLES --owner KEYID")


def _roles(path: Path, owners: tuple[str, ...], state: Path | None, now_ms: int) -> tuple[Roles, Any]:
    from assay.evidence.roles import read_signed
    from assay.evidence.seen import follow, read_seen

    seen = read_seen(state) if state else None
    return follow(seen, read_signed(path), owners, now_ms=now_ms), seen


def _trusted(owners: tuple[str, ...], state: Path | None) -> str:
    """The options by which the next command comes to trust the same roles."""
    return "".join(f" --owner {owner}" for owner in owners) + (f" --state {shell_path(state)}" if state else "")


def _bundle(path: Path) -> Path:
    from assay.api import BUNDLE_NAME

    return path / BUNDLE_NAME if path.is_dir() else path


def _record(bundle: Path | None) -> dict[str, str] | None:
    """What a bundle that was checked says of its target."""
    from assay.evidence import BundleRun

    return BundleRun.read(bundle).opening().target if bundle else None


def _print(release: Release, target: dict[str, str] | None = None) -> None:
    """`target` is its record, where a bundle has it; a release by itself has the name alone."""
    from assay.evidence.releasemake import rfc3339
    from assay.plan.title import title_of

    terms, policy = release.terms, release.terms.policy
    name = release.subject[0]["name"]
    title = title_of({**target, "model": name}) if target else name
    click.echo(click.style(f"{SYMBOL[terms.verdict]}", fg=STYLE[terms.verdict]) + f"  {plain(title)}")
    rows = [
        ("target", f"{release.target} (known by {terms.identity})"),
        ("authority", f"{terms.authority}, roles {terms.roles_version}"),
        ("epoch", str(terms.epoch)),
        ("issued", rfc3339(terms.issued)),
        ("expires", rfc3339(terms.expires)),
        ("policy", f"{policy.id} {policy.version}, {policy.digest}" if policy else "none"),
        ("evidence", f"{terms.evidence.trials} trials, {terms.evidence.verdict}" if terms.evidence else "none: by the authority's word"),
        *([("reason", json.dumps(terms.reason, ensure_ascii=False))] if terms.reason else []),
        *([("attached", f"{len(terms.attached)} statements of others")] if terms.attached else []),
    ]
    for name, value in rows:
        click.echo(f"  {name:<10} {plain(value)}")


def _print_checked(found: Checked) -> None:
    width = max((len(c) for c, _ in found.checks), default=0)
    for check, detail in found.checks:
        click.echo(f"  ✓ {check:<{width}}  {plain(detail)}")
    for finding in found.findings:
        click.echo(click.style(f"  ✕ {plain(str(finding))}", fg="red"))


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
        "restsOn": found.rests_on,
    }
    click.echo(json.dumps(value, indent=2))


def _print_left(found: Checked, bundle: Path | None, state: Path | None, policy_digest: str) -> None:
    click.echo("\nWhat is left to trust:")
    for words in _left(found, bundle, state, policy_digest):
        click.echo(f"  - {plain(words)}")


def _left(found: Checked, bundle: Path | None, state: Path | None, policy_digest: str) -> list[str]:
    terms = found.release.terms
    left = [*found.rests_on, "that the owners' keys are theirs, and that evaluator and approvers do not act as one"]
    if bundle is None and terms.evidence is not None:
        left.append("that approvers have checked the bundle (give it with --bundle to check it yourself)")
    if bundle is None and terms.attached:
        left.append("that the keys in what is attached are the provider's and the developer's (--bundle names them)")
    if terms.verdict == "approve" and terms.policy is not None and not policy_digest:
        left.append(f"that {terms.policy.id} {terms.policy.version} is the policy that was agreed on (--policy-digest holds it to that)")
    if state is None:
        left.append("that no newer release of this target is there (with --state an older one than you have seen is refused)")
    if terms.identity != "weights":
        left.append("that what is served is what was tested: no digest of its weights is known")
    return left


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
