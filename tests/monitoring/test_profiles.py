"""Profiles are frozen on the reference; counts in them add up exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from fullcircle.errors import DataUnfit
from fullcircle.monitoring.batches import Batch, Layout, of_labelled, of_rows
from fullcircle.monitoring.engine import Watch
from fullcircle.monitoring.profiles import PREDICTION, VERDICT, arrived, columns_of, profile, roles
from fullcircle.types.contract import STATUSES, Problem, Verdict
from fullcircle.types.monitoring import Profile
from fullcircle.types.prediction import Prediction
from fullcircle.types.project import Monitor
from monitoring.monitoring_rows import CONTRACT, answers, patients, predictions


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return patients(np.random.default_rng(1), 400)


@pytest.fixture(scope="module")
def reference(frame: pd.DataFrame) -> Profile:
    return profile(frame, answers(frame), CONTRACT, metric="mae", value=44.0, low=41.0, high=47.0)


def test_every_input_and_the_prediction_are_features(reference: Profile) -> None:
    assert [feature.name for feature in reference.features] == [*CONTRACT.names, VERDICT, PREDICTION]
    assert reference.rows == 400
    assert (reference.metric, reference.metric_value) == ("mae", 44.0)
    for feature in reference.features:
        assert sum(feature.counts) == 400


def test_bins_fit_the_kind(reference: Profile, frame: pd.DataFrame) -> None:
    by_name = {feature.name: feature for feature in reference.features}
    bmi = by_name["bmi"]
    assert bmi.kind == "number"
    assert len(bmi.counts) == len(bmi.edges) + 1 + 2
    assert (bmi.low, bmi.high) == (frame["bmi"].min(), frame["bmi"].max())
    assert by_name["sex"].categories == ("f", "m")
    assert by_name["sex"].counts[0] == int((frame["sex"] == "f").sum())
    assert by_name["smoker"].counts[1] == int(frame["smoker"].sum())
    # Text: only what is missing counts.
    assert by_name["note"].counts == (400, 0)


def test_it_survives_json(reference: Profile) -> None:
    assert msgspec.json.decode(msgspec.json.encode(reference), type=Profile) == reference


def test_what_the_contract_mended_counts_as_it_arrived(frame: pd.DataFrame) -> None:
    """An imputed value hides behind the median, an unseen category behind "missing": neither may."""
    broken = frame.copy()
    broken.loc[:99, "bmi"] = np.nan
    broken["sex"] = broken["sex"].astype(object)
    broken.loc[50:89, "sex"] = "x"
    found = profile(broken, answers(broken), CONTRACT)
    by_name = {feature.name: feature for feature in found.features}
    assert by_name["bmi"].counts[-1] == 100
    assert by_name["sex"].counts[-2:] == (40, 0)


def test_rejected_rows_are_not_counted(frame: pd.DataFrame) -> None:
    gone = [None if number < 150 else answer for number, answer in enumerate(answers(frame))]
    found = profile(frame, gone, CONTRACT)
    totals = {feature.name: sum(feature.counts) for feature in found.features}
    assert totals.pop(VERDICT) == 400
    assert set(totals.values()) == {250}


def test_verdicts_are_counted_over_all_rows(frame: pd.DataFrame) -> None:
    """A row without an answer was rejected: by the contract, or by the model after the contract let it pass."""
    broken = frame.copy()
    broken.loc[:99, "bmi"] = np.nan
    broken["children"] = broken["children"].astype(object)
    broken.loc[100:109, "children"] = "many"
    given = [None if 100 <= place < 115 else answer for place, answer in enumerate(answers(broken))]
    found = profile(broken, given, CONTRACT).features[-2]
    assert (found.name, found.kind, found.categories) == (VERDICT, "category", STATUSES)
    assert found.counts == (285, 100, 0, 0, 15, 0, 0)


def test_a_private_column_is_in_no_profile(frame: pd.DataFrame) -> None:
    """Its values are not in the log, so every window would look as if all of them had gone missing."""
    private = replace(CONTRACT, columns=(replace(CONTRACT.columns[0], private=True), *CONTRACT.columns[1:]))
    found = profile(frame, answers(frame), private)
    assert [feature.name for feature in found.features] == [*CONTRACT.names[1:], VERDICT, PREDICTION]
    assert "bmi" not in of_rows(found, private, predictions(frame.head(5))).features


def test_inputs_called_verdict_and_prediction_keep_their_names(frame: pd.DataFrame) -> None:
    renamed = frame.rename(columns={"bmi": VERDICT, "children": PREDICTION})
    columns = (
        replace(CONTRACT.columns[0], name=VERDICT),
        replace(CONTRACT.columns[1], name=PREDICTION),
        *CONTRACT.columns[2:],
    )
    names = [each.name for each in profile(renamed, answers(frame), replace(CONTRACT, columns=columns)).features]
    assert names[:2] == [VERDICT, PREDICTION]
    assert len(set(names)) == len(names) == 7
    taken = replace(columns[0], name=f"{PREDICTION} (of the row)")
    contract = replace(CONTRACT, columns=(taken, *columns[1:]))
    names = [each.name for each in profile(frame, answers(frame), contract).features]
    assert names[-1] == f"{PREDICTION} (of the row) (of the row)"


@pytest.mark.parametrize("label", ["prediction", "loss", "verdict", "expected loss"])
def test_a_label_called_as_one_of_ours_is_a_column_of_its_own(frame: pd.DataFrame, label: str) -> None:
    contract = replace(CONTRACT, label=label)
    labels = (frame["bmi"] * 6 + np.arange(400) % 40).tolist()
    found = profile(frame, answers(frame), contract, labels=labels)
    role = roles(found)
    assert len(role) == len(found.features) + len(found.outcomes)
    assert list(role.values()) == ["input"] * 5 + ["verdict", "prediction", "estimate", "label", "loss"]
    logged = predictions(frame)
    batch, labelled = of_rows(found, contract, logged), of_labelled(found, contract, zip(logged, labels, strict=True))
    assert all(tuple(batch.counts(each.name)) == each.counts for each in found.features)
    assert all(tuple(labelled.counts(each.name)) == each.counts for each in found.outcomes)


def test_a_profile_with_two_columns_of_one_name_is_refused(reference: Profile) -> None:
    """Nothing could tell the label "prediction" from the answer: no count of it would be right."""
    twice = replace(reference, outcomes=(replace(reference.features[-1], role="label"),))
    for use in (
        lambda: roles(twice),
        lambda: columns_of(twice, "drift"),
        lambda: Watch(twice, Monitor()),
        lambda: of_rows(twice, CONTRACT, []),
        lambda: Layout(reference.features[:1] * 2),
        lambda: Batch.empty(reference.features[-1:] * 2),
    ):
        with pytest.raises(DataUnfit, match="two columns of a profile have one name"):
            use()


def test_classes_are_the_bins_of_a_classifier(frame: pd.DataFrame) -> None:
    contract = replace(CONTRACT, task="classification", classes=(False, True))
    found = profile(frame, [True] * 300 + [False] * 100, contract)
    assert found.features[-1].categories == ("False", "True")
    assert found.features[-1].counts == (100, 300, 0, 0)


def test_lengths_must_agree(frame: pd.DataFrame) -> None:
    with pytest.raises(DataUnfit, match="as many predictions as rows"):
        profile(frame, answers(frame)[:-1], CONTRACT)


def test_a_reference_without_any_answer_is_refused(frame: pd.DataFrame) -> None:
    with pytest.raises(DataUnfit, match="no reference row was answered"):
        profile(frame, [None] * len(frame), CONTRACT)


def test_arrived_leaves_sound_values_alone() -> None:
    assert arrived({"bmi": 31.0}, Verdict(status="ok")) == {"bmi": 31.0}
    outside = Problem(column="bmi", reason="outside", action="flag", text="")
    assert arrived({"bmi": 310.0}, Verdict(status="flagged", problems=(outside,))) == {"bmi": 310.0}


def test_rows_of_the_fallback_have_an_answer_and_no_inputs(frame: pd.DataFrame) -> None:
    columns = (replace(CONTRACT.columns[0], missing="fallback"), *CONTRACT.columns[1:])
    broken = frame.copy()
    broken.loc[:59, "bmi"] = np.nan
    found = profile(broken, answers(broken), replace(CONTRACT, columns=columns))
    totals = {feature.name: sum(feature.counts) for feature in found.features}
    assert totals.pop(PREDICTION) == totals.pop(VERDICT) == 400
    assert set(totals.values()) == {340}


def test_a_column_without_a_value_has_no_range(frame: pd.DataFrame) -> None:
    nullable = (replace(CONTRACT.columns[0], nullable=True), *CONTRACT.columns[1:])
    empty = frame.assign(bmi=np.nan)
    found = profile(empty, [100.0] * 400, replace(CONTRACT, columns=nullable)).features[0]
    assert (found.low, found.high, found.edges, found.counts) == (None, None, (), (0, 0, 400))


def test_the_answer_of_a_regression_is_a_number_with_twenty_bins(reference: Profile) -> None:
    last = reference.features[-1]
    assert (last.kind, last.categories) == ("number", ())
    assert len(last.edges) == 19
    assert set(last.counts[:20]) == {20}


@pytest.mark.parametrize(
    ("reason", "now"), [("missing", None), ("wrong_type", None), ("unseen", "a stranger"), ("outside", "as it was")]
)
def test_a_mended_value_counts_as_it_arrived(reference: Profile, reason: Any, now: str | None) -> None:
    problem = Problem(column="sex", reason=reason, action="impute", text="")
    verdict, values = Verdict(status="imputed", problems=(problem,)), {"sex": "f", "bmi": 30.0}
    assert arrived(values, verdict)["bmi"] == 30.0
    place = {None: -1, "a stranger": -2, "as it was": 0}[now]
    found = of_rows(reference, CONTRACT, [Prediction(value=100.0, verdict=verdict, inputs=values)])
    assert found.counts("sex")[place] == 1
    assert found.counts("smoker")[-1] == 1, "a feature that vanished is missing"


def test_a_problem_of_a_column_that_is_not_there_adds_none() -> None:
    unknown = Problem(column="weight", reason="missing", action="flag", text="")
    values = {"bmi": 30.0}
    assert arrived(values, Verdict(status="flagged", problems=(unknown,))) == values
    assert arrived(values, Verdict(status="flagged", problems=(unknown,))) is not values
