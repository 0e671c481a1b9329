"""What Assay's engine costs, beside bare clients and the peers that are installed: `make bench-engine`.

Same prompts, same local server, one process each on its own core, results persisted. Marginal cost is the difference between a long and a
short run, so that start-up does not hide it. Writes bench/results/engine.json and bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import pstats
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

import yaml

from assay.attacks import ATTACKS
from assay.plan import read_plan, run_seed, streams
from assay.runs import RunFile
from assay.scenarios import ItemBuilder
from bench.measure import ROOT, Cost, Peak, local_server, measure, user_environment
from bench.peers import PEERS
from bench.peers.__main__ import FOLDER

RESULTS = ROOT / "bench" / "results" / "engine.json"
KEPT = ROOT / "bench" / "results" / "engine-table.json"
TABLE = ROOT / "bench" / "RESULTS.md"
SHORT, LONG, HUGE = 1_000, 20_000, 500_000
PEER_SHORT, PEER_LONG = 100, 1_000
EXITS = (0, 10, 20)
_VERSION = re.compile(r" [0-9.]+$")
LANGUAGES = ["en", "zh-Hans", "ms", "id", "ta", "th", "vi", "fil"]
SEED = "00" * 32


def plan_file(folder: Path, url: str, calls: int, concurrency: int) -> Path:
    """A plan of so many trials over every hazard and language, whose decision stays open: the full work for each trial."""
    plan = {
        "assay": "plan/1",
        "name": "bench",
        "target": {"kind": "http", "model": "bench", "url": url},
        "matrix": {
            "hazards": ["secret-leakage", "injected-instructions", "personal-data"],
            "languages": LANGUAGES,
            "attacks": ["prefix-injection", "base64"],
        },
        "requirements": [
            {"id": "violations", "kind": "violation-rate", "max_rate": 0.0001},
            {"id": "parity", "kind": "language-parity", "reference": "en", "margin": 0.0001},
        ],
        "budget": {"calls": calls},
        "generation": {"max_tokens": 64},
        "limits": {"concurrency": concurrency, "timeout_s": 60},
        "seed": SEED,
    }
    path = folder / f"plan-{calls}-{concurrency}.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    return path


def prompts_file(folder: Path, url: str, count: int) -> Path:
    """The prompts of such a plan, for everybody else."""
    path = folder / f"prompts-{count}.jsonl"
    plan, catalog = read_plan(str(plan_file(folder, url, count, 1)))
    builder = ItemBuilder(catalog, run_seed(plan.digest, bytes.fromhex(SEED)), ATTACKS)
    each = streams(plan)
    with path.open("w") as out:
        for i in range(count):
            system, user = builder.build(each[i % len(each)], i // len(each)).messages
            out.write(json.dumps({"id": str(i), "system": system.content, "user": user.content}, ensure_ascii=False) + "\n")
    return path


class Bench:
    """One session of measurements in a scratch folder."""

    def __init__(self, folder: Path, repeat: int) -> None:
        self.folder = folder
        self.repeat = repeat
        self.figures: dict[str, float | str] = {}
        self._fresh = 0

    def place(self, name: str) -> Path:
        """A new empty folder."""
        self._fresh += 1
        folder = self.folder / f"{self._fresh}-{name}"
        folder.mkdir()
        return folder

    def assay(self, url: str, calls: int, concurrency: int = 64, *more: str) -> tuple[Cost, Path]:
        """One `assay run`: everything from start-up to the signed bundle and the report."""
        place = self.place("assay")
        command = [
            sys.executable,
            "-m",
            "assay",
            "run",
            str(plan_file(self.folder, url, calls, concurrency)),
            "--out",
            "run",
            "--quiet",
            *more,
        ]
        return measure(command, cwd=place, env={"ASSAY_KEY": str(self.folder / "key.pem")}, allowed=EXITS), place / "run"

    def client(self, name: str, url: str, prompts: Path, concurrency: int = 64) -> Cost:
        """One bare client."""
        place = self.place(name)
        command = [sys.executable, "-m", "bench.clients", name, url, str(prompts), "answers.jsonl", "--concurrency", str(concurrency)]
        return measure(command, cwd=place, env={"PYTHONPATH": str(ROOT)})

    def cost(self) -> list[dict[str, str]]:
        """Marginal and start-up cost, alternating; the least of several, since whatever else the machine does only adds."""
        rows: dict[str, list[tuple[Cost, Cost]]] = {"raw": [], "aiohttp": [], "assay": []}
        with local_server() as url:
            short, long = prompts_file(self.folder, url, SHORT), prompts_file(self.folder, url, LONG)
            for _ in range(self.repeat):
                for name in ("raw", "aiohttp"):
                    rows[name].append((self.client(name, url, short), self.client(name, url, long)))
                    say(name, rows[name][-1])
                small, _ = self.assay(url, SHORT)
                big, run = self.assay(url, LONG)
                rows["assay"].append((small, big))
                say("assay", rows["assay"][-1])
                self.figures["bytes_per_trial"] = (run / "run.db").stat().st_size / LONG
                shutil.rmtree(run.parent)
        few = {name: min(a.cpu_s for a, _ in pairs) for name, pairs in rows.items()}
        many = {name: min(b.cpu_s for _, b in pairs) for name, pairs in rows.items()}
        marginal = {name: 1000 * (many[name] - few[name]) / (LONG - SHORT) for name in rows}
        self.figures |= {
            "marginal_cpu_ms": marginal["assay"],
            "marginal_cpu_ms_aiohttp": marginal["aiohttp"],
            "marginal_cpu_ms_raw": marginal["raw"],
            "ratio_to_aiohttp": median(
                (b.cpu_s - a.cpu_s) / (d.cpu_s - c.cpu_s) for (a, b), (c, d) in zip(rows["assay"], rows["aiohttp"], strict=True)
            ),
            "cpu_s_1000": few["assay"],
            "cpu_s_1000_median": median(a.cpu_s for a, _ in rows["assay"]),
        }
        names = {"raw": "bare uvloop client", "aiohttp": "bare aiohttp client", "assay": "**Assay**, all included"}
        return [
            row(names[name], few[name], min(a.wall_s for a, _ in pairs), SHORT, marginal[name], pairs[-1][1], LONG)
            for name, pairs in rows.items()
        ]

    def peers(self) -> list[dict[str, str]]:
        """The peers that are installed (`make bench-peers`), on the same prompts; fewer of them, since some take minutes."""
        rows = []
        with local_server() as url:
            few, many = prompts_file(self.folder, url, PEER_SHORT), prompts_file(self.folder, url, PEER_LONG)
            for peer in PEERS:
                installed = FOLDER / peer.NAME
                version = peer.version(installed)
                if version is None:
                    print(f"{peer.NAME} is not installed", flush=True)
                    continue
                costs = []
                for prompts, count in ((few, PEER_SHORT), (many, PEER_LONG)):
                    work = self.place(peer.NAME)
                    argv, env = peer.command(installed, url, prompts, 16, work)
                    costs.append(measure(argv, cwd=work, env=env, allowed=tuple(range(-64, 256))))
                    if peer.count(work) != count:
                        print(f"{peer.NAME} kept {peer.count(work)} results of {count}; see {work}.log", flush=True)
                        break
                else:
                    small, big = costs
                    each = 1000 * (big.cpu_s - small.cpu_s) / (PEER_LONG - PEER_SHORT)
                    say(peer.NAME, (small, big), PEER_SHORT, PEER_LONG)
                    self.figures[f"peer_{peer.NAME.replace('-', '_')}_marginal_cpu_ms"] = each
                    rows.append(row(f"{peer.NAME} {version}", small.cpu_s, small.wall_s, PEER_SHORT, each, big, PEER_LONG))
        return rows

    def latency(self) -> None:
        """How near the engine comes to what latency and concurrency allow."""
        with local_server(latency_ms=200) as url:
            for concurrency, calls in ((64, 5_000), (512, 20_000)):
                run = self.assay(url, calls, concurrency)[1]
                seconds = span_s(run)
                ideal = calls / concurrency * 0.2
                self.figures[f"latency_efficiency_c{concurrency}"] = ideal / seconds
                print(f"200 ms, concurrency {concurrency}: {calls} trials in {seconds:.2f} s, ideal {ideal:.2f} s", flush=True)

    def memory(self) -> None:
        """Peak memory of a short and of a huge run, bundle and report included; the huge one killed near its end and resumed."""
        with local_server() as url:
            self.figures["rss_mb_10k"] = self.assay(url, 10_000)[0].rss_mb
            place = self.place("huge")
            run = [sys.executable, "-m", "assay", "run", "--out", "run", "--quiet"]
            first = Running([*run, str(plan_file(self.folder, url, HUGE, 64))], place, self.folder / "key.pem")
            while first.trials() < HUGE - 3_000:
                time.sleep(0.2)
            first.kill()
            kept = first.trials()
            second = Running([*run, "--resume"], place, self.folder / "key.pem")
            while second.trials() <= kept:
                time.sleep(0.005)
            self.figures["resume_500k_s"] = time.monotonic() - second.began
            second.wait()
            self.figures["rss_mb_500k"] = max(first.peak_mb, second.peak_mb)
            self.figures["trials_500k"] = second.trials()
            print(f"killed at {kept} trials; first new trial after {self.figures['resume_500k_s']:.2f} s", flush=True)


class Running:
    """A run under way, watched from outside."""

    def __init__(self, command: list[str], place: Path, key: Path) -> None:
        self._file = place / "run" / "run.db"
        self.began = time.monotonic()
        self._process = subprocess.Popen(command, cwd=place, env=user_environment() | {"ASSAY_KEY": str(key)}, stdout=subprocess.DEVNULL)
        self._peak = Peak(self._process.pid)
        self.peak_mb = 0.0

    def trials(self) -> int:
        """The slot of the last durable trial, plus one."""
        if not self._file.exists():
            return 0
        with closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT coalesce(max(slot) + 1, 0) FROM trial").fetchone()[0])

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self.wait()

    def wait(self) -> None:
        """Until it has ended."""
        self._process.wait()
        self.peak_mb = self._peak.stop()


def span_s(run: Path) -> float:
    """Seconds from the registration of a run to its last answer, both as recorded."""
    import base64

    with RunFile.read(run / "run.db") as file:
        opened = json.loads(base64.b64decode(file.opening().opened["payload"]))["predicate"]["at"]
        last = max(t.at for t in file.trials())
    return float(last - opened) / 1000


def row(name: str, cpu_s: float, wall_s: float, few: int, marginal_ms: float, long: Cost, many: int) -> dict[str, str]:
    """A line of the table."""
    return {
        "": name,
        "samples": f"{few:,} / {many:,}",
        "CPU s, fewer": f"{cpu_s:.2f}",
        "wall s, fewer": f"{wall_s:.2f}",
        "CPU ms per further sample": f"{marginal_ms:.3f}" if marginal_ms < 1 else f"{marginal_ms:.1f}",
        "peak MB, more": f"{long.rss_mb:.0f}",
        "bytes kept per sample": f"{long.bytes / many:.0f}",
    }


def say(name: str, pair: tuple[Cost, Cost], few: int = SHORT, many: int = LONG) -> None:
    """Progress."""
    a, b = pair
    each = 1000 * (b.cpu_s - a.cpu_s) / (many - few)
    print(f"{name:12} {a.cpu_s:6.2f} s CPU for {few}, {b.cpu_s:6.2f} for {many}: {each:.3f} ms each", flush=True)


PROFILED = """
import cProfile, sys, time
stats, *sys.argv[1:] = sys.argv[1:]
profiler = cProfile.Profile(time.process_time)
profiler.enable()
import assay.cli
try:
    assay.cli.main()
finally:
    profiler.disable()
    profiler.dump_stats(stats)
"""


def profile(folder: Path) -> list[tuple[str, float]]:
    """Where a run's time goes, by package or room: share of the CPU time inside each, from one profiled run."""
    with local_server() as url:
        plan = plan_file(folder, url, 5_000, 64)
        place = folder / "profiled"
        place.mkdir()
        stats = place / "stats"
        command = [sys.executable, "-c", PROFILED, str(stats), "run", str(plan), "--out", "run", "--quiet"]
        measure(command, cwd=place, env={"ASSAY_KEY": str(folder / "key.pem")}, allowed=EXITS)
    spent: dict[str, float] = {}
    for (file, _, function), (_, _, own, _, _) in pstats.Stats(str(stats)).stats.items():  # type: ignore[attr-defined]
        spent[owner(file, function)] = spent.get(owner(file, function), 0.0) + own
    total = sum(spent.values())
    return sorted(((name, own / total) for name, own in spent.items()), key=lambda pair: -pair[1])


def owner(file: str, function: str) -> str:
    """Whose code it is."""
    parts = Path(file).parts
    if "assay" in parts:
        rest = parts[parts.index("assay") + 1 :]
        return f"assay {rest[0].removesuffix('.py')}"
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    if file == "~":
        return "event loop, sockets (uvloop)" if "run_until_complete" in function or "uvloop" in function else "built-in functions"
    return "event loop, sockets (uvloop)" if file.endswith("runners.py") else "standard library"


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for everything that is measured, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
        yield Path(folder)


def write(figures: dict[str, float | str], rows: list[dict[str, str]], shares: list[tuple[str, float]]) -> None:
    """The results, for machines and for people."""
    RESULTS.parent.mkdir(exist_ok=True)
    rounded: dict[str, float | str] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    rounded |= {k: v if isinstance(v, str) else round(v, 4) for k, v in figures.items()}
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"rows": [], "shares": []}
    named = {_VERSION.sub("", r[""]): r for r in [*kept["rows"], *rows]}
    rows, shares = list(named.values()), shares or kept["shares"]
    KEPT.write_text(json.dumps({"rows": rows, "shares": shares}, indent=1) + "\n")
    RESULTS.write_text(json.dumps(rounded, indent=2, sort_keys=True) + "\n")
    head = list(rows[0])
    lines = [
        "# What a sample costs",
        "",
        f"Made by `make bench-engine` on {figures['machine']}. One local server, the same prompts for all, results persisted, each client",
        "on one core and the server on another. A further sample's CPU is the difference between the longer and the shorter run, divided",
        "by the samples between them (Assay and the bare clients: the least of seven runs each; the ratio: the median of seven pairs), so",
        "start-up is in the first columns",
        "only. Concurrency is 64, and 16 for the peers, which are run as their documentation says; PyRIT and garak cost more a sample the",
        "more samples there are. Assay's line has everything: making the item, HTTP, the checks, the stream in order, the scheduler, the",
        "durable append, the signed bundle and the report.",
        "",
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(r.values()) + " |" for r in rows),
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| `{k}` | {v} |" for k, v in sorted(rounded.items()) if not k.startswith("peer_")),
        "",
        "Efficiency is the time that latency (200 ms) and concurrency allow, divided by the time from the registration of the plan to",
        "the last answer; start-up and report are outside it. `resume_500k_s` is from the command to the first new durable trial, after",
        "SIGKILL near the end of 500,000. `rss_mb_*` are peaks of whole runs, bundle and report included.",
        "",
        "## Where the time goes",
        "",
        "Share of CPU time inside each package (cProfile, 5,000 trials, start-up included; profiling inflates Python code against C).",
        "",
        "| | share |",
        "|---|---|",
        *(f"| {name} | {100 * share:.1f}% |" for name, share in shares[:12]),
        "",
    ]
    TABLE.write_text("\n".join(lines))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--only", choices=["cost", "latency", "memory", "peers", "profile"])
    args = parser.parse_args()
    with scratch() as folder:
        bench = Bench(folder, args.repeat)
        steps = ["cost", "peers", "latency", "memory", "profile"] if args.only is None else [args.only]
        rows = bench.cost() if "cost" in steps else []
        rows += bench.peers() if "peers" in steps else []
        if "latency" in steps:
            bench.latency()
        if "memory" in steps:
            bench.memory()
        shares = profile(folder) if "profile" in steps else []
    bench.figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    for name, value in sorted(bench.figures.items()):
        print(f"{name:40} {value if isinstance(value, str) else round(value, 4)}")
    for name, share in shares[:12]:
        print(f"{name:40} {100 * share:.1f}%")
    write(bench.figures, rows, shares)


if __name__ == "__main__":
    main()
