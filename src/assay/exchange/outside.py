"""Asking a package that cannot be installed beside Assay: a program of ours under another interpreter, JSON in, JSON out (`frame.py`).

    reply = ask_outside(interpreter("garak", ""), CHILD, {"probes": ["encoding.InjectBase64"]}, Probes, package="garak")

The child gets a home of its own and none of the caller's environment but for what is named here: no key reaches it, and the libraries are
told to stay offline. Its answer is bounded in size and in time and checked against a type; whatever else it does is one line of words.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from assay.errors import CatalogError

T = TypeVar("T")
MAX_REPLY = 256 * 1024 * 1024
PATIENCE_S = 900.0
_PIECE = 1 << 20
_LAST_WORDS = 4096
_LEAVE_S = 5.0
FRAME = Path(__file__).parent / "frame.py"
PASSED = ("PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "HF_HOME", "NLTK_DATA")
OFFLINE = {
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1",
    "TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


def interpreter(package: str, given: str) -> Path:
    """The Python that has a package: `given`, else ASSAY_PACKAGE_PYTHON, else this one if the package is here. Raises `CatalogError`."""
    variable = f"ASSAY_{package.upper()}_PYTHON"
    said = given or os.environ.get(variable, "")
    if not said and find_spec(package) is not None:
        return Path(sys.executable)
    if not said:
        fix = f"Install {package} in a virtual environment of its own, and name its Python with --python or {variable}."
        raise CatalogError(f"{package} is not installed beside Assay, and no Python that has it is named", fix=fix)
    found = shutil.which(said)
    if found is None:
        raise CatalogError(f"there is no Python interpreter '{said}'", where="--python" if given else variable)
    return Path(found)


def ask_outside(
    python: Path, child: Path, request: Any, kind: type[T], *, package: str, seed: int = 0, patience_s: float = PATIENCE_S,
    most: int = MAX_REPLY,
) -> T:  # fmt: skip
    """What `answer(request)` of the program `child` gives, as `kind`. `seed` is Python's hash seed there.

    Raises `CatalogError` for a child that fails, takes longer than `patience_s` seconds, says more than `most` bytes, or says something
    else.
    """
    with (
        tempfile.TemporaryDirectory(prefix="assay-outside-") as folder,
        tempfile.TemporaryFile() as asked,
        tempfile.TemporaryFile() as told,
    ):
        asked.write(msgspec.json.encode(request))
        asked.seek(0)
        environment = {name: os.environ[name] for name in PASSED if name in os.environ}
        environment |= OFFLINE | {"HOME": folder, "PYTHONHASHSEED": str(seed), "PYTHONUTF8": "1"}
        environment |= {f"XDG_{name}_HOME": str(Path(folder) / name.lower()) for name in ("CACHE", "CONFIG", "DATA", "STATE")}
        try:
            process = subprocess.Popen(  # noqa: S603 (an interpreter that the user named, and our own program)
                [str(python), "-P", "-s", "-B", str(FRAME), str(child)], stdin=asked, stdout=subprocess.PIPE, stderr=told, cwd=folder,
                env=environment, start_new_session=True,
            )  # fmt: skip
        except OSError as e:
            raise CatalogError(f"cannot start it: {e.strerror}", where=str(python)) from None
        try:
            said = _read(process, time.monotonic() + patience_s, most)
            if not said:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LEAVE_S)  # its own code says more than that it was killed
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            if process.stdout is not None:
                process.stdout.close()
        if isinstance(said, str):
            raise CatalogError(said.format(package=package, seconds=patience_s, most=most), where=package)
        if not said:
            raise CatalogError(_why(package, code, told), where=str(python))
    try:
        return msgspec.json.decode(said, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise CatalogError(f"what {package} gave is not what was asked for: {_clean(str(e))}", where=str(python)) from None


def _read(process: subprocess.Popen[bytes], until: float, most: int) -> bytes | str:
    """All that the child says; or, in words with `{}` for the bounds, why it was not read to its end."""
    if process.stdout is None:
        return "{package} said nothing"
    parts: list[bytes] = []
    size = 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            left = until - time.monotonic()
            if left <= 0 or not selector.select(left):
                return "{package} takes longer than {seconds:g} seconds"
            piece = os.read(process.stdout.fileno(), _PIECE)
            if not piece:
                return b"".join(parts)
            parts.append(piece)
            size += len(piece)
            if size > most:
                return "{package} says more than {most:,} bytes"


def _why(package: str, code: int, told: Any) -> str:
    """The child's last words, with nothing in them that steers a terminal."""
    told.seek(max(0, told.seek(0, os.SEEK_END) - _LAST_WORDS))
    lines = [line for line in told.read().decode(errors="replace").splitlines() if line.strip()]
    return f"{package} could not be asked: {_clean(lines[-1])}" if lines else f"{package} could not be asked (code {code})"


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:400]
