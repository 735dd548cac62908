"""The command that takes labels which came later."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, ModelOrPath, Workspace, door, settings_of, show


def outcomes(
    project: ModelOrPath,
    table: Annotated[str | None, typer.Argument(metavar="FILE", help="CSV, Parquet, JSON lines; - is stdin.")] = None,
    label: Annotated[str, typer.Option("--label", help="Column of labels.")] = "label",
    id: Annotated[str, typer.Option("--id", help="Column of prediction ids.")] = "",
    key: Annotated[list[str] | None, typer.Option("--key", help="Column of the key. Repeatable.")] = None,
    at: Annotated[str, typer.Option("--at", help="Column of the time, with --key.")] = "",
    within: Annotated[str, typer.Option("--within", help="Oldest prediction meant, such as 30d.")] = "",
    query: Annotated[str | None, typer.Option("--query", help="A SELECT statement, with --source.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="URL of a database.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Take labels that came later from a file or a query, all or none."""
    with door(as_json):
        from fullcircle.flows.outcomes import STDIN
        from fullcircle.flows.outcomes import outcomes as flow

        found = flow(
            project,
            sys.stdin.buffer if table == STDIN else table,
            query=query,
            database=source,
            label=label,
            id=id,
            key=tuple(key or ()),
            at=at,
            within=within,
            settings=settings_of(workspace),
        )
        show(found, as_json, _text)


def _text(found: Any) -> Any:
    from rich.text import Text

    joined = f"{found.new} new labels, {found.corrections} corrections, {found.repeated} as they were"
    lines = [f"{found.model}: {found.rows} rows: {joined}"]
    if found.waiting:
        lines.append(f"{found.waiting} wait for their prediction, which is not in the log")
    if found.unlabelled:
        lines.append(f"{found.unlabelled} rows have no label")
    return Text("\n".join([*lines, *found.notes]))
