"""The command that builds a version again and says whether it answers with the same bits."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, ModelOrPath, Workspace, door, listening, settings_of, show


def reproduce(
    project: ModelOrPath,
    version: Annotated[
        int | None, typer.Option("--version", help="Version number. Default: the champion.", show_default=False)
    ] = None,
    here: Annotated[bool, typer.Option("--here", help="Fit with the packages that are installed now.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Build environments from the package cache only.")
    ] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Build a version again in a clean place and compare its answers, bit by bit."""
    with door(as_json):
        from fullcircle.flows.reproduce import reproduce as flow

        settings = settings_of(workspace, offline="yes" if offline else None)
        with listening(as_json) as progress:
            found = flow(project, version=version, here=here, settings=settings, progress=progress)
        show(found, as_json, reproduced_text)
        if not found.same:
            raise typer.Exit(1)


def reproduced_text(found: Any) -> Any:
    """What was compared, what differs with what to do, and the answer last."""
    from rich.console import Group
    from rich.text import Text

    from fullcircle.cli.text import table

    rows = [("same" if each.same else "OTHER", each.part, each.text) for each in found.compared]
    shown: list[Any] = [table("then and now", ("", "what", "found"), rows, whole=2)]
    shown += [Text(line) for line in found.differences]
    advice = dict.fromkeys(f"{each.part}: {each.advice}" for each in found.compared if not each.same and each.advice)
    if not found.same:
        shown += [Text.assemble(("what to do: ", "yellow"), line) for line in advice]
    place = "in a clean environment" if found.clean else "with the packages installed here"
    head = f"{found.model} version {found.version}, built again {place} in {found.seconds:.0f} s: "
    if found.same:
        shown.append(Text(f"{head}the same bits", style="green"))
    else:
        shown.append(Text(f"{head}it parts at: {found.parted}", style="red"))
    return Group(*shown)
