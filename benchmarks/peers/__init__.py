"""The programs of other systems that run beside ours, each with the Python of its own environment, and their data."""
