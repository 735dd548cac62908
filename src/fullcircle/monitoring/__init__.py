"""Monitoring: production compared with the reference, within a budget of false alarms."""
