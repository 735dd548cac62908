"""The command that shows which rows quarantine kept apart, and releases them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, ModelOrPath, Workspace, door, settings_of, show

Released = Annotated[
    int | None,
    typer.Option("--release", metavar="FACT", help="Let the rows be learned from that this decision kept apart."),
]
Why = Annotated[str | None, typer.Option("--reason", help="Why they are right, as written in the ledger.")]
_IDS = 3  # of a decision; --json has all


def quarantine(
    project: ModelOrPath,
    released: Released = None,
    reason: Why = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Show the rows that quarantine kept apart; with --release, let the next retraining learn from them."""
    with door(as_json):
        from fullcircle.errors import SettingInvalid
        from fullcircle.flows.quarantined import quarantined, release

        settings = settings_of(workspace)
        if (released is None) != (reason is None):
            raise SettingInvalid(
                "a release needs a decision and a reason",
                received="--reason without --release" if released is None else "--release without --reason",
                next_step='say both: --release FACT --reason "these rows were looked at, and ..."',
            )
        if released is None or reason is None:
            show(quarantined(project, settings=settings), as_json, _shown)
        else:
            show(release(project, decision=released, reason=reason, settings=settings), as_json, _told)


def _shown(found: Any) -> Any:
    from rich.console import Group
    from rich.text import Text

    if not found:
        return Text("no rows were kept apart")
    return Group(*(Text(line) for each in found for line in _lines(each)))


def _lines(each: Any) -> list[str]:
    from fullcircle.flows.steps import set_apart

    over = f", released in fact {each.released}" if each.released else ""
    more = "" if len(each.ids) <= _IDS else ", ..."
    return [
        f"decision {each.decision} of {each.at[:16].replace('T', ' ')}: {len(each.ids):,} rows kept apart{over}",
        f"  {each.reason}",
        *(f"  {set_apart(one)}" for one in each.found),
        f"  predictions (see: fullcircle why ID): {', '.join(each.ids[:_IDS])}{more}",
    ]


def _told(found: Any) -> Any:
    from rich.console import Group
    from rich.text import Text

    login = f", login {found.login}" if found.login else ""
    head = f"released: {found.rows:,} rows of {found.model} from decision {found.decision}, by {found.actor}{login}"
    return Group(
        Text(f"{head} (fact {found.seq})", style="green"),
        Text(found.reason),
        Text("next: fullcircle retrain PROJECT"),
    )
