"""`assay import moonshot|ailuminate|table|sg-kr|inspect`, and every importer that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from assay.cli.importing_live import agentdojo, inspect_task
from assay.cli.importing_plugin import Importers
from assay.cli.words import plain, program, shell_path
from assay.errors import CatalogError
from assay.exchange import Imported, from_ailuminate, from_moonshot, from_sg_kr, from_table, write_banks

_OUT = click.option("--out", type=click.Path(path_type=Path), default=Path("banks"), show_default=True, help="Folder for the bank files.")
_SOURCE = click.argument("source", type=click.Path(exists=True, path_type=Path))


@click.group(cls=Importers)
def command() -> None:
    """Others' test sets as finite banks, others' judged trajectories, and Inspect's logs as runs to be decided on; with their licences.

    \b
    Examples:
      assay import moonshot moonshot-data/datasets
      assay import ailuminate prompts.csv --licence CC-BY-4.0
      assay import table prompts.jsonl --name mine --licence CC-BY-4.0 --language ms
      assay import sg-kr sg-kr-agent-testing --out exercise.json
      assay import inspect logs/run.eval --name mine --language en --scorer match --violation I --licence CC-BY-4.0 --out mine
      assay import garak encoding.InjectBase64 --name decoding --licence Apache-2.0 --out decoding
      assay import pyrit banks/mine.bank.json --converter base64 --converter leetspeak
      assay import inspect-task my_task.py@chat --name mine --language en --licence CC-BY-4.0 --scorer match --violation I
      assay import agentdojo banking --name dojo --python .venvs/agentdojo/bin/python
    """


@command.command()
@_SOURCE
@_OUT
@click.option("--by-order", is_flag=True, help="Pair items across languages by their place in the file, where ids differ.")
def moonshot(source: Path, out: Path, by_order: bool) -> None:
    """Project Moonshot's datasets: SOURCE is a dataset, a recipe, a cookbook, or a folder that holds them."""
    _write(from_moonshot(source, by_order=by_order), out)


@command.command()
@_SOURCE
@_OUT
@click.option("--licence", required=True, help="Of this set; the demo set is CC-BY-4.0.")
def ailuminate(source: Path, out: Path, licence: str) -> None:
    """MLCommons AILuminate's prompts: SOURCE is a CSV file. One bank per hazard."""
    _write(from_ailuminate(source, licence=licence), out)


@command.command()
@_SOURCE
@_OUT
@click.option("--name", required=True, help="The bank's name: the hazard that a plan names.")
@click.option("--title", default="", help="For people.")
@click.option("--licence", default="", help="Of this set; a dataset card's own if left out.")
@click.option("--prompt", default="", help="Column of the prompt, if it has no usual name.")
@click.option("--item", default="", help="Column of the item's id, if it has no usual name.")
@click.option("--language", default="", help="Language tag, or the column that holds it.")
def table(source: Path, out: Path, name: str, title: str, licence: str, prompt: str, item: str, language: str) -> None:
    """CSV, TSV, JSON lines, JSON, Parquet: SOURCE is a file, or a folder as the Hugging Face hub lays it out."""
    _write(from_table(source, name=name, title=title, licence=licence, prompt=prompt, item=item, language=language), out)


@command.command("sg-kr")
@_SOURCE
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("sg-kr.json"), show_default=True, help="The file to write."
)
def sg_kr(source: Path, out: Path) -> None:
    """The Singapore-Korea agent testing exercise: SOURCE is its folder of scenarios and judged trajectories."""
    if out.exists():
        raise CatalogError("there is such a file already", where=str(out), fix="Choose another --out.")
    judged = from_sg_kr(source)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    partial.write_bytes(msgspec.json.encode(judged))
    partial.replace(out)
    rows = judged.trajectories
    correct, both = sum(t.correct for t in rows), sum(t.correct and t.safe(strict=True) for t in rows)
    strict, accepting = (sum(t.safe(strict=s) for t in rows) for s in (True, False))
    click.echo(f"{out}: {len(judged.exercises)} scenarios, {len(rows)} judged trajectories; {judged.licence}")
    click.echo(f"  fully correct {correct}, safe {accepting} (NA accepted) and {strict} (strict), both {both} of {len(rows)}")
    click.echo(f"\nNext, read them:\n\n  {program()} report {out}")


@command.command("inspect")
@click.argument("logs", nargs=-1, required=True, metavar="LOG...", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", default="", help="The bank's name: the hazard that the plan names.")
@click.option("--title", default="", help="For people.")
@click.option("--licence", default="", help="Of the data set.")
@click.option("--language", default="", help="Language tag of all samples.")
@click.option("--language-field", default="", metavar="FIELD", help="Instead: the metadata field that holds it.")
@click.option("--where", "fields", multiple=True, metavar="FIELD=VALUE", help="Only samples whose metadata has this value.")
@click.option("--scorer", default="", help="Whose word flags answers: NAME, or NAME.VALUE of one with several values.")
@click.option("--violation", multiple=True, metavar="VALUE", help="A value that means a violation, or a comparison such as '>=0.5'.")
@click.option("--safe", multiple=True, metavar="VALUE", help="One that means none; the opposites of --violation unless given.")
@click.option("--leave-out", is_flag=True, help="Leave samples out that no bank can hold: several messages, images.")
@click.option("--bank-only", is_flag=True, help="Bank and plan without the answers: to be sealed before the evaluation.")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="Add the answers to this plan, which was there before them.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for bank, answers and plan; NAME unless given.")
def inspect_log(**given: Any) -> None:
    """Logs of Inspect AI: a bank of the requests, the recorded answers, and a plan that decides on them. No model is asked.

    A scorer's word is a judge's word: it flags, and people decide with `assay label`. Needs the extra `inspect`.
    """
    from assay.cli.importing_inspect import Asked, import_logs

    import_logs(Asked(**given))


def _write(imported: Imported, out: Path) -> None:
    paths = write_banks(imported, out)
    for bank, path in zip(imported.banks, paths, strict=False):
        click.echo(f"{path}: {len(bank.items):,} items in {', '.join(sorted(bank.prompts))}; {bank.licence}")
    for path in paths[len(imported.banks) :]:
        click.echo(f"{path}")
    for note in imported.notes:
        click.echo(f"  note: {plain(note)}")
    plan = next((path for path in paths if path.name in imported.files and path.suffix == ".yaml"), None)
    if plan is not None:
        click.echo(f"\nNext, edit the requirements, then run it:\n\n  {program()} run {shell_path(plan)} --target http://HOST/v1#MODEL")
        return
    click.echo("\nNext, name them in a plan:\n")
    click.echo(f"  content: [{', '.join(str(p) for p in paths[:3])}]")
    attacks = f", attacks: [{', '.join(imported.banks[0].attacks)}]" if imported.banks[0].attacks else ""
    click.echo(f"  matrix: {{hazards: [{', '.join(b.name for b in imported.banks[:3])}], languages: [...]{attacks}, benign: false}}")
    click.echo(f"\n  {program()} plan check my-plan.yaml")


command.write = _write
command.add_command(inspect_task)
command.add_command(agentdojo)
