"""The studio: a page on this machine that lists runs, follows them while they are made, opens their reports, and starts plans.

| module | what it offers |
|---|---|
| `shelf` | `Shelf`: the runs of a folder, each with its state, or with what is wrong with it |
| `following` | `Follower`: one run as it grows: tallies, requirements, pace; never a trial's text |
| `starting` | `Starter`: plans, forecasts, and the processes that make runs and reports |
| `writers` | who is writing a run file, and whether a process is still the one that was started |
| `app` | `make_studio`: the application, guarded |
"""
