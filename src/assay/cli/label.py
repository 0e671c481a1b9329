"""`assay label RUN`."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import structs

from assay.cli.opening import openers_of, opening_options
from assay.cli.words import program, shell_path
from assay.errors import AssayError

if TYPE_CHECKING:
    from assay.label import Desk
    from assay.web.signin import Person, TokenFile

TOKENS_NAME = "label-tokens.json"


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--labeller", "labellers", multiple=True, metavar="NAME[:TAG,TAG]", help="Somebody who labels, and in which languages.")
@click.option("--adjudicator", "adjudicators", multiple=True, metavar="NAME[:TAG,TAG]", help="Somebody who decides where people disagree.")
@click.option("--new-links", is_flag=True, help="New links for everybody; the old ones open nothing any more.")
@click.option("--remove", "removed", multiple=True, metavar="NAME", help="Shut somebody out; their labels stay.")
@click.option("--all", "everything", is_flag=True, help="Label every trial, whatever the judge says: to calibrate a judge.")
@click.option("--hazard", "hazards", multiple=True, help="Only this hazard; may be given several times.")
@click.option("--language", "languages", multiple=True, help="Only this language; may be given several times.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; others than this machine need TLS.")
@click.option("--port", default=8414, show_default=True, type=click.IntRange(0, 65535), help="0 takes any free one.")
@click.option("--allow-host", "names", multiple=True, metavar="NAME", help="What browsers call this machine; the first is in the links.")
@click.option("--tls-cert", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Certificate (PEM).")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its key (PEM).")
@click.option("--export", "exported", type=click.Path(dir_okay=False, path_type=Path), help="Write all labels to this .csv or .jsonl.")
@click.option("--tasks", type=click.Path(dir_okay=False, path_type=Path), help="Write what is to be labelled, blind: .csv or .jsonl.")
@click.option(
    "--import", "imported", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read labels: .csv, .json, .jsonl."
)
@opening_options
@click.option("--labeller-column", default="", help="Where that file says who labelled, if not in 'labeller' or 'completed_by'.")
def command(
    run: Path, labellers: Sequence[str], adjudicators: Sequence[str], new_links: bool, removed: Sequence[str], everything: bool,
    hazards: Sequence[str], languages: Sequence[str], host: str, port: int, names: Sequence[str], tls_cert: Path | None,
    tls_key: Path | None, exported: Path | None, tasks: Path | None, imported: Path | None, labeller_column: str,
    banks: tuple[Path, ...], identities: tuple[Path, ...], shares: tuple[Path, ...],
) -> int:  # fmt: skip
    """Label the transcripts of RUN on a local web page: every flagged trial, and a random audit of the others.

    \b
    Examples:
      assay label runs/first --labeller "Aisyah:ms,en" --labeller "Wei:zh-Hans" --adjudicator "Devi:ta"
      assay label runs/first                         the same people again; their links are still valid
      assay label runs/first --all --labeller Aisyah
      assay label runs/first --export labels.csv
    """
    from assay.api import opened_for
    from assay.label import Desk, Scope
    from assay.web.signin import TokenFile, parse_person

    people = [parse_person(t, "labeller") for t in labellers] + [parse_person(t, "adjudicator") for t in adjudicators]
    scope = Scope(everything, tuple(hazards), tuple(languages))
    openers = openers_of(banks, identities, shares)
    opened = opened_for(run, openers) if openers else None
    with Desk.open(run, scope, opened) as desk:
        for kind, given, known in (("hazard", hazards, desk.plan.matrix.hazards), ("language", languages, desk.plan.matrix.languages)):
            for name in given:
                if name not in known:
                    raise AssayError(f"the run has no {kind} '{name}'", fix=f"It has {', '.join(known)}.")
        if exported or tasks or imported:
            if tasks:
                _tasks(desk, run, tasks)
            if exported or imported:  # labels of trials that are not in the queue now are labels too
                with Desk.open(run, structs.replace(scope, everything=True)) as whole:
                    _labels(whole, exported, imported, labeller_column, people)
            return 0
        if not desk.candidates:
            click.echo(_nothing(desk, run, everything=everything))
            return 0
        tokens = TokenFile(_folder(run) / TOKENS_NAME, desk.digest)
        for name in removed:
            tokens.remove(name)
        if not people and not tokens.people:
            people = [parse_person(re.sub(r"[^\w .@'-]", "", getpass.getuser()) or "me", "labeller")]
        _serve(desk, tokens, people, run, host, port, names, tls_cert, tls_key, renew=new_links)
        return 0


def _serve(
    desk: Desk, tokens: TokenFile, people: Sequence[Person], run: Path, host: str, port: int, names: Sequence[str],
    cert: Path | None, key: Path | None, *, renew: bool,
) -> None:  # fmt: skip
    """Print the links, serve until Ctrl-C, say what there is."""
    try:
        from assay.label.app import make_app
        from assay.web.guard import LOOPBACK
        from assay.web.serving import address, check_tls, is_loopback, listen, serve
    except ImportError as e:
        raise AssayError(f"the page needs {e.name}", fix="pip install 'assay[label]'") from None
    if (cert is None) != (key is None):
        raise AssayError("--tls-cert and --tls-key go together")
    secure = cert is not None
    if cert is not None and key is not None:
        check_tls(cert, key)
    known = (*names, *(() if host in ("0.0.0.0", "::") else (host,)))  # noqa: S104 (compared with, not bound to)
    if not known:
        raise AssayError(f"'{host}' is no name that a browser could call", fix="Add --allow-host with this machine's name.")
    with listen(host, port, secure=secure) as socket:
        fresh = tokens.invite(people, renew=renew)
        page = address(socket, known[0], secure=secure)
        for line in _welcome(desk, tokens, fresh, page, run):
            click.echo(line)
        hosts = {*known, *(LOOPBACK if is_loopback(host) else ())}
        serve(make_app(desk, tokens, hosts=hosts, secure=secure), socket, cert, key)
    for text in desk.broken.values():
        click.echo(f"left out: {text}", err=True)
    given = sum(len(labels) for labels in desk.book.labels.values())
    kept = shell_path(_folder(run) / "labels.db")
    click.echo(f"\nStopped. {given:,} labels are in {kept}; the same command goes on, and links stay valid.")


def _welcome(desk: Desk, tokens: TokenFile, fresh: dict[str, str], page: str, run: Path) -> list[str]:
    """What waits, who may come in, and how to go on."""
    from assay.label.queue import by_language, own

    shares = by_language(desk.candidates, desk.book)
    width = max(map(len, shares))
    lines = [f"{len(desk.candidates):,} trials, {desk.book.people} label{'s' * (desk.book.people > 1)} each. Labels still to give:"]
    lines += [f"  {tag:<{width}}  {s.total - s.done:>6,} of {s.total:,}" for tag, s in shares.items()]
    lines.append("")
    wide = max(len(p.name) for p in tokens.people)
    for person in tokens.people:
        _, left, _ = own(desk.candidates, person, desk.book)
        what = " and ".join("decides disputes" if role == "adjudicator" else "labels" for role in person.roles)
        where = ", ".join(person.languages) or "all languages"
        lines.append(f"  {person.name:<{wide}}  {what}, {where}; waiting: {left:,}")
        lines.append(f"  {'':<{wide}}  {page}/#t={fresh[person.name]}" if person.name in fresh else f"  {'':<{wide}}  has a link already")
    disputes = sum(desk.book.disputed(c.slot) for c in desk.candidates)
    if disputes:
        known = any("adjudicator" in p.roles for p in tokens.people)
        lines += ["", f"Disputed: {disputes:,}" + ("" if known else "; nobody here decides them yet: --adjudicator NAME")]
    if fresh:
        lines += ["", "Give each person their own link. It is shown this once; --new-links makes new ones."]
    elif tokens.people:
        lines += ["", f"The page is at {page}. Who has lost a link: --new-links."]
    return [*lines, f"Ctrl-C stops. Afterwards: {program()} label {shell_path(run)} --export labels.csv"]


def _tasks(desk: Desk, run: Path, out: Path) -> None:
    from assay.label.table import write_tasks

    click.echo(f"{shell_path(out)}: {write_tasks(desk, out):,} trials to label, blind")
    click.echo(f"Bring the labels back with: {program()} label {shell_path(run)} --import FILE")


def _labels(desk: Desk, exported: Path | None, imported: Path | None, column: str, people: Sequence[Person]) -> None:
    from assay.label.table import read_labels, write_labels

    if imported:
        if len(people) > 1:
            raise AssayError("a file without names can have one labeller only", fix="Give one --labeller, or --labeller-column.")
        loaded = read_labels(desk, imported, column, people[0].name if people else "")
        added = loaded.add(desk)
        replaced = f"; {loaded.changed:,} of the new ones replace earlier ones" if loaded.changed else ""
        click.echo(f"{added:,} labels imported, {loaded.known:,} were there already{replaced}.")
    if exported:
        click.echo(f"{shell_path(exported)}: {write_labels(desk, exported):,} labels")


def _nothing(desk: Desk, run: Path, *, everything: bool) -> str:
    """Why nothing is to be labelled, and what to do."""
    judged = [name for name, hazard in desk.catalog.hazards.items() if hazard.check == "none"]
    if everything or desk.scope.hazards or desk.scope.languages:
        why = "The run has no such trials yet."
    elif not judged:
        why = "Programs check all of this run's hazards; nothing in it needs a person's judgement."
    else:
        why = f"No trial of {', '.join(judged)} was flagged, and the plan's labels.audit of {desk.plan.labels.audit:g} drew none."
    more = "" if everything else f"\nTo label every trial: {program()} label {shell_path(run)} --all"
    return f"There is nothing to label. {why}{more}"


def _folder(run: Path) -> Path:
    from assay.runs import folder_of

    return folder_of(run)
