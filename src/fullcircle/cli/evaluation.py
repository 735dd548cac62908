"""The commands around a report: evaluate, compare, card. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fullcircle.cli.door import Json, Workspace, door, listening, out, settings_of, show

Out = Annotated[list[Path] | None, typer.Option("--out", help="File to write: .html, .json or .md. Repeatable.")]
Compared = Annotated[
    str, typer.Argument(help="MODEL@VERSION, MODEL (its champion), a run's id, or a report's .json.")
]
Sides = Annotated[list[Path] | None, typer.Option("--out", help="File to write: .html or .json. Repeatable.")]


def evaluate(
    subject: Annotated[
        str, typer.Argument(metavar="PROJECT|FILE", help="A project, or a CSV or Parquet file of answers.")
    ],
    run_id: Annotated[
        str | None, typer.Option("--run", help="Of a project: run id or its beginning. Default: the latest.")
    ] = None,
    actual: Annotated[str | None, typer.Option("--actual", help="Of a file: the column of true labels.")] = None,
    predicted: Annotated[str | None, typer.Option("--predicted", help="Of a file: the column of answers.")] = None,
    probability: Annotated[
        list[str] | None,
        typer.Option("--probability", metavar="CLASS=COLUMN", help="Of a file: a class and its column. Repeatable."),
    ] = None,
    by: Annotated[list[str] | None, typer.Option("--by", help="Of a file: a protected column. Repeatable.")] = None,
    weight: Annotated[str | None, typer.Option("--weight", help="Of a file: the column of weights.")] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="Of a file: regression or classification. Default: as the labels tell."),
    ] = None,
    files: Out = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Report on a run with today's gates, or on a file of answers made elsewhere (which needs --actual)."""
    with door(as_json):
        from fullcircle.cli import report_text
        from fullcircle.flows import answered, reports
        from fullcircle.flows.evaluate import evaluate as flow

        with listening(as_json) as progress:
            if answered.is_table(subject):
                answered.refuse_run(run_id)
                columns = answered.Columns(
                    actual=actual,
                    predicted=predicted,
                    probability=tuple(probability or ()),
                    by=tuple(by or ()),
                    weight=weight,
                    task=task,
                )
                report = answered.evaluate(Path(subject), columns, out=files or (), progress=progress)
                shown = report_text.report
            else:
                answered.refuse_columns(actual, predicted, probability, by, weight, task)
                settings = settings_of(workspace)
                report = flow(subject, run=run_id, out=files or (), settings=settings, progress=progress)
                page = str(reports.page_of(settings, report))
                shown = lambda found: report_text.evaluated(found, page)  # noqa: E731
        show(report, as_json, shown)
        # A file of answers has no gates, so its report says neither yes nor no.
        if not report.passed and not answered.is_table(subject):
            raise typer.Exit(1)


def compare(
    first: Compared, second: Compared, files: Sides = None, workspace: Workspace = None, as_json: Json = False
) -> None:
    """Put two versions, runs or reports side by side: how the second stands beside the first."""
    with door(as_json):
        from fullcircle.cli import report_text
        from fullcircle.flows.compare import compare as flow

        with listening(as_json) as progress:
            found = flow(first, second, out=files or (), settings=settings_of(workspace), progress=progress)
        show(found, as_json, report_text.comparison)


def card(
    subject: Annotated[
        str, typer.Argument(help="MODEL@VERSION, MODEL (its champion), a run's id, or a report's .json.")
    ],
    out_file: Annotated[Path | None, typer.Option("--out", help="File to write: .md. Default: print it.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Write the model card: purpose, data, figures, groups, limits, decision, who approved."""
    with door(as_json):
        from fullcircle.flows.compare import card as flow

        made = flow(subject, out=out_file, settings=settings_of(workspace))
        if as_json:
            show({"card": made, "file": None if out_file is None else str(out_file)}, True, None)
        else:
            out(made if out_file is None else f"wrote {out_file}")
