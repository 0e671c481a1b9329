"""What shows only when items are made of content: values in their places, attacks that decode, languages that are what they claim to be.

for finding in lint_items(catalog): print(finding)

The other half of the content lint; `assay.scenarios.lint` reads the texts as they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from assay.attacks import ATTACKS, UNDO
from assay.catalog import Catalog, Hazard, HazardTexts
from assay.catalog.content import AttackWords
from assay.errors import AssayError
from assay.judges.identify import fits
from assay.plan import NO_ATTACK, Stream
from assay.scenarios import Context, Item, ItemBuilder, Prf
from assay.scenarios.build import SLOT
from assay.scenarios.lint import FIELDS

_SEED = bytes(32)
ITEMS_A_SCENARIO = 2
HARD_TO_TELL = {"ms": ("ms", "id"), "id": ("id", "ms")}  # one scenario is too short to tell these apart; a file is not


def lint_items(catalog: Catalog) -> list[str]:
    """Every finding as one line that names the file; empty for sound content."""
    builder = ItemBuilder(catalog, _SEED, ATTACKS)
    found: list[str] = []
    for h, by_language in catalog.texts.items():
        hazard = catalog.hazards[h]
        if hazard.finite or hazard.check == "world":
            continue
        for tag, texts in by_language.items():
            where = f"hazards/{h}/{tag}.yaml"
            found += [f"{where}: {what}" for what in _language(texts, tag)]
            found += [f"{where}: {what}" for what in dict.fromkeys(_items(builder, hazard, tag, len(texts.texts)))]
    for family, worlds in catalog.worlds.items():
        for tag, world in worlds.items():
            said = " ".join([world.role, *world.texts.values(), *world.tasks.values(), *world.goals.values()])
            if all(fits(SLOT.sub(" ", said), likely) is False for likely in HARD_TO_TELL.get(tag, (tag,))):
                found.append(f"worlds/{family}/{tag}.yaml: the file does not read as {tag}")
    for tag in catalog.attacks:
        found += [f"attacks/{tag}.yaml: {what}" for what in dict.fromkeys(_attacks(catalog, tag))]
    return found


def _language(texts: HazardTexts, tag: str) -> Iterator[str]:
    whole = []
    for rendering in (texts.texts, texts.literal):
        for name, text in rendering.items():
            said = SLOT.sub(" ", " ".join(getattr(text, field) for field in FIELDS))
            whole.append(said)
            if all(fits(said, likely) is False for likely in HARD_TO_TELL.get(tag, (tag,))):
                yield f"{name} does not read as {tag}"
    if fits(" ".join(whole), tag) is False:
        yield f"the file does not read as {tag}"


def _items(builder: ItemBuilder, hazard: Hazard, tag: str, scenarios: int) -> Iterator[str]:
    for index in range(ITEMS_A_SCENARIO * scenarios):
        try:
            plain = builder.build(Stream(hazard.id, tag, NO_ATTACK, "plain"), index)
            twin = builder.build(Stream(hazard.id, tag, NO_ATTACK, "benign"), index) if hazard.check != "marker" else None
            yield from _places(hazard, plain, builder.payload(plain), twin)
        except AssayError as e:
            yield f"an item cannot be built: {e.what}"


def _places(hazard: Hazard, plain: Item, request: str, twin: Item | None) -> Iterator[str]:
    told = "\n".join(m.content for m in plain.messages)
    if hazard.check in ("leak", "argument"):
        yield from (f"the value '{v}' is not in the context as it is" for v in plain.check.forbidden if v not in told)
    if hazard.check == "leak":
        yield from (f"the request gives the value '{v}' itself" for v in plain.check.forbidden if v in request)
    if hazard.check == "marker":
        yield from (f"the marker '{v}' stands there joined" for v in plain.check.forbidden if v in told)
    if twin is not None:
        said = "\n".join(m.content for m in twin.messages)
        yield from (f"the fact '{v}' is not in the benign twin's context" for v in twin.check.expected if v not in said)
    values = (*plain.check.forbidden, *plain.check.expected)
    yield from (f"'{a}' and '{b}' cannot be told apart" for a, b in combinations(values, 2) if a in b or b in a)


def _attacks(catalog: Catalog, tag: str) -> Iterator[str]:
    """What can be decoded decodes: the request comes back from the attacked text, up to white space."""
    language = catalog.languages[tag]
    requests = [text.user for by_language in catalog.texts.values() if tag in by_language for text in by_language[tag].texts.values()]
    for name, undo in UNDO.items():
        if not catalog.kinds[name].fits(language):
            continue
        for i, request in enumerate(requests):
            plain = SLOT.sub("7K-4829", request).strip()
            context = Context(language, AttackWords(wrap="{payload}"), Prf(_SEED), (name, i), lambda: "")
            back = undo(ATTACKS[name](plain, context))
            if "".join(back.split()) != "".join(plain.split()):
                yield f"{name} does not give the request back: {plain[:40]!r}"
