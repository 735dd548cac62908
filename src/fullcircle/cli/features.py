"""The commands about features. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from fullcircle.cli.door import Json, Workspace, door, listening, settings_of, show

features = typer.Typer(
    help="List, publish, ask, verify and compact features.", no_args_is_help=True, rich_markup_mode=None
)
View = Annotated[str, typer.Argument(metavar="VIEW", help="Name of a feature view.")]


@features.command("list")
def features_list(workspace: Workspace = None, as_json: Json = False) -> None:
    """List feature tables and views."""
    with door(as_json):
        from fullcircle.cli import features_text
        from fullcircle.flows import features as flow

        show(flow.list_features(settings=settings_of(workspace)), as_json, features_text.listed)


@features.command("show")
def features_show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A feature table, a view or a feature.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Show a feature table, a view, or a feature wherever it is."""
    with door(as_json):
        from fullcircle.cli import features_text
        from fullcircle.flows import features as flow

        show(flow.show(name, settings=settings_of(workspace)), as_json, features_text.shown)


@features.command("publish")
def features_publish(
    view: Annotated[
        str, typer.Argument(metavar="VIEW|PROJECT", help="Name of a view, or project file or folder with one.")
    ],
    exact_from: Annotated[
        str | None,
        typer.Option("--exact-from", help="UTC time, ISO 8601: rows of that time on can be asked. Default: now."),
    ] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Bring a view online, as far as rows came since the last time."""
    with door(as_json):
        from fullcircle.cli import features_text
        from fullcircle.flows import features as flow

        with listening(as_json) as progress:
            published = flow.publish(view, exact_from=exact_from, settings=settings_of(workspace), progress=progress)
        show(published, as_json, features_text.published)


@features.command("get")
def features_get(
    view: View,
    given: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="Keys, request columns, and features to override.")
    ],
    at: Annotated[
        str | None, typer.Option("--at", help="UTC time, ISO 8601. Default: now, from the online store.")
    ] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Look up the features of one row, now or as they were known at a time."""
    with door(as_json):
        from fullcircle.cli import features_text
        from fullcircle.flows import features as flow

        answer = flow.get(view, _pairs(given), at=at, settings=settings_of(workspace))
        show(answer, as_json, features_text.answer)


@features.command("verify")
def features_verify(
    view: View,
    since: Annotated[
        str | None, typer.Option("--since", help="UTC time, ISO 8601. Default: all that is logged.")
    ] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Compare features as they were served with what the tables say of the same moments."""
    with door(as_json):
        from fullcircle.cli import features_text
        from fullcircle.flows import features as flow

        with listening(as_json) as progress:
            found = flow.verify(view, since=since, settings=settings_of(workspace), progress=progress)
        show(found, as_json, features_text.verified)
        if any(each.mismatches for each in found.features):
            raise typer.Exit(1)


@features.command("compact")
def features_compact(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Name of a feature table.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Rewrite the files of a feature table in order, for faster reading."""
    with door(as_json):
        from fullcircle.cli import features_text
        from fullcircle.flows import features as flow

        with listening(as_json) as progress:
            compacted = flow.compact(table, settings=settings_of(workspace), progress=progress)
        show(compacted, as_json, features_text.compacted)


def _pairs(given: list[str]) -> dict[str, str]:
    from fullcircle.errors import RequestInvalid

    pairs: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        twice = bool(equals) and key in pairs
        if not key or not equals or twice:
            raise RequestInvalid(
                f"{key} is given twice" if twice else "a column to ask with cannot be read",
                received=text,
                allowed="KEY=VALUE, each key once",
                next_step="write for example customer=c00042",
            )
        pairs[key] = value
    return pairs
