"""What a model needs at run time, checked from where it runs: one module for each kind."""
