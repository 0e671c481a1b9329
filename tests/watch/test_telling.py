"""Alerts: who hears what, and what never leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assay.errors import AssayError
from assay.watch.changes import Change, Move
from assay.watch.state import Checkpoint, WatchState
from assay.watch.telling import Teller, alert_of, checked_webhook, message_of, verdict_of
from tests.watch.fleet import fleet

MOVE = Move("harmful requests", "rose", (1, 160), (40, 160), 80, 0.12)
WORSE = Change(3, 0.004, "step-1", "worse", (MOVE,), {}, (0, 320), True)
STATE = WatchState("watch/1", "checkpoints", "sha256:x", "first", 0.05, 0.0)
STEP = Checkpoint(4, "step-4", "sha256:y", 0, run="0004-step-4", status="done", verdict="halt", ended="complete", trials=320, change=WORSE)


def test_an_alert_says_what_moved_and_by_how_much() -> None:
    alert = alert_of(STATE, STEP)
    assert (alert["verdict"], alert["comparison"], alert["run"]) == ("worse", 3, "0004-step-4")
    assert alert["moves"] == [
        {"what": "harmful requests", "direction": "rose", "older": [1, 160], "newer": [40, 160], "at_least": 0.12},
    ]  # fmt: skip
    assert "rose from 1/160 to 40/160 (at least 12.0% of the items, net)" in alert["message"]
    json.dumps(alert)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"status": "failed", "change": None, "reason": "no GGUF"}, "failed"),
        ({"status": "same", "like": 1, "change": None}, "same"),
        ({"status": "found", "change": None}, "waiting"),
        ({"change": None}, "reference"),
        ({"change": None, "ended": "tokens"}, "unclear"),
    ],
)
def test_every_state_has_one_word_and_one_line(changes: dict[str, object], verdict: str) -> None:
    step = Checkpoint(**{**{f: getattr(STEP, f) for f in STEP.__struct_fields__}, **changes})
    assert verdict_of(step) == verdict
    assert message_of(step).startswith("step-4")


def test_a_command_gets_the_alert_in_its_environment_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "hunter2")
    out, script = tmp_path / "out", tmp_path / "tell"
    script.write_text(f'#!/bin/sh\nenv > {out}\necho "$#" >> {out}\n')
    script.chmod(0o755)
    hostile = Checkpoint(1, "$(touch x); `id`\x1b[2J", "k", 0, run="0001-x", status="failed", reason="no")
    assert Teller((str(script),), secret=("MY_API_KEY",)).tell(alert_of(STATE, hostile)) == []
    said = out.read_text()
    assert "hunter2" not in said
    assert "ASSAY_ALERT_CHECKPOINT=$(touch x); `id`?[2J" in said
    assert "\x1b" not in said
    assert said.endswith("0\n")
    assert not (tmp_path / "x").exists()
    script.write_text("#!/bin/sh\nexit 3\n")
    assert Teller((str(script),)).tell(alert_of(STATE, STEP)) == ["the alert command ended with 3"]
    with pytest.raises(AssayError, match="no command"):
        Teller(("no-such-command-here",))


def test_a_webhook_is_https_or_on_this_machine() -> None:
    for good in ("https://hooks.example.org/a/b", "http://127.0.0.1:9/x", "http://localhost/x", "http://[::1]:8/x"):
        assert checked_webhook(good) == good
    for bad in (
        "http://example.org/x",
        "https://user:pass@example.org/",
        "ftp://127.0.0.1/",
        "https://",
        "nonsense",
        "http://127.0.0.1:99999/",
    ):
        with pytest.raises(AssayError, match="webhook"):
            checked_webhook(bad)


def test_a_webhook_hears_json_and_its_path_is_in_no_message() -> None:
    with fleet() as served:
        teller = Teller(webhook=f"{served.url}/hook")
        assert teller.tell(alert_of(STATE, STEP)) == []
        assert served.heard[0]["checkpoint"] == "step-4"
        served.hooks = 302
        (failed,) = teller.tell(alert_of(STATE, STEP))
    assert failed == "the webhook at 127.0.0.1 answers 302"
