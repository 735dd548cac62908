"""A lender asks whether an application will end in default. Everything is simulated, from a seed (simulator.py).

Whoever asks sends the customer and the request; the rest is looked up, as it was known at that moment.
"""

import numpy as np
from simulator import SHOWN, simulate
from sklearn.ensemble import HistGradientBoostingClassifier

import fullcircle as fc
from fullcircle import features as ft

world = simulate(seed=7)
request = {"amount": float, "term_months": int, "purpose": str}  # what a caller sends, besides the customer
rows = world.applications[["customer", "applied_at", *request, "region", "defaulted"]]
outcome_at = world.applications["outcome_at"]
learned = fc.Table(rows[outcome_at < "2025-07-01"], time="applied_at")
later = rows.assign(defaulted=rows["defaulted"].astype("Int64").where(outcome_at < "2026-01-01"))  # not known yet: NA
later = later[later["applied_at"] >= "2025-07-01"]
in_cents = later.assign(amount=later["amount"] * 100)
# What rehearse plays: three times as many applications of the same customers, with troubles of which all is known.
played = simulate(seed=7, applications=18000, troubles=SHOWN).applications
history = fc.Table(played[[*rows, "outcome_at"]], time="applied_at")

payments = ft.FeatureTable(
    name="payments", key="customer", time="paid_at", available="booked_at", source=fc.Table(world.payments),
    id="payment_id", owner="collections",  # a bounced payment is booked again under the same id
)  # fmt: skip
accounts = ft.FeatureTable(
    name="accounts", key="customer", time="observed_at", available="reported_at", source=fc.Table(world.accounts)
)
paid = [payments.sum("amount", "90d", name="paid_90d", unit="EUR"), payments.count("90d", name="payments_90d")]
paid += [payments.mean("on_time", "30d", name="on_time_30d"), payments.sum("on_time", "90d", name="on_time_90d")]
latest = [accounts.latest(column, max_age="400d") for column in ("income", "balance", "employer_kind")]


@ft.on_demand(returns=float)
def burden(amount, term_months, income):
    return amount / term_months / income if amount and term_months and income else None


@ft.on_demand(returns=int)
def late_90d(payments_90d, on_time_90d):
    return payments_90d - on_time_90d


def fit(X, y, **params):
    weights = {0: 1, 1: 5}  # a default costs what five good loans earn
    return HistGradientBoostingClassifier(categorical_features="from_dtype", class_weight=weights, **params).fit(X, y)


def profit(actual, predicted):
    """EUR an application: a loan earns 300 when it is repaid and costs 1500 when it is not; a refusal is worth 0."""
    return np.where(predicted == 1, 0, np.where(actual == 1, -1500, 300))


features = [*paid, *latest, burden, late_90d]
view = ft.FeatureView(name="lending", tables=[payments, accounts], features=features, request=request, labels=learned)
project = fc.Project(
    name="lender",
    data=view,
    history=history,
    label="defaulted",
    label_at="outcome_at",
    features=[*request, "paid_90d", "on_time_30d", "late_90d", "income", "balance", "employer_kind", "burden"],
    fit=fit,
    params={"max_iter": 60, "learning_rate": 0.06, "max_leaf_nodes": 8, "random_state": 0},
    inputs=fc.Inputs(missing="flag", columns={"amount": {"unit": "EUR", "missing": "reject"}}),
    gates=[
        fc.at_least("roc_auc", 0.7),
        fc.beats("champion"),
        fc.fair(by="region", metric="roc_auc", gap=0.2),  # 713 rows cannot show less than 0.15
        fc.worth(per_row=profit, at_least=20),  # handling one costs 20; refusing everybody earns 0
        fc.latency(p99="500ms"),  # generous: a busy laptop is no reason to hold it
        fc.size("5MB"),
    ],
    monitor=fc.Monitor(false_alerts="1 per year", window="7d"),
    currency="EUR",
    arrivals={"next applications": fc.Table(later), "amount in cents": fc.Table(in_cents)},
)
