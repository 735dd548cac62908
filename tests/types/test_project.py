"""What a user declares: good declarations hold, and each wrong one is refused with what to write instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.errors import ProjectInvalid
from fullcircle.types.contract import POLICIES
from fullcircle.types.durations import duration, per_year
from fullcircle.types.gates import at_most, beats, fair
from fullcircle.types.project import Inputs, Monitor, Project, Retrain, Serving
from fullcircle.types.table import Table


def _fit(X: Any, y: Any) -> Any:
    return X


GOOD: Mapping[str, Any] = {
    "name": "bikes",
    "data": "hour.csv",
    "label": "cnt",
    "features": ["hour", "temp"],
    "fit": _fit,
}


def _project(**changes: Any) -> Project:
    return Project(**{**GOOD, **changes})


def _refused(make: Callable[[], object], what: str, received: str | None = None, allowed: str = "") -> ProjectInvalid:
    with pytest.raises(ProjectInvalid, match=what) as caught:
        make()
    error = caught.value
    assert error.next_step, "an error says what to do"
    if received is not None:
        assert error.received is not None
        assert received in error.received
    assert allowed in (error.allowed or "")
    return error


class TestTable:
    def test_a_path_may_be_text_or_a_path(self) -> None:
        assert Table(Path("data") / "hour.csv") == Table("data/hour.csv")

    def test_a_frame_is_taken_as_it_is(self) -> None:
        frame = object()
        assert Table(frame).source is frame

    @pytest.mark.parametrize("path", ["", "  ", "\t\n"])
    def test_an_empty_path_is_refused(self, path: str) -> None:
        _refused(lambda: Table(path), "empty path")

    @pytest.mark.parametrize("bound", [{"since": "2011-01-01"}, {"until": "2012-01-01"}])
    def test_bounds_need_a_column_of_time(self, bound: dict[str, Any]) -> None:
        error = _refused(lambda: Table("hour.csv", **bound), "which column is time")
        assert 'time="COLUMN"' in (error.next_step or "")
        assert Table("hour.csv", time="when", **bound).time == "when"

    def test_prepare_is_a_function(self) -> None:
        _refused(lambda: Table("hour.csv", prepare="clean"), "prepare is not a function", "'clean'", "frame to frame")  # type: ignore[arg-type]  # the mistake under test
        assert Table("hour.csv", prepare=str).prepare is str


EVERY: dict[str, Any] = {
    "label": "age",
    "unit": "years",
    "type": "integer",
    "private": True,
    "hashed": True,
    "nullable": True,
    "low": 0,
    "high": None,
    "usual_low": 20,
    "usual_high": 80.0,
    "categories": ["a", "b"],
    "fill": 50,
    "how": "constant",
    "missing": "impute",
    "unseen": "flag",
    "outside": "reject",
    "wrong_type": "fallback",
}


class TestInputs:
    @pytest.mark.parametrize("name", ["missing", "unseen", "outside", "wrong_type"])
    @pytest.mark.parametrize("policy", POLICIES)
    def test_every_policy_may_be_chosen_for_every_misfit(self, name: str, policy: str) -> None:
        assert getattr(Inputs(**{name: policy}), name) == policy  # type: ignore[arg-type]  # names are data here
        assert Inputs(columns={"age": {name: policy}}).columns["age"][name] == policy

    @pytest.mark.parametrize("name", ["missing", "unseen", "outside", "wrong_type", "unknown"])
    @pytest.mark.parametrize("policy", ["ignore", "", None, "REJECT", ["reject"]])
    def test_another_policy_is_refused(self, name: str, policy: Any) -> None:
        _refused(lambda: Inputs(**{name: policy}), f"inputs.{name} is not", repr(policy), "reject, ")

    def test_an_unknown_column_cannot_be_imputed(self) -> None:
        impute: Any = "impute"
        _refused(lambda: Inputs(unknown=impute), "inputs.unknown does not fit", "impute", "nothing to impute")
        assert Inputs(unknown="fallback").unknown == "fallback"

    def test_the_label_has_a_name_and_a_unit_in_words(self) -> None:
        assert Inputs(label_name="progression", label_unit="points").label_unit == "points"
        number: Any = 3
        _refused(lambda: Inputs(label_unit=number), "inputs.label_unit does not fit", "3", "text")

    def test_a_column_overrides_only_what_there_is(self) -> None:
        _refused(
            lambda: Inputs(columns={"age": {"maximum": 3}}), r"a key of inputs.columns\['age'\]", "maximum", "high"
        )
        _refused(
            lambda: Inputs(columns={"age": {"missing": "drop"}}),
            r"inputs.columns\['age'\]\['missing'\] does not fit",
            "'drop'",
            "reject, impute, flag, fallback",
        )
        assert Inputs(columns={"age": EVERY}).columns == {"age": EVERY}
        assert tuple(EVERY) == Inputs.OVERRIDES

    @pytest.mark.parametrize("key", [key for key in Inputs.OVERRIDES if key not in ("missing", "unseen", "outside")])
    @pytest.mark.parametrize("wrong", [math.nan, ["a", "a"], [], {}, 10**400, (1,)])
    def test_every_key_refuses_what_it_cannot_be(self, key: str, wrong: Any) -> None:
        _refused(lambda: Inputs(columns={"age": {key: wrong}}), rf"inputs.columns\['age'\]\['{key}'\] does not fit")

    @pytest.mark.parametrize(
        ("given_", "key", "allowed"),
        [
            ({"hashed": True, "private": False}, "hashed", "a hashed column is a private one"),
            ({"fill": 3, "how": "median"}, "fill", "a constant"),
            ({"how": "constant"}, "how", "a fill"),
        ],
    )
    def test_what_cannot_both_be_is_refused(self, given_: Any, key: str, allowed: str) -> None:
        _refused(lambda: Inputs(columns={"age": given_}), rf"\['{key}'\] does not fit", allowed=allowed)

    @pytest.mark.parametrize("columns", [["age"], "age", None, {"age": "private"}, {"age": ["private"]}])
    def test_columns_is_a_mapping_of_mappings(self, columns: Any) -> None:
        _refused(lambda: Inputs(columns=columns), "is not a mapping")


class TestMonitorAndRetrain:
    def test_a_window_of_a_minute_is_the_shortest(self) -> None:
        assert Monitor(window="60s").windows_per_year == pytest.approx(365.25 * 24 * 60)
        _refused(lambda: Monitor(window="59s"), "shorter than a minute", "59s", "one minute")
        _refused(lambda: Monitor(window="0d"), "shorter than a minute")

    @given(st.integers(1, 10_000))
    def test_windows_fill_the_year(self, days: int) -> None:
        assert Monitor(window=f"{days}d").windows_per_year * days == pytest.approx(365.25)

    def test_what_cannot_be_read_is_refused(self) -> None:
        _refused(lambda: Monitor(false_alerts="never"), "a rate", "never")
        _refused(lambda: Monitor(window="weekly"), "a span", "weekly")
        _refused(lambda: Retrain(cooldown="a while"), "a span", "a while")

    @pytest.mark.parametrize("wrong", ["me", "hand", None, True])
    def test_who_approves_is_nobody_or_a_person(self, wrong: Any) -> None:
        _refused(lambda: Retrain(approve=wrong), "retrain.approve", repr(wrong), "auto, person")

    def test_the_defaults_are_sensible(self) -> None:
        assert per_year(Monitor().false_alerts) == 1.0
        assert duration(Retrain().cooldown).total_seconds() == 0.0
        assert (Retrain().approve, Retrain(approve="person").approve) == ("auto", "person")


class TestServing:
    def test_numbers_are_floats_and_spans_have_defaults(self) -> None:
        serving = Serving(requests_per_day=500, machine_hour=1)
        assert (serving.requests_per_day, serving.machine_hour) == (500.0, 1.0)
        assert isinstance(serving.requests_per_day, float)
        assert isinstance(serving.machine_hour, float)
        assert (serving.freshness, serving.latency) == ("1d", "1s")
        assert Serving(requests_per_day=0).requests_per_day == 0.0

    @pytest.mark.parametrize("wrong", [-1, -0.1, math.nan, math.inf, "100", None, True, 10**400])
    @pytest.mark.parametrize("name", ["requests_per_day", "machine_hour"])
    def test_what_is_counted_or_paid_is_a_number_from_zero(self, name: str, wrong: Any) -> None:
        given_: dict[str, Any] = {"requests_per_day": 1, name: wrong}
        error = _refused(lambda: Serving(**given_), f"serving.{name} is not a usable number", repr(wrong))
        assert error.allowed == "a finite number, at least 0"

    @pytest.mark.parametrize("name", ["freshness", "latency"])
    def test_freshness_and_latency_are_spans(self, name: str) -> None:
        said: dict[str, Any] = {"requests_per_day": 1, name: "soon"}
        _refused(lambda: Serving(**said), "a span of time", "'soon'")
        said[name] = "20ms"
        assert getattr(Serving(**said), name) == "20ms"

    def test_how_many_requests_there_are_has_to_be_said(self) -> None:
        with pytest.raises(TypeError, match="requests_per_day"):
            Serving()  # type: ignore[call-arg]  # the mistake


class TestProject:
    def test_the_least_that_is_needed(self) -> None:
        project = _project()
        assert project.data == Table("hour.csv"), "a path is a table"
        assert project.features == ("hour", "temp")
        assert project.fits == {"model": _fit}
        assert (project.gates, project.test, project.seed, project.task) == ((), 0.25, 0, None)

    def test_a_table_stays_what_it_is(self) -> None:
        table = Table("hour.csv", time="when")
        assert _project(data=table).data is table

    @given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True))
    def test_names_that_folders_and_addresses_can_hold(self, name: str) -> None:
        assert _project(name=name).name == name

    @pytest.mark.parametrize(
        "name", ["", "-a", "_a", "Bikes", "a b", "a/b", "../a", "a.b", "ä", "a\n", "a" * 64, None, 7, Path("a")]
    )
    def test_another_name_is_refused(self, name: Any) -> None:
        _refused(lambda: _project(name=name), "the project's name cannot be used", repr(name), "a-z, 0-9")

    @pytest.mark.parametrize("label", ["", None, 3])
    def test_a_label_is_a_name(self, label: Any) -> None:
        _refused(lambda: _project(label=label), "label is not a name", repr(label))

    @pytest.mark.parametrize("features", ["hour", ["hour", 3], [None], None, 3, {"hour", "temp"}, {"hour": "h"}])
    def test_features_is_a_list_of_names_in_order(self, features: Any) -> None:
        # A set has no order, and the model's columns would come in another one in the next process.
        _refused(lambda: _project(features=features), "features is not a list", None, "age")

    @pytest.mark.parametrize("make", [list, tuple, iter, lambda names: (name for name in names)])
    def test_any_ordered_names_will_do(self, make: Callable[[Any], Any]) -> None:
        assert _project(features=make(["b", "a"])).features == ("b", "a")

    def test_features_are_some_and_each_once(self) -> None:
        _refused(lambda: _project(features=[]), "features is empty", "[]", "at least one")
        _refused(lambda: _project(features=["b", "a", "b", "a", "c"]), "a column twice", "a, b")

    def test_the_label_is_no_feature(self) -> None:
        _refused(lambda: _project(features=["hour", "cnt"]), "told the answer", "cnt")

    def test_inputs_speak_of_features_only(self) -> None:
        inputs = Inputs(columns={"humidity": {"unit": "%"}})
        _refused(lambda: _project(inputs=inputs), "a column in inputs.columns", "humidity", "hour, temp")
        assert _project(features=["humidity"], inputs=inputs).inputs is inputs

    def test_fit_or_candidates_and_not_both(self) -> None:
        error = "fit or candidates, and not both"
        _refused(lambda: _project(fit=None), error)
        _refused(lambda: _project(candidates={"a": _fit}), error)
        both = {"tree": _fit, "line": _fit}
        assert _project(fit=None, candidates=both).fits == both

    @pytest.mark.parametrize("wrong", ["HistGradientBoosting", 3, object()])
    def test_a_candidate_is_a_function(self, wrong: Any) -> None:
        _refused(lambda: _project(fit=wrong), "the candidate 'model' is not a function", repr(wrong))
        _refused(lambda: _project(fit=None, candidates={"tree": _fit, "b": wrong}), "the candidate 'b'", repr(wrong))

    @pytest.mark.parametrize("name", ["candidates", "params", "arrivals"])
    @pytest.mark.parametrize("wrong", [["a"], "a", 3, None])
    def test_what_has_names_is_a_mapping(self, name: str, wrong: Any) -> None:
        _refused(lambda: _project(**{name: wrong}), f"{name} is not a mapping", repr(wrong), "{name: value}")

    @pytest.mark.parametrize("value", ["adam", 3, 0.1, True, None])
    def test_a_parameter_is_a_single_value(self, value: Any) -> None:
        assert _project(params={"x": value}).params == {"x": value}

    @pytest.mark.parametrize("value", [[1, 2], {"a": 1}, _fit, object(), b"x"])
    def test_another_parameter_is_refused(self, value: Any) -> None:
        _refused(lambda: _project(params={"x": value}), "the parameter 'x' is not a single value", repr(value))

    @pytest.mark.parametrize("name", ["inputs", "monitor", "retrain"])
    @pytest.mark.parametrize("wrong", [{}, "auto", None, Table("hour.csv")])
    def test_parts_are_made_with_their_own_function(self, name: str, wrong: Any) -> None:
        kind = {"inputs": "fc.Inputs(...)", "monitor": "fc.Monitor(...)", "retrain": "fc.Retrain(...)"}[name]
        _refused(lambda: _project(**{name: wrong}), f"{name} is of the wrong type", repr(wrong), kind)

    def test_gates_are_a_list_of_gates(self) -> None:
        gate = at_most("mae", 40.0)
        assert _project(gates=[gate, beats()]).gates == (gate, beats())

    @pytest.mark.parametrize("wrong", [at_most("mae", 40.0), None, {"mae": 40.0}])
    def test_gates_that_are_no_list_are_refused(self, wrong: Any) -> None:
        _refused(lambda: _project(gates=wrong), "gates is not a list", repr(wrong), "fc.beats")

    @pytest.mark.parametrize("name", ["protected", "checks"])
    def test_names_of_columns_and_checks_are_some_and_each_once(self, name: str) -> None:
        assert getattr(_project(), name) == ()
        assert getattr(_project(**{name: "sex"}), name) == ("sex",)
        assert getattr(_project(**{name: ["sex", "age", "sex"]}), name) == ("sex", "age")

    @pytest.mark.parametrize("name", ["protected", "checks"])
    @pytest.mark.parametrize("wrong", [3, None, [None], ["sex", 3], [""], {"sex"}])
    def test_other_things_are_no_columns_or_checks(self, name: str, wrong: Any) -> None:
        _refused(lambda: _project(**{name: wrong}), f"{name} is not a name", None, "text")

    def test_protected_columns_need_be_no_features(self) -> None:
        project = _project(protected=["sex"], gates=[fair("age", "mae", 1), at_most("mae", 1, by=("sex", "area"))])
        assert project.groups == ("sex", "age", "area")
        assert _project().groups == ()

    @pytest.mark.parametrize("name", ["currency", "purpose", "limits"])
    @pytest.mark.parametrize("wrong", [None, 3, ["EUR"], b"EUR"])
    def test_what_the_model_card_says_is_text(self, name: str, wrong: Any) -> None:
        _refused(lambda: _project(**{name: wrong}), f"{name} is not a name", repr(wrong), "text")
        assert getattr(_project(**{name: "for nurses"}), name) == "for nurses"
        assert getattr(_project(), name) == ""

    @pytest.mark.parametrize("wrong", [{}, 500, "batch", Retrain(), Serving])
    def test_serving_is_made_with_its_own_function(self, wrong: Any) -> None:
        _refused(lambda: _project(serving=wrong), "serving is of the wrong type", repr(wrong), "fc.Serving(")
        serving = Serving(requests_per_day=10)
        assert _project(serving=serving).serving is serving
        assert _project().serving is None

    @pytest.mark.parametrize("wrong", ["hand", "me", "", None, True, ["person"]])
    def test_a_project_is_approved_by_itself_or_by_a_person(self, wrong: Any) -> None:
        _refused(lambda: _project(approve=wrong), "approve is not one of", repr(wrong), "auto, person")
        assert (_project().approve, _project(approve="person").approve) == ("auto", "person")

    @pytest.mark.parametrize("odd", ["mae < 40", None, beats])
    def test_another_thing_among_the_gates_is_refused(self, odd: Any) -> None:
        _refused(lambda: _project(gates=[beats(), odd]), "an unknown gate", repr(odd), "at_most, at_least")

    @pytest.mark.parametrize("task", ["ranking", "", 1])
    def test_there_are_two_tasks(self, task: Any) -> None:
        _refused(lambda: _project(task=task), "task is not one of", repr(task), "regression, classification")
        assert _project(task="regression").task == "regression"
        assert _project(task="classification").task == "classification"

    @pytest.mark.parametrize("share", [0.05, 0.25, 0.5])
    def test_a_share_for_the_test(self, share: float) -> None:
        assert _project(test=share).test == share

    @pytest.mark.parametrize("share", [0.0499, 0.501, 0.0, 1.0, -0.25, 25, 1, True, "25%", None, math.nan])
    def test_another_share_is_refused(self, share: Any) -> None:
        _refused(lambda: _project(test=share), "test is not a share", repr(share), "0.05 to 0.5")

    @pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
    def test_a_seed(self, seed: int) -> None:
        assert _project(seed=seed).seed == seed

    @pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, "0", None])
    def test_another_seed_is_refused(self, seed: Any) -> None:
        _refused(lambda: _project(seed=seed), "seed is not a whole number", repr(seed), "0 to 4294967295")

    def test_a_delay_of_labels_is_a_span(self) -> None:
        assert _project(label_delay="30d").label_delay == "30d"
        _refused(lambda: _project(label_delay="a month"), "a span of time", "a month")

    def test_an_arrival_is_a_table_or_a_function(self) -> None:
        arrivals = {"2012": Table("hour.csv"), "planted": _fit}
        assert _project(arrivals=arrivals).arrivals == arrivals

    @pytest.mark.parametrize("wrong", ["hour.csv", None, datetime(2012, 1, 1, tzinfo=UTC)])
    def test_another_arrival_is_refused(self, wrong: Any) -> None:
        _refused(lambda: _project(arrivals={"2012": wrong}), "the arrival '2012'", repr(wrong), "fc.Table")


@pytest.mark.parametrize(
    "value",
    [Table("a.csv"), Inputs(), at_most("mae", 1.0), Monitor(), Retrain(), Serving(requests_per_day=1), _project()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_declared_stays_as_declared(value: Any) -> None:
    for field in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field.name, None)
