"""Packaging: a bundle that proves itself."""
