"""The labelling page: what to label next, one transcript at a time, by many people at once. docs/labelling.md.

    with Desk.open(run_folder) as desk:
        desk.work(person).trials              # what this person labels next, blind
        desk.act(person, Sent(...))           # on disk when it returns; the same one twice is one

`make_app` (needs the extra `label`) puts it on the web; `table` takes labels to other tools and back.
"""

from assay.label.desk import Desk
from assay.label.queue import Book, Candidate, candidates, waiting
from assay.label.values import Given, RefusedError, Scope, Sent, Work

__all__ = ["Book", "Candidate", "Desk", "Given", "RefusedError", "Scope", "Sent", "Work", "candidates", "waiting"]
