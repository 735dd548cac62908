"""The commands around experiments: start one, look at it, stop it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, ProjectPath, Workspace, door, listening, settings_of, show

experiment = typer.Typer(
    help="Start, look at and stop an experiment of two versions.", no_args_is_help=True, rich_markup_mode=None
)
Guardrails = Annotated[
    list[str] | None,
    typer.Option("--guardrail", metavar="RULE", help="Such as rejected<=1%, failed<=2x or mae<=0.1. Repeatable."),
]
Entity = Annotated[
    list[str] | None, typer.Option("--entity", metavar="COLUMN", help="Deal rows by this column. Repeatable.")
]


@experiment.command("start")
def experiment_start(
    project: ProjectPath,
    effect: Annotated[float, typer.Option("--effect", help="The least difference that would matter.")],
    version: Annotated[int | None, typer.Option("--version", help="The version to try. Default: the latest.")] = None,
    metric: Annotated[str, typer.Option("--metric", help="Default: what an answer is worth, else the metric.")] = "",
    share: Annotated[str, typer.Option("--share", help="The version's share of what is asked.")] = "50%",
    alpha: Annotated[float, typer.Option("--alpha", help="The chance of a false verdict, over all looks.")] = 0.05,
    power: Annotated[float, typer.Option("--power", help="The chance to see such a difference in time.")] = 0.8,
    guardrails: Guardrails = None,
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="End it then: 14d, or a UTC time.")] = "",
    entity: Entity = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Let it answer unseen, beside the champion.")] = False,
    thompson: Annotated[bool, typer.Option("--thompson", help="Learn the shares, once a day.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Plan an experiment, say how long it will take, and begin it."""
    with door(as_json):
        from fullcircle.flows import experiment as flow
        from fullcircle.flows.experiment_plan import share_of

        with listening(as_json) as progress:
            found = flow.start(
                project,
                effect=effect,
                version=version,
                metric=metric,
                share=share_of(share),
                alpha=alpha,
                power=power,
                guardrails=guardrails or (),
                until=until,
                entity=entity or (),
                shadow=shadow,
                thompson=thompson,
                settings=settings_of(workspace),
                progress=progress,
            )
        show(found, as_json, planned)


@experiment.command("status")
def experiment_status(
    project: ProjectPath,
    page: Annotated[bool, typer.Option("--page", help="Write a page too.")] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Say which version is better, by how much, how sure that is, and when it will likely be known."""
    with door(as_json):
        from fullcircle.flows import experiment as flow

        found = flow.status(project, page=page, settings=settings_of(workspace))
        show(found, as_json, standing)
        if found.verdict.state in ("broken", "untrusted"):
            raise typer.Exit(1)


@experiment.command("stop")
def experiment_stop(
    project: ProjectPath,
    promote: Annotated[bool, typer.Option("--promote", help="Make the winner champion, through its gates.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the ledger.")] = "stopped by hand",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """End an experiment: the champion answers for all again, or the winner does."""
    with door(as_json):
        from fullcircle.flows import experiment as flow

        with listening(as_json) as progress:
            found = flow.stop(
                project, promote=promote, reason=reason, settings=settings_of(workspace), progress=progress
            )
        show(found, as_json, standing)


def planned(found: Any) -> Any:
    """What was planned, for people."""
    from rich.console import Group
    from rich.text import Text

    from fullcircle.flows.experiment_words import planned as words

    champion, other = found.plan.arms
    head = f"version {other.version} of {found.model} beside version {champion.version}, by {found.plan.metric.name}"
    lines = [Text(head, style="bold"), Text(words(found.plan))]
    return Group(*lines, *(Text(f"note: {note}", style="dim") for note in found.notes))


def standing(found: Any) -> Any:
    """How it stands, for people: the verdict, the versions, what must hold."""
    from rich.console import Group
    from rich.text import Text

    from fullcircle.cli.text import number, table
    from fullcircle.flows.experiment_words import between

    verdict = found.verdict
    arms = [
        (
            each.version,
            f"{each.share:.1%}",
            each.rows,
            each.due,
            each.labelled,
            number(each.value and each.value.value),
        )
        for each in verdict.arms
    ]
    rules = [
        (each.name, "holds" if each.holds else "DOES NOT HOLD", each.text, f"{each.chance:.2g}")
        for each in (*verdict.trust, *verdict.guardrails)
    ]
    parts: list[Any] = [Text(found.text, style="bold")]
    if verdict.a_day is not None:
        parts.append(Text(f"a day: {between(verdict.a_day)}"))
    if verdict.regret is not None:
        parts.append(Text(f"regret so far, a row: {between(verdict.regret)}"))
    share = "share" if found.plan.floor is None or found.ended else "share now"
    parts.append(
        table("versions", ("version", share, "rows", "had their time", "count", found.plan.metric.name), arms)
    )
    parts.append(table("what must hold", ("what", "", "what was seen", "by chance"), rules))
    parts += [Text(f"note: {note}", style="dim") for note in found.notes]
    parts += [Text(f"The page, to look at: {found.page}")] if found.page else []
    return Group(*parts)
