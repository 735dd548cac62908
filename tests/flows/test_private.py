"""What is private stays out of the log and of the bundle; labels that no model gives stay out of the training."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import circles
from fullcircle.flows import versions
from fullcircle.flows.monitor import monitor
from fullcircle.flows.package import package
from fullcircle.flows.promote import promote
from fullcircle.flows.retrain import retrain
from fullcircle.flows.session import opened
from fullcircle.flows.train import train
from fullcircle.packaging import bundle as bundles
from fullcircle.packaging.bundle import Bundle
from fullcircle.server.desk import Desk
from fullcircle.server.follower import Loaded
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log

PRIVATE = """
import fullcircle as fc
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline


def fit(X, y):
    numbers = ColumnTransformer([("numbers", "passthrough", ["rooms", "heat", "income"])])
    return make_pipeline(numbers, Ridge()).fit(X, y)


project = fc.Project(
    name="secrets",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "heat", "income", "person"],
    fit=fit,
    inputs=fc.Inputs(columns={"income": {"private": True}, "person": {"private": True}}),
    checks=["quality"],
    gates=[fc.at_most("mae", 5)],
)
"""


@dataclass(frozen=True)
class Champion:
    project: Path
    settings: Settings
    frame: pd.DataFrame
    name: str

    def answered(self, rows: list[dict[str, Any]]) -> list[str]:
        """The ids of these rows, asked as a server asks."""
        with opened(self.settings) as session:
            scorer = versions.scorer(session, self.name, 1)
            desk = Desk(session.workspace.predictions)
            one = Loaded(model=self.name, version=1, bundle="b" * 64, scorer=scorer)
            found = asyncio.run(desk.logged(one, desk.scored(one, rows), 0.0))
            desk.close()
        return [json.loads(one)["id"] for one in found.rows]

    @property
    def outcomes(self) -> Path:
        (folder,) = {path.parent for path in self.settings.workspace.rglob("*.jsonl") if self.name in str(path)}
        return folder / log.OUTCOMES


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Champion:
    folder = tmp_path_factory.mktemp("secrets")
    project = circles.write_project(folder / "secrets", PRIVATE)
    frame = pd.read_csv(project.parent / "houses.csv")
    frame["income"] = [round(31234.5678 + 97.8361 * place, 4) for place in range(len(frame))]
    frame["person"] = [f"Person-{7919 * place}-Secret" for place in range(len(frame))]
    frame.to_csv(project.parent / "houses.csv", index=False)
    settings = circles.settings(folder)
    train(project, settings=settings)
    package(project, settings=settings)
    promote("secrets", version=1, settings=settings)
    return Champion(project, settings, frame, "secrets")


@pytest.fixture(scope="module")
def bundle(secrets: Champion) -> Bundle:
    with opened(secrets.settings) as session:
        return versions.bundle(session, "secrets", 1)


def test_no_private_value_of_the_data_is_anywhere_in_the_bundle(secrets: Champion, bundle: Bundle) -> None:
    """But the fill: the training rows' median, which the contract needs to answer a row without the value."""
    assert bundles.open_bundle(bundles.pack(bundle)).files == bundle.files
    fills = {column.name: column.fill for column in bundle.contract.columns}
    found = [
        (name, value)
        for name, content in bundle.files.items()
        if not name.startswith("wheels/")
        for value in [
            *secrets.frame["person"],
            *(each for each in secrets.frame["income"] if each != fills["income"]),
        ]
        if str(value).encode() in content or (isinstance(value, float) and struct.pack("<d", value) in content)
    ]
    assert found == []


def test_golden_rows_are_answered_with_the_fill(bundle: Bundle) -> None:
    fills = {column.name: column.fill for column in bundle.contract.columns}
    assert len(bundle.golden) == 25
    for row in bundle.golden:
        assert row.verdict.status == "ok"
        assert (row.row["income"], row.row["person"]) == (fills["income"], fills["person"])
    assert len({row.row["heat"] for row in bundle.golden}) > 10


def test_private_columns_are_not_watched_and_retraining_is_held(secrets: Champion) -> None:
    rows = secrets.frame.drop(columns=["cost", "area"]).head(100).to_dict(orient="records")
    ids = secrets.answered(rows)
    secrets.outcomes.write_text("".join(f'{{"prediction_id": "{one}", "value": 20.5}}\n' for one in ids))
    window = monitor(secrets.project, settings=secrets.settings)
    assert {"income", "person"}.isdisjoint(one.feature for alarm in window.alarms for one in alarm.suspects)
    drift = next(finding for finding in window.report.findings if finding.check == "drift")
    assert "Not watched, because private: income, person." in drift.text
    held = retrain(secrets.project, settings=secrets.settings)
    assert (held.decision.action, held.trained) == ("hold", None)
    assert "income, person are private, so the log holds no values" in held.decision.reason


def test_labels_that_no_model_gives_stop_neither_monitoring_nor_retraining(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Lines of an earlier server: 400 digits, a whole number beyond 64 bits, a text."""
    found = circles.copy(tmp_path_factory, circles.STILL, tmp_path)
    frame = pd.read_csv(found.project.parent / "houses.csv")
    champion = Champion(found.project, found.settings, frame, "houses")
    rows = champion.frame[["rooms", "heat", "area"]].assign(heat=lambda frame: frame["heat"] + 0.001)
    ids = champion.answered(rows.head(60).to_dict(orient="records"))
    labels = ["1" * 400, '"high"', *(f"{18 + place / 7}" for place in range(58))]
    lines = [f'{{"prediction_id": "{one}", "value": {label}}}\n' for one, label in zip(ids, labels, strict=True)]
    champion.outcomes.write_text("".join(lines))
    window = monitor(champion.project, settings=champion.settings)
    assert window.labelled == 58
    quality = next(finding for finding in window.report.findings if finding.check == "quality")
    assert "2 labels are of the wrong kind" in quality.text
    retrained = retrain(champion.project, settings=champion.settings)
    assert retrained.new_rows + retrained.quarantined == 58
