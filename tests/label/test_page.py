"""The page's server: nobody comes in without a token, no foreign page can use it, nothing it serves can be made to run."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.label import Desk
from assay.runs import RunFile, read_labels
from assay.web.languages import INTERFACE
from tests.label.making import judged_run
from tests.label.serving import Client, Page

pytest.importorskip("starlette")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    run = judged_run(tmp_path_factory.mktemp("page"), people=2, languages=("en", "ms"))
    with Page(run, "--labeller", "Aisyah:ms,en", "--labeller", "Wei:en", "--adjudicator", "Devi") as page:
        yield page


@pytest.fixture
def aisyah(page: Page) -> Client:
    return Client(page, "Aisyah")


def test_the_command_says_who_may_come_and_what_waits(page: Page) -> None:
    assert "2 labels each" in page.said
    assert set(page.links) == {"Aisyah", "Wei", "Devi"}
    assert "Aisyah  labels, ms, en; waiting: 24" in page.said
    assert "decides disputes, all languages; waiting: 0" in page.said
    assert "assay label" in page.said


def test_nobody_comes_in_without_a_token(aisyah: Client) -> None:
    for cookie in ("", "assay-label=x", aisyah.cookie[:-2], aisyah.cookie.partition("=")[0] + "="):
        assert aisyah.ask("GET", "/api/me", Cookie=cookie)[0] == 401
        assert aisyah.ask("POST", "/api/work", {"who": "Aisyah"}, Cookie=cookie)[0] == 401
        assert aisyah.ask("GET", "/api/trial/0", Cookie=cookie)[0] == 401
    assert aisyah.ask("POST", "/api/sign-in", {"token": "A" * 43})[0] == 403
    assert aisyah.ask("GET", "/api/me")[2]["name"] == "Aisyah"


def test_the_cookie_is_for_this_page_only(aisyah: Client) -> None:
    attributes = aisyah.set_cookie.lower()
    assert "httponly" in attributes
    assert "samesite=strict" in attributes
    assert "path=/" in attributes


def test_a_label_is_filed_for_who_typed_it_or_not_at_all(aisyah: Client) -> None:
    view = aisyah.work()["trials"][0]["view"]
    act = {"id": "x" * 8, "act": "label", "slot": view["slot"], "transcript": view["transcript"], "verdict": "violation"}
    status, _, said = aisyah.ask("POST", "/api/act", {"who": "Wei", "act": act})
    assert (status, said["error"]) == (401, "somebody else is signed in")


@pytest.mark.parametrize(
    ("change", "status"),
    [({"Host": "evil.invalid"}, 400), ({"Host": "127.0.0.1.evil.invalid:80"}, 400), ({"Origin": "http://evil.invalid"}, 403),
     ({"Origin": ""}, 403), ({"Origin": "null"}, 403), ({"Content-Type": "text/plain"}, 415), ({"Content-Type": ""}, 415)],
)  # fmt: skip
def test_foreign_pages_can_do_nothing(change: dict[str, str], status: int, aisyah: Client) -> None:
    assert aisyah.ask("POST", "/api/work", {"who": "Aisyah"}, **change)[0] == status


def test_other_methods_and_places_are_not_there(aisyah: Client) -> None:
    assert aisyah.ask("PUT", "/api/work", {})[0] == 405
    assert aisyah.ask("DELETE", "/api/act")[0] == 405
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/nothing.js", "/words/xx.json", "/words/..%2fen.json", "/labels.db"):
        assert aisyah.ask("GET", path)[0] == 404
    assert aisyah.ask("GET", "/api/trial/99999")[0] == 409


def test_bodies_are_bounded_and_checked(aisyah: Client) -> None:
    for body in (b"{", b"[]", b'{"who": "Aisyah", "have": ["x"]}', b'{"who": "Aisyah", "more": 1}', b"\xff", b"[" * 50_000):
        assert aisyah.ask("POST", "/api/work", body)[0] == 422
    assert aisyah.ask("POST", "/api/work", b"x" * 70_000)[0] == 413
    view = aisyah.work()["trials"][0]["view"]
    assert aisyah.act("short", view, verdict="violation")[0] == 422
    assert aisyah.act("x" * 8, view, verdict="awful")[0] == 422
    assert aisyah.act("x" * 8, view, verdict="violation", note="x" * 4001)[0] == 422
    assert aisyah.act("x" * 8, view, verdict="violation", modes=[11])[0] == 422
    assert aisyah.act("x" * 8, view)[0] == 409


@pytest.mark.parametrize("path", ["/", "/api/me", "/static/label.js", "/nothing", "/words/ta.json"])
def test_every_answer_lets_the_browser_do_nothing_else(path: str, aisyah: Client) -> None:
    _, headers, _ = aisyah.ask("GET", path)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"
    assert "server" not in headers


@pytest.mark.parametrize("tag", INTERFACE)
def test_the_shell_speaks_every_language_and_holds_nobodys_data(tag: str, aisyah: Client) -> None:
    _, _, html = aisyah.ask("GET", "/", **{"Accept-Language": tag})
    assert f'<html lang="{tag}"' in html
    assert "Aisyah" not in html
    assert "onclick" not in html
    assert "style=" not in html
    words = aisyah.ask("GET", f"/words/{tag}.json")[2]
    assert words["submit"] in html
    assert all(words.values())


def test_the_service_worker_keeps_exactly_the_shell(aisyah: Client) -> None:
    import re

    from assay.label.app import FILES

    worker = aisyah.ask("GET", "/sw.js")[2]
    names = set(re.findall(r'"(\w+)"', worker.split("for (const name of")[1].split("]")[0]))
    assert {f"{n}.js" for n in names} == {n for n in FILES if n.endswith(".js") and n != "sw.js"}
    assert set(re.findall(r'"([\w-]+)"', worker.split("for (const tag of")[1].split("]")[0])) == set(INTERFACE)


def test_ten_people_at_once_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """Ten labellers post fifty labels each, every third one twice, as a shaky network would."""
    run = judged_run(tmp_path / "run", people=9, calls=90)
    names = [f"Labeller {i}" for i in range(10)]
    options = [part for name in names for part in ("--labeller", name)]
    took: list[float] = []
    counted: dict[str, int] = {}

    def work(name: str) -> None:
        client = Client(page, name)
        done: list[int] = []
        while len(done) < 50:
            handed = client.work()["trials"][0]["view"]
            for _ in range(1 + (len(done) % 3 == 0)):
                begun = time.monotonic()
                status, progress = client.act(
                    f"{name.replace(' ', '-')}-{len(done)}", handed, verdict="acceptable", note=f"{name} {len(done)}"
                )
                took.append(time.monotonic() - begun)
                assert status == 200, progress
            done.append(handed["slot"])
        counted[name] = len(set(done))

    with Page(run, *options) as page:
        begun = time.monotonic()
        threads = [threading.Thread(target=work, args=(name,)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begun
        page.kill()
    assert counted == dict.fromkeys(names, 50)
    with RunFile.read(run / "run.db") as file:
        acts = read_labels(file)
    assert sorted((a.labeller, a.note) for a in acts) == sorted((n, f"{n} {i}") for n in names for i in range(50))
    took.sort()
    print(f"500 labels and 170 repeats in {seconds:.1f} s; median {1000 * took[len(took) // 2]:.0f} ms, worst {1000 * took[-1]:.0f} ms")
    assert took[len(took) // 2] < 1.0


def test_a_killed_server_has_everything_it_acknowledged_and_goes_on_with_the_same_links(tmp_path: Path) -> None:
    run = judged_run(tmp_path / "run", calls=16)
    with Page(run, "--labeller", "Aisyah") as page:
        client = Client(page, "Aisyah")
        views = [t["view"] for t in client.work()["trials"]]
        assert client.act("first-label", views[0], verdict="violation")[0] == 200
        body = {"who": "Aisyah", "slot": views[1]["slot"], "at": 5, "draft": {"note": "half a sente"}}
        assert client.ask("POST", "/api/draft", body)[0] == 204
        page.kill()
        page.restart()
        assert "has a link already" in page.said
        again = Client(page, "Aisyah")
        assert again.cookie == client.cookie
        first = again.work()["trials"][0]
        assert (first["view"]["slot"], first["draft"]["note"]) == (views[1]["slot"], "half a sente")
        assert again.act("first-label", views[0], verdict="violation")[1]["done"] == 1
        code, said = page.stop()
        assert code == 0
        assert "Stopped. 1 labels" in said
        assert "Traceback" not in said
    with Desk.open(run) as desk:
        assert desk.book.last == 1


def run_command(*options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "assay", "label", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
    )


def test_labels_go_out_and_in_whatever_is_in_the_queue_now(tmp_path: Path) -> None:
    judged_run(tmp_path / "run", audit=0.0, calls=12)
    tasks = run_command("run", "--all", "--tasks", "tasks.csv", folder=tmp_path)
    assert tasks.returncode == 0, tasks.stderr
    assert "12 trials to label, blind" in tasks.stdout
    lines = (tmp_path / "tasks.csv").read_bytes().split(b"\r\n")
    back = b"\r\n".join([lines[0], *(line.replace(b",,,,,,,,", b",unsure,,,,,,,") for line in lines[1:])])
    (tmp_path / "back.csv").write_bytes(back)
    into = run_command("run", "--import", "back.csv", "--labeller", "Wei", folder=tmp_path)
    assert into.stdout.startswith("12 labels imported, 0 were there already"), into.stdout + into.stderr
    again = run_command("run", "--import", "back.csv", "--labeller", "Wei", "--export", "out.jsonl", folder=tmp_path)
    assert again.stdout.startswith("0 labels imported, 12 were there already")
    assert "out.jsonl: 12 labels" in again.stdout


def test_what_cannot_be_is_said_in_one_message(tmp_path: Path) -> None:
    judged_run(tmp_path / "run", audit=0.0, calls=12)
    nothing = run_command("run", folder=tmp_path)
    assert nothing.returncode == 0
    assert "nothing to label" in nothing.stdout
    assert "--all" in nothing.stdout
    for options, message in (
        (("run", "--all", "--host", "192.0.2.1", "--allow-host", "lab.example"), "in the clear"),
        (("run", "--all", "--hazard", "hat"), "no hazard 'hat'"),
        (("run", "--all", "--language", "xx"), "no language 'xx'"),
        (("run", "--all", "--labeller", "a/b"), "no name"),
        (("nowhere",), "no run file"),
        (("run", "--all", "--export", "labels.xlsx"), ".csv or .jsonl"),
    ):
        done = run_command(*options, folder=tmp_path)
        assert done.returncode == 2, options
        assert message in done.stderr
        assert "Traceback" not in done.stderr
