"""Run files -> HTML."""
