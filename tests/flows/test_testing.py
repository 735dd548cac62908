"""Tests of a model as a flow: on a run, on a version, and as a gate before a version is registered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

import circles
from circles import Circle
from fullcircle.development.loading import LoadedProject, load
from fullcircle.errors import GateFailed, RunNotFound, SettingInvalid, VersionNotFound
from fullcircle.flows import testing as flow
from fullcircle.flows import versions
from fullcircle.flows.audit import audit
from fullcircle.flows.package import package
from fullcircle.flows.promote import promote
from fullcircle.flows.retrain import retrain
from fullcircle.flows.session import opened
from fullcircle.flows.status import status
from fullcircle.flows.train import train
from fullcircle.flows.verify import verify
from fullcircle.settings import Settings
from fullcircle.types.tests import Tested

OWN = """
import pytest


def test_more_rooms_cost_more(scorer, rows):
    small, large = scorer.score([{**rows[0], "rooms": 1}, {**rows[0], "rooms": 8}])
    assert large.value > small.value
    rows.clear()


def test_rows_are_given_anew(rows):
    assert len(rows) == 25
    assert set(rows[0]) >= {"rooms", "heat", "area"}


def test_who_answers(scorer):
    assert scorer.name == EXPECTED
"""
CHEAT = """
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class Relative(RegressorMixin, BaseEstimator):
    '''Looks at a house beside the others that are asked about at the same time.'''

    def fit(self, X, y):
        self.base_ = float(np.mean(y))
        return self

    def predict(self, X):
        heat = np.nan_to_num(np.asarray(X["heat"], dtype=float))
        return self.base_ + 3 * (np.asarray(X["rooms"]) - 4.5) + 0.5 * (heat - heat.mean())
"""
CHEATING = """
import fullcircle as fc
from cheat import Relative

project = fc.Project(
    name="houses",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "heat", "area"],
    fit=lambda X, y: Relative().fit(X, y),
    gates=[fc.at_most("mae", 12)],
    retrain=fc.Retrain(cooldown="0s"),
    checks=["quality"],
)
"""
HONEST = """
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline


def Relative():
    from sklearn.compose import make_column_transformer
    return make_pipeline(make_column_transformer(("passthrough", ["heat"])), LinearRegression())
"""


def with_tests(circle: Circle, folder: Path, text: str) -> LoadedProject:
    """The project of the circle as if it lay in a folder with these tests of its own."""
    folder.mkdir()
    (folder / "test_houses.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:hypothesispytest -p no:anyio -p no:xdist\n")
    return replace(load(circle.project), folder=folder)


def recorded(settings: Settings) -> list[dict[str, object]]:
    with opened(settings, create=False) as session:
        return [dict(fact.body) for fact in session.workspace.ledger.facts("tests.recorded")]


class TestWhatATurnTells:
    def test_a_version_was_tested_before_it_was_registered(self, circle: Circle) -> None:
        packaged = circle.turn.packaged
        assert packaged is not None
        assert packaged.tests.keys() <= {"passed", "noted"}
        assert packaged.tests["passed"] > 60
        with opened(circle.settings, create=False) as session:
            facts = list(session.workspace.ledger.facts())
            kinds = [fact.kind for fact in facts]
            assert kinds.index("bundle.built") < kinds.index("tests.recorded") < kinds.index("version.registered")
            body = facts[kinds.index("tests.recorded")].body
            assert (body["passed"], body["failed"], body["bundle"]) == (True, 0, packaged.bundle)
            kept = session.recall(str(body["tests"]), Tested)
        assert kept.counts == packaged.tests
        assert len(kept.cases) == body["cases"] == sum(packaged.tests.values())

    def test_it_is_a_stage_of_the_turn_and_in_the_status(self, circle: Circle) -> None:
        (stage,) = [stage for stage in circle.turn.stages if stage.name == "test"]
        assert stage.text.startswith("tests: ")
        (model,) = status(settings=circle.settings).models
        assert "passed" in model.last_tests


class TestTheFlow:
    def test_a_version_with_tests_of_its_own(self, circle: Circle, tmp_path: Path) -> None:
        source = with_tests(circle, tmp_path / "own", OWN.replace("EXPECTED", "'houses'"))
        tested = flow.test(source, version=1, settings=circle.settings)
        assert tested.failures == ()
        assert circle.turn.packaged is not None
        assert (tested.version, tested.bundle) == (1, circle.turn.packaged.bundle)
        kinds = {kind: [case for case in tested.cases if case.kind == kind] for kind in ("golden", "project")}
        assert [case.name for case in kinds["golden"]] == ["25 golden rows answered again"]
        assert kinds["golden"][0].text == "the same bits"
        assert len(kinds["project"]) == 3
        assert sum(tested.counts.values()) == len(tested.cases)
        assert recorded(circle.settings)[-1]["tests"] == tested.digest
        assert audit(settings=circle.settings).passed

    def test_a_run_is_tested_without_a_bundle(self, circle: Circle, tmp_path: Path) -> None:
        source = with_tests(circle, tmp_path / "own", OWN.replace("EXPECTED", "'another'"))
        tested = flow.test(source, run=circle.turn.trained.run[:10], settings=circle.settings)
        assert (tested.passed, tested.version, tested.bundle) == (False, None, "")
        (failure,) = tested.failures
        assert failure.name == "test_houses::test_who_answers"
        assert recorded(circle.settings)[-1]["failed"] == 1
        assert msgspec.json.decode(msgspec.json.encode(tested), type=Tested) == tested

    def test_what_is_not_there(self, circle: Circle) -> None:
        with pytest.raises(RunNotFound):
            flow.test(circle.project, run="no such run", settings=circle.settings)
        with pytest.raises(VersionNotFound):
            flow.test(circle.project, version=99, settings=circle.settings)
        with pytest.raises(SettingInvalid, match="at once"):
            flow.test(circle.project, run="abcd", version=1, settings=circle.settings)

    def test_a_test_that_fails_holds_a_version_back(self, circle: Circle, tmp_path: Path) -> None:
        source = with_tests(circle, tmp_path / "own", "def test_never(rows): assert len(rows) == 3\n")
        before = status(settings=circle.settings).models[0].versions
        with opened(circle.settings) as session:
            bundle = versions.bundle(session, "houses", 1)
            run = circle.turn.trained.run
            with pytest.raises(GateFailed, match="test_houses::test_never") as caught:
                flow.gate(session, source, bundle, run=run, digest=bundle.digest)
        assert caught.value.exit_code == 1
        assert status(settings=circle.settings).models[0].versions == before


@pytest.fixture(scope="module")
def cheating(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Settings]:
    """A project with a champion that was trained and packaged before somebody changed its model."""
    folder = tmp_path_factory.mktemp("cheating")
    project = circles.write_project(folder / "houses", CHEATING)
    (project.parent / "cheat.py").write_text(HONEST)
    settings = circles.settings(folder)
    assert train(project, settings=settings).report.passed
    packaged = package(project, out=folder / "handover", settings=settings)
    assert packaged.tests["passed"] > 50
    in_hand = verify(Path(packaged.folder) / "bundle.zip", digest=packaged.bundle)
    assert (in_hand.passed, len(in_hand.attestations)) == (True, 3)
    promote(project, version=packaged.version, settings=settings)
    (project.parent / "cheat.py").write_text(CHEAT)
    return project, settings


def test_a_model_that_normalises_over_the_batch_passes_its_gates_and_not_its_tests(
    cheating: tuple[Path, Settings],
) -> None:
    project, settings = cheating
    retrained = retrain(project, settings=settings)
    assert retrained.trained is not None
    assert retrained.trained.report.passed
    assert (retrained.decision.action, retrained.packaged) == ("hold", None)
    assert "held: by its tests: " in retrained.decision.reason
    assert "another answer" in retrained.decision.reason
    tested = flow.test(project, settings=settings)
    names = {case.name for case in tested.failures}
    assert {"rows one at a time", "rows two at a time", "beside rows that do not fit"} <= names
    assert tested.run == retrained.trained.run
    assert [body["passed"] for body in recorded(settings)] == [True, False, False]
    (model,) = status(settings=settings).models
    assert (model.versions, model.champion) == ((1,), 1)
    assert "failed" in model.last_tests
    with opened(settings, create=False) as session:
        (held,) = [fact for fact in session.workspace.ledger.facts("decision.taken") if fact.body["action"] == "hold"]
        assert "did not pass its tests" in held.body["reason"]
