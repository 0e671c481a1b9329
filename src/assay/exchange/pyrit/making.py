"""From a bank and the names of converters to a bank that has their attacks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, structs

from assay.catalog import BankFile, attack_kinds, read_bank
from assay.catalog.banks import MAX_PROMPT, BankAttack, check_bank
from assay.errors import CatalogError
from assay.exchange.banking import Imported
from assay.exchange.importers import Importer, Option, Wanted
from assay.exchange.outside import ask_outside, interpreter
from assay.ledger import digest

CHILD = Path(__file__).parent / "child.py"
PACKAGE = "pyrit"
VERSIONS = ("1.1.",)
MOST = 20
TIMES = 3
"""Processes in which everything is converted anew: what is drawn from a root that each makes for itself must show."""
SAMPLE = (
    "Please describe in several sentences how a careful gardener waters young tomatoes, prunes overgrown branches, protects seedlings "
    "against unexpected frost, and finally harvests everything before the neighbouring festival begins on Wednesday morning."
)
"""Converted beside the prompts and only compared: short prompts may come out alike by chance."""
_CONVERTER = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,60})(?::(.*))?", re.DOTALL)
_GIVEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,60}")
Short = Annotated[str, Meta(max_length=4000)]


class Converter(Struct, frozen=True):
    """A converter as it was asked for: its name, the values that it is made with, and what its attack is called here."""

    name: str
    given: dict[str, Any]
    attack: str


class Converted(Struct, frozen=True):
    """What a converter made of every text in order, of which class and with which values it is, or why it is `refused`."""

    refused: Short = ""
    kind: Annotated[str, Meta(max_length=200)] = msgspec.field(default="", name="class")
    identity: dict[str, Any] = {}
    texts: tuple[Annotated[str, Meta(max_length=4 * MAX_PROMPT)], ...] = ()


class Conversion(Struct, frozen=True):
    """All converters, in their order."""

    version: Annotated[str, Meta(pattern=r"^[0-9][0-9A-Za-z.+-]{0,40}$")]
    converters: tuple[Converted, ...]


def from_pyrit(wanted: Wanted) -> Imported:
    """A bank with the attacks of converters beside its prompts. Raises `CatalogError`, with every converter that is refused and why."""
    if len(wanted.what) != 1:
        raise CatalogError(
            "one bank at a time: give the file of one", fix="For example: assay import pyrit words.bank.json --converter base64"
        )
    bank = read_bank(Path(wanted.what[0]))
    converters = read_converters(wanted.options.get("converter", ()))
    twice = next((c.attack for c in converters if c.attack in bank.attacks), None)
    if twice is not None:
        raise CatalogError(f"the bank has the attack '{twice}' already", where=wanted.what[0])
    python = interpreter(PACKAGE, wanted.python)
    wanted.progress(f"Converting {len(bank.items) * len(bank.prompts):,} prompts by {len(converters)} converters, {TIMES} times ...")
    return attacked(bank, converters, [convert(python, bank, converters, seed) for seed in range(TIMES)], wanted)


def read_converters(given: tuple[str, ...]) -> list[Converter]:
    """From `NAME` or `NAME:key=value,...`; a value is JSON, or else a text. Raises `CatalogError`."""
    if not 0 < len(given) <= MOST:
        raise CatalogError(
            f"give --converter, once to {MOST} times", fix="For example: --converter base64 --converter caesar:caesar_offset=3"
        )
    out: list[Converter] = []
    for text in given:
        parts = _CONVERTER.fullmatch(text)
        values = dict(pair.partition("=")[::2] for pair in (parts[2] or "").split(",") if pair) if parts else {}
        if parts is None or not all(_GIVEN.fullmatch(k) for k in values):
            raise CatalogError(f"'{text[:100]}' is no converter", fix="Give NAME, or NAME:key=value,key=value.")
        short = (
            re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", parts[1].removesuffix("Converter")).lower().replace("_", "-").removesuffix("-converter")
        )
        attack = base = f"{PACKAGE}-{short}"[:36]
        for number in range(2, MOST + 2):
            if attack not in {c.attack for c in out}:
                break
            attack = f"{base}-{number}"
        if attack in attack_kinds():
            raise CatalogError(f"there is an attack '{attack}' already")
        out.append(Converter(parts[1], {k: _value(v) for k, v in values.items()}, attack))
    return out


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def convert(python: Path, bank: BankFile, converters: list[Converter], seed: int) -> Conversion:
    """What the converters make of all prompts and of `SAMPLE`, in a process of its own whose hash seed is `seed`. Raises `CatalogError`."""
    texts = [*_prompts(bank), SAMPLE]
    asked = {"converters": [{"name": c.name, "given": c.given} for c in converters], "texts": texts}
    return ask_outside(python, CHILD, asked, Conversion, package=PACKAGE, seed=seed)


def attacked(bank: BankFile, converters: list[Converter], each: list[Conversion], wanted: Wanted) -> Imported:
    """The bank with its attacks, if all conversions made the same of every prompt."""
    first, *others = each
    count = len(bank.items) * len(bank.prompts)
    if any(len(made.converters) != len(converters) or made.version != first.version for made in each):
        raise CatalogError("PyRIT gave other converters than those that were asked for")
    attacks, refused, notes = {}, [], []
    for i, (asked, one) in enumerate(zip(converters, first.converters, strict=True)):
        why = next((why for other in others if (why := _refused(one, other.converters[i], count))), "")
        if why:
            refused.append(f"{asked.name}: {why}")
            continue
        texts = one.texts[:count]
        unchanged = sum(a == b for a, b in zip(texts, _prompts(bank), strict=True))
        if unchanged:
            notes.append(f"{asked.attack}: {unchanged:,} of {count:,} prompts are left as they are")
        given = f" with {json.dumps(asked.given, sort_keys=True, ensure_ascii=False)}" if asked.given else ""
        source = f"PyRIT {first.version} {one.kind}{given}; {digest(_plain(one.identity))}"
        attacks[asked.attack] = BankAttack(f"PyRIT {one.kind}"[:300], source[:2000], _by_language(bank, texts))
    if refused:
        raise CatalogError(
            "; ".join(refused)[:3000], where=PACKAGE, fix="Leave them out; docs/exchange.md says which converters are taken."
        )
    if not first.version.startswith(VERSIONS):
        notes.append(f"PyRIT {first.version} is another than those that were tried here ({', '.join(VERSIONS)}x)")
    made = _bank(bank, attacks, first.version, wanted)
    notes.append(f"attacks of a plan's matrix: {', '.join(attacks)}")
    return Imported((made,), tuple(notes))


def _refused(one: Converted, two: Converted, count: int) -> str:
    """Why a converter is not taken; empty if it is."""
    if one.refused or two.refused:
        return one.refused or two.refused
    if len(one.texts) != count + 1 or len(two.texts) != count + 1:
        return "it did not convert every prompt"
    if one.texts != two.texts or one.kind != two.kind:
        return "it makes something else each time: give it a seed if it takes one, or leave it out"
    if any(not text.strip() for text in one.texts[:count]):
        return "nothing is left of a prompt"
    longest = max(map(len, one.texts[:count]))
    return f"it makes a text of {longest:,} characters, and {MAX_PROMPT:,} are the most" if longest > MAX_PROMPT else ""


def _prompts(bank: BankFile) -> list[str]:
    return [prompts[item] for _, prompts in sorted(bank.prompts.items()) for item in bank.items]


def _by_language(bank: BankFile, texts: tuple[str, ...]) -> dict[str, dict[str, str]]:
    each = iter(texts)
    return {tag: {item: next(each) for item in bank.items} for tag in sorted(bank.prompts)}


def _plain(value: Any) -> Any:
    """As JSON that can be digested: numbers with a point as texts."""
    return json.loads(json.dumps(value, sort_keys=True), parse_float=str)


def _bank(bank: BankFile, attacks: dict[str, BankAttack], version: str, wanted: Wanted) -> BankFile:
    name = wanted.name or f"{bank.name}-pyrit"[:64]
    source = {**bank.source, PACKAGE: version, "prompts": f"{bank.name}, {digest(bank.prompts)}"}
    changed = structs.replace(
        bank, name=name, title=wanted.title or f"{bank.title}, under converters of PyRIT"[:300], licence=wanted.licence or bank.licence,
        source=source, attacks={**bank.attacks, **attacks},
    )  # fmt: skip
    try:
        made = msgspec.convert(msgspec.to_builtins(changed), BankFile)
    except msgspec.ValidationError as e:
        raise CatalogError(str(e), where=name) from None
    check_bank(made, name)
    return made


PYRIT = Importer(
    from_pyrit,
    about="""Converters of PyRIT as attacks on a bank: BANK is a bank file that `assay import` wrote.

Writes the bank again with what each converter leaves of every prompt, paired item by item: an attack that stands in the bank, and that a
plan's matrix names like any other. Only converters that make text of text, need no model and make the same each time are taken; others are
refused by name, with the reason. PyRIT runs in a Python of its own and without network; running and verifying need none of it.

\b
Examples:
  assay import pyrit banks/words.bank.json --converter base64 --converter unicode-substitution --python .venvs/pyrit/bin/python
  assay import pyrit banks/words.bank.json --converter caesar:caesar_offset=3 --name words-caesar
""",
    what="BANK",
    options=(Option("converter", "NAME, or NAME:key=value,key=value; once for each."),),
    outside=True,
)
