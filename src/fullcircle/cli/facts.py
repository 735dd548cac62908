"""The command that prints what the ledger holds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, Workspace, door, settings_of, show

_DIGEST = 64


def facts(
    kind: Annotated[
        str, typer.Argument(metavar="[KIND]", help="A kind, such as key.revoked, or its first word: key.")
    ] = "",
    model: Annotated[str, typer.Option("--model", help="Facts about this model only.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Facts from this time on (UTC).")] = "",
    last: Annotated[int | None, typer.Option("--last", help="At most so many.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them, from the first.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """List what happened, as the ledger tells it: who did what, and when."""
    with door(as_json):
        from fullcircle.errors import SettingInvalid
        from fullcircle.flows.facts import LAST
        from fullcircle.flows.facts import facts as flow

        if every and last is not None:
            raise SettingInvalid(
                "--all and --last mean nothing together", allowed="one of them", next_step="leave one out"
            )
        most = None if every else last if last is not None else LAST
        show(flow(kind, model=model, since=since, last=most, settings=settings_of(workspace)), as_json, _shown)


def _shown(found: Any) -> Any:
    from rich.text import Text

    from fullcircle.cli import text

    if not found:
        return Text("no such facts")
    rows = ((each.seq, each.time[:19].replace("T", " "), each.actor, each.kind, _body(each.body)) for each in found)
    return text.table("facts", ("fact", "time (UTC)", "actor", "kind", "what"), rows, whole=2)


def _body(body: Any) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in body.items() if value is not None)


def _short(value: Any) -> str:
    """A value; of a digest its first twelve places, as everywhere."""
    written = str(value)
    digest = len(written) == _DIGEST and set(written) <= set("0123456789abcdef")
    return written[:12] if digest else written
