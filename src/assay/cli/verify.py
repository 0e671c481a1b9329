"""`assay verify BUNDLE`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from assay import api
from assay.cli.words import SYMBOL, decision_lines


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", default="", help="Key id (or its first 16 characters or more) that must have signed the bundle.")
@click.option("--party", "parties", multiple=True, metavar="NAME=KEYID", help="Who must have sealed the plan, with the id of their key.")
@click.option("--json", "as_json", is_flag=True, help="Checks and findings as JSON.")
def command(bundle: Path, key: str, parties: tuple[str, ...], as_json: bool) -> int:
    """Recompute everything in BUNDLE: signatures, items from the seed, judgements, schedule, streams, Merkle root, decision.

    Needs nothing but the bundle. Exit code: 0 if everything holds, 1 if anything does not, 2 if the file cannot be read.
    """
    if bundle.is_dir():
        bundle /= api.BUNDLE_NAME
    named = dict(p.split("=", 1) for p in parties if "=" in p)
    if len(named) < len(parties):
        raise click.UsageError("--party takes NAME=KEYID, each name once")
    report = api.verify(bundle, key=key, parties=named)
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
