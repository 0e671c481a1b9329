"""Who asks: `local` has places in this process; `ray` has workers on this machine or many, which take leases of items."""

from assay.engine.executors.base import Desk, Executor, OnRay, Task

__all__ = ["Desk", "Executor", "OnRay", "Task"]
