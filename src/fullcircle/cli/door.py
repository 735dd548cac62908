"""What every command does around its one call: options in, result or error out, exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from fullcircle.errors import FullcircleError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]
Workspace = Annotated[Path | None, typer.Option("--workspace", help="Folder of the workspace.", show_default=False)]
ProjectPath = Annotated[str, typer.Argument(metavar="PROJECT", help="Project file, or folder with project.py.")]
ModelOrPath = Annotated[str, typer.Argument(metavar="PROJECT", help="Project file or folder, or a model's name.")]

INTERRUPTED = 130


@contextmanager
def door(as_json: bool) -> Iterator[None]:
    """Turn errors into words (or JSON) and exit codes: 2 wrong use, 1 a check said no, 130 interrupted."""
    try:
        yield
    except FullcircleError as error:
        if as_json:
            out(json.dumps({"error": error.as_dict()}, ensure_ascii=False))
        else:
            sys.stderr.write(f"error ({error.code}): {error}\n")
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        sys.stderr.write("interrupted: nothing was left half-done; the same command goes on from here\n")
        raise typer.Exit(INTERRUPTED) from error


def settings_of(workspace: Path | None, **flags: str | None) -> Any:
    """The settings in force with the command's flags on top."""
    from fullcircle.settings import load

    return load({"workspace": None if workspace is None else str(workspace), **flags})


def show(result: object, as_json: bool, text: Any) -> None:
    """Print a flow's result: as one JSON object, or as ``text(result)`` makes it for a person."""
    if as_json:
        import msgspec

        out(msgspec.json.encode(result, enc_hook=str).decode())
        return
    from rich.console import Console

    Console(soft_wrap=False, highlight=False).print(text(result))


def out(text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(text + "\n")


@contextmanager
def listening(as_json: bool) -> Iterator[Any]:
    """Who hears about progress: a live display on a terminal, lines in a log, nobody with --json."""
    from fullcircle.types.progress import Silent

    if as_json:
        yield Silent()
        return
    from fullcircle.cli.progress import Lines, Live

    if not sys.stderr.isatty():
        yield Lines()
        return
    live = Live()
    try:
        yield live
    finally:
        live.close()
