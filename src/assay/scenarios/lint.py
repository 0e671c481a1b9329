"""What is wrong with content, found before a target ever sees it.

for finding in lint(catalog): print(finding)
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from assay.catalog import Catalog, Hazard, Language, Scenario, Texts
from assay.catalog.content import AttackKind, AttackWords
from assay.scenarios.build import SLOT
from assay.scenarios.slots import GENERATORS

MIN_NAMES, MIN_PLACES, MIN_REFUSALS, MIN_NEUTRAL, MIN_SCENARIOS = 40, 8, 15, 12, 6
PLACES = ("clinic", "bank", "school", "shop", "agency", "utility", "hotel", "office")
MIN_LETTERS_BETWEEN_HALVES = 5
MIN_SHOTS = 8
_PUBLIC = {"ref", "room", "hotline"}
_SECRET = {"code", "pin", "token", "account", "national_id", "phone"}
_SCRIPTS = {"Latn": "LATIN", "Hans": "CJK", "Taml": "TAMIL", "Thai": "THAI"}


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


def _language(tag: str, language: Language) -> Iterator[str]:
    if language.tag != tag:
        yield f"the tag is '{language.tag}'"
    for name, least in (("names", MIN_NAMES), ("refusals", MIN_REFUSALS), ("neutral", MIN_NEUTRAL)):
        values: tuple[str, ...] = getattr(language, name)
        if len(values) < least:
            yield f"{len(values)} {name}, fewer than {least}"
        if len(set(values)) < len(values):
            yield f"{name} has a value twice: {next(v for v in values if values.count(v) > 1)!r}"
    for kind in PLACES:
        if len(set(language.places.get(kind, ()))) < MIN_PLACES:
            yield f"fewer than {MIN_PLACES} different places of kind {kind}"
    if len(language.digit_words) != 10:
        yield f"{len(language.digit_words)} digit words, not 10"
    for digits in language.digits:
        if [unicodedata.digit(c, -1) for c in digits] != list(range(10)):
            yield f"'{digits}' is not the ten digits in order"
    if language.national_id.pattern.count("#") < 5 or language.phone.count("#") < 4:
        yield "an identity number needs five random digits or more, a telephone number four"
    for label in ("document", "tool"):
        if not language.labels.get(label):
            yield f"no label '{label}'"
    for sentence in language.neutral:
        if any(c.isdigit() for c in sentence):
            yield f"a neutral sentence holds a number: {sentence!r}"


def _hazard(hazard: Hazard) -> Iterator[str]:
    ids = [s.id for s in hazard.scenarios]
    if len(ids) < MIN_SCENARIOS:
        yield f"{len(ids)} scenarios, fewer than {MIN_SCENARIOS}"
    if len(set(ids)) < len(ids):
        yield "two scenarios have the same id"
    for s in hazard.scenarios:
        for slot, kind in s.slots.items():
            if kind not in GENERATORS and kind != "person" and kind.removeprefix("place.") not in PLACES:
                yield f"{s.id}: slot '{slot}' has the unknown kind '{kind}'"
        for slot in (*s.protects, *s.benign_expects):
            if slot not in s.slots:
                yield f"{s.id}: '{slot}' is checked but not declared"
        if any(s.slots.get(p) not in _SECRET for p in s.protects):
            yield f"{s.id}: a protected slot could be guessed; its kind must be one of {', '.join(sorted(_SECRET))}"
        if not s.benign_expects or any(s.slots.get(p) not in _PUBLIC for p in s.benign_expects):
            yield f"{s.id}: the benign twin needs a public fact of kind {', '.join(sorted(_PUBLIC))}"
        if hazard.check == "leak" and not s.protects:
            yield f"{s.id}: nothing is protected"
        if hazard.check == "marker" and not {"head", "tail"} <= set(s.slots):
            yield f"{s.id}: no slots head and tail"


def _texts(catalog: Catalog, hazard_id: str, tag: str) -> Iterator[str]:
    hazard, texts = catalog.hazards[hazard_id], catalog.texts[hazard_id][tag]
    if texts.language != tag:
        yield f"the language is '{texts.language}'"
    for extra in set(texts.texts) - {s.id for s in hazard.scenarios}:
        yield f"text for an unknown scenario '{extra}'"
    script = _SCRIPTS.get(catalog.languages[tag].script, "")
    for scenario in hazard.scenarios:
        text = texts.texts.get(scenario.id)
        if text is None:
            yield f"no text for scenario '{scenario.id}'"
            continue
        for what in _scenario(hazard, scenario, text):
            yield f"{scenario.id}: {what}"
        if script and not _written_in(text.user, script):
            yield f"{scenario.id}: 'user' is not written in {catalog.languages[tag].script}"


def _scenario(hazard: Hazard, s: Scenario, text: Texts) -> Iterator[str]:
    needed = {"system", "user"} | ({"document"} if s.carrier != "system" or hazard.check == "marker" else set())
    needed |= {"injection", "harmless"} if hazard.check == "marker" else {"benign"}
    for field in ("system", "user", "document", "benign", "injection", "harmless"):
        words: str = getattr(text, field)
        if field in needed and not words.strip():
            yield f"'{field}' is missing"
        if field not in needed and words.strip():
            yield f"'{field}' has no use here"
        for slot in SLOT.findall(words):
            if slot not in s.slots and (field, slot) != ("document", "injection"):
                yield f"'{field}' uses the undeclared slot '{slot}'"
        if re.search(r"[{}]", SLOT.sub("", words)):
            yield f"'{field}' has a brace that is no slot"
    context = set(SLOT.findall(text.system + text.document))
    for slot in (*s.protects, *s.benign_expects):
        if slot not in context:
            yield f"the context does not hold '{slot}'"
    asked = set(SLOT.findall(text.user + text.benign + text.harmless + ("" if hazard.check == "leak" else text.system + text.document)))
    for slot in {*s.protects, "head", "tail"} & asked:
        yield f"'{slot}' stands where it must not"
    if set(s.benign_expects) & set(SLOT.findall(text.user + text.benign + text.harmless)):
        yield "the question gives its own answer"
    if hazard.check == "marker":
        yield from _halves(text)


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
        elif kind.words != "none" and name not in given:
            yield f"no words for '{name}'"
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


def _written_in(text: str, script: str) -> bool:
    letters = [c for c in SLOT.sub("", text) if c.isalpha()]
    return bool(letters) and sum(unicodedata.name(c, "").startswith(script) for c in letters) >= 0.8 * len(letters)
