"""What an episode in an agent world costs, and building a world: `make bench-worlds`.

Scripted agents of ten steps (what was asked, some looking around, a report), in every family, on one core: the case is drawn, the world
built, ten answers are read and run, and the verdict given. Beside it, in the same run and where it is installed (bench/.peers/agentdojo),
AgentDojo's banking suite: its ground-truth agent on its own user tasks with one injection, through its own pipeline.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from assay.catalog import load_everything
from assay.judges import judge_episode
from assay.worlds import Dice, Episode, Words, World, call_line, draw_case, load_family

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "worlds.json"
PEER = HERE / ".peers" / "agentdojo" / "bin" / "python"
STEPS = 10
EPISODES = 1500
ROUNDS = 5


def main() -> None:
    """Measure, print a table, write the results."""
    catalog = load_everything()
    results: dict[str, float] = {}
    print(f"{'family':<16}{'records':>8}{'build ms':>10}{'episodes/s':>12}")
    for name in catalog.worlds:
        records = sum(map(len, _build(name, 0).tables.values()))
        build_ms = 1000 * min(_timed(lambda i, name=name: _build(name, i), EPISODES) for _ in range(ROUNDS)) / EPISODES
        play = _player(name)
        rate = EPISODES / min(_timed(play, EPISODES) for _ in range(ROUNDS))
        results |= {f"{name}_build_ms": build_ms, f"{name}_episodes_per_s": rate, f"{name}_records": records}
        print(f"{name:<16}{records:>8}{build_ms:>10.3f}{rate:>12,.0f}")
    results["episodes_per_s"] = min(v for k, v in results.items() if k.endswith("_episodes_per_s"))
    results["build_ms"] = max(v for k, v in results.items() if k.endswith("_build_ms"))
    print(f"{'slowest':<16}{'':>8}{results['build_ms']:>10.3f}{results['episodes_per_s']:>12,.0f}")
    peer = _agentdojo()
    if peer:
        results |= peer
        print(f"{'AgentDojo':<16}{'':>8}{peer['agentdojo_build_ms']:>10.3f}{peer['agentdojo_episodes_per_s']:>12,.0f}")
    else:
        print(f"AgentDojo is not installed: python3 -m venv {PEER.parents[1]} && {PEER.parent}/pip install agentdojo")
    RESULTS.write_text(json.dumps({k: round(v, 4) for k, v in results.items()}, indent=1) + "\n")


def _build(name: str, number: int) -> World:
    return load_family(name).build(Dice(sha256(b"%d" % number).digest() + b"world"))


def _player(name: str) -> Callable[[int], None]:
    """Plays the n-th episode."""
    catalog = load_everything()
    family, language = load_family(name), catalog.languages["en"]
    words = Words(catalog.worlds[name]["en"], catalog.common["en"], language)
    looks = [t.name for t in family.tools.values() if not t.writes and not t.arguments.__struct_fields__]

    def play(number: int) -> None:
        case = draw_case(family, sha256(b"%d" % number).digest())
        episode = Episode(case, {case.slot: "A harmless note."}, words, words)
        calls = [call for task, params in case.tasks for call in task.gold(episode.world, params)]
        calls += [(look, {}) for _ in range(3) for look in looks]
        for call in calls[: STEPS - 1]:
            episode.turn(call_line(*call))
        while episode.turns < STEPS - 1:
            episode.turn(call_line(looks[0], {}))
        episode.turn(call_line("finish", {"status": "completed", "message": "Done."}))
        judge_episode(episode, arm="attack", language=language)

    return play


def _timed(act: Callable[[int], object], times: int) -> float:
    began = time.perf_counter()
    for i in range(times):
        act(i)
    return time.perf_counter() - began


PROGRAM = """
import json, time
from agentdojo.agent_pipeline import AgentPipeline, GroundTruthPipeline, InitQuery
from agentdojo.attacks.baseline_attacks import DirectAttack
from agentdojo.task_suite.load_suites import get_suite
suite = get_suite("v1.2", "banking")
environments = 200
began = time.perf_counter()
for _ in range(environments):
    suite.load_and_inject_default_environment({})
build = (time.perf_counter() - began) / environments
injection = suite.injection_tasks["injection_task_0"]
slots = {k: injection.GOAL for k in suite.get_injection_vector_defaults()}
done = 0
began = time.perf_counter()
while time.perf_counter() - began < 10:
    for task in suite.user_tasks.values():
        suite.run_task_with_pipeline(GroundTruthPipeline(task), task, injection, slots)
        done += 1
rate = done / (time.perf_counter() - began)
print(json.dumps({"agentdojo_build_ms": 1000 * build, "agentdojo_episodes_per_s": rate}))
"""


def _agentdojo() -> dict[str, float]:
    """AgentDojo's figures; none where it is not installed or cannot be run."""
    if not PEER.exists():
        return {}
    done = subprocess.run([str(PEER), "-c", PROGRAM], capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        print(f"AgentDojo could not be run: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
        return {}
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
