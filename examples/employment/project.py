"""Who has a job, of 277,677 people asked in Massachusetts from 2015 to 2018 (American Community Survey).

The model of 2015 meets the three years that follow. Little changes there, so little is to be gained by retraining.
"""

import os
from pathlib import Path

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

import fullcircle as fc

SEX = {"1": "male", "2": "female"}
RACE = {"1": "white", "2": "black", "6": "asian"}  # the others are too few to judge each alone
# Age, schooling, marriage, relation to the householder, disability, parents' work, citizenship, moved, military, ...
CODES = ["SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM"]


def people(rows):
    """Codes as text. Of the time the file knows the year only, so the rows of a year are spread over it, in order."""
    year = pd.to_datetime(rows["year"].astype(str))
    place = (rows.groupby("year").cumcount() + 0.5) / rows.groupby("year")["id"].transform("size")
    return rows.assign(
        asked_at=(year + pd.to_timedelta((place * 365 * 86400).round(), unit="s")).astype("datetime64[ns]"),
        sex=rows["SEX"].astype(str).map(SEX),
        race=rows["RAC1P"].astype(str).map(RACE).fillna("other"),
        **{name: rows[name].astype(str).astype("category") for name in CODES},
    )[["asked_at", "AGEP", *CODES, "sex", "race", "employed"]]


def with_the_years_after(rows):
    """2015, and 2016 to 2018 from the two files beside it."""
    folder = Path(os.environ["EMPLOYMENT_DIR"])
    after, known = [pd.read_parquet(folder / f"employment_ma_analysis{end}.parquet") for end in ("", "_target")]
    return people(pd.concat([rows, after.merge(known, on="id")], ignore_index=True))


def table(prepare, **span):
    hint = "get three files (README.md beside this file says where), then: export EMPLOYMENT_DIR=/path/to/the/folder"
    source = "${EMPLOYMENT_DIR}/employment_ma_reference.parquet"
    return fc.Table(source, time="asked_at", prepare=prepare, hint=hint, **span)


def without_a_point(rows):
    return with_the_years_after(rows).assign(AGEP=lambda asked: asked["AGEP"] * 10)


def fit(X, y, **params):
    return HistGradientBoostingClassifier(categorical_features="from_dtype", **params).fit(X, y)


project = fc.Project(
    name="employment",
    data=table(people),
    history=table(with_the_years_after),
    label="employed",
    label_delay="30d",
    features=["AGEP", *CODES],
    fit=fit,
    params={"max_iter": 100, "random_state": 0},
    inputs=fc.Inputs(columns={"AGEP": {"label": "age", "unit": "years"}}),
    protected=["sex", "race"],
    gates=[
        fc.at_least("roc_auc", 0.85),
        fc.beats("champion"),
        fc.fair(by="sex", metric="accuracy", gap=0.1),
        fc.fair(by="race", metric="accuracy", gap=0.2),  # a month's new rows cannot show less of small groups
        fc.size("5MB"),
    ],
    monitor=fc.Monitor(false_alerts="1 per year", window="30d"),
    arrivals={
        "the first weeks of 2016": table(with_the_years_after, since="2016-01-01", until="2016-01-15"),
        "ages without their point": table(without_a_point, since="2016-01-15", until="2016-01-29"),
    },
)
