"""Build the site, or serve it and build again at every change: see the package."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from scripts.docsite import commands, facts, keys, pages, python_api


def write(out: Path) -> None:
    """Gather the pages and the configuration into a folder. Raises `PageError` where pages and navigation do not fit."""
    generated = {**commands.pages(), **keys.pages(), "python-api.md": python_api.page()}
    nav = filled(pages.navigation(), generated)
    have, named = set(pages.sources()) | set(generated), list(pages.named(nav))
    if twice := sorted(n for n in set(named) if named.count(n) > 1):
        raise pages.PageError(f"in the navigation twice: {', '.join(twice)}")
    if lost := sorted(have - set(named)):
        raise pages.PageError(f"in no part of zensical.toml's nav: {', '.join(lost)}")
    if missing := sorted(set(named) - have):
        raise pages.PageError(f"in zensical.toml's nav, and not there: {', '.join(missing)}")
    out.mkdir(parents=True, exist_ok=True)
    pages.gather(out / "pages", generated, facts.marked())
    text = pages.CONFIG.read_text(encoding="utf-8")
    start, end = text.index("nav = ["), text.index("\n]\n", text.index("nav = [")) + 3
    (out / "zensical.toml").write_text(f"{text[:start]}nav = {toml(nav)}\n{text[end:]}", encoding="utf-8")


def filled(nav: list[Any], generated: dict[str, str]) -> list[Any]:
    """The navigation with a page for each command in the place of `cli.md`."""

    def turn(title: str, value: Any) -> dict[str, Any]:
        if isinstance(value, list):
            return {title: filled(value, generated)}
        if value != "cli.md":
            return {title: value}
        each = [{f"assay {n.removeprefix('cli-').removesuffix('.md')}": n} for n in generated if n.startswith("cli-")]
        return {title: [{"All commands": "cli.md"}, *each]}

    return [turn(title, value) for entry in nav for title, value in entry.items()]


def toml(nav: list[Any]) -> str:
    """Nested arrays of one-key tables, as TOML."""

    def one(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else toml(value)

    return "[" + ", ".join(f"{{ {json.dumps(t, ensure_ascii=False)} = {one(v)} }}" for entry in nav for t, v in entry.items()) + "]"


def build(out: Path) -> int:
    """Write and build; warnings are errors. Returns Zensical's exit code, or 2 where it is not installed."""
    program = shutil.which("zensical", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if program is None:
        sys.stderr.write("zensical is not installed: pip install --group docs\n")
        return 2
    write(out)
    shutil.rmtree(out / "html", ignore_errors=True)
    command = [program, "build", "--clean", "--strict", "--config-file", str((out / "zensical.toml").resolve())]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.stderr.write(re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr.split("Traceback (most recent call last)")[0]))
    return done.returncode


def changed() -> float:
    """When anything that the site is made of was changed last."""
    folders = (pages.DOCS, Path(__file__).parent, pages.ROOT / "src/assay")
    files = [p for folder in folders for p in folder.rglob("*") if p.suffix in (".md", ".py", ".css", ".js", ".png")]
    return max(p.stat().st_mtime for p in [*files, *pages.MOVED, pages.CONFIG])


def serve(out: Path, port: int) -> None:
    """Serve on this machine, and build again, in a process that sees the new code, at every change."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(out / "html"))
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"The site is at http://127.0.0.1:{port}/index.html. Ctrl-C stops it.\n")
    last = 0.0
    try:
        while True:
            now = changed()
            if now != last:
                last = now
                subprocess.run([sys.executable, "-m", "scripts.docsite", "--out", str(out)], cwd=pages.ROOT, check=False)  # noqa: S603
            time.sleep(1)
    except KeyboardInterrupt:
        server.shutdown()


def main() -> int:
    """Parse, build, say where it is."""
    parser = argparse.ArgumentParser(prog="python -m scripts.docsite", description="Build the documentation site.")
    parser.add_argument("--out", type=Path, default=pages.ROOT / "build/docs", help="folder for the pages and the site")
    parser.add_argument("--serve", action="store_true", help="serve it on this machine, and build again at every change")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    if given.serve:
        serve(given.out, given.port)
        return 0
    try:
        code = build(given.out)
    except pages.PageError as e:
        sys.stderr.write(f"{e}\n")
        return 1
    if code == 0:
        sys.stdout.write(f"{given.out / 'html' / 'index.html'}\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
