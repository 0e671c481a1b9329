"""The rules of the door, in Cedar: default deny, every rule named, and an error denies. docs/access-rules.md describes them.

    rules = Rules.load()                                 # the built-in ones; with a folder, also a site's, which can only forbid
    ruled = rules.decide(asked, "delay", halted=False)
    ruled.allowed, ruled.rules                           # True, ("operators-approve-delay",)
    cache[rules.key(asked, "delay", halted=False)] = ruled

Cedar skips a `forbid` that fails while it is evaluated, and then allows what it would have forbidden. So entities and context are checked
against the schema before every decision, and whenever Cedar tells of any error, the request is denied.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct

from assay.access.model import Asked, DeniedError
from assay.access.rules import facts
from assay.access.rules.facts import Standing
from assay.errors import AssayError

if TYPE_CHECKING:
    import cedarpy
    from cedarpy import pst

LIBRARY = Path(__file__).parent / "policies"
SCHEMA = "schema.cedarschema"
MAX_BYTES = 1 << 20
MAX_FILES = 100
MAX_RULES = 500
MAX_KNOWN = 4096
NOTHING_PERMITS = "nothing-permits"
"""What stands in `Ruled.rules` where no rule permits and none forbids."""
ERROR = "error"
"""What stands there where a decision could not be made."""
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_FAILED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError, RecursionError)

Said = Literal["applies", "does not apply", "error"]


class RulesError(AssayError):
    """A set of rules that cannot be read, or that the door does not open with."""


class Ruled(Struct, frozen=True):
    """A decision: the rules that made it (all that forbid, or all that permit), errors, and until when it holds (Unix ms, included)."""

    allowed: bool
    rules: tuple[str, ...]
    errors: tuple[str, ...] = ()
    valid_until: int = 0


class Rule(Struct, frozen=True):
    """A rule: its `@id`, whether it permits or forbids, what it says in words (`@says`), the file in which it stands, and whose it is."""

    id: str
    effect: Literal["permit", "forbid"]
    says: str
    file: str
    built_in: bool = True


class _Known(NamedTuple):
    terms: facts.Terms
    entities: cedarpy.Entities


class Rules:
    """A set of rules that was checked. Never changes; may be used from several threads."""

    def __init__(self, policies: cedarpy.PolicySet, schema: cedarpy.Schema, rules: Mapping[str, Rule], digest: str) -> None:
        """`rules` are by Cedar's own ids. Use `load` or `parse`."""
        from cedarpy import is_authorized

        self.policies, self.schema, self.digest = policies, schema, digest
        self.by_policy = dict(rules)
        self._ids = {policy: rule.id for policy, rule in rules.items()}
        self._known: dict[Hashable, _Known] = {}
        self._is_authorized = is_authorized

    @classmethod
    def load(cls, site: Path | None = None) -> Rules:
        """The built-in rules, and the `*.cedar` files of a site's folder, whose rules can only forbid. Raises `RulesError`."""
        files = _texts(LIBRARY)
        return cls.parse(files, _bounded(LIBRARY / SCHEMA), _texts(site) if site is not None else {})

    @classmethod
    def parse(cls, files: Mapping[str, str], schema: str, site: Mapping[str, str] | None = None) -> Rules:
        """Rules from texts by file name. Raises `RulesError` for what is not valid by the schema, for a rule without its `@id` and `@says`,
        for an id that stands twice, for a set in which nothing permits, and for a site's rule that permits.
        """
        try:
            from cedarpy import PolicySet, Schema, validate_policies
        except ImportError:
            raise RulesError("the rules need cedarpy, which is not installed", fix="pip install 'assay[access]'") from None
        try:
            parsed_schema = Schema.from_str(schema)
        except ValueError as e:
            raise RulesError(f"not a schema: {_line(e)}", where=SCHEMA) from None
        found: dict[str, Rule] = {}
        for own, texts in ((False, files), (True, site or {})):
            for name, text in texts.items():
                for rule in _rules_of(name, text, built_in=not own):
                    if rule.id in found:
                        raise RulesError(f"the rule '{rule.id}' is there twice, also in {found[rule.id].file}", where=name)
                    if own and rule.effect == "permit":
                        fix = "A site's rules can only forbid: what is permitted is the built-in rules' matter."
                        raise RulesError(f"the rule '{rule.id}' permits", where=name, fix=fix)
                    found[rule.id] = rule
        if len(found) > MAX_RULES:
            raise RulesError(f"{len(found)} rules; at most {MAX_RULES}")
        if not any(r.effect == "permit" for r in found.values()):
            raise RulesError("no rule permits anything, so the door would open to nobody")
        text = "\n".join([*files.values(), *(site or {}).values(), ""])
        policies = PolicySet.from_str(text)
        rules = {policy: found[template.annotations["id"]] for policy, template in in_order(policies)}
        checked = validate_policies(text, parsed_schema)
        if not checked.validation_passed or checked.errors:
            first = checked.errors[0]
            bad = rules.get(first.policy_id)
            raise RulesError(f"the rule '{bad.id}': {_line(first.error)}" if bad else _line(first), where=bad.file if bad else "")
        return cls(policies, parsed_schema, rules, hashlib.sha256(f"{schema}\0{text}".encode()).hexdigest())

    def reloaded(self, site: Path | None = None) -> tuple[Rules, str]:
        """What `load` gives; where it refuses, these rules, and why."""
        try:
            return Rules.load(site), ""
        except RulesError as e:
            return self, str(e)

    @cached_property
    def rules(self) -> dict[str, Rule]:
        """Every rule by its id, in the files' order."""
        return {rule.id: rule for rule in self.by_policy.values()}

    def key(self, asked: Asked, verdict: Standing, halted: bool, parent_alive: bool = False) -> tuple[Hashable, ...]:
        """Everything on which the decision depends: for the same key `decide` says the same."""
        at, grant = asked.at, asked.grant
        return (
            self.digest, grant, asked.person, asked.route, asked.model, asked.digest, asked.tools, asked.stream, asked.logprobs,
            asked.reasoning, asked.network, asked.system, at // facts.MINUTE_MS, facts.phase(grant, at), verdict, halted, parent_alive,
        )  # fmt: skip

    def decide(self, asked: Asked, verdict: Standing, halted: bool, parent_alive: bool = False) -> Ruled:
        """Whether a request is allowed, and by which rules. What cannot be decided is denied, with its errors; nothing is raised.

        `verdict` is the decision on the grant's model, `halted` whether a halt covers grant or person, `parent_alive` whether the grant's
        parent holds (of no matter where it has none).
        """
        try:
            known = self._knowledge(asked)
            told = facts.context(asked, known.terms, verdict=verdict, halted=halted, parent_alive=parent_alive)
            until = facts.valid_until(asked.grant, asked.at)
        except _FAILED as e:
            return Ruled(False, (ERROR,), (f"{type(e).__name__}: {_line(e)}",))
        return self.judge(facts.request(asked, told), known.entities, until)

    def judge(self, request: dict[str, Any], entities: cedarpy.Entities, until: int = 0) -> Ruled:
        """As `decide`, of a request in Cedar's form and entities that were checked against the schema."""
        from cedarpy import Decision

        try:
            request = {**request, "context": json.dumps(request["context"])}
            result = self._is_authorized(request, self.policies, entities, self.schema)
            decision, told = result.decision, result.diagnostics
            errors = tuple(_line(e) for e in told.errors)
            by = tuple(sorted(self._ids[policy] for policy in told.reasons))
        except _FAILED as e:
            return Ruled(False, (ERROR,), (f"{type(e).__name__}: {_line(e)}",), until)
        if errors or decision is Decision.NoDecision:
            return Ruled(False, (ERROR, *(r for r in by if self.rules[r].effect == "forbid")), errors or ("no decision",), until)
        if decision is Decision.Allow and by:
            return Ruled(True, by, (), until)
        return Ruled(False, by or (NOTHING_PERMITS,), (), until)

    def refusal(self, ruled: Ruled) -> DeniedError:
        """What a caller is told of a decision that denies: what the first rule says, and nothing else."""
        rule = self.rules.get(ruled.rules[0])
        if rule is not None:
            return DeniedError(rule.id, 403, rule.says)
        nothing = ruled.rules[0] == NOTHING_PERMITS
        return DeniedError(ruled.rules[0], 403, "no rule permits this under the decision that holds" if nothing else "it cannot be judged")

    def each(self, asked: Asked, verdict: Standing, halted: bool, parent_alive: bool = False) -> dict[str, Said]:
        """What every rule says alone, by its id: for explanations, not for decisions."""
        from cedarpy import PolicySet, pst

        said: dict[str, Said] = {}
        for policy, template in in_order(self.policies):
            alone = PolicySet.from_pst(pst.PolicySet(templates={}, static_policies={policy: template}, template_links=()))
            rule = self.by_policy[policy]
            ruled = Rules(alone, self.schema, {policy: rule}, "").decide(asked, verdict, halted, parent_alive)
            said[rule.id] = "error" if ruled.errors else "applies" if rule.id in ruled.rules else "does not apply"
        return said

    def _knowledge(self, asked: Asked) -> _Known:
        """Entities and terms, parsed and checked once: of a grant, which may be large; then with its persons and its model. What a caller
        names otherwise is not kept.
        """
        from cedarpy import Entities

        key = (asked.grant, asked.person, asked.model, asked.digest)
        known = self._known.get(key)
        if known is None:
            grant = self._known.get(asked.grant)
            if grant is None:
                data = json.dumps(facts.grant_entities(asked.grant))
                grant = self._keep(asked.grant, _Known(facts.Terms.of(asked.grant), Entities.from_json_str(data, self.schema)))
            data = json.dumps(facts.request_entities(asked))
            known = _Known(grant.terms, grant.entities.with_added_json_str(data, self.schema))
            if asked.model == asked.grant.model and asked.digest == asked.grant.digest and asked.person in asked.grant.persons:
                self._keep(key, known)
        return known

    def _keep(self, key: Hashable, known: _Known) -> _Known:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[key] = known
        return known


def in_order(policies: cedarpy.PolicySet) -> list[tuple[str, pst.Template]]:
    """The rules of a set by Cedar's own ids, as they stand in the text: Cedar numbers them so."""
    return _ordered(policies.to_pst())


def _ordered(tree: pst.PolicySet) -> list[tuple[str, pst.Template]]:
    return sorted(tree.static_policies.items(), key=lambda pair: int(pair[0].removeprefix("policy")))


def source(rule: Rule, text: str) -> str:
    """The part of a file's text in which a rule stands, with the comment above it."""
    blocks = re.split(r"\n\s*\n", text.strip())
    return next((b for b in blocks if f'@id("{rule.id}")' in b), text)


def _rules_of(name: str, text: str, *, built_in: bool) -> list[Rule]:
    from cedarpy import PolicySet

    try:
        tree = PolicySet.from_str(text).to_pst()
    except ValueError as e:
        raise RulesError(f"not Cedar: {_line(e)}", where=name) from None
    if tree.templates or tree.template_links:
        raise RulesError("a template, where every rule is whole", where=name)
    if not tree.static_policies:
        raise RulesError("there is no rule in it: empty, or cut off", where=name)
    return [_rule(name, template, built_in) for _, template in _ordered(tree)]


def _rule(name: str, template: pst.Template, built_in: bool) -> Rule:
    notes = dict(template.annotations)
    ident, says = notes.pop("id", ""), notes.pop("says", "")
    if not _ID.match(ident) or ident in (ERROR, NOTHING_PERMITS):
        fix = f'Put a line above it: @id("..."), with a to z, 0 to 9 and hyphens; not "{ERROR}" or "{NOTHING_PERMITS}".'
        raise RulesError(f"a rule without an id that can be used: {ident[:64]!r}", where=name, fix=fix)
    if not 0 < len(says) <= 200 or not says.isprintable():
        raise RulesError(f"the rule '{ident}' does not say in words what it is about", where=name, fix='Put a line above it: @says("...")')
    if notes:
        raise RulesError(f"the rule '{ident}' has an annotation that means nothing here: {min(notes)[:64]!r}", where=name)
    return Rule(ident, template.effect, says, name, built_in)


def _texts(folder: Path) -> dict[str, str]:
    """The rules' files of a folder, by name, in order. Raises `RulesError` where there are none, or one cannot be read."""
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix == ".cedar")
    except OSError as e:
        raise RulesError(f"cannot read the rules: {e.strerror}", where=str(folder)) from None
    if not 0 < len(paths) <= MAX_FILES:
        raise RulesError(f"{len(paths)} files of rules (*.cedar), where there are 1 to {MAX_FILES}", where=str(folder))
    return {path.name: _bounded(path) for path in paths}


def _bounded(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise RulesError(f"larger than {MAX_BYTES:,} bytes", where=str(path))
        return data.decode("utf-8")
    except OSError as e:
        raise RulesError(f"cannot read: {e.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise RulesError("not UTF-8", where=str(path)) from None


def _line(error: object) -> str:
    """The first line of an error, bounded: it may quote a request."""
    lines = str(error).splitlines()
    return lines[0][:300] if lines else ""
