"""The command ``adopt``. Nothing heavy is imported before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fullcircle.cli.door import Json, Workspace, door, listening, settings_of, show

if TYPE_CHECKING:
    from rich.console import RenderableType


def adopt(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="models:/NAME/3, models:/NAME@ALIAS, runs:/RUN/PATH, or a file.")
    ],
    data: Annotated[str, typer.Option("--data", help="CSV or Parquet file with the model's columns and the label.")],
    label: Annotated[str, typer.Option("--label", metavar="COLUMN", help="What the model predicts.")],
    name: Annotated[str | None, typer.Option("--name", help="The model's name here.", show_default=False)] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to write. Default: ./NAME.", show_default=False)
    ] = None,
    test_share: Annotated[
        float, typer.Option("--test-share", min=0.05, max=0.5, help="Share of the rows that is reported on.")
    ] = 0.5,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read a model that runs code when it is read. Trust its maker.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Build environments from the package cache only.")
    ] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Give a model that exists already a contract, a report, golden rows, a bundle and a version."""
    with door(as_json):
        from fullcircle.flows.adopt import adopt as flow

        with listening(as_json) as progress:
            found = flow(
                model,
                data=data,
                label=label,
                name=name,
                out=out_folder,
                test_share=test_share,
                allow_pickle=allow_pickle,
                settings=settings_of(workspace, offline="yes" if offline else None),
                progress=progress,
            )
        show(found, as_json, _text)
        if found.packaged is None:
            raise typer.Exit(1)


def _text(found: Any) -> RenderableType:
    """What was adopted, how it did, and what to type next."""
    from rich.console import Group
    from rich.text import Text

    from fullcircle.cli import text

    compared = (
        f"{found.compared} rows answered as by the model itself"
        if found.compared
        else "not compared with the model itself: it cannot be asked with the table's own columns"
    )
    head = [
        f"{found.model}: {found.kind}, {found.task} of {len(found.features)} columns, adopted from {found.origin}",
        f"project: {found.project}; {compared}",
    ]
    parts: list[Any] = [Text("\n".join(head)), text.trained(found.trained)]
    if found.packaged is not None:
        parts.append(text.packaged(found.packaged))
    return Group(*parts, Text("\n".join(f"next: {step}" for step in found.next_steps)))
