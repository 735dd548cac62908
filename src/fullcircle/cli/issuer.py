"""The commands around issuers of tokens: add one, list them, remove one."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, Workspace, door, settings_of, show

issuer = typer.Typer(
    help="Add, list and remove issuers whose tokens (JWT) the servers take.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(metavar="ISSUER", help="What its tokens name it by (iss).")]


@issuer.command("add")
def issuer_add(
    name: Name,
    audience: Annotated[str, typer.Option("--audience", help="For whom its tokens have to be (aud).")],
    keys: Annotated[str, typer.Option("--keys", help="Its keys (JWKS): a file, or an https address.")],
    roles: Annotated[list[str], typer.Option("--role", help="GROUP=ROLE, such as ml-team=engineer. Repeatable.")],
    claim: Annotated[str, typer.Option("--claim", help="The claim that names the caller's groups.")] = "roles",
    algorithm: Annotated[str, typer.Option("--algorithm", help="How its tokens have to be signed.")] = "RS256",
    rate: Annotated[str, typer.Option("--rate", help="At most so many requests of each caller, such as 100/s.")] = "",
    body: Annotated[str, typer.Option("--body", help="At most so large a body, such as 100kB.")] = "",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Take the tokens of an issuer from now on. One that is known is taken as said now."""
    with door(as_json):
        from fullcircle.flows import issuers as flow

        made = flow.add(
            name,
            audience=audience,
            keys=keys,
            roles=tuple(roles),
            claim=claim,
            algorithm=algorithm,
            rate=rate,
            body=body,
            settings=settings_of(workspace),
        )
        show(made, as_json, _issuer_text)
        if made.first and not as_json:
            sys.stderr.write("from now on every server of this workspace asks for a key or a token\n")
        if made.missing and not as_json:
            sys.stderr.write(
                f"{made.issuer.keys} is not there: until a server finds it, tokens are answered with 503\n"
            )
        for version in made.unable if not as_json else ():
            sys.stderr.write(f"{version} goes on with keys alone: package it again for tokens (fullcircle run)\n")


@issuer.command("list")
def issuer_list(workspace: Workspace = None, as_json: Json = False) -> None:
    """List the issuers whose tokens are taken."""
    with door(as_json):
        from fullcircle.flows import issuers as flow

        show(flow.list_issuers(settings=settings_of(workspace)), as_json, _issuers_text)


@issuer.command("remove")
def issuer_remove(
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why, as written in the ledger.")] = "removed by hand",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Take the tokens of an issuer no more. The servers go on asking."""
    with door(as_json):
        from fullcircle.flows import issuers as flow

        show(flow.remove(name, reason=reason, settings=settings_of(workspace)), as_json, _issuer_text)


def _issuer_text(found: Any) -> Any:
    from rich.text import Text

    return Text(f"issuer {found.issuer.issuer}, for {found.issuer.audience}, {found.issuer.algorithm}")


def _issuers_text(found: Any) -> Any:
    from fullcircle.cli.text import table

    return table(
        "issuers", ("issuer", "what is taken of it"), ((one.issuer.issuer, _told(one)) for one in found), whole=1
    )


def _told(one: Any) -> str:
    """An issuer in lines: as columns it would be wider than a terminal."""
    issuer = one.issuer
    limits = [f"{issuer.rate:g} requests a second"] if issuer.rate else []
    limits += [f"bodies of {issuer.body:,} bytes"] if issuer.body else []
    lines = [
        f"tokens for {issuer.audience}, {issuer.algorithm}, keys: {issuer.keys}",
        f"{issuer.claim}: {', '.join(f'{group}={role}' for group, role in issuer.roles.items())}",
        *([f"each caller at most {', '.join(limits)}"] if limits else []),
        f"added {one.added[:16]} by {one.by}",
    ]
    return "\n".join(lines)
