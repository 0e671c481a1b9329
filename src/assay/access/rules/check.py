"""Tests of rules: what is asked, what must come of it, by which rules; and whether they would notice a rule that is gone or changed.

    tests = read_tests(LIBRARY / "tests")
    report = run_tests(Rules.load(), tests)
    report.failures, report.untested
    [m.what for m in mutants(rules) if not run_tests(m.rules, tests).failures]      # changes that no test notices

A folder of tests has YAML files; `base.yaml` has a whole grant and request, of which every test says only what differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from assay.access.model import Asked, Grant, Person, Plain, Route
from assay.access.rules.decide import LIBRARY, NOTHING_PERMITS, Ruled, Rules, RulesError, in_order
from assay.access.rules.facts import Standing
from assay.catalog import Located

if TYPE_CHECKING:
    from cedarpy import pst

MAX_BYTES = 1 << 20
MAX_FILES = 100
BASE = "base.yaml"
Text = Annotated[str, Meta(max_length=300)]
Time = Annotated[str, Meta(max_length=40)]


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """A request of a test: what `Asked` has beside its grant, and what the gate knows. `at` is ISO 8601 with an offset.

    `without` names what is not said of the request: model, digest or reasoning.
    """

    person: Person
    route: Route | Literal["unknown"]
    model: Text
    digest: Text
    tools: tuple[Text, ...]
    stream: bool
    logprobs: bool
    reasoning: bool
    network: Text
    system: Text
    at: Time
    verdict: Standing
    halted: bool
    parent_alive: bool
    without: tuple[Literal["model", "digest", "reasoning"], ...] = ()


class _Base(Struct, frozen=True, forbid_unknown_fields=True):
    assay: Literal["rules-base/1"]
    grant: dict[str, Any]
    request: dict[str, Any]


class _Case(Struct, frozen=True, forbid_unknown_fields=True):
    name: Plain
    allowed: bool
    rules: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=50)]
    grant: dict[str, Any] = {}
    request: dict[str, Any] = {}


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    assay: Literal["rules-tests/1"]
    tests: Annotated[tuple[_Case, ...], Meta(min_length=1, max_length=1000)]


class RuleTest(NamedTuple):
    """One test: what is asked, and what must come of it: allowed or not, and by exactly which rules."""

    name: str
    where: str
    asked: Asked
    verdict: Standing
    halted: bool
    parent_alive: bool
    allowed: bool
    rules: tuple[str, ...]

    def run(self, rules: Rules) -> Ruled:
        """What comes of it."""
        return rules.decide(self.asked, self.verdict, self.halted, self.parent_alive)


class Report(NamedTuple):
    """What became of tests: failures in words, and by rule how many tests it decided. A rule that decided none is not tested."""

    tests: int
    failures: tuple[str, ...]
    decided: Mapping[str, int]

    @property
    def untested(self) -> list[str]:
        """Rules that no test permits or forbids by."""
        return [rule for rule, count in self.decided.items() if not count]

    @property
    def ok(self) -> bool:
        """Whether every test passed and every rule was tested."""
        return not self.failures and not self.untested


class Mutant(NamedTuple):
    """A set of rules with one change."""

    what: str
    rule: str
    rules: Rules


def read_tests(folder: Path) -> list[RuleTest]:
    """The tests of a folder, in order. A folder without `base.yaml` has the built-in one. Raises `RulesError`."""
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix == ".yaml" and p.name != BASE)
    except OSError as e:
        raise RulesError(f"cannot read the tests: {e.strerror}", where=str(folder)) from None
    if not 0 < len(paths) <= MAX_FILES:
        raise RulesError(f"{len(paths)} files of tests (*.yaml), where there are 1 to {MAX_FILES}", where=str(folder))
    base = read_base(folder / BASE if (folder / BASE).exists() else LIBRARY / "tests" / BASE)
    tests = []
    for path in paths:
        document = located(path)
        for number, case in enumerate(document.convert(_File).tests):
            try:
                tests.append(_test(case, base, f"{path.name}:{document.line(f'.tests[{number}]')}"))
            except (msgspec.ValidationError, ValueError) as e:
                raise document.fail(str(e), f".tests[{number}]") from None
    return tests


def read_base(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The grant and the request of a base file. Raises `RulesError`."""
    base = located(path).convert(_Base)
    return base.grant, base.request


def asked_of(grant: Mapping[str, Any], request: Mapping[str, Any]) -> tuple[Asked, Request]:
    """A grant and a request as values. Raises ValueError (msgspec's, too) for what is neither."""
    found = msgspec.convert(dict(request), Request)
    asked = Asked(
        grant=msgspec.convert(dict(grant), Grant),
        person=found.person,
        route=found.route,  # type: ignore[arg-type]  # a test may ask for a route that there is not
        tools=found.tools,
        stream=found.stream,
        logprobs=found.logprobs,
        network=found.network,
        system=found.system,
        at=time_of(found.at),
        model="" if "model" in found.without else found.model,
        digest="" if "digest" in found.without else found.digest,
        reasoning=None if "reasoning" in found.without else found.reasoning,
    )
    return asked, found


def time_of(text: str) -> int:
    """A time in ISO 8601 with an offset, in Unix milliseconds. Raises ValueError."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"a time needs its offset from UTC, like 2026-11-30T10:00:00Z: {text}")
    return round(time.timestamp() * 1000)


def run_tests(rules: Rules, tests: Sequence[RuleTest]) -> Report:
    """Every test against a set of rules."""
    failures = []
    decided = dict.fromkeys(rules.rules, 0)
    for test in tests:
        ruled = test.run(rules)
        for rule in ruled.rules:
            if rule in decided and not ruled.errors:
                decided[rule] += 1
        if (ruled.allowed, ruled.rules) != (test.allowed, tuple(sorted(test.rules))):
            failures.append(f"{test.where} {test.name}: {_say(test.allowed, test.rules)}, and was {_say(ruled.allowed, ruled.rules)}")
            failures[-1] += "".join(f"\n    {error}" for error in ruled.errors)
    return Report(len(tests), tuple(failures), decided)


def mutants(rules: Rules, *, built_in: bool = True) -> Iterator[Mutant]:
    """Every set with one change in one of the built-in rules, or of a site's: a rule left out; a condition left out or turned round; `and`
    for `or`, `==` for `!=`, `<` for `<=`, one name of an enumeration for another, a set without one of its members, another number.
    """
    from cedarpy import PolicySet, pst

    trees = dict(in_order(rules.policies))
    for policy, template in trees.items():
        if rules.by_policy[policy].built_in is not built_in:
            continue
        rule = rules.by_policy[policy].id
        changes = [("left out", None), *_changed(template)]
        for what, changed in changes:
            left = {p: t for p, t in trees.items() if p != policy} | ({policy: changed} if changed else {})
            tree = pst.PolicySet(templates={}, static_policies=left, template_links=())
            ids = {p: r for p, r in rules.by_policy.items() if p in left}
            yield Mutant(what, rule, Rules(PolicySet.from_pst(tree), rules.schema, ids, f"{rules.digest}: {rule} {what}"))


def _changed(template: pst.Template) -> Iterator[tuple[str, pst.Template]]:
    from cedarpy import pst

    effect = "forbid" if template.effect == "permit" else "permit"
    yield f"a {effect}", replace(template, effect=effect)  # type: ignore[arg-type]
    for number, clause in enumerate(template.clauses):

        def put(*new: pst.Clause, number: int = number) -> pst.Template:
            return replace(template, clauses=(*template.clauses[:number], *new, *template.clauses[number + 1 :]))

        turned = pst.Unless if isinstance(clause, pst.When) else pst.When
        yield f"condition {number + 1} left out", put()
        yield f"condition {number + 1} turned round", put(turned(expr=clause.expr))
        for what, expr in _exprs(clause.expr):
            yield f"condition {number + 1}: {what}", put(replace(clause, expr=expr))


_SWAPS = {
    "and": "or", "or": "and", "eq": "not_eq", "not_eq": "eq", "less": "less_eq", "less_eq": "less",
    "greater": "greater_eq", "greater_eq": "greater", "contains_all": "contains_any", "contains_any": "contains_all",
}  # fmt: skip
_SIDES = ("and", "or")


def _exprs(expr: Any) -> Iterator[tuple[str, Any]]:
    """An expression with one change, at any depth."""
    from cedarpy import pst

    if isinstance(expr, pst.BinaryOp):
        if expr.op in _SWAPS:
            yield f"{expr.op} -> {_SWAPS[expr.op]}", replace(expr, op=_SWAPS[expr.op])  # type: ignore[arg-type]
        if expr.op in _SIDES:
            yield f"left side of {expr.op} only", expr.left
            yield f"right side of {expr.op} only", expr.right
    elif isinstance(expr, pst.EntityLit):
        for other in _OTHERS.get(str(expr.value.type), ()):
            if other != expr.value.id:
                yield f"{expr.value.id} -> {other}", pst.EntityLit(value=replace(expr.value, id=other))
    elif isinstance(expr, pst.LongLit):
        for other_number in (expr.value - 1, expr.value + 1):
            yield f"{expr.value} -> {other_number}", pst.LongLit(value=other_number)
    elif isinstance(expr, pst.StringLit):
        yield f"{expr.value!r} -> {expr.value + '?'!r}", pst.StringLit(value=expr.value + "?")
    elif isinstance(expr, pst.Set):
        for n in range(len(expr.elements)):
            yield f"set without member {n + 1}", pst.Set(elements=expr.elements[:n] + expr.elements[n + 1 :])
    for field in fields(expr) if is_dataclass(expr) else ():
        value = getattr(expr, field.name)
        if isinstance(value, tuple) and isinstance(expr, pst.Set):
            for n, element in enumerate(value):
                for what, new in _exprs(element):
                    yield what, replace(expr, elements=(*value[:n], new, *value[n + 1 :]))
        elif isinstance(expr, pst.Record) and isinstance(value, Mapping):
            for name in value:
                yield f"record without {name}", pst.Record(fields={k: v for k, v in value.items() if k != name})
        elif is_dataclass(value) and not isinstance(expr, pst.EntityLit):
            for what, new in _exprs(value):
                yield what, replace(expr, **{field.name: new})


_OTHERS = {
    "Tier": ("assessor", "operator", "general"),
    "Verdict": ("approve", "delay", "halt", "none"),
    "Window": ("before", "open", "after"),
}


def _test(case: _Case, base: tuple[dict[str, Any], dict[str, Any]], where: str) -> RuleTest:
    asked, request = asked_of(base[0] | case.grant, base[1] | case.request)
    return RuleTest(case.name, where, asked, request.verdict, request.halted, request.parent_alive, case.allowed, case.rules)


def _say(allowed: bool, rules: Sequence[str]) -> str:
    if tuple(rules) == (NOTHING_PERMITS,):
        return "denied, since no rule permits it"
    return f"{'allowed' if allowed else 'denied'} by {', '.join(sorted(rules))}"


def located(path: Path) -> Located:
    """A YAML file that knows its lines. Raises `RulesError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as e:
        raise RulesError(f"cannot read: {e.strerror}", where=str(path)) from None
    if len(data) > MAX_BYTES:
        raise RulesError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
    return Located(data.decode("utf-8", errors="replace"), where=str(path), error=RulesError)
