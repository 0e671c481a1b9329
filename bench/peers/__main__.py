"""Installs the peers, and checks that each sends its prompts and keeps its results.

python -m bench.peers install [NAME...]
python -m bench.peers check [NAME...] [--prompts 50] [--concurrency 16] [--latency-ms 0]
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

from bench.measure import ROOT, local_server, measure
from bench.peers import PEERS

FOLDER = ROOT / "bench" / ".peers"


def write_prompts(path: Path, number: int) -> None:
    """A file of distinct prompts of ordinary length."""
    with path.open("w") as out:
        for i in range(number):
            system = f"You are assistant {i} of a library. Answer in one short sentence and stay polite."
            user = (
                f"Question {i}: a reader asks where the books about topic {i * 7919 % 1000} stand. " + "Please be as clear as you can. " * 8
            )
            out.write(json.dumps({"id": f"p{i:05d}", "system": system, "user": user.strip()}) + "\n")


def install(peers: list[ModuleType]) -> None:
    """Install the peers, one after another."""
    for peer in peers:
        folder = FOLDER / peer.NAME
        folder.mkdir(parents=True, exist_ok=True)
        peer.install(folder)
        print(f"{peer.NAME} {peer.version(folder)}", flush=True)


def check(peers: list[ModuleType], prompts: int, concurrency: int, latency_ms: float) -> bool:
    """Run each installed peer once on a few prompts and print what it cost. False if one failed or lost prompts."""
    print(f"{'peer':<12}{'version':<12}{'exit':>5}{'wall s':>9}{'CPU s':>9}{'RSS MB':>9}{'bytes':>12}{'results':>9}")
    good = True
    with tempfile.TemporaryDirectory(prefix="peers-") as name, local_server(latency_ms=latency_ms) as url:
        file = Path(name) / "prompts.jsonl"
        write_prompts(file, prompts)
        for peer in peers:
            folder = FOLDER / peer.NAME
            if (version := peer.version(folder)) is None:
                print(f"{peer.NAME:<12}not installed", flush=True)
                continue
            work = Path(name) / peer.NAME
            work.mkdir()
            argv, env = peer.command(folder, url, file, concurrency, work)
            log = FOLDER / f"{peer.NAME}.log"
            cost = measure(argv, cwd=work, env=env, log=log, allowed=tuple(range(-64, 256)))
            results = peer.count(work)
            good = good and cost.code == 0 and results == prompts
            print(
                f"{peer.NAME:<12}{version:<12}{cost.code:>5}{cost.wall_s:>9.2f}{cost.cpu_s:>9.2f}"
                f"{cost.rss_mb:>9.0f}{cost.bytes:>12}{results:>9}",
                flush=True,
            )
            if cost.code:
                print(log.read_text(errors="replace")[-2000:])
            shutil.rmtree(work)
    return good


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("install", "check"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    args = parser.parse_args()
    known = {peer.NAME: peer for peer in PEERS}
    if unknown := sorted(set(args.names) - set(known)):
        parser.error(f"no such peer: {', '.join(unknown)} (there are {', '.join(known)})")
    peers = [known[name] for name in args.names] or list(PEERS)
    if args.action == "install":
        install(peers)
    elif not check(peers, args.prompts, args.concurrency, args.latency_ms):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
