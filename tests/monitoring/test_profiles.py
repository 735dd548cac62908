"""Profiles are frozen on the reference; counts in them add up exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from fullcircle.errors import DataUnfit
from fullcircle.monitoring.profiles import PREDICTION, VERDICT, arrived, counts, profile
from fullcircle.types.contract import STATUSES, Problem, Verdict
from fullcircle.types.monitoring import Profile
from monitoring.monitoring_rows import CONTRACT, answers, patients, predictions, statuses_of, values_of


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


def test_the_reference_counts_like_a_window_of_the_same_rows(reference: Profile, frame: pd.DataFrame) -> None:
    logged = predictions(frame)
    found = counts(
        reference,
        [arrived(each.inputs or {}, each.verdict) for each in logged],
        values_of(logged),
        statuses_of(logged),
    )
    assert found == {feature.name: feature.counts for feature in reference.features}


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
    window = counts(profile(frame, answers(frame), CONTRACT), [], [], ["rejected"] * 7)
    assert window[VERDICT] == (0, 0, 0, 0, 7, 0, 0)


def test_a_private_column_is_in_no_profile(frame: pd.DataFrame) -> None:
    """Its values are not in the log, so every window would look as if all of them had gone missing."""
    private = replace(CONTRACT, columns=(replace(CONTRACT.columns[0], private=True), *CONTRACT.columns[1:]))
    found = profile(frame, answers(frame), private)
    assert [feature.name for feature in found.features] == [*CONTRACT.names[1:], VERDICT, PREDICTION]
    assert "bmi" not in counts(found, [{"children": 2}], [100.0], ["ok"])


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


def test_classes_are_the_bins_of_a_classifier(frame: pd.DataFrame) -> None:
    contract = replace(CONTRACT, task="classification", classes=(False, True))
    found = profile(frame, [True] * 300 + [False] * 100, contract)
    assert found.features[-1].categories == ("False", "True")
    assert found.features[-1].counts == (100, 300, 0, 0)


def test_an_input_called_prediction_keeps_its_name(frame: pd.DataFrame) -> None:
    renamed = frame.rename(columns={"bmi": PREDICTION})
    columns = (replace(CONTRACT.columns[0], name=PREDICTION), *CONTRACT.columns[1:])
    found = profile(renamed, answers(frame), replace(CONTRACT, columns=columns))
    names = [feature.name for feature in found.features]
    assert names[0] == PREDICTION
    assert len(set(names)) == len(names)


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


def test_an_empty_window_counts_nothing(reference: Profile) -> None:
    found = counts(reference, [], [], [])
    assert all(sum(values) == 0 for values in found.values())


def test_a_vanished_feature_counts_as_missing(reference: Profile) -> None:
    found = counts(reference, [{"children": 2}] * 5, [100.0] * 5, ["ok"] * 5)
    assert found["bmi"][-1] == 5
    assert found["smoker"][-1] == 5


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


def test_what_was_not_answered_is_no_missing_answer(reference: Profile) -> None:
    found = counts(reference, [], [100.0, None, 200.0, None], [])
    assert sum(found[PREDICTION]) == 2
    assert found[PREDICTION][-1] == 0


@pytest.mark.parametrize(
    ("reason", "now"), [("missing", None), ("wrong_type", None), ("unseen", "a stranger"), ("outside", "as it was")]
)
def test_a_mended_value_counts_as_it_arrived(reference: Profile, reason: Any, now: str | None) -> None:
    problem = Problem(column="sex", reason=reason, action="impute", text="")
    row = arrived({"sex": "f", "bmi": 30.0}, Verdict(status="imputed", problems=(problem,)))
    assert row["bmi"] == 30.0
    place = {None: -1, "a stranger": -2, "as it was": 0}[now]
    assert counts(reference, [row], [], [])["sex"][place] == 1


def test_a_problem_of_a_column_that_is_not_there_adds_none() -> None:
    unknown = Problem(column="weight", reason="missing", action="flag", text="")
    values = {"bmi": 30.0}
    assert arrived(values, Verdict(status="flagged", problems=(unknown,))) == values
    assert arrived(values, Verdict(status="flagged", problems=(unknown,))) is not values
