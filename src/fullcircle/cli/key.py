"""The commands around keys to the servers: create one, list them, revoke one."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, Workspace, door, out, settings_of, show

key = typer.Typer(help="Create, list and revoke keys to the servers.", no_args_is_help=True, rich_markup_mode=None)
Verbs = Annotated[list[str] | None, typer.Option("--verb", help="Only this of what the role may. Repeatable.")]


@key.command("create")
def key_create(
    name: Annotated[str, typer.Argument(help="Whom or what the key is for.")],
    role: Annotated[str, typer.Option("--role", help="viewer, scorer, engineer or approver.")],
    models: Annotated[list[str] | None, typer.Option("--model", help="Only this model. Repeatable.")] = None,
    verbs: Verbs = None,
    expires: Annotated[str, typer.Option("--expires", help="A span such as 30d, or a date (UTC).")] = "",
    rate: Annotated[str, typer.Option("--rate", help="At most so many requests, such as 100/s or 600/m.")] = "",
    body: Annotated[str, typer.Option("--body", help="At most so large a body, such as 100kB.")] = "",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Create a key. It is shown once, on standard output."""
    with door(as_json):
        from fullcircle.flows import access as flow

        made = flow.create(
            name,
            role=role,
            models=tuple(models or ()),
            verbs=tuple(verbs or ()),
            expires=expires,
            rate=rate,
            body=body,
            settings=settings_of(workspace),
        )
        if as_json:
            show(made, as_json, _key_text)
            return
        out(made.token)
        sys.stderr.write(f"key {made.key.id} of {made.key.name}, {made.key.role}: it is shown once, keep it\n")
        if made.note:
            sys.stderr.write(f"{made.note}\n")
        if made.first:
            sys.stderr.write("from now on every server of this workspace asks for a key\n")


@key.command("list")
def key_list(workspace: Workspace = None, as_json: Json = False) -> None:
    """List the keys, without their secrets."""
    with door(as_json):
        from fullcircle.flows import access as flow

        show(flow.list_keys(settings=settings_of(workspace)), as_json, _keys_text)


@key.command("revoke")
def key_revoke(
    name: Annotated[str, typer.Argument(metavar="ID", help="Id or name of the key.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, as written in the ledger.")] = "revoked by hand",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Revoke a key: within two seconds no server of this workspace takes it."""
    with door(as_json):
        from fullcircle.flows import access as flow

        show(flow.revoke(name, reason=reason, settings=settings_of(workspace)), as_json, _key_text)


def _key_text(found: Any) -> Any:
    from rich.text import Text

    return Text(f"key {found.id} of {found.name}, {found.role}: {found.problem or 'valid'}")


def _keys_text(found: Any) -> Any:
    from fullcircle.cli.text import table

    return table("keys", ("id", "whose it is, and what it may"), ((one.id, _told(one)) for one in found), whole=1)


def _told(one: Any) -> str:
    """A key in three lines: as columns it would be wider than a terminal."""
    limits = [f"{one.rate:g} requests a second"] if one.rate else []
    limits += [f"bodies of {one.body:,} bytes"] if one.body else []
    may = [f"models: {', '.join(one.models) or 'all'}", f"verbs: {', '.join(one.verbs) or 'all of its role'}"]
    may += [f"at most {', '.join(limits)}"] if limits else []
    until = f"expires {one.expires[:16] or 'never'}"
    lines = (
        f"{one.name}, {one.role}, {one.problem or 'valid'}, {until}",
        "; ".join(may),
        f"created {one.created[:16]} by {one.by}",
    )
    return "\n".join(lines)
