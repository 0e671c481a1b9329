"""Runs a plan against a target: scheduler, in-order streams, durable trials, outages. One process, asyncio; the asking may be done by
workers on Ray.
"""

from assay.engine.executors import OnRay
from assay.engine.replay import Rejudged, ReplayTarget, rejudged
from assay.engine.run import Committed, Engine, Observer

__all__ = ["Committed", "Engine", "Observer", "OnRay", "Rejudged", "ReplayTarget", "rejudged"]
