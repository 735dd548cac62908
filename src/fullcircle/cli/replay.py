"""The command that replays logged traffic with another version, and how its result looks on a terminal."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, ModelOrPath, Workspace, door, listening, settings_of, show

_GROUPS = 40


def replay(
    project: ModelOrPath,
    version: Annotated[int, typer.Option("--version", help="The version that answers again; also an older one.")],
    since: Annotated[
        str, typer.Option("--since", metavar="30d|DATE", help="UTC time, or a span back from now. Default: all.")
    ] = "",
    until: Annotated[str, typer.Option("--until", metavar="30d|DATE", help="Rows before it. Default: now.")] = "",
    by: Annotated[list[str] | None, typer.Option("--by", metavar="COLUMN", help="Groups to tell apart.")] = None,
    tolerance: Annotated[
        str, typer.Option("--tolerance", help="Numbers up to so far apart count as the same: 1%, or 2.5.")
    ] = "1%",
    page: Annotated[bool, typer.Option("--page", help="Write a page too.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Answer logged traffic again with any version: what would have differed, for whom, what it would have earned."""
    with door(as_json):
        from fullcircle.flows.replay import replay as flow

        settings = settings_of(workspace)
        with listening(as_json) as progress:
            found = flow(
                project,
                version=version,
                since=since,
                until=until,
                by=tuple(by or ()),
                tolerance=tolerance,
                page=page,
                settings=settings,
                progress=progress,
            )
        show(found, as_json, replayed)


def replayed(found: Any) -> Any:
    """A replay for people: how many answers differ, by how much, for whom, whether that is better, and examples."""
    from rich.console import Group
    from rich.text import Text

    from fullcircle.cli.text import number, table

    against = ", ".join(str(each) for each in found.against)
    share = f"{found.changed / found.rows:.1%}" if found.rows else "none"
    lines = [
        Text(f"{found.model} version {found.version} beside what version {against} answered", style="bold"),
        Text(f"{found.since[:19]}Z to {found.until[:19]}Z: {found.rows:,} rows answered again"),
        Text(f"{found.changed:,} answers would have differed ({share}){_by_how_much(found)}"),
    ]
    lines += [Text(f"on {each.rows:,} labelled rows: {each.text}") for each in found.differences]
    lines += [Text(found.worth.text)] if found.worth is not None else []
    parts: list[Any] = [*lines]
    if len(found.groups) > 1:
        money = any(each.earned_after is not None for each in found.groups)
        columns = ("group", "rows", "changed", "then", "now", *(("earned then", "earned now") if money else ()))
        rows = [
            (
                f"{each.column}={each.value}" if each.column else "all",
                each.rows,
                each.changed,
                number(each.before),
                number(each.after),
                *((number(each.earned_before), number(each.earned_after)) if money else ()),
            )
            for each in found.groups[:_GROUPS]
        ]
        parts.append(table("for whom", columns, rows))
    moved = [each for each in found.verdicts if each[0] != each[1]]
    if moved:
        parts.append(table("verdicts that would differ", ("then", "now", "rows"), moved))
    if found.examples:
        shown = table(
            "the greatest changes (fullcircle why ID walks one back)", ("id", "then", "now"), found.examples, whole=1
        )
        parts.append(shown)
    if found.left_out:
        parts.append(
            table("rows that could not be asked again", ("rows", "why"), [(n, why) for why, n in found.left_out])
        )
    parts += [Text(f"note: {note}", style="dim") for note in found.notes]
    parts += [Text(f"The page, to look at: {found.page}")] if found.page else []
    return Group(*parts)


def _by_how_much(found: Any) -> str:
    sizes = found.sizes
    if "median" not in sizes:
        return ""
    allowed = f"{sizes['tolerance']:.3g}" if not sizes["share"] else f"{sizes['tolerance']:.3g} of the greater"
    return (
        f", by more than {allowed}; half of all answers moved by at most {sizes['median']:.3g}, "
        f"95 % by at most {sizes['p95']:.3g}, the mean by {sizes['mean']:+.3g}"
    )
