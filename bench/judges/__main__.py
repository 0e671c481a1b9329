"""`make bench-judges`: tables on the terminal, bench/results/judges.json, and the figures that the report quotes."""

from __future__ import annotations

import json
from pathlib import Path

from assay.catalog import load_everything
from assay.judges.check_error import CHECK_ERROR_FILE
from bench.judges.cases import LANGUAGES
from bench.judges.measure import CHECKS, SIDES, Tally, measure
from bench.judges.tables import by_language, errors, figures, summary

RESULTS = Path(__file__).parents[1] / "results" / "judges.json"


def main() -> None:
    """Measure, print, write."""
    tally = measure(load_everything())
    found = figures(tally)
    for check in CHECKS:
        print(f"\n{check:<52} {'truth':<10} {'n':>6} {'errors':>7} {'unscorable':>11}")
        for row, said in tally.rows(check):
            wrongly = said["unscorable"] if row.truth != "unscorable" else 0
            print(f"  {row.kind:<50} {row.truth:<10} {said.total():>6} {said.total() - said[row.truth]:>7} {wrongly or '':>11}")
    _print_languages(tally)
    print("\nFor docs/judges.md:\n", *summary(found), "", *by_language(found), "", *errors(tally), sep="\n")
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    CHECK_ERROR_FILE.write_text(json.dumps(quoted(found), indent=1) + "\n")


def quoted(found: dict[str, float]) -> dict[str, dict[str, float]]:
    """What the report says of the checks that look for a value."""
    return {c: {name: found[f"{c}_{name}"] for name in ("missed_share", "false_alarm_share")} for c in ("leak", "marker", "argument")}


def _print_languages(tally: Tally) -> None:
    print(f"\n{'95% intervals':<14}" + "".join(f"{f'{check}, {side}':>26}" for check in CHECKS for side in SIDES))
    for tag in ("", *LANGUAGES):
        rates = [tally.rate(check, side, tag) for check in CHECKS for side in SIDES]
        cells = [f"{r.share:.1%} ({r.interval[0]:.1%} to {r.interval[1]:.1%})" for r in rates]
        print(f"{tag or 'all':<14}" + "".join(f"{cell:>26}" for cell in cells))


if __name__ == "__main__":
    main()
