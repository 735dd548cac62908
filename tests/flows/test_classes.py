"""A circle with classes: gaps, words, yes and no, two candidates, groups that are no feature, approval by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import circles
from children import servers, surrounding
from fullcircle.cli import app
from fullcircle.deployment import client
from fullcircle.flows.run import run
from fullcircle.flows.runs import runs
from fullcircle.flows.why import why
from fullcircle.settings import Settings
from fullcircle.types.turn import Turn

PROJECT = """
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fullcircle as fc
from wording import Complaints


def trees(X, y, **params):
    chosen = make_column_transformer(
        ("passthrough", ["visits", "member", "plan", "spend"]), remainder="drop", verbose_feature_names_out=False
    ).set_output(transform="pandas")
    model = HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0, max_iter=10)
    return make_pipeline(chosen, model).fit(X, y)


def words(X, y, **params):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    columns = make_column_transformer((Complaints(), ["note"]), (numbers, ["visits", "spend"]))
    return make_pipeline(columns, LogisticRegression(C=params["C"], max_iter=300)).fit(X, y)


def kept(actual, predicted):
    return np.where(predicted == "leaves", np.where(actual == "leaves", 20, -5), 0)


def fuller(rows):
    return rows.assign(visits=rows["visits"] + 6)


project = fc.Project(
    name="leavers",
    data=fc.Table("leavers.csv"),
    label="outcome",
    features=["visits", "member", "plan", "note", "spend"],
    candidates={"trees": trees, "words": words},
    params={"C": 0.5},
    inputs=fc.Inputs(missing="impute", columns={"spend": {"nullable": True}, "visits": {"outside": "reject"}}),
    checks=["quality", "fairness", "value"],
    gates=[
        fc.at_most("log_loss", 0.69),
        fc.beats("champion"),
        fc.fair(by="region", metric="accuracy", gap=0.5),
        fc.worth(per_row=kept, at_least=0.5),
    ],
    retrain=fc.Retrain(approve="person"),
    arrivals={"later": fc.Table("later.csv")},
)
"""

WORDING = """
from sklearn.base import BaseEstimator, TransformerMixin


class Complaints(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X.apply(lambda column: column.str.contains("complains")).to_numpy(dtype=float)

    def get_feature_names_out(self, names=None):
        return names
"""


def leavers(seed: int, rows: int, *, turned: bool = False) -> pd.DataFrame:
    """Who leaves: people who visit seldom, who are no members, who complain. ``turned``: who visit often, too."""
    rng = np.random.default_rng(seed)
    visits, member = rng.integers(0, 12, rows), rng.random(rows) < 0.5
    plan = rng.choice(["basic", "plus", "[/] old"], rows)
    complains = rng.random(rows) < 0.3
    opening = np.where(complains, "complains about", "is content with")
    note = [
        f"{first} the service, case {number}"
        for first, number in zip(opening, rng.integers(0, 9999, rows), strict=True)
    ]
    seldom = (np.abs(visits - 5.5) - 3.0) * 1.4 if turned else (visits - 5.5) * -0.7
    strength = seldom - 1.0 * member + 2.0 * complains - 0.2
    leaves = strength + rng.logistic(0, 0.4, rows) > 0
    return pd.DataFrame(
        {
            "visits": visits,
            "member": member,
            "plan": plan,
            "note": note,
            "spend": np.where(rng.random(rows) < 0.2, np.nan, rng.gamma(2, 30, rows).round(2)),
            "region": rng.choice(["hills", "coast"], rows),
            "outcome": np.where(leaves, "leaves", "stays"),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("leavers")
    leavers(0, 480).to_csv(folder / "leavers.csv", index=False)
    leavers(1, 600, turned=True).to_csv(folder / "later.csv", index=False)
    (folder / "project.py").write_text(PROJECT)
    (folder / "wording.py").write_text(WORDING)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in {**surrounding(folder), "COLUMNS": "250"}.items():
            patch.setenv(name, value)
        yield folder
        _invoke("deploy", "leavers", "--stop")
    assert not servers(folder)


def _invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def settings(folder: Path) -> Settings:
    return circles.settings(folder)


@pytest.fixture(scope="module")
def turn(folder: Path, settings: Settings) -> Turn:
    return run("project.py", settings=settings)


def test_the_better_candidate_goes_on(turn: Turn, settings: Settings) -> None:
    assert {one.name for one in turn.trained.candidates} == {"trees", "words"}
    (chosen,) = [one for one in turn.trained.candidates if one.chosen]
    assert chosen.value == min(one.value or 9.0 for one in turn.trained.candidates)
    assert chosen.metric == "log_loss"
    assert {row.name for row in runs("leavers", settings=settings)} == {"trees", "words"}
    assert turn.trained.report.passed, turn.decision
    gates = {gate.gate: gate.reason for gate in turn.trained.report.gates}
    assert "accuracy differs by at most 0.5 between groups of region" in gates


def test_it_answers_with_classes_and_probabilities(turn: Turn) -> None:
    assert turn.deployed is not None
    assert turn.deployed.largest_difference == 0.0
    good = {
        "visits": 1,
        "member": False,
        "plan": "[/] old",
        "note": "complains about us",
        "spend": None,
        "region": "coast",
    }
    rows = [
        good,
        {**good, "visits": 11, "member": True, "note": "is content"},
        {**good, "visits": 500},
        {**good, "member": 1},
    ]
    first, second, outside, wrong = client.predict(turn.deployed.url, "leavers", rows)
    assert (first.value, first.verdict.status) == ("leaves", "ok")
    assert second.value == "stays"
    assert first.probabilities is not None
    assert set(first.probabilities) == {"leaves", "stays"}
    assert first.probabilities["leaves"] > 0.5
    assert outside.verdict.status == "rejected"
    assert wrong.verdict.status == "rejected", "1 is not true"
    assert outside.value is None


def test_a_retraining_that_passes_waits_for_a_person(turn: Turn) -> None:
    assert turn.retrained is not None
    assert turn.retrained.decision.action == "hold"
    assert (
        'all gates passed, waiting for approval: fullcircle approve leavers --version 2 --reason "..."'
        in turn.retrained.decision.reason
    )
    assert turn.retrained.packaged is not None
    assert turn.retrained.packaged.version == 2
    assert turn.champion == 1


def test_a_person_approves_what_waited_and_promotes_it(turn: Turn, settings: Settings) -> None:
    again = _invoke("run", "project.py", "--json")
    assert json.loads(again.stdout)["champion"] == 1, "running again is no approval"
    told = json.loads(again.stdout)["retrained"]["decision"]["reason"]
    assert "version 2 was made from the same rows; all gates passed, waiting for approval" in told
    versions = json.loads(_invoke("status", "--json").stdout)["models"][0]["versions"]
    assert versions == [1, 2], "what waits is not made again"
    refused = _invoke("promote", "leavers", "--version", "2", "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["error"]["code"] == "approval_missing"
    approved = _invoke("approve", "leavers", "--version", "2", "--reason", "looked at by [/] us", "--json")
    assert approved.exit_code == 0, approved.output
    assert json.loads(approved.stdout)["reason"] == "looked at by [/] us"
    promoted = _invoke("promote", "leavers", "--version", "2", "--reason", "looked at by [/] us", "--json")
    assert promoted.exit_code == 0, promoted.output
    decision = json.loads(promoted.stdout)
    assert (decision["action"], decision["version"], decision["previous"]) == ("promote", 2, 1)
    found = json.loads(_invoke("status", "--json").stdout)["models"][0]
    assert found["champion"] == 2
    assert found["versions"] == versions
    assert _invoke("audit").exit_code == 0


def test_why_shows_what_the_model_was_told(turn: Turn, settings: Settings) -> None:
    found = why(turn.sample_prediction, settings=settings)
    assert found.candidate in ("trees", "words")
    assert found.prediction.probabilities is not None
    assert found.prediction.inputs is not None
    assert found.outcome is not None
    assert found.outcome.value in ("leaves", "stays")
