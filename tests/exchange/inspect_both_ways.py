"""python -m tests.exchange.inspect_both_ways LOG...: what is taken of every sample, by Inspect's reader and straight from the archive.

One JSON line for each log: its name, what differs, and how many samples were left to Inspect. In a process of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from zipfile import ZipFile

import msgspec

from assay.exchange.inspect_log import child
from assay.exchange.inspect_log.direct import keys_of, read_direct


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        with ZipFile(path) as archive:
            keys = keys_of(archive, child.MAX_MEMBER)
        assert keys
        slow = {(s.id, s.epoch): msgspec.to_builtins(s) for s in child._by_inspect(path, keys)}
        read = dict(read_direct(path, keys))
        quick = {(str(k[0]), k[1]): msgspec.to_builtins(child._filed(k, s)) for k, s in read.items() if s is not None}
        differ = [
            [str(key), name, str(value)[:200], str(slow[key][name])[:200]]
            for key, one in quick.items()
            for name, value in one.items()
            if value != slow[key][name]
        ]
        print(json.dumps([path.name, differ, sum(s is None for s in read.values()), len(slow)]))


if __name__ == "__main__":
    main(sys.argv[1:])
