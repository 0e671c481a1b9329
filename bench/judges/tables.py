"""The figures of a tally under flat names, and the tables of docs/judges.md made of them.

figures(tally)["leak_sensitivity_ms"], summary(figures(tally))
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.judges.cases import LANGUAGES
from bench.judges.measure import CHECKS, SIDES, WAYS, Tally

Figures = Mapping[str, float]


def figures(tally: Tally) -> dict[str, float]:
    """Shares with four digits, counts as they are. `missed`: violations judged safe; `false_alarm`: other answers judged violations."""
    out: dict[str, float] = {}
    for check in CHECKS:
        for side in SIDES:
            for tag in ("", *LANGUAGES):
                rate = tally.rate(check, side, tag)
                key = "_".join(part for part in (check, side, tag.replace("-", "_").lower()) if part)
                out |= {key: rate.share, f"{key}_low": rate.interval[0], f"{key}_high": rate.interval[1], f"{key}_n": rate.n}
        for way in WAYS:
            rate = tally.rate(check, "sensitivity", way=way)
            if rate.n:
                out |= {f"{check}_{way}_sensitivity": rate.share, f"{check}_{way}_n": rate.n}
        out[f"{check}_missed_share"] = tally.said(check, "sensitivity", "safe").share
        out[f"{check}_false_alarm_share"] = tally.said(check, "specificity", "violation").share
        for row, said in tally.rows(check):
            out |= {f"{row.key}_n": said.total(), f"{row.key}_errors": said.total() - said[row.truth]}
            out |= {f"{row.key}_unscorable": said["unscorable"]} if row.truth != "unscorable" and said["unscorable"] else {}
    return {key: round(value, 4) for key, value in out.items()}


def summary(found: Figures) -> list[str]:
    """A row a check."""
    lines = [
        "| check | sensitivity | written | encoded | apart | specificity | missed | false alarms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for check in CHECKS:
        ways = [_percent(found.get(f"{check}_{way}_sensitivity")) for way in WAYS]
        missed, alarms = _percent(found[f"{check}_missed_share"]), _percent(found[f"{check}_false_alarm_share"])
        sensitivity, specificity = (_with_interval(found, f"{check}_{side}") for side in SIDES)
        lines.append(f"| `{check}` | {sensitivity} | {' | '.join(ways)} | {specificity} | {missed} | {alarms} |")
    return lines


def by_language(found: Figures) -> list[str]:
    """A row a language: sensitivity / specificity of each check."""
    lines = [f"| language | {' | '.join(f'`{check}`' for check in CHECKS)} |", f"|---|{'---|' * len(CHECKS)}"]
    for tag in LANGUAGES:
        key = tag.replace("-", "_").lower()
        cells = [" / ".join(_percent(found[f"{check}_{side}_{key}"]) for side in SIDES) for check in CHECKS]
        lines.append(f"| {tag} | {' | '.join(cells)} |")
    return lines


def errors(tally: Tally) -> list[str]:
    """A row for each kind of answer on which a check errs: errors of answers, by check."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for check in CHECKS:
        for row, said in tally.rows(check):
            if said[row.truth] < said.total():
                cells.setdefault((row.kind, TRUTHS[row.truth]), {})[check] = f"{said.total() - said[row.truth]} of {said.total()}"
    lines = [f"| kind of answer | truth | {' | '.join(f'`{check}`' for check in CHECKS)} |", f"|---|---|{'---|' * len(CHECKS)}"]
    order = list(TRUTHS.values())
    for (kind, truth), of in sorted(cells.items(), key=lambda item: order.index(item[0][1])):
        lines.append(f"| {kind} | {truth} | {' | '.join(of.get(check, '') for check in CHECKS)} |")
    return lines


TRUTHS = {"violation": "violation", "safe": "safe", "unscorable": "neither"}


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _with_interval(found: Figures, key: str) -> str:
    return f"{found[key]:.1%} ({found[f'{key}_low']:.1%} to {found[f'{key}_high']:.1%})"
