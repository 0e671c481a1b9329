"""`assay verify BUNDLE`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from assay import api
from assay.cli.keyless import keyless_of, keyless_options, report_keyless
from assay.cli.kinds import require_bundle
from assay.cli.opening import openers_of, opening_options
from assay.cli.words import SYMBOL, decision_lines, program, shell_path
from assay.evidence import Report


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", default="", help="Key id (or its first 16 characters or more) that must have signed the bundle.")
@click.option("--party", "parties", multiple=True, metavar="NAME=KEYID", help="Who must have sealed the plan, with the id of their key.")
@click.option("--log-proof", type=click.Path(path_type=Path), help="Proof that the run is in a log (assay log prove).")
@click.option("--log-key", default="", metavar="KEY", help="The log's key, or a file with it.")
@click.option(
    "--witness-key", "witness_keys", multiple=True, metavar="KEY", help="A witness's key, or a file with it; all must have cosigned."
)
@opening_options
@keyless_options
@click.option("--json", "as_json", is_flag=True, help="Checks and findings as JSON.")
def command(
    bundle: Path, key: str, parties: tuple[str, ...], log_proof: Path | None, log_key: str, witness_keys: tuple[str, ...],
    banks: tuple[Path, ...], identities: tuple[Path, ...], shares: tuple[Path, ...], as_json: bool,
    **sigstore: Any,
) -> int:  # fmt: skip
    """Recompute everything in BUNDLE: signatures, items from the seed, judgements, schedule, streams, Merkle root, decision.

    Needs nothing but the bundle; items of sealed banks are rebuilt only with what opens them. Exit code: 0 if everything holds, 1 if
    anything does not, 2 if the file cannot be read or is no bundle, or the sealed banks not be opened with what is given.
    """
    is_run = bundle.is_dir()
    if is_run:
        bundle /= api.BUNDLE_NAME
    require_bundle(bundle)
    named = dict(p.split("=", 1) for p in parties if "=" in p)
    if len(named) < len(parties):
        raise click.UsageError("--party takes NAME=KEYID, each name once")
    if bool(log_proof) != bool(log_key):
        raise click.UsageError("--log-proof and --log-key go together")
    keyless = keyless_of(**sigstore)
    report = api.verify(bundle, key=key, parties=named, openers=openers_of(banks, identities, shares))
    if is_run and report.ok:
        _beside(report, bundle)
    if log_proof is not None and report.ok:
        _in_log(report, bundle, log_proof, log_key, witness_keys)
    if keyless is not None:
        report_keyless(report, bundle, keyless)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "ok": report.ok,
                    "checks": [{"check": c, "detail": d} for c, d in report.checks],
                    "findings": [{"check": f.check, "where": f.where, "what": f.what} for f in report.findings],
                    "verdict": report.decision.verdict if report.decision else None,
                    "keyid": report.keyid,
                    "merkleRoot": report.root,
                    "ended": report.ended,
                    "trusted": list(report.trusted),
                },
                ensure_ascii=False,
                indent=2,
            )
        )
        return 0 if report.ok else 1
    width = max((len(c) for c, _ in report.checks), default=0)
    for check, detail in report.checks:
        click.echo(f"  ✓ {check:<{width}}  {detail}")
    for finding in report.findings:
        click.echo(click.style(f"  ✕ {finding}", fg="red"))
    if not report.ok:
        click.echo(f"\nThis bundle does not hold: {len(report.findings)} finding(s).")
        return 1
    click.echo(f"\nEverything that can be recomputed holds. Signed by key {report.keyid}.")
    if report.decision:
        click.echo(f"The decision it supports: {SYMBOL[report.decision.verdict]}.")
        for line in decision_lines(report.decision)[1:]:
            click.echo(line)
    click.echo("\nWhat is left to trust:")
    for words in report.trusted:
        click.echo(f"  - {words}")
    return 0


def _beside(report: Report, bundle: Path) -> None:
    """Who names a run by its folder means the run: it must still be what was signed."""
    from assay.evidence import BundleRun
    from assay.evidence.beside import StaleError, hold_beside

    try:
        hold_beside(BundleRun.read(bundle), report.root)
    except StaleError as e:
        report.failed("the run beside it", e.where, f"{e.what}. {e.fix} The bundle alone: {program()} verify {shell_path(bundle)}")


def _in_log(report: Report, bundle: Path, proof: Path, log_key: str, witness_keys: tuple[str, ...]) -> None:
    """Check that the run is registered in a log and ends in it with this very decision, and say what that leaves to trust."""
    from assay.cli.log import note_key, read_bounded
    from assay.evidence.logcheck import MAX_PROOF_BYTES, check_proof
    from assay.evidence.logsource import read_source

    witnesses = [note_key(given, 4) for given in witness_keys]
    source = read_source(bundle)
    need = len({w.public.raw for w in witnesses})
    data, now = read_bounded(proof, MAX_PROOF_BYTES), time.time_ns() // 1_000_000
    found = check_proof(data, note_key(log_key, 1), witnesses, need=need, now_ms=now, source=source)
    for finding in found.findings:
        report.failed(f"log, {finding.check}", finding.where, finding.what)
    if not found.ok or found.head is None:
        return
    who = ", ".join(held.key.name for held in found.cosigners) or "nobody"
    report.passed("registered in the log, and ended there", f"{found.head.origin}, {found.head.size} entries, cosigned by {who}")
    dropped = [t for t in report.trusted if "no other run" in t]
    first = source.digest in found.registered
    report.trusted = (
        *(t for t in report.trusted if t not in dropped),
        "that the log's operator and its witnesses do not act as one"
        if first
        else "that the run was registered before its end: no witness cosigned the log in between, so it may have been chosen from several",
    )
