"""How a server is told whose place it takes: agreed between the one that starts it and itself."""

from __future__ import annotations

TAKES_OVER = "FULLCIRCLE_TAKES_OVER"
"""The variable that names the port of a running server whose place a new one takes.

It is no option of the server: it says how this one begins, not how it is to run, and an older server that does not
know it refuses the port, as it should.
"""
