"""``python -m fullcircle`` is the command line."""

from fullcircle.cli import main

main()
