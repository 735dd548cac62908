"""What monitoring hands on survives being written: JSON and MessagePack give back the same value and types."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.types.monitoring import (
    KINDS,
    Alarm,
    Decision,
    Dependence,
    Evidence,
    FeatureProfile,
    Kind,
    Loss,
    Monitored,
    Profile,
    Stretch,
    Suspect,
    Window,
)
from fullcircle.types.report import Measure, Report

texts = st.text(max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)
maybe = st.none() | finite
counts = st.lists(st.integers(0, 2**53), max_size=4).map(tuple)
some = st.lists(finite, max_size=3).map(tuple)
features = st.builds(
    FeatureProfile,
    name=texts,
    kind=st.sampled_from(["number", "category"]),
    counts=counts,
    edges=some,
    categories=st.lists(texts, max_size=3).map(tuple),
    low=maybe,
    mean=maybe,
    quantiles=some,
    role=st.sampled_from(["input", "verdict", "prediction", "estimate", "label", "loss"]),
)
strata = st.dictionaries(texts, st.lists(counts, max_size=2).map(tuple), max_size=2)
dependences = st.builds(
    Dependence,
    seconds=finite,
    batches=st.integers(0, 2**53),
    phases=st.integers(1, 2**53),
    effects=st.dictionaries(texts, finite, max_size=2),
    strata=strata,
)
knots = st.lists(st.tuples(finite, finite), max_size=2).map(tuple)
losses = st.builds(
    Loss,
    name=st.sampled_from(["error", "brier", "absolute"]),
    scale=finite,
    calibration=st.dictionaries(texts, knots, max_size=2),
)
profiles = st.builds(
    Profile,
    features=st.lists(features, max_size=2).map(tuple),
    outcomes=st.lists(features, max_size=1).map(tuple),
    rows=st.integers(0, 2**53),
    metric=texts,
    metric_value=maybe,
    loss=st.none() | losses,
    dependence=st.none() | dependences,
)
suspects = st.builds(Suspect, feature=texts, distance=finite, evidence=finite, low=maybe, text=texts, guess=texts)
kinds = st.sampled_from(KINDS)
alarms = st.builds(
    Alarm,
    id=texts,
    model=texts,
    version=st.integers(0, 2**53),
    kind=kinds,
    severity=st.sampled_from(["page", "ticket"]),
    state=st.sampled_from(["open", "acknowledged", "resolved"]),
    **dict.fromkeys(("since", "opened", "updated", "text", "sure", "advice"), texts),
    cost=maybe,
    suspects=st.lists(suspects, max_size=2).map(tuple),
    on=st.lists(st.booleans(), max_size=5).map(tuple),
)
evidences = st.builds(
    Evidence,
    kind=kinds,
    level=finite,
    threshold=finite,
    fired=st.booleans(),
    suspects=st.lists(suspects, max_size=2).map(tuple),
    returned=st.lists(texts, max_size=2).map(tuple),
)
stretches = st.builds(
    Stretch,
    since=texts,
    until=texts,
    rows=st.integers(0, 2**53),
    verdicts=st.lists(st.tuples(texts, st.integers(0, 2**53)), max_size=2).map(tuple),
    measures=st.lists(st.builds(Measure, name=texts, value=maybe, group=texts), max_size=2).map(tuple),
    levels=st.dictionaries(kinds, finite, max_size=3),
)
decisions = st.builds(
    Decision,
    action=st.sampled_from(["promote", "hold", "rollback", "keep"]),
    model=texts,
    version=st.none() | st.integers(0, 2**53),
    reason=texts,
    figures=st.lists(st.tuples(texts, finite), max_size=2).map(tuple),
)
monitored = st.builds(
    Monitored,
    model=texts,
    version=st.integers(0, 2**53),
    at=texts,
    budget=texts,
    reference=profiles,
    stretches=st.lists(stretches, max_size=2).map(tuple),
    latest=st.dictionaries(texts, counts, max_size=2),
    alarms=st.lists(alarms, max_size=2).map(tuple),
    decisions=st.lists(st.tuples(texts, decisions), max_size=2).map(tuple),
    tolerance=st.dictionaries(texts, finite, max_size=2),
)
ANY = st.one_of(profiles, alarms, evidences, stretches, decisions, monitored)


def written(value: Any) -> list[Any]:
    """The value as each form gives it back."""
    kind = type(value)
    return [
        msgspec.json.decode(msgspec.json.encode(value), type=kind),
        msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind),
    ]


@given(ANY)
@settings(max_examples=30, deadline=None)
def test_what_is_written_comes_back(value: Any) -> None:
    for found in written(value):
        assert found == value
        assert repr(found) == repr(value)  # tuples stay tuples, and -0.0 itself
    assert msgspec.json.encode(written(value)[0]) == msgspec.json.encode(value)


@given(alarms, st.lists(alarms, max_size=2).map(tuple))
@settings(max_examples=20, deadline=None)
def test_a_window_comes_back_with_its_alarms(one: Alarm, more: tuple[Alarm, ...]) -> None:
    report = Report(subject="m", findings=())
    window = Window(
        name="w", model="m", version=1, since="", until="", rows=0, labelled=0, verdicts=(("ok", 1),),
        alarms=(one, *more), report=report, raised=(one.id,),
    )  # fmt: skip
    assert written(window) == [window, window]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Alarm, {"kind": "noise"}),
        (Alarm, {"severity": "loud"}),
        (Alarm, {"state": "asleep"}),
        (Alarm, {"version": "3"}),
        (Decision, {"action": "wait"}),
        (Suspect, {"distance": None}),
        (FeatureProfile, {"role": "spy"}),
    ],
)
def test_what_no_such_noun_can_be_is_refused(kind: type[Any], given: dict[str, Any]) -> None:
    known: dict[type[Any], dict[str, Any]] = {
        Alarm: dict.fromkeys(("id", "model", "since", "opened", "updated", "text", "sure", "advice"), "")
        | {"version": 1, "kind": "risk", "severity": "page", "state": "open"},
        Decision: {"action": "keep", "model": "m", "version": None, "reason": ""},
        Suspect: {"feature": "a", "distance": 0.1, "evidence": 1.0},
        FeatureProfile: {"name": "a", "kind": "number", "counts": [0, 0]},
    }
    msgspec.json.decode(msgspec.json.encode(known[kind]), type=kind)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(known[kind] | given), type=kind)


def test_what_was_written_before_a_field_was_there_is_read_with_its_default() -> None:
    old = b'{"features":[{"name":"a","kind":"number","counts":[1,0,0]}],"rows":1}'
    found = msgspec.json.decode(old, type=Profile)
    assert (found.outcomes, found.loss, found.dependence, found.features[0].role) == ((), None, None, "input")
    newer = old[:-1] + b',"colour":"blue"}'  # and what a later version adds is passed over
    assert msgspec.json.decode(newer, type=Profile) == found


def test_kinds_are_all_and_nouns_are_frozen() -> None:
    assert set(KINDS) == set(get_args(Kind))
    for noun in (FeatureProfile, Dependence, Loss, Profile, Suspect, Evidence, Alarm, Window, Stretch, Monitored):
        assert is_dataclass(noun)
        assert noun.__setattr__ is not object.__setattr__  # frozen
        assert all(each.kw_only for each in fields(noun))
