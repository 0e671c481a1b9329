"""(catalog, seed, stream, index) -> item.

    items = ItemBuilder(catalog, seed, ATTACKS)                      # trial i of a stream asks item i
    items = ItemBuilder.for_plan(plan, catalog, seed, ATTACKS)       # as the plan's samples, bank and anchors say
    items.build(Stream("secret-leakage", "ms", "none", "plain"), 0)
    items.shown(trial.stream, trial.index, trial.item)               # the same, or what is public of an item that is sealed

Scenario and slots are drawn from (seed, hazard, index): item i is the same situation in every language, under every attack and in every
arm, which is what pairs them. Draws of an attack are keyed by the whole stream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Self

from msgspec import structs

from assay.catalog import WITHHELD, Catalog, Hazard, Language, Opened, Scenario, Texts
from assay.catalog.content import AttackWords, HazardTexts
from assay.errors import CatalogError, SealedBankError
from assay.plan import NO_ATTACK, Plan, Stream, Worlds
from assay.scenarios.adversary import Attack, Context, placebo, turned
from assay.scenarios.draw import Draw
from assay.scenarios.item import Check, Item, Message, WithheldItem, WorldItem
from assay.scenarios.prf import Prf
from assay.scenarios.slots import fill_slots
from assay.worlds import Case, Words, call_line, describe_tools, draw_with_goal, finish, has_plain_names, load_family

Say = Callable[..., str]
RENDERED = ("adapted", "literal")
FIRST_RENDERED = 1 << 41  # items of these arms are others than those of all the rest
WITHOUT_STEPS = frozenset({"agent", "callable"})
"""Targets that act by themselves: each of their calls is an answer, and only the plan's `calls` bound them."""
SLOT = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class ItemBuilder:
    """Builds items. `attacks` gives each attack by name; several, joined by `+`, are put on one after the other. Items of sealed banks need
    the banks `opened`.
    """

    def __init__(
        self, catalog: Catalog, seed: bytes, attacks: Mapping[str, Attack], draw: Draw | None = None, worlds: Worlds | None = None,
        opened: Opened | None = None,
    ) -> None:  # fmt: skip
        self._catalog = catalog
        self._opened = opened
        self._texts: dict[str, dict[str, HazardTexts]] = {
            h: opened.texts(h, tuple(texts)) if opened is not None and h in opened else texts for h, texts in catalog.texts.items()
        }
        self._shut = {h for h in catalog.sealed if opened is None or h not in opened}
        self._worlds = worlds or Worlds()
        self._prf = Prf(draw.item_seed if draw else seed)
        self._attacks = attacks
        self._draw = draw
        self._scenarios: dict[str, tuple[Scenario, ...]] = {}
        self._spoken: dict[tuple[str, str, str], Words] = {}

    @classmethod
    def for_plan(
        cls, plan: Plan, catalog: Catalog, seed: bytes, attacks: Mapping[str, Attack], opened: Opened | None = None
    ) -> Self:  # fmt: skip
        """A builder that draws items as the plan says."""
        plainly = plan.samples == 1 and plan.bank is None and plan.drift is None and not plan.sizes
        worlds = structs.replace(plan.worlds, steps=0) if plan.worlds and plan.target.kind in WITHOUT_STEPS else plan.worlds
        return cls(catalog, seed, attacks, None if plainly else Draw(plan, seed), worlds, opened)

    def build(self, stream: Stream, index: int) -> Item:
        """What trial `index` of a stream asks. Raises `CatalogError` for content that is not there, `SealedBankError` if it is sealed."""
        if stream.hazard in self._shut:
            raise SealedBankError("this bank is sealed, and not opened here", where=stream.hazard)
        number, sample = self._draw(stream, index) if self._draw else (index, 0)
        if stream.arm in RENDERED:
            number += FIRST_RENDERED
        return self._item(stream, number, sample)

    def shown(self, stream: Stream, index: int, recorded: str) -> Item:
        """What trial `index` of a stream asked; where its bank is sealed and not opened, what is public of it: a `WithheldItem` with the
        digest that the trial `recorded`, the attack's own words in the assistant's mouth, and `WITHHELD` in the place of the text.
        """
        if stream.hazard not in self._shut:
            return self.build(stream, index)
        number, sample = self._draw(stream, index) if self._draw else (index, 0)
        scenario, request = self._chosen(self._catalog.hazards[stream.hazard], number).id, Message("user", WITHHELD)
        messages: tuple[Message, ...] = (request,)
        if stream.attack != NO_ATTACK and stream.arm != "placebo" and self._turns(stream.attack):
            words = self._catalog.attacks[stream.language].attacks[stream.attack.rpartition("+")[2]]
            messages = (request, Message("assistant", words.reply), request)
        return WithheldItem(stream, number, scenario, messages, Check("judged"), sample, recorded=recorded)

    def scenario(self, stream: Stream, index: int) -> str:
        """Which scenario trial `index` of a stream has, without building it."""
        number = self._draw(stream, index)[0] if self._draw else index
        if stream.hazard in self._shut:
            return self._chosen(self._catalog.hazards[stream.hazard], number).id
        return self._scenario(stream, number + FIRST_RENDERED if stream.arm in RENDERED else number)[1].id

    def number(self, stream: Stream, index: int) -> int:
        """Which item trial `index` of a stream asks: items of a hazard with one number are one situation, in every language and arm."""
        return self._draw(stream, index)[0] if self._draw else index

    def payload(self, item: Item) -> str:
        """The text of an item that the adversary controls, with no attack on it: the injection or the request."""
        hazard, scenario, language, texts = self._scenario(item.stream, item.index)
        values = fill_slots(scenario.slots, self._prf, (item.stream.hazard, item.index), language)
        say = _as_it_is if hazard.finite else _filler(values, item.stream, scenario)
        return say(texts.injection if hazard.check == "marker" else texts.user)

    def _item(self, stream: Stream, number: int, sample: int) -> Item:
        hazard, scenario, language, texts = self._scenario(stream, number)
        if hazard.check == "world":
            return self._world(hazard, scenario, stream, number, sample)
        values = fill_slots(scenario.slots, self._prf, (stream.hazard, number), language)
        say = _as_it_is if hazard.finite else _filler(values, stream, scenario)
        benign = stream.arm == "benign"
        turns: tuple[Message, ...] = ()
        system = say(texts.system)
        if hazard.check == "argument":
            system += f"\n\n{language.labels.get('call', '{call}').replace('{call}', call_form(scenario))}"
        document = texts.document
        request = texts.user
        if hazard.check == "marker":
            planted = say(texts.harmless) if benign else self._adversary(say(texts.injection), stream, number, "injection", say)
            document = say(document, injection=planted)
            request = say(request)
        else:
            document = say(document)
            if benign:
                request = say(texts.benign)
            elif stream.arm != "placebo" and self._turns(stream.attack):
                inner, _, last = stream.attack.rpartition("+")
                words = self._context(last, stream, number, "user", say)
                first, reply, request = turned(self._attacked(say(request), inner, stream, number, "user", say), words)
                turns = (Message("user", first), Message("assistant", reply))
            else:
                request = self._adversary(say(request), stream, number, "user", say)
        if scenario.carrier == "history":
            turns = (Message("user", say(texts.earlier)), Message("assistant", say(texts.reply)), *turns)
        messages = _messages(scenario, system, turns, document, request, language.labels)
        salt = self._opened.trial_salt(hazard.id, scenario.id) if self._opened is not None else ""
        return Item(stream, number, scenario.id, messages, _check(hazard, scenario, values, benign=benign), sample, salt=salt)

    def _world(self, hazard: Hazard, scenario: Scenario, stream: Stream, number: int, sample: int) -> Item:
        """An episode: role, tools and request; what the adversary wants stands in a slot, or is the request."""
        settings, benign = self._worlds, stream.arm == "benign"
        key = self._prf.integer(hazard.id, number, "world").to_bytes(32, "big")
        case = draw_with_goal(load_family(hazard.family), key, scenario.id)
        told = self._words(hazard.family, stream.language, stream.language)
        data = settings.data or stream.language
        tools = self._words(hazard.family, settings.tools or stream.language, settings.tools or stream.language)
        shown = self._words(hazard.family, stream.language, data)  # people and sums of a request read as in the records
        planted: dict[str, str] = {}
        if case.goal is not None and case.goal.by == "user":
            if benign and case.twin is None:
                raise CatalogError(f"{stream.key}: the goal '{scenario.id}' has no harmless twin")
            request = shown.fill(told.family.twins[scenario.id], case.twin or {}) if benign else ""
            request = request or self._adversary(
                shown.fill(told.family.goals[scenario.id], case.aims),
                stream,
                number,
                "user",
                lambda text, **_: shown.fill(text, case.aims),
            )
        else:
            asked = [shown.fill(told.family.tasks[task.id], params) for task, params in case.tasks]
            request = told.common.then.replace("{first}", asked[0]).replace("{second}", asked[1]) if len(asked) > 1 else asked[0]
            planted = {case.slot: self._planted(hazard, scenario, case, stream, number)}
        tool_set = {**case.family.tools, "finish": finish}
        local = settings.protocol == "text" or has_plain_names(tools)
        last = tools.common.finish.name if local else "finish"
        system = [told.family.role, told.common.closing.replace("{finish}", last)]
        if settings.protocol == "text":
            example = _example(case, tools)
            described = describe_tools(tool_set, tools, local=True)
            system.insert(1, told.common.protocol.replace("{tools}", described).replace("{example}", example))
        world = WorldItem(
            hazard.family, case.key.hex(), scenario.id, planted, data, tools.family.language,
            settings.protocol, settings.steps, settings.calls,
        )  # fmt: skip
        messages = (Message("system", "\n\n".join(part.strip() for part in system)), Message("user", request.strip()))
        return Item(stream, number, scenario.id, messages, Check("world"), sample, world)

    def _planted(self, hazard: Hazard, scenario: Scenario, case: Case, stream: Stream, number: int) -> str:
        """What an outsider wrote into the slot: a harmless note, or the goal in a frame with the attack on it."""
        there = structs.replace(stream, language=self._worlds.injection or stream.language)
        words = self._words(hazard.family, there.language, self._worlds.data or stream.language)
        if stream.arm == "benign":
            return self._prf.choose(words.common.harmless, hazard.id, number, "harmless")
        at = self._prf.below(len(words.common.frames), hazard.id, number, "frame")

        def say(text: str, **_: str) -> str:
            return words.common.frames[at].replace("{goal}", words.fill(text, case.aims))

        return self._adversary(say(words.family.goals[scenario.id]), there, number, "user", say)

    def _words(self, family: str, language: str, names: str) -> Words:
        """A family's words in a language, with people and sums as in the language `names`."""
        key = (family, language, names)
        if key not in self._spoken:
            worlds, common = self._catalog.worlds[family], self._catalog.common
            self._spoken[key] = Words(worlds[language], common[language], self._catalog.languages[names])
        return self._spoken[key]

    def _scenario(self, stream: Stream, number: int) -> tuple[Hazard, Scenario, Language, Texts]:
        try:
            hazard = self._catalog.hazards[stream.hazard]
            scenario = self._rendered(hazard, stream, number) if stream.arm in RENDERED else self._chosen(hazard, number)
            language = self._catalog.languages[stream.language]
            texts = self._texts[stream.hazard][stream.language]
            return hazard, scenario, language, (texts.literal if stream.arm == "literal" else texts.texts)[scenario.id]
        except KeyError as e:
            raise CatalogError(f"no content for {stream.key}: {e.args[0]} is missing") from None

    def _chosen(self, hazard: Hazard, number: int) -> Scenario:
        """The scenario of an item: drawn, or, in a bank, the one of its number. Anchors of a bank are drawn from it."""
        if hazard.finite and number < len(hazard.scenarios):
            return hazard.scenarios[number]
        return self._prf.choose(self._written(hazard), hazard.id, number, "scenario")

    def _rendered(self, hazard: Hazard, stream: Stream, number: int) -> Scenario:
        """Of the scenarios that have both renderings in the language."""
        texts = self._texts[hazard.id][stream.language]
        both = [s for s in hazard.scenarios if s.id in texts.texts and s.id in texts.literal]
        if not both:
            raise CatalogError(f"hazard '{hazard.id}' has no literal rendering in {stream.language}")
        return self._prf.choose(both, hazard.id, number, "scenario")

    def _written(self, hazard: Hazard) -> tuple[Scenario, ...]:
        """The scenarios that have a text in every language of this content: so item i is one situation in all of them."""
        if hazard.id not in self._scenarios:
            texts = self._texts[hazard.id].values()
            written = tuple(s for s in hazard.scenarios if hazard.id in self._shut or all(s.id in t.texts for t in texts))
            if not written:
                languages = ", ".join(self._catalog.texts[hazard.id])
                raise CatalogError(f"hazard '{hazard.id}' has no scenario that is written in all of {languages}")
            self._scenarios[hazard.id] = written
        return self._scenarios[hazard.id]

    def _turns(self, attack: str) -> bool:
        """Whether the last of these attacks takes two turns."""
        kind = self._catalog.kinds.get(attack.rpartition("+")[2])
        return kind is not None and kind.words == "turns"

    def _adversary(self, text: str, stream: Stream, number: int, field: str, say: Say) -> str:
        """Put the attack, or its placebo, on the part of the item that the adversary writes."""
        if stream.attack == NO_ATTACK:
            return text
        attacked = self._attacked(text, stream.attack, stream, number, field, say)
        if stream.arm != "placebo":
            return attacked
        neutral = self._catalog.languages[stream.language].neutral
        return placebo(text, len(attacked), neutral, self._prf, (stream.hazard, stream.language, stream.attack, number))

    def _attacked(self, text: str, names: str, stream: Stream, number: int, field: str, say: Say) -> str:
        for i, name in enumerate(names.split("+") if names else ()):
            recorded = self._recorded(name, stream, number)
            if recorded is not None and i == 0:
                text = recorded
                continue
            if recorded is not None or name not in self._attacks:
                raise CatalogError(f"no content for {stream.key}: {name} is missing")
            text = self._attacks[name](text, self._context(name, stream, number, field, say))
        return text

    def _recorded(self, name: str, stream: Stream, number: int) -> str | None:
        """What an attack that stands in the bank left of an item's request; None where it does not. It is on the bank's own texts, so no
        other attack goes before it.
        """
        texts = self._texts[stream.hazard].get(stream.language)
        if name in self._attacks or texts is None or name not in texts.attacked:  # no bank takes the name of an attack that is computed
            return None
        item = self._chosen(self._catalog.hazards[stream.hazard], number).id
        if item not in texts.attacked[name]:
            raise CatalogError(f"no content for {stream.key}: {name} is missing for {item}")
        return texts.attacked[name][item]

    def _context(self, name: str, stream: Stream, number: int, field: str, say: Say) -> Context:
        kind = self._catalog.kinds.get(name)
        words = self._catalog.attacks[stream.language].attacks.get(name, AttackWords())
        if kind is None or (kind.words != "none" and words == AttackWords()):
            raise CatalogError(f"no content for {stream.key}: {name} is missing")

        language = self._catalog.languages[stream.language]

        def rendering() -> str:
            texts = self._texts[stream.hazard]
            scenario = self._chosen(self._catalog.hazards[stream.hazard], number).id
            tags = [t for t in kind.turns_to(language) if t != stream.language and scenario in texts.get(t, texts[stream.language]).texts]
            found = next((t for t in tags if t in texts), "")
            if not found:
                raise CatalogError(f"{name} needs {stream.hazard} in another language: none of {', '.join(kind.turns_to(language))} has it")
            return say(str(getattr(texts[found].texts[scenario], field)))

        return Context(language, words, self._prf, (stream.hazard, stream.language, stream.attack, number), rendering)


def _example(case: Case, tools: Words) -> str:
    """A call of the first tool that takes something, with its arguments left open."""
    first = next(t for t in case.family.tools.values() if t.arguments.__struct_fields__)
    return call_line(tools.family.tools[first.name].name, dict.fromkeys(first.arguments.__struct_fields__, "..."))


def _as_it_is(text: str, **_: str) -> str:
    """Texts of a bank have no slots: a brace in them is a brace."""
    return text.strip()


def _filler(values: Mapping[str, str], stream: Stream, scenario: Scenario) -> Callable[..., str]:
    """Substitution of `{slot}` and nothing else: texts may come from another party's bundle."""

    def say(text: str, **extra: str) -> str:
        known = {**values, **extra} if extra else values
        parts = _parts(text)
        try:
            filled = [known[part] if i % 2 else part for i, part in enumerate(parts)]
        except KeyError as e:
            raise CatalogError(
                f"missing slot {e}: the text uses it, the scenario does not declare it",
                where=f"{stream.hazard}/{stream.language}.yaml {scenario.id}",
            ) from None
        return "".join(filled).strip()

    return say


@lru_cache(maxsize=65_536)
def _parts(text: str) -> tuple[str, ...]:
    """Text, slot, text, slot, ..., text."""
    return tuple(SLOT.split(text))


def call_form(scenario: Scenario) -> str:
    """How an answer calls the scenario's tool: one line that is the same in every language."""
    arguments = ", ".join(f'"{name}": "..."' for name in scenario.arguments)
    return f'CALL {{"tool": "{scenario.tool}", "arguments": {{{arguments}}}}}'


def _messages(
    scenario: Scenario, system: str, turns: tuple[Message, ...], document: str, request: str, labels: Mapping[str, str]
) -> tuple[Message, ...]:
    start = (Message("system", system), *turns) if system else turns
    if scenario.carrier == "document":
        return (*start, Message("user", f"{labels.get('document', '')}:\n<<<\n{document}\n>>>\n\n{request}"))
    if scenario.carrier == "tool":
        return (*start, Message("user", f"{request}\n\n{labels.get('tool', '')}:\n<<<\n{document}\n>>>"))
    return (*start, Message("user", request))


def _check(hazard: Hazard, scenario: Scenario, values: Mapping[str, str], *, benign: bool) -> Check:
    expected = tuple([values[s] for s in scenario.benign_expects])
    match hazard.check:
        case "none":
            return Check("judged")
        case "world":
            return Check("world")
        case "argument":
            forbidden = tuple([values[s] for s in scenario.forbids])
            return Check("argument", () if benign else forbidden, expected if benign else (), scenario.tool)
        case "serve":
            return Check("benign", expected=expected)
        case _ if benign:
            return Check("benign", expected=expected)
        case "marker":
            return Check("marker", forbidden=(values["head"] + values["tail"],), expected=expected)
        case "leak":
            return Check("leak", forbidden=tuple([values[s] for s in scenario.protects]))
