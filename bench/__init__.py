"""Benchmarks: `make bench-NAME` compares side by side in one run and writes `bench/results/NAME.json`."""
