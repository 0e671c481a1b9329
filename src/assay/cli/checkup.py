"""What `assay doctor` looks at. Each check says what is there and what to do; none changes anything, none shows a secret.

for finding in findings(target=""): finding.name, finding.status, finding.what, finding.fix
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from msgspec import Struct

from assay.errors import AssayError

Status = Literal["ok", "missing", "wrong"]
OLDEST = (3, 11)
LEAST_BYTES = 1 << 30
ENDPOINT_S = 20.0
FONTS = {
    "Latn": "NotoSans-", "Thai": "NotoSansThai", "Taml": "NotoSansTamil", "Mymr": "NotoSansMyanmar", "Khmr": "NotoSansKhmer",
    "Laoo": "NotoSansLao", "Hans": "NotoSansCJK", "Hant": "NotoSansCJK", "Jpan": "NotoSansCJK", "Kore": "NotoSansCJK",
    "Deva": "NotoSansDevanagari", "Telu": "NotoSansTelugu", "Arab": "NotoSansArabic",
}  # fmt: skip
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts", "/Library/Fonts", "~/Library/Fonts")
PROGRAMS = {
    "Chromium": (("chromium", "chromium-browser", "google-chrome"), "only tests of the pages need it", "Debian: apt install chromium"),
    "PostgreSQL": (("postgres", "psql"), "a gate or a store for several machines", "Debian: apt install postgresql"),
}
USES = {
    "access": "the door", "agents": "MCP: worlds, assistants", "agreement": "agreement between judges", "export": "Parquet",
    "inspect": "Inspect's logs", "keyring": "the system's keyring", "label": "the labelling page, the studio", "local": "embedded models",
    "language": "language identification", "otel": "traces and metrics", "postgres": "PostgreSQL", "ray": "many machines",
    "report": "the white paper", "sealed": "held-out banks", "sigstore": "keyless signatures", "token": "keys on tokens",
    "weights": "signed weights",
}  # fmt: skip


class Finding(Struct, frozen=True):
    """One line. `missing` is what one may do without; `wrong` is not."""

    name: str
    status: Status
    what: str
    fix: str = ""


def findings(target: str = "") -> Iterator[Finding]:
    """Everything, one after the other; the endpoint only if it is named."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python, _packages, _configuration, _key, _keyring, _folders, _disk, _clock, _models, _fonts, _programs, _telemetry,
    ]  # fmt: skip
    for check in checks:
        yield from check()
    if target:
        yield from _endpoint(target)


def _python() -> Iterator[Finding]:
    good = sys.version_info[:2] >= OLDEST
    fix = "" if good else f"Install Python {OLDEST[0]}.{OLDEST[1]} or newer."
    yield Finding("python", "ok" if good else "wrong", f"{platform.python_version()} on {platform.system()} {platform.machine()}", fix)


def _packages() -> Iterator[Finding]:
    from assay.cli.requirements import declared, fits, installed

    try:
        known = [r for r in declared("assay") if r.here]
        extras = sorted({r.extra for r in known})
        for extra in extras:
            mine = [(r, installed(r.name)) for r in known if r.extra == extra]
            missing = [r.name for r, found in mine if not found]
            wrong = [f"{r.name} {found} is not {r.window}" for r, found in mine if found and not fits(found, r.window)]
            name = f"extra {extra}" if extra else "packages"
            fix = f"pip install --upgrade 'assay[{extra}]'" if extra else "pip install --upgrade assay"
            use = f" ({USES[extra]})" if extra in USES else ""
            if wrong or (missing and not extra):
                yield Finding(name, "wrong", "; ".join([*wrong, *(f"{m} is missing" for m in missing)]), fix)
            elif missing:
                yield Finding(name, "missing", f"{', '.join(missing)}{use}", fix)
            else:
                yield Finding(name, "ok", ", ".join(f"{r.name} {found}" for r, found in mine) if extra else f"all {len(mine)}")
    except ValueError as e:
        yield Finding("packages", "wrong", str(e), "Install this package anew.")
        return
    if not known:
        yield Finding("packages", "wrong", "this package is not installed, only on the path", "pip install -e .")


def _configuration() -> Iterator[Finding]:
    from assay.cli import COMMANDS
    from assay.cli.config import command_of
    from assay.cli.configuration import project_file, read_settings, unknown_variables, user_file

    for name, meant in unknown_variables(COMMANDS, command_of).items():
        yield Finding("environment", "wrong", f"{name} is no option's", meant)
    try:
        settings = read_settings(COMMANDS)
        for name in {*settings.user, *settings.project} if settings else ():
            found = command_of(name)
            if settings is not None and found is not None:
                settings.defaults(name, found)
    except AssayError as e:
        yield Finding("configuration", "wrong", str(e).replace("\n", " "), "assay config show")
        return
    there = [str(p) for p in (project_file(), user_file()) if p.is_file()]
    yield Finding("configuration", "ok", ", ".join(there) or "none; everything is built-in")


def _key() -> Iterator[Finding]:
    from assay.api import default_key_path
    from assay.ledger import TokenPlace, is_protected, load_key

    try:
        place = default_key_path()
        if isinstance(place, TokenPlace):
            there = Path(place.module).is_file()
            yield Finding("key", "ok" if there else "wrong", f"on a token: {place.name}", "" if there else f"{place.module} is not there.")
            return
        if not place.exists():
            yield Finding("key", "missing", f"{place}: none yet", "The first run makes one; or: assay key new")
            return
        mode = stat.S_IMODE(place.stat().st_mode)
        if mode & 0o077:
            yield Finding("key", "wrong", f"{place}: others can read it (mode {mode:o})", f"chmod 600 {place}")
            return
        kind = "protected by a passphrase" if is_protected(place.read_bytes()) else "not protected by a passphrase"
        yield Finding("key", "ok", f"{place}: Ed25519, {kind}, id {load_key(place).public.keyid[:16]}...")
    except (AssayError, OSError) as e:
        fix = e.fix if isinstance(e, AssayError) else ""
        yield Finding("key", "wrong", e.what if isinstance(e, AssayError) else f"cannot be read: {e.strerror}", fix or "assay key show")


def _keyring() -> Iterator[Finding]:
    from assay.ledger import keychain

    why = keychain.problem()
    if why:
        fix = "pip install 'assay[keyring]'" if "needs" in why else "Keys come from the environment then."
        yield Finding("keyring", "missing", why, fix)
    else:
        yield Finding("keyring", "ok", keychain.backend())


def _folders() -> Iterator[Finding]:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "assay"
    for name, path in (("runs folder", Path("runs")), ("settings folder", config)):
        near = next((p for p in (path.absolute(), *path.absolute().parents) if p.exists()), Path("/"))
        try:
            with tempfile.TemporaryFile(dir=near):
                yield Finding(name, "ok", f"{path.absolute()} can be written")
        except OSError as e:
            yield Finding(name, "wrong", f"{near} cannot be written: {e.strerror}", "Change its rights, or work in another folder.")


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free
    good = free >= LEAST_BYTES
    fix = "" if good else "A run of half a million trials takes about 1 GB: make room, or work on another disk."
    yield Finding("disk", "ok" if good else "wrong", f"{free / 1e9:,.1f} GB free here", fix)


def _clock() -> Iterator[Finding]:
    """A clock that is behind the files of this very program is wrong; a clock that is ahead shows only elsewhere."""
    import assay

    newest = max(p.stat().st_mtime for p in Path(assay.__file__).parent.glob("*.py"))
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    if time.time() < newest - 86_400:
        yield Finding(
            "clock", "wrong", f"{now}, before this program was installed", "Set the clock: evidence names the time of every trial."
        )
    else:
        yield Finding("clock", "ok", now)


def _models() -> Iterator[Finding]:
    from assay.targets import models

    for name in (models.DEFAULT, models.FALLBACK):
        if models.weights_path(models.model(name)).is_file():
            yield Finding(f"model {name}", "ok", "here")
        else:
            yield Finding(f"model {name}", "missing", "not fetched yet; the first run that needs it does", f"assay model fetch {name}")


def _fonts() -> Iterator[Finding]:
    from assay.catalog import load_everything

    files = [p.name for folder in FONT_FOLDERS for p in Path(folder).expanduser().rglob("Noto*") if p.is_file()]
    lacking: dict[str, list[str]] = {}
    languages = load_everything().languages
    for tag, language in languages.items():
        start = FONTS.get(language.script, "NotoSans-")
        if not any(name.startswith(start) for name in files):
            lacking.setdefault(start.rstrip("-"), []).append(tag)
    if lacking:
        what = "; ".join(f"{font} (for {', '.join(tags)})" for font, tags in lacking.items())
        yield Finding("fonts", "missing", what, "Only the white paper's PDF needs them. Debian: apt install fonts-noto-core fonts-noto-cjk")
    else:
        yield Finding("fonts", "ok", f"Noto for all {len(languages)} languages")


def _programs() -> Iterator[Finding]:
    for name, (commands, use, fix) in PROGRAMS.items():
        found = next((path for command in commands if (path := shutil.which(command))), "")
        if name == "PostgreSQL" and not found:
            found = next((str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), "")
        yield Finding(name, "ok" if found else "missing", found or f"not here ({use})", "" if found else fix)


def _telemetry() -> Iterator[Finding]:
    from assay.cli.requirements import installed
    from assay.telemetry.setup import wanted

    if not wanted():
        return
    there = installed("opentelemetry-sdk") and installed("opentelemetry-exporter-otlp-proto-http")
    what = "a collector is named in the environment"
    yield Finding("telemetry", "ok" if there else "wrong", what, "" if there else "pip install 'assay[otel]', or unset the variable")


def _endpoint(target: str) -> Iterator[Finding]:
    """Opens the target as a run would: an endpoint is greeted (two requests of one token each), and no item is asked."""
    from assay.plan import Generation, Limits
    from assay.targets import make_target, parse_target

    async def greet() -> float:
        began = time.monotonic()
        limits = Limits(timeout_s=ENDPOINT_S, retries=0, call_s=ENDPOINT_S)
        async with make_target(parse_target(target), Generation(max_tokens=1), limits, lambda _: None):
            return time.monotonic() - began

    try:
        took = asyncio.run(greet())
    except AssayError as e:
        yield Finding("target", "wrong", str(e).split("\n")[0], e.fix)
    else:
        yield Finding("target", "ok", f"{parse_target(target).model} answers, in {1000 * took:,.0f} ms")
