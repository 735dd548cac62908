"""Promotion, rollback, retraining that is promoted, and reconciling with MLflow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

import circles
from fullcircle.deployment import client
from fullcircle.errors import GateFailed, StateConflict, VersionNotFound
from fullcircle.flows import deploy
from fullcircle.flows.package import package
from fullcircle.flows.promote import approve, promote, rollback
from fullcircle.flows.run import run
from fullcircle.flows.session import opened
from fullcircle.flows.status import status
from fullcircle.flows.train import train
from fullcircle.settings import Settings
from fullcircle.types.turn import Turn


def _serves(url: str, version: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if client.models(url)[0].version == version:
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A project whose prices rise by 8, so that retraining helps: version 2 is made, and a person lets it through."""
    found = circles.copy(tmp_path_factory, circles.STILL, tmp_path_factory.mktemp("years"))
    (found.project.parent / "later.csv").write_text(circles.houses(seed=1, rows=600, shift=8.0))
    return found.project, found.settings


@pytest.fixture(scope="module", autouse=True)
def turned(years: tuple[Path, Settings]) -> Iterator[Turn]:
    project, settings = years
    turn = run(project, settings=settings)
    approve("houses", version=2, reason="houses cost more since the new year", settings=settings)
    promote("houses", version=2, settings=settings)
    yield turn
    deploy.remove("houses", settings=settings)


def test_retraining_that_helps_waits_for_a_person_and_is_served(years: tuple[Path, Settings], turned: Turn) -> None:
    assert turned.retrained is not None
    decision = turned.retrained.decision
    assert decision.action == "hold", "one batch of other labels: nobody can tell it from a whole batch of wrong ones"
    assert "losses grew in window next year" in decision.reason
    assert "better on " in decision.reason
    assert "a person must look" in decision.reason
    assert 'fullcircle approve houses --version 2 --reason "..."' in decision.reason
    assert turned.retrained.new_rows + turned.retrained.quarantined == 600
    assert turned.retrained.new_rows > 575
    assert turned.champion == 1
    assert turned.deployed is not None
    assert _serves(turned.deployed.url, 2), "after the approval"


def test_rollback_and_promotion_move_the_server_and_the_alias(years: tuple[Path, Settings]) -> None:
    _, settings = years
    url = status(settings=settings).models[0].url
    assert url is not None
    back = rollback("houses", settings=settings)
    assert (back.action, back.version, back.previous) == ("rollback", 1, 2)
    assert _serves(url, 1)
    mlflow = _mlflow(settings)
    assert int(mlflow.get_model_version_by_alias("houses", "champion").version) == 1
    with pytest.raises(VersionNotFound):
        rollback("houses", settings=settings)
    forth = promote("houses", version=2, settings=settings)
    assert (forth.version, forth.previous) == (2, 1)
    assert _serves(url, 2)
    with pytest.raises(StateConflict, match="champion already"):
        promote("houses", version=2, settings=settings)
    with pytest.raises(VersionNotFound):
        promote("houses", version=9, settings=settings)


def test_a_version_judged_against_another_champion_is_not_promoted(years: tuple[Path, Settings]) -> None:
    with pytest.raises(StateConflict, match="judged while there was no champion"):
        promote("houses", version=1, settings=years[1])


def test_a_run_that_failed_its_gates_is_not_packaged(years: tuple[Path, Settings]) -> None:
    project, settings = years
    trained = train(project, settings=settings, params={"learning_rate": "0.0001"})
    assert not trained.report.passed
    with pytest.raises(GateFailed, match="did not pass"):
        package(project, settings=settings)
    assert status(settings=settings).models[0].versions == (1, 2)


def test_an_alias_moved_by_hand_is_reported_and_not_adopted(years: tuple[Path, Settings]) -> None:
    _, settings = years
    mlflow = _mlflow(settings)
    mlflow.set_registered_model_alias("houses", "champion", "1")
    try:
        found = status(settings=settings)
        assert found.models[0].champion == 2
        assert any("moved by hand to version 1" in note for note in found.notes)
        assert int(mlflow.get_model_version_by_alias("houses", "champion").version) == 1, "left as it is"
    finally:
        mlflow.set_registered_model_alias("houses", "champion", "2")


def test_an_alias_that_lagged_behind_is_caught_up(years: tuple[Path, Settings]) -> None:
    _, settings = years
    mlflow = _mlflow(settings)
    mlflow.set_registered_model_alias("houses", "champion", "1")
    mlflow.set_registered_model_tag("houses", "fullcircle.alias_seq", "1")
    found = status(settings=settings)
    assert any("lagged behind" in note for note in found.notes)
    assert int(mlflow.get_model_version_by_alias("houses", "champion").version) == 2
    assert status(settings=settings).notes == ()


def test_a_version_that_was_never_finished_is_marked_abandoned(years: tuple[Path, Settings]) -> None:
    _, settings = years
    with opened(settings) as session:
        run_id = next(iter(session.workspace.ledger.state().runs))
        session.tracking.register("houses", run_id, "0" * 64)
    found = status(settings=settings)
    assert any("never finished" in note for note in found.notes)
    assert found.models[0].versions == (1, 2)
    assert status(settings=settings).notes == ()


def _mlflow(settings: Settings) -> MlflowClient:
    uri = f"sqlite:///{settings.workspace / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)
