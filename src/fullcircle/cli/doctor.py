"""The command that says what is missing, and what to do about it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, Workspace, door, listening, settings_of, show

_MARKS = {"ok": "ok", "warn": "look", "failed": "FAILED", "skipped": "-"}


def doctor(
    project: Annotated[
        str | None,
        typer.Argument(metavar="[PROJECT]", help="Project file or folder, or a model's name.", show_default=False),
    ] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Look at this machine and the workspace, or at what a model needs, and say what to do."""
    with door(as_json):
        from fullcircle.flows.doctor import doctor as flow

        with listening(as_json) as progress:
            found = flow(project, settings=settings_of(workspace), progress=progress)
        show(found, as_json, doctor_text)
        if not found.well:
            raise typer.Exit(1)


def doctor_text(found: Any) -> Any:
    """A line for each check; below it what came, what is allowed and the next step, where something is to be done."""
    from rich.console import Group
    from rich.text import Text

    from fullcircle.cli.text import table

    rows = []
    for one in found.checks:
        lines = [one.what]
        if one.status in ("warn", "failed"):
            told = {"received": one.received, "allowed": one.allowed, "next": one.next_step}
            lines += [f"{word}: {text}" for word, text in told.items() if text]
        rows.append((_MARKS[one.status], one.name, "\n".join(lines)))
    failed = sum(one.status == "failed" for one in found.checks)
    warned = sum(one.status == "warn" for one in found.checks)
    last = f"{len(found.checks)} looked at in {found.seconds:.1f} s: {failed} failed, {warned} to look at"
    return Group(table(found.about, ("", "what", "found"), rows, whole=2), Text(last))
