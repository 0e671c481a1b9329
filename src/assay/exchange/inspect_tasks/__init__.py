"""Assay's matrix, attacks and agent worlds as tasks of Inspect AI, by its entry point `inspect_ai`: for people who run Inspect already.

    inspect eval assay/sea --model openai/MODEL -T languages=ta,th -T samples=20
    inspect eval assay/attacks --model openai/MODEL -T attacks=prefix-injection,base64
    inspect eval assay/worlds --model openai/MODEL -T hazards=agent-banking -T protocol=tools

The samples are Assay's items with their digests, the scorer is Assay's judge, and an outcome stays a word: `violation`, `safe` or
`unscorable`. A run of a fixed size decides nothing: it says so in its log, with how to come by a decision.

Inspect loads `tasks.py`; nothing of Assay imports that, nor `making.py`, `playing.py` and `scoring.py`, which import Inspect.
"""
