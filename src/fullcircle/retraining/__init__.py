"""Retraining: when it is due and what it is worth, which rows to learn from, whether the challenger is better."""
