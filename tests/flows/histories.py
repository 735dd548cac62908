"""Histories whose truth is known, and a small project that plays them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fullcircle.settings import Settings
from fullcircle.settings import load as load_settings

BEGIN = pd.Timestamp("2024-01-01")
HOT, FULL = 13, 19  # weeks: more of what version 1 has hardly seen; then only fuller kettles, as many were before
PROJECT = """
import fullcircle as fc
from sklearn.tree import DecisionTreeRegressor


def fit(X, y, *, max_depth=6):
    return DecisionTreeRegressor(max_depth=max_depth, min_samples_leaf=8, random_state=0).fit(X, y)


def value(actual, predicted):
    return 10 - abs(actual - predicted)


project = fc.Project(
    name="kettles",
    data=fc.Table("history.csv", time="asked_at"),
    label="minutes",
    label_at="measured_at",
    features=["litres", "degrees"],
    fit=fit,
    gates=[fc.at_most("mae", 6), fc.beats("champion"), fc.worth(per_row=value, at_least=1)],
    checks=["quality", "value"],
    monitor=fc.Monitor(window="7d", false_alerts="1 per year"),
    currency="EUR",
)
"""


def rows(weeks: int = 24, a_week: int = 60, seed: int = 5) -> pd.DataFrame:
    """Rows in order of time. The label of most comes within three days, of one in twenty never."""
    rng = np.random.default_rng(seed)
    count = weeks * a_week
    spans = np.sort(rng.uniform(0, weeks * 7 * 86_400, count)).round(3)
    asked = BEGIN + pd.to_timedelta(spans, unit="s")
    week = spans // (7 * 86_400)
    litres = np.where(week < FULL, rng.uniform(0.2, 2.0, count), rng.uniform(1.4, 2.0, count)).round(3)
    degrees = (rng.uniform(10, 20, count) + 10 * (rng.random(count) < np.where(week < HOT, 0.04, 0.6))).round(2)
    minutes = 3 * litres + 0.4 * np.maximum(degrees - 20, 0) + rng.normal(0, 0.3, count)
    measured = (asked + pd.to_timedelta(rng.uniform(0.2, 3, count) * 86_400, unit="s")).floor("ms")
    frame = pd.DataFrame(
        {
            "asked_at": asked.floor("ms"),
            "litres": litres,
            "degrees": degrees,
            "minutes": minutes.round(4),
            "measured_at": measured,
        }
    )
    frame.loc[rng.random(count) < 0.05, "measured_at"] = pd.NaT
    return frame


def project(folder: Path, frame: Any, text: str = PROJECT) -> Path:
    """A project folder with these rows as its history."""
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "history.csv", index=False, date_format="%Y-%m-%dT%H:%M:%S.%f")
    (folder / "project.py").write_text(text)
    return folder / "project.py"


def settings(folder: Path) -> Settings:
    """Settings of a workspace in ``folder``, with a signing key of its own."""
    flags: dict[str, str | None] = {"workspace": str(folder / "workspace"), "config": str(folder / "config")}
    return load_settings(flags, folder=folder)
