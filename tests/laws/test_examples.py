"""The examples load, declare what their README says, and name no path of a machine."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fullcircle.development.loading import load
from fullcircle.errors import TableNotFound
from fullcircle.tables.reading import read
from laws.sizes import ROOT

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/project.py"))


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_loads_and_is_short(folder: Path) -> None:
    project = load(folder).project
    assert project.gates
    assert project.arrivals
    text = (folder / "project.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 80
    assert (folder / "README.md").is_file()
    assert not re.search(r'["\']/(?:\w+/)+', text)


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


def test_bike_rides_are_in_units_and_the_held_out_hours_are_apart() -> None:
    import pandas as pd

    hours = pd.DataFrame(
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
