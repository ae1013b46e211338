"""Published measurements, recomputed."""
