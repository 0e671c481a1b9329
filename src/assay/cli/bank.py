"""`assay bank identity|seal|share|show|check|disclose`."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from assay.cli.keyplace import KEY_PLACE
from assay.cli.words import program, shell_path
from assay.errors import SealedBankError

if TYPE_CHECKING:
    from assay.catalog.sealed import SealedFile, SealedItem, SealedTier
    from assay.ledger import KeyPlace

_BANK = click.argument("bank", type=click.Path(exists=True, dir_okay=False, path_type=Path))
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_IDENTITY = click.option("--identity", "identities", multiple=True, type=_FILE, help="An age identity file; may be given several times.")
_SHARE = click.option("--share", "shares", multiple=True, type=_FILE, help="A party's share (assay bank share).")
SHOWN = 20


@click.group()
def command() -> None:
    """Held-out banks: prompts that are committed to, encrypted, and counted each time that they are shown to a target.

    \b
    Examples:
      assay bank identity --out institute.age
      assay bank seal hard.bank.json --tier semi-sealed --recipient age1... --retire-after 3
      assay bank show hard.sealed.json
      assay run plan.yaml --identity institute.age
    """


@command.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The secret file; age's own tool reads it too.")
def identity(out: Path) -> None:
    """Make an age identity: a secret file, and the recipient that others encrypt to."""
    from assay.catalog.opening import new_identity, write_secret

    secret, recipient = new_identity()
    write_secret(out, secret.encode())
    click.echo(f"Keep secret         {shell_path(out)}\nGive to the others  {recipient}")
    click.echo(f"\nNext, whoever has the prompts seals them:\n\n  {program()} bank seal BANK --recipient {recipient}")


@command.command()
@_BANK
@click.option("--out", type=click.Path(path_type=Path), help="The sealed bank; NAME.sealed.json unless given.")
@click.option(
    "--tier",
    type=click.Choice(["semi-sealed", "fully-sealed"]),
    default="fully-sealed",
    show_default=True,
    help="Each recipient opens it alone, or only two together.",
)
@click.option("--recipient", "recipients", multiple=True, metavar="age1...", help="Who opens it; of a fully sealed one, the two parties.")
@click.option("--recipient-file", "recipient_files", multiple=True, type=_FILE, help="The same: a file of recipients, or an identity's.")
@click.option(
    "--retire-after",
    type=click.IntRange(0, 1_000_000),
    default=0,
    metavar="N",
    help="Retire an item after so many runs have shown it; 0 is never.",
)
@click.option("--key", type=KEY_PLACE, default=None, help="Your signing key, for the ledger of exposures; made if it is not there.")
def seal(
    bank: Path, out: Path | None, tier: SealedTier, recipients: tuple[str, ...], recipient_files: tuple[Path, ...], retire_after: int,
    key: KeyPlace | None,
) -> None:  # fmt: skip
    """Seal BANK, a plain bank file: commit to every item, encrypt the texts, and begin the ledger of exposures beside it."""
    from assay import api
    from assay.catalog import read_bank
    from assay.catalog.exposures import exposures_path
    from assay.catalog.opening import read_recipients, seal_bank
    from assay.ledger import load_or_create_key
    from assay.runs.exposures import make_ledger

    plain = read_bank(bank)
    out = out or Path(f"{plain.name}.sealed.json")
    for path in (out, exposures_path(out)):
        if path.exists():
            raise SealedBankError("there is such a file already", where=str(path), fix="Choose another --out.")
    made = seal_bank(plain, tier, [*recipients, *read_recipients(recipient_files)], retire_after)
    signing = load_or_create_key(key or api.default_key_path())
    make_ledger(out, made, signing, _now_ms())
    _write(out, msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n")
    click.echo(f"Sealed {len(made.leaves):,} items of '{made.name}' ({tier}), root {made.root}.")
    click.echo(f"\n  Bank    {shell_path(out)}\n  Ledger  {shell_path(exposures_path(out))}")
    _cannot(made.tier)
    click.echo(f"\nThe plain texts are still in {shell_path(bank)}: keep that from those who must not see it.")
    click.echo("Next, name the sealed bank in a plan:\n")
    click.echo(f"  content: [{out.name}]\n  matrix: {{hazards: [{made.name}], languages: [{', '.join(made.languages)}], benign: false}}")


@command.command()
@_BANK
@click.option("--identity", "identities", multiple=True, required=True, type=_FILE, help="Your age identity file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Your share, for the runner.")
@click.option("--to", default="", metavar="age1...", help="The runner's recipient: only the runner's identity then reads the share.")
def share(bank: Path, identities: tuple[Path, ...], out: Path, to: str) -> None:
    """Decrypt your share of the fully sealed BANK and give it to the runner, who joins both in memory."""
    from assay.catalog.opening import decrypt_share, read_identities, write_secret
    from assay.catalog.sealed import read_sealed

    made = decrypt_share(read_sealed(bank), read_identities(identities), to)
    write_secret(out, msgspec.json.encode(made) + b"\n")
    kept = "only the runner's identity reads it" if to else "keep it secret: with the other party's it opens the bank"
    click.echo(f"Your share is in {shell_path(out)}; {kept}.")
    click.echo(f"\nNext, the runner runs the plan with both:\n\n  {program()} run PLAN --identity OWN --share {shell_path(out)}")


@command.command()
@_BANK
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
def show(bank: Path, as_json: bool) -> None:
    """What BANK is: tier, items, how often they were exposed, which are retired, and what its tier cannot protect."""
    from assay.catalog import read_bank
    from assay.catalog.exposures import read_exposures
    from assay.catalog.sealed import CANNOT, is_sealed, read_sealed

    if not is_sealed(bank):
        plain = read_bank(bank)
        if as_json:
            facts = {"name": plain.name, "tier": "public", "items": len(plain.items), "cannot": CANNOT["public"]}
            click.echo(json.dumps(facts, ensure_ascii=False))
            return
        click.echo(f"{plain.name}: public, {len(plain.items):,} items in {', '.join(plain.languages)}; {plain.licence}")
        _cannot("public")
        click.echo(f"\nNext, to hold it out: {program()} bank seal {shell_path(bank)} --recipient age1...")
        return
    file = read_sealed(bank)
    ledger = read_exposures(bank, file)
    counts, live = ledger.counts(), ledger.live(file)
    retired = [i for i in file.items if i not in set(live)]
    open_runs = sorted({entry.run for entry in ledger.unsettled().values()})
    if as_json:
        facts = {
            "name": file.name, "tier": file.tier, "items": len(file.leaves), "languages": file.languages, "root": file.root,
            "recipients": file.recipients, "retire_after": file.retire_after, "runs": ledger.runs, "exposures": counts,
            "live": len(live), "retired": retired, "not_ended": open_runs, "ledger": ledger.head, "cannot": CANNOT[file.tier],
        }  # fmt: skip
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    click.echo(f"{file.name}: {file.tier}, {len(file.leaves):,} items in {', '.join(file.languages)}; {file.licence}")
    click.echo(f"  root        {file.root}")
    for recipient in file.recipients:
        click.echo(f"  opened by   {recipient}" + (" (not alone)" if file.tier == "fully-sealed" else ""))
    spread = Counter(counts[i] for i in file.items)
    told = ", ".join(f"{n:,} items {times} times" for times, n in sorted(spread.items()))
    click.echo(f"  exposures   {ledger.runs} runs; {told}")
    if file.retire_after:
        names = ", ".join(retired[:SHOWN]) + (", ..." if len(retired) > SHOWN else "")
        click.echo(f"  live        {len(live):,}; retired after {file.retire_after}: {len(retired):,}" + (f" ({names})" if retired else ""))
    for run in open_runs:
        click.echo(f"  not ended   run {run}: all that it reserved counts")
    click.echo(f"  ledger      {ledger.lines} lines, the last {ledger.head}")
    _cannot(file.tier)
    click.echo(f"\nNext, hold the texts against the commitments: {program()} bank check {shell_path(bank)} --identity FILE")


@command.command()
@_BANK
@_IDENTITY
@_SHARE
@click.option("--sealed", type=_FILE, help="Of a disclosed item: the bank that it must have been in.")
def check(bank: Path, identities: tuple[Path, ...], shares: tuple[Path, ...], sealed: Path | None) -> int:
    """Recompute every commitment of the sealed BANK with what opens it, and hold its ledger; or that of one disclosed item.

    No text is printed. Exit code: 0 if everything holds, 1 if not, 2 if it cannot be opened.
    """
    from assay.catalog.exposures import read_exposures
    from assay.catalog.sealed import DisclosedItem, is_disclosed, is_sealed, read_json, read_sealed

    if not is_sealed(bank):
        if sealed is None:
            raise click.UsageError("a disclosed item is checked against its bank: --sealed FILE")
        found, root = read_json(bank, DisclosedItem, "disclosed item"), read_sealed(sealed).root
        if not is_disclosed(found, root):
            click.echo(click.style(f"  ✕ item {found.item.item} is not among those that the bank commits to", fg="red"))
            return 1
        click.echo(f"  ✓ item {found.item.item} of {found.size:,} was committed to under {root}")
        return 0
    file = read_sealed(bank)
    click.echo(f"  ✓ root over {len(file.leaves):,} commitments  {file.root}")
    ledger = read_exposures(bank, file)
    click.echo(f"  ✓ ledger of exposures, {ledger.lines} lines  {ledger.head}")
    if not identities and not shares:
        click.echo("\nNot opened: the texts were not held against the commitments. Give --identity, and --share of the other party.")
        return 0
    items = _opened(bank, file, identities, shares)
    click.echo(f"  ✓ texts and salts fit all {len(items):,} commitments")
    click.echo(f"\nNext, run a plan that names it: {program()} run PLAN --identity FILE")
    return 0


@command.command()
@_BANK
@_IDENTITY
@_SHARE
@click.option("--item", "ordinal", required=True, metavar="0007", help="The item to make public.")
@click.option("--out", type=click.Path(path_type=Path), help="The file; NAME-ITEM.item.json unless given.")
def disclose(bank: Path, identities: tuple[Path, ...], shares: tuple[Path, ...], ordinal: str, out: Path | None) -> None:
    """Make one item of the sealed BANK public: its text and salt, with the proof that it was committed to.

    It is no held-out item any more. Nothing is told about the others.
    """
    from assay.catalog.sealed import disclose as disclosed
    from assay.catalog.sealed import read_sealed

    file = read_sealed(bank)
    if ordinal not in file.leaves:
        raise SealedBankError(f"the bank has no item '{ordinal[:20]}'", where=str(bank), fix=f"It has {file.items[0]} to {file.items[-1]}.")
    found = disclosed(file, _opened(bank, file, identities, shares)[ordinal])
    out = out or Path(f"{file.name}-{ordinal}.item.json")
    _write(out, msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    click.echo(f"Item {ordinal} is in {shell_path(out)}, in the clear, with its proof.")
    click.echo(f"\nNext, anybody checks it:\n\n  {program()} bank check {shell_path(out)} --sealed {shell_path(bank)}")


def _opened(bank: Path, file: SealedFile, identities: tuple[Path, ...], shares: tuple[Path, ...]) -> dict[str, SealedItem]:
    from assay.catalog.opening import open_file, read_identities, read_share

    keys = read_identities(identities)
    return open_file(file, keys, [read_share(path, keys) for path in shares])


def _cannot(tier: str) -> None:
    from assay.catalog.sealed import CANNOT

    click.echo(f"\nWhat a {tier} bank cannot protect:")
    for words in CANNOT[tier]:  # type: ignore[index]
        click.echo(f"  - {words}")


def _write(path: Path, data: bytes) -> None:
    """A file that was not there before, whole or not at all."""
    from assay.runs import whole_file

    if path.exists():
        raise SealedBankError("there is such a file already", where=str(path), fix="Choose another --out.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(data)
    except OSError as e:
        raise SealedBankError(f"cannot write here: {e.strerror}", where=str(path)) from None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
