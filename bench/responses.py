"""How well response kinds are told apart, language by language: `make bench-responses`.

Every labelled answer of the catalogue is classified by a head that was fitted without it. The answers of the languages say much the
same, so whole rows are left out together (the n-th answer of every language): no translation of an answer is ever among those it is
fitted on. Beside it, in the same run, the phrase rules of the checks alone, which know refusals and nothing else. In the end the head
is fitted on all and written to src/assay/judges/response_head.json, which the report uses.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from assay.catalog import load_everything, read_answers
from assay.catalog.content import LabelledAnswer
from assay.judges.checks import refuses
from assay.judges.response import HEAD, HEAD_FILE, Embed, Floats, Head, ResponseKinds, embedding, fit
from assay.stats.exact import clopper_pearson

FOLDS = 11
RESULTS = Path(__file__).parent / "results" / "responses.json"


def main() -> None:
    """Measure, print a table, write the results."""
    answers, languages = read_answers(), load_everything().languages
    embed = _remembered([a.text for each in answers.values() for a in each])
    heads = [
        ResponseKinds(fit({tag: [a for i, a in enumerate(each) if i % FOLDS != fold] for tag, each in answers.items()}, embed), embed)
        for fold in range(FOLDS)
    ]
    results: dict[str, float] = {}
    print(f"{'':<9} {'answers':>7} {'right':>7} {'95% interval':>15} {'sure':>6} {'right if sure':>14} {'refusals: head':>15} {'rules':>6}")
    total = np.zeros(4, dtype=int)
    for tag, each in answers.items():
        rows = [(a, heads[i % FOLDS].classify(a.text, tag)) for i, a in enumerate(each)]
        right = sum(r.kind == a.kind for a, r in rows)
        sure = [(a, r) for a, r in rows if r.sure]
        right_sure = sum(r.kind == a.kind for a, r in sure)
        low, high = clopper_pearson(right, len(rows))
        told = _as_refusal([(a, r.kind == "refusal") for a, r in rows])
        ruled = _as_refusal([(a, refuses(a.text, languages[tag])) for a in each])
        total += np.array([right, len(rows), right_sure, len(sure)])
        key = tag.replace("-", "_").lower()
        results |= {
            f"{key}_answers": len(rows), f"{key}_right_share": right / len(rows), f"{key}_sure_share": len(sure) / len(rows),
            f"{key}_right_if_sure_share": right_sure / len(sure), f"{key}_refusal_balanced_share": told,
            f"{key}_rules_refusal_balanced_share": ruled,
        }  # fmt: skip
        print(
            f"{tag:<9} {len(rows):>7} {right / len(rows):>7.0%} {f'{low:.0%} to {high:.0%}':>15} {len(sure) / len(rows):>6.0%}"
            f" {right_sure / len(sure):>14.0%} {told:>15.0%} {ruled:>6.0%}"
        )
    results |= {"right_share": total[0] / total[1], "sure_share": total[3] / total[1], "right_if_sure_share": total[2] / total[3]}
    print(f"\nall       {total[1]:>7} {total[0] / total[1]:>7.1%} {'':>15} {total[3] / total[1]:>6.1%} {total[2] / total[3]:>14.1%}")
    for kind in (*HEAD, "wrong-language", "mixed-language", "empty"):
        of = [heads[i % FOLDS].classify(a.text, tag).kind == kind for tag, e in answers.items() for i, a in enumerate(e) if a.kind == kind]
        results[f"{kind.replace('-', '_')}_found_share"] = sum(of) / len(of)
        print(f"{kind:<16} found {sum(of) / len(of):>5.0%} of {len(of)}")
    write_head(fit(answers, embed))
    RESULTS.write_text(json.dumps({k: round(float(v), 4) for k, v in results.items()}, indent=1) + "\n")


def _as_refusal(rows: Sequence[tuple[LabelledAnswer, bool]]) -> float:
    """The mean of the shares of refusals told as such and of other answers told as others, over answers in the language itself."""
    own = [(a.kind == "refusal", told) for a, told in rows if a.kind in HEAD]
    return float(np.mean([np.mean([told is is_refusal for is_refusal, told in own if is_refusal is wanted]) for wanted in (True, False)]))


def write_head(head: Head) -> None:
    """As JSON with six digits, which is far below the noise of the embedding."""
    rounded = Head(
        head.answers,
        [round(v, 6) for v in head.mean],
        [[round(v, 6) for v in row] for row in head.weights],
        [round(v, 6) for v in head.bias],
    )
    HEAD_FILE.write_bytes(msgspec.json.encode(rounded) + b"\n")


def _remembered(texts: Sequence[str]) -> Embed:
    found = embedding()
    if found is None:
        raise SystemExit("no embedding is installed: pip install 'assay[language]'")
    known = dict(zip(texts, found(texts), strict=True))

    def embed(wanted: Sequence[str]) -> Floats:
        return np.array([known[t] for t in wanted])

    return embed


if __name__ == "__main__":
    main()
