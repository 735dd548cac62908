"""A made-up lender from 2024-01-01 to 2025-12-31: everything is drawn from a seed, so the truth is known.

How likely an application ends in default is a logistic function of what had truly happened when it was made, booked
by then or not. The log-odds are the sum of these:

    START
    0.6 x late payments of the last 30 days (at most 2), 0.5 x those of the last 90 days (at most 4)
    4 x the new instalment (amount / term_months) over the monthly income (at most 0.8)
    1 x a third of what was paid in the last 90 days over the monthly income (at most 0.8)
    -0.3 x the balance in thousands (from -2 to 5)
    EMPLOYERS, by the kind of employer

A payment counts as it was corrected in the end. Income, balance and employer are those of the latest observation;
with no income in it, both shares are UNKNOWN_SHARE. Purpose and region play no part.

Troubles say what goes wrong with that, and when.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

BEGIN, END = np.datetime64("2024-01-01", "s"), np.datetime64("2026-01-01", "s")
FIRST_APPLICATION = np.datetime64("2024-04-01", "s")  # by then every customer has a history of 90 days
MONTHS, QUARTERS = 24, 8
MINUTE, HOUR, DAY = 60, 3600, 86400
MONTH, QUARTER = int(30.4375 * DAY), int(91.25 * DAY)
START = -2.65
EMPLOYERS = {"public": -0.5, "private": 0.0, "self-employed": 0.4, "none": 1.0}
EMPLOYERS_AFTER = {"public": 1.8, "private": 0.2, "self-employed": -0.8, "none": -0.4}  # when all has changed
UNKNOWN_SHARE = 0.1


@dataclass(frozen=True)
class Troubles:
    """What goes wrong, from when on ("" for never). Each method tells the truth about times (n,).

    A unit bug: amounts are sent in cents, until somebody mends it. A new category: some call their purpose "solar",
    which says nothing about the outcome. A change of concept: in the course of ``change_days`` the weights of the
    employers go from EMPLOYERS to EMPLOYERS_AFTER, so what was learned before is wrong and can be learned again.
    """

    cents_from: str = ""
    cents_until: str = "2026-01-01"
    solar_from: str = ""
    change_from: str = ""
    change_days: int = 60

    def in_cents(self, times):
        """Whether an application is sent with its amount in cents."""
        return self._since(self.cents_from, times) & (times < np.datetime64(self.cents_until))

    def may_be_solar(self, times):
        """Whether the new purpose is there."""
        return self._since(self.solar_from, times)

    def changed(self, times):
        """How much of the change has happened, from 0 to 1."""
        if not self.change_from:
            return np.zeros(len(times))
        days = (times - np.datetime64(self.change_from, "s")).astype("timedelta64[s]").astype(float) / DAY
        return np.clip(days / self.change_days, 0, 1)

    @staticmethod
    def _since(moment, times):
        return times >= np.datetime64(moment, "s") if moment else np.zeros(len(times), dtype=bool)


SHOWN = Troubles(cents_from="2025-03-03", cents_until="2025-03-10", solar_from="2025-04-01", change_from="2024-11-01")
"""Those of the history that the project beside this file rehearses."""


@dataclass(frozen=True)
class World:
    """What happened. Rows of payments and accounts are in the order in which they became available."""

    payments: pd.DataFrame
    accounts: pd.DataFrame
    applications: pd.DataFrame
    truth: pd.DataFrame


def simulate(
    seed: int = 7,
    customers: int = 3000,
    applications: int = 6000,
    recession_from: str | None = None,
    troubles: Troubles = Troubles(),
) -> World:
    """The world of a seed. From ``recession_from`` on, not before, incomes are lower and more payments late.

    That moves what goes in and how many default, and leaves the law of default as it is; only ``troubles`` touch it.
    Payments and accounts are the same for any number of applications and any troubles.
    """
    rngs = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(5)]
    bad_times = END if recession_from is None else np.datetime64(recession_from, "s")
    stress = _stress(rngs[0], customers)
    payments = _payments(rngs[1], stress, bad_times)
    accounts = _accounts(rngs[2], stress, bad_times)
    asked = _applications(rngs[3], customers, applications)
    true = _true(asked, payments, accounts, troubles)
    truth = pd.DataFrame({"application_id": asked["application_id"], "probability": true})
    asked["defaulted"] = (rngs[3].random(applications) < truth["probability"]).astype("int64")
    asked["outcome_at"] = asked["applied_at"] + _span(rngs[3], applications, 90 * DAY, 200 * DAY)
    at = asked["applied_at"].to_numpy()
    solar = troubles.may_be_solar(at) & (rngs[4].random(applications) < 0.2)
    asked["purpose"] = np.where(solar, "solar", asked["purpose"])
    asked["amount"] = np.where(troubles.in_cents(at), asked["amount"] * 100, asked["amount"])  # as it is sent
    return World(
        payments=_named(payments, "booked_at"),
        accounts=_named(accounts, "reported_at"),
        applications=_named(asked, "applied_at"),
        truth=truth,
    )


def _stress(rng, customers):
    """How hard life is, for each customer and month: a level of one's own, and what comes and goes."""
    own = rng.normal(0, 0.8, customers)
    passing = np.empty((customers, MONTHS))
    passing[:, 0] = rng.normal(0, 1, customers)
    for month in range(1, MONTHS):
        passing[:, month] = 0.75 * passing[:, month - 1] + rng.normal(0, np.sqrt(1 - 0.75**2), customers)
    return own[:, None] + passing


def _payments(rng, stress, bad_times):
    """One or two instalments a month for each customer; a bounced one is booked again with nothing paid."""
    payer = np.repeat(np.arange(len(stress)), 1 + (rng.random(len(stress)) < 0.25))
    who, month = np.repeat(payer, MONTHS), np.tile(np.arange(MONTHS), len(payer))
    n = len(who)
    due = BEGIN + month * MONTH + np.repeat(_span(rng, len(payer), 0, MONTH), MONTHS)
    strain = stress[who, month]
    late = rng.random(n) < _logistic(-2.6 + 1.3 * strain + 2.0 * (due >= bad_times))
    bounced = rng.random(n) < _logistic(-4.1 + 0.9 * strain)
    paid_at = due + np.where(late, _span(rng, n, 2 * DAY, 20 * DAY), _span(rng, n, 0, DAY))
    minutes = np.exp(rng.uniform(np.log(5), np.log(1440), n)).astype(int) * MINUTE
    behind = rng.random(n) < 0.03
    booked_at = paid_at + np.where(behind, _span(rng, n, 3 * DAY, 40 * DAY), minutes.astype("timedelta64[s]"))
    again_at = booked_at + _span(rng, n, DAY, 15 * DAY)
    amount = np.round(np.repeat(rng.lognormal(np.log(140), 0.5, len(payer)), MONTHS), 2)
    rows = pd.DataFrame(
        {"customer": who, "paid_at": paid_at, "booked_at": booked_at, "payment_id": np.arange(1, n + 1)}
    )
    rows = rows.assign(amount=amount, on_time=~late)
    corrections = rows.assign(booked_at=again_at, amount=0.0, on_time=False)[bounced]
    both = pd.concat([rows, corrections], ignore_index=True)
    return both[both["paid_at"] < pd.Timestamp(END)]


def _accounts(rng, stress, bad_times):
    """An observation of each customer a quarter; after one in twenty a second one, which is reported first."""
    customers = len(stress)
    who, quarter = np.repeat(np.arange(customers), QUARTERS), np.tile(np.arange(QUARTERS), customers)
    n = len(who)
    observed_at = BEGIN + quarter * QUARTER + _span(rng, n, 0, QUARTER - 6 * DAY)
    reported_at = observed_at + _span(rng, n, DAY, 3 * DAY)
    kinds = np.array(list(EMPLOYERS))
    before, after = (rng.choice(len(kinds), customers, p=[0.25, 0.5, 0.17, 0.08]) for _ in range(2))
    moves = np.where(rng.random(customers) < 0.2, rng.integers(1, QUARTERS, customers), QUARTERS)
    employer = kinds[np.where(quarter < moves[who], before[who], after[who])]
    income = rng.lognormal(np.log(2500), 0.35, customers)[who] * rng.lognormal(0, 0.05, n)
    income = np.round(
        income * np.where(employer == "none", 0.5, 1.0) * np.where(observed_at >= bad_times, 0.6, 1.0), 2
    )
    level = rng.normal(1500, 1200, customers)[who]
    strain = stress[who, np.minimum(quarter * 3 + 1, MONTHS - 1)]
    balance = np.round(level - 500 * strain + rng.normal(0, 300, n), 2)
    income[rng.random(n) < 0.04] = np.nan
    rows = pd.DataFrame({"customer": who, "observed_at": observed_at, "reported_at": reported_at})
    rows = rows.assign(balance=balance, income=income, employer_kind=employer)
    twice = rng.random(n) < 0.05
    rows.loc[twice, "reported_at"] = (observed_at + _span(rng, n, int(2.5 * DAY), 3 * DAY))[twice]
    second_at = observed_at + _span(rng, n, 6 * HOUR, DAY)
    second = rows.assign(observed_at=second_at, reported_at=second_at + _span(rng, n, DAY, int(1.2 * DAY)))
    second["balance"] = np.round(balance + rng.normal(0, 300, n), 2)
    return pd.concat([rows, second[twice]], ignore_index=True)


def _applications(rng, customers, n):
    """Who asks when for how much; the outcome comes later."""
    applied_at = np.sort(FIRST_APPLICATION + _span(rng, n, 0, int((END - FIRST_APPLICATION).astype(int))))
    who = rng.integers(0, customers, n)
    frame = pd.DataFrame({"application_id": np.arange(1, n + 1), "customer": who, "applied_at": applied_at})
    return frame.assign(
        amount=np.clip(np.round(rng.lognormal(np.log(6000), 0.7, n), -2), 500, 40000),
        term_months=rng.choice([12, 24, 36, 48, 60, 72], n),
        purpose=rng.choice(["car", "home", "education", "other"], n, p=[0.35, 0.3, 0.1, 0.25]),
        region=np.where(rng.random(customers) < 0.5, "north", "south")[who],
    )


def _true(asked, payments, accounts, troubles):
    """The true probability of default, from what had happened when each application was made."""
    final = payments.sort_values("booked_at", kind="stable").drop_duplicates("payment_id", keep="last")
    late_30, late_90 = (_total(asked, final, ~final["on_time"], days) for days in (30, 90))
    paid = _total(asked, final, np.rint(final["amount"] * 100), 90) / 100  # sums of whole cents are exact
    known = pd.merge_asof(
        asked.sort_values("applied_at", kind="stable"),
        accounts.sort_values("observed_at", kind="stable"),
        left_on="applied_at",
        right_on="observed_at",
        by="customer",
    )
    instalment = _share(asked["amount"] / asked["term_months"], known["income"])
    burden = _share(paid / 3, known["income"])
    balance = np.clip(known["balance"].to_numpy() / 1000, -2, 5)
    before, after = (known["employer_kind"].map(each).to_numpy() for each in (EMPLOYERS, EMPLOYERS_AFTER))
    share = troubles.changed(asked["applied_at"].to_numpy())
    employer = (1 - share) * before + share * after
    late = 0.6 * np.minimum(late_30, 2) + 0.5 * np.minimum(late_90, 4)
    return _logistic(START + late + 4 * instalment + burden - 0.3 * balance + employer)


def _total(asked, payments, values, days):
    """The sum of values over each applicant's payments of the last days, the moment of asking included."""
    at = _place(payments["customer"], payments["paid_at"])
    order = np.argsort(at, kind="stable")
    sums = np.concatenate([[0], np.cumsum(values.to_numpy(dtype="int64")[order])])
    until = _place(asked["customer"], asked["applied_at"])
    first, last = (np.searchsorted(at[order], edge, side="right") for edge in (until - days * DAY, until))
    return sums[last] - sums[first]


def _place(customer, time):
    """Customer and time as one number that sorts by both; a customer's years are ten apart from the next one's."""
    return customer.to_numpy() * (3650 * DAY) + (time.to_numpy() - BEGIN).astype("timedelta64[s]").astype("int64")


def _share(amount, income):
    return np.where(income.isna(), UNKNOWN_SHARE, np.minimum(np.asarray(amount) / income.to_numpy(), 0.8))


def _logistic(x):
    return 1 / (1 + np.exp(-x))


def _span(rng, n, low, high):
    """Spans of time between two numbers of seconds."""
    return rng.integers(low, high, n).astype("timedelta64[s]")


def _named(frame, order):
    """The frame in order, with customers by name and times to the nanosecond."""
    frame = frame.sort_values(order, kind="stable", ignore_index=True)
    times = {name: frame[name].astype("datetime64[ns]") for name in frame.columns if name.endswith("_at")}
    return frame.assign(customer=[f"c{number:05d}" for number in frame["customer"]], **times)
