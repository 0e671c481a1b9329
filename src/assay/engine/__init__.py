"""Runs a plan against a target: scheduler, in-order streams, durable trials, outages. One process, asyncio."""

from assay.engine.replay import Rejudged, ReplayTarget, rejudged
from assay.engine.run import Committed, Engine, Observer

__all__ = ["Committed", "Engine", "Observer", "Rejudged", "ReplayTarget", "rejudged"]
