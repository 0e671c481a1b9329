"""Logs of Inspect AI as runs to be decided on: a bank of the requests, the recorded answers, and a plan to edit.

    found = gather([read_log(path) for path in paths], Chosen(language="en"))
    made = make(found, Meant("mine", "CC-BY-4.0", scorer="match", violation=("I",)))
    write(made, Path("imported/mine"))

Inspect runs in a process of its own (`child.py`); nothing here imports it. A scorer's word is a judge's word: it flags, and people decide.
"""

from assay.exchange.inspect_log.gathering import Chosen, Gathered, gather
from assay.exchange.inspect_log.making import Made, Meant, add_answers, make, write
from assay.exchange.inspect_log.reading import Log, read_log

__all__ = ["Chosen", "Gathered", "Log", "Made", "Meant", "add_answers", "gather", "make", "read_log", "write"]
