"""The console: a page on an administrator's own machine that shows the gate and acts on it. The key stays in this process.

| module | what it offers |
|---|---|
| `remote` | `Remote`: the administration's API, every call signed |
| `app` | `make_console`: the page, its sign-in, and what the browser may ask for |
"""
