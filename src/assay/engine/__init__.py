"""Runs a plan against a target: scheduler, in-order streams, durable trials, outages. One process, asyncio."""

from assay.engine.run import Committed, Engine, Observer

__all__ = ["Committed", "Engine", "Observer"]
