"""What several rooms ask of files: whose they are, and copies that are there whole or not at all.

part = others_may_write(path)           # the file, or the folder that lets others put another in its place; None if it is ours alone
keep_copy(beside / name, folder / name, read_strings)
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path


def others_may_write(path: Path) -> Path | None:
    """The first of the file, the folder that it is named in, and the folder that it is in, that somebody but its owner or root may write.

    In a folder with the sticky bit others cannot replace what is ours. Raises `OSError` for what cannot be looked at.
    """
    for part in dict.fromkeys((path, path.absolute().parent, path.resolve().parent)):
        found = part.stat()
        sticky = part is not path and found.st_mode & stat.S_ISVTX
        if found.st_uid not in (os.getuid(), 0) or (stat.S_IMODE(found.st_mode) & 0o022 and not sticky):
            return part
    return None


def keep_copy(source: Path, kept: Path, check: Callable[[Path], object]) -> None:
    """Copy a file, after `check` has read it, to where it appears whole or not at all; nothing is done where both are the same file.

    Raises `OSError`, and what `check` raises.
    """
    if kept.exists() and source.exists() and kept.samefile(source):
        return
    check(source)
    partial = kept.with_name(f".{kept.name}.partial")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, partial)
        partial.replace(kept)
    finally:
        partial.unlink(missing_ok=True)
