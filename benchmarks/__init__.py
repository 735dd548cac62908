"""The numbers fullcircle promises, measured beside its peers in one run."""
