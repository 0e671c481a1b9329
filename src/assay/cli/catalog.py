"""`assay catalog list|show|lint`."""

from __future__ import annotations

import click

from assay.catalog import load_catalog, load_everything
from assay.scenarios import gaps, lint


@click.group()
def command() -> None:
    """What is in the box.

    \b
    Examples:
      assay catalog list
      assay catalog show secret-leakage --language ms
      assay catalog lint
    """


@command.command("list")
def list_() -> None:
    """Hazards, languages and attacks."""
    catalog = load_everything()
    click.echo("Hazards")
    for h in catalog.hazards.values():
        click.echo(f"  {h.id:<24} {len(h.scenarios)} scenarios, {h.kind}: {h.title}")
    click.echo("\nLanguages")
    for t in catalog.languages.values():
        click.echo(f"  {t.tag:<8} {t.name} ({t.native}), {t.script}; texts: {t.provenance.method}, review: {t.provenance.review}")
    click.echo(f"\nAttacks\n  {', '.join(catalog.kinds)}")
    click.echo(f"\nContent digest {catalog.digest}")
    click.echo(f"\nNext: assay catalog show {next(iter(catalog.hazards))}")


@command.command()
@click.argument("hazard")
@click.option("--language", default="en", show_default=True, help="Language tag of the texts.")
def show(hazard: str, language: str) -> None:
    """HAZARD's definition and its texts in one language."""
    catalog = load_catalog([hazard], [language])
    h = catalog.hazards[hazard]
    click.echo(f"{h.title} ({h.id}), {h.kind}\n{h.summary.strip()}\n")
    for s in h.scenarios:
        text = catalog.texts[hazard][language].texts[s.id]
        click.echo(f"{s.id}  [{s.carrier}]  {s.situation.strip()}")
        for field in ("system", "document", "user", "benign", "injection", "harmless"):
            words = getattr(text, field)
            if words:
                click.echo(f"    {field}: " + "\n      ".join(words.strip().splitlines()))
        click.echo("")


@command.command("lint")
def lint_() -> int:
    """Check all content; exit 1 if anything is wrong."""
    catalog = load_everything()
    findings = lint(catalog)
    for finding in findings:
        click.echo(finding)
    missing = gaps(catalog)
    for hazard in catalog.hazards.values():
        lacking = [f"{tag} ({len(scenarios)})" for (h, tag), scenarios in missing.items() if h == hazard.id]
        if lacking:
            click.echo(f"not written yet: {hazard.id} in {', '.join(lacking)}")
    words = f"{len(findings)} finding(s)" if findings else "nothing to report"
    click.echo(f"{len(catalog.hazards)} hazards, {len(catalog.languages)} languages: {words}.")
    return 1 if findings else 0
