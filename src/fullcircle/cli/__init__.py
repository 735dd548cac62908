"""The command line: parse, call the flow, show what it returns."""

import os
import sys
from typing import Any


def main() -> None:
    """The console script."""
    # Threads of maths that wait by spinning slow each other down many times over as soon as anything else runs on the
    # machine (measured: a fit of 0.9 s took 9 s). Has to be said before the first library with OpenMP is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        from fullcircle.cli.commands import app

        app()
    except KeyboardInterrupt:  # while the commands are still being loaded
        sys.stderr.write("interrupted before anything was begun\n")
        sys.exit(130)


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    from fullcircle.cli.commands import app

    return app
