"""python -m tests.exchange.inspect_straight LOG OUT: the child that reads logs, with every archive taken for a large one."""

from __future__ import annotations

import sys

from assay.exchange.inspect_log import child

if __name__ == "__main__":
    child.DIRECT = 0
    sys.exit(child.main(sys.argv[1:]))
