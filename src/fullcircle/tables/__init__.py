"""Tables: reading them, keeping them as snapshots, splitting them, and the log of predictions and outcomes."""
