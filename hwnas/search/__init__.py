"""Chooses architectures: the most accurate within a latency budget. No torch in here."""
