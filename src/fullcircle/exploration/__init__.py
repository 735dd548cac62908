"""Exploration: runs and model versions tracked on MLflow, and a first project file proposed from a table."""
