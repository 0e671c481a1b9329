"""Judges: transcript -> judgement. Here those that are programs."""

from assay.judges.checks import JUDGE, Answer, Judgement, Kind, Outcome, judge, judge_turns

__all__ = ["JUDGE", "Answer", "Judgement", "Kind", "Outcome", "judge", "judge_turns"]
