"""Every command, in the order of the circle. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fullcircle.cli import (
    adopt,
    contract,
    demo,
    deploy,
    doctor,
    evaluation,
    log,
    monitor,
    replay,
    reproduce,
    rules,
    testing,
    verify,
)
from fullcircle.cli.alarms import alarms
from fullcircle.cli.door import Json, ModelOrPath, ProjectPath, Workspace, door, listening, settings_of, show
from fullcircle.cli.experiment import experiment
from fullcircle.cli.facts import facts
from fullcircle.cli.features import features
from fullcircle.cli.issuer import issuer
from fullcircle.cli.key import key
from fullcircle.cli.outcomes import outcomes
from fullcircle.cli.quarantine import quarantine
from fullcircle.cli.rehearse import rehearse

app = typer.Typer(
    name="fullcircle",
    help="Take a tabular model full circle: explore, evaluate, develop, package, deploy, monitor, retrain.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a parameter of fit.")]
Run = Annotated[str | None, typer.Option("--run", help="Run id, or its beginning. Default: the latest.")]
Version = Annotated[int | None, typer.Option("--version", help="Version number.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why, as written in the ledger.")]
Offline = Annotated[bool, typer.Option("--offline", help="Build environments from the package cache only.")]


@app.command()
def init(
    table: Annotated[Path, typer.Argument(help="CSV or Parquet file.")],
    out_file: Annotated[Path | None, typer.Option("--out", help="Where to write. Default: ./project.py.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The model's name.")] = None,
    as_json: Json = False,
) -> None:
    """Look at a table and write a commented project file."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows import init as flow

        show(flow.init(table, out=out_file, name=name), as_json, text.written)


app.command()(adopt.adopt)


@app.command()
def run(
    project: ProjectPath,
    sets: Set = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the server at the end.")] = False,
    offline: Offline = False,
    port: Annotated[int | None, typer.Option("--port", help="Port of the server. 0: any free one.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Take a project once around the whole circle."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.run import run as flow

        settings = settings_of(
            workspace, offline="yes" if offline else None, port=None if port is None else str(port)
        )
        with listening(as_json) as progress:
            turn = flow(project, settings=settings, progress=progress, params=_pairs(sets), stop=stop)
        show(turn, as_json, text.turn)
        if not turn.trained.report.passed:
            raise typer.Exit(1)


@app.command()
def runs(project: ModelOrPath, workspace: Workspace = None, as_json: Json = False) -> None:
    """Show the leaderboard of a project's runs."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.runs import runs as flow

        show(flow(project, settings=settings_of(workspace)), as_json, text.leaderboard)


@app.command()
def reopen(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Run id, or its beginning.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Train again what an earlier run trained."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.reopen import reopen as flow

        with listening(as_json) as progress:
            trained = flow(run_id, settings=settings_of(workspace), progress=progress)
        show(trained, as_json, text.trained)
        if not trained.report.passed:
            raise typer.Exit(1)


@app.command()
def train(project: ProjectPath, sets: Set = None, workspace: Workspace = None, as_json: Json = False) -> None:
    """Fit, evaluate and gate a model, without packaging it."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.train import train as flow

        with listening(as_json) as progress:
            trained = flow(project, settings=settings_of(workspace), progress=progress, params=_pairs(sets))
        show(trained, as_json, text.trained)
        if not trained.report.passed:
            raise typer.Exit(1)


app.command()(contract.contract)
app.command()(evaluation.evaluate)
app.command()(evaluation.compare)
app.command()(evaluation.card)
app.command()(testing.test)


@app.command()
def package(
    project: ProjectPath,
    run_id: Run = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="New folder for the bundle and its attestations.", show_default=False)
    ] = None,
    offline: Offline = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Build, test, prove and register the bundle of a run."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.package import package as flow

        settings = settings_of(workspace, offline="yes" if offline else None)
        with listening(as_json) as progress:
            packaged = flow(project, run=run_id, out=out, settings=settings, progress=progress)
        show(packaged, as_json, text.packaged)


app.command()(verify.verify)


@app.command()
def approve(
    project: ModelOrPath,
    reason: Annotated[str, typer.Option("--reason", help="Why, as written in the ledger.", show_default=False)],
    version: Annotated[
        int | None, typer.Option("--version", help="Default: the latest that waits.", show_default=False)
    ] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Approve a version that waits for a person; promoting it is the next step."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.promote import approve as flow

        approval = flow(project, version=version, reason=reason, settings=settings_of(workspace))
        show(approval, as_json, text.approval)


@app.command()
def promote(
    project: ModelOrPath,
    version: Version = None,
    reason: Reason = "promoted by hand",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Make a proven version the champion."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.promote import promote as flow

        decision = flow(project, version=version, reason=_told(reason), settings=settings_of(workspace))
        show(decision, as_json, text.decision)


@app.command()
def rollback(
    project: ModelOrPath,
    version: Version = None,
    reason: Reason = "rolled back by hand",
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Go back to an earlier champion."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.promote import rollback as flow

        decision = flow(project, version=version, reason=_told(reason), settings=settings_of(workspace))
        show(decision, as_json, text.decision)


app.command()(reproduce.reproduce)


app.command()(deploy.deploy)


@app.command()
def serve(
    port: Annotated[int | None, typer.Option("--port", help="Port. 0: any free one.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address. Beyond loopback with keys and TLS.")] = None,
    certificate: Annotated[str | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate (PEM).")] = None,
    private: Annotated[str | None, typer.Option("--tls-key", metavar="FILE", help="Its key (PEM).")] = None,
    bare: Annotated[
        bool, typer.Option("--without-tls", help="Beyond loopback without TLS: a proxy ends it.")
    ] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Serve all champions in the foreground."""
    with door(as_json):
        from fullcircle.flows.serve import serve as flow

        settings = settings_of(
            workspace,
            port=None if port is None else str(port),
            host=host,
            tls_cert=certificate,
            tls_key=private,
            without_tls="yes" if bare else None,
        )
        with listening(as_json) as progress:
            flow(settings=settings, progress=progress)


@app.command()
def score(
    project: ModelOrPath,
    out_file: Annotated[Path, typer.Option("--out", help="Where to write: .csv, .parquet or .jsonl.")],
    table: Annotated[Path | None, typer.Argument(help="CSV, Parquet or JSON-lines file of rows.")] = None,
    query: Annotated[str | None, typer.Option("--query", help="SELECT statement whose rows to score.")] = None,
    database: Annotated[str | None, typer.Option("--database", help="URL of the query's database.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes. Default: all cores.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Do not go on with a run that was stopped.")] = False,
    version: Version = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Score a file or a query with the champion."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.score import score as flow

        settings = settings_of(workspace)
        with listening(as_json) as progress:
            scored = flow(
                project,
                table,
                out_file,
                query=query,
                database=database,
                version=version,
                workers=workers,
                restart=restart,
                settings=settings,
                progress=progress,
            )
        show(scored, as_json, text.scored)
        if scored.rows and not scored.answered:
            raise typer.Exit(1)


app.command()(outcomes)
app.command()(monitor.monitor)
app.command()(rules.rules)
app.command()(replay.replay)
app.command()(demo.demo)
app.command()(rehearse)


@app.command()
def retrain(
    project: ProjectPath, offline: Offline = False, workspace: Workspace = None, as_json: Json = False
) -> None:
    """Train a challenger; promote it or hold."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.retrain import retrain as flow

        settings = settings_of(workspace, offline="yes" if offline else None)
        with listening(as_json) as progress:
            retrained = flow(project, settings=settings, progress=progress)
        show(retrained.decision, as_json, text.decision)
        if retrained.decision.action != "promote":
            raise typer.Exit(1)


app.command()(quarantine)


@app.command()
def status(workspace: Workspace = None, as_json: Json = False) -> None:
    """Show champions, deployments, alarms and decisions."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.status import status as flow

        show(flow(settings=settings_of(workspace)), as_json, text.status)


@app.command()
def why(
    prediction_id: Annotated[str, typer.Argument(metavar="ID", help="Prediction id.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Walk a prediction back to its origins."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.why import why as flow

        show(flow(prediction_id, settings=settings_of(workspace)), as_json, text.why)


@app.command()
def audit(workspace: Workspace = None, as_json: Json = False) -> None:
    """Verify the ledger and the blobs it names."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows.audit import audit as flow

        found = flow(settings=settings_of(workspace))
        show(found, as_json, text.audit)
        if found.problems:
            raise typer.Exit(1)


app.command()(facts)
app.command()(doctor.doctor)
app.command("log")(log.show_log)
app.command()(log.erase)
snapshots = typer.Typer(
    help="List, compare, restore and prune snapshots.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(snapshots, name="snapshots")
app.add_typer(features, name="features")
app.add_typer(alarms, name="alarms")
app.add_typer(key, name="key")
app.add_typer(issuer, name="issuer")
app.add_typer(experiment, name="experiment")


@snapshots.command("list")
def snapshots_list(workspace: Workspace = None, as_json: Json = False) -> None:
    """List snapshots."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows import snapshots as flow

        show(flow.list_snapshots(settings=settings_of(workspace)), as_json, text.snapshots)


@snapshots.command("diff")
def snapshots_diff(
    a: Annotated[str, typer.Argument(help="Digest, or its beginning.")],
    b: Annotated[str, typer.Argument(help="Digest, or its beginning.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Show what changed between two snapshots."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows import snapshots as flow

        show(flow.diff(a, b, settings=settings_of(workspace)), as_json, text.difference)


@snapshots.command("restore")
def snapshots_restore(
    digest: Annotated[str, typer.Argument(help="Digest, or its beginning.")],
    out_file: Annotated[Path, typer.Option("--out", help="New file: .csv or .parquet.")],
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Write a snapshot's rows to a file."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows import snapshots as flow

        show((flow.restore(digest, out_file, settings=settings_of(workspace)),), as_json, text.snapshots)


@snapshots.command("prune")
def snapshots_prune(
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete their rows; without it they are only shown.")
    ] = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Show or delete snapshots that no version was trained on."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows import snapshots as flow

        show(flow.prune(delete=delete, settings=settings_of(workspace)), as_json, text.snapshots)


def _told(reason: str) -> str:
    """A reason that the ledger can hold."""
    from fullcircle.errors import SettingInvalid
    from fullcircle.ledger.bodies import LONGEST, is_text

    if len(reason) > LONGEST or not is_text(reason):
        raise SettingInvalid(
            "--reason is too long for the ledger, or no valid text",
            received=f"{len(reason)} characters",
            allowed=f"at most {LONGEST} characters of valid text",
            next_step="say it shorter, and name where the rest can be read",
        )
    return reason


def _pairs(sets: list[str] | None) -> dict[str, str]:
    from fullcircle.errors import SettingInvalid

    pairs = {}
    for text in sets or []:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise SettingInvalid(
                "--set cannot be read",
                received=text,
                allowed="KEY=VALUE",
                next_step="write for example --set max_depth=3",
            )
        pairs[key] = value
    return pairs
