"""Keys are compared part by part, each in its own type."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.cases import examples
from fullcircle import features as ft
from fullcircle.errors import DataUnfit
from fullcircle.features import keys

AT = dt.datetime(2025, 1, 1)
PARTS = ("", "|", ",", "a", "a|", "|a", "a,b", "\0", "a\0", "\\", '"', "é", "e\u0301", "1")
NUMBERS = (0, -1, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))


def joined(names: list[Any], columns: dict[str, Any]) -> list[Any]:
    """Each key's own place, found by a join of the keys with themselves."""
    table = pa.table(columns | {"t": [AT] * len(names)})
    rows = table.append_column("x", pa.array(range(len(names)), pa.int64()))
    return list(ft.join(table, rows, on=list(columns), time="t", as_of="event").column("x").to_pylist())


def test_parts_with_separators_inside_are_not_mixed_up() -> None:
    pairs = list(itertools.product(PARTS, repeat=2))
    assert joined(pairs, {"a": [a for a, _ in pairs], "b": [b for _, b in pairs]}) == list(range(len(pairs)))
    encoded = keys.encode([pa.array([a for a, _ in pairs]), pa.array([b for _, b in pairs])])
    assert len(set(encoded)) == len(pairs)


def test_integers_of_64_bits_are_told_apart() -> None:
    assert joined(list(NUMBERS), {"k": pa.array(NUMBERS, pa.int64())}) == list(range(len(NUMBERS)))
    assert len(set(keys.encode([pa.array(NUMBERS)]))) == len(NUMBERS)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"])
def test_integers_of_all_widths_are_one_kind(kind: str) -> None:
    labels = pa.table({"k": pa.array([1, 100], getattr(pa, kind)()), "t": [AT] * 2})
    rows = pa.table({"k": [1, 100], "t": [AT] * 2, "x": [5, 6]})
    assert ft.join(labels, rows, on="k", time="t", as_of="event")["x"].to_pylist() == [5, 6]
    plain = keys.key_columns(labels, ["k"], "it")
    assert keys.encode(plain) == keys.encode([pa.array([1, 100])])


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_an_integer_of_more_than_63_bits_is_refused(value: int) -> None:
    with pytest.raises(DataUnfit, match="63 bits") as caught:
        joined([value], {"k": pa.array([value], pa.uint64())})
    assert str(value) in str(caught.value)
    assert "text" in str(caught.value.next_step)
    assert joined([2**63 - 1], {"k": pa.array([2**63 - 1], pa.uint64())}) == [0]


def test_a_truth_is_no_number() -> None:
    labels, rows = pa.table({"k": [True], "t": [AT]}), pa.table({"k": [1], "t": [AT], "x": [5]})
    with pytest.raises(DataUnfit, match="another type"):
        ft.join(labels, rows, on="k", time="t", as_of="event")
    one, true = keys.encode([pa.array([1])]), keys.encode([pa.array([True])])
    assert one != true
    assert keys.plain_key(True, "int") is None
    assert keys.plain_key(1, "bool") is None


def test_days_are_keys() -> None:
    days = [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(9999, 12, 31)]
    assert joined(days, {"k": days}) == [0, 1, 2, 3]
    assert joined(days, {"k": pa.array(days, pa.date64())}) == [0, 1, 2, 3]
    assert keys.encode([pa.array(days)]) == keys.encode_rows([(keys.plain_key(day, "date"),) for day in days])


def test_categories_are_keys_by_their_values() -> None:
    labels = pd.DataFrame({"k": pd.Categorical(["b", "a"], categories=["c", "b", "a"]), "t": [AT] * 2})
    rows = pd.DataFrame({"k": pd.Categorical(["a", "b"]), "t": [AT] * 2, "x": [1, 2]})
    assert ft.join(labels, rows, on="k", time="t", as_of="event")["x"].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("int", 5, 5),
        ("int", np.int8(5), 5),
        ("int", np.uint64(2**63 - 1), 2**63 - 1),
        ("int", -(2**63), -(2**63)),
        ("int", 2**63, None),
        ("int", np.uint64(2**63), None),
        ("int", np.True_, None),
        ("int", 5.0, None),
        ("int", "5", None),
        ("int", None, None),
        ("text", "5", "5"),
        ("text", np.str_("5"), "5"),
        ("text", 5, None),
        ("text", b"5", None),
        ("text", None, None),
        ("bool", True, True),
        ("bool", np.False_, False),
        ("bool", "true", None),
        ("bool", None, None),
        ("date", dt.date(1970, 1, 2), 1),
        ("date", "1969-12-31", -1),
        ("date", dt.datetime(1970, 1, 2), 1),
        ("date", pd.Timestamp("1970-01-02"), 1),
        ("date", dt.datetime(1970, 1, 2, 12), None),
        ("date", "1970-13-01", None),
        ("date", "1970-01-02T12:00:00", None),
        ("date", 1, None),
        ("date", None, None),
    ],
)
def test_a_key_as_a_caller_sends_it(kind: str, value: Any, wanted: Any) -> None:
    found = keys.plain_key(value, kind)
    assert found == wanted
    assert type(found) is (type(wanted) if not isinstance(value, np.str_) else np.str_)


@examples(60)
@given(st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from(PARTS), st.booleans()), min_size=1, max_size=12))
def test_equal_numbers_for_equal_keys_over_tables_and_chunks(rows: list[tuple[int, str, bool]]) -> None:
    middle = len(rows) // 2
    groups = []
    for part in (rows[:middle], rows[middle:]):
        columns = [[row[place] for row in part] for place in range(3)]
        types = (pa.int64(), pa.large_string(), pa.bool_())
        groups.append(
            [pa.chunked_array([column[:1], column[1:]], kind) for column, kind in zip(columns, types, strict=True)]
        )
    one, two = keys.codes(groups)
    found = [*one.tolist(), *two.tolist()]
    for (i, left), (j, right) in itertools.combinations(enumerate(rows), 2):
        assert (found[i] == found[j]) == (left == right)
    encoded = keys.encode_rows(rows)
    assert len(set(encoded)) == len(set(rows))


def test_numbers_of_many_parts_do_not_overflow() -> None:
    """Of 78 bits that six parts of 13 bits would need, the first part's must not be those that are lost."""
    size = 2**13
    every = list(range(size))
    first, others = pa.array([*every, 1]), pa.array([*every, 0])
    (found,) = keys.codes([[first, *[others] * 5]])
    assert len(set(found.tolist())) == size + 1
    (found,) = keys.codes([[pa.concat_arrays([column, column]) for column in (first, *[others] * 5)]])
    assert (found[: size + 1] == found[size + 1 :]).all()
