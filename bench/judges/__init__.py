"""How well the checks that are programs judge hard near-misses: `make bench-judges`."""
