"""Evaluation: checks that answer questions about a model with numbers, and gates that decide on them."""
