"""All that is agreed before the first trial, as frozen values. docs/plan.md describes the file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from assay.ledger import digest

Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$")]
AttackName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}(\+[a-z0-9-]{1,40}){0,2}$")]
Rate = Annotated[float, Meta(gt=0, lt=1)]
Arm = Literal["plain", "attack", "placebo", "benign", "adapted", "literal", "anchor"]

NO_ATTACK = "none"
RECORDED = "recorded"
"""The kind of target whose answers were there before the run."""
SOURCE = "source"
"""The kind of judge that is another tool's scorer; its tool plays the plan's items with the target."""


class TargetSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The system under test, pinned. `digest` is filled in when the run opens if the plan leaves it out."""

    kind: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    model: Annotated[str, Meta(min_length=1, max_length=200)]
    url: Annotated[str, Meta(max_length=500)] = ""
    api_key_env: Annotated[str, Meta(pattern=r"^[A-Z_][A-Z0-9_]*$|^$")] = ""
    digest: Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""
    options: dict[str, str] = {}


class Generation(Struct, frozen=True, forbid_unknown_fields=True):
    """Decoding, fixed for the whole run."""

    max_tokens: Annotated[int, Meta(ge=1, le=32_768)] = 256
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0


class Stream(Struct, frozen=True, order=True, cache_hash=True):
    """The ordered trials of one cell and arm. Trial i of a stream is item i, or item i // samples where items are sampled several times."""

    hazard: str
    language: str
    attack: str
    arm: Arm

    @property
    def key(self) -> str:
        """One string: `hazard/language/attack/arm`."""
        return f"{self.hazard}/{self.language}/{self.attack}/{self.arm}"


class Matrix(Struct, frozen=True, forbid_unknown_fields=True):
    """Every cell is (hazard, language, attack); `none` stands for no attack and is always in.

    `renderings` names languages in which the same items are asked in two wordings: at home in the place, and close to the reference's.
    """

    hazards: Annotated[tuple[Name, ...], Meta(min_length=1)]
    languages: Annotated[tuple[Name, ...], Meta(min_length=1)]
    attacks: tuple[AttackName, ...] = ()
    placebo: bool = False
    benign: bool = True
    renderings: tuple[Name, ...] = ()


class ViolationRate(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="violation-rate"):
    """Every selected cell's violation rate is at most `max_rate`."""

    id: Name
    max_rate: Rate
    hazards: tuple[Name, ...] = ()
    languages: tuple[Name, ...] = ()
    attacks: tuple[AttackName, ...] = ()


class OverRefusal(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="over-refusal"):
    """In every selected hazard and language, at most `max_rate` of the benign twins go unserved."""

    id: Name
    max_rate: Rate
    hazards: tuple[Name, ...] = ()
    languages: tuple[Name, ...] = ()


class LanguageParity(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="language-parity"):
    """No selected language's violation rate exceeds the reference language's by more than `margin`, paired by item."""

    id: Name
    reference: Name
    margin: Rate
    hazards: tuple[Name, ...] = ()
    languages: tuple[Name, ...] = ()
    attacks: tuple[AttackName, ...] = ()


class AttackEffect(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="attack-effect"):
    """No selected attack raises a cell's violation rate by more than `margin` over its placebo of the same length, paired by item."""

    id: Name
    margin: Rate
    hazards: tuple[Name, ...] = ()
    languages: tuple[Name, ...] = ()
    attacks: tuple[AttackName, ...] = ()


class LocalisationEffect(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="localisation-effect"):
    """In no selected hazard and language does the adapted wording violate more often than the literal one by more than `margin`, paired."""

    id: Name
    margin: Rate
    hazards: tuple[Name, ...] = ()
    languages: tuple[Name, ...] = ()


Weight = Annotated[float, Meta(ge=0, le=1e6)]


class Weights(Struct, frozen=True, forbid_unknown_fields=True):
    """How much the cells of an average count: the product of what is given for hazard, language and attack, 1 where nothing is."""

    hazards: dict[Name, Weight] = {}
    languages: dict[Name, Weight] = {}
    attacks: dict[AttackName, Weight] = {}

    def of(self, stream: Stream) -> float:
        """The weight of a stream's cell."""
        return self.hazards.get(stream.hazard, 1.0) * self.languages.get(stream.language, 1.0) * self.attacks.get(stream.attack, 1.0)


class AverageRate(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="average-rate"):
    """The weighted average of the selected cells' violation rates is at most `max_rate`: over all of them, or for each hazard, language or
    attack by itself.
    """

    id: Name
    max_rate: Rate
    hazards: tuple[Name, ...] = ()
    languages: tuple[Name, ...] = ()
    attacks: tuple[AttackName, ...] = ()
    each: Literal["all", "hazard", "language", "attack"] = "all"
    weights: Weights = Weights()


Requirement = ViolationRate | AverageRate | OverRefusal | LanguageParity | AttackEffect | LocalisationEffect


class ErrorRates(Struct, frozen=True, forbid_unknown_fields=True):
    """The registered chance of approving wrongly and of halting wrongly, each over the whole plan."""

    approve: Annotated[float, Meta(gt=0, le=0.5)] = 0.05
    halt: Annotated[float, Meta(gt=0, le=0.5)] = 0.05


class Prices(Struct, frozen=True, forbid_unknown_fields=True):
    """What a million tokens cost, in any one currency."""

    prompt: Annotated[float, Meta(ge=0, le=1e6)]
    answer: Annotated[float, Meta(ge=0, le=1e6)]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")] = "USD"

    def cost(self, prompt_tokens: float, answer_tokens: float) -> float:
        """In the currency."""
        return (prompt_tokens * self.prompt + answer_tokens * self.answer) / 1e6


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the run stops even if undecided, with what it has. 0 minutes, tokens or money is no limit; money needs prices."""

    calls: Annotated[int, Meta(ge=1, le=100_000_000)]
    minutes: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    tokens: Annotated[int, Meta(ge=0, le=10**15)] = 0
    money: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    prices: Prices | None = None


class Exploration(Struct, frozen=True, forbid_unknown_fields=True):
    """Trials that every stream of an arm gets for the map, whatever the decision needed."""

    plain: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    attack: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    placebo: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    benign: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    renderings: Annotated[int, Meta(ge=0, le=1_000_000)] = 0

    def floor(self, arm: Arm) -> int:
        """Trials per stream of this arm; anchors have none, they are asked in windows."""
        match arm:
            case "anchor":
                return 0
            case "adapted" | "literal":
                return self.renderings
            case _:
                return int(getattr(self, arm))


class Bank(Struct, frozen=True, forbid_unknown_fields=True):
    """A finite bank instead of fresh items: `size` a cell, made from the bank's own seed, drawn in random order without replacement.

    What is decided then holds for this bank. The same bank in two runs asks the same items, so that releases can be compared item by item.
    """

    size: Annotated[int, Meta(ge=2, le=100_000)]
    seed: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Drift(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether the target changed within the run: `anchors` items are asked at the start, again every so many calls, and at the end.

    `level` is the chance of a false alarm, which turns an approval into delay.
    """

    anchors: Annotated[int, Meta(ge=1, le=1000)] = 60
    every: Annotated[int, Meta(ge=1, le=100_000_000)] = 5000
    level: Annotated[float, Meta(gt=0, le=0.5)] = 0.01


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """How the target is called. docs/plan.md says what each field does; 0 is no limit where a limit may be left out."""

    concurrency: Annotated[int, Meta(ge=1, le=4096)] = 8
    lookahead: Annotated[int, Meta(ge=0, le=65_536)] = 0
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 60.0
    call_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    retries: Annotated[int, Meta(ge=0, le=20)] = 4
    retry_share: Annotated[float, Meta(ge=0, le=20)] = 0.5
    outage_s: Annotated[float, Meta(gt=0, le=86_400)] = 180.0
    requests_per_minute: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    tokens_per_minute: Annotated[int, Meta(ge=0, le=10**12)] = 0
    hedge_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    max_answer_bytes: Annotated[int, Meta(ge=1024, le=16 * 1024 * 1024)] = 262_144

    @property
    def window(self) -> int:
        """The look-ahead in force: as given, else six times the concurrency; never below the concurrency."""
        return max(self.lookahead or 6 * self.concurrency, self.concurrency)


class Attacker(Struct, frozen=True, forbid_unknown_fields=True):
    """The model that plays adaptive strategies, and how often such a strategy may call the target for one item."""

    target: TargetSpec
    calls: Annotated[int, Meta(ge=1, le=200)] = 8
    max_tokens: Annotated[int, Meta(ge=16, le=8192)] = 512
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.7


class JudgeSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """One judge of the panel: a model, the language of its rubric (English, or the item's own), and its decoding. A `structured` judge's
    reply is held to its form by the endpoint, where that can.
    """

    name: Name
    target: TargetSpec
    rubric: Literal["en", "item"] = "en"
    max_tokens: Annotated[int, Meta(ge=32, le=8192)] = 400
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    structured: bool = False


class Calibrated(Struct, frozen=True, forbid_unknown_fields=True):
    """How a panel did on answers that people labelled without seeing it: of the violations `caught` and `missed`, of the acceptable ones
    `alarms` and `passed`. `panel` is the digest of everything the verdict depends on: models, rubric in that language, decoding.
    """

    panel: Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
    hazard: Name
    language: Name
    arm: Arm
    caught: Annotated[int, Meta(ge=0, le=10**7)]
    missed: Annotated[int, Meta(ge=0, le=10**7)]
    alarms: Annotated[int, Meta(ge=0, le=10**7)] = 0
    passed: Annotated[int, Meta(ge=0, le=10**7)] = 0


class Judges(Struct, frozen=True, forbid_unknown_fields=True):
    """Who judges what no program can: one model or several, each asked up to `tries` times until its reply can be used.

    `combine` is how several verdicts become one: the most severe, or that of the majority, where a tie is a violation. With `episodes` they
    also read episodes in agent worlds, for failure modes; outcomes there stay the ledger's. `calibration` names the file that says how the
    panel did on labelled answers; what it holds is filled in as `calibrated` when the plan is read, and so are the judged `hazards`.
    `digests`, by `hazard/language`, are the panel's identities, and `void` says that it has changed since its calibration: filled in when
    the run opens.
    """

    panel: Annotated[tuple[JudgeSpec, ...], Meta(min_length=1, max_length=9)]
    combine: Literal["most-severe", "majority"] = "most-severe"
    tries: Annotated[int, Meta(ge=1, le=10)] = 2
    episodes: bool = False
    calibration: Annotated[str, Meta(max_length=1000)] = ""
    calibrated: tuple[Calibrated, ...] = ()
    hazards: tuple[Name, ...] = ()
    digests: dict[str, str] = {}
    void: bool = False


class Labels(Struct, frozen=True, forbid_unknown_fields=True):
    """How people label. Each trial by so many `people`; every flagged trial, and a share `audit` of all trials of judged hazards, drawn by
    the run's seed whatever the judge says. `share` of the registered error is spent on the judge's sensitivity; a sensitivity of `expected`
    is what the schedule reckons with where nothing is known yet. With the method `audit` no sensitivity is used: the drawn share of what
    the judge passes stands for the rest.
    """

    people: Annotated[int, Meta(ge=1, le=9)] = 1
    audit: Annotated[float, Meta(ge=0, le=1)] = 0.0
    share: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    expected: Annotated[float, Meta(ge=0.1, lt=1)] = 0.8
    method: Literal["confirm", "audit"] = "confirm"


class Worlds(Struct, frozen=True, forbid_unknown_fields=True):
    """How agent worlds are played. The stream's language is that of the request; `data`, `injection` and `tools` are those of the records,
    of what an adversary plants, and of the tools' names and descriptions, and the stream's own where they are left out.

    An episode ends after so many `steps` (answers of the agent) or `calls` of tools. `hazards`, filled in when the plan is read, are those
    that are played in worlds.
    """

    data: Annotated[str, Meta(pattern=r"^([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})?$")] = ""
    injection: Annotated[str, Meta(pattern=r"^([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})?$")] = ""
    tools: Annotated[str, Meta(pattern=r"^([a-zA-Z0-9][a-zA-Z0-9._-]{0,63})?$")] = ""
    protocol: Literal["text", "native"] = "text"
    steps: Annotated[int, Meta(ge=1, le=200)] = 12
    calls: Annotated[int, Meta(ge=1, le=1000)] = 40
    hazards: tuple[Name, ...] = ()


class Plan(Struct, frozen=True, forbid_unknown_fields=True):
    """A plan. Two plans are the same exactly if their digests are. Each item of a stream is asked `samples` times.

    `content` names bank files; `sizes`, filled in when the plan is read, has the items a cell of each hazard that comes from one.
    """

    assay: Literal["plan/1"]
    name: Name
    target: TargetSpec
    matrix: Matrix
    requirements: Annotated[tuple[Requirement, ...], Meta(min_length=1)]
    budget: Budget
    about: Annotated[str, Meta(max_length=4000)] = ""
    errors: ErrorRates = ErrorRates()
    generation: Generation = Generation()
    exploration: Exploration = Exploration()
    samples: Annotated[int, Meta(ge=1, le=32)] = 1
    bank: Bank | None = None
    drift: Drift | None = None
    attacker: Attacker | None = None
    worlds: Worlds | None = None
    judges: Judges | None = None
    labels: Labels = Labels()
    limits: Limits = Limits()
    seed: Annotated[str, Meta(pattern=r"^(auto|[0-9a-f]{64})$")] = "auto"
    content: Annotated[tuple[Annotated[str, Meta(max_length=1000)], ...], Meta(max_length=100)] = ()
    sizes: dict[Name, Annotated[int, Meta(ge=2, le=200_000)]] = {}
    catalog: Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?$")] = ""

    def to_json(self) -> dict[str, Any]:
        """As registered: every field, defaults included."""
        value: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return value

    @property
    def digest(self) -> str:
        """SHA-256 over the canonical JSON."""
        return digest(self.to_json())

    def bank_size(self, hazard: str) -> int:
        """Items a cell of this hazard, where they are finite; 0 where they are fresh."""
        return self.sizes.get(hazard) or (self.bank.size if self.bank else 0)


def streams(plan: Plan) -> list[Stream]:
    """Every stream of the plan in its canonical order: arm by arm, hazard, attack, language as the plan lists them; anchors last."""
    m = plan.matrix
    plain = [Stream(h, t, NO_ATTACK, "plain") for h in m.hazards for t in m.languages]
    attack = [Stream(h, t, a, "attack") for a in m.attacks for h in m.hazards for t in m.languages]
    placebo = [Stream(s.hazard, s.language, s.attack, "placebo") for s in attack] if m.placebo else []
    benign = [Stream(h, t, NO_ATTACK, "benign") for h in m.hazards for t in m.languages] if m.benign else []
    arms: tuple[Arm, ...] = ("adapted", "literal")
    rendered = [Stream(h, t, NO_ATTACK, arm) for h in m.hazards for t in m.renderings for arm in arms]
    return plain + attack + placebo + benign + rendered + list(anchors(plan))


def anchors(plan: Plan) -> dict[Stream, int]:
    """How many anchors each anchor stream has: they are spread evenly over the plain and attacked cells."""
    if plan.drift is None:
        return {}
    m = plan.matrix
    cells = [(h, t, a) for a in (NO_ATTACK, *m.attacks) for h in m.hazards for t in m.languages]
    out: dict[Stream, int] = {}
    for i in range(plan.drift.anchors):
        stream = Stream(*cells[i * len(cells) // plan.drift.anchors if plan.drift.anchors <= len(cells) else i % len(cells)], "anchor")
        out[stream] = out.get(stream, 0) + 1
    return out
