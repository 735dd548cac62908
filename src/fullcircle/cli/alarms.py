"""The commands that show alarms, take one on, and try the addresses where they are told."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, ModelOrPath, ProjectPath, Workspace, door, settings_of, show

alarms = typer.Typer(help="List, acknowledge and test alarms.", no_args_is_help=True, rich_markup_mode=None)


@alarms.command("list")
def alarms_list(
    project: ModelOrPath,
    resolved: Annotated[bool, typer.Option("--all", help="Also those that have resolved.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """List the alarms of a model that are open, the latest first."""
    with door(as_json):
        from fullcircle.flows.alarms import list_alarms

        show(list_alarms(project, resolved=resolved, settings=settings_of(workspace)), as_json, _list_text)


@alarms.command("ack")
def alarms_ack(
    project: ModelOrPath,
    alarm: Annotated[str, typer.Argument(metavar="ID", help="Id of the alarm.")],
    reason: Annotated[str, typer.Option("--reason", help="Why nobody needs to be told of it again.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Take an alarm on: it is told no more before it resolves."""
    with door(as_json):
        from fullcircle.flows.alarms import acknowledge

        show(acknowledge(project, alarm, reason=reason, settings=settings_of(workspace)), as_json, _alarm_text)


@alarms.command("test")
def alarms_test(project: ProjectPath, as_json: Json = False) -> None:
    """Send a test message to every address of a project."""
    with door(as_json):
        from fullcircle.flows.alarms import try_addresses

        found = try_addresses(project)
        show(found, as_json, _tests_text)
        if not found.well:
            raise typer.Exit(1)


def _list_text(found: Any) -> Any:
    from rich.console import Group
    from rich.text import Text

    from fullcircle.cli import monitor_text

    count = len(found.alarms)
    told = "no alarm is open" if not count else "1 alarm" if count == 1 else f"{count} alarms"
    lines = [Text(f"{found.model}: {told}")]
    for alarm in found.alarms:
        lines += [Text(""), *monitor_text.alarm(alarm)]
    if found.waiting:
        lines += [Text(""), Text(f"messages that wait to be delivered: {found.waiting}")]
    return Group(*lines)


def _alarm_text(alarm: Any) -> Any:
    from rich.console import Group

    from fullcircle.cli import monitor_text

    return Group(*monitor_text.alarm(alarm))


def _tests_text(found: Any) -> Any:
    from rich.text import Text

    lines = [f"{each.address}: {each.problem or 'it arrived'}" for each in found.addresses]
    return Text("\n".join([f"{found.model}: a test message", *lines]))
