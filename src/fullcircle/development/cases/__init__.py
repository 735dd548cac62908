"""Tests made from a contract: which rows to try, what has to become of each, and whether it does."""
