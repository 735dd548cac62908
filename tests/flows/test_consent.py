"""A model whose file runs code when it is loaded: never without consent, and with it said everywhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
from msgspec import structs

import circles
from fullcircle.errors import ModelRefused
from fullcircle.flows import consent, reports, testing, versions
from fullcircle.flows.evaluate import evaluate
from fullcircle.flows.package import package
from fullcircle.flows.promote import promote
from fullcircle.flows.score import score
from fullcircle.flows.session import opened
from fullcircle.flows.status import status
from fullcircle.flows.train import train
from fullcircle.flows.why import why
from fullcircle.packaging.loading import restore
from fullcircle.packaging.loading import scorer as scorer_of
from fullcircle.server.follower import Entry, Follower, Previous
from fullcircle.server.opening import Opener
from fullcircle.settings import Settings

HALVES = '''
from fractions import Fraction

from sklearn.linear_model import Ridge


class Halves:
    """Holds a fraction, which no file of ours can hold without a pickle."""

    def __init__(self):
        self.share = Fraction(1, 2)
        self.inner = Ridge()

    def fit(self, X, y):
        self.inner.fit(X, y)
        return self

    def predict(self, X):
        return self.inner.predict(X) + float(self.share)
'''
PROJECT = """
import fullcircle as fc
from halves import Halves

project = fc.Project(
    name="halves",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "heat"],
    fit=lambda X, y: Halves().fit(X, y),
    checks=["quality"],
    gates=[fc.at_most("mae", 50)],
    allow_pickle=True,
)
"""


@dataclass(frozen=True)
class Champion:
    project: Path
    settings: Settings
    folder: Path


def written(folder: Path, text: str = PROJECT) -> Path:
    project = circles.write_project(folder / "halves", text, circles.houses(rows=120))
    (project.parent / "halves.py").write_text(HALVES)
    return project


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Champion:
    folder = tmp_path_factory.mktemp("consent")
    project = written(folder)
    settings = circles.settings(folder)
    trained = train(project, settings=settings)
    assert consent.NOTE in trained.report.notes
    package(project, settings=settings)
    promote("halves", version=1, settings=settings)
    return Champion(project, settings, folder)


def test_without_consent_the_refusal_names_the_type_and_the_way(tmp_path: Path) -> None:
    project = written(tmp_path, PROJECT.replace("    allow_pickle=True,\n", ""))
    with pytest.raises(ModelRefused) as caught:
        train(project, settings=circles.settings(tmp_path))
    assert "Fraction" in str(caught.value)
    assert "allow_pickle=True" in str(caught.value)
    assert "runs code" in str(caught.value)


def test_the_ledger_says_for_which_run_and_which_bundle(champion: Champion) -> None:
    with opened(champion.settings) as session:
        known = versions.find(session, "halves", 1)
        facts = [dict(fact.body) for fact in session.workspace.ledger.facts("pickle.allowed")]
        assert facts[0] == {"model": "halves", "run": known.run}
        assert facts[-1] == {"model": "halves", "run": known.run, "bundle": known.bundle}
        assert consent.given(session, known.bundle)
        assert not consent.given(session, "0" * 64)


@pytest.mark.parametrize("ending", reports.ENDINGS)
def test_every_face_of_every_report_says_it(champion: Champion, ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"report{ending}"
    report = evaluate(champion.project, settings=champion.settings, out=out)
    assert consent.NOTE in report.notes
    assert "runs code when it is loaded" in out.read_text()


def test_status_names_the_version_and_why_the_fact(champion: Champion) -> None:
    (model,) = status(settings=champion.settings).models
    assert model.pickled == (1,)
    rows = champion.folder / "rows.csv"
    rows.write_text("rooms,heat\n3,20.5\n")
    score(champion.project, rows, champion.folder / "out.csv", workers=1, settings=champion.settings)
    scored = pd.read_csv(champion.folder / "out.csv")
    found = why(str(scored["prediction_id"][0]), settings=champion.settings)
    assert found.consent is not None
    assert found.consent.body["bundle"] == found.bundle


def test_it_is_tested_with_the_consent_of_its_bundle(champion: Champion) -> None:
    tests = champion.project.parent / "test_own.py"
    tests.write_text("def test_it_answers(scorer, rows):\n    assert len(scorer.score(rows)) == len(rows)\n")
    try:
        tested = testing.test(champion.project, version=1, settings=champion.settings)
    finally:
        tests.unlink()
    assert tested.passed, tested.failures
    assert any(case.kind == "project" for case in tested.cases)


def test_a_bundle_alone_is_no_consent(champion: Champion, tmp_path: Path) -> None:
    with opened(champion.settings) as session:
        bundle = versions.bundle(session, "halves", 1)
    with pytest.raises(ModelRefused, match="nobody consented"):
        scorer_of(bundle, tmp_path)
    with pytest.raises(ModelRefused, match="nobody consented"):
        restore("pickled", replace(bundle.saved, pickled=False), tmp_path)
    assert len(scorer_of(bundle, tmp_path, allow_pickle=True).score([dict(bundle.golden[0].row)])) == 1


def test_a_server_loads_it_only_where_served_json_carries_the_consent(champion: Champion, tmp_path: Path) -> None:
    served = json.loads(champion.settings.workspace.joinpath("served.json").read_text())
    entry = served["models"]["halves"]
    assert entry["pickle"] is True
    path = tmp_path / "served.json"
    path.write_text(json.dumps(served))
    assert Follower(path, Opener(tmp_path / "code")).look().ready
    del entry["pickle"]
    path.write_text(json.dumps(served))
    view = Follower(path, Opener(tmp_path / "code")).look()
    assert not view.ready
    assert view.troubles["halves"].code == ModelRefused.code


def test_nor_does_the_champion_before_stand_in_without_it(champion: Champion, tmp_path: Path) -> None:
    served = json.loads(champion.settings.workspace.joinpath("served.json").read_text())
    before = Previous(**served["models"]["halves"])
    entry = Entry(version=2, bundle="0" * 64, path="later.zip", previous=before)
    opener = Opener(tmp_path / "code")
    assert opener.before(tmp_path, "halves", entry) is not None
    without = Entry(version=2, bundle="0" * 64, path="later.zip", previous=structs.replace(before, pickle=False))
    assert opener.before(tmp_path, "halves", without) is None
