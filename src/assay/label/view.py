"""What a labeller sees of a trial: everything said and done, and the rubric; nothing of judges, reasons, attacks or other people.

    view = Viewer(opening).view(candidate, trial)
    view.blocks[0].text                             # of a sealed bank: withheld, unless it is opened

Texts go to the page as they are: it sets them as text only, never as markup, and shows what is invisible in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Literal

from msgspec import Struct

from assay.attacks import ATTACKS
from assay.catalog import Catalog, Opened
from assay.catalog.content import RubricTexts
from assay.catalog.files import read_rubrics, rubric_tags
from assay.errors import CatalogError
from assay.judges import episode_of
from assay.label.queue import Candidate
from assay.runs import Opening, Trial
from assay.scenarios import Item, ItemBuilder
from assay.web.languages import INTERFACE, direction
from assay.worlds.protocol import MARK

MAX_TEXT = 100_000


class Effect(Struct, frozen=True):
    """What a call did in the world, or tried and was kept from."""

    kind: str
    status: Literal["done", "blocked"]


class Block(Struct, frozen=True, omit_defaults=True):
    """Something said (`system`, `user`, `assistant`) or a call. `cut` counts the characters left out; `last` is the answer that is
    labelled; `met` says that the call showed the agent a text that an outsider wrote.
    """

    kind: Literal["system", "user", "assistant", "call"]
    text: str
    cut: int = 0
    last: bool = False
    tool: str = ""
    result: str = ""
    effects: tuple[Effect, ...] = ()
    met: bool = False
    error: str = ""


class Rubric(Struct, frozen=True):
    """One hazard's rubric in one language: two lists with their headings, and what is asked on the benign arm instead."""

    language: str
    dir: str
    name: str
    benign: str
    heading_violation: str
    heading_acceptable: str
    violation: tuple[str, ...]
    acceptable: tuple[str, ...]


class View(Struct, frozen=True, omit_defaults=True):
    """A trial as it is labelled. `question` is `refused` on the benign arm, where the harmless request should have been served."""

    slot: int
    transcript: str
    hazard: str
    title: str
    language: str
    dir: str
    name: str
    question: Literal["harm", "refused"]
    blocks: tuple[Block, ...]
    agent: bool = False
    situation: str = ""
    truncated: bool = False


class Viewer:
    """Rebuilds items and replays episodes of one run."""

    def __init__(self, opening: Opening, opened: Opened | None = None) -> None:
        self._catalog = opening.catalog
        self._builder = ItemBuilder.for_plan(opening.plan, opening.catalog, opening.seed, ATTACKS, opened)

    def view(self, candidate: Candidate, trial: Trial) -> View:
        """The trial. Raises `CatalogError` where its item cannot be rebuilt as it was asked."""
        item = self._builder.shown(trial.stream, trial.index, trial.item)
        if item.digest != trial.item:
            raise CatalogError(f"trial {trial.slot}: the item cannot be rebuilt as it was asked", fix="`assay verify` says more.")
        hazard, language = self._catalog.hazards[trial.hazard], self._catalog.languages[trial.language]
        benign = trial.arm == "benign"
        situation = next((s.situation for s in hazard.scenarios if s.id == item.scenario), "")
        return View(
            slot=trial.slot,
            transcript=candidate.transcript,
            hazard=trial.hazard,
            title=hazard.title,
            language=language.tag,
            dir=direction(language.tag),
            name=language.native,
            question="refused" if benign else "harm",
            blocks=tuple(_episode(trial, item, self._catalog) if item.world else _dialogue(trial, item)),
            agent=item.world is not None,
            situation=situation.strip() if item.world and not benign else "",
            truncated=trial.truncated,
        )

    def title(self, hazard: str) -> str:
        """A hazard's title."""
        return self._catalog.hazards[hazard].title

    def native(self, language: str) -> str:
        """A language by its own name."""
        return self._catalog.languages[language].native

    @cache  # noqa: B019 (one viewer a process)
    def rubrics(self, hazard: str) -> tuple[Rubric, ...]:
        """A hazard's rubric in every language that it is written in: as registered in the run, else as it is in this package."""
        tags = dict.fromkeys(("en", *INTERFACE, *self._catalog.languages))
        return tuple(found for tag in tags if (found := self._rubric(hazard, tag)) is not None)

    def _rubric(self, hazard: str, tag: str) -> Rubric | None:
        definition = self._catalog.hazards[hazard]
        texts = self._catalog.rubrics.get(tag) or _written(tag)
        if texts is None:
            return None
        lines = texts.hazards.get(hazard)
        violation, acceptable = (lines.violation, lines.acceptable) if lines else (definition.violation, definition.acceptable)
        if lines is None and tag != "en":
            return None
        language = self._catalog.languages.get(tag)
        return Rubric(
            language=tag,
            dir=direction(tag),
            name=language.native if language else INTERFACE.get(tag, tag),
            benign=texts.benign,
            heading_violation=texts.violation,
            heading_acceptable=texts.acceptable,
            violation=violation or (definition.summary,),
            acceptable=acceptable,
        )


@cache
def _written(tag: str) -> RubricTexts | None:
    """The rubrics that come with this package, for a language that the run did not register."""
    return read_rubrics(tag) if tag in rubric_tags() else None


def _block(kind: Literal["system", "user", "assistant"], text: str, *, last: bool = False) -> Block:
    return Block(kind, text[:MAX_TEXT], cut=max(0, len(text) - MAX_TEXT), last=last)


def _dialogue(trial: Trial, item: Item) -> Iterator[Block]:
    """What was said; the turns of a strategy stand in the place of the request."""
    messages = item.messages[:-1] if trial.turns and item.messages[-1].role == "user" else item.messages
    for message in messages:
        yield _block(message.role, message.content)
    for turn in trial.turns:
        yield _block("user", turn.prompt)
        yield _block("assistant", turn.answer, last=turn.answer == trial.answer)
    if not any(turn.answer == trial.answer for turn in trial.turns):
        yield _block("assistant", trial.answer, last=True)


def _episode(trial: Trial, item: Item, catalog: Catalog) -> Iterator[Block]:
    """What was asked, said and called, and what the calls did, played again from the recorded answers."""
    for message in item.messages:
        yield _block(message.role, message.content)
    episode = episode_of(item, catalog)
    for number, turn in enumerate(trial.turns, 1):
        episode.turn(turn.answer)
        said = "\n".join(line for line in turn.answer.splitlines() if not line.strip().lstrip("`*>- ").startswith(MARK)).strip()
        if said:
            yield _block("assistant", said)
        for call in episode.log:
            if call.turn != number:
                continue
            effects = [episode.world.effects[i] for i in call.effects]
            given = call.arguments
            text = "\n".join(f"{k} = {v}" for k, v in given.items()) if isinstance(given, dict) else str(given)
            yield Block(
                "call",
                text[:MAX_TEXT],
                cut=max(0, len(text) - MAX_TEXT),
                tool=call.tool[:200],
                result=call.shown[:MAX_TEXT],
                effects=tuple(Effect(e.kind, e.status) for e in effects if e.kind != "finish"),
                met=bool(set(call.met) & {episode.case.slot}) and trial.arm != "benign",
                error=call.error,
            )
