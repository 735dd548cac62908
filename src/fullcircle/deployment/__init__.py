"""Deployment: bring a version to where it answers, online or for a whole table at once."""
