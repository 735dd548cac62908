"""What every command does around its one call: options in, result or error out, exit code."""

from __future__ import annotations

import json
import sys
import traceback
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

UNEXPECTED = 2
INTERRUPTED = 130
_REPORT = (
    "read the traceback on standard error: where its last lines are in your project's code, mend that; otherwise "
    "report it, with the traceback, as a defect of fullcircle"
)


@contextmanager
def door(as_json: bool) -> Iterator[None]:
    """Turn errors into words (or JSON) and exit codes: 2 wrong use, 1 a check said no, 130 interrupted.

    An exception that nobody expected is 2 as well, with its traceback: it must not pass for a check that said no.
    """
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
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise  # the command's own way out, or nobody reads on: both are the command line's to end
    except Exception as error:
        _unexpected(error, as_json)
        raise typer.Exit(UNEXPECTED) from error


def _unexpected(error: Exception, as_json: bool) -> None:
    """Say that this is a defect, where it is, and what to do."""
    message = f"{type(error).__name__}: {error}"
    sys.stderr.write("".join(traceback.format_exception(error)))
    if as_json:
        out(json.dumps({"error": {"code": "unexpected", "message": message, "next": _REPORT}}, ensure_ascii=False))
    else:
        what = "this is a defect of fullcircle or of the project's code"
        sys.stderr.write(f"error (unexpected): {message}\n  {what}\n  next: {_REPORT}\n")


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
    except BaseException as error:
        live.close("stopped" if isinstance(error, KeyboardInterrupt) else "failed")
        raise
    live.close()
