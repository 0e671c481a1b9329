"""What is wrong with the texts of agent worlds: keys and slots as in the reference, tools as in the code, nothing left without words.

for finding in lint_worlds(catalog): print(finding)
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from msgspec import structs

from assay.catalog import Catalog
from assay.catalog.content import Texts, ToolTexts, WorldCommon, WorldTexts
from assay.errors import AssayError
from assay.scenarios.build import SLOT
from assay.scenarios.lint import REFERENCE, writing
from assay.worlds import Case, Dice, Family, Term, Text, Words, draw_case, load_family

MIN_TASKS, MIN_GOALS, MIN_FRAMES, MIN_HARMLESS = 8, 6, 6, 6
SEEDS = 12
PARTS = ("texts", "tasks", "goals", "twins")


def lint_worlds(catalog: Catalog) -> list[str]:
    """Every finding as one line that names the file; empty for sound content."""
    found: list[str] = []
    for name, by_language in catalog.worlds.items():
        try:
            family = load_family(name)
        except AssayError as e:
            found.append(f"worlds/{name}: {e.what}")
            continue
        found += [f"worlds/{name}: {what}" for what in _family(catalog, family)]
        for tag, texts in by_language.items():
            where = f"worlds/{name}/{tag}.yaml"
            reference = by_language.get(REFERENCE, texts)
            found += [f"{where}: {what}" for what in dict.fromkeys((*_same(texts, reference), *_tools(texts, family)))]
            found += [f"{where}: {what}" for what in _written(catalog, texts, tag)]
            if tag in catalog.common:
                words = Words(texts, catalog.common[tag], catalog.languages[tag])
                found += [f"{where}: {what}" for what in dict.fromkeys(_filled(family, words))]
    for tag, common in catalog.common.items():
        found += [f"worlds/common/{tag}.yaml: {what}" for what in _common(common)]
    return found


def _family(catalog: Catalog, family: Family) -> Iterator[str]:
    if len(family.tasks) < MIN_TASKS:
        yield f"{len(family.tasks)} tasks, fewer than {MIN_TASKS}"
    if len(family.goals) < MIN_GOALS:
        yield f"{len(family.goals)} goals, fewer than {MIN_GOALS}"
    for hazard in catalog.hazards.values():
        if hazard.family == family.id and {s.id for s in hazard.scenarios} != set(family.goals):
            yield f"hazard '{hazard.id}' and the family have other goals: {set(family.goals) ^ {s.id for s in hazard.scenarios}}"
    for goal in family.goals.values():
        if goal.by == "user" and goal.twin is None:
            yield f"goal '{goal.id}' is the user's and has no harmless twin"
        if not goal.modes or not goal.owasp:
            yield f"goal '{goal.id}' is mapped to no failure mode, or to no entry of the agentic top ten"
        if goal.meets is None and goal.secrets is None:
            yield f"goal '{goal.id}' is told neither by effects nor by secrets"


def _same(texts: WorldTexts, reference: WorldTexts) -> Iterator[str]:
    for part in PARTS:
        mine: dict[str, str] = getattr(texts, part)
        theirs: dict[str, str] = getattr(reference, part)
        yield from (f"{part} lacks '{key}'" for key in theirs.keys() - mine.keys())
        yield from (f"{part} has '{key}', which {REFERENCE} has not" for key in mine.keys() - theirs.keys())
        for key in mine.keys() & theirs.keys():
            if set(SLOT.findall(mine[key])) != set(SLOT.findall(theirs[key])):
                yield f"{part}.{key} has other slots than {REFERENCE}'s: {sorted(set(SLOT.findall(mine[key])))}"
            if not mine[key].strip():
                yield f"{part}.{key} is empty"


def _tools(texts: WorldTexts, family: Family) -> Iterator[str]:
    for part, known in (("tools", family.tools), ("tasks", family.tasks), ("goals", family.goals)):
        if set(getattr(texts, part)) != set(known):
            yield f"{part} are not those of the code: {sorted(set(getattr(texts, part)) ^ set(known))}"
    names = [tool.name for tool in texts.tools.values()]
    if len(set(names)) < len(names):
        yield "two tools have the same name"
    for name, tool in texts.tools.items():
        yield from (f"tool {name}: {what}" for what in _tool(tool))
        if name in family.tools and set(tool.arguments) != set(family.tools[name].arguments.__struct_fields__):
            yield f"tool {name}: its arguments are not those of the code"


def _tool(tool: ToolTexts) -> Iterator[str]:
    if any(c.isspace() for c in tool.name) or not tool.name or len(tool.name) > 64:
        yield "a name is one word"
    if not tool.about.strip():
        yield "does not say what it does"


def _written(catalog: Catalog, texts: WorldTexts, tag: str) -> Iterator[str]:
    language = catalog.languages[tag]
    said = {"role": texts.role, **{f"{part}.{key}": text for part in PARTS for key, text in getattr(texts, part).items()}}
    said |= {f"tools.{name}": tool.about for name, tool in texts.tools.items()}
    for name, text in said.items():
        yield from (f"{name}: {what}" for what in writing(Texts(user=text), language, numbers=False))


def _filled(family: Family, words: Words) -> Iterator[str]:
    """Nothing that an agent can be shown lacks words or a value."""
    for seed in range(SEEDS):
        key = sha256(f"lint/{seed}".encode()).digest()
        try:
            for rows in family.build(Dice(key + b"world")).tables.values():
                for record in rows.values():
                    values = [getattr(record, f) for f in record.__struct_fields__]
                    yield from (
                        f"a text with an empty place: {t[:80]}" for v in values if isinstance(v, Text | Term) and _open(t := words.say(v))
                    )
            cases = [structs.replace(draw_case(family, key, task=name), goal=None) for name in family.tasks]
            cases += [draw_case(family, key, goal=name) for name in family.goals]
            yield from (f"a request with an empty place: {t[:80]}" for case in cases for t in _requests(case, words) if _open(t))
        except (AssayError, KeyError) as e:
            yield f"cannot be said: {e}"


def _requests(case: Case, words: Words) -> Iterator[str]:
    if case.goal is None:
        yield from (words.fill(words.family.tasks[task.id], params) for task, params in case.tasks)
        return
    yield words.fill(words.family.goals[case.goal.id], case.aims)
    if case.twin is not None:
        yield words.fill(words.family.twins[case.goal.id], case.twin)


def _open(text: str) -> bool:
    return bool(SLOT.search(text))


def _common(common: WorldCommon) -> Iterator[str]:
    places = {"protocol": ("{tools}", "{example}"), "closing": ("{finish}",), "then": ("{first}", "{second}")}
    for field, needed in places.items():
        yield from (f"{field} has no {place}" for place in needed if getattr(common, field).count(place) != 1)
    if "CALL" in common.protocol or "RESULT" not in common.protocol:
        yield "protocol names RESULT, and CALL only through {example}"
    yield from (f"a frame has no {{goal}}: {frame[:40]}" for frame in common.frames if frame.count("{goal}") != 1)
    if len(common.frames) < MIN_FRAMES or len(common.harmless) < MIN_HARMLESS:
        yield f"{len(common.frames)} frames and {len(common.harmless)} harmless notes, fewer than {MIN_FRAMES} and {MIN_HARMLESS}"
