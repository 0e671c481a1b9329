"""`assay export FORMAT RUN`."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import program, shell_path
from assay.exchange.export import FORMATS, read_exported, write_export

if TYPE_CHECKING:
    from assay.ledger import KeyPlace

FOLDER = "in-toto"
SHORT = "markdown"
_ABOUT = "A folder of signed statements for cosign and in-toto, with a layout and link."
_SHORT = "A short text for a pull request: verdict, why, intervals, what is not known."
_OTHERS = ((SHORT, _SHORT), (FOLDER, _ABOUT))
_LIST = "\n".join(f"  {name:<10} {about}" for name, about in [*((n, f.about) for n, f in FORMATS.items()), *_OTHERS])


@click.command(
    epilog=f"\b\nFormats:\n{_LIST}\n\n\b\nExamples:\n  assay export junit runs/first --out first.xml --without-transcripts\n"
    "  assay export markdown runs/first --out summary.md\n"
    "  assay export in-toto runs/first --out handover"
)
@click.argument("form", metavar="FORMAT", type=click.Choice([*FORMATS, SHORT, FOLDER]))
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The file or folder to write, whole or not at all.")
@click.option("--without-transcripts", is_flag=True, help="Withhold prompts and answers; their digests stay.")
@click.option("--force", is_flag=True, help="Replace the file if it is there already.")
@click.option("--key", type=KEY_PLACE, help="in-toto: the key that signed the run (PEM or PKCS#11 URI); your usual one unless given.")
@click.option("--days", type=int, default=365, show_default=True, help="in-toto: how long the layout holds, from the decision on.")
@click.option("--without-links", is_flag=True, help="in-toto: no layout and link, which only the run's own key can sign.")
@click.option("--roles", type=click.Path(path_type=Path), help="in-toto: the signed roles of a release, for its approvers' public keys.")
@click.option("--sigstore", is_flag=True, help="in-toto: sign the evidence keyless too (Sigstore). Your identity becomes public, for good.")
@click.option("--sigstore-token", type=click.Path(path_type=Path), help="A file with the identity token; the surroundings' unless given.")
@click.option("--sigstore-config", type=click.Path(path_type=Path), help="Client trust configuration (JSON) of a Sigstore of your own.")
def command(
    form: str, run: Path, out: Path, without_transcripts: bool, force: bool, key: KeyPlace | None, days: int, without_links: bool,
    roles: Path | None, sigstore: bool, sigstore_token: Path | None, sigstore_config: Path | None,
) -> int:  # fmt: skip
    """Write RUN (a run folder or file; for markdown also a bundle) in a format that others read."""
    if form == FOLDER:
        if force:
            raise click.UsageError("a folder is not replaced: choose another --out")
        if (sigstore_token or sigstore_config) and not sigstore:
            raise click.UsageError("--sigstore-token and --sigstore-config go with --sigstore")
        code = _in_toto(run, out, key, days, links=not without_links, roles=roles, whole=not without_transcripts)
        if sigstore:
            _keyless(run, out, sigstore_token, sigstore_config)
        return code
    if key or without_links or roles or sigstore:
        raise click.UsageError("--key, --without-links, --roles and --sigstore belong to in-toto")
    if form == SHORT:
        return _markdown(run, out, force=force)
    with read_exported(run, transcripts=not without_transcripts) as exported:
        write_export(form, exported, out, force=force)
        heading = exported.heading
    kept = "with transcripts" if FORMATS[form].texts and not without_transcripts else "without transcripts"
    click.echo(f"{shell_path(out)}: {form}, {heading.decision.trials:,} trials, {kept}; {heading.verdict}")
    if heading.bundle != "agrees":
        click.echo("  note: no signed bundle beside the run agrees with it, so an approval counts as delay", err=True)
    return 0


def _markdown(run: Path, out: Path, *, force: bool) -> int:
    from assay.exchange.export import ExportError
    from assay.report.markdown import render_markdown
    from assay.runs import whole_file

    if out.is_dir() or (out.exists() and not force):
        raise ExportError("there is such a file already", where=str(out), fix="Choose another --out, or replace it with --force.")
    text = render_markdown(run)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as file:
            file.write(text.encode())
    except OSError as e:
        raise ExportError(f"cannot write here: {e.strerror or e}", where=str(out)) from None
    click.echo(f"{shell_path(out)}: {SHORT}, {len(text):,} characters, without transcripts")
    return 0


def _in_toto(run: Path, out: Path, key: KeyPlace | None, days: int, *, links: bool, roles: Path | None, whole: bool) -> int:
    from assay import api
    from assay.evidence.roles import public_key, read_signed, roles_of
    from assay.exchange.export.intoto import write_intoto
    from assay.ledger import load_key

    signing = load_key(key or api.default_key_path()) if links else None
    others = [public_key(holder.public) for holder in roles_of(read_signed(roles)).keys.values()] if roles else []
    now_ms = time.time_ns() // 1_000_000
    written = write_intoto(run, out, key=signing, now_ms=now_ms, days=days, others=others, whole=whole)
    held = f", layout and link until {time.strftime('%Y-%m-%d', time.gmtime(written.expires // 1000))}" if written.expires else ""
    click.echo(f"{shell_path(out)}: {len(written.statements)} statements, {written.bundles} Sigstore bundles{held}")
    click.echo(
        f"\nHand over the folder; its README.txt has the commands. Next, check it as the other party would:\n\n  cd {shell_path(out)}"
    )
    if signing:
        click.echo(f"  in-toto-verify --layout root.layout --verification-keys keys/{signing.public.keyid}.pem")
    if whole:
        click.echo(f"  {program()} verify evidence.jsonl")
    return 0


def _keyless(run: Path, out: Path, token: Path | None, config: Path | None) -> None:
    from assay import api
    from assay.exchange.export.keyless import KEYLESS_NAME, sign_keyless

    evidence, signed = run / api.BUNDLE_NAME if run.is_dir() else run, out / KEYLESS_NAME
    identity, issuer = sign_keyless(evidence, signed, token_file=token, config=config)
    click.echo(f"\n{shell_path(signed)}: signed keyless by {identity} ({issuer}). To check it, with Sigstore's trusted root:\n")
    who = f"--sigstore-identity {shlex.quote(identity)} --sigstore-issuer {shlex.quote(issuer)}"
    click.echo(
        f"  {program()} verify {shell_path(evidence)} --sigstore-bundle {shell_path(signed)} {who} --sigstore-root trusted_root.json"
    )
