"""New checkpoints as they appear: each evaluated by a small signed run, compared with a reference, and what changed is told.

    watch = Watch.open(Settings(...), source, plan, catalog)
    for news in watch.look(): news.checkpoint.name, news.checkpoint.change

| module | what it offers |
|---|---|
| `changes` | one checkpoint against the reference: what rose and what fell, with an error that holds over the whole sequence; pure |
| `outcomes` | a run as what `changes` reads |
| `reference` | which run a checkpoint is held against |
| `serving` | who answers for a checkpoint |
| `sources` | where checkpoints appear: a folder, or an endpoint that lists its models |
| `state` | `watch.json`: everything that is known, written whole after every step |
| `watching` | `Watch`: look, evaluate, compare, tell; goes on after a kill |
| `telling` | alerts: a command, a webhook |
| `trend` | the page over all checkpoints |
"""

from assay.watch.changes import Change, Move
from assay.watch.sources import Endpoint, Folder, Found, Source
from assay.watch.state import Checkpoint, WatchState
from assay.watch.watching import News, Settings, Watch

__all__ = ["Change", "Checkpoint", "Endpoint", "Folder", "Found", "Move", "News", "Settings", "Source", "Watch", "WatchState"]
