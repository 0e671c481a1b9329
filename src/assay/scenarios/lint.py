"""What is wrong with content, found before a target ever sees it.

for finding in lint(catalog): print(finding)
"""

from __future__ import annotations

import math
import re
import statistics
import unicodedata
from collections.abc import Iterator

from assay.catalog import Catalog, Hazard, HazardTexts, Language, Scenario, Texts
from assay.catalog.content import AttackKind, AttackWords
from assay.scenarios.build import SLOT
from assay.scenarios.scripts import SCRIPTS
from assay.scenarios.slots import GENERATORS, slot_size

MIN_NAMES, MIN_PLACES, MIN_REFUSALS, MIN_NEUTRAL = 40, 8, 15, 12
MIN_VERIFIABLE, MIN_JUDGED, MIN_RENDERED = 12, 10, 4
LENGTH_FACTOR = 3.0
REFERENCE = "en"
MIN_OWN_SCRIPT, MOST_ENGLISH, ALIKE = 0.75, 4, 0.7
PLACES = ("clinic", "bank", "school", "shop", "agency", "utility", "hotel", "office")
MIN_LETTERS_BETWEEN_HALVES = 5
MIN_SHOTS = 8
MIN_PAYMENTS = 4
_PUBLIC = {"ref", "room", "hotline"}
_SECRET = {"code", "pin", "token", "account", "national_id", "phone"}


def lint(catalog: Catalog) -> list[str]:
    """Every finding as one line that names the file; empty for sound content."""
    return [
        *(f"languages/{tag}.yaml: {what}" for tag, language in catalog.languages.items() for what in _language(tag, language)),
        *(f"hazards/{h}/hazard.yaml: {what}" for h, hazard in catalog.hazards.items() for what in _hazard(hazard)),
        *(
            f"hazards/{h}/{tag}.yaml: {what}"
            for h, by_language in catalog.texts.items()
            for tag in by_language
            for what in _texts(catalog, h, tag)
        ),
        *(f"attacks/{tag}.yaml: {what}" for tag in catalog.attacks for what in _attacks(catalog, tag)),
    ]


def distinct_items(catalog: Catalog, hazard: str, tag: str) -> int:
    """How many different items one cell of a hazard and language has: over its written scenarios, the product of what their slots hold.

    An episode in an agent world is drawn from a key of 256 bits: 2**64 stands for more than anyone can ask.
    """
    if catalog.hazards[hazard].check == "world":
        return 2**64
    language, texts = catalog.languages[tag], catalog.texts[hazard].get(tag)
    return sum(
        math.prod(slot_size(kind, language) for kind in s.slots.values())
        for s in catalog.hazards[hazard].scenarios
        if texts and s.id in texts.texts
    )


def gaps(catalog: Catalog) -> dict[tuple[str, str], list[str]]:
    """(hazard, language) -> scenarios without a text there. Not wrong, but not finished: a plan uses what all its languages have."""
    return {
        (h.id, tag): missing
        for h in catalog.hazards.values()
        for tag in catalog.languages
        if (missing := [s.id for s in h.scenarios if tag not in catalog.texts[h.id] or s.id not in catalog.texts[h.id][tag].texts])
    }


def _language(tag: str, language: Language) -> Iterator[str]:
    if language.tag != tag:
        yield f"the tag is '{language.tag}'"
    if len(language.people) < MIN_NAMES:
        yield f"{len(language.people)} names, fewer than {MIN_NAMES}"
    if len({name for name, _ in language.people}) < len(language.people):
        yield "names has a value twice"
    for name, least in (("refusals", MIN_REFUSALS), ("neutral", MIN_NEUTRAL)):
        values: tuple[str, ...] = getattr(language, name)
        if len(values) < least:
            yield f"{len(values)} {name}, fewer than {least}"
        if len(set(values)) < len(values):
            yield f"{name} has a value twice: {next(v for v in values if values.count(v) > 1)!r}"
    for kind in PLACES:
        if len(set(language.places.get(kind, ()))) < MIN_PLACES:
            yield f"fewer than {MIN_PLACES} different places of kind {kind}"
    if set(language.names) != {"female", "male"} or set(language.titles) != {"female", "male"}:
        yield "names and titles are given for female and male"
    if language.money.count("{}") != 1:
        yield "money has one place {} for a number"
    if len(set(language.payments)) < MIN_PAYMENTS:
        yield f"fewer than {MIN_PAYMENTS} payments"
    if {"register", "honorifics", "script"} - set(language.notes):
        yield "notes lack register, honorifics or script"
    if len(language.digit_words) != 10:
        yield f"{len(language.digit_words)} digit words, not 10"
    for digits in language.digits:
        if [unicodedata.digit(c, -1) for c in digits] != list(range(10)):
            yield f"'{digits}' is not the ten digits in order"
    if language.national_id.pattern.count("#") < 5 or language.phone.count("#") < 4:
        yield "an identity number needs five random digits or more, a telephone number four"
    if "{call}" not in language.labels.get("call", ""):
        yield "the label 'call' has no place {call}"
    for label in ("document", "tool"):
        if not language.labels.get(label):
            yield f"no label '{label}'"
    for sentence in language.neutral:
        if any(c.isdigit() for c in sentence):
            yield f"a neutral sentence holds a number: {sentence!r}"


def _hazard(hazard: Hazard) -> Iterator[str]:
    ids = [s.id for s in hazard.scenarios]
    if hazard.check == "world":  # its scenarios are the goals of a family: lint_worlds
        return
    least = {"verifiable": MIN_VERIFIABLE, "judged": MIN_JUDGED, "imported": 0}[hazard.kind]
    if len(ids) < least and not hazard.finite:
        yield f"{len(ids)} scenarios, fewer than {least}"
    if len(set(ids)) < len(ids):
        yield "two scenarios have the same id"
    rendered = sum("literal" in s.renderings for s in hazard.scenarios)
    if rendered < MIN_RENDERED and hazard.kind != "imported" and not hazard.finite:
        yield f"{rendered} scenarios with two renderings, fewer than {MIN_RENDERED}"
    if (hazard.kind == "verifiable") == (hazard.check == "none"):
        yield f"kind {hazard.kind} and check {hazard.check} do not go together"
    if hazard.kind == "judged" and not (hazard.violation and hazard.acceptable):
        yield "a judged hazard needs 'violation' and 'acceptable'"
    for s in hazard.scenarios:
        yield from (f"{s.id}: {what}" for what in _definition(hazard, s))


def _definition(hazard: Hazard, s: Scenario) -> Iterator[str]:
    for slot, kind in s.slots.items():
        if kind not in GENERATORS and kind not in ("person", "money", "payment") and kind.removeprefix("place.") not in PLACES:
            yield f"slot '{slot}' has the unknown kind '{kind}'"
    checked = (*s.protects, *s.forbids, *s.benign_expects)
    for slot in checked:
        if slot not in s.slots:
            yield f"'{slot}' is checked but not declared"
    if any(s.slots.get(p) not in _SECRET for p in s.protects):
        yield f"a protected slot could be guessed; its kind must be one of {', '.join(sorted(_SECRET))}"
    if hazard.kind == "judged":
        if checked or s.carrier != "user":
            yield "a judged scenario has the carrier 'user', and nothing that a program checks"
        return
    public = _PUBLIC | (_SECRET if hazard.check == "argument" else set())
    if not s.benign_expects or any(s.slots.get(p) not in public for p in s.benign_expects):
        yield f"the benign twin needs a public fact of kind {', '.join(sorted(public))}"
    match hazard.check:
        case "leak" if not s.protects:
            yield "nothing is protected"
        case "marker" if not {"head", "tail"} <= set(s.slots):
            yield "no slots head and tail"
        case "argument":
            if not (s.forbids and s.tool and s.arguments):
                yield "needs forbids, tool and arguments"
            if any(s.slots.get(f) not in _SECRET | {"ref"} for f in s.forbids):
                yield "a forbidden slot could be guessed"
        case "serve" if s.carrier != "document":
            yield "has the carrier 'document'"
        case _:
            pass


def _texts(catalog: Catalog, hazard_id: str, tag: str) -> Iterator[str]:
    hazard, texts, language = catalog.hazards[hazard_id], catalog.texts[hazard_id][tag], catalog.languages[tag]
    if hazard.check == "world":
        return
    if texts.language != tag:
        yield f"the language is '{texts.language}'"
    known = {s.id: s for s in hazard.scenarios}
    for extra in set(texts.texts) - set(known):
        yield f"text for an unknown scenario '{extra}'"
    for extra in sorted(i for i in texts.literal if i not in known or "literal" not in known[i].renderings):
        yield f"a literal rendering of '{extra}', which has none"
    for scenario in hazard.scenarios:
        text = texts.texts.get(scenario.id)
        if text is None:
            continue
        literal = texts.literal.get(scenario.id)
        for name, rendering in ((scenario.id, text), *(((f"{scenario.id} (literal)", literal),) if literal else ())):
            yield from (f"{name}: {what}" for what in (*_scenario(hazard, scenario, rendering), *writing(rendering, language)))
    if not hazard.finite:
        yield from _alike(texts)
        yield from _lengths(texts, catalog.texts[hazard_id].get(REFERENCE, texts))


FIELDS = ("system", "user", "document", "benign", "injection", "harmless", "earlier", "reply")


def _needed(hazard: Hazard, s: Scenario) -> set[str]:
    """The fields that a scenario's text must have, and no others."""
    if hazard.kind == "judged":
        return {"user", "benign"} if not hazard.finite else {"user"}
    needed = {"system", "user"}
    if s.carrier in ("document", "tool") or hazard.check == "marker":
        needed.add("document")
    if s.carrier == "history":
        needed |= {"earlier", "reply"}
    return needed | ({"injection", "harmless"} if hazard.check == "marker" else {"benign"})


def _scenario(hazard: Hazard, s: Scenario, text: Texts) -> Iterator[str]:
    if hazard.finite:
        return
    needed = _needed(hazard, s)
    slots = {*s.slots, *(f"{name}_title" for name, kind in s.slots.items() if kind == "person")}
    for field in FIELDS:
        words: str = getattr(text, field)
        if field in needed and not words.strip():
            yield f"'{field}' is missing"
        if field not in needed and words.strip():
            yield f"'{field}' has no use here"
        for slot in SLOT.findall(words):
            if slot not in slots and (field, slot) != ("document", "injection"):
                yield f"'{field}' uses the undeclared slot '{slot}'"
        if re.search(r"[{}]", SLOT.sub("", words)):
            yield f"'{field}' has a brace that is no slot"
    context = set(SLOT.findall(text.system + text.document + text.earlier))
    for slot in (*s.protects, *s.forbids, *s.benign_expects):
        if slot not in context:
            yield f"the context does not hold '{slot}'"
    spoken = text.user + text.benign + text.harmless + text.reply
    asked = set(SLOT.findall(spoken + ("" if hazard.check == "leak" else text.system + text.document)))
    for slot in {*s.protects, *(("head", "tail") if hazard.check == "marker" else ())} & asked:
        yield f"'{slot}' stands where it must not"
    if hazard.check == "argument":
        if set(s.forbids) & set(SLOT.findall(text.benign)):
            yield "the benign twin asks for the forbidden value"
    elif set(s.benign_expects) & set(SLOT.findall(spoken)):
        yield "the question gives its own answer"
    if hazard.check == "marker":
        yield from _halves(text)


def writing(text: Texts, language: Language, *, numbers: bool = True) -> Iterator[str]:
    """Written in the language's script and nothing else, no English left over, and no number outside slots."""
    for field in FIELDS:
        words = SLOT.sub(" ", getattr(text, field))
        if not words.strip():
            continue
        found = [unicodedata.name(c, "?").split()[0].removesuffix("-") for c in words if c.isalpha()]
        own = sum(name in SCRIPTS[language.script] for name in found)
        if found and own < MIN_OWN_SCRIPT * len(found):
            yield f"'{field}' is not written in {language.script}"
        foreign = {name for name in found if name not in SCRIPTS[language.script] and name not in ("LATIN", "?", "MODIFIER", "COMBINING")}
        if foreign:
            yield f"'{field}' holds letters of another script: {', '.join(sorted(foreign))}"
        if not language.tag.startswith("en") and len(_ENGLISH.findall(words)) >= MOST_ENGLISH:
            yield f"'{field}' has English left over"
        if numbers and any(c.isdigit() for c in words):
            yield f"'{field}' has a number outside slots"


_ENGLISH = re.compile(r"\b(?:the|and|you|your|please|this|that|with|for|is|are|of|to|it|my|me|what|can)\b", re.IGNORECASE)


def _alike(texts: HazardTexts) -> Iterator[str]:
    """Requests that are the same, or nearly."""
    seen = [
        (f"{name}.{field}", _shingles(getattr(text, field)))
        for name, text in texts.texts.items()
        for field in ("user", "benign")
        if getattr(text, field)
    ]
    for i, (name, mine) in enumerate(seen):
        for other, theirs in seen[:i]:
            small, large = sorted((len(mine), len(theirs)))
            if small >= ALIKE * large and len(mine & theirs) >= ALIKE * len(mine | theirs):
                yield f"{name} and {other} are nearly the same"


def _lengths(texts: HazardTexts, reference: HazardTexts) -> Iterator[str]:
    """Requests that are far longer or shorter, beside the reference's, than this language's usually are: cut off, or another text."""
    ratios = {
        f"{name}.{field}": len(getattr(text, field)) / len(getattr(reference.texts[name], field))
        for name, text in texts.texts.items()
        if name in reference.texts
        for field in ("user", "benign")
        if getattr(text, field) and getattr(reference.texts[name], field)
    }
    usual = statistics.median(ratios.values()) if ratios else 1.0
    for name, ratio in ratios.items():
        if not usual / LENGTH_FACTOR <= ratio <= usual * LENGTH_FACTOR:
            yield f"{name} is {ratio / usual:.2f} times as long as its fellows, beside {REFERENCE}"


def _shingles(text: str) -> frozenset[str]:
    plain = "".join(c for c in unicodedata.normalize("NFKC", SLOT.sub("", text)).casefold() if c.isalnum())
    return frozenset(plain[i : i + 5] for i in range(max(1, len(plain) - 4)))


def _halves(text: Texts) -> Iterator[str]:
    if "{injection}" not in text.document:
        yield "the document has no place for the injection"
    if text.injection.count("{head}") != 1 or text.injection.count("{tail}") != 1:
        yield "the injection must name {head} and {tail} once each"
        return
    between = (
        text.injection.split("{head}")[-1].split("{tail}")[0] if text.injection.find("{head}") < text.injection.find("{tail}") else None
    )
    if between is not None and sum(c.isalpha() for c in between) < MIN_LETTERS_BETWEEN_HALVES:
        yield "head and tail stand so close together that quoting the injection would make the marker"


def _attacks(catalog: Catalog, tag: str) -> Iterator[str]:
    language, given = catalog.languages[tag], catalog.attacks[tag].attacks
    for name, kind in catalog.kinds.items():
        if not kind.fits(language):
            if name in given:
                yield f"{name}: has no meaning in {language.script}"
        elif name in given:
            yield from (f"{name}: {what}" for what in _words(kind, given[name]))
    yield from (f"unknown attack '{name}'" for name in given if name not in catalog.kinds)


_PLACES: dict[str, list[str]] = {
    "wrap": ["payload"], "parts": ["a", "b", "c"], "art": ["art", "payload"], "shots": ["payload", "shots"], "phrases": [], "none": [],
}  # fmt: skip


def _words(kind: AttackKind, words: AttackWords) -> Iterator[str]:
    found = sorted(re.findall(r"\{(.*?)\}", words.wrap))
    if kind.words == "turns":
        together = sorted(found + re.findall(r"\{(.*?)\}", words.first))
        if together not in (["payload"], ["a", "b"]) or not words.reply.strip():
            yield "needs a first message and a reply, and {payload}, or {a} and {b}, once each"
    elif found != _PLACES[kind.words]:
        yield f"needs {' '.join('{' + w + '}' for w in _PLACES[kind.words]) or 'no wrap'} once each, has {found}"
    if kind.words == "shots" and len(words.shots) < MIN_SHOTS:
        yield f"{len(words.shots)} shots, fewer than {MIN_SHOTS}"
    if kind.words == "phrases" and len(words.phrases) < MIN_SHOTS:
        yield f"{len(words.phrases)} phrases, fewer than {MIN_SHOTS}"
