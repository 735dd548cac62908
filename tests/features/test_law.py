"""The law, proven by replay: a training row at T is the online answer at T, and the answer at T asked later."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given

from features.cases import (
    ASKED_AT,
    AVAILABLE_AT,
    EVENT_TIME,
    HOWS,
    ID,
    KINDS,
    NUMBERS,
    Case,
    cases,
    examples,
    named_cases,
    plain,
)
from features.replay import near, same
from fullcircle import features as ft
from fullcircle.features.history import columns_of
from fullcircle.features.publishing import MARGIN
from fullcircle.settings import load
from fullcircle.types.definitions import ViewSpec

REFUSED = {"min": ("text", "bytes", "decimal(38,10)"), "max": ("text", "bytes", "decimal(38,10)")}


class Clock:
    """The time that a store believes."""

    now = 0

    def __call__(self) -> int:
        return self.now


@contextmanager
def opened(clock: Clock, online: str = "") -> Iterator[ft.Store]:
    """A store in a workspace of its own."""
    with tempfile.TemporaryDirectory(prefix="fc-law-") as name:
        settings = load({"workspace": "ws", "config": "config", "actor": "tester", "online": online}, Path(name))
        with ft.Store.open(settings, clock=clock) as store:
            yield store


def view_of(case: Case) -> ft.FeatureView:
    """A view with every feature that the case's columns can have."""
    table = ft.FeatureTable(
        name="rows",
        key=list(case.keys),
        time=EVENT_TIME,
        available=AVAILABLE_AT,
        id=(ID,) if case.id_kind is not None else (),
    )
    features = []
    for column, kind in case.columns.items():
        for how in HOWS[kind]:
            if kind in REFUSED.get(how, ()) or (how in ("sum", "mean") and not fits(case, column)):
                continue
            latest = how == "latest"
            features.append(
                ft.Feature(
                    name=f"{column}_{how}",
                    table="rows",
                    how=how,
                    column=column,
                    max_age="1s" if latest and case.max_age else None,
                    window=None if latest else "1s",
                )
            )
    features.append(table.count("1s", name="all_count"))
    return ft.FeatureView(name="all", tables=[table], features=features, closed=case.closed)


def defined(store: ft.Store, view: ft.FeatureView, case: Case) -> ViewSpec:
    """What the view means, with the case's own spans, which may be shorter than what people write."""
    spec = store.define(view)
    features = tuple(
        replace(one, window=one.window and case.window, max_age=one.max_age and case.max_age) for one in spec.features
    )
    changed: ViewSpec = replace(spec, features=features)
    return changed


def fits(case: Case, column: str) -> bool:
    return case.columns[column] != "int64" or case.sums_fit(column)


def kind_of(case: Case, feature: ft.Feature) -> str:
    """The kind of a feature's values, as cases name it."""
    if feature.how == "count" or feature.column is None:
        return "int64"
    kind = case.columns[feature.column]
    if feature.how == "mean":
        return "float64"
    return ("float64" if kind == "float64" else "int64") if feature.how == "sum" else kind


def compare(case: Case, view: ft.FeatureView, got: pa.Table, known: Case) -> None:
    """Every value and status against the replay of the rows that are known."""
    for feature in view.features:
        assert isinstance(feature, ft.Feature)
        expected = known.expected(feature.how, feature.column)
        values = plain(kind_of(case, feature), got.column(feature.name).combine_chunks())
        states = got.column(f"{feature.name}__status").to_pylist()
        spread = (
            known.values_in_windows(feature.column) if feature.column and feature.how in ("sum", "mean") else None
        )
        for place, (status, value) in enumerate(expected):
            told = f"{feature.how} of {feature.column} for {case.labels[place]}"
            assert states[place] == status, told
            if spread is not None and value is not None:
                assert near(values[place], value, spread[place], feature.how), told
            elif feature.how in ("min", "max") and value == 0:
                assert values[place] == 0, told
            else:
                assert same(values[place], value), told


def identical(one: pa.Table, two: pa.Table) -> None:
    """The same bits in every column."""
    for name in two.column_names:
        left, right = (table.column(name).combine_chunks() for table in (one, two))
        assert left.type == right.type, name
        if pa.types.is_floating(left.type):
            left, right = left.view(pa.int64()), right.view(pa.int64())
        assert left.equals(right), (name, one.column(name).to_pylist(), two.column(name).to_pylist())


def online_answers(store: ft.Store, spec: ViewSpec, case: Case) -> pa.Table:
    """What the online store answers for each label at its time."""
    plan = store._plan(spec)  # a moment of one's own is not what a caller can ask for: see get(at=...)
    keys = [dict(zip(case.keys, key, strict=True)) for key, _ in case.labels]
    vectors = [plan.get([row], [at])[0] for row, (_, at) in zip(keys, case.labels, strict=True)]
    return columns_of(spec, vectors, True)


def prove(case: Case, online: str = "") -> None:
    """Append batch by batch; at each point training, online and historical answers are those of the replay."""
    clock = Clock()
    view = view_of(case)
    moments = [max(row.e, row.a) for row in case.replay_rows()] + [at for _, at in case.labels]
    first = min(moments, default=0)
    with opened(clock, online) as store:
        clock.now = first + MARGIN  # before anything is visible: all of it waits
        known: list[Sequence[Any]] = []
        for place, (batch, rows) in enumerate(zip(case.arrow_rows(), case.batches, strict=True)):
            store.append(view.tables[0], batch, batch=f"batch {place}")
            known.append(rows)
        if not any(known):
            return
        so_far = replace(case, batches=known)
        spec = defined(store, view, case)
        trained = store.train(spec, case.arrow_labels(), status=True).frame
        compare(case, view, trained, so_far)
        store.publish(spec)
        identical(trained, online_answers(store, spec, case))
        compacted = store.compact(view.tables[0])
        assert compacted.rows == len(case.replay_rows())
        again = store.train(spec, case.arrow_labels(), status=True)
        assert not again.reused
        identical(trained, again.frame)


@pytest.mark.parametrize("name", sorted(named_cases()))
def test_every_known_trap(name: str) -> None:
    prove(named_cases()[name])


@pytest.mark.parametrize("name", sorted(named_cases()))
def test_every_known_trap_with_redis_online(name: str, redis_url: str) -> None:
    prove(named_cases()[name], redis_url)


@examples(60)
@given(cases())
def test_training_is_the_replay_and_the_online_answer(case: Case) -> None:
    prove(case)


@examples(25)
@given(cases(kinds=NUMBERS, with_id=True))
def test_corrected_events(case: Case) -> None:
    prove(case)


@examples(25)
@given(cases(kinds=KINDS))
def test_published_step_by_step_the_online_answer_is_that_of_the_rows_so_far(case: Case) -> None:
    clock = Clock()
    view = view_of(case)
    asked = sorted({at for _, at in case.labels})
    with opened(clock) as store:
        known: list[Sequence[Any]] = []
        for place, (batch, rows) in enumerate(zip(case.arrow_rows(), case.batches, strict=True)):
            # The clock moves on: what was superseded by then may be forgotten.
            clock.now = asked[place * len(asked) // len(case.batches)] + MARGIN if asked else MARGIN
            store.append(view.tables[0], batch)
            known.append(rows)
            if not any(known):
                continue
            spec = defined(store, view, case)
            store.publish(spec)
            horizon = clock.now - MARGIN
            later = replace(case, batches=known, labels=[(key, at) for key, at in case.labels if at >= horizon])
            answers = online_answers(store, spec, later)
            compare(later, view, answers, later)
            identical(store.train(spec, later.arrow_labels(), status=True).frame, answers)


@examples(15)
@given(cases())
def test_asked_later_the_answer_at_a_time_is_the_same(case: Case) -> None:
    clock = Clock()
    view = view_of(case)
    with opened(clock) as store:
        for batch in case.arrow_rows():
            store.append(view.tables[0], batch)
        if not case.replay_rows() or not case.labels:
            return
        spec = defined(store, view, case)
        trained = store.train(spec, case.arrow_labels(), status=True).frame
        rows = [dict(zip(case.keys, key, strict=True)) for key, _ in case.labels]
        found = store.historical(spec, rows, [at for _, at in case.labels])
        identical(trained, columns_of(spec, found, True))


def test_asked_at_is_the_time_of_labels_without_a_table() -> None:
    assert (
        ft.FeatureView(name="v", tables=[], features=[ft.on_demand(returns=float)(_one)], request={"x": float}).time
        is None
    )
    assert ASKED_AT == "asked_at"


def _one(x):  # type: ignore[no-untyped-def]
    return x
