"""`assay access alerts|canary|break-glass` through the real entry point, on a gate's folder."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import yaml

from assay.access.audit.log import AuditLog
from assay.access.audit.read import Query, search
from assay.access.config import read_config
from assay.access.grants.grant import sign_grant
from assay.access.safety.alerts import Alert, alert_id, keep
from assay.access.safety.canaries import open_canaries
from assay.access.store.base import open_store
from assay.ledger import PrivateKey, write_key
from tests.access.grantmaking import ADMINS, DAY, STRANGER, grant

ASSAY = Path(sys.executable).parent / "assay"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    value = {
        "assay": "gate/1", "listen": "127.0.0.1:8443", "hosts": ["gate.test"],
        "authority": {"roles": "roles.json", "owners": ["0" * 64]},
        "admins": {"keys": {n: base64.b64encode(k.public.raw).decode() for n, k in ADMINS.items()}},
        "models": {"m7": {"digest": grant().digest, "upstream": "http://127.0.0.1:1/v1", "upstream_model": "inner"}},
    }  # fmt: skip
    (tmp_path / "gate.yaml").write_text(yaml.safe_dump(value))
    (tmp_path / "gate.secret").write_text(secrets.token_hex(32) + "\n")
    (tmp_path / "gate.secret").chmod(0o600)
    for name, key in {**ADMINS, "stranger": STRANGER, "audit": PrivateKey.generate()}.items():
        write_key(tmp_path / f"{name}.pem", key, b"")
    store = open_store("gate.db", tmp_path)
    now = now_ms()
    store.put_grant(sign_grant(grant(starts=now - 5 * DAY, expires=now + 5 * DAY, canaries=("note",)), ADMINS["ada"], ADMINS["bea"]))
    store.close()
    return tmp_path


def assay(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    line = [str(ASSAY), "access", *words, "--config", "gate.yaml"]
    return subprocess.run(line, cwd=folder, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def test_break_glass_is_opened_listed_and_not_reviewed_before_its_end_or_by_a_stranger(folder: Path) -> None:
    opening = ("break-glass", "open", "power", "--lift", "hours", "--reason", "turbine trip at night", "--key")
    refused = assay(folder, *opening, "stranger.pem")
    assert refused.returncode == 1
    assert "no administrator's" in refused.stderr
    assert assay(folder, *opening[:2], "water", *opening[3:], "ada.pem").returncode == 1
    done = assay(folder, *opening, "ada.pem")
    assert done.returncode == 0, done.stderr
    glass = done.stdout.split(":")[0]
    listed = assay(folder, "break-glass", "list")
    assert listed.returncode == 0
    assert f"{glass}  open" in listed.stdout
    early = assay(folder, "break-glass", "review", glass, "--justified", "--note", "it is in the plant's log", "--key", "bea.pem")
    assert early.returncode == 1
    assert "open still" in early.stderr
    alerts = json.loads(assay(folder, "alerts", "list", "--json").stdout)
    assert [(a["kind"], a["person"]) for a in alerts] == [("break-glass", "ada")]
    (row,) = search(folder / "audit", Query(kinds=("break-glass",)))
    assert (row.record.state, row.record.by, row.record.grant) == ("opened", "ada", "power")  # type: ignore[union-attr]


def test_a_halt_stops_break_glass_at_the_command_line_too(folder: Path) -> None:
    from assay.access.grants.orders import sign_halt
    from assay.access.model import Halt, Scope

    store = open_store("gate.db", folder)
    halt = Halt("stop", Scope(organisation="Grid Ltd"), "directive", "ada", now_ms())
    store.put_halt(halt, sign_halt(halt, ADMINS["ada"]))
    store.close()
    done = assay(folder, "break-glass", "open", "power", "--lift", "quota", "--reason", "turbine trip at night", "--key", "ada.pem")
    assert done.returncode == 1
    assert "halt stop" in done.stderr


def test_alerts_are_listed_with_what_steers_a_terminal_shown_and_closed_by_an_administrator(folder: Path) -> None:
    store = open_store("gate.db", folder)
    alert = Alert(alert_id("network", "power", "x"), "network", "medium", "from \x1b[31mred", now_ms(), grant="power", person="T\x1b]0;n")
    keep(store, [alert])
    store.close()
    shown = assay(folder, "alerts", "list")
    assert "\x1b" not in shown.stdout
    assert "<U+001B>" in shown.stdout
    assert assay(folder, "alerts", "close", alert.id, "--why", "asked by telephone", "--key", "stranger.pem").returncode == 2
    assert assay(folder, "alerts", "close", alert.id, "--why", "asked by telephone", "--key", "bea.pem").returncode == 0
    assert assay(folder, "alerts", "list").stdout.startswith("No open alert.")
    assert "closed by bea: asked by telephone" in assay(folder, "alerts", "list", "--all").stdout
    assert assay(folder, "alerts", "close", alert.id, "--why", "and again", "--key", "bea.pem").returncode == 2
    first = next(search(folder / "audit", Query(kinds=("control",)))).flat()
    assert (first["did"], first["subject"], tuple(first["by"])) == ("alert", alert.id, ("bea",))
    assert first["what"] == "closed: asked by telephone"


def test_a_damaged_alert_is_left_out_and_told(folder: Path) -> None:
    store = open_store("gate.db", folder)
    alert = Alert(alert_id("network", "power", "x"), "network", "medium", "another network", now_ms(), grant="power")
    keep(store, [alert])
    store.put_record("alert", "network-" + "0" * 20, {"half": 1}, 0)
    store.close()
    done = assay(folder, "alerts", "list")
    assert (done.returncode, alert.id in done.stdout) == (0, True), done.stderr
    assert "Left out: the alert 'network-00000000000000000000' is damaged" in done.stderr


def test_the_audit_log_is_scanned_and_nothing_is_found_twice(folder: Path) -> None:
    config = read_config(folder / "gate.yaml")
    store = open_store(config.store, folder)
    terms = grant()

    async def write() -> None:
        log = AuditLog.open(config, store, 0)
        await log.start()
        for n, network in enumerate(["10.0.0.1", "10.0.0.2", "10.9.0.1"]):
            await log.write({
                "kind": "decided", "at": now_ms() + n, "id": f"r{n}", "grant": terms.id, "version": 1, "person": "Tan",
                "organisation": terms.organisation, "purpose": terms.purpose, "model": "m7", "digest": terms.digest,
                "route": "chat.completions", "network": network, "request_digest": "sha256:" + "0" * 64,
            })  # fmt: skip
            log.note({"kind": "ended", "at": now_ms() + n, "id": f"r{n}", "how": "complete", "flags": ["personal: card (answer)"]})
        await log.stop()

    asyncio.run(write())
    store.close()
    first = assay(folder, "alerts", "scan")
    assert first.returncode == 0, first.stderr
    assert "2 new alert(s)" in first.stdout
    assert "10.9.0.0/24" in first.stdout
    assert "personal: card" in first.stdout
    assert "0 new alert(s)" in assay(folder, "alerts", "scan").stdout
    (folder / "audit" / f"w9-{now_ms():013d}.jsonl").write_bytes(b"this is no line\n")
    damaged = assay(folder, "alerts", "scan")
    assert damaged.returncode == 1
    assert "0 new alert(s)" in damaged.stdout
    assert "the rest was looked through, but the segment w9-" in damaged.stderr


@pytest.mark.parametrize("source", ["file", "-", "text"])
def test_a_leaked_text_names_its_grant_from_a_file_standard_input_or_the_line(folder: Path, source: str) -> None:
    (canaries,) = open_canaries(read_config(folder / "gate.yaml"))
    leaked = f"Somebody posted: {canaries.note('power', 'm7', now_ms() - DAY)} in a forum."
    (folder / "leaked.txt").write_text(leaked)
    given = {"file": "leaked.txt", "-": "-", "text": leaked}[source]
    done = assay(folder, "canary", "find", given, stdin=leaked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("power  model m7, 20")
    assert "by note" in done.stdout


def test_a_text_without_marks_names_nobody_and_a_rotated_secret_can_be_given(folder: Path) -> None:
    done = assay(folder, "canary", "find", "an ordinary text of no grant")
    assert done.returncode == 1
    assert "names nobody" in done.stdout
    config = read_config(folder / "gate.yaml")
    note = open_canaries(config)[0].note("power", "m7", now_ms())
    (folder / "gate.secret").rename(folder / "former.secret")
    (folder / "gate.secret").write_text(secrets.token_hex(32) + "\n")
    (folder / "gate.secret").chmod(0o600)
    assert assay(folder, "canary", "find", note).returncode == 1
    assert assay(folder, "canary", "find", note, "--secret", "former.secret").returncode == 0


def test_a_grant_says_which_canaries_its_holder_agreed_to_and_a_sub_grant_drops_none() -> None:
    from assay.access.grants.narrow import narrower
    from tests.access.grantmaking import sub_grant

    parent = grant(canaries=("note", "ids"))
    assert "canaries: fewer than the parent's" in narrower(sub_grant(canaries=("note",)), parent)
    assert narrower(sub_grant(canaries=("ids", "style", "note")), parent) == []
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**grant().to_json(), "canaries": ["secretly"]}, type(parent))
