"""Requirements and streams -> approve, delay, halt, with reasons; and which trial next. Pure."""

from assay.decision.claims import Claim, claims
from assay.decision.compare import Comparison, History, Observed, compare, over_time
from assay.decision.forecast import Forecast, Supposed, forecast, simulate
from assay.decision.gate import EXIT_CODES, ClaimResult, Decision, Gate, RequirementResult, Verdict, percent
from assay.decision.pair_claims import ParityClaim
from assay.decision.rate_claims import AverageClaim, RateClaim
from assay.decision.recorded import REGISTRATION, Registration, registered_first
from assay.decision.schedule import Scheduler, Slot

__all__ = [
    "EXIT_CODES",
    "REGISTRATION",
    "AverageClaim",
    "Claim",
    "ClaimResult",
    "Comparison",
    "Decision",
    "Forecast",
    "Gate",
    "History",
    "Observed",
    "ParityClaim",
    "RateClaim",
    "Registration",
    "RequirementResult",
    "Scheduler",
    "Slot",
    "Supposed",
    "Verdict",
    "claims",
    "compare",
    "forecast",
    "over_time",
    "percent",
    "registered_first",
    "simulate",
]
