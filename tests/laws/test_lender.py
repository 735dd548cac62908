"""What the simulated lender promises: the same world for a seed, rows that come late, and a truth that looks back."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from laws.sizes import ROOT

FRAMES = ("payments", "accounts", "applications", "truth")
SMALL = {"customers": 150, "applications": 250}
BEGIN, END = pd.Timestamp("2024-01-01"), pd.Timestamp("2026-01-01")
DAY = pd.Timedelta(days=1)
COLUMNS = {
    "payments": "customer paid_at booked_at payment_id amount on_time",
    "accounts": "customer observed_at reported_at balance income employer_kind",
    "applications": "application_id customer applied_at amount term_months purpose region defaulted outcome_at",
    "truth": "application_id probability",
}


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("lender_simulator", ROOT / "examples/lender/simulator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def simulator() -> ModuleType:
    return loaded()


@pytest.fixture(scope="module")
def simulate(simulator: ModuleType) -> Callable[..., Any]:
    function: Callable[..., Any] = simulator.simulate
    return function


@pytest.fixture(scope="module")
def world(simulate: Callable[..., Any]) -> Any:
    return simulate()


@pytest.fixture(scope="module")
def small(simulate: Callable[..., Any]) -> Any:
    return simulate(3, **SMALL)


def digest(frame: pd.DataFrame) -> str:
    hashed = hashlib.sha256(repr(frame.dtypes.to_dict()).encode())
    hashed.update(pd.util.hash_pandas_object(frame).to_numpy().tobytes())
    return hashed.hexdigest()


def late(payments: pd.DataFrame) -> pd.DataFrame:
    """Each payment as it was booked first, where that took more than two days."""
    first = payments.drop_duplicates("payment_id")
    return first[first["booked_at"] - first["paid_at"] > 2 * DAY]


def probability(application: Any, payments: pd.DataFrame, accounts: pd.DataFrame) -> float:
    """The formula of the simulator, one application at a time, from one customer's rows."""
    final = payments.sort_values("booked_at").groupby("payment_id").last()
    ago = application.applied_at - final["paid_at"]
    final = final.assign(late=~final["on_time"])
    late_30 = int(final.loc[ago < 30 * DAY, "late"].sum())
    late_90 = int(final.loc[ago < 90 * DAY, "late"].sum())
    paid = float(final.loc[ago < 90 * DAY, "amount"].sum())
    known = accounts.sort_values("observed_at").iloc[-1]
    instalment = burden = 0.1
    if not math.isnan(known["income"]):
        instalment = min(application.amount / application.term_months / known["income"], 0.8)
        burden = min(paid / 3 / known["income"], 0.8)
    employer = {"public": -0.5, "private": 0.0, "self-employed": 0.4, "none": 1.0}[known["employer_kind"]]
    odds = -2.65 + 0.6 * min(late_30, 2) + 0.5 * min(late_90, 4) + 4 * instalment + burden
    odds += employer - 0.3 * min(max(known["balance"] / 1000, -2), 5)
    return 1 / (1 + math.exp(-odds))


def recomputed(world: Any) -> list[float]:
    """The true probabilities, from nothing but what had happened when each application was made."""
    payments, accounts = (dict(list(frame.groupby("customer"))) for frame in (world.payments, world.accounts))
    found = []
    for application in world.applications.itertuples():
        paid, observed = payments[application.customer], accounts[application.customer]
        paid = paid[paid["paid_at"] <= application.applied_at]
        observed = observed[observed["observed_at"] <= application.applied_at]
        found.append(probability(application, paid, observed))
    return found


def test_a_seed_is_a_world(simulate: Callable[..., Any], small: Any) -> None:
    again, other = simulate(3, **SMALL), simulate(4, **SMALL)
    for name in FRAMES:
        assert digest(getattr(small, name)) == digest(getattr(again, name)), name
        assert digest(getattr(small, name)) != digest(getattr(other, name)), name


def test_the_usual_world_is_that_of_seed_7_and_has_the_size_it_says(simulate: Callable[..., Any], world: Any) -> None:
    same = simulate(seed=7, customers=3000, applications=6000, recession_from=None)
    assert [digest(getattr(world, name)) for name in FRAMES] == [digest(getattr(same, name)) for name in FRAMES]
    assert len(world.applications) == len(world.truth) == 6000
    assert world.payments["customer"].nunique() == world.accounts["customer"].nunique() == 3000


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_has_these_columns_and_times_to_the_nanosecond_without_a_zone(world: Any, name: str) -> None:
    frame = getattr(world, name)
    assert list(frame.columns) == COLUMNS[name].split()
    times = [column for column in frame.columns if column.endswith("_at")]
    assert {str(frame[column].dtype) for column in times} <= {"datetime64[ns]"}
    holes = frame.isna().sum()
    assert list(holes[holes > 0].index) == (["income"] if name == "accounts" else [])


def test_all_of_it_happens_in_these_two_years(world: Any) -> None:
    for frame, column in (("payments", "paid_at"), ("accounts", "observed_at"), ("applications", "applied_at")):
        times = getattr(world, frame)[column]
        assert times.min() >= BEGIN
        assert times.max() < END
        assert times.max() > END - 10 * DAY
    assert world.applications["applied_at"].min() >= BEGIN + 90 * DAY
    assert world.applications["applied_at"].is_monotonic_increasing


def test_rows_come_in_the_order_in_which_they_became_available(world: Any) -> None:
    assert world.payments["booked_at"].is_monotonic_increasing
    assert world.accounts["reported_at"].is_monotonic_increasing


def test_most_payments_are_booked_within_a_day_and_a_few_much_later(world: Any) -> None:
    first = world.payments.drop_duplicates("payment_id")
    wait = first["booked_at"] - first["paid_at"]
    assert wait.min() >= pd.Timedelta(minutes=5)
    behind = late(world.payments)
    assert 0.02 < len(behind) / len(first) < 0.04
    assert (behind["booked_at"] - behind["paid_at"]).min() >= 3 * DAY
    assert wait.drop(behind.index).max() <= DAY


def test_a_bounced_payment_is_booked_again_with_nothing_paid(world: Any) -> None:
    payments = world.payments
    again = payments[payments.duplicated("payment_id")]
    assert 0.02 < len(again) / payments["payment_id"].nunique() < 0.04
    assert not again["payment_id"].duplicated().any()
    assert (again["amount"] == 0).all()
    assert not again["on_time"].any()
    both = again.merge(payments.drop_duplicates("payment_id"), on="payment_id", suffixes=("", "_before"))
    assert len(both) == len(again)
    assert (both["customer"] == both["customer_before"]).all()
    assert (both["paid_at"] == both["paid_at_before"]).all()
    assert (both["booked_at"] - both["booked_at_before"] >= DAY).all()
    assert (both["amount_before"] > 0).all()
    assert both["on_time_before"].any()


def test_a_correction_can_come_after_an_application_that_it_concerns(world: Any) -> None:
    again = world.payments[world.payments.duplicated("payment_id")]
    pairs = again.merge(world.applications, on="customer")
    between = (pairs["paid_at"] <= pairs["applied_at"]) & (pairs["applied_at"] < pairs["booked_at"])
    assert int(between.sum()) > 50


def test_accounts_are_reported_days_later_and_some_out_of_order(world: Any) -> None:
    accounts = world.accounts
    wait = accounts["reported_at"] - accounts["observed_at"]
    assert wait.min() >= DAY
    assert wait.max() <= 3 * DAY
    assert not accounts.duplicated(["customer", "observed_at"]).any()
    newest = accounts.groupby("customer")["observed_at"].cummax()  # rows are in the order of reporting
    share = float((accounts["observed_at"] < newest).mean())
    assert 0.02 < share < 0.1
    assert 0.02 < float(accounts["income"].isna().mean()) < 0.06
    assert set(accounts["employer_kind"]) == {"public", "private", "self-employed", "none"}
    assert (accounts.groupby("customer")["employer_kind"].nunique() > 1).any()


def test_every_applicant_has_an_account_observed_before(world: Any) -> None:
    first = world.accounts.groupby("customer")["observed_at"].min()
    assert (world.applications["customer"].map(first) <= world.applications["applied_at"]).all()


def test_keys_are_of_one_form_and_known_to_all_tables(world: Any) -> None:
    known = set(world.payments["customer"])
    assert known == set(world.accounts["customer"])
    assert set(world.applications["customer"]) <= known
    assert all(len(name) == 6 and name[0] == "c" and name[1:].isdigit() for name in known)
    assert world.applications["application_id"].is_unique
    assert list(world.truth["application_id"]) == list(world.applications["application_id"])


def test_applications_are_plausible_and_a_region_is_that_of_a_customer(world: Any) -> None:
    asked = world.applications
    assert asked["amount"].between(500, 40000).all()
    assert set(asked["term_months"]) == {12, 24, 36, 48, 60, 72}
    assert set(asked["purpose"]) == {"car", "home", "education", "other"}
    assert asked["region"].value_counts(normalize=True).between(0.4, 0.6).all()
    assert set(asked["region"]) == {"north", "south"}
    assert (asked.groupby("customer")["region"].nunique() == 1).all()


def test_an_outcome_comes_90_to_200_days_after_the_application(world: Any) -> None:
    wait = world.applications["outcome_at"] - world.applications["applied_at"]
    assert wait.min() >= 90 * DAY
    assert wait.max() <= 200 * DAY
    defaulted = world.applications["defaulted"] == 1
    gap = wait[defaulted].mean() - wait[~defaulted].mean()
    assert abs(gap) < 5 * DAY  # when an outcome is known says nothing about it


@pytest.mark.parametrize("seed", [1, 7, 11])
def test_about_one_application_in_seven_ends_in_default(simulate: Callable[..., Any], seed: int) -> None:
    world = simulate(seed)
    defaulted = world.applications["defaulted"]
    assert set(defaulted) == {0, 1}
    assert 0.12 < float(defaulted.mean()) < 0.18
    expected = world.truth["probability"]
    spread = math.sqrt(float((expected * (1 - expected)).sum()))
    assert abs(float(defaulted.sum() - expected.sum())) < 4 * spread


def test_the_truth_is_told_by_what_had_happened_before_the_application(small: Any) -> None:
    assert small.truth["probability"].to_numpy() == pytest.approx(np.array(recomputed(small)), rel=1e-9)


def test_the_truth_counts_payments_that_were_not_booked_yet(small: Any) -> None:
    booked = {"payments": small.payments.assign(paid_at=small.payments["booked_at"])}
    seen = type(small)(**{name: booked.get(name, getattr(small, name)) for name in FRAMES})
    different = np.abs(small.truth["probability"].to_numpy() - np.array(recomputed(seen))) > 1e-9
    assert float(different.mean()) > 0.01


def test_a_recession_changes_nothing_before_it_and_makes_defaults_after_it(simulate: Callable[..., Any]) -> None:
    start = pd.Timestamp("2025-10-01")
    usual, bad = simulate(), simulate(recession_from="2025-10-01")
    for name, column in (("payments", "paid_at"), ("accounts", "observed_at"), ("applications", "applied_at")):
        frames = [getattr(world, name) for world in (usual, bad)]
        before = [frame[frame[column] < start].reset_index(drop=True) for frame in frames]
        assert digest(before[0]) == digest(before[1]), name
    earlier = usual.applications["applied_at"] < start
    rates = [float(world.applications.loc[~earlier, "defaulted"].mean()) for world in (usual, bad)]
    assert rates[1] > rates[0] + 0.05
    assert (usual.truth["probability"] == bad.truth["probability"])[earlier].all()
    on_time = [world.payments.loc[world.payments["paid_at"] >= start, "on_time"].mean() for world in (usual, bad)]
    incomes = [world.accounts.loc[world.accounts["observed_at"] >= start, "income"].mean() for world in (usual, bad)]
    assert on_time[1] < on_time[0] - 0.1
    assert incomes[1] < 0.7 * incomes[0]


def test_the_truth_of_a_recession_looks_back_as_well(simulate: Callable[..., Any]) -> None:
    bad = simulate(5, **SMALL, recession_from="2025-01-01")
    assert bad.truth["probability"].to_numpy() == pytest.approx(np.array(recomputed(bad)), rel=1e-9)


TROUBLES = {"cents_from": "2025-03-03", "cents_until": "2025-03-10", "solar_from": "2025-04-01"}


def test_without_troubles_nothing_goes_wrong(simulator: ModuleType, small: Any) -> None:
    times = small.applications["applied_at"].to_numpy()
    none = simulator.Troubles()
    for truth in (none.in_cents(times), none.may_be_solar(times), none.changed(times)):
        assert not truth.any()
    again = simulator.simulate(3, **SMALL, troubles=none)
    assert [digest(getattr(again, name)) for name in FRAMES] == [digest(getattr(small, name)) for name in FRAMES]


def test_a_unit_bug_and_a_new_category_change_what_is_sent_and_not_what_is_true(simulator: ModuleType) -> None:
    troubles = simulator.Troubles(**TROUBLES)
    usual, wrong = simulator.simulate(), simulator.simulate(troubles=troubles)
    times = usual.applications["applied_at"].to_numpy()
    cents, solar = troubles.in_cents(times), troubles.may_be_solar(times)
    week = (times >= np.datetime64("2025-03-03")) & (times < np.datetime64("2025-03-10"))
    assert (cents == week).all()
    assert cents.sum() > 30
    assert (wrong.applications["amount"] == usual.applications["amount"] * np.where(week, 100, 1)).all()
    named = (wrong.applications["purpose"] == "solar").to_numpy()
    assert not named[~solar].any()
    assert 0.15 < named[solar].mean() < 0.25
    assert (solar == (times >= np.datetime64("2025-04-01"))).all()
    kept = ["application_id", "customer", "applied_at", "term_months", "region", "defaulted", "outcome_at"]
    assert wrong.applications[kept].equals(usual.applications[kept])
    for name in ("payments", "accounts", "truth"):
        assert digest(getattr(wrong, name)) == digest(getattr(usual, name)), name


@pytest.mark.parametrize("days", [1, 60, 200])
def test_the_concept_changes_slowly_from_nothing_to_all_and_never_back(simulator: ModuleType, days: int) -> None:
    troubles = simulator.Troubles(change_from="2025-02-01", change_days=days)
    times = np.arange(np.datetime64("2025-01-01"), np.datetime64("2026-01-01"), np.timedelta64(6, "h"))
    share = troubles.changed(times)
    assert (np.diff(share) >= 0).all()
    assert (share[times <= np.datetime64("2025-02-01")] == 0).all()
    assert (share[times >= np.datetime64("2025-02-01") + np.timedelta64(days, "D")] == 1).all()
    halfway = np.array([np.datetime64("2025-02-01", "s") + np.timedelta64(days * 43200, "s")])
    assert troubles.changed(halfway) == pytest.approx(0.5)


def test_a_change_of_concept_makes_the_old_truth_a_bad_guide_and_leaves_what_comes_in(simulator: ModuleType) -> None:
    usual = simulator.simulate()
    changed = simulator.simulate(troubles=simulator.Troubles(change_from="2025-02-01", change_days=60))
    assert usual.applications.drop(columns="defaulted").equals(changed.applications.drop(columns="defaulted"))
    old, new = usual.truth["probability"].to_numpy(), changed.truth["probability"].to_numpy()
    times = usual.applications["applied_at"].to_numpy()
    before, after = times < np.datetime64("2025-02-01"), times >= np.datetime64("2025-04-02")
    assert (old[before] == new[before]).all()
    assert (old[after] != new[after]).mean() > 0.4
    defaulted = changed.applications["defaulted"].to_numpy()

    def earned(said: Any) -> float:
        """By refusing everybody of whom a loan is expected to cost more than it earns."""
        return float(np.where(said > 1 / 6, 0, np.where(defaulted == 1, -1500, 300))[after].mean())

    assert earned(new) > earned(old) + 50


def test_payments_and_accounts_are_those_of_the_seed_however_many_apply(simulator: ModuleType) -> None:
    few, many = (simulator.simulate(5, customers=150, applications=number) for number in (100, 400))
    for name in ("payments", "accounts"):
        assert digest(getattr(few, name)) == digest(getattr(many, name)), name


def test_a_world_cannot_be_changed_by_its_reader(small: Any) -> None:
    with pytest.raises(AttributeError):
        small.payments = None
