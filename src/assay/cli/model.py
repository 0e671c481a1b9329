"""`assay model list|fetch|add|serve|key|sign|verify|statement|fingerprint|compare`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from assay.cli.fingerprint import compare, fingerprint
from assay.cli.keyplace import KEY_PLACE
from assay.cli.modelserve import serve
from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from assay.evidence import Finding
    from assay.ledger import KeyPlace

PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Which model it is: embedded models, signed weights, providers' statements, fingerprints.

    \b
    Examples:
      assay model list
      assay model serve --key-file local.key
      assay model key developer.pem
      assay model sign weights --key developer.pem --signature model.sig
      assay model verify weights --signature model.sig --public-key developer.pub.pem
      assay model statement --model my-model --endpoint https://models.example.org/v1 --version 2026-11 --days 90 --out statement.json
      assay model fingerprint --target http://127.0.0.1:8080/v1#my-model --out approved.json
      assay model compare approved.json now.json
    """


@command.command("list")
def list_() -> None:
    """Every embedded model, and whether it is here."""
    from assay.targets import models

    for m in models.MODELS.values():
        here = "here" if models.weights_path(m).is_file() else "not fetched"
        click.echo(f"{m.name:<30} {m.size / 1e6:>5.0f} MB  {m.license}  {here:<11}  {m.note}")


@command.command()
@click.argument("name", default="")
def fetch(name: str) -> None:
    """Fetch a model's weights into the cache and check their digest."""
    from assay.targets import models

    path = models.weights(name or models.DEFAULT, lambda line: click.echo(line, err=True))
    click.echo(str(path))


@command.command()
@click.argument("path", type=PATH)
def add(path: Path) -> None:
    """Take a GGUF file that you have into the cache, if its digest is a known model's."""
    from assay.targets import models

    m = models.add_weights(path)
    click.echo(f"{m.name} is ready: {program()} run --target embedded:{m.name}")


@command.command()
@click.argument("path", type=PATH)
def key(path: Path) -> None:
    """Make a key to sign weights with (ECDSA, P-256) at PATH, and its public half beside it.

    The keys that sign runs are Ed25519 (assay key); OpenSSF Model Signing takes ECDSA only.
    """
    from assay.evidence.weights import new_key

    public = new_key(path)
    click.echo(f"{shell_path(path)}: keep it to yourself\n{shell_path(public)}: give it to others\n\nNext, sign the weights:\n")
    click.echo(f"  {program()} model sign WEIGHTS --key {shell_path(path)} --signature model.sig")


@command.command()
@click.argument("weights", type=PATH)
@click.option("--key", "key_path", required=True, type=PATH, help="Private key (PEM, ECDSA); one with a passphrase as in: assay key.")
@click.option("--signature", required=True, type=PATH, help="The signature's file.")
def sign(weights: Path, key_path: Path, signature: Path) -> None:
    """Sign WEIGHTS, a file or a folder, as OpenSSF Model Signing v1.0 has it. Needs the extra `weights`."""
    from assay.evidence.weights import sign_weights

    manifest = sign_weights(weights, key_path, signature)
    files = "1 file" if len(manifest.files) == 1 else f"{len(manifest.files)} files"
    click.echo(f"{shell_path(signature)}: {files} of '{plain(manifest.name)}', {manifest.root} over all, key {manifest.key[:16]}...")
    click.echo("\nNext, check it as the other party would:\n")
    click.echo(f"  {program()} model verify {shell_path(weights)} --signature {shell_path(signature)} --public-key PUBLIC.pem")


@command.command()
@click.argument("weights", type=PATH)
@click.option("--signature", required=True, type=PATH, help="The signature's file.")
@click.option("--public-key", required=True, type=PATH, help="The developer's public key (PEM, ECDSA), got by a channel that you trust.")
@click.option("--digest", default="", metavar="SHA256", help="A target's digest (sha256:...), which must be among those signed.")
@click.option("--json", "as_json", is_flag=True, help="Findings and digests as JSON.")
def verify(weights: Path, signature: Path, public_key: Path, digest: str, as_json: bool) -> int:
    """Check an OpenSSF Model Signing signature over WEIGHTS, a file or a folder, and say which SHA-256 each file has.

    Exit code: 0 if all of it holds, 1 if anything does not (a file changed, added, removed; another key; another digest), 2 if something
    cannot be read. Needs the extra `weights`.
    """
    from assay.evidence import Finding
    from assay.evidence.weights import verify_weights
    from assay.targets.models import MODELS

    found = verify_weights(weights, signature, public_key)
    findings = list(found.findings)
    if digest and found.manifest and not findings and not found.manifest.holds(digest) and digest not in found.files.values():
        findings.append(Finding("target", shell_path(weights), f"{digest} is none of the digests that were signed"))
    known = {m.digest: f"embedded:{m.name}" for m in MODELS.values()}
    if as_json:
        facts = {
            "ok": not findings,
            "findings": _as_json(findings),
            "key": found.manifest.key if found.manifest else None,
            "model": found.manifest.name if found.manifest else None,
            "root": found.manifest.root if found.manifest else None,
            "files": found.files,
            "uncovered": list(found.uncovered),
            "targets": sorted(known[d] for d in found.files.values() if d in known),
        }
        click.echo(json.dumps(facts, ensure_ascii=False, indent=2))
        return 1 if findings else 0
    for finding in findings:
        click.echo(click.style(f"  ✕ {plain(str(finding))}", fg="red"))
    if findings or found.manifest is None:
        click.echo(f"\nThis signature does not hold: {len(findings)} finding(s).")
        return 1
    click.echo(f"  ✓ signed by the key {found.manifest.key}")
    for name, sha in found.files.items():
        shown = f"{sha}  {plain(found.manifest.name if name == '.' else name)}"
        click.echo(f"  ✓ {shown}" + (f"  ({known[sha]})" if sha in known else ""))
    click.echo(f"  ✓ {found.manifest.root}  over all of them" + (f"\n  ✓ the target's {digest} is signed" if digest else ""))
    if found.uncovered:
        click.echo(f"\nNot covered, as the signer chose: {plain(', '.join(found.uncovered))}")
    click.echo("\nThe weights are those that the key's holder signed. That the key is the developer's, compare by another channel.")
    return 0


@command.command()
@click.option("--check", type=PATH, help="Check this statement; the other options then say what it must say.")
@click.option("--model", default="", help="The name under which the model is served.")
@click.option("--endpoint", default="", help="The address at which it is served, as targets are given it.")
@click.option("--version", default="", help="The version that is served.")
@click.option("--target-digest", default="", metavar="SHA256", help="The digest of its weights (sha256:...), which the provider claims.")
@click.option("--announce", multiple=True, metavar="WHAT", help="What is announced before it changes; may be repeated.")
@click.option("--notice-days", default=0, type=click.IntRange(0, 3650), help="How many days ahead.")
@click.option("--days", default=90, show_default=True, type=click.IntRange(1, 400), help="For how many days from now it holds.")
@click.option("--key", "key_place", type=KEY_PLACE, help="The provider's signing key (PEM or PKCS#11 URI); your usual one unless given.")
@click.option("--key-id", default="", help="With --check: the provider's key id (16 characters or more), got by another channel.")
@click.option("--out", type=PATH, help="The statement's file.")
@click.option("--json", "as_json", is_flag=True, help="With --check: findings and statement as JSON.")
def statement(
    check: Path | None, model: str, endpoint: str, version: str, target_digest: str, announce: tuple[str, ...], notice_days: int, days: int,
    key_place: KeyPlace | None, key_id: str, out: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """As a provider, sign what is served under a name; or, with --check, check what another has signed.

    WHAT is one of weights, quantisation, decoding, system-prompt, filters, routing. The statement is a provider's word: it proves nothing
    about weights, and can be held against whoever signed it.

    Exit code of --check: 0 if it holds now, 1 if anything does not, 2 if it cannot be read.
    """
    if check is not None:
        return _check(check, {"model": model, "url": endpoint}, version, target_digest, key_id, as_json)
    from assay.api import default_key_path
    from assay.evidence.provider import DAY_MS, Change, ProviderStatement, sign_provider, write_signed
    from assay.ledger import load_or_create_key

    if not (model and endpoint and version and out):
        raise click.UsageError("a statement needs --model, --endpoint, --version and --out (or --check)")
    wrong = [what for what in announce if what not in get_args(Change)]
    if wrong:
        raise click.UsageError(f"--announce takes {', '.join(get_args(Change))}, not '{wrong[0]}'")
    now = time.time_ns() // 1_000_000
    announces: Any = tuple(dict.fromkeys(announce))
    said = ProviderStatement(model, endpoint, version, now, now + days * DAY_MS, target_digest, announces, notice_days)
    signed = sign_provider(load_or_create_key(key_place or default_key_path()), said)
    write_signed(out, signed)
    click.echo(f"{shell_path(out)}: signed by the key {signed.keyid}, for {days} days.")
    click.echo("\nGive others the key id by another channel. They check:\n")
    click.echo(f"  {program()} model statement --check {shell_path(out)} --key-id {signed.keyid[:16]}")
    return 0


def _check(path: Path, target: dict[str, str], version: str, digest: str, keyid: str, as_json: bool) -> int:
    import msgspec

    from assay.errors import IdentityError
    from assay.evidence import Finding
    from assay.evidence.identity import STATEMENT, check_statement, when
    from assay.evidence.provider import open_signed, read_envelope

    if not keyid:
        raise click.UsageError("--check needs --key-id, the provider's: whoever signs can put any key beside it")
    envelope = read_envelope(path)
    try:
        said = open_signed(envelope).statement
    except IdentityError:
        said = None  # `check_statement` says why
    about = {"model": target["model"] or (said.model if said else ""), "url": target["url"] or (said.endpoint if said else "")}
    found = check_statement(envelope, about, keyid=keyid, times=(time.time_ns() // 1_000_000,))
    findings = list(found.findings)
    for name, wanted, given in (("version", version, said and said.version), ("weights", digest, said and said.weights)):
        if said and wanted and wanted != given:
            findings.append(Finding("provider statement", name, f"it says {given or 'nothing'}, not {wanted}"))
    if as_json:
        facts = {"ok": not findings, "findings": _as_json(findings), "keyid": found.signed and found.signed.keyid}
        click.echo(json.dumps(facts | {"statement": msgspec.to_builtins(said) if said else None}, ensure_ascii=False, indent=2))
        return 1 if findings else 0
    for finding in findings:
        click.echo(click.style(f"  ✕ {plain(str(finding))}", fg="red"))
    if said is None or found.signed is None or findings:
        click.echo(f"\nThis statement does not hold: {len(findings)} finding(s).")
        return 1
    click.echo(f"  ✓ signed by the key {found.signed.keyid}")
    click.echo(f"  ✓ '{plain(said.model)}' at {plain(said.endpoint)} is version {plain(said.version)}")
    click.echo(f"  ✓ from {when(said.since)} until {when(said.until)}")
    if said.weights:
        click.echo(f"  · weights {said.weights}, as the provider claims")
    told = f"{', '.join(said.announces)}, {said.notice_days} days ahead" if said.announces else "nothing"
    click.echo(f"  · announced before a change: {told}")
    click.echo(f"\n{STATEMENT.leaves}\n\nNext, keep a fingerprint, which can show a change:\n")
    click.echo(f"  {program()} model fingerprint --target {plain(said.endpoint)}#{plain(said.model)} --out approved.json")
    return 0


def _as_json(findings: list[Finding]) -> list[dict[str, str]]:
    return [{"check": f.check, "where": f.where, "what": f.what} for f in findings]


command.add_command(fingerprint)
command.add_command(compare)
command.add_command(serve)
