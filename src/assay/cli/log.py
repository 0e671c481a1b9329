"""`assay log init|add|checkpoint|witness|prove|check`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from assay.cli.keyplace import KEY_PLACE
from assay.cli.logview import left_to_trust, print_checked, print_json, when
from assay.cli.words import program, shell_path

if TYPE_CHECKING:
    from assay.evidence.witness import Cosigned
    from assay.ledger import KeyPlace, PrivateKey
    from assay.ledger.notes import NoteKey

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_KEY = click.option("--key", type=KEY_PLACE, help="The log's signing key (PEM or PKCS#11 URI); your usual one unless given.")


@click.group()
def command() -> None:
    """A log that runs are registered in before their first trial, and must end in, so that a dropped run shows.

    One party keeps it; the other cosigns what it has seen (`assay log witness`), so that it can only grow. docs/log.md tells it in order.

    \b
    Examples:
      assay log init log --origin example.org/assay
      assay log add log runs/first
      assay log checkpoint log
      assay log witness log --state witness.json --key other.pem --log-key log/log.vkey
      assay log check log --log-key log/log.vkey --witness-key witness.vkey
    """


@command.command()
@_FOLDER
@click.option("--origin", required=True, metavar="NAME", help="The log's name to everybody, like example.org/assay.")
@click.option("--key", type=KEY_PLACE, help="Signing key (PEM or PKCS#11 URI); your usual one unless given, a PEM made if it is not there.")
def init(folder: Path, origin: str, key: KeyPlace | None) -> None:
    """Make an empty log in FOLDER, and print the key that others check it with."""
    from assay.evidence.log import KEY_NAME, Log
    from assay.ledger import load_or_create_key

    log = Log.create(folder, origin, load_or_create_key(key or _usual_key()))
    click.echo(f"The log {origin} is in {shell_path(folder)}. Others check it with this key (also in {shell_path(folder / KEY_NAME)}):")
    click.echo(f"\n  {log.key.text}\n\nGive it to them by a channel that they trust. Next, register a run:\n")
    click.echo(f"  {program()} log add {shell_path(folder)} RUN")


@command.command()
@_FOLDER
@click.argument("run", type=click.Path(path_type=Path))
def add(folder: Path, run: Path) -> None:
    """Register RUN (a run's folder, run file or bundle) in the log, and its decision once it has ended.

    What is in the log already stays as it is, so this can be called at any time. On disk when it returns.
    """
    from assay.evidence.log import Log

    added = Log.open(folder).add(run)
    if added.torn:
        click.echo(f"Removed a torn last line of {added.torn} bytes that was never acknowledged.")
    what = f"added as {_entries(added.appended)}" if added.appended else "in the log already, nothing added"
    click.echo(f"Run {added.run}: {what}.")
    click.echo(
        "It has ended: registration and decision are in the log." if added.closed else "It has no decision yet: add it again when it has."
    )


@command.command()
@_FOLDER
@_KEY
@click.option("--out", type=click.Path(path_type=Path), help="Write it here too, for the other party.")
@click.option("--since", type=int, metavar="SIZE", help="With the proof that the log only grew since SIZE entries, for a witness afar.")
@click.option(
    "--add", "cosigned", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Take in a witness's cosigned checkpoint."
)
def checkpoint(folder: Path, key: KeyPlace | None, out: Path | None, since: int | None, cosigned: Path | None) -> None:
    """Sign the log as it is: name, size and root, printed and kept in the log. Refuses if that contradicts what was signed before."""
    from assay.evidence.log import Log, read_log, write_durably
    from assay.evidence.witness import request
    from assay.ledger.notes import MAX_NOTE_BYTES, Note

    log = Log.open(folder)
    if cosigned is not None:
        signed = log.add_signatures(Note.parse(read_bounded(cosigned, MAX_NOTE_BYTES)))
    else:
        signed = log.checkpoint(_existing_key(key or _usual_key()))
    data = signed.note.to_bytes() if since is None else request(read_log(folder), since)
    if out is not None:
        write_durably(out, data)
    click.echo(data.decode(), nl=False)


@command.command()
@click.argument("shown", type=click.Path(exists=True, path_type=Path))
@click.option("--state", required=True, type=click.Path(path_type=Path), help="Your own file: what you cosigned before. Keep it safe.")
@click.option("--key", required=True, type=KEY_PLACE, help="Your signing key: a PEM file, made if it is not there, or a PKCS#11 URI.")
@click.option("--name", default="", help="Your name to others, like example.org/auditor.")
@click.option("--log-key", default="", metavar="KEY", help="The log's key, or a file with it; needed the first time.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the cosigned checkpoint here.")
def witness(shown: Path, state: Path, key: KeyPlace, name: str, log_key: str, out: Path | None) -> None:
    """As the other party: cosign SHOWN if the log only grew since you last cosigned it.

    SHOWN is a log's folder, whose latest checkpoint gets your cosignature, or a file from `assay log checkpoint`. A split view, a log that
    was rewritten or has shrunk is refused, and what differs is said.

    Exit code: 0 cosigned, 1 refused, 2 bad input or surroundings.
    """
    from assay.evidence import witness as other
    from assay.evidence.log import Log, read_log, write_durably
    from assay.ledger import load_or_create_key
    from assay.ledger.notes import MAX_NOTE_BYTES

    mine = load_or_create_key(key)
    what = other.show(read_log(shown)) if shown.is_dir() else other.parse_shown(read_bounded(shown, MAX_NOTE_BYTES))
    trusted = note_key(log_key, 1) if log_key else None
    done = other.witness(state, mine, name or other.own_key_name(mine), what, int(time.time()), trusted)
    write_durably(state.with_suffix(".vkey"), done.key.text.encode() + b"\n")
    if out is not None:
        write_durably(out, done.note.to_bytes())
    elif shown.is_dir():
        Log.open(shown).add_signatures(done.note)
    else:
        click.echo(done.note.to_bytes().decode(), nl=False)
    _say_cosigned(done, state, aside=out is None and not shown.is_dir())


@command.command()
@_FOLDER
@click.argument("run")
@click.option("--out", type=click.Path(path_type=Path), help="The proof's file; RUN's digest unless given.")
def prove(folder: Path, run: str, out: Path | None) -> None:
    """Write the proof that RUN (a run, a bundle, or the digest of its registration) is in the log under its latest cosigned checkpoint."""
    from assay.evidence.log import checked, read_log, write_durably
    from assay.evidence.logcheck import prove as prove_run
    from assay.evidence.logsource import read_source

    digest = read_source(Path(run)).digest if Path(run).exists() else run
    proof = prove_run(checked(read_log(folder), str(folder)), digest)
    path = out or Path(f"{digest.removeprefix('sha256:')[:16]}.log-proof.json")
    write_durably(path, proof.to_bytes())
    ended = "registration and decision" if len(proof.entries) > 1 else "registration; the run has no end in the log"
    click.echo(f"Wrote {shell_path(path)}: {ended}, entries {', '.join(str(e.index) for e in proof.entries)}.")


@command.command()
@click.argument("what", type=click.Path(exists=True, path_type=Path))
@click.option("--log-key", default="", metavar="KEY", help="The log's key, or a file with it, as its operator told you; a proof needs it.")
@click.option("--witness-key", "witness_keys", multiple=True, metavar="KEY", help="A witness's key, or a file with it; may be repeated.")
@click.option("--need", type=click.IntRange(min=0), help="How many of the witnesses must have cosigned; all unless given.")
@click.option("--within", default=7.0, show_default=True, metavar="DAYS", help="How long a run may be without an end.")
@click.option("--run", type=click.Path(exists=True, path_type=Path), help="With a proof: the run or bundle that it must be of.")
@click.option("--registered-first", is_flag=True, help="Demand that each run's registration was cosigned before the log had its end.")
@click.option("--json", "as_json", is_flag=True, help="Findings and runs as JSON.")
def check(
    what: Path, log_key: str, witness_keys: tuple[str, ...], need: int | None, within: float, run: Path | None, registered_first: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """As an outsider: check WHAT, a log's folder or a proof from it, and list runs without an end.

    Exit code: 0 if everything holds, 1 if anything does not, 2 if it cannot be read.
    """
    from assay.evidence.log import read_log
    from assay.evidence.logcheck import MAX_PROOF_BYTES, check_log, check_proof, require_registered_first
    from assay.evidence.logsource import read_source

    trusted = note_key(log_key, 1) if log_key else None
    witnesses = [note_key(k, 4) for k in witness_keys]
    needed = len({k.public.raw for k in witnesses}) if need is None else need
    now, within_ms = time.time_ns() // 1_000_000, int(min(max(within, 0), 1e6) * 86_400_000)
    if what.is_dir():
        if run is not None:
            raise click.UsageError("--run goes with a proof, not with a log")
        found = check_log(read_log(what), str(what), trusted, witnesses, need=needed, now_ms=now, within_ms=within_ms)
    elif trusted is None:
        raise click.UsageError("a proof is checked with the log's key: --log-key")
    else:
        source = read_source(run) if run else None
        data = read_bounded(what, MAX_PROOF_BYTES)
        found = check_proof(data, trusted, witnesses, need=needed, now_ms=now, within_ms=within_ms, source=source)
    if registered_first:
        require_registered_first(found)
    if as_json:
        print_json(found, now)
    else:
        print_checked(found, now, left_to_trust(trusted, witnesses, needed, of_proof=not what.is_dir()))
    return 0 if found.ok else 1


def _say_cosigned(done: Cosigned, state: Path, *, aside: bool) -> None:
    before = f"it has grown from {done.before.size} since {when(done.before.at)}" if done.before else "the first time that you see it"
    click.echo(f"Cosigned {done.head.origin} with {done.head.size} entries at {when(done.at)}: {before}.", err=aside)
    click.echo(f"Others check that with your key (also in {shell_path(state.with_suffix('.vkey'))}):\n\n  {done.key.text}", err=aside)


def _entries(indexes: Sequence[int]) -> str:
    return f"entry {indexes[0]}" if len(indexes) == 1 else f"entries {indexes[0]} and {indexes[-1]}"


def _usual_key() -> KeyPlace:
    from assay.api import default_key_path

    return default_key_path()


def _existing_key(path: KeyPlace) -> PrivateKey:
    from assay.errors import SigningKeyError
    from assay.ledger import load_or_create_key

    if isinstance(path, Path) and not path.exists():
        raise SigningKeyError("there is no key", where=str(path), fix="Give the key that the log was made with: --key.")
    return load_or_create_key(path)


def note_key(given: str, kind: Literal[1, 4]) -> NoteKey:
    """A log's (1) or a witness's (4) key, given itself or as a file. Raises `LogError`."""
    from assay.ledger.notes import NoteKey

    if "+" not in given or Path(given).suffix == ".vkey":
        given = read_bounded(Path(given), 4096).decode(errors="replace")
    return NoteKey.parse(given, kind=kind)


def read_bounded(path: Path, limit: int) -> bytes:
    """A file of at most so many bytes. Raises `LogError`."""
    from assay.evidence.logbook import LogError

    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as e:
        raise LogError(f"cannot read: {e.strerror}", where=str(path)) from None
    if len(data) > limit:
        raise LogError(f"more than {limit:,} bytes", where=str(path))
    return data
