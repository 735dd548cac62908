"""The nouns: frozen, equal by content, and the same again after JSON, whatever they hold."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.types import bundle, comparison, contract, facts, monitoring, prediction, report, turn
from fullcircle.types.contract import Column, Contract, Problem, Verdict
from fullcircle.types.report import Chart, Finding, GateVerdict, Measure, Report

MODULES: tuple[ModuleType, ...] = (bundle, comparison, contract, facts, monitoring, prediction, report, turn)
NOUNS: list[type[Any]] = [
    thing
    for module in MODULES
    for thing in vars(module).values()
    if isinstance(thing, type) and is_dataclass(thing) and thing.__module__ == module.__name__
]
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(max_size=8)
# What a chart, a row of a table or the inputs of a prediction may hold.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=3,
)


def _of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field of this type, so small that a whole turn stays small."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if is_dataclass(annotation):
        assert isinstance(annotation, type)
        return st.deferred(lambda: _made(annotation))
    if origin is tuple:
        if inside[1:] == (...,):
            return st.lists(_of(inside[0]), max_size=2).map(tuple)
        return st.tuples(*map(_of, inside))
    if origin is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return st.dictionaries(WORDS, _of(inside[1]), max_size=2)
    if origin is typing.Literal:
        return st.sampled_from(inside)
    if inside:
        return st.one_of(*map(_of, inside))
    plain = {str: WORDS, int: st.integers(-(2**53), 2**53), float: NUMBERS, bool: st.booleans(), Any: JSON}
    return st.none() if annotation is type(None) else plain[annotation]


def _made(noun: type[Any]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(noun)
    return st.builds(noun, **{field.name: _of(hints[field.name]) for field in fields(noun)})


def _small(annotation: Any) -> Any:
    """A value of this type with as little in it as there can be."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if is_dataclass(annotation):
        assert isinstance(annotation, type)
        hints = typing.get_type_hints(annotation)
        return annotation(**{field.name: _small(hints[field.name]) for field in fields(annotation)})
    if origin is tuple:
        return () if inside[1:] == (...,) else tuple(map(_small, inside))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {}
    if origin is typing.Literal:
        return inside[0]
    if inside:
        return None if type(None) in inside else _small(inside[0])
    return {str: "", int: 0, float: 0.0, bool: False, Any: None}[annotation]


def test_there_are_as_many_nouns_as_the_modules_hold() -> None:
    names = {noun.__name__ for noun in NOUNS}
    assert {"Manifest", "Proof", "Contract", "Fact", "Window", "Prediction", "Report", "Turn"} <= names
    assert len(names) == len(NOUNS) >= 29


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_json_gives_the_same_back(noun: type[Any], data: st.DataObject) -> None:
    found = data.draw(_made(noun))
    written = msgspec.json.encode(found)
    again = msgspec.json.decode(written, type=noun)
    assert again == found
    assert msgspec.json.encode(again) == written, "the same bytes for the same content, so digests hold"
    assert msgspec.convert(msgspec.to_builtins(found), noun) == found


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_a_noun_stays_as_it_is_and_equals_its_like(noun: type[Any]) -> None:
    one, same = _small(noun), _small(noun)
    assert one == same
    assert one is not same
    for field in fields(noun):
        with pytest.raises(FrozenInstanceError):
            setattr(one, field.name, getattr(one, field.name))
        with pytest.raises(FrozenInstanceError):
            delattr(one, field.name)
        assert replace(one, **{field.name: "another"}) != one, f"{field.name} does not count"


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_fields_go_by_name_only(noun: type[Any]) -> None:
    with pytest.raises(TypeError, match="positional argument"):
        noun("first")


@pytest.mark.parametrize("noun", NOUNS, ids=lambda noun: noun.__name__)
def test_json_that_lacks_what_is_needed_is_refused(noun: type[Any]) -> None:
    whole = msgspec.to_builtins(_small(noun))
    needed = [field.name for field in msgspec.inspect.type_info(noun).fields if field.required]  # type: ignore[attr-defined]  # a DataclassType
    assert needed or noun is report.About  # of what was evaluated nothing may be known
    for name in needed:
        with pytest.raises(msgspec.ValidationError, match=name):
            msgspec.convert({key: value for key, value in whole.items() if key != name}, noun)


def test_a_number_keeps_its_bits() -> None:
    for value in (0.1 + 0.2, math.pi, 5e-324, 1.7976931348623157e308, -0.0):
        again = msgspec.json.decode(msgspec.json.encode(Measure(name="mae", value=value)), type=Measure).value
        assert again is not None
        assert math.copysign(1.0, again) == math.copysign(1.0, value)
        assert again == value


def test_a_value_stays_of_its_kind() -> None:
    for value in (1, 1.0, True, "1", None):
        sent = prediction.Outcome(prediction_id="a-1", value=value)
        again = msgspec.json.decode(msgspec.json.encode(sent), type=prediction.Outcome).value
        assert type(again) is type(value)


class TestReport:
    VERDICTS = (GateVerdict(gate="a", passed=True, reason=""), GateVerdict(gate="b", passed=True, reason=""))

    def test_it_has_passed_when_every_gate_has(self) -> None:
        assert Report(subject="m", gates=self.VERDICTS).passed
        one_no = (*self.VERDICTS, GateVerdict(gate="c", passed=False, reason="no"))
        assert not Report(subject="m", gates=one_no).passed

    def test_without_gates_nothing_is_proven(self) -> None:
        assert not Report(subject="m").passed

    @pytest.mark.parametrize(
        ("value", "usable"),
        [(1.0, True), (0.0, True), (-1.0, True), (None, False), (math.nan, False), (math.inf, False)],
    )
    def test_a_measure_is_usable_when_it_is_finite(self, value: float | None, usable: bool) -> None:
        assert Measure(name="mae", value=value).usable is usable

    def test_measures_are_found_by_name_and_group(self) -> None:
        whole, part = Measure(name="mae", value=1.0), Measure(name="mae", value=2.0, group="sex=f")
        later = Measure(name="rmse", value=3.0)
        said = Report(subject="m", findings=(_finding(part, whole), _finding(later)))
        assert said.measure("mae") is whole
        assert said.measure("mae", "sex=f") is part
        assert said.measure("rmse") is later
        assert said.measure("mae", "sex=m") is None
        assert said.measure("r2") is None

    def test_charts_and_tables_hold_any_json(self) -> None:
        spec = {"mark": {"type": "bar"}, "data": {"values": [{"x": 1.5, "y": None}, {"x": "a", "y": True}]}}
        found = replace(_finding(), charts=(Chart(title="c", spec=spec),), table=({"a": 1}, {"a": [1, {"b": None}]}))
        assert msgspec.json.decode(msgspec.json.encode(found), type=Finding) == found


class TestContract:
    def test_names_are_in_the_order_of_the_columns(self) -> None:
        columns = tuple(Column(name=name, kind="number") for name in ("b", "a", "c"))
        assert Contract(columns=columns, label="y", task="regression").names == ("b", "a", "c")

    def test_what_is_not_said_is_strict(self) -> None:
        column = Column(name="a", kind="number")
        assert (column.missing, column.wrong_type, column.nullable) == ("reject", "reject", False)
        assert (column.unseen, column.outside) == ("flag", "flag")
        assert Contract(columns=(), label="y", task="regression").unknown == "reject"

    @pytest.mark.parametrize(
        ("noun", "field", "value"),
        [
            (Column(name="a", kind="number"), "kind", "decimal"),
            (Column(name="a", kind="number"), "missing", "ignore"),
            (Contract(columns=(), label="y", task="regression"), "unknown", "impute"),
            (Problem(column="a", reason="missing", action="reject", text=""), "reason", "odd"),
            (Verdict(status="ok"), "status", "fine"),
            (monitoring.Decision(action="hold", model="m", version=None, reason=""), "action", "delete"),
        ],
    )
    def test_a_file_with_a_word_nobody_knows_is_refused(self, noun: Any, field: str, value: str) -> None:
        written = {**msgspec.to_builtins(noun), field: value}
        with pytest.raises(msgspec.ValidationError, match=f"Invalid enum value '{value}'"):
            msgspec.convert(written, type(noun))


def test_facts_hold_names_and_figures_and_no_row() -> None:
    assert all(kind == kind.lower() and body for kind, body in facts.FACTS.items())
    fields_of_rows = {"inputs", "row", "values", "label", "features", "prediction", "outcome"}
    assert not fields_of_rows & {name for body in facts.FACTS.values() for name in body}
    assert all(len(set(body)) == len(body) for body in facts.FACTS.values())


def _finding(*measures: Measure) -> Finding:
    return Finding(check="quality", code="E001", title="t", severity="info", text="t", measures=measures)


def test_a_notebook_shows_a_report_in_its_own_words_and_no_markup_of_the_data() -> None:
    finding = Finding(check="c", code="E001", title="<b>T", severity="warning", text="Worse for <i>x</i>.")
    verdict = GateVerdict(gate="mae & more", passed=False, reason="too high")
    shown = Report(subject="<m>", findings=(finding,), gates=(verdict,), rows=7, notes=("n<1",))._repr_html_()
    for wanted in ("&lt;m&gt;", "7 rows", "&lt;b&gt;T", "look here", "Worse for &lt;i&gt;", "FAILED", "n&lt;1"):
        assert wanted in shown
    assert "<i>" not in shown
    chart = Chart(title="t", spec={"mark": "bar"})
    assert chart._repr_mimebundle_()["application/vnd.vegalite.v5+json"] == {"mark": "bar"}
