# ruff: noqa: PT028 - ``test`` is a command with defaults, and no test of pytest's
"""The command ``test``. Nothing heavy is imported before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fullcircle.cli.door import Json, ProjectPath, Workspace, door, listening, settings_of, show


def test(
    project: ProjectPath,
    run_id: Annotated[
        str | None, typer.Option("--run", help="Run id, or its beginning. Default: the latest.")
    ] = None,
    version: Annotated[
        int | None, typer.Option("--version", help="A version's bundle instead of a run.", show_default=False)
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, help="Seconds that the project's own tests may take.")
    ] = 600.0,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Test a model: rows made from its contract, golden rows, and the project's own pytest files."""
    with door(as_json):
        from fullcircle.cli import testing_text
        from fullcircle.flows import testing as flow

        with listening(as_json) as progress:
            tested = flow.test(
                project,
                run=run_id,
                version=version,
                timeout=timeout,
                settings=settings_of(workspace),
                progress=progress,
            )
        show(tested, as_json, testing_text.tested)
        if not tested.passed:
            raise typer.Exit(1)
