"""Pure functions on arrays: intervals, bins and distances. No I/O, no global state, seeds are arguments."""
