"""OpenTelemetry, where an operator wants it: the set-up that the gate and runs share, and what a run tells. Never a text.

| module | what it offers |
|---|---|
| `setup` | tracer and meter providers over OTLP/HTTP; the error where the extra `otel` is missing |
| `runs` | `watched`: an observer that also tells a collector of a run: its span, phases, a share of its trials, and counts |
"""
