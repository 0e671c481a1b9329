"""What they may: grants, how a sub-grant narrows one, what administrators order alone, and quotas."""
