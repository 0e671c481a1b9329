"""The plan: matrix of cells, requirements, error rates, budgets; read from YAML, checked, digested."""

from assay.plan.file import builtin_plans, parse_plan, plan_path, read_plan
from assay.plan.model import (
    NO_ATTACK,
    Arm,
    AttackEffect,
    ErrorRates,
    Generation,
    LanguageParity,
    Limits,
    OverRefusal,
    Plan,
    Requirement,
    Stream,
    TargetSpec,
    ViolationRate,
    streams,
)
from assay.plan.sealing import NONCE_BYTES, run_seed

__all__ = [
    "NONCE_BYTES",
    "NO_ATTACK",
    "Arm",
    "AttackEffect",
    "ErrorRates",
    "Generation",
    "LanguageParity",
    "Limits",
    "OverRefusal",
    "Plan",
    "Requirement",
    "Stream",
    "TargetSpec",
    "ViolationRate",
    "builtin_plans",
    "parse_plan",
    "plan_path",
    "read_plan",
    "run_seed",
    "streams",
]
