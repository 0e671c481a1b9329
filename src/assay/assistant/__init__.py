"""An MCP server for assistants: they list, run and read decisions, within what their owner has granted, and nothing else.

| module | what it offers |
|---|---|
| `grants` | `Grants`: the owner's file; everything that it does not name is refused |
| `reckoning` | what a run of a plan may use, and what one has used, its judges and attacker included |
| `spending` | `Purse`: calls, tokens and money, set aside before a run starts and settled when it has ended, whatever is killed when |
| `record` | `Record`: what was asked and what became of it, appended and chained, on disk before anything is done |
| `reading` | what of plans and runs is handed out: facts and reasons, bounded; texts of models only as data |
| `acts` | `Assistant`: the acts themselves, each within the grants |
| `tools` | the acts as tools of the protocol: names, schemas, bounds |
| `guide` | what an assistant is told of this place |
| `server` | standard input and output, or HTTP on loopback with a token |
"""
