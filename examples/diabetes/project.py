"""Disease progression of 442 diabetes patients, one year on (Efron et al., 2004; inside scikit-learn, raw units)."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor

import fullcircle as fc

patients = load_diabetes(scaled=False, as_frame=True).frame
patients["sex"] = patients["sex"].map({1.0: "female", 2.0: "male"}).astype("category")
patients["age_group"] = np.where(patients["age"] < 50, "under 50", "50 and over")  # for fairness, not a feature
later = np.random.default_rng(5).random(len(patients)) < 0.2  # set aside: they arrive as production traffic


def fit(X, y, **params):
    model = HistGradientBoostingRegressor(categorical_features="from_dtype", random_state=0, **params)
    return model.fit(X, y)


def saved(actual, predicted):
    """Euro a patient: a year of close care costs 100, and saves 300 where progression exceeds 150."""
    return np.where(predicted > 150, np.where(actual > 150, 300, 0) - 100, 0)


def without_decimal_point(_test_rows):
    """The same later patients, from a clinic that lost the decimal point of the body mass index."""
    return patients[later].assign(bmi=patients["bmi"] * 10)


project = fc.Project(
    name="diabetes",
    data=fc.Table(patients[~later]),
    label="target",
    features=["age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"],
    fit=fit,
    params={"max_iter": 60, "learning_rate": 0.05, "min_samples_leaf": 15},
    inputs=fc.Inputs(
        missing="impute",
        columns={
            "age": {"missing": "reject", "unit": "years"},
            "bmi": {"label": "body mass index", "unit": "kg/m²"},
            "bp": {"label": "mean blood pressure", "unit": "mmHg"},
            "s5": {"label": "log of serum triglycerides"},
        },
    ),
    protected=["sex", "age_group"],
    gates=[
        fc.at_most("mae", 55),  # guessing the mean is wrong by 65
        fc.beats("champion"),
        fc.fair(by="sex", metric="mae", gap=30),
        fc.fair(by="age_group", metric="mae", gap=30),
        fc.worth(per_row=saved, at_least=20),
        fc.latency(p99="500ms"),  # generous: a busy laptop is no reason to hold it
        fc.size("5MB"),
    ],
    serving=fc.Serving(requests_per_day=200, freshness="7d", latency="1s", machine_hour=0.05),
    currency="EUR",
    purpose="To decide who is offered close care in the year after a first visit.",
    limits="Not a diagnosis, and not for patients younger than 18.",
    monitor=fc.Monitor(false_alerts="1 per year", window="7d"),
    arrivals={"next patients": fc.Table(patients[later]), "bmi in the wrong unit": without_decimal_point},
)
