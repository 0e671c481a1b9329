"""Numbers only: sequential tests, confidence sequences, families, parity, exact intervals. No clock, no randomness of its own."""

from assay.stats.exact import clopper_pearson, fixed_sample_plan
from assay.stats.families import e_bh, holm, union_levels
from assay.stats.means import BankTest, LevelTest, MeanTest, bank_sequence, cluster_means, level_sequence
from assay.stats.parity import LevelParityTest, ParityTest, level_difference_sequence, parity_log_e
from assay.stats.rates import RateTest, crossing_probability, log_e
from assay.stats.sequences import difference_sequence, rate_sequence

__all__ = [
    "BankTest",
    "LevelParityTest",
    "LevelTest",
    "MeanTest",
    "ParityTest",
    "RateTest",
    "bank_sequence",
    "clopper_pearson",
    "cluster_means",
    "crossing_probability",
    "difference_sequence",
    "e_bh",
    "fixed_sample_plan",
    "holm",
    "level_difference_sequence",
    "level_sequence",
    "log_e",
    "parity_log_e",
    "rate_sequence",
    "union_levels",
]
