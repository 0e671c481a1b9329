"""The same plan on workers that die at random gives the very run that one process gives: trials, decision and root."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bench.raycluster import add_node, local_cluster

from assay.attacks import ATTACKS
from assay.engine import Engine, OnRay
from assay.engine.executors import cluster as cluster_room
from assay.engine.executors.ray import Crew, share
from assay.engine.executors.wire import Back, Batch, Errand, Hello, Leased, Setup, decode, encode
from assay.engine.executors.worker import Worker
from assay.errors import SealedBankError, TargetError
from assay.evidence import open_run, write_bundle
from assay.evidence.bundle import Summary
from assay.plan import Judges, JudgeSpec, Limits, Plan, TargetSpec
from assay.runs import Opening, RunFile
from assay.scenarios import ItemBuilder
from assay.targets import make_target
from tests.engine.ray_agents import POISON
from tests.support import KEY, NONCE, Recorder, make_plan, plan_text, sampled

ray = pytest.importorskip("ray", reason="needs the extra ray")

CHANGES: dict[str, Any] = {
    "target": {"kind": "scripted", "model": "0.08", "options": {"delay_ms": "30", "failure": "0.03"}},
    "matrix": {"hazards": ["secret-leakage", "injected-instructions", "personal-data"], "languages": ["en"], "attacks": ["base64"]},
    "budget": {"calls": 900},
    "limits": {"concurrency": 8, "lookahead": 96},
}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of one node, to which a test may add others; this process is connected to it."""
    os.environ[POISON] = str(tmp_path_factory.mktemp("poison") / "poison")
    with local_cluster(4) as found:
        yield found
    del os.environ[POISON]


def opening_of(plan: Plan, catalog: Any) -> Opening:
    return open_run(plan, catalog, {"kind": "scripted", "model": plan.target.model, **plan.target.options}, NONCE, KEY)


def local(path: Path, opening: Opening) -> Summary:
    """The run in this process; the clock is held, so that the root is comparable."""

    async def go() -> Summary:
        plan = opening.plan
        async with make_target(plan.target, plan.generation, plan.limits, lambda _: None) as target:
            with RunFile.create(path, opening) as run:
                ended = await Engine(run, target, Recorder(), clock=lambda: 1).trials()
                return write_bundle(run, KEY, ended, path.with_suffix(".jsonl"))

    return asyncio.run(go())


def on_ray(
    path: Path, opening: Opening, workers: int = 2, meanwhile: Callable[[Crew], Any] | None = None, told: list[str] | None = None
) -> tuple[Summary, Crew]:
    """The same on Ray, while something happens to its workers."""

    async def go() -> tuple[Summary, Crew]:
        said = told if told is not None else []
        async with Crew(OnRay(workers), opening.plan, opening.catalog, said.append) as crew:
            await crew.all_up()
            with RunFile.create(path, opening) as run:
                engine = Engine(run, crew, Recorder(), executor=crew, clock=lambda: 1)
                happening = asyncio.create_task(meanwhile(crew)) if meanwhile else None
                try:
                    ended = await engine.trials()
                finally:
                    if happening:
                        happening.cancel()
                return write_bundle(run, KEY, ended, path.with_suffix(".jsonl")), crew

    return asyncio.run(go())


def parent(pid: int) -> int:
    """The process that started a process; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are still there."""
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and parent(int(p.name)) == pid]


def rows(path: Path) -> list[tuple[int, str, int, str, str]]:
    with RunFile.read(path) as run:
        return [(t.slot, t.stream.key, t.index, t.item, t.outcome) for t in run.trials()]


@pytest.mark.parametrize("seed", range(1, 1 + sampled(8, 1)))
def test_the_root_is_the_same_here_on_workers_and_on_workers_that_die(seed: int, nodes: Any, tmp_path: Path) -> None:
    nonce = random.Random(seed).randbytes(32)
    plan, catalog = make_plan(**CHANGES, seed=nonce.hex())
    opening = open_run(plan, catalog, {"kind": "scripted", "model": "0.08", **plan.target.options}, nonce, KEY)
    rng = random.Random(seed)

    async def kill(crew: Crew) -> None:
        while True:
            while len(crew.pids) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(rng.uniform(0.05, 0.4))
            for pid in rng.sample(sorted(crew.pids.values()), k=min(len(crew.pids), rng.choice([1, 1, 2]))):
                os.kill(pid, signal.SIGKILL)

    here = local(tmp_path / "here.db", opening)
    killed, crew = on_ray(tmp_path / "killed.db", opening, meanwhile=kill)
    assert crew.deaths >= 2, "the run was too short for this test"
    assert killed.trials == here.trials
    assert (killed.root, killed.decision, killed.items) == (here.root, here.decision, here.items)
    assert rows(tmp_path / "killed.db") == rows(tmp_path / "here.db")
    if seed == 1:
        alive, crew = on_ray(tmp_path / "alive.db", opening)
        assert (alive.root, crew.deaths) == (here.root, 0)


def test_a_node_that_is_lost_loses_nothing(nodes: Any, tmp_path: Path) -> None:
    plan, catalog = make_plan(**CHANGES)
    opening = opening_of(plan, catalog)
    here = local(tmp_path / "here.db", opening)
    node = add_node(nodes, 2)
    raylet = node.all_processes["raylet"][0].process.pid

    async def lose(crew: Crew) -> None:
        while not any(parent(pid) == raylet for pid in crew.pids.values()):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        node.kill_raylet()

    there, crew = on_ray(tmp_path / "there.db", opening, workers=3, meanwhile=lose)
    assert crew.deaths >= 1
    assert (there.root, there.decision) == (here.root, here.decision)


def test_a_killed_driver_goes_on_where_it_was_and_says_nothing_but_json(nodes: Any, tmp_path: Path) -> None:
    """Also when a worker dies, of which Ray would print a page into standard output."""
    plan, catalog = make_plan(**CHANGES)
    here = local(tmp_path / "here.db", opening_of(plan, catalog))
    (tmp_path / "plan.yaml").write_text(plan_text(**CHANGES))
    command = [
        sys.executable, "-m", "assay", "run", "--out", str(tmp_path / "run"), "--json", "--executor", "ray",
        "--ray-address", nodes.address,
    ]  # fmt: skip
    file = tmp_path / "run" / "run.db"
    with subprocess.Popen([*command, str(tmp_path / "plan.yaml")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and driver.poll() is None and not (file.exists() and len(rows(file)) >= 100):
            time.sleep(0.02)
        assert driver.poll() is None, "it ended before it could be killed"
        driver.kill()
    kept = rows(file)
    assert 100 <= len(kept) < here.trials
    raylet = nodes.head_node.all_processes["raylet"][0].process.pid
    with subprocess.Popen([*command, "--resume"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        while driver.poll() is None and len(rows(file)) < len(kept) + 50:
            time.sleep(0.02)
        os.kill(next(pid for pid in children(raylet) if b"ray::Worker" in Path(f"/proc/{pid}/cmdline").read_bytes()), signal.SIGKILL)
        said, told = driver.communicate(timeout=120)
    assert driver.returncode in (0, 10, 20), told
    assert "has died" in told
    assert [json.loads(line)["event"] for line in said.splitlines()][-1] == "decision"
    assert rows(file) == rows(tmp_path / "here.db")
    assert set(kept) <= set(rows(file))


def test_an_item_that_kills_workers_is_named_and_has_no_outcome(nodes: Any, tmp_path: Path) -> None:
    plan, catalog = make_plan(
        target={"kind": "callable", "model": "tests.engine.ray_agents:refusing"}, budget={"calls": 60}, limits={"concurrency": 2}
    )
    opening = open_run(plan, catalog, {"kind": "callable", "model": "tests.engine.ray_agents:refusing"}, NONCE, KEY)
    reference = local(tmp_path / "here.db", opening)
    assert reference.trials > 20
    with RunFile.read(tmp_path / "here.db") as run:
        bad = next(t for t in run.trials() if t.slot == 9)
    item = ItemBuilder.for_plan(plan, catalog, opening.seed, ATTACKS).build(bad.stream, bad.index)
    Path(os.environ[POISON]).write_text(item.messages[-1].content)
    told: list[str] = []
    try:
        with pytest.raises(TargetError, match=r"trial 9 \(.*\) has killed 5 workers, the last two alone with it"):
            on_ray(tmp_path / "there.db", opening, workers=1, told=told)
    finally:
        Path(os.environ[POISON]).unlink()
    assert 9 not in [slot for slot, *_ in rows(tmp_path / "there.db")]
    assert sum("has died" in line for line in told) == 5


def test_a_worker_that_says_nothing_is_taken_for_dead(nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, catalog = make_plan(**CHANGES)
    opening = opening_of(plan, catalog)
    here = local(tmp_path / "here.db", opening)
    monkeypatch.setattr(cluster_room, "SILENT_S", 5.5)
    frozen: list[int] = []

    async def freeze(crew: Crew) -> None:
        while len(crew.pids) < 2:
            await asyncio.sleep(0.02)
        frozen.append(crew.pids[0])
        os.kill(frozen[0], signal.SIGSTOP)

    told: list[str] = []
    there, crew = on_ray(tmp_path / "there.db", opening, meanwhile=freeze, told=told)
    with suppress(ProcessLookupError):
        os.kill(frozen[0], signal.SIGKILL)
    assert crew.deaths == 1
    assert any("no word for" in line for line in told)
    assert there.root == here.root


def test_another_target_in_a_worker_stops_the_run(nodes: Any, tmp_path: Path) -> None:
    plan, catalog = make_plan(**CHANGES)

    async def go() -> None:
        async with Crew(OnRay(1), plan, catalog, lambda _: None) as crew:
            assert crew.identity == {"kind": "scripted", "model": "0.08", "delay_ms": "30", "failure": "0.03"}
            other = {**crew.identity, "digest": "sha256:" + "0" * 64}
            crew.identity = other
            with RunFile.create(tmp_path / "run.db", open_run(plan, catalog, other, NONCE, KEY)) as run:
                with pytest.raises(TargetError, match="is not the one that the run was opened with"):
                    await Engine(run, crew, Recorder(), executor=crew).trials()
                assert run.count() == 0

    asyncio.run(go())


def test_what_a_worker_cannot_open_is_said_in_its_words(nodes: Any) -> None:
    plan, catalog = make_plan(target={"kind": "callable", "model": "no.such.module:run"})

    async def go() -> None:
        async with Crew(OnRay(1), plan, catalog, lambda _: None):
            pytest.fail("it opened")

    with pytest.raises(TargetError, match=r"cannot load 'no\.such\.module:run'"):
        asyncio.run(go())


def test_an_interrupt_keeps_what_is_done_and_a_deadline_recalls_what_was_not_begun(nodes: Any, tmp_path: Path) -> None:
    slow = {**CHANGES, "target": {"kind": "scripted", "model": "0.08", "options": {"delay_ms": "150"}}}

    async def go(name: str, how: str, **more: Any) -> tuple[str, int, float]:
        plan, catalog = make_plan(**{**slow, **more})
        async with Crew(OnRay(1), plan, catalog, lambda _: None) as crew:
            with RunFile.create(tmp_path / name, opening_of(plan, catalog)) as run:
                engine = Engine(run, crew, Recorder(), executor=crew)
                began = time.monotonic()
                if how == "interrupted":
                    asyncio.get_running_loop().call_later(1.5, engine.interrupt)
                ended = await engine.trials()
                return ended, run.count(), time.monotonic() - began

    ended, count, seconds = asyncio.run(go("interrupted.db", "interrupted"))
    assert (ended, count > 0) == ("interrupted", True)
    assert seconds < 5
    minutes = {"calls": 900, "minutes": 0.02}
    ended, count, seconds = asyncio.run(go("late.db", "deadline", budget=minutes, limits={"concurrency": 4, "lookahead": 400}))
    assert (ended, 0 < count < 100) == ("deadline", True)
    assert seconds < 10, "what was not begun was asked all the same"


class TestWithoutACluster:
    """What needs no Ray."""

    def test_a_share_divides_what_is_the_endpoints(self) -> None:
        limits = Limits(concurrency=8, requests_per_minute=600, tokens_per_minute=90_001, timeout_s=7)
        part = share(limits, 4)
        assert (part.requests_per_minute, part.tokens_per_minute, part.concurrency, part.timeout_s) == (150, 22_500, 8, 7)
        assert share(Limits(), 4) == Limits()

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"limits": Limits(requests_per_minute=3)}, "3 cannot be divided among 4 workers"),
            ({"target": TargetSpec("recorded", "m", options={"answers": "a.json"})}, "nothing to ask"),
            ({"judges": Judges((JudgeSpec("j", TargetSpec("vllm", "m")),))}, "would load the model as well"),
        ],
    )
    def test_what_cannot_be_distributed_is_refused(self, changes: dict[str, Any], match: str) -> None:
        plan, catalog = make_plan()
        with pytest.raises(TargetError, match=match):
            Crew(OnRay(4), msgspec.structs.replace(plan, **changes), catalog, lambda _: None)

    def test_a_sealed_bank_is_refused(self) -> None:
        plan, catalog = make_plan()
        sealed = msgspec.structs.replace(catalog, sealed={"bank": None})
        with pytest.raises(SealedBankError, match="not sent to workers"):
            Crew(OnRay(2), plan, sealed, lambda _: None)

    @pytest.mark.parametrize(
        "wrong", [{"workers": 0}, {"workers": 5000}, {"gpus_per_worker": -1.0}, {"address": "ray://head:10001"}]
    )  # fmt: skip
    def test_numbers_out_of_range_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(TargetError):
            OnRay(**wrong)

    def test_a_message_that_cannot_be_read_is_an_error(self) -> None:
        for bad in (b"", b"\xc1", encode(["x"]), None, "text"):
            with pytest.raises(TargetError, match="cannot be read"):
                decode(bad, Hello)

    def test_a_worker_asks_the_lowest_slots_first_and_gives_back_what_it_has_not_begun(self) -> None:
        plan, catalog = make_plan(target={"kind": "scripted", "model": "0.1", "options": {"delay_ms": "20"}}, limits={"concurrency": 2})

        async def go() -> tuple[list[int], list[int]]:
            worker = Worker()
            decode(await worker.open(encode(Errand(plan.target, plan.generation, plan.limits))), Hello)
            assert await worker.begin(encode(Setup(plan, catalog, bytes(32), plan.limits))) == b""
            await worker.lease(encode([Leased(slot, 0, slot) for slot in reversed(range(20))]))
            batch = decode(await worker.collect(), Batch)
            dropped = decode(await worker.recall(), list[int])
            back = [decode(raw, Back).slot for raw in batch.backs]
            while len(back) + len(dropped) < 20:
                back += [decode(raw, Back).slot for raw in decode(await worker.collect(), Batch).backs]
            await worker.close()
            return back, dropped

        back, dropped = asyncio.run(go())
        assert dropped
        assert sorted(back + dropped) == list(range(20))
        assert max(back) < min(dropped)

    @pytest.mark.parametrize("asked", ["sha256:" + "0" * 64, ""])
    def test_an_item_of_other_code_is_never_judged_nor_one_without_its_digest(self, asked: str, tmp_path: Path) -> None:
        plan, catalog = make_plan()

        class Odd:
            places = 1

            def work(self, desk: Any) -> list[Any]:
                return [self._work(desk)]

            async def _work(self, desk: Any) -> None:
                slot, item = await desk.next()
                async with make_target(plan.target, plan.generation, plan.limits, lambda _: None) as target:
                    desk.answered(slot, item, await target.ask_item(item), (), asked)
                await desk.next()

        async def go() -> None:
            async with make_target(plan.target, plan.generation, plan.limits, lambda _: None) as target:
                with RunFile.create(tmp_path / "run.db", opening_of(plan, catalog)) as run:
                    with pytest.raises(TargetError, match="built another item for trial 0"):
                        await Engine(run, target, Recorder(), executor=Odd()).trials()
                    assert run.count() == 0

        asyncio.run(go())

    @pytest.mark.parametrize(
        "options", [["--workers", "2"], ["--ray-address", "auto"], ["--executor", "ray", "--replay", "x"], ["--executor", "cloud"]]
    )
    def test_the_command_line_says_what_does_not_go_together(self, options: list[str]) -> None:
        done = subprocess.run([sys.executable, "-m", "assay", "run", *options], check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert "executor" in done.stderr
        assert "Traceback" not in done.stderr
