"""The command that plays the loop over recorded history."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, ProjectPath, Workspace, door, listening, settings_of, show

Since = Annotated[
    str | None,
    typer.Option("--since", help="UTC time, ISO 8601: when it begins. Default: after a third of the rows."),
]
Until = Annotated[
    str | None, typer.Option("--until", help="UTC time, ISO 8601: when it ends. Default: the last row.")
]
Try = Annotated[
    list[str] | None,
    typer.Option("--try", metavar="KEY=VALUE", help="Play it with this setting too; may be said again."),
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Processes at a time. Default: one for each core.")
]
_STORY = 40  # lines of it on a terminal; the page has all
_LONG = 200  # letters of a line


def rehearse(
    project: ProjectPath,
    since: Since = None,
    until: Until = None,
    tries: Try = None,
    workers: Workers = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Play the loop over the project's history, beside never retraining, a calendar and hindsight."""
    with door(as_json):
        from fullcircle.flows.rehearse import rehearse as flow

        with listening(as_json) as progress:
            found = flow(
                project,
                since=since,
                until=until,
                tries=tries or (),
                workers=workers,
                settings=settings_of(workspace),
                progress=progress,
            )
        show(found, as_json, rehearsal)


def rehearsal(found: Any) -> Any:
    """The policies as a table, what happened, and the verdict."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("policy", overflow="fold")
    money = found.currency or "earned"
    with_money = any(policy.earned is not None for policy in found.policies)
    heads = [found.metric, *([f"{money} a row", money] if with_money else [])]
    for head in (*heads, "trained", "promoted", "rolled back", "alarms"):
        table.add_column(head, justify="right")
    for policy in found.policies:
        figures = [_number(policy.metric)]
        figures += [_number(policy.value), _number(policy.earned, "{:,.0f}")] if with_money else []
        counts = (policy.trained, policy.promoted, policy.rolled_back, policy.alarms)
        told = ["" if policy.name == "hindsight" else str(count) for count in counts]
        table.add_row(policy.name, *figures, *told)
    head = (
        f"{found.model}: {found.rows:,} rows from {found.since[:10]} to {found.until[:10]}, "
        f"version 1 of {found.first:,} rows before ({found.seconds:.0f} s)"
    )
    told = found.policies[0].told
    story = [Text(_line(each)) for each in told[:_STORY]]
    if len(told) > _STORY:
        story.append(Text(f"  ... and {len(told) - _STORY} more" + (": see the page" if found.page else "")))
    said = [Text(f"- {text}") for text in found.verdict]
    notes = [Text(f"  {text}", style="dim") for text in found.notes]
    page = [Text(f"page: {found.page}")] if found.page else []
    return Group(Text(head), Text(""), table, Text(""), *story, Text(""), *said, Text(""), *notes, *page)


def _line(each: Any) -> str:
    """One thing that happened. Of a long reason the end says most: what was decided, and on which sums."""
    text = each.text
    if len(text) > _LONG:
        cause = "" if each.step is None or each.step.trigger is None else f"{each.step.trigger.cause} "
        decided = each.kind in ("hold", "promote", "rollback")
        text = f"{cause}... {text[-_LONG:]}" if decided else f"{text[:_LONG]} ..."
    version = "" if each.version is None else f" {each.version}"
    return f"{each.at[:10]} {each.kind}{version}: {text}"


def _number(value: float | None, form: str = "{:.4g}") -> str:
    return "" if value is None else form.format(value)
