"""The door: an OpenAI-compatible gateway that lets operators reach a model early, by grant and by decision, and shuts at once.

| folder | what it does |
|---|---|
| `model.py`, `config.py` | what the others speak of; the gate's file |
| `gate/` | the pipeline: parse, decide by what the others know, forward, count what is under way, cut it (`teeth`); metrics |
| `credentials/` | who it is: tokens, proofs of possession, certificates; the connector on the operator's machine |
| `grants/` | what they may: grants, sub-grants, what an administrator orders alone, quotas |
| `store/` | what all workers share: SQLite or PostgreSQL |
| `rules/` | whether a request passes: Cedar, checked, tested, explained |
| `audit/` | what happened: a log that shows tampering and is on disk first |
| `safety/` | content checks, canaries, alerts, break-glass |
| `findings/` | weaknesses that operators found, and how they are told |
| `admission/` | nothing unreleased is even deployed |
| `admin/` | signed calls, their description, the page |
"""
