"""A rehearsal: recorded history is played through the live flows, once for each policy."""
