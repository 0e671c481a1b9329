"""Statistical claims, simulated and computed exactly."""
