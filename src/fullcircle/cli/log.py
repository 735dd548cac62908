"""The commands around the prediction log: look at it, settle it, erase from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, Workspace, door, settings_of, show


def show_log(
    settle: Annotated[
        bool, typer.Option("--settle", help="Note closed segments in the ledger and compact them first.")
    ] = False,
    old: Annotated[
        bool, typer.Option("--old", help="Also segments of servers of before 0.2; stop those servers first.")
    ] = False,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FILE", help="Write the rows of --model to a new .jsonl file.")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="The model whose rows are exported.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why, as written in the ledger. Name nobody in it.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Rows from this time on (UTC).")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Rows before this time (UTC).")] = "",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Show the prediction log: segments, rows, bytes, and what was lost or torn; or export its rows."""
    with door(as_json):
        if export is not None or model or reason or since or until:
            _export(export, (model, reason, since, until), settings_of(workspace), as_json, further=settle or old)
            return
        from fullcircle.flows import log_state as flow

        show(flow.show(settle=settle or old, old=old, settings=settings_of(workspace)), as_json, log_text)


def _export(
    file: Path | None, words: tuple[str, str, str, str], settings: Any, as_json: bool, *, further: bool
) -> None:
    from fullcircle.errors import SettingInvalid
    from fullcircle.flows.export import export as flow

    model, reason, since, until = words
    if file is None or not model or further:
        raise SettingInvalid(
            "these flags mean nothing together",
            allowed="--export FILE --model NAME --reason TEXT, and --since and --until; or --settle and --old",
            next_step="see fullcircle log --help",
        )
    show(flow(model, file, reason=reason, since=since, until=until, settings=settings), as_json, exported_text)


def exported_text(found: Any) -> Any:
    """What left the log."""
    from rich.text import Text

    return Text(f"{found.rows} rows of {found.model}: {found.file}")


def erase(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, as written in the ledger. Name nobody in it.")],
    ids: Annotated[list[str] | None, typer.Option("--id", help="Id of a prediction. Repeatable.")] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="COLUMN=VALUE", help="All rows with this value.")
    ] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Erase the values of predictions from the log for good; the ledger says that it was done, and why."""
    with door(as_json):
        from fullcircle.flows.erase import erase as flow

        found = flow(
            model,
            ids=tuple(ids or ()),
            where=None if where is None else _pair(where),
            reason=reason,
            settings=settings_of(workspace),
        )
        show(found, as_json, erased_text)
        if found.waiting:
            raise typer.Exit(1)


def _pair(text: str) -> tuple[str, str]:
    from fullcircle.errors import SettingInvalid

    column, equals, value = text.partition("=")
    if not column or not equals or not value:
        raise SettingInvalid(
            "--where cannot be read",
            received=text,
            allowed="COLUMN=VALUE",
            next_step="for example --where customer=c42",
        )
    return column, value


def log_text(found: Any) -> Any:
    """The prediction log, a line for each model."""
    from rich.console import Group
    from rich.text import Text

    from fullcircle.cli.text import table

    title = f"{found.folder}: {found.bytes / 1e6:.1f} of {found.most_bytes / 1e6:.0f} MB"
    columns = ("model", "rows", "MB", "segments", "open", "compacted", "lost", "torn", "oldest", "newest")
    rows = [
        (
            one.model,
            one.rows,
            f"{one.bytes / 1e6:.1f}",
            one.segments,
            one.open,
            one.compacted,
            one.lost,
            one.torn,
            one.oldest[:16],
            one.newest[:16],
        )
        for one in found.models
    ]
    shown = table(title, columns, rows, whole=1)
    if found.settled is None:
        return shown
    done = found.settled
    told = f"{done.closed} segments noted as closed, {done.compacted} compacted ({done.rows} rows)"
    return Group(shown, Text(told))


def erased_text(found: Any) -> Any:
    """What was erased, and what waits."""
    from rich.text import Text

    head = f"{found.model}: {found.rows} rows of {found.segments} segments and {found.outcomes} outcomes erased"
    lines = [head + (f"; {found.before} were erased before" if found.before else "")]
    if found.waiting:
        lines += [
            f"{len(found.waiting)} rows are in segments that are still written to: {', '.join(found.waiting[:5])}",
            f"give the same command again after {found.until}, or when the server was restarted",
        ]
    return Text("\n".join(lines))
