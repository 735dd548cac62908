"""Tracking against real SQLite databases of MLflow, in this process and in others."""

from __future__ import annotations

import math
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fullcircle.errors import RunNotFound, StateConflict, TrackingUnavailable, VersionNotFound
from fullcircle.exploration.tracking import Tracking

BUNDLE = "b" * 64
SNAPSHOT = "5" * 64


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """One database for the module, as making one takes seconds; each test uses a model name of its own."""
    folder = tmp_path_factory.mktemp("mlflow")
    return Tracking(f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri())


@pytest.fixture
def tracking(made: Tracking, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracking]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    yield made
    assert _mlflow().active_run() is None


def _mlflow() -> Any:
    import mlflow

    return mlflow


def _run(tracking: Tracking, model: str, **named: Any) -> str:
    with tracking.run(model, name="first", **named) as run:
        return run.id


def test_a_run_is_read_back_as_it_was_written(tracking: Tracking) -> None:
    tags = {"fullcircle.snapshot": SNAPSHOT, "fullcircle.candidate": "forest", "fullcircle.metric": "mae"}
    with tracking.run("written", name="forest", tags=tags, params={"depth": 3, "kind": "deep"}) as run:
        run.log_metrics({"mae": 4.5, "mae_low": 4.0, "mae_high": 5.0, "r2": 0.5})
        run.log_artifact("report/report.json", b"{}")
    (row,) = tracking.leaderboard("written")
    assert (row.id, row.model, row.name, row.candidate) == (run.id, "written", "forest", "forest")
    assert (row.metric, row.value, row.low, row.high) == ("mae", 4.5, 4.0, 5.0)
    assert (row.status, row.snapshot) == ("FINISHED", SNAPSHOT)
    assert row.params == {"depth": "3", "kind": "deep"}
    assert row.started.endswith("Z")
    assert len(row.started) == len("2026-11-23T18:00:00.000000Z")
    assert tracking.get(run.id) == row


def test_files_can_be_added_to_a_run_that_has_ended(tracking: Tracking, tmp_path: Path) -> None:
    run = _run(tracking, "files")
    tracking.log_artifact(run, "bundle/bundle.zip", b"zip")
    tracking.log_artifact(run, "top.txt", b"top")
    client = _mlflow().MlflowClient(tracking.uri)
    assert Path(client.download_artifacts(run, "bundle/bundle.zip", str(tmp_path))).read_bytes() == b"zip"
    assert Path(client.download_artifacts(run, "top.txt", str(tmp_path))).read_bytes() == b"top"
    assert str(client.get_run(run).info.artifact_uri).startswith(f"{tracking.artifacts}/files/")


def test_the_snapshot_is_the_dataset_of_the_run(tracking: Tracking) -> None:
    run = _run(tracking, "dataset", tags={"fullcircle.snapshot": SNAPSHOT})
    (given,) = _mlflow().MlflowClient(tracking.uri).get_run(run).inputs.dataset_inputs
    assert given.dataset.name == "dataset"
    assert SNAPSHOT in given.dataset.source


def test_the_latest_run_comes_first_and_other_models_stay_out(tracking: Tracking) -> None:
    runs = []
    for _ in range(3):
        runs.append(_run(tracking, "ordered"))
        time.sleep(0.002)
    _run(tracking, "another")
    assert [row.id for row in tracking.leaderboard("ordered")] == runs[::-1]
    assert tracking.leaderboard("never-trained") == ()


def test_a_metric_that_is_no_number_does_not_stop_the_others(tracking: Tracking) -> None:
    with tracking.run("nan", name="x") as run:
        run.log_metrics({"mae": 1.0, "r2": math.nan, "rmse": None, "bias": math.inf})
    logged = _mlflow().MlflowClient(tracking.uri).get_run(run.id).data
    assert logged.metrics == {"mae": 1.0}
    assert logged.tags["fullcircle.not_finite"] == "r2, rmse, bias"


def test_long_values_many_metrics_and_odd_names_are_taken(tracking: Tracking) -> None:
    with tracking.run("odd", name="x", params={"long": "x" * 10_000}, tags={"fullcircle.note": "y" * 20_000}) as run:
        run.log_metrics({f"m{number}": float(number) for number in range(250)})
        run.log_metrics({"fair_gap:größe (cm):mae": 1.0, "n" * 400: 2.0})
    logged = _mlflow().MlflowClient(tracking.uri).get_run(run.id).data
    assert len(logged.metrics) == 252
    assert logged.metrics["fair_gap:größe _cm_:mae"] == 1.0
    assert len(logged.params["long"]) == 6000


def test_a_run_with_one_interval_and_no_named_metric_shows_that_metric(tracking: Tracking) -> None:
    with tracking.run("unnamed", name="x") as run:
        run.log_metrics({"mae": 2.0, "mae_low": 1.0, "mae_high": 3.0, "seconds": 9.0})
    assert (tracking.get(run.id).metric, tracking.get(run.id).value) == ("mae", 2.0)


def test_what_a_fit_logs_itself_lands_in_the_same_run(tracking: Tracking) -> None:
    def fit() -> None:
        mlflow = _mlflow()
        mlflow.log_metric("training_loss", 0.25)
        mlflow.log_param("trees", 7)

    with tracking.run("autolog", name="x") as run:
        assert os.environ["MLFLOW_TRACKING_URI"] == tracking.uri  # for processes that fit starts
        fit()
    logged = _mlflow().MlflowClient(tracking.uri).get_run(run.id).data
    assert logged.metrics["training_loss"] == 0.25
    assert logged.params["trees"] == "7"
    assert len(tracking.leaderboard("autolog")) == 1


@pytest.mark.parametrize("way", ["never set", "in the environment", "set by code"])
def test_the_callers_own_tracking_uri_is_as_before(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, way: str
) -> None:
    mlflow = _mlflow()
    other = f"sqlite:///{tmp_path}/other.db"
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
    if way == "in the environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    if way == "set by code":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "to be overwritten")
        mlflow.set_tracking_uri(other)
    before = (mlflow.is_tracking_uri_set(), os.environ.get("MLFLOW_TRACKING_URI"))
    _run(tracking, "restored")
    with pytest.raises(ZeroDivisionError), tracking.run("restored", name="x"):
        raise ZeroDivisionError
    assert (mlflow.is_tracking_uri_set(), os.environ.get("MLFLOW_TRACKING_URI")) == before
    if way != "never set":
        assert mlflow.get_tracking_uri() == other


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_run_that_is_interrupted_says_so(tracking: Tracking, error: type[BaseException], status: str) -> None:
    with pytest.raises(error), tracking.run("ends", name="x") as run:
        raise error
    assert tracking.get(run.id).status == status


def test_a_fit_that_ends_our_run_or_leaves_its_own_active_does_no_harm(tracking: Tracking) -> None:
    mlflow = _mlflow()
    with tracking.run("meddled", name="ended inside") as first:
        mlflow.end_run("KILLED")
    with tracking.run("meddled", name="left open") as second:
        mlflow.start_run(nested=True)
        second.log_metrics({"mae": 1.0})
    assert tracking.get(first.id).status == "FINISHED"
    assert tracking.get(second.id).status == "FINISHED"
    assert mlflow.active_run() is None
    assert {row.status for row in tracking.leaderboard("meddled")} == {"FINISHED"}


def test_a_run_of_the_callers_own_is_not_mixed_up_with_ours(tracking: Tracking) -> None:
    mlflow = _mlflow()
    with tracking.run("outer", name="x"):
        with pytest.raises(StateConflict, match="active already") as caught, tracking.run("inner", name="y"):
            pytest.fail("it must not begin")
        assert "mlflow.end_run()" in str(caught.value.next_step)
        assert mlflow.active_run() is not None
    assert tracking.leaderboard("inner") == ()


def test_an_unknown_run_is_refused(tracking: Tracking) -> None:
    for unknown in ("0" * 32, "not an id", ""):
        with pytest.raises(RunNotFound):
            tracking.get(unknown)
        with pytest.raises(RunNotFound):
            tracking.register("unknown", unknown, BUNDLE)
    assert tracking.pending("unknown") == ()


def test_a_version_goes_from_pending_to_champion(tracking: Tracking) -> None:
    run = _run(tracking, "versions")
    assert tracking.alias("versions") == (None, None)
    first = tracking.register("versions", run, BUNDLE, {"fullcircle.note": "n"})
    second = tracking.register("versions", run, BUNDLE)
    assert (first, second) == (1, 2)
    assert tracking.pending("versions") == (1, 2)
    tracking.confirm("versions", 1, 41)
    tracking.abandon("versions", 2)
    assert tracking.pending("versions") == ()
    tracking.set_champion("versions", 1, 42)
    assert tracking.alias("versions") == (1, 42)
    kept = _mlflow().MlflowClient(tracking.uri).get_model_version("versions", "1")
    assert kept.tags == {
        "fullcircle.note": "n",
        "fullcircle.bundle": BUNDLE,
        "fullcircle.status": "confirmed",
        "fullcircle.seq": "41",
    }
    assert kept.run_id == run
    assert kept.source.endswith("/bundle")
    assert tracking.register("versions", run, BUNDLE) == 3  # an abandoned number is never given again


def test_an_alias_moved_by_hand_keeps_the_number_of_the_fact_that_last_set_it(tracking: Tracking) -> None:
    run = _run(tracking, "moved")
    for _ in range(2):
        tracking.register("moved", run, BUNDLE)
    tracking.set_champion("moved", 1, 7)
    client = _mlflow().MlflowClient(tracking.uri, tracking.uri)
    client.set_registered_model_alias("moved", "champion", "2")
    assert tracking.alias("moved") == (2, 7)
    client.delete_registered_model_alias("moved", "champion")
    assert tracking.alias("moved") == (None, 7)
    client.delete_registered_model_tag("moved", "fullcircle.alias_seq")
    assert tracking.alias("moved") == (None, None)


def test_a_version_that_does_not_exist_is_refused(tracking: Tracking) -> None:
    tracking.register("few", _run(tracking, "few"), BUNDLE)
    for call in (tracking.confirm, tracking.set_champion):
        with pytest.raises(VersionNotFound):
            call("few", 9, 1)
        with pytest.raises(VersionNotFound):
            call("no-such-model", 1, 1)
    with pytest.raises(VersionNotFound):
        tracking.abandon("few", 9)
    assert tracking.alias("few") == (None, None)


def test_a_deleted_experiment_is_told_how_to_bring_back(tracking: Tracking) -> None:
    _run(tracking, "deleted")
    client = _mlflow().MlflowClient(tracking.uri)
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    with pytest.raises(TrackingUnavailable, match="was deleted") as caught, tracking.run("deleted", name="x"):
        pytest.fail("it must not begin")
    assert "mlflow experiments restore" in str(caught.value.next_step)


def test_the_git_commit_of_the_project_is_noted(tracking: Tracking, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        named = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        done = subprocess.run(["git", *named, *words], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def noted() -> str | None:
        return tracking.get(_run(tracking, "git", folder=tmp_path)).tags.get("fullcircle.git")

    assert noted() is None
    git("init", "-q")
    (tmp_path / "project.py").write_text("one = 1\n")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert noted() == git("rev-parse", "HEAD")
    (tmp_path / "project.py").write_text("one = 2\n")
    assert noted() == git("rev-parse", "HEAD") + "-dirty"


def test_a_database_of_another_schema_names_the_words_to_type(tracking: Tracking, tmp_path: Path) -> None:
    tracking.leaderboard("any")
    source = sqlite3.connect(tracking.uri.removeprefix("sqlite:///"))
    copy = sqlite3.connect(tmp_path / "old.db")
    source.backup(copy)
    source.close()
    copy.execute("update alembic_version set version_num = 'c48cb773bb87'")
    copy.commit()
    copy.close()
    uri = f"sqlite:///{tmp_path}/old.db"
    with pytest.raises(TrackingUnavailable, match="older schema") as caught:
        Tracking(uri).leaderboard("any")
    assert f"mlflow db upgrade {uri}" in str(caught.value.next_step)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(b"this is no database, whatever its name says" * 50)
    before = path.read_bytes()
    with pytest.raises(TrackingUnavailable):
        Tracking(f"sqlite:///{path}").leaderboard("any")
    assert path.read_bytes() == before


def test_a_folder_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingUnavailable, match="could not be used"):
        Tracking(f"sqlite:///{tmp_path}/nowhere/mlflow.db").alias("any")


def test_a_scheme_nobody_knows_is_refused() -> None:
    with pytest.raises(TrackingUnavailable):
        Tracking("gopher://example.org").leaderboard("any")


def test_a_server_that_is_not_there_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers, and nobody else takes it
        begun = time.monotonic()
        with pytest.raises(TrackingUnavailable) as caught:
            Tracking(f"http://someone:secret@127.0.0.1:{taken.getsockname()[1]}").leaderboard("any")
    assert time.monotonic() - begun < 30.0
    assert "secret" not in str(caught.value)


CREATE = """
import sys
from fullcircle.exploration.tracking import Tracking
assert "mlflow" not in sys.modules, "mlflow is imported before it is needed"
tracking = Tracking(sys.argv[1], sys.argv[2])
with tracking.run("shared", name=sys.argv[3]) as run:
    run.log_metrics({"mae": 1.0})
tracking.register("shared", run.id, "b" * 64)
import os
assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
"""


def test_processes_that_create_the_same_database_at_once_all_work_and_keep_quiet(tmp_path: Path) -> None:
    uri, artifacts = f"sqlite:///{tmp_path}/new.db", (tmp_path / "artifacts").as_uri()
    # Lock files elsewhere must not be what keeps them apart: each process has a temporary folder of its own.
    environments = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        environments.append({**os.environ, "TMPDIR": str(tmp_path / str(number))})
        environments[-1].pop("MLFLOW_TRACKING_URI", None)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, uri, artifacts, f"process {number}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number, environment in enumerate(environments)
    ]
    for process in started:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out, err) == (0, "", "")
    tracking = Tracking(uri, artifacts)
    assert {row.name for row in tracking.leaderboard("shared")} == {"process 0", "process 1"}
    assert tracking.pending("shared") == (1, 2)


KILLED = """
import os, signal, sys, time
from pathlib import Path
from fullcircle.exploration.connection import load_mlflow
from fullcircle.exploration.tracking import Tracking

load_mlflow()
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store

uri = sys.argv[1]
for wait in (0.15, 0.4, 0.7):
    for path in Path(uri.removeprefix("sqlite:///")).parent.glob("new.db*"):
        path.unlink()
    child = os.fork()
    if not child:
        Tracking(uri).alias("m")
        os._exit(0)
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    child = os.fork()
    if not child:
        assert Tracking(uri).alias("m") == (None, None)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, f"killed after {wait} s"
"""


def test_a_database_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED, f"sqlite:///{tmp_path}/new.db"], capture_output=True, text=True, check=False
    )
    assert child.returncode == 0, child.stderr


BEGUN = """
import os, signal, sys
from fullcircle.exploration.tracking import Tracking

import mlflow

def begin(killed):
    with Tracking(sys.argv[1], sys.argv[2]).run("dead", name="killed") as run:
        here = mlflow.active_run().info.experiment_id
        with mlflow.start_run(experiment_id=here, nested=True) as inner:
            print(run.id, inner.info.run_id, flush=True)
            if killed:
                os.kill(os.getpid(), signal.SIGKILL)
            sys.stdin.readline()

# A process of its own, which need not import MLflow once more.
dead = os.fork()
if not dead:
    begin(True)
assert os.waitpid(dead, 0)[1] == signal.SIGKILL
begin(False)
"""


def test_a_run_whose_process_was_killed_does_not_run_for_ever(tracking: Tracking) -> None:
    living = subprocess.Popen(
        [sys.executable, "-c", BEGUN, tracking.uri, tracking.artifacts],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert living.stdout is not None
    gone, alive = (living.stdout.readline().split() for _ in range(2))
    try:
        with tracking.run("dead", name="mine") as mine:
            status = {row.id: row.status for row in tracking.leaderboard("dead")}
            assert status == dict.fromkeys([*gone, *alive, mine.id], "RUNNING")
            assert sorted(tracking.end_dead("dead")) == sorted(gone)
            assert tracking.end_dead("dead") == (), "once is enough"
        rows = {row.id: row for row in tracking.leaderboard("dead")}
        assert {rows[one].status for one in gone} == {"KILLED"}
        assert all("its process is gone" in rows[one].tags["fullcircle.ended"] for one in gone)
        assert {rows[one].status for one in alive} == {"RUNNING"}
        assert rows[mine.id].status == "FINISHED"
    finally:
        living.communicate("\n", timeout=60)
    assert {row.status for row in tracking.leaderboard("dead") if row.id in alive} == {"FINISHED"}
    assert tracking.end_dead("dead") == ()


@pytest.mark.parametrize("tag", ["fullcircle.host", "fullcircle.process", "fullcircle.born"])
def test_a_run_of_which_nobody_here_knows_is_left_alone(tracking: Tracking, tag: str) -> None:
    client = _mlflow().MlflowClient(tracking_uri=tracking.uri)
    model = "elsewhere." + tag.rpartition(".")[2]
    run = _run(tracking, model)
    (row,) = tracking.leaderboard(model)
    assert row.tags["fullcircle.process"] == str(os.getpid())
    client.update_run(run, status="RUNNING")
    client.set_tag(run, tag, "" if tag == "fullcircle.born" else "another")
    assert tracking.end_dead(model) == ()
    assert tracking.leaderboard(model)[0].status == "RUNNING"
    assert tracking.end_dead("no such model") == ()


def test_a_process_id_that_is_used_again_is_not_taken_for_the_runs_own(tracking: Tracking) -> None:
    client = _mlflow().MlflowClient(tracking_uri=tracking.uri)
    run = _run(tracking, "reused")
    client.update_run(run, status="RUNNING")
    client.set_tag(run, "fullcircle.born", "another boot 1")
    assert tracking.end_dead("reused") == (run,)
