"""UBJSON as XGBoost writes it, and everything that it does not write."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.flows.ubjson import decoded
from fullcircle.runtimes.boosters.sound import Unsound


def integer(number: int) -> bytes:
    return b"L" + struct.pack(">q", number)


def text(value: str) -> bytes:
    data = value.encode()
    return integer(len(data)) + data


def written(value: Any) -> bytes:
    """A value as UBJSON, by the words of its specification."""
    if value is None:
        return b"Z"
    if isinstance(value, bool):
        return b"T" if value else b"F"
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return b"D" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"S" + text(value)
    if isinstance(value, list):
        return b"[" + b"".join(map(written, value)) + b"]"
    return b"{" + b"".join(text(name) + written(one) for name, one in value.items()) + b"}"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    assert decoded(written(value)) == value


@given(VALUES, st.data())
def test_what_is_cut_short_is_refused(value: Any, data: st.DataObject) -> None:
    whole = written(value)
    with pytest.raises(Unsound):
        decoded(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with contextlib.suppress(Unsound):
        decoded(data)


@pytest.mark.parametrize(
    ("mark", "kind", "values"),
    [
        (b"i", "b", [-1, 2]),
        (b"U", "B", [200]),
        (b"I", "h", [-300, 5]),
        (b"l", "i", [70000]),
        (b"L", "q", [2**40, -1]),
        (b"d", "f", [0.5, -2.0]),
        (b"D", "d", [0.1]),
        (b"d", "f", []),
    ],
)
def test_arrays_of_one_type_are_read(mark: bytes, kind: str, values: list[Any]) -> None:
    data = b"[$" + mark + b"#" + integer(len(values)) + struct.pack(f">{len(values)}{kind}", *values)
    assert decoded(data) == values


def test_an_array_may_say_how_many_it_holds() -> None:
    assert decoded(b"[#" + integer(2) + b"T" + written("x")) == [True, "x"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"?",
        b"[",
        b"[$",
        b"[$i",
        b"[$S#" + integer(1) + b"x",
        b"[$d#" + integer(2**62),
        b"[$d#" + integer(-1),
        b"[#" + integer(2**62),
        b"[#" + integer(-5),
        b"[#d" + struct.pack(">f", 1.0),
        b"S" + integer(-1),
        b"S" + integer(1) + b"\xff",
        b"{" + text("a") + b"T" + text("a") + b"F}",
        b"{$i#" + integer(1),
        b"{" + text("a"),
        b"T" + b"T",
        b"[" * 100 + b"]" * 100,
        b"[" * 100000,
    ],
)
def test_what_xgboost_never_writes_is_refused(data: bytes) -> None:
    with pytest.raises(Unsound):
        decoded(data)
