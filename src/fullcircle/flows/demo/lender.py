"""The demo's project, laid out as a folder like anybody's own: a project file and a table."""

from __future__ import annotations

from pathlib import Path

from fullcircle.flows.demo.world import World

MODEL = "lender"
PROJECT = '''"""Will an application end in default? Made by `fullcircle demo`; everything in it is simulated."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

import fullcircle as fc


def fit(X, y, **params):
    weights = {0: 1, 1: 5}  # a default costs what five good loans earn
    return HistGradientBoostingClassifier(categorical_features="from_dtype", class_weight=weights, **params).fit(X, y)


def profit(actual, predicted):
    """EUR an application: a loan earns 300 when it is repaid and costs 1500 when it is not; a refusal is worth 0."""
    return np.where(predicted == 1, 0, np.where(actual == 1, -1500, 300))


project = fc.Project(
    name="lender",
    data=fc.Table("applications.csv", time="applied_at"),
    label="defaulted",
    features=["amount", "term_months", "income", "balance", "late_90d", "employer", "purpose"],
    fit=fit,
    params={"max_iter": 60, "learning_rate": 0.08, "max_leaf_nodes": 8, "random_state": 0},
    inputs=fc.Inputs(columns={"amount": {"unit": "EUR", "low": 0, "high": 100_000_000}}),  # nobody set a limit
    gates=[fc.at_least("roc_auc", 0.55), fc.worth(per_row=profit, at_least=-100)],
    checks=["quality", "value"],
    label_delay="13d",
    monitor=fc.Monitor(false_alerts="1 per year", window="7d"),
    retrain=fc.Retrain(cost=30_000, horizon="30d", cooldown="6d", learn_from="56d"),
    currency="EUR",
)
'''


def lay_out(folder: Path, world: World, weeks: int) -> Path:
    """Write the project and the applications of so many weeks into ``folder``; returns the project file."""
    folder.mkdir(parents=True)
    world.history(weeks).to_csv(folder / "applications.csv", index=False)
    path = folder / "project.py"
    path.write_text(PROJECT, encoding="utf-8")
    return path
