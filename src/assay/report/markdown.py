"""A run as a short Markdown text: a comment on a pull request, the summary of a job. The verdict, why, the intervals, what is not known.

text = render_markdown(Path("runs/first"))       # a run's folder or file; or a bundle, every byte of which is held against its signatures

Names come from plans, banks and targets, and may be written to break a page or to call people. So no text of others begins a line, its
line ends are gone, its markup is escaped, and what GitHub and GitLab would make a mention, a reference or a link of is broken by a word
joiner (U+2060), which nobody sees. Nothing of a transcript is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from assay.evidence import Summary, read_summary
from assay.evidence.logsource import BUNDLE_NAME
from assay.report.intervals import ClaimRow, claim_tables
from assay.report.sources import read_source
from assay.report.tally import collect
from assay.report.view import Evidence, Front, make_evidence, make_front, state_of
from assay.report.words import SYMBOL, count_text, shortened
from assay.runs import ReadRun, read_run, run_path

MOST = 60_000
"""Characters; GitHub takes 65,536 in a comment."""
_TEXT = 300
_ROWS = 20
_JOINER = "\u2060"
_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_REFERENCES = re.compile(r"""[@#!~%^&$*](?=[\w"])|:(?=//)|www(?=\.)|gh-(?=\d)|[0-9a-f]{6}(?=[0-9a-f])""", re.IGNORECASE | re.ASCII)
_MARKUP = str.maketrans({**{c: f"\\{c}" for c in "\\`*_[]|~"}, "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "$": "&#36;"})
_KEPT = "\u200b\u200c\u200d"  # scripts of Southeast Asia need them
_CODE = re.compile(r"[A-Za-z0-9.:/+=_-]{1,120}")


class Told(Struct, frozen=True):
    """What the text is made of."""

    front: Front
    evidence: Evidence
    rows: tuple[tuple[str, ClaimRow], ...]


def escaped(text: str, most: int = _TEXT) -> str:
    """Text of others within a line of Markdown: at most `most` characters of it, one line, shown as it is and read as nothing else."""
    line = "".join(c if c.isprintable() or c in _KEPT else "\ufffd" for c in _SPACES.sub(" ", text).strip())
    return _REFERENCES.sub(lambda m: m[0] + _JOINER, shortened(line, most)).translate(_MARKUP)


def code(text: str) -> str:
    """An identifier as code where it is one; other text escaped."""
    return f"`{text}`" if _CODE.fullmatch(text) else escaped(text, 120)


def render_markdown(path: Path) -> str:
    """The text, at most `MOST` characters. Raises `RunFileError`, or `EvidenceError` for a bundle that is not what was signed.

    As everywhere, an approval that no signed bundle agrees with is a delay.
    """
    if path.is_file() and path.suffix == ".jsonl":
        source = read_source(path)
        signed = source.signed
        summary = Summary(signed.decision, signed.root, source.tally.recount.items, source.tally.trials, signed.ended, path)
        return _fitting(_told(source.run, summary, signed.ended, path.name))
    file = run_path(path)
    with read_run(file) as run:
        beside = read_summary(file.parent / BUNDLE_NAME)
        return _fitting(_told(run, beside, beside.ended if beside else "", BUNDLE_NAME))


def _told(run: ReadRun, summary: Summary | None, ended: str, bundle_name: str) -> Told:
    tally = collect(run)
    state = state_of(tally, summary)
    front = make_front(tally, ended if state == "agrees" else "interrupted", signed=state == "agrees")
    rows = tuple((table.id, row) for table in claim_tables(tally) for row in table.rows)
    order = ("halt", "open", "approve")
    return Told(front, make_evidence(tally, state, bundle_name), tuple(sorted(rows, key=lambda r: order.index(r[1].status))))


def _fitting(told: Told) -> str:
    """With as many rows as have room."""
    most = _ROWS
    while len(text := "\n".join(_lines(told, most)) + "\n") > MOST and most:
        most //= 2
    return text


def _lines(told: Told, most: int) -> Iterator[str]:
    front = told.front
    yield f"## Assay: {front.symbol} {front.word}"
    yield ""
    yield escaped(front.meaning)
    yield ""
    yield f"- Target: {escaped(front.target)} ({escaped(front.target_kind, 40)}), {code(front.target_digest)}, {front.digest_note}"
    yield f"- Plan: {escaped(front.plan)}, {code(front.plan_digest)}"
    when = f"; the verdict was final after {front.decided_at:,}" if front.decided_at >= 0 else ""
    yield f"- {count_text(front.trials, 'call', 'calls')} of at most {front.budget:,}{when}. {escaped(front.ended)}"
    yield f"- Registered errors: approve {front.approve_error}, halt {front.halt_error}"
    yield ""
    yield from _requirements(front, most)
    yield from _intervals(told.rows, most)
    yield "### What is not known"
    yield ""
    yield from (f"- {escaped(sentence)}" for sentence in front.unknown)
    yield ""
    yield from _next(told.evidence)


def _requirements(front: Front, most: int) -> Iterator[str]:
    yield "| | requirement | asks | why |"
    yield "|---|---|---|---|"
    order = ("halt", "open", "approve")
    mine = sorted(front.requirements, key=lambda r: order.index(r.status))
    for r in mine[:most]:
        why = " ".join(r.plain[:3]) or r.reason
        yield f"| {r.symbol} {r.status_word} | {escaped(r.id, 80)} | {escaped(r.asks)} | {escaped(why)} |"
    if len(mine) > most:
        yield f"| … | {len(mine) - most} more | | in the report |"
    yield ""


def _intervals(rows: tuple[tuple[str, ClaimRow], ...], most: int) -> Iterator[str]:
    if not rows:
        return
    yield f"<details><summary>{count_text(len(rows), 'claim', 'claims')} with intervals that hold at every number of trials</summary>"
    yield ""
    yield "| | requirement | cell | n | found | unscorable | interval |"
    yield "|---|---|---|---|---|---|---|"
    for requirement, row in rows[:most]:
        found = escaped(row.counts, 80), f"{row.unscorable:,}", escaped(row.interval, 40)
        yield f"| {SYMBOL[row.status]} | {escaped(requirement, 80)} | {escaped(row.words, 160)} | {row.n:,} | {' | '.join(found)} |"
    if len(rows) > most:
        yield f"| … | | {len(rows) - most} more, in the report | | | | |"
    yield ""
    yield "</details>"
    yield ""


def _next(evidence: Evidence) -> Iterator[str]:
    if evidence.state != "agrees":
        yield "No signed bundle agrees with these trials."
        return
    yield f"Signed by key {code(evidence.keyid)}, Merkle root {code(evidence.root)}. Next, check the bundle as the other party would:"
    yield ""
    yield "```sh"
    yield f"assay verify evidence.jsonl --key {re.sub('[^0-9a-f]', '', evidence.keyid)}"
    yield "```"
