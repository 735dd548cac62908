"""Decisions that must not go wrong: after a rollback, on rows the champion knows, among candidates, in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import circles
from fullcircle.errors import StateConflict
from fullcircle.flows import drafts, versions
from fullcircle.flows.evaluate import evaluate
from fullcircle.flows.package import package
from fullcircle.flows.promote import promote, rollback
from fullcircle.flows.reconcile import reconcile, registering
from fullcircle.flows.run import run
from fullcircle.flows.runs import runs
from fullcircle.flows.session import opened
from fullcircle.flows.status import status
from fullcircle.flows.train import train
from fullcircle.settings import Settings

# No traffic and no slow checks: these tests are about what is decided.
FEW = (
    'arrivals={"as before": lambda rows: rows, "ten times too hot": hotter},',
    'arrivals={"few": lambda rows: rows.head(5).drop(columns="cost")},',
)
STILL = circles.PLAIN.replace(*FEW)


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """Version 1 of a slow learner, version 2 of a quick one, and back to version 1."""
    found = circles.copy(tmp_path_factory, circles.STILL, tmp_path_factory.mktemp("decisions"))
    project, settings = circles.write_project(found.project.parent, STILL), found.settings
    train(project, settings=settings)
    package(project, settings=settings)
    promote("houses", settings=settings)
    rollback("houses", settings=settings)
    return project, settings


def test_a_rollback_is_not_undone_by_the_next_run(rolled_back: tuple[Path, Settings]) -> None:
    project, settings = rolled_back
    turn = run(project, settings=settings, stop=True)
    assert turn.champion == 1
    assert turn.decision.action == "keep"
    assert "nothing changed since version 2" in turn.decision.reason


def test_rows_that_arrive_without_labels_are_answered(rolled_back: tuple[Path, Settings]) -> None:
    turn = run(rolled_back[0], settings=rolled_back[1], stop=True)
    assert turn.deployed is not None
    assert turn.deployed.rows == 5
    (window,) = turn.windows
    assert (window.rows, window.labelled, window.alarms) == (5, 0, ()), "five rows are a batch, and say little"


def test_a_champion_is_not_compared_on_rows_it_was_trained_on(rolled_back: tuple[Path, Settings]) -> None:
    project, settings = rolled_back
    with opened(settings) as session:
        draft = drafts.of_run(session, versions.find(session, "houses", 1).run)
        frame, test = drafts.rows(session, draft)
        learned = drafts.learned(session, draft, frame)
        assert (learned == ~test).all()
    other = STILL.replace('name="houses",', 'name="houses",\n    seed=1,')
    report = train(circles.write_project(project.parent.parent / "other", other), settings=settings).report
    compared = report.measure("improvement_over_champion")
    assert compared is not None
    assert 0 < compared.n < 50, "three in four of another draw's test rows were training rows of the champion"
    assert any("was trained on" in note for note in report.notes)


def test_a_version_number_is_never_given_to_another_bundle(rolled_back: tuple[Path, Settings]) -> None:
    _, settings = rolled_back
    with opened(settings) as session:
        before = versions.find(session, "houses", 1)
        body = dict.fromkeys(("run", "bundle", "report", "snapshot", "proof"), "f" * 64)
        session.workspace.ledger.append("version.registered", {"model": "houses", "version": 1, **body})
        assert versions.find(session, "houses", 1) == before


def test_a_number_from_another_mlflow_is_refused(rolled_back: tuple[Path, Settings], tmp_path: Path) -> None:
    project, settings = rolled_back
    moved = circles.settings(project.parent.parent, mlflow=circles.tables(tmp_path / "other.db"))
    assert any("does not agree with the ledger" in note for note in status(settings=moved).notes)
    train(project, settings=moved, params={"max_depth": "4", "learning_rate": "0.2"})
    with pytest.raises(StateConflict, match="which the ledger knows already"):
        package(project, settings=moved)
    assert status(settings=settings).models[0].versions == (1, 2)


def test_a_registration_in_progress_is_not_called_unfinished(rolled_back: tuple[Path, Settings]) -> None:
    _, settings = rolled_back
    with opened(settings) as session:
        run_id = next(iter(session.workspace.ledger.state().runs))
        with registering(session, timeout=1.0):
            version = session.tracking.register("houses", run_id, "0" * 64)
            assert reconcile(session) == ()
        assert any(f"version {version} in MLflow was never finished" in text for text in reconcile(session))


def test_a_deletion_that_was_cut_short_is_finished(rolled_back: tuple[Path, Settings]) -> None:
    _, settings = rolled_back
    with opened(settings) as session:
        digest = session.workspace.blobs.put(b"the rows of somebody who wants to be forgotten")
        session.record("blob.deleted", digest=digest, reason="killed before the content went")
        assert any("now gone" in text for text in reconcile(session))
        assert not session.workspace.blobs.exists(digest)


def test_no_fact_quotes_what_a_gate_found(tmp_path: Path) -> None:
    text = circles.UNTIMED.replace(*FEW).replace(
        "return 10 - abs(actual - predicted)", 'raise KeyError("Jane Doe, 1971-03-04")'
    )
    settings = circles.settings(tmp_path)
    turn = run(circles.write_project(tmp_path / "houses", text), settings=settings, stop=True)
    assert turn.decision.action == "hold"
    with opened(settings) as session:
        facts = [str(fact.body) for fact in session.workspace.ledger.facts()]
    assert any("held by its gates: worth at least 1 a row" in fact for fact in facts)
    assert not any("Jane" in fact for fact in facts)


CLASSES = """
import fullcircle as fc
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.compose import make_column_transformer


def good(X, y):
    return make_pipeline(make_column_transformer(("passthrough", ["x"])), RidgeClassifier()).fit(X, y)


def noise(X, y):
    return make_pipeline(make_column_transformer(("passthrough", ["z"])), RidgeClassifier()).fit(X, y)


project = fc.Project(
    name="classes",
    data=fc.Table("houses.csv"),
    label="y",
    features=["x", "z"],
    candidates={"noise": noise, "good": good},
    gates=[fc.at_least("accuracy", 0.8), fc.beats()],
    checks=["quality"],
)
"""


def test_candidates_without_probabilities_are_compared_by_accuracy(tmp_path: Path) -> None:
    rows = "".join(f"{(i * 7) % 10},{(i * 3) % 11},{'yes' if (i * 7) % 10 > 4 else 'no'}\n" for i in range(300))
    text = CLASSES.replace('fc.at_least("accuracy", 0.8), ', "")
    project = circles.write_project(tmp_path / "classes", text, "x,z,y\n" + rows)
    trained = train(project, settings=circles.settings(tmp_path))
    assert {candidate.metric for candidate in trained.candidates} == {"accuracy"}
    assert [candidate.name for candidate in trained.candidates if candidate.chosen] == ["good"]
    assert trained.metric == "accuracy"
    found = trained.report.measure("accuracy")
    assert found is not None
    assert found.value == 1.0


def test_evaluating_a_run_of_long_ago_uses_its_own_rows(rolled_back: tuple[Path, Settings]) -> None:
    project, settings = rolled_back
    with opened(settings) as session:
        first = next(iter(session.workspace.ledger.state().runs))
    report = evaluate(project, run=first, settings=settings)
    assert report.rows == 100


def test_a_run_that_was_killed_is_marked_so(rolled_back: tuple[Path, Settings]) -> None:
    _, settings = rolled_back
    script = (
        "import os, signal, circles\n"
        "from fullcircle.flows.session import opened\n"
        "from pathlib import Path\n"
        f"with opened(circles.settings(Path({str(settings.folder)!r}))) as session:\n"
        "    with session.tracking.run('houses', name='cut short', tags={}, params={}) as run:\n"
        "        print(run.id, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    paths = os.pathsep.join([str(Path(circles.__file__).parent), *sys.path])
    child = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, check=False, env={**os.environ, "PYTHONPATH": paths}
    )
    run_id = child.stdout.decode().strip()
    assert any(f"run {run_id[:12]} of houses was killed" in note for note in status(settings=settings).notes)
    (row,) = [row for row in runs("houses", settings=settings) if row.id == run_id]
    assert row.status == "KILLED"
