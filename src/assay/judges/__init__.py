"""Judges: transcript -> judgement. Here those that are programs."""

from assay.judges.checks import JUDGE, Answer, Judgement, Kind, Outcome, judge, judge_turns
from assay.judges.worlds import Funnel, attempted, episode_of, funnel, judge_episode, judge_world, played, verdict_on

__all__ = [
    "JUDGE",
    "Answer",
    "Funnel",
    "Judgement",
    "Kind",
    "Outcome",
    "attempted",
    "episode_of",
    "funnel",
    "judge",
    "judge_episode",
    "judge_turns",
    "judge_world",
    "played",
    "verdict_on",
]
