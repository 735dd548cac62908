"""Offline engines."""
