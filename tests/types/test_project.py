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
from fullcircle.types import project as declared
from fullcircle.types.contract import POLICIES
from fullcircle.types.durations import duration, per_year
from fullcircle.types.gates import Gate, at_least, at_most, beats, fair, latency, size, worth
from fullcircle.types.project import Inputs, Monitor, Project, Retrain
from fullcircle.types.table import Table


def _fit(X: Any, y: Any) -> Any:
    return X


def _gain(actual: Any, predicted: Any) -> Any:
    return actual - predicted


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

    @pytest.mark.parametrize("policy", ["impute", "fallback"])
    def test_an_unknown_column_can_only_be_rejected_or_flagged(self, policy: Any) -> None:
        error = _refused(lambda: Inputs(unknown=policy), "inputs.unknown", policy)
        assert error.allowed == "reject, flag"

    def test_a_column_overrides_only_what_there_is(self) -> None:
        _refused(
            lambda: Inputs(columns={"age": {"maximum": 3}}), r"a key of inputs.columns\['age'\]", "maximum", "high"
        )
        _refused(
            lambda: Inputs(columns={"age": {"missing": "drop"}}),
            r"inputs.columns\['age'\]\['missing'\]",
            "'drop'",
            "reject, impute, flag, fallback",
        )
        every = dict.fromkeys(Inputs.OVERRIDES, "flag")
        assert Inputs(columns={"age": every}).columns == {"age": every}

    @pytest.mark.parametrize("columns", [["age"], "age", None, {"age": "private"}, {"age": ["private"]}])
    def test_columns_is_a_mapping_of_mappings(self, columns: Any) -> None:
        _refused(lambda: Inputs(columns=columns), "is not a mapping")


class TestGates:
    @pytest.mark.parametrize(
        ("gate", "expected"),
        [
            (at_most("mae", 40), Gate(kind="at_most", metric="mae", limit=40.0, text="mae at most 40")),
            (at_least("r2", 0.5), Gate(kind="at_least", metric="r2", limit=0.5, text="r2 at least 0.5")),
            (beats(), Gate(kind="beats", metric="champion", text="beats the champion")),
            (beats("baseline"), Gate(kind="beats", metric="baseline", text="beats the baseline")),
            (
                fair("sex", "accuracy", 0.1),
                Gate(
                    kind="fair",
                    by="sex",
                    metric="accuracy",
                    limit=0.1,
                    text="accuracy differs by at most 0.1 between groups of sex",
                ),
            ),
            (
                worth(_gain, at_least=2),
                Gate(kind="worth", metric="value_per_row", limit=2.0, per_row=_gain, text="worth at least 2 a row"),
            ),
            (
                latency("20ms"),
                Gate(kind="latency", metric="latency_p99_ms", limit=20.0, text="latency p99 at most 20ms"),
            ),
            (
                latency("2s"),
                Gate(kind="latency", metric="latency_p99_ms", limit=2000.0, text="latency p99 at most 2s"),
            ),
            (size("20MB"), Gate(kind="size", metric="model_bytes", limit=2e7, text="size at most 20MB")),
        ],
        ids=lambda value: value.text,
    )
    def test_each_says_which_measure_it_reads_and_its_limit(self, gate: Gate, expected: Gate) -> None:
        assert gate == expected

    def test_worth_asks_for_no_loss_by_default(self) -> None:
        assert worth(_gain).limit == 0.0

    @given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**300), 10**300))
    def test_every_finite_number_is_a_limit(self, limit: float) -> None:
        for gate in (at_most("mae", limit), at_least("mae", limit), worth(_gain, limit)):
            assert gate.limit == float(limit)
            assert isinstance(gate.limit, float)

    @pytest.mark.parametrize("limit", [math.nan, math.inf, -math.inf, True, "40", None, 10**400, -(10**400), 1j, [1]])
    @pytest.mark.parametrize(
        "gate",
        [
            lambda limit: at_most("mae", limit),
            lambda limit: at_least("mae", limit),
            lambda limit: fair("sex", "mae", limit),
            lambda limit: worth(_gain, limit),
        ],
        ids=["at_most", "at_least", "fair", "worth"],
    )
    def test_a_limit_that_is_no_number_is_refused(self, gate: Callable[[Any], Gate], limit: Any) -> None:
        error = _refused(lambda: gate(limit), "is not a usable number", repr(limit))
        assert error.allowed in ("a finite number", "a finite number, at least 0")
        assert (error.allowed == "a finite number") is (not error.what.startswith("gap"))

    def test_a_gap_is_not_negative(self) -> None:
        assert fair("sex", "mae", 0).limit == 0.0
        error = _refused(lambda: fair("sex", "mae", -0.1), "gap is not a usable number", "-0.1")
        assert error.allowed == "a finite number, at least 0"

    @pytest.mark.parametrize("name", ["", None, 3, ["mae"], b"mae"])
    def test_names_are_text(self, name: Any) -> None:
        for gate in (lambda: at_most(name, 1.0), lambda: at_least(name, 1.0), lambda: fair("sex", name, 1.0)):
            _refused(gate, "metric is not a name", repr(name), "text")
        _refused(lambda: fair(name, "mae", 1.0), "by is not a name", repr(name), "text")

    @pytest.mark.parametrize("rival", ["best", "", None])
    def test_a_rival_is_the_champion_or_the_baseline(self, rival: Any) -> None:
        _refused(lambda: beats(rival), "the rival in beats", repr(rival), "champion, baseline")

    def test_worth_needs_a_function(self) -> None:
        _refused(lambda: worth(3.0), "per_row in worth", "3.0", "a function of")  # type: ignore[arg-type]  # the mistake

    def test_times_and_sizes_are_written_with_a_unit(self) -> None:
        _refused(lambda: latency("fast"), "a span of time", "'fast'")
        _refused(lambda: size("small"), "a size cannot be read", "'small'")


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
        _refused(lambda: Retrain(approve="me"), "retrain.approve", "me", "auto, hand")  # type: ignore[arg-type]  # the mistake

    def test_the_defaults_are_sensible(self) -> None:
        assert per_year(Monitor().false_alerts) == 1.0
        assert duration(Retrain().cooldown).total_seconds() == 0.0
        assert (Retrain().approve, Retrain(approve="person").approve) == ("auto", "person")


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
    [Table("a.csv"), Inputs(), at_most("mae", 1.0), Monitor(), Retrain(), _project()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_declared_stays_as_declared(value: Any) -> None:
    for field in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field.name, None)


def test_the_gates_a_user_can_make_are_all_there_are() -> None:
    made = {at_most("a", 1).kind, at_least("a", 1).kind, beats().kind, fair("a", "b", 1).kind}
    made |= {worth(_gain).kind, latency("1s").kind, size("1B").kind}
    assert made == set(declared.GateKind.__args__)  # type: ignore[attr-defined]  # Literal keeps its values there
