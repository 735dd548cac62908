"""The strict decoder: what is JSON comes back exactly, everything else is a RequestInvalid."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import RequestInvalid
from fullcircle.server.strict import MAX_DEPTH, decode

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
awkward = st.sampled_from(['":', "\\", '\\"', '"', ":", '\\\\":', "a\\", "{", "[:]", "\x00", "\u2028", "😀"])
keys = texts | awkward | st.builds(str.__add__, awkward, awkward)
numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | numbers | keys,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)


@given(documents, st.booleans(), st.sampled_from([None, 1]))
def test_what_is_json_comes_back_exactly(document: Any, escaped: bool, indent: int | None) -> None:
    written = json.dumps(document, ensure_ascii=escaped, indent=indent).encode()
    found = decode(written, depth=64)
    assert found == document
    assert json.dumps(found) == json.dumps(document)  # types and signs too


@given(st.dictionaries(keys, documents, min_size=1, max_size=4), st.integers(0, 3), st.booleans())
def test_a_key_that_occurs_twice_is_refused_wherever_it_is(
    members: dict[str, Any], which: int, escaped: bool
) -> None:
    again = list(members)[which % len(members)]
    pairs = [*members.items(), (again, "second")]
    written = ",".join(f"{json.dumps(key, ensure_ascii=escaped)}: {json.dumps(value)}" for key, value in pairs)
    for shape in ("{%s}", '{"rows": [{"a": 1}, {%s}]}', '[[{"k:": "v:"}, {%s}]]'):
        with pytest.raises(RequestInvalid, match="twice"):
            decode((shape.replace("%s", written)).encode(), depth=64)


def test_a_key_written_in_two_ways_is_still_the_same_key() -> None:
    with pytest.raises(RequestInvalid, match="twice"):
        decode(b'{"a": 1, "\\u0061": 2}')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b'{"a": 1} x',
        b'{"a": 1}{"a": 1}',
        b'{"a": 1,}',
        b'{"a": 01}',
        b'{"a": .5}',
        b'{"a": +1}',
        b"{'a': 1}",
        b'{"a": 1 // no\n}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e400}',
        b'{"a": -1e400}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"a": "\xff"}',
        b'{"a": "\xc0\xaf"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\x01"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        b'{"a": 1}\x00',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 5000 + b"]" * 5000,
        b"\x80\x04K\x01.",
        b"PK\x03\x04",
    ],
)
def test_what_is_not_plain_finite_utf8_json_is_refused(body: bytes) -> None:
    with pytest.raises(RequestInvalid) as caught:
        decode(body)
    assert caught.value.status == 400
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_bounded_exactly(opening: bytes, closing: bytes) -> None:
    decode(opening * MAX_DEPTH + b"1" + closing * MAX_DEPTH)
    with pytest.raises(RequestInvalid, match="deep"):
        decode(opening * (MAX_DEPTH + 1) + b"1" + closing * (MAX_DEPTH + 1))


def test_whole_numbers_are_never_rounded() -> None:
    assert decode(b"[9007199254740993, 12345678901234567890, -12345678901234567890123]") == [
        9007199254740993,
        12345678901234567890,
        -12345678901234567890123,
    ]
    assert type(decode(b"[1]")[0]) is int
    assert type(decode(b"[1.0]")[0]) is float


@settings(max_examples=300)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,\\0aue1.-tn ', max_size=40).map(str.encode))
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    try:
        found = decode(body)
    except RequestInvalid:
        return
    assert found == json.loads(body)
