"""Numbers only: sequential tests, paired parity, exact intervals, planning. No clock, no randomness of its own."""

from assay.stats.exact import clopper_pearson, fixed_sample_plan
from assay.stats.parity import ParityTest, parity_log_e
from assay.stats.rates import RateTest, crossing_probability, log_e

__all__ = [
    "ParityTest",
    "RateTest",
    "clopper_pearson",
    "crossing_probability",
    "fixed_sample_plan",
    "log_e",
    "parity_log_e",
]
