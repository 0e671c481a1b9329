"""`assay catalog list|show|lint`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from assay.catalog import Catalog, load_catalog, load_everything
from assay.catalog import review as review_texts
from assay.catalog.content import Texts
from assay.catalog.crosswalk import lint_crosswalk
from assay.catalog.files import ROOT, hazard_ids
from assay.cli.nearest import closest
from assay.cli.words import hanging, program
from assay.errors import CatalogError
from assay.judges.lint import lint_items
from assay.scenarios import distinct_items, gaps, lint, lint_worlds


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
    width = max(map(len, catalog.hazards))
    for h in catalog.hazards.values():
        click.echo(hanging(f"  {h.id:<{width}} ", f"{len(h.scenarios)} scenarios, {h.kind}: {h.title}"))
    click.echo("\nLanguages")
    for t in catalog.languages.values():
        about = f"{t.name} ({t.native}), {t.script}; texts: {t.provenance.method}, review: {t.provenance.review}"
        click.echo(hanging(f"  {t.tag:<8} ", about))
    click.echo("\nAttacks\n" + hanging("  ", ", ".join(catalog.kinds)))
    click.echo(f"\nContent digest {catalog.digest}")
    click.echo(f"\nNext: assay catalog show {next(iter(catalog.hazards))}")


@command.command()
@click.argument("hazard", default="")
@click.option("--language", default="en", show_default=True, help="Language tag of the texts.")
def show(hazard: str, language: str) -> None:
    """HAZARD's definition and its texts in one language; without HAZARD the numbers of everything."""
    if not hazard:
        _numbers(load_everything())
        return
    if hazard not in (known := hazard_ids()):
        near = closest(hazard, known)
        all_of_them = f"{program()} catalog list names all {len(known)}."
        raise CatalogError(f"unknown hazard '{hazard}'", fix=f"Did you mean '{near}'? {all_of_them}" if near else all_of_them)
    catalog = load_catalog([hazard], [language])
    h = catalog.hazards[hazard]
    click.echo(f"{h.title} ({h.id}), {h.kind}\n{h.summary.strip()}\n")
    for s in h.scenarios:
        text = catalog.texts[hazard][language].texts.get(s.id, Texts(""))
        click.echo(f"{s.id}  [{s.carrier}]  {s.situation.strip()}")
        for field in review_texts.FIELDS:
            words = getattr(text, field)
            if words:
                click.echo(f"    {field}: " + "\n      ".join(words.strip().splitlines()))
        click.echo("")


def _numbers(catalog: Catalog) -> None:
    """Scenarios, renderings, items and review, hazard by hazard and language by language."""
    click.echo(f"{'hazard':<27}{'kind':<12}{'scenarios':>9}  {'languages':>9}  {'literal':>7}  {'distinct items a cell (least)':>30}")
    for h in catalog.hazards.values():
        texts = catalog.texts[h.id]
        whole = [t for t, each in texts.items() if len(each.texts) == len(h.scenarios)]
        items = min((distinct_items(catalog, h.id, t) for t in whole), default=0)
        literal = sum(len(each.literal) for each in texts.values())
        shown = "no end (256-bit keys)" if h.check == "world" else f"{items:,}"
        click.echo(f"{h.id:<27}{h.kind:<12}{len(h.scenarios):>9}  {len(whole):>9}  {literal:>7}  {shown:>30}")
    click.echo(f"\n{'language':<27}{'script':<12}{'texts':>9}  {'reviewed':>9}  {'attacks':>7}  {'tier':>30}")
    for t in catalog.languages.values():
        each = [texts[t.tag] for texts in catalog.texts.values() if t.tag in texts]
        texts_count = sum(len(x.texts) + len(x.literal) for x in each)
        reviewed = sum(len(x.texts) - len(x.unreviewed) for x in each)
        attacks = len(catalog.attacks[t.tag].attacks) if t.tag in catalog.attacks else 0
        click.echo(f"{f'{t.tag} {t.name}':<27}{t.script:<12}{texts_count:>9,}  {reviewed:>9,}  {attacks:>7}  {t.tier:>30}")
    click.echo(f"\n{len(catalog.hazards)} hazards, {len(catalog.languages)} languages, {len(catalog.kinds)} attacks")
    click.echo("\nNext, read one: assay catalog show secret-leakage --language ms")


@command.command()
@click.argument("language")
@click.option("--out", type=click.Path(path_type=Path), default=None, help="The sheet to write; review-LANGUAGE.csv if left out.")
@click.option("--all", "everything", is_flag=True, help="Texts that were reviewed already, too.")
@click.option(
    "--read", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A sheet that was filled in: put it into the catalogue."
)
@click.option("--reviewer", default="", help="Who reviewed it, with --read.")
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), default=ROOT, help="Another folder of content.")
def review(language: str, out: Path | None, everything: bool, read: Path | None, reviewer: str, root: Path) -> None:
    """A sheet of LANGUAGE's texts for somebody who speaks it, and back.

    \b
    Examples:
      assay catalog review ms
      assay catalog review ms --read review-ms.csv --reviewer "Aminah Yusof"
    """
    if read is None:
        path = out or Path(f"review-{language}.csv")
        if path.exists():
            raise CatalogError("there is such a file already", where=str(path), fix="Choose another --out.")
        text = review_texts.sheet(language, root, everything=everything)
        path.write_text(text, encoding="utf-8-sig", newline="")
        click.echo(
            f"{path}: {text.count(chr(10)) - 1:,} lines to read. Write 'ok' or 'change' in the column 'verdict', and changes in 'new_text'."
        )
        click.echo(f"\nNext, when it is filled in:\n\n  {program()} catalog review {language} --read {path} --reviewer NAME")
        return
    changes = review_texts.read_sheet(read, language, root)
    paths = review_texts.apply(changes, language, reviewer, datetime.now(UTC).date().isoformat(), root)
    done = sum(c.whole for c in changes)
    click.echo(f"{done} scenarios reviewed, {len(changes) - done} looked at in part; {len(paths)} files written.")
    click.echo(f"\nNext, see that all is well:\n\n  {program()} catalog lint")


@command.command("lint")
@click.option("--draft", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder of drafts to check with it.")
def lint_(draft: Path | None) -> int:
    """Check all content; exit 1 if anything is wrong."""
    catalog = load_everything()
    if draft is not None:
        from assay.access.findings.scenario import with_drafts

        catalog = with_drafts(catalog, draft)
    findings = [*lint(catalog), *lint_worlds(catalog), *lint_items(catalog), *lint_crosswalk(catalog)]
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
