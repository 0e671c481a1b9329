"""A decision of the rules in words: what was asked, what was known, which rules decided, and what they saw.

for line in explained(rules, asked, "delay", halted=False): print(line)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from assay.access.grants.narrow import zone
from assay.access.model import Asked, Grant, Hours
from assay.access.rules.decide import ERROR, NOTHING_PERMITS, Rules
from assay.access.rules.facts import Standing

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MOST = 6


def asked_words(asked: Asked) -> list[str]:
    """What is asked, by whom, under which grant."""
    grant = asked.grant
    kinds = {"a stream": asked.stream, "token probabilities": asked.logprobs, "hidden reasoning": asked.reasoning}
    wants = " and ".join(kind for kind, wanted in kinds.items() if wanted)
    return [
        f"{asked.person.name} of {grant.organisation}, under the grant {grant.id} ({grant.tier}, {grant.level}),",
        f"asks {asked.model or 'no model'} for {asked.route}{f' with {wants}' if wants else ''}, tools: {_list(asked.tools)},",
        f"from {asked.network or 'no address'}, for {_system(asked)}, on {_when(asked.at, grant)}.",
    ]


def explained(rules: Rules, asked: Asked, verdict: Standing, halted: bool, parent_alive: bool = False) -> list[str]:
    """The decision and why, rule by rule."""
    ruled = rules.decide(asked, verdict, halted, parent_alive)
    lines = []
    if ruled.errors:
        lines.append("Denied: it cannot be judged, and what cannot be judged is denied.")
        lines += [f"  {error}" for error in ruled.errors]
    elif ruled.allowed:
        lines.append(f"Allowed by {_list(ruled.rules)}, until {_utc(ruled.valid_until)} at least.")
    elif ruled.rules == (NOTHING_PERMITS,):
        lines.append(f"Denied: no rule permits it. The tier is {asked.grant.tier} and the decision is {verdict}.")
        lines += [f"  {rule.id}: {rule.says}" for rule in rules.rules.values() if rule.effect == "permit"]
    else:
        lines.append(f"Denied by {_list(ruled.rules)}.")
    for name in ruled.rules:
        if name not in (ERROR, NOTHING_PERMITS):
            seen = because(name, asked, verdict)
            lines.append(f"  {name}: {rules.rules[name].says}" + (f" ({seen})" if seen else ""))
    return lines


def because(rule: str, asked: Asked, verdict: str) -> str:
    """What a built-in rule saw; empty for another."""
    g = asked.grant
    seen = {
        "assessors-always": f"the decision is {verdict}",
        "operators-approve-delay": f"the decision is {verdict}",
        "general-approve": f"the decision is {verdict}",
        "halted": "lifting it takes an administrator",
        "person": f"{asked.person.name}, with the key {asked.person.key[:12] or 'of nobody'}, is not so named in the grant",
        "model": f"{asked.model or 'no model'} is not {g.model}",
        "digest": f"{asked.digest or 'nothing'} is served, and the grant is for {g.digest}",
        "parent": f"{g.parent} is revoked, expired or unknown",
        "window": f"it holds from {_utc(g.starts)} to {_utc(g.expires)}",
        "hours": f"{'; '.join(_hours(h) for h in g.hours[:MOST])}",
        "network": f"{asked.network} is in none of {_list(g.networks)}",
        "route": f"{asked.route} is none of {_list(g.routes)}",
        "tools": f"{_list([t for t in dict.fromkeys(asked.tools) if t not in g.tools])}: not among {_list(g.tools)}",
        "system": f"{_system(asked)}, where the grant names {_list(g.systems)}",
        "logprobs": f"the grant has {g.level}",
        "reasoning": f"the grant has {g.level}",
    }
    return seen.get(rule, "")


def _system(asked: Asked) -> str:
    return f"the system {asked.system}" if asked.system else "no system"


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return (", ".join(names[:MOST]) or "none") + more


def _hours(hours: Hours) -> str:
    days = ", ".join(DAYS[d - 1] for d in hours.days)
    return f"{days} {hours.start // 60:02}:{hours.start % 60:02}-{hours.end // 60:02}:{hours.end % 60:02} {hours.zone}"


def _when(at: int, grant: Grant) -> str:
    places = dict.fromkeys(h.zone for h in grant.hours) or {"UTC": None}
    return "; ".join(_there(at, place) for place in places)


def _there(at: int, place: str) -> str:
    try:
        local = datetime.fromtimestamp(at // 1000, zone(place))
    except (ValueError, OverflowError, OSError):
        return f"{at} ms, {place}"
    return f"{DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M} {place}"


def _utc(at: int) -> str:
    try:
        return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return "for ever"


def rule_lines(rules: Rules) -> Iterator[str]:
    """Every rule on a line: id, effect, words, file."""
    width = max(len(r) for r in rules.rules)
    for rule in rules.rules.values():
        whose = rule.file if rule.built_in else f"{rule.file} (the site's)"
        yield f"{rule.id:<{width}}  {rule.effect:<7} {rule.says}  [{whose}]"
