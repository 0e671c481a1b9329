"""Judges: transcript -> judgement. Programs, and what models that judge are asked and reply; people's labels. docs/judges.md."""

from assay.judges.checks import JUDGE, Answer, Judgement, Kind, Outcome, judge, judge_turns
from assay.judges.labels import Label, Settled, Taken, Told, Truth, audited, settle, shrunk, told, transcript_digest
from assay.judges.reading import READER, Reading, Said, panel_digest, panel_digests, readings
from assay.judges.worlds import Funnel, attempted, episode_of, funnel, is_read, judge_episode, judge_world, played, verdict_on

__all__ = [
    "JUDGE",
    "READER",
    "Answer",
    "Funnel",
    "Judgement",
    "Kind",
    "Label",
    "Outcome",
    "Reading",
    "Said",
    "Settled",
    "Taken",
    "Told",
    "Truth",
    "attempted",
    "audited",
    "episode_of",
    "funnel",
    "is_read",
    "judge",
    "judge_episode",
    "judge_turns",
    "judge_world",
    "panel_digest",
    "panel_digests",
    "played",
    "readings",
    "settle",
    "shrunk",
    "told",
    "transcript_digest",
    "verdict_on",
]
