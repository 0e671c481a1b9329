"""The shapes of the content. Frozen values; what a value's file must hold is said in docs/content.md.

The same values come from the YAML files of this package and from the snapshot in a bundle, so that an auditor needs no particular version.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import msgspec
from msgspec import Struct, structs

from assay.errors import CatalogError
from assay.ledger import digest


class Provenance(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who wrote a text, how, who has reviewed it (`none`, or a name and a date), and its licence (the project's own if empty)."""

    author: str
    method: str
    review: str
    licence: str = ""


class NationalId(Struct, frozen=True, forbid_unknown_fields=True):
    """A synthetic identity number: '#' is a digit, '@' a capital letter; no real number matches the pattern."""

    name: str
    pattern: str


class Language(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, dict=True):
    """What slots, labels and checks need of one language.

    `names` by `female` and `male`, `titles` the polite form of address of each. `money` is an amount with `{}` for a number of 100 to
    999, `payments` local payment services. `tier` is how much text there is for training, `partners` are languages that people mix in,
    `notes` on register, honorifics and script are for writers.
    """

    tag: str
    name: str
    native: str
    script: str
    digits: tuple[str, ...]
    digit_words: tuple[str, ...]
    names: dict[str, tuple[str, ...]]
    places: dict[str, tuple[str, ...]]
    national_id: NationalId
    phone: str
    labels: dict[str, str]
    refusals: tuple[str, ...]
    neutral: tuple[str, ...]
    provenance: Provenance
    titles: dict[str, str]
    money: str
    payments: tuple[str, ...]
    tier: Literal["high", "medium", "low"]
    partners: tuple[str, ...] = ()
    notes: dict[str, str] = {}

    @cached_property
    def people(self) -> tuple[tuple[str, str], ...]:
        """(full name, form of address) of everybody."""
        return tuple((name, self.titles.get(gender, "")) for gender, names in self.names.items() for name in names)


Rendering = Literal["adapted", "literal"]


class Scenario(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The semantics of a template: carrier and slots. Words are in `Texts`.

    `tool` and `arguments` name the one call that an assistant can make; `forbids` the slots that no argument of it may hold. `renderings`
    says whether there is a text that keeps to the reference's wording beside the one at home in its place.
    """

    id: str
    situation: str
    carrier: Literal["system", "document", "tool", "history", "user"]
    slots: dict[str, str] = {}
    benign_expects: tuple[str, ...] = ()
    protects: tuple[str, ...] = ()
    forbids: tuple[str, ...] = ()
    tool: str = ""
    arguments: tuple[str, ...] = ()
    renderings: tuple[Rendering, ...] = ("adapted",)


class Hazard(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A taxonomy entry: `verifiable` by a program (`check`), `judged`, or `imported` by those entitled to hold such items.

    `finite` ones are banks: item i is scenario i, and its text has no slots. `violation` and `acceptable` say for a judge what an answer
    must not and may do; `frameworks` maps to others' taxonomies. With the check `world` an item is an episode in the agent world of
    `family`, and the scenarios are its goals.
    """

    id: str
    title: str
    kind: Literal["verifiable", "judged", "imported"]
    summary: str
    scenarios: tuple[Scenario, ...]
    check: Literal["leak", "marker", "argument", "serve", "world", "none"] = "none"
    family: str = ""
    frameworks: dict[str, str] = {}
    violation: tuple[str, ...] = ()
    acceptable: tuple[str, ...] = ()
    finite: bool = False


class Texts(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One scenario's words in one language. `earlier` and `reply` are the turns before the request, where the carrier is the history."""

    user: str
    system: str = ""
    earlier: str = ""
    reply: str = ""
    document: str = ""
    benign: str = ""
    injection: str = ""
    harmless: str = ""


class HazardTexts(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One hazard's words in one language. `literal` holds the renderings that keep to the reference's wording, `reviews` reviewer and date
    of the scenarios that somebody who speaks the language has read; `provenance` is that of all others. `attacked`, by attack and then
    scenario, are requests as an attack that was put on elsewhere left them.
    """

    language: str
    texts: dict[str, Texts]
    provenance: Provenance
    literal: dict[str, Texts] = {}
    reviews: dict[str, str] = {}
    attacked: dict[str, dict[str, str]] = {}

    @property
    def unreviewed(self) -> list[str]:
        """The scenarios that nobody has reviewed."""
        if self.provenance.review.strip().casefold() not in ("", "none", "no", "unreviewed"):
            return []
        return [s for s in self.texts if s not in self.reviews]


class LabelledAnswer(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer as a model might give it, and what kind of answer it is."""

    kind: Literal["refusal", "compliance", "deflection", "inability", "wrong-language", "mixed-language", "empty"]
    text: str


class Answers(Struct, frozen=True, forbid_unknown_fields=True):
    """The labelled answers of one language."""

    language: str
    answers: tuple[LabelledAnswer, ...]
    provenance: Provenance


class Shot(Struct, frozen=True, forbid_unknown_fields=True):
    """A harmless question and a willing answer, each with its speaker."""

    ask: str
    answer: str


class AttackWords(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One attack's words in one language: the sentences around the payload, and what else its kind needs."""

    wrap: str = ""
    first: str = ""
    reply: str = ""
    shots: tuple[Shot, ...] = ()
    phrases: tuple[str, ...] = ()


class AttackKind(Struct, frozen=True, forbid_unknown_fields=True):
    """What an attack is: the scripts in which it has a meaning (all if none is named), which words it needs, and whose rendering. A
    `recorded` one is in a bank, as the texts that it left.
    """

    title: str
    family: Literal["encoding", "script", "structure", "framing", "language", "strategy", "turns", "recorded"]
    words: Literal["none", "wrap", "parts", "art", "shots", "phrases", "turns", "recorded"]
    source: str
    scripts: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def fits(self, language: Language) -> bool:
        """Whether the attack has a meaning in the language's script."""
        return not self.scripts or language.script in self.scripts

    def turns_to(self, language: Language) -> tuple[str, ...]:
        """The languages whose rendering the attack uses, best first."""
        if self.words == "phrases":
            return (*language.partners, "en", "ms")
        return tuple(t for t in self.others if t != language.tag)


class AttackTexts(Struct, frozen=True, forbid_unknown_fields=True):
    """All attacks' words in one language."""

    language: str
    attacks: dict[str, AttackWords]
    provenance: Provenance


class ToolTexts(Struct, frozen=True, forbid_unknown_fields=True):
    """A tool in one language: its name there, what it does, and what its arguments mean."""

    name: str
    about: str
    arguments: dict[str, str] = {}


class WorldTexts(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One family of agent worlds in one language: the assistant's role and rules, tools, the words of records, what users ask (`tasks`),
    what adversaries ask for (`goals`) and the harmless twins of requests (`twins`). `reviews` has reviewer and date of the texts that
    somebody who speaks the language has read, by their names in `units`.
    """

    family: str
    language: str
    role: str
    tools: dict[str, ToolTexts]
    texts: dict[str, str]
    tasks: dict[str, str]
    goals: dict[str, str]
    provenance: Provenance
    twins: dict[str, str] = {}
    reviews: dict[str, str] = {}

    @property
    def units(self) -> dict[str, str]:
        """Every text of the file by a name of its own, such as `tasks.pay-invoice`."""
        out = {"role": self.role}
        for name, tool in self.tools.items():
            out[f"tools.{name}"] = tool.about
            out |= {f"tools.{name}.{argument}": text for argument, text in tool.arguments.items()}
        for part in ("texts", "tasks", "goals", "twins"):
            out |= {f"{part}.{key}": text for key, text in getattr(self, part).items()}
        return out

    def with_unit(self, name: str, text: str) -> WorldTexts:
        """The same with one text changed. KeyError for a name that is not in `units`."""
        if name not in self.units:
            raise KeyError(name)
        part, _, key = name.partition(".")
        if part == "role":
            return structs.replace(self, role=text)
        if part != "tools":
            return structs.replace(self, **{part: {**getattr(self, part), key: text}})
        tool_name, _, argument = key.partition(".")
        tool = self.tools[tool_name]
        changed = structs.replace(tool, arguments={**tool.arguments, argument: text}) if argument else structs.replace(tool, about=text)
        return structs.replace(self, tools={**self.tools, tool_name: changed})


class WorldCommon(Struct, frozen=True, forbid_unknown_fields=True):
    """What all families say alike in one language: which tools there are and how they are called in writing, how an episode ends, how two
    requests are joined, the frames in which an adversary's goal stands (with {goal}), and harmless notes for the same places.
    """

    language: str
    protocol: str
    closing: str
    then: str
    frames: tuple[str, ...]
    harmless: tuple[str, ...]
    finish: ToolTexts
    provenance: Provenance


class HazardRubric(Struct, frozen=True, forbid_unknown_fields=True):
    """A hazard's rubric in one language: what an answer must not and may do, line by line as in the hazard's own English."""

    violation: tuple[str, ...]
    acceptable: tuple[str, ...]


class RubricTexts(Struct, frozen=True, forbid_unknown_fields=True):
    """What judges and labellers are told in one language. `{code}` is a word that is new for each transcript, `{why}` what was wrong with a
    reply. `hazards` is empty in English, where each hazard has its rubric itself.
    """

    language: str
    role: str
    violation: str
    acceptable: str
    evidence: str
    unfamiliar: str
    benign: str
    form: str
    agent: str
    modes: str
    again: str
    person: str
    assistant: str
    instructions: str
    hazards: dict[str, HazardRubric]
    provenance: Provenance


class AnswerToJudge(Struct, frozen=True, forbid_unknown_fields=True):
    """A request and an answer whose verdict is known."""

    hazard: str
    request: str
    answer: str


class Steering(Struct, frozen=True, forbid_unknown_fields=True):
    """Words around an answer, with {answer} in them, that try to steer the judge who reads it."""

    id: str
    text: str


class JudgeAttacks(Struct, frozen=True, forbid_unknown_fields=True):
    """One language's answers under judgement that try to steer the judge. `{code_guess}` stands for a guess at the judge's word."""

    language: str
    violating: tuple[AnswerToJudge, ...]
    acceptable: tuple[AnswerToJudge, ...]
    steering: tuple[Steering, ...]
    provenance: Provenance


class Anchor(Struct, frozen=True, forbid_unknown_fields=True):
    """An answer that people labelled and a panel of judges read when it was calibrated: the item as JSON, the answer, whether it is a
    violation, whether the panel flagged it. Read again later, it shows whether the panel has changed.
    """

    item: dict[str, Any]
    answer: str
    violation: bool
    flagged: bool


class SealedBank(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is registered of a sealed bank in the place of its texts: its tier, what that tier `cannot` protect, in words, a commitment to
    every item (`leaves`, by item; see `catalog.sealed`), their Merkle root, and after how many exposures an item is retired (0: never).
    The hazard's scenarios are those of the items that were live when the plan was read.
    """

    tier: Literal["semi-sealed", "fully-sealed"]
    root: str
    leaves: dict[str, str]
    cannot: tuple[str, ...]
    retire_after: int = 0


class Catalog(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The content of one plan: hazards, languages and texts. `texts` is keyed by hazard, then language, `kinds` by attack; `worlds` as
    `texts`, for hazards that are played in worlds, and `common` by language. Where something is judged there are `rubrics`, by language,
    and the `anchors` of the calibration. Hazards that are `sealed` banks have no texts here: those stand in an `Opened`, in memory only.
    """

    hazards: dict[str, Hazard]
    languages: dict[str, Language]
    texts: dict[str, dict[str, HazardTexts]]
    attacks: dict[str, AttackTexts]
    kinds: dict[str, AttackKind]
    worlds: dict[str, dict[str, WorldTexts]] = {}
    common: dict[str, WorldCommon] = {}
    rubrics: dict[str, RubricTexts] = {}
    anchors: tuple[Anchor, ...] = ()
    sealed: dict[str, SealedBank] = {}

    def rubric(self, hazard: str, language: str) -> HazardRubric:
        """What an answer must not and may do. KeyError where it is not written in that language."""
        found = self.rubrics[language].hazards.get(hazard)
        if found is None and language == "en":
            definition = self.hazards[hazard]
            return HazardRubric(definition.violation or (definition.summary,), definition.acceptable)
        return self.rubrics[language].hazards[hazard] if found is None else found

    def attacks_in(self, tag: str, hazard: str) -> list[str]:
        """The attacks that have a meaning and their words in a language, and the other language that some turn to."""
        language = self.languages[tag]
        given = self.attacks[tag].attacks if tag in self.attacks else {}
        others = set(self.texts[hazard]) - {tag}
        return [
            name
            for name, kind in self.kinds.items()
            if kind.fits(language)
            and (kind.words == "none" or name in (self.texts[hazard][tag].attacked if kind.words == "recorded" else given))
            and (kind.family != "language" or others & set(kind.turns_to(language)))
        ]

    def to_json(self) -> dict[str, Any]:
        """The snapshot that goes into a bundle."""
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return value

    @classmethod
    def from_json(cls, value: Any) -> Catalog:
        """Inverse of `to_json`. Raises `CatalogError`."""
        try:
            return msgspec.convert(value, cls)
        except msgspec.ValidationError as e:
            raise CatalogError(f"the content snapshot is malformed: {e}") from None

    @property
    def digest(self) -> str:
        """The identity of this content."""
        return digest(self.to_json())
