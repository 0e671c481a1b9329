"""Whether a request passes: rules in Cedar, checked, tested and explained."""
