"""The project file of an adopted model: valid, short, and true to what was decided, whatever the names are."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fullcircle.development.loading import load
from fullcircle.exploration.adopting import Plan, gate, text

PLAN = Plan(
    name="houses",
    origin="skops file of scikit-learn",
    data="../sample.parquet",
    label="cost",
    task="regression",
    features=("rooms", "heat"),
    gaps=(),
    test=0.5,
    gate='fc.at_most("mae", 6.24),  # why',
    file="model.skops",
    runtime="sklearn",
    sha256="a" * 64,
)


def project(folder: Path, plan: Plan) -> Any:
    (folder / "project.py").write_text(text(plan), encoding="utf-8")
    return load(folder / "project.py").project


def test_it_declares_what_was_decided(tmp_path: Path) -> None:
    found = project(tmp_path, PLAN)
    assert (found.name, found.label, found.task, found.test) == ("houses", "cost", "regression", 0.5)
    assert found.features == ("rooms", "heat")
    assert found.data.source == "../sample.parquet"
    assert len(found.gates) == 1
    assert '# fc.beats("champion"),' in (tmp_path / "project.py").read_text()
    assert found.allow_pickle is False
    fit = found.fits["model"]
    assert (fit.path, fit.runtime, fit.sha256) == (tmp_path / "model.skops", "sklearn", "a" * 64)
    assert fit.allow_pickle is False


def test_consent_stands_in_both_places_where_somebody_gave_it(tmp_path: Path) -> None:
    found = project(tmp_path, dataclasses.replace(PLAN, pickled=True, runtime="pickled", file="model.pkl"))
    assert found.allow_pickle is True
    assert found.fits["model"].allow_pickle is True
    assert "consented" in (tmp_path / "project.py").read_text()


def test_gaps_of_the_sample_are_welcome(tmp_path: Path) -> None:
    found = project(tmp_path, dataclasses.replace(PLAN, gaps=("heat",)))
    assert found.inputs.columns == {"heat": {"nullable": True}}


@pytest.mark.parametrize("odd", ['say "x"', "it's", "\\", "größe", "a\nb", '"""', "{x}", "#", "\x07"])
def test_odd_names_are_written_as_they_are(tmp_path: Path, odd: str) -> None:
    plan = dataclasses.replace(
        PLAN, features=(odd, "heat"), label=f"{odd}!", origin=odd, gaps=(odd,), data=f"{odd}.csv"
    )
    found = project(tmp_path, plan)
    assert found.features == (odd, "heat")
    assert found.label == f"{odd}!"
    assert found.data.source == f"{odd}.csv"
    assert odd in found.inputs.columns


def test_it_is_short_and_formatted() -> None:
    written = text(PLAN)
    assert len(written.splitlines()) < 60
    assert max(map(len, written.splitlines())) <= 118
    assert ast.parse(written)


@pytest.mark.parametrize(
    ("labels", "task", "probable", "wanted"),
    [
        ([1.0, 2.0, 3.0, 6.0], "regression", False, 'fc.at_most("mae", 1.5)'),
        ([5.0, 5.0, 5.0], "regression", False, 'fc.at_most("mae", '),
        ([0, 1, 1, 0], "classification", True, 'fc.at_least("roc_auc", 0.5)'),
        ([0, 1, 1, 0], "classification", False, 'fc.at_least("balanced_accuracy", 0.5)'),
        (["a", "b", "c"], "classification", True, 'fc.at_least("balanced_accuracy", 0.333)'),
    ],
)
def test_the_gate_is_passed_by_any_model_that_learned_something(
    labels: list[Any], task: Any, probable: bool, wanted: str
) -> None:
    assert gate(pd.Series(labels), task, probable=probable).startswith(wanted)
