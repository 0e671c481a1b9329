"""A comparison in words: at most ten sentences, the gravest first, in which every number is a figure bound to the bundles it rests on.

    for sentence in sentences(view, words_in("ms")): "".join(piece.text for piece in sentence)
    control(view, words)          # what the error means over all comparisons, in one sentence

A name that somebody else chose (a hazard's title, a model) is words of its own language, or a figure where it has a digit in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from assay.decision import percent
from assay.plan import Stream
from assay.report.comparison.changes import Group
from assay.report.comparison.identity import name
from assay.report.comparison.parties import Agreement
from assay.report.comparison.together import Together
from assay.report.comparison.view import ComparisonView, RequirementRow
from assay.report.pieces import Figure, Piece, Text, numeral, say
from assay.report.words import attack_words

MOST = 10
MOST_LOST, MOST_RISES, MOST_FALLS = 2, 4, 2
Sentence = tuple[Piece, ...]
Words = Mapping[str, str]
_ARMS = ("adapted", "literal")


def sentences(view: ComparisonView, words: Words) -> tuple[Sentence, ...]:
    """What got worse, what got better, what cannot be told: at most `MOST` sentences, the gravest first."""
    if not view.changes:
        return (say(words["nothing"], older=view.older.letter, newer=view.newer.letter), *_apart(view, words), *_agreed(view, words))[:MOST]
    grave = [_turned(row, view, words, "lost") for row in view.requirements if row.turn == "lost"][:MOST_LOST]
    grave += [_together(found, view, words) for found in view.together if found.direction == "rose"]
    grave += [_group(group, view, words) for group in view.rises[:MOST_RISES]]
    good = [_turned(row, view, words, "won") for row in view.requirements if row.turn == "won"][:1]
    good += [_together(found, view, words) for found in view.together if found.direction == "fell"]
    good += [_group(group, view, words) for group in view.falls[:MOST_FALLS]]
    rest = [*_open(view, words), *_held(view, words), *_apart(view, words), *_agreed(view, words), *_trend(view, words)]
    kept = good[: max(0, MOST - len(grave) - len(rest))]
    return tuple([*grave, *kept, *rest][:MOST])


def control(view: ComparisonView, words: Words) -> Sentence:
    """What the error rate means over all comparisons that were made."""
    count = _figure(f"{len(view.changes):,}", view)
    return say(words["control"], count=count, error=_figure(percent(view.error), view))


def place(stream: Stream, view: ComparisonView, words: Words, *, without: Group | None = None) -> Sentence:
    """Where something was seen, `in Tamil, under prefix injection, for secret leakage`; less what `without` has said already."""
    said = without or Group("rose", far=False, harmless=False, hazard="", language="", manner=("", ""), changes=(), of=0)
    return _place(
        "" if said.hazard else stream.hazard,
        "" if said.language else stream.language,
        ("", "") if said.manner[1] else (stream.attack, stream.arm),
        view,
        words,
    )  # fmt: skip


def word(text: str, evidence: tuple[str, ...], lang: str = "") -> Piece:
    """A name out of the runs: words in their language, or a figure where it has a number."""
    return Figure(text, evidence) if numeral(text) else Text(text, lang)


def points(rate: float, *, up: bool = False) -> str:
    """A bound in percentage points, never rounded to the side that says more than was shown: down, or up."""
    size = 100 * abs(rate)
    for digits in (1, 2, 3):
        scale = 10**digits
        rounded = (math.ceil(size * scale - 1e-9) if up else math.floor(size * scale + 1e-9)) / scale
        if rounded > 0 or size == 0:
            break
    return f"{'−' if rate < 0 and rounded else ''}{rounded:.{digits}f}"


def language_pieces(tag: str, view: ComparisonView, words: Words) -> Piece:
    """A language's name for this reader: in English on an English page, else its own."""
    known = view.languages.get(tag)
    if known is None:
        return word(name(tag), view.evidence)
    if words["tag"] == "en":
        return word(known.english or known.native, view.evidence)
    return word(known.native, view.evidence, tag)


def _place(hazard: str, language: str, manner: tuple[str, str], view: ComparisonView, words: Words) -> Sentence:
    foreign = "" if words["tag"] == "en" else "en"
    parts: list[Sentence] = []
    if language:
        parts.append(say(words["place_language"], language=language_pieces(language, view, words)))
    attack, arm = manner
    named = word(name(attack_words(attack)), view.evidence, foreign)
    if arm == "attack":
        parts.append(say(words["place_attack"], attack=named))
    elif arm == "placebo":
        parts.append(say(words["place_placebo"], attack=named))
    elif arm in _ARMS:
        parts.append(say(words[f"place_{arm}"]))
    elif arm == "plain":
        parts.append(say(words["place_plain"]))
    if hazard:
        title = view.hazards.get(hazard, name(hazard))
        parts.append(
            say(words["place_hazard"], hazard=word(title[:1].lower() + title[1:] if _lowers(title) else title, view.evidence, foreign))
        )
    out: list[Piece] = []
    for part in parts or [say(words["place_all"])]:
        out += ([Text(words["comma"])] if out else []) + list(part)
    return tuple(out)


def _lowers(title: str) -> bool:
    """Whether a title is a phrase with a capital first, not a name or an abbreviation."""
    return len(title) > 1 and title[1].islower()


def _group(group: Group, view: ComparisonView, words: Words) -> Sentence:
    worst = group.changes[0]
    where = _capital(_place(group.hazard, group.language, group.manner, view, words))
    shown = {
        "what": words["what_refusals" if group.harmless else "what_violations"],
        "by": _figure(points(worst.shown), view),
        "error": _figure(percent(view.error), view),
        **_counts(worst.older, worst.newer, view),
    }
    if len(group.changes) == 1:
        return say(words[f"{group.direction}_one"], place=where, **shown)
    count, of = (_figure(f"{n:,}", view) for n in (len(group.changes), group.of))
    return say(
        words[f"{group.direction}_{'far' if group.far else 'many'}"], place=where, count=count, of=of,
        worst=place(worst.stream, view, words, without=group), margin=_figure(percent(view.margin).removesuffix("%"), view), **shown,
    )  # fmt: skip


def _together(found: Together, view: ComparisonView, words: Words) -> Sentence:
    out = say(
        words[f"together_{found.direction}"], what=words["what_refusals" if found.harmless else "what_violations"],
        cells=_figure(f"{found.cells:,}", view), p=_figure(percent(math.ceil(found.p * 1e5 - 1e-6) / 1e5), view),
        **_counts(found.older, found.newer, view),
    )  # fmt: skip
    if not any(found.unscorable):
        return out
    lost = {
        name: Figure(f"{n:,}", (bundle,)) for name, n, bundle in zip(("u0", "u1"), found.unscorable, view.evidence, strict=True)
    }  # fmt: skip
    said = say(words["together_unscorable"], older=view.older.letter, newer=view.newer.letter, **lost)
    return (*out, Text(words["space"]), *said)


def _turned(row: RequirementRow, view: ComparisonView, words: Words, turn: str) -> Sentence:
    out = say(
        words[turn], id=word(row.id, view.evidence, "en"), older=view.older.letter, newer=view.newer.letter,
        halted=_figure(f"{row.halted:,}", view), claims=_figure(f"{row.claims:,}", view),
        approve=_figure(percent(row.errors[0]), view), halt=_figure(percent(row.errors[1]), view),
    )  # fmt: skip
    if row.worst is None:
        return out
    what = words["what_refusals" if row.worst.arm == "benign" else "what_violations"]
    where = _capital(place(row.worst, view, words))
    return (*out, Text(words["space"]), *say(words["turned_cell"], place=where, what=what, **_counts(row.older, row.newer, view)))


def _open(view: ComparisonView, words: Words) -> list[Sentence]:
    those = [c for c in view.changes if c.kind == "open"]
    if not those:
        return []
    worst = max(those, key=lambda c: (c.most, c.newer[0] * c.older[1] - c.older[0] * c.newer[1]))
    return [
        say(
            words["open"],
            count=_figure(f"{len(those):,}", view),
            all=_figure(f"{len(view.changes):,}", view),
            margin=_figure(percent(view.margin).removesuffix("%"), view),
            place=place(worst.stream, view, words),
            most=_figure(points(worst.most, up=True), view),
            **_counts(worst.older, worst.newer, view),
        )
    ]


def _held(view: ComparisonView, words: Words) -> list[Sentence]:
    count = sum(c.most <= view.margin for c in view.changes)
    if not count:
        return []
    return [
        say(
            words["held"],
            count=_figure(f"{count:,}", view),
            all=_figure(f"{len(view.changes):,}", view),
            margin=_figure(percent(view.margin).removesuffix("%"), view),
            error=_figure(percent(view.error), view),
        )
    ]


def _apart(view: ComparisonView, words: Words) -> list[Sentence]:
    if not (view.comparison.only_older or view.comparison.only_newer):
        return []
    counts = [_figure(f"{len(names):,}", view) for names in (view.comparison.only_older, view.comparison.only_newer)]
    return [say(words["apart"], first=counts[0], second=counts[1], older=view.older.letter, newer=view.newer.letter)]


def _agreed(view: ComparisonView, words: Words) -> list[Sentence]:
    """One sentence for each agreement that says most: those that differ first; at most three."""
    order = ("differ", "open", "agree")
    return [agreement_sentence(a, view, words) for a in sorted(view.agreements, key=lambda a: order.index(a.kind))[:3]]


def agreement_sentence(agreement: Agreement, view: ComparisonView, words: Words) -> Sentence:
    """Whether two runs of one plan on one target agree, with the cell that was farthest apart and its interval."""
    a, b = agreement.letters
    evidence = tuple(run.bundle for run in view.runs if run.letter in agreement.letters)
    shown: dict[str, Piece | str | tuple[Piece, ...]] = {
        "a": a, "b": b, "all": Figure(f"{agreement.compared:,}", evidence), "within": Figure(f"{agreement.within:,}", evidence),
        "apart": Figure(f"{agreement.apart:,}", evidence), "margin": Figure(percent(view.margin).removesuffix("%"), evidence),
        "error": Figure(percent(view.error), evidence),
    }  # fmt: skip
    out = say(words[f"parties_{agreement.kind}"], **shown)
    worst = agreement.widest
    if worst is None or agreement.kind == "agree":
        return out
    return (*out, Text(words["space"]), *say(
        words["parties_widest"], place=_capital(place(worst.stream, view, words)), a=a, b=b,
        s0=Figure(f"{worst.older[0]:,}", evidence), n0=Figure(f"{worst.older[1]:,}", evidence),
        s1=Figure(f"{worst.newer[0]:,}", evidence), n1=Figure(f"{worst.newer[1]:,}", evidence),
        low=Figure(points(worst.low, up=worst.low < 0), evidence), high=Figure(points(worst.high, up=worst.high > 0), evidence),
    ))  # fmt: skip


def _trend(view: ComparisonView, words: Words) -> list[Sentence]:
    if view.history is None or not view.history.courses:
        return []
    evidence = tuple(run.bundle for run in view.runs)
    courses = view.history.courses
    alarmed, saturated = sum(bool(c.alarm) for c in courses), sum(c.saturated for c in courses)
    return [
        say(
            words["trend"],
            runs=Figure(str(len(view.runs)), evidence),
            all=Figure(f"{len(courses):,}", evidence),
            alarmed=Figure(f"{alarmed:,}", evidence),
            saturated=Figure(f"{saturated:,}", evidence),
        )
    ]


def _counts(older: tuple[int, int], newer: tuple[int, int], view: ComparisonView) -> dict[str, Piece | str]:
    before, now = view.evidence
    return {
        "older": view.older.letter, "newer": view.newer.letter,
        "s0": Figure(f"{older[0]:,}", (before,)), "n0": Figure(f"{older[1]:,}", (before,)),
        "s1": Figure(f"{newer[0]:,}", (now,)), "n1": Figure(f"{newer[1]:,}", (now,)),
    }  # fmt: skip


def _figure(text: str, view: ComparisonView) -> Figure:
    return Figure(text, view.evidence)


def _capital(pieces: Sentence) -> Sentence:
    """The pieces with a capital first, where the script has capitals."""
    if pieces and isinstance(pieces[0], Text):
        first = pieces[0]
        return (Text(first.text[:1].upper() + first.text[1:], first.lang, first.strong), *pieces[1:])
    return pieces
