"""`assay access audit search|who|verify|export|statistics|checkpoint|decrypt`."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import plain, program, shell_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrage.x25519 import Identity

    from assay.access.audit.read import Query, Row
    from assay.access.audit.verify import Verified
    from assay.access.audit.who import Seen
    from assay.ledger import KeyPlace

_FOLDER = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
_IDENTITY = click.option(
    "--identity", "identities", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An auditor's age identity file; may be repeated.",
)  # fmt: skip
_SINCE = click.option(
    "--from", "since", default="", metavar="TIME", help="From this time on: 2026-11-29, 2026-11-29T14:05, or Unix ms; UTC."
)
_UNTIL = click.option("--to", "until", default="", metavar="TIME", help="Up to this time; a day counts to its end.")
_LOG_KEY = click.option("--log-key", default="", metavar="KEY", help="The log's key, or a file with it, as the gate's operator told you.")
_WITNESS = click.option(
    "--witness-key", "witness_keys", multiple=True, metavar="KEY", help="A witness's key, or a file with it; may be repeated."
)
_NEED = click.option("--need", type=click.IntRange(min=0), help="How many of the witnesses must have cosigned; all unless given.")
KINDS = ["decided", "ended", "denied", "token", "control", "alert", "break-glass", "error", "segment"]
FIELDS = (
    "id",
    "grant",
    "person",
    "organisation",
    "model",
    "digest",
    "system",
    "route",
    "decision",
    "network",
    "rule",
    "how",
    "halt",
    "text",
)
HELP = {
    "id": "Of this request.", "grant": "Under this grant.", "person": "By this person.", "organisation": "Of this organisation.",
    "model": "Of this model.", "digest": "Of this model digest.", "system": "Testing this system.", "route": "On this route.",
    "decision": "Under this decision on the model.", "network": "From this address.", "rule": "Denied, or permitted, by this rule.",
    "how": "That ended so, like complete.", "halt": "Cut by this halt.", "text": "With this text in prompt or answer (takes --identity).",
}  # fmt: skip


def _fields(function: Callable[..., Any]) -> Callable[..., Any]:
    for name in reversed(FIELDS):
        function = click.option(f"--{name}", default="", help=HELP[name])(function)
    kinds = click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Of this kind; may be repeated.")
    return kinds(_SINCE(_UNTIL(_IDENTITY(function))))


@click.group()
def command() -> None:
    """The gate's audit log: search it, check it, take records out, and say who saw what of which model, for what purpose.

    FOLDER is the log's folder, as `audit.folder` of the gate's file names it. docs/access-audit.md tells what it holds.

    \b
    Examples:
      assay access audit who audit m7 --from 2026-11-01
      assay access audit search audit --person "Ada Tan" --rule quota
      assay access audit verify audit --log-key audit/ends/log.vkey --witness-key other.vkey
      assay access audit export audit --grant power --proofs --out power.jsonl
    """


@command.command()
@_FOLDER
@_fields
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="Show so many at most, the first by time.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def search(folder: Path, limit: int, as_json: bool, **asked: Any) -> None:
    """Show what fits everything that is given, in order of time. A decision and its end are one line."""
    import msgspec

    from assay.access.audit.export import to_json
    from assay.access.audit.read import search as find

    shown = 0
    for row in find(folder, _query(asked), _identities(asked["identities"])):
        if shown == limit:
            click.echo(f"There are more: raise --limit, or {program()} access audit export {shell_path(folder)}", err=True)
            break
        click.echo(msgspec.json.encode(to_json(row)) if as_json else _line(row))
        shown += 1
    if not shown and not as_json:
        click.echo("Nothing fits.")
    elif not as_json:
        click.echo(f"\nThat these are unchanged: {program()} access audit verify {shell_path(folder)}")


@command.command()
@_FOLDER
@click.argument("model")
@_SINCE
@_UNTIL
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV; no cell is a formula.")
def who(folder: Path, model: str, since: str, until: str, as_json: bool, as_csv: bool) -> None:
    """Who saw what of MODEL (its name or digest), for what purpose."""
    import msgspec

    from assay.access.audit.who import who as whose

    found = whose(folder, model, *_span(since, until))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    elif as_csv:
        from assay.access.audit.export import write_table

        columns = tuple(type(found[0]).__struct_fields__) if found else ("model",)
        write_table((msgspec.to_builtins(s) for s in found), columns, sys.stdout.buffer, times=("first", "last"))
    else:
        _print_who(found, model)


@command.command()
@click.argument("what", type=click.Path(exists=True, path_type=Path))
@_LOG_KEY
@_WITNESS
@_NEED
@click.option(
    "--checkpoint", "kept", multiple=True, type=click.Path(exists=True, path_type=Path),
    help="A checkpoint that you kept, or a folder of them (*.note); may be repeated.",
)  # fmt: skip
@_IDENTITY
@click.option("--json", "as_json", is_flag=True, help="Findings and counts as JSON.")
def verify(
    what: Path, log_key: str, witness_keys: tuple[str, ...], need: int | None, kept: tuple[Path, ...], identities: tuple[Path, ...],
    as_json: bool,
) -> int:  # fmt: skip
    """Check WHAT, the log's folder or a file of exported records with proofs: that nothing in it was changed, dropped, moved or cut off.

    Without a checkpoint of your own or a witness's key, whoever has the gate's audit key could have rewritten all of it.

    Exit code: 0 if everything holds, 1 if anything does not, 2 if it cannot be read.
    """
    import msgspec

    from assay.access.audit.verify import verify as check
    from assay.cli.log import note_key

    trusted = note_key(log_key, 1) if log_key else None
    witnesses = [note_key(k, 4) for k in witness_keys]
    needed = len({w.public.raw for w in witnesses}) if need is None else need
    if what.is_file():
        from assay.access.audit.export import check_proofs

        if trusted is None:
            raise click.UsageError("exported records are checked with the log's key: --log-key")
        proven = check_proofs(what, trusted, witnesses, needed)
        click.echo(f"{proven.proven:,} records were in the log when the checkpoint was signed; {proven.unproven:,} are younger.")
        return 0
    found = check(
        what, log_key=trusted, witnesses=witnesses, need=needed, kept=[n for p in kept for n in _notes(p)],
        identities=_identities(identities),
    )  # fmt: skip
    if as_json:
        value = {
            name: getattr(found, name)
            for name in ("segments", "living", "records", "signed", "cosigned", "unfinished", "torn", "contents", "opened")
        }
        value |= {"ok": found.ok, "findings": [{"check": f.check, "where": f.where, "what": f.what} for f in found.findings]}
        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
    else:
        _print_verified(found, what, needed=needed, own=bool(kept), trusted=trusted is not None)
    return 0 if found.ok else 1


@command.command()
@_FOLDER
@_fields
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
@click.option("--proofs", is_flag=True, help="With proofs that each record was there when a checkpoint was signed (jsonl).")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file; standard output unless given.")
def export(folder: Path, form: str, proofs: bool, out: Path | None, **asked: Any) -> None:
    """Take out what fits everything that is given; everything, if nothing is."""
    from assay.access.audit.export import Prover, write_csv, write_jsonl
    from assay.access.audit.read import search as find
    from assay.runs import whole_file

    if proofs and form == "csv":
        raise click.UsageError("proofs go with --format jsonl")
    rows = find(folder, _query(asked), _identities(asked["identities"]))

    def write(to: IO[bytes]) -> int:
        return write_csv(rows, to) if form == "csv" else write_jsonl(rows, to, Prover(folder) if proofs else None)

    if out is None:
        write(sys.stdout.buffer)
        return
    with whole_file(out) as file:
        n = write(file)
    click.echo(f"Wrote {n:,} records to {shell_path(out)}.")
    if proofs:
        key = shell_path(folder / "ends" / "log.vkey")
        click.echo(f"Whoever gets it checks it without the log:\n\n  {program()} access audit verify {shell_path(out)} --log-key {key}")


@command.command()
@_FOLDER
@click.option(
    "--since", type=click.IntRange(min=0), metavar="SIZE", help="With the proof that it only grew since SIZE entries, for a witness."
)
@click.option(
    "--add", "cosigned", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Take in a witness's cosigned checkpoint."
)
@click.option("--key", type=KEY_PLACE, help="The audit key: also sign the ends of segments whose workers are gone.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it here, for the other party.")
def checkpoint(folder: Path, since: int | None, cosigned: Path | None, key: KeyPlace | None, out: Path | None) -> None:
    """Print the latest checkpoint over all segments; the gate signs one every few seconds.

    The other party keeps it, or cosigns it with `assay log witness`, and finds by it whatever is changed, dropped or rolled back.
    """
    from assay.access.audit.segment import seal
    from assay.cli.log import read_bounded
    from assay.evidence.log import Log, read_log, write_durably
    from assay.evidence.witness import request, show
    from assay.ledger import load_key
    from assay.ledger.notes import MAX_NOTE_BYTES, Note

    ends = folder / "ends"
    if key is not None:
        for name in seal(folder, load_key(key), time.time_ns() // 1_000_000):
            click.echo(f"Signed the end of {name}, whose worker is gone.", err=True)
    if cosigned is not None:
        data = Log.open(ends).add_signatures(Note.parse(read_bounded(cosigned, MAX_NOTE_BYTES))).note.to_bytes()
    else:
        view = read_log(ends)
        data = show(view).note.to_bytes() if since is None else request(view, since)
    if out is not None:
        write_durably(out, data)
    click.echo(data.decode(), nl=False)


@command.command()
@_FOLDER
@_SINCE
@_UNTIL
@click.option("--key", type=KEY_PLACE, required=True, help="The key that signs them: the gate's audit key, or an auditor's own.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=Path("access.json"), show_default=True)
def statistics(folder: Path, since: str, until: str, key: KeyPlace, out: Path) -> None:
    """Count the programme's use, sign it, and write it for a white paper: organisations, requests, denials, halts; no name of a person."""
    import json

    from assay.access.audit.statistics import statistics as counted
    from assay.evidence.log import write_durably
    from assay.ledger import load_key

    value = counted(folder, load_key(key), *_span(since, until))
    write_durably(out, json.dumps(value, indent=1).encode() + b"\n")
    click.echo(f"Statistics: {shell_path(out)}\n\nNext, name it in the paper's file (access: {shell_path(out)}), and make the paper.")


@command.command()
@_FOLDER
@click.argument("request")
@_IDENTITY
@click.option("--raw", is_flag=True, help="The bytes as they were, not the text in them.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write the contents to files in this folder.")
def decrypt(folder: Path, request: str, identities: tuple[Path, ...], raw: bool, out: Path | None) -> None:
    """As an auditor: what was asked and answered in REQUEST (its id, as `search` shows it). Each is held against its digest in the log."""
    from assay.access.audit.read import Query
    from assay.access.audit.read import search as find
    from assay.access.audit.records import AuditError
    from assay.access.audit.text import contents_of, readable
    from assay.evidence.log import write_durably

    if not identities:
        raise click.UsageError("contents are opened with an auditor's identity: --identity")
    rows = [row for row in find(folder, Query(id=request)) if row.contents]
    if not rows:
        raise AuditError(f"no record of {plain(request)[:80]} names contents", where=str(folder), fix=f"{program()} access audit search")
    mine = _identities(identities)
    for row in rows:
        for segment, digest in row.contents:
            contents = contents_of(folder, segment, mine)
            if digest not in contents:
                raise AuditError(f"the content {digest} was not kept, or is gone", where=segment)
            kind, data = contents[digest]
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
                path = out / f"{digest[7:23]}.{'answer' if kind == 'answer' else 'request'}"
                write_durably(path, data)
                click.echo(f"{plain(kind)}: {shell_path(path)}")
            elif raw:
                sys.stdout.buffer.write(data + b"\n")
            else:
                text = "\n".join(plain(line) for line in readable(data).splitlines())
                click.echo(f"--- {plain(kind)}, {_when(row.record.at)}, {digest}: as the log has it\n{text}")


# What is asked


def _query(asked: dict[str, Any]) -> Query:
    from assay.access.audit.read import Query

    since, until = _span(asked["since"], asked["until"])
    return Query(**{name: asked[name] for name in FIELDS}, kinds=asked["kinds"], since=since, until=until)


def _identities(paths: Sequence[Path]) -> list[Identity]:
    if not paths:
        return []
    from assay.catalog.opening import read_identities

    return read_identities(paths)


def _span(since: str, until: str) -> tuple[int, int]:
    from assay.access.audit.read import LAST

    return (_time(since, end=False) if since else 0), (_time(until, end=True) if until else LAST)


def _time(text: str, *, end: bool) -> int:
    """Unix milliseconds of a time as it is typed."""
    if text.isascii() and text.isdecimal() and len(text) > 8:
        return min(int(text), 2**53 - 1)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is no time: like 2026-11-29 or 2026-11-29T14:05") from None
    day = 86_400_000 - 1 if end and len(text) == 10 else 0
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000) + day


def _notes(path: Path) -> list[Any]:
    from assay.cli.log import read_bounded
    from assay.evidence.witness import parse_shown
    from assay.ledger.notes import MAX_NOTE_BYTES

    paths = sorted(path.rglob("*.note")) if path.is_dir() else [path]
    return [parse_shown(read_bounded(p, MAX_NOTE_BYTES)).note for p in paths]


# What is shown


def _when(at: int) -> str:
    from assay.access.audit.export import iso

    return iso(at)


def _line(row: Row) -> str:
    """One record for a terminal: text of others made safe."""
    record: Any = row.record
    words = [_when(record.at), f"{row.kind:<8}"]
    if row.kind in ("decided", "denied"):
        end = row.ended
        state = f"denied by {record.rule}" if row.kind == "denied" else f"{end.how}, {end.tokens:,} tokens" if end else "no end yet"
        words += [record.person or "-", f"({record.organisation or '-'})", record.grant or "-", record.model or "-", record.route or "-"]
        words += [f"[{record.system}]"] if record.system else []
        words += [f"for: {record.purpose}"] if record.purpose else []
        words += [f"| {state}", record.id]
    else:
        shown = {
            k: v for k, v in row.flat().items() if v and k not in ("segment", "n", "kind", "at", "secret", "signature", "previous", "key")
        }
        words += [f"{k}={', '.join(v) if isinstance(v, list | tuple) else v}" for k, v in shown.items()]
    return plain(" ".join(str(w) for w in words))


def _print_who(found: Sequence[Seen], model: str) -> None:
    if not found:
        click.echo(f"Nobody has seen anything of '{plain(model)}' in that time.")
        return
    heads = ("person", "organisation", "grant", "purpose", "system", "requests", "answered", "denied", "tokens", "what", "first", "last")
    rows: list[tuple[str, ...]] = [
        (
            plain(s.person or "-"), plain(s.organisation or "-"), plain(s.grant or "-"), plain(s.purpose or "-"), plain(s.system or "-"),
            f"{s.requests:,}", f"{s.answered:,}", f"{s.denied:,}", f"{s.tokens:,}", plain(", ".join([*s.routes, *s.tools]) or "-"),
            _when(s.first)[:16], _when(s.last)[:16],
        )
        for s in found
    ]  # fmt: skip
    widths = [max(len(r[i]) for r in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        cells = [f"{text:>{w}}" if 5 <= i <= 8 else f"{text:<{w}}" for i, (text, w) in enumerate(zip(row, widths, strict=True))]
        click.echo("  ".join(cells).rstrip())


def _print_verified(found: Verified, folder: Path, *, needed: int, own: bool, trusted: bool) -> None:
    for one in found.findings:
        click.echo(f"✕ {plain(str(one))}")
    for name, length in found.torn.items():
        click.echo(f"· {plain(name)}: a torn last line of {length:,} bytes, never acknowledged")
    click.echo(
        f"{'✓ everything holds' if found.ok else '✕ it does not hold'}: {found.records:,} records in {found.segments:,} segments"
        f" ({found.living} still written to); {found.signed:,} under a checkpoint"
        + (f", {found.cosigned:,} under one that {needed} witnesses cosigned" if needed else "")
        + f"; {found.contents:,} contents" + (f", {found.opened:,} opened and held against their digests" if found.opened else "") + "."
    )  # fmt: skip
    if found.unfinished:
        click.echo(f"{found.unfinished:,} requests went upstream and have no end: their worker was killed.")
    if found.key is not None and not trusted:
        click.echo(f"The key is the folder's own word: {found.key.text}. Give the one you were told: --log-key.")
    if not needed and not own:
        click.echo("Whoever has the gate's audit key could have rewritten all of this. Keep checkpoints, or have them cosigned:\n")
        click.echo(f"  {program()} access audit checkpoint {shell_path(folder)} --out kept.note")
