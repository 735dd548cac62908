"""The examples load, declare what their README says, and name no path of a machine."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fullcircle.development.loading import load
from fullcircle.errors import TableNotFound
from fullcircle.tables.reading import read
from laws.sizes import ROOT

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/project.py"))
EMPLOYMENT = Path(os.environ.get("EMPLOYMENT_DIR") or ROOT.parent / "shared" / "data")


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_loads_and_is_short(folder: Path) -> None:
    project = load(folder).project
    assert project.gates
    assert project.arrivals
    text = (folder / "project.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    assert (folder / "README.md").is_file()
    assert not re.search(r'["\']/(?:\w+/)+', text)


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_has_the_contract_of_its_features_and_a_readme_that_says_how_it_is_run(folder: Path) -> None:
    project = load(folder).project
    contract = tomllib.loads((folder / "contract.toml").read_text(encoding="utf-8"))
    assert list(contract["columns"]) == list(project.features)
    told = (folder / "README.md").read_text(encoding="utf-8")
    assert f"fullcircle run examples/{folder.name}" in told
    assert (f"fullcircle rehearse examples/{folder.name}" in told) == (project.history is not None)


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_a_history_that_is_played_has_a_time_and_is_not_only_what_the_project_learns_from(folder: Path) -> None:
    project = load(folder).project
    if project.history is None:
        pytest.skip("it has no history of its own")
    assert project.history.time
    assert project.history != project.data
    assert project.label_at or project.label_delay != "0s", "labels come later than their rows"


def test_the_later_patients_are_not_among_those_learned_from() -> None:
    project = load(ROOT / "examples/diabetes").project
    now, later = project.data.source, project.arrivals["next patients"].source
    assert len(now) + len(later) == 442
    assert not set(now.index) & set(later.index)
    wrong = project.arrivals["bmi in the wrong unit"](now)
    assert wrong["bmi"].to_numpy() == pytest.approx(later["bmi"].to_numpy() * 10)
    assert "age_group" not in project.features


def test_without_the_file_of_bike_rides_it_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIKE_HOUR", raising=False)
    source = load(ROOT / "examples/bike_demand")
    with pytest.raises(TableNotFound) as caught:
        read(source.project.data, folder=source.folder)
    assert "BIKE_HOUR" in str(caught.value)
    assert "README" in str(caught.value)


def _hours() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "dteday": ["2011-10-05"] * 200 + ["2012-02-01"] * 200,
            "hr": np.arange(400) % 24,
            "weathersit": np.arange(400) % 4 + 1,
            "workingday": 1,
            "temp": 0.5,
            "hum": 0.4,
            "windspeed": 0.1,
            "cnt": np.arange(400),
        }
    )


def test_the_history_of_bike_rides_is_all_of_both_years_in_units() -> None:
    history = load(ROOT / "examples/bike_demand").project.history
    played = history.prepare(_hours())
    assert len(played) == 400
    assert played["temp"].iloc[0] == pytest.approx(20.5)
    assert (history.since, history.until) == ("2011-01-01", "2013-01-01")


def test_bike_rides_are_in_units_and_the_held_out_hours_are_apart() -> None:
    hours = _hours()
    project = load(ROOT / "examples/bike_demand").project
    learned = project.data.prepare(hours)
    held = project.arrivals["a hold-out of 2011"].prepare(hours)
    assert len(learned) + len(held) == 400
    assert not set(learned["cnt"]) & set(held["cnt"])
    assert learned["temp"].iloc[0] == pytest.approx(20.5)
    wrong = project.arrivals["temperature in Fahrenheit"].prepare(hours)
    assert wrong["temp"].iloc[0] == pytest.approx(68.9)
    assert str(learned["weathersit"].dtype) == "category"
    assert learned["started_at"].iloc[1] - learned["started_at"].iloc[0] == pd.Timedelta(hours=1)


def _people(year: int, ids: range) -> pd.DataFrame:
    codes = ["SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM"]
    said = {name: pd.Categorical(["1"] * len(ids)) for name in codes}
    return pd.DataFrame(
        {
            "id": list(ids),
            "year": year,
            "AGEP": 40.0,
            **said,
            "SEX": pd.Categorical([str(1 + place % 2) for place in ids]),
            "RAC1P": pd.Categorical([str(1 + place % 9) for place in ids]),
            "prediction": 1,
        }
    )


@pytest.fixture
def surveys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small 2015 and 2016 in three files; the answers of 2016 are not in the order of its rows."""
    _people(2015, range(18)).assign(employed=1).to_parquet(tmp_path / "employment_ma_reference.parquet")
    _people(2016, range(18, 36)).to_parquet(tmp_path / "employment_ma_analysis.parquet")
    known = pd.DataFrame({"id": range(35, 17, -1), "employed": [place % 2 for place in range(35, 17, -1)]})
    known.to_parquet(tmp_path / "employment_ma_analysis_target.parquet")
    monkeypatch.setenv("EMPLOYMENT_DIR", str(tmp_path))
    return tmp_path


def test_people_are_spread_over_their_year_and_the_years_after_bring_their_own_answers(
    surveys: Path,
) -> None:
    source = load(ROOT / "examples/employment")
    project = source.project
    first, all_of_it = (read(table, folder=source.folder) for table in (project.data, project.history))
    assert (len(first), len(all_of_it)) == (18, 36)
    assert all_of_it["asked_at"].is_monotonic_increasing
    assert all_of_it["asked_at"].is_unique
    assert list(all_of_it["asked_at"].dt.year) == [2015] * 18 + [2016] * 18
    assert list(all_of_it["employed"]) == [1] * 18 + [place % 2 for place in range(18, 36)]
    assert set(first["race"]) == {"white", "black", "asian", "other"}
    assert set(first["sex"]) == {"male", "female"}
    assert not {"sex", "race", "prediction", "year"} & set(project.features)
    assert set(project.protected) == {"sex", "race"}


def test_ages_without_their_point_are_ten_times_too_large_and_all_else_is_as_it_was(surveys: Path) -> None:
    source = load(ROOT / "examples/employment")
    usual, wrong = (table.prepare for table in source.project.arrivals.values())
    rows = pd.read_parquet(surveys / "employment_ma_reference.parquet")
    assert (wrong(rows)["AGEP"] == 10 * usual(rows)["AGEP"]).all()
    assert wrong(rows).drop(columns="AGEP").equals(usual(rows).drop(columns="AGEP"))


def test_without_the_files_of_the_survey_it_says_where_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMPLOYMENT_DIR", raising=False)
    source = load(ROOT / "examples/employment")
    for table in (source.project.data, source.project.history, *source.project.arrivals.values()):
        with pytest.raises(TableNotFound) as caught:
            read(table, folder=source.folder)
        assert "EMPLOYMENT_DIR" in str(caught.value)
        assert "README" in str(caught.value)


@pytest.mark.skipif(
    not (EMPLOYMENT / "employment_ma_reference.parquet").is_file(),
    reason="no employment_ma_reference.parquet: set EMPLOYMENT_DIR to its folder",
)
def test_the_survey_has_as_many_people_as_its_readme_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPLOYMENT_DIR", str(EMPLOYMENT))
    source = load(ROOT / "examples/employment")
    rows: Any = read(source.project.history, folder=source.folder)
    assert f"{len(rows):,} people" in (source.folder / "README.md").read_text(encoding="utf-8")
    assert list(rows["asked_at"].dt.year.unique()) == [2015, 2016, 2017, 2018]
    assert not rows.isna().any().any()


def test_what_the_lender_rehearses_is_another_world_than_it_learns_from_with_the_same_customers() -> None:
    project = load(ROOT / "examples/lender").project
    view = project.data
    played, learned = project.history.source, view.labels.source
    assert len(played) == 18_000
    assert set(learned["customer"]) <= set(view.tables[0].source.source["customer"])
    assert set(played["customer"]) <= set(view.tables[0].source.source["customer"])
    assert (played[project.label_at] > played["applied_at"]).all()
    assert "solar" in set(played["purpose"])
    assert "solar" not in set(learned["purpose"])
    assert project.label_at not in project.features
