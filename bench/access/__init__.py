"""The door's bench; `python -m bench.access`."""
