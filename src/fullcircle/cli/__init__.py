"""The command line: parse, call the flow, show what it returns."""

from typing import Any


def main() -> None:
    """The console script."""
    from fullcircle.cli.commands import app

    app()


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    from fullcircle.cli.commands import app

    return app
