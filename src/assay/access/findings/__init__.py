"""Weaknesses that operators found: reported, triaged, disclosed, passed on as CSAF and OSV."""
