"""Compositions across the phases: what a person asks for in one word, as a function."""
