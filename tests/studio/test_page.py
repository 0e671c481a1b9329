"""The studio without a face: what it starts, stops and goes on with, and what it lets nobody do."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette")

from assay.studio.app import SANDBOX
from assay.studio.shelf import DOCUMENTS
from assay.studio.writers import born
from assay.web.guard import HEADERS
from tests.studio.serving import MARKUP, Client, Studio, fill, slow_plan
from tests.support import make_bundle


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder = tmp_path_factory.mktemp("page") / "runs"
    fill(folder)
    (folder / "finished" / "report.html").write_text("<script>document.title='run'</script><p>report")
    with Studio(folder) as found:
        yield found


@pytest.fixture(scope="module")
def client(studio: Studio) -> Client:
    return Client(studio)


GETS = ("/api/runs", "/api/plans", "/api/run/finished", "/open/finished/report")
POSTS = ("sign-out", "forecast", "start", "stop", "resume", "report")


def test_nothing_is_told_without_signing_in(studio: Studio, client: Client) -> None:
    stranger = Client(studio, enter=False)
    for path in GETS:
        assert stranger.ask("GET", path)[0] == 401
        assert stranger.ask("GET", path, Cookie=f"assay-studio-{studio.port}=guess")[0] == 401
        assert stranger.ask("GET", path, Cookie=client.cookie.replace("studio-", "console-"))[0] == 401
    for name in POSTS:
        assert stranger.ask("POST", f"/api/{name}", {"name": "finished", "plan": "quick", "digest": ""})[0] == 401
    assert "garbage" not in stranger.ask("GET", "/")[2]


def test_a_link_opens_once_and_its_cookie_is_kept_from_scripts_and_other_sites(studio: Studio, client: Client) -> None:
    again = Client(studio, enter=False)
    token = studio.link.partition("#t=")[2]
    assert again.ask("POST", "/api/sign-in", {"token": token})[0] == 403
    assert again.ask("POST", "/api/sign-in", {"token": ""})[0] == 403
    parts = {p.strip().casefold() for p in client.set_cookie.split(";")}
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert token not in client.set_cookie


def test_foreign_pages_and_names_are_turned_away(studio: Studio, client: Client) -> None:
    start = {"plan": "quick", "digest": "x"}
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{studio.port + 1}", f"https://127.0.0.1:{studio.port}"):
        assert client.ask("POST", "/api/start", start, Origin=origin)[0] == 403
        assert client.ask("POST", "/api/stop", {"name": "finished"}, Origin=origin)[0] == 403
    assert client.ask("POST", "/api/start", start, **{"Content-Type": "text/plain"})[0] == 415
    for host in ("evil.example", f"evil.example:{studio.port}", "127.0.0.1.evil.example"):
        assert client.ask("GET", "/api/runs", Host=host)[0] == 400
    assert client.ask("PUT", "/api/start", start)[0] == 405
    assert client.ask("GET", "/api/start")[0] == 405
    assert client.ask("POST", "/api/forecast", b"{" * 17_000)[0] in (413, 422)
    assert client.ask("POST", "/api/forecast", {"plan": "quick", "path": "/etc"})[0] == 422


def test_a_document_has_an_origin_of_its_own_and_may_ask_for_nothing(client: Client) -> None:
    status, headers, body = client.ask("GET", "/open/finished/report")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert headers["content-security-policy"] == SANDBOX["report"]
    assert "report" in body
    for kind, policy in SANDBOX.items():
        words = [p.strip().split() for p in policy.split(";")]
        assert words[0][0] == "sandbox"
        assert "allow-same-origin" not in policy
        assert "allow-top-navigation" not in policy
        assert ["default-src", "'none'"] in words
        assert "connect-src" not in policy, kind
    assert "script" not in SANDBOX["report"]
    assert set(SANDBOX) == set(DOCUMENTS)
    for name in ("x-content-type-options", "x-frame-options", "cross-origin-resource-policy", "referrer-policy"):
        assert headers[name] == {k.casefold(): v for k, v in HEADERS.items()}[name]
    assert client.ask("GET", "/")[1]["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert client.ask("GET", "/open/nothing/report")[1]["content-security-policy"] == SANDBOX["report"]


@pytest.mark.parametrize(
    "name", ["..", "%2e%2e", "..%2f..%2fetc", "finished%2f..%2ffinished", "%00", "two%0Alines", ".studio", "nothing", "%ff%fe"]
)
def test_a_name_that_is_not_listed_is_nothing(name: str, client: Client) -> None:
    for path in (f"/api/run/{name}", f"/open/{name}/report"):
        assert client.ask("GET", path)[0] == 404
    for which in ("run.db", "..%2freport.html", "evidence.jsonl", "REPORT"):
        assert client.ask("GET", f"/open/finished/{which}")[0] == 404
    for act in ("stop", "resume", "report"):
        assert client.ask("POST", f"/api/{act}", {"name": name})[0] == 404


def test_a_record_from_elsewhere_stops_nobody(client: Client, studio: Studio) -> None:
    record = {"pid": os.getpid(), "born": born(os.getpid()), "at": 0, "plan": "x", "target": "y"}
    for place in (studio.folder / ".studio" / "stopped.json", studio.folder / "outside.json"):
        place.parent.mkdir(exist_ok=True, mode=0o700)
        place.write_text(json.dumps(record))
    for name in ("stopped", "../outside", "outside", "../../outside"):
        status, _, value = client.ask("POST", "/api/stop", {"name": name})
        assert (status, value["code"]) in ((404, "no_run"), (409, "not_ours"))
    (studio.folder / ".studio" / "stopped.json").unlink()


def test_hostile_names_stay_names(client: Client) -> None:
    runs = client.runs()
    assert runs[MARKUP]["name"] == MARKUP
    assert client.look(MARKUP)["seen"]["counted"] == runs[MARKUP]["trials"]
    assert "'" in client.look(MARKUP)["commands"]["resume"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"plan": "../bad.yaml"}, "no_plan"),
        ({"plan": "/etc/passwd"}, "no_plan"),
        ({"plan": "nothing"}, "no_plan"),
        ({"digest": "sha256:0"}, "plan_changed"),
        ({"target": "callable:os.system"}, "bad_target"),
        ({"target": "recorded:x"}, "bad_target"),
        ({"target": "nonsense"}, "said"),
        ({"target": "http://127.0.0.1:1/v1"}, "said"),
        ({"plan": "bad.yaml"}, "said"),
        ({"name": "../up"}, "bad_name"),
        ({"name": "-rf"}, "bad_name"),
        ({"name": ".hidden"}, "bad_name"),
        ({"name": "a/b"}, "bad_name"),
        ({"name": "a\n"}, "bad_name"),
        ({"name": "finished"}, "name_taken"),
        ({"name": "not a run"}, "bad_name"),
    ],
)
def test_only_what_was_shown_is_started(change: dict[str, str], code: str, client: Client) -> None:
    digest = client.post("forecast", plan="quick", target="scripted:0.01")["digest"] if "name" in change else "sha256:0"
    status, _, value = client.ask("POST", "/api/start", {"plan": "quick", "target": "scripted:0.01", "digest": digest, "name": ""} | change)
    assert (status in (404, 409, 422), value.get("code")) == (True, code), value


def test_plans_are_the_built_in_ones_and_the_files_of_the_folder(client: Client) -> None:
    plans = {p["name"]: p for p in client.get("/api/plans")["plans"]}
    assert plans["quick"]["builtin"]
    assert plans["slow.yaml"]["target"] == "scripted:0.02"
    assert "bad.yaml" in plans["bad.yaml"]["wrong"]


def test_a_forecast_says_cells_and_calls_and_the_name_of_what_would_start(client: Client, studio: Studio) -> None:
    found = client.post("forecast", plan="quick", target="scripted:0.01")
    assert (found["cells"], found["streams"], found["most_trials"]) == (24, 48, 160)
    assert found["most_requests"] >= 160
    assert [e["model"] for e in found["expected"]] == ["good", "borderline", "weak"]
    assert f" run quick --target scripted:0.01 --out {studio.folder / found['name']}" in found["command"]
    assert re.fullmatch(r"quick-\d{8}-\d{6}", found["name"])


def test_a_run_is_started_and_ends_signed_and_its_report_is_made_again(client: Client, studio: Studio) -> None:
    name = client.begin("quick", "scripted:0.01", "first")
    assert name == "first"
    found = client.until(name, lambda f: f["listed"]["run"]["documents"] == ["report"] and f["seen"]["counted"] == 160)
    run = found["listed"]["run"]
    assert run["state"] == "finished"
    assert (run["signed"], run["verdict"], run["documents"], found["listed"]["stoppable"]) == ("yes", "delay", ["report"], False)
    (studio.folder / name / "report.html").unlink()
    client.post("report", name=name)
    client.until(name, lambda f: f["listed"]["run"]["documents"] == ["report"])
    assert (studio.folder / ".studio").stat().st_mode & 0o077 == 0


def test_a_run_is_stopped_and_goes_on_and_a_second_studio_may_do_it_too(client: Client, studio: Studio) -> None:
    name = client.begin("slow.yaml", "", "stopped-here")
    assert client.until(name, lambda f: f["listed"]["run"]["state"] == "running" and f["seen"]["counted"] > 5)["listed"]["stoppable"]
    status, _, value = client.ask("POST", "/api/resume", {"name": name})
    assert (status, value["code"]) == (409, "not_stopped")
    client.post("stop", name=name)
    kept = client.until(name, lambda f: f["listed"]["run"]["state"] == "stopped")
    assert kept["seen"]["happenings"][-1]["what"] == "interrupted"
    assert not kept["listed"]["failed"]
    client.post("resume", name=name)
    assert client.ask("POST", "/api/resume", {"name": name})[0] == 409
    client.until(name, lambda f: f["listed"]["run"]["state"] == "running" and f["seen"]["counted"] > kept["seen"]["counted"])
    with Studio(studio.folder) as other:
        second = Client(other)
        assert second.cookie != client.cookie
        assert second.look(name)["listed"]["stoppable"]
        assert second.ask("GET", "/api/runs", Cookie=client.cookie)[0] == 401
        second.post("stop", name=name)
        second.until(name, lambda f: f["listed"]["run"]["state"] == "stopped")
        second.post("resume", name=name)
        second.until(name, lambda f: f["listed"]["run"]["state"] == "finished")
    assert client.runs()[name]["signed"] == "yes"


def test_a_run_of_another_terminal_shows_live_and_is_not_stopped_from_here(client: Client, studio: Studio) -> None:
    (studio.folder / "slow.yaml").write_text(slow_plan())
    command = [sys.executable, "-m", "assay", "run", str(studio.folder / "slow.yaml"), "--out", str(studio.folder / "elsewhere"), "--quiet"]
    with subprocess.Popen(command, env=studio.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 30
        while "elsewhere" not in client.runs() or client.runs()["elsewhere"]["state"] == "broken":
            assert time.monotonic() < end
            time.sleep(0.1)
        found = client.until("elsewhere", lambda f: f["seen"] is not None and f["seen"]["counted"] > 20)
        version, counted = found["seen"]["version"], found["seen"]["counted"]
        time.sleep(1)
        later = client.look("elsewhere", version)["seen"]
        assert later["counted"] > counted
        assert not later["whole"]
        assert not found["listed"]["stoppable"]
        assert found["commands"]["stop"] == f"kill -INT {process.pid}"
        status, _, value = client.ask("POST", "/api/stop", {"name": "elsewhere"})
        assert (status, value["code"]) == (409, "not_ours")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert client.runs()["elsewhere"]["state"] == "stopped"


def test_a_run_that_cannot_begin_says_why(client: Client, studio: Studio) -> None:
    key = studio.folder.parent / "key.pem"
    kept = key.read_bytes()
    key.write_text("no key")
    try:
        name = client.begin("quick", "scripted:0.01", "unsigned")
        found = client.until(name, lambda f: f["listed"]["run"]["state"] == "failed")
    finally:
        key.write_bytes(kept)
    assert found["listed"]["failed"]
    assert "key" in found["log"]


def test_the_page_ends_and_the_runs_go_on_unless_asked(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    (folder / "slow.yaml").write_text(slow_plan())
    for options, goes_on in (((), True), (("--stop-runs",), False)):
        with Studio(folder, *options) as studio:
            client = Client(studio)
            name = client.begin("slow.yaml", "", f"run-{goes_on}")
            client.until(name, lambda f: f["seen"] is not None and f["seen"]["counted"] > 5)
            said = studio.stop()
        if goes_on:
            pid = int(said.rsplit("kill -INT ", 1)[1].split()[0])
            os.kill(pid, signal.SIGINT)
            end = time.monotonic() + 20
            while Path(f"/proc/{pid}").exists():
                assert time.monotonic() < end
                time.sleep(0.05)
        else:
            assert "all is kept" in said


def test_an_empty_or_missing_folder_is_no_trouble(tmp_path: Path) -> None:
    with Studio(tmp_path / "none") as studio:
        client = Client(studio)
        assert client.runs() == {}
        (tmp_path / "none" / "late").mkdir(parents=True)
        make_bundle(tmp_path / "none" / "late")
        assert client.runs()["late"]["state"] == "finished"
