"""The door: an OpenAI-compatible gateway that lets operators reach a model early, by grant and by decision, and shuts at once.

| module | what it offers |
|---|---|
| `model` | what a grant, a halt and a request are |
| `config` | the gate's file: models, upstreams, hosts, store, roles |
"""
