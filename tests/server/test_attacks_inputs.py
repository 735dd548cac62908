"""The attack list on inputs: each case by its number there, through the application's door.

A prediction request is read in one of several ways (a struct, by hand, as columns, as an Arrow stream). ``Ways``
sends the same rows through them: what one way lets through, refuses or answers, all do.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.follower import Loaded, View
from fullcircle.server.http import Limits
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Column, Contract
from serving import GOOD, JSON_HEADER, Coin, Response, Sum, app, ask, call, classes, contract, loaded, post, view

ARROW = b"application/vnd.apache.arrow.stream"
WHOLE, FREE, NUMBER, TRUTH, KIND = "whole", "naïve: one", "n%b{0}", "t", "kind/of"
COLUMNS = (
    Column(name=WHOLE, kind="integer"),
    Column(name=FREE, kind="integer", nullable=True),
    Column(name=NUMBER, kind="number", missing="impute", fill=0.5),
    Column(name=TRUTH, kind="boolean"),
    Column(name=KIND, kind="category", categories=("a", 'b:"', "é", "😀"), unseen="fallback"),
)
CONTRACT = Contract(columns=COLUMNS, label="y", task="regression", prior=-1.0, context=("when", "who: he"))
PLAIN = {WHOLE: "7", FREE: "8", NUMBER: "1.5", TRUTH: "true", KIND: '"a"'}
"""A good row: each value as it is written in JSON."""


class Exact:
    """Its answer tells whole numbers apart that a float does not, and 0.0 from -0.0."""

    def predict(self, frame: Any) -> Any:
        whole = np.array([int(value) % 1009 for value in frame[WHOLE].tolist()], dtype=float)
        free = frame[FREE].fillna(3.0).to_numpy() % 1013
        number = np.arctan(frame[NUMBER].to_numpy()) + np.copysign(0.25, frame[NUMBER].to_numpy())
        return whole + free / 7 + number + frame[TRUTH].to_numpy() * 5.0 + frame[KIND].cat.codes.to_numpy() / 3


def members(*pairs: str) -> bytes:
    return f'{{"rows": [{{{",".join(pairs)}}}]}}'.encode()


def served(contract: Contract = CONTRACT, *, quick: bool = True) -> Loaded:
    one = loaded(scorer=Scorer(contract, Exact()))
    if not quick:
        one.__dict__["quick"] = False  # as for a contract that no struct can be made of
    return one


@dataclass(frozen=True)
class Told:
    """An answer without what differs from call to call, and what the log has of it."""

    status: int
    code: str
    rows: tuple[Any, ...]
    logged: tuple[Any, ...]

    @property
    def verdicts(self) -> list[str]:
        return [row["verdict"] for row in self.rows]

    @property
    def values(self) -> list[Any]:
        return [row["prediction"] for row in self.rows]


class Ways:
    """Two servers with one model: one that reads quickly where it can, and one that always reads by hand."""

    def __init__(self, folder: Path) -> None:
        self.folders = [folder / "quick", folder / "hand"]
        self.apps = [app(self.folders[0], served()), app(self.folders[1], served(quick=False))]
        self.seen: list[set[str]] = [set(), set()]

    def told(self, which: int, body: bytes, kind: bytes = JSON_HEADER[0][1]) -> Told:
        found = call(self.apps[which], "POST", "/predict/m", body, [(b"content-type", kind)])
        document = msgspec.json.decode(found.body)  # strict
        fresh = [one for one in log.read(self.folders[which], "m") if one.id not in self.seen[which]]
        self.seen[which] |= {one.id for one in fresh}
        rows = document.get("predictions", ())
        assert sorted(one.id for one in fresh) == sorted(row["id"] for row in rows)  # what is answered is logged
        logged = tuple((one.value, one.inputs, one.context or {}, one.verdict.status) for one in fresh)
        code = document.get("error", {}).get("code", "")
        return Told(found.status, code, tuple({**row, "id": ""} for row in rows), logged)

    def same(self, body: bytes) -> Told:
        quick, hand = self.told(0, body), self.told(1, body)
        assert repr(quick) == repr(hand)  # repr: 0.0 is not -0.0
        return quick

    def row(self, **changes: str) -> Told:
        """One row, its values as written in JSON, as a row and as columns of one value."""
        values = {**PLAIN, **changes}
        members = ",".join(f"{json.dumps(name, ensure_ascii=False)}: {value}" for name, value in values.items())
        lists = ",".join(f"{json.dumps(name)}: [{value}]" for name, value in values.items())
        found = self.same(f'{{"rows": [{{{members}}}]}}'.encode())
        turned = self.same(f'{{"columns": {{{lists}}}}}'.encode())
        assert repr((found.status, found.rows, found.logged)) == repr((turned.status, turned.rows, turned.logged))
        return found


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    found = Ways(tmp_path_factory.mktemp("ways"))
    yield found
    for target in found.apps:
        target.close()


# --- numbers ----------------------------------------------------------------------------------------------

E53, E63, E64 = 2**53, 2**63, 2**64
NUMBERS: dict[str, tuple[str, ...]] = {
    # what is sent: the status of the request (400), or the verdict as WHOLE, as FREE, as NUMBER
    "H16 not a number": ("NaN", *["400"] * 3),
    "H16 infinity": ("Infinity", *["400"] * 3),
    "H16 minus infinity": ("-Infinity", *["400"] * 3),
    "H16 beyond a float": ("1e400", *["400"] * 3),
    "H16 beyond a float, negative": ("-1e400", *["400"] * 3),
    "H16 beyond a float by its digits": ("1" + "0" * 400 + ".0", *["400"] * 3),
    "H16 the word in quotes": ('"NaN"', *["rejected"] * 3),
    "H16 a number in quotes": ('"3"', *["rejected"] * 3),
    "H18 2**53 - 1": (str(E53 - 1), *["ok"] * 3),
    "H18 2**53": (str(E53), *["ok"] * 3),
    "H18 2**53 + 1": (str(E53 + 1), "ok", "rejected", "rejected"),
    "H18 -(2**53) - 1": (str(-E53 - 1), "ok", "rejected", "rejected"),
    "H18 2**53 + 2": (str(E53 + 2), "ok", "rejected", "ok"),
    "H18 2**53 as a float": (f"{E53}.0", *["ok"] * 3),
    "H18 2**63 - 1": (str(E63 - 1), "ok", "rejected", "rejected"),
    "H18 2**63": (str(E63), "rejected", "rejected", "ok"),
    "H18 -(2**63)": (str(-E63), "ok", "rejected", "ok"),
    "H18 2**64": (str(E64), "rejected", "rejected", "ok"),
    "H18 2**64 - 1": (str(E64 - 1), *["rejected"] * 3),
    "H18 10**22": (str(10**22), "rejected", "rejected", "ok"),
    "H18 10**23": (str(10**23), *["rejected"] * 3),
    "H18 10**308": (str(10**308), *["rejected"] * 3),
    "H18 400 digits": ("9" * 400, *["rejected"] * 3),
    "H18 4300 digits": ("9" * 4300, *["rejected"] * 3),
    "H18 5000 digits": ("9" * 5000, *["400"] * 3),
    "H18 a leading zero": ("007", *["400"] * 3),
    "H18 a plus": ("+7", *["400"] * 3),
    "H18 hexadecimal": ("0x7", *["400"] * 3),
    "H19 less than a float can tell": ("1e-400", *["ok"] * 3),
    "H19 the least float": ("5e-324", "rejected", "rejected", "ok"),
    "H19 minus zero": ("-0", *["ok"] * 3),
    "H19 minus zero as a float": ("-0.0", *["ok"] * 3),
    "H19 a whole number with a point": ("7.0", *["ok"] * 3),
    "H19 a whole number with an exponent": ("7E0", *["ok"] * 3),
    "H19 a half": ("7.5", "rejected", "rejected", "ok"),
    "M4 the largest float": ("1.7976931348623157e308", "rejected", "rejected", "ok"),
    "M4 the lowest float": ("-1.7976931348623157e308", "rejected", "rejected", "ok"),
    "M4 2**31": (str(2**31), *["ok"] * 3),
    "H23 true": ("true", *["rejected"] * 3),
    "H23 an empty list": ("[]", *["rejected"] * 3),
    "H23 an empty object": ("{}", *["rejected"] * 3),
    "H23 one in a list": ("[7]", *["rejected"] * 3),
    "M3 null": ("null", "rejected", "ok", "imputed"),
    "M3 an empty text": ('""', *["rejected"] * 3),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_exact_or_refused_whichever_way_it_is_read(ways: Ways, name: str) -> None:
    written, *expected = NUMBERS[name]
    for column, verdict in zip((WHOLE, FREE, NUMBER), expected, strict=True):
        found = ways.row(**{column: written})
        if verdict == "400":
            assert (found.status, found.code, found.rows) == (400, "request_invalid", ())
            continue
        assert found.verdicts == [verdict]
        assert found.status == (422 if verdict == "rejected" else 200)


@pytest.mark.parametrize("number", [E53 - 1, E53, E53 + 1, -E53 - 1, E63 - 1, -E63])
def test_h18_the_model_sees_the_very_whole_number_that_the_log_has(ways: Ways, number: int) -> None:
    found = ways.row(**{WHOLE: str(number)})
    (base,) = ways.row(**{WHOLE: "0"}).values
    assert found.values == [base + number % 1009]
    ((_, inputs, _, _),) = found.logged
    assert inputs[WHOLE] == number


def test_h18_one_huge_number_does_not_fail_who_is_asked_in_the_same_batch(tmp_path: Path) -> None:
    target = app(tmp_path, served())
    bodies = [
        members(*(f'"{name}": {value}' for name, value in {**PLAIN, **row}.items()))
        for row in ({}, {WHOLE: "9" * 400}, {FREE: "-" + "9" * 4000}, {NUMBER: "9" * 400}, {})
    ]

    async def together() -> list[Response]:
        return await asyncio.gather(*(ask(target, "POST", "/predict/m", body) for body in bodies))

    found = asyncio.run(together())
    assert [one.status for one in found] == [200, 422, 422, 422, 200]
    assert found[0].json["predictions"][0]["prediction"] == found[-1].json["predictions"][0]["prediction"]


TOKENS = st.one_of(
    st.integers(-(2**66), 2**66).map(str),
    st.sampled_from([E53, E63, E64]).flatmap(lambda near: st.integers(near - 3, near + 3)).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["null", "true", '"a"', '"\\u0061"', '"7"', "[]", "{}"]),
)


@settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.dictionaries(st.sampled_from([*PLAIN, "when", "who: he", "strange"]), TOKENS, max_size=3))
@example(changes={NUMBER: f"{E53 + 1}"})
@example(changes={"when": "9" * 400, "who: he": "1e308"})
def test_h18_h19_h23_any_values_at_all_are_judged_alike(ways: Ways, changes: dict[str, str]) -> None:
    found = ways.row(**changes)
    assert found.status in (200, 400, 422)
    assert (found.status == 400) == (not found.rows)


# --- keys -------------------------------------------------------------------------------------------------


ALL = [f'"{name}": {value}' for name, value in PLAIN.items()]
KEYS: dict[str, tuple[bytes, int]] = {
    "H17 a column twice": (members(*ALL, '"whole": 7'), 400),
    "H17 a column twice, the second escaped": (members(*ALL, '"\\u0077hole": 7'), 400),
    "H17 a column twice, both escaped": (members('"wh\\u006fle": 7', *ALL[1:], '"\\u0077hole": 7'), 400),
    "H17 a column with a colon twice": (members(*ALL, ALL[1]), 400),
    "H17 twice beside a colon in a text": (members(*ALL[:-1], '"kind/of": "b:\\""', '"whole": 7'), 400),
    "H17 a context column twice": (members(*ALL, '"when": 1', '"when": 1'), 400),
    "H17 a context column twice, escaped": (members(*ALL, '"who: he": 1', '"who\\u003a he": 1'), 400),
    "H17 one missing, one twice": (members(*ALL[1:], ALL[1]), 400),
    "H17 an unknown key twice": (members(*ALL, '"x": 1', '"x": 1'), 400),
    "H17 rows twice": (members(*ALL)[:-1] + b',"rows": []}', 400),
    "H17 rows twice, escaped": (members(*ALL)[:-1] + b',"r\\u006fws": [{}]}', 400),
    "H17 a slash that may be escaped": (members(*ALL, '"kind\\/of": "a"'), 400),
    "H17 in columns": (b'{"columns": {"whole": [1], "whole": [2]}}', 400),
    "H17 columns twice": (b'{"columns": {"whole": [1]}, "columns": {"whole": [1]}}', 400),
    "M2 permuted": (members(*reversed(ALL)), 200),
    "M2 a key written in escapes": (members('"\\u0077hole": 7', *ALL[1:]), 200),
    "M2 a colon written as an escape": (members(ALL[0], '"naïve\\u003a one": 8', *ALL[2:]), 200),
    "M2 a slash escaped": (members(*ALL[:-1], '"kind\\/of": "a"'), 200),
    "M2 a column missing": (members(*ALL[1:]), 422),
    "M2 one more": (members(*ALL, '"more": 1'), 422),
    "M2 renamed by case": (members('"Whole": 7', *ALL[1:]), 422),
    "M2 renamed by a space": (members('"whole ": 7', *ALL[1:]), 422),
    "M2 renamed by its Unicode form": (members(ALL[0], '"nai\u0308ve: one": 8', *ALL[2:]), 422),
    "M2 an empty name": (members(*ALL, '"": 1'), 422),
    "M2 a NUL in a name": (members(*ALL, '"\\u0000": 1'), 422),
    "M2 a name like a method": (members(*ALL, '"__class__": {}', '"__struct_fields__": []'), 422),
    "M2 the field of the struct instead of its name": (members('"c0": 7', *ALL[1:]), 422),
    "M2 the context column of the struct": (members(*ALL, '"x0": 7'), 422),
    "M3 no value at all": (b'{"rows": [{}]}', 422),
    "M3 all null": (members(*(f'"{name}": null' for name in PLAIN)), 422),
    "H24 nothing": (b"", 400),
    "H24 only space": (b" \t\r\n ", 400),
    "H24 something behind it": (members(*ALL) + b"1", 400),
    "H24 two documents": (members(*ALL) * 2, 400),
    "H24 a NUL behind it": (members(*ALL) + b"\x00", 400),
    "H24 a comma too many": (members(*ALL, ""), 400),
    "H24 a comment": (members(*ALL) + b"// hm", 400),
    "H24 a comment within": (b"/**/" + members(*ALL), 400),
    "H24 space around it": (b"\r\n " + members(*ALL) + b"\t\n", 200),
    "H24 cut short": (members(*ALL)[:-1], 400),
    "H24 single quotes": (members(*ALL).replace(b'"', b"'"), 400),
    "H22 a byte order mark": (b"\xef\xbb\xbf" + members(*ALL), 400),
    "H22 UTF-16": (members(*ALL).decode().encode("utf-16"), 400),
    "H22 UTF-32": (members(*ALL).decode().encode("utf-32-be"), 400),
    "H22 not UTF-8 in a text": (members(*ALL[:-1], '"kind/of": "#"').replace(b"#", b"\xff"), 400),
    "H22 overlong": (members(*ALL[:-1], '"kind/of": "#"').replace(b"#", b"\xc1\xa1"), 400),
    "H22 half a pair in UTF-8": (members(*ALL[:-1], '"kind/of": "#"').replace(b"#", b"\xed\xa0\xbd"), 400),
    "H22 not UTF-8 in a name": (members(*ALL, '"#": 1').replace(b"#", b"\xff"), 400),
    "H22 half a pair escaped": (members(*ALL[:-1], '"kind/of": "\\ud83d"'), 400),
    "H22 half a pair escaped in the context": (members(*ALL, '"when": "\\ude00"'), 400),
    "H22 a pair the wrong way round": (members(*ALL[:-1], '"kind/of": "\\ude00\\ud83d"'), 400),
    "H22 a pair": (members(*ALL[:-1], '"kind/of": "\\ud83d\\ude00"'), 200),
    "H22 a line break within a text": (members(*ALL, '"when": "a\nb"'), 400),
    "H22 U+FFFF": (members(*ALL, '"when": "\uffff"'), 200),
    "H22 a NUL in the context": (members(*ALL, '"when": "\\u0000"'), 200),
    "H20 as deep as may be": (members(*ALL, '"when": ' + "[" * 13 + "]" * 13), 200),
    "H20 one deeper": (members(*ALL, '"when": ' + "[" * 14 + "]" * 14), 400),
    "H20 1000 deep": (members(*ALL, '"when": ' + "[" * 1000 + "]" * 1000), 400),
    "H20 100000 objects deep": (members(*ALL, '"when": ' + '{"a":' * 100_000), 400),
    "H23 rows is an object": (b'{"rows": {}}', 400),
    "H23 rows holds a list": (b'{"rows": [[]]}', 400),
    "H23 rows holds null beside a row": (members(*ALL)[:-2] + b",null]}", 400),
    "H23 columns of one value each": (b'{"columns": {"whole": 1}}', 400),
    "H23 columns of several lengths": (b'{"columns": {"whole": [1], "t": []}}', 400),
    "H23 columns is a list": (b'{"columns": []}', 400),
    "H23 columns without a row": (b'{"columns": {"whole": []}}', 400),
    "H23 rows and columns": (b'{"rows": [{}], "columns": {"whole": [1]}}', 400),
    "H23 a row in columns": (b'{"columns": {"whole": {"0": 1}}}', 400),
    "D1 a pickle": (b"\x80\x04\x95\x1d\x00\x00\x00c__builtin__\neval\n.", 400),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_body_is_taken_or_refused_whichever_way_it_is_read(ways: Ways, name: str) -> None:
    body, status = KEYS[name]
    found = ways.same(body)
    assert found.status == status
    assert (found.logged == ()) == (status == 400)


@pytest.mark.parametrize(
    ("written", "verdict"),
    [
        ('"a"', "ok"),
        ('"\\u0061"', "ok"),
        ('"b:\\""', "ok"),
        ('"é"', "ok"),
        ('"e\u0301"', "fallback"),
        ('"A"', "fallback"),
        ('" a"', "fallback"),
        ('"a\\u0000"', "fallback"),
        ('"a\\u200b"', "fallback"),
        ('"\uff41"', "fallback"),
        ('""', "fallback"),
        ('"' + "a" * 60_000 + '"', "fallback"),
        ("0", "rejected"),
        ("null", "rejected"),
        ('["a"]', "rejected"),
    ],
)
def test_m1_a_category_is_known_to_the_letter_or_gets_what_the_policy_says(
    ways: Ways, written: str, verdict: str
) -> None:
    found = ways.row(**{KIND: written})
    assert found.verdicts == [verdict]
    assert found.values == ([-1.0] if verdict == "fallback" else found.values)
    assert len(repr(found.rows)) < 1000  # what was sent is quoted, and not all of it


TIMES = {
    "M9 in UTC": ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05"),
    "M9 another zone": ("2026-01-02T03:04:05+05:30", "2026-01-01T21:34:05"),
    "M9 without a zone": ("2026-01-02T03:04:05", "2026-01-02T03:04:05"),
    "M9 a day": ("2026-01-02", "2026-01-02T00:00:00"),
    "M9 an hour that comes twice, first": ("2025-10-26T02:30:00+02:00", "2025-10-26T00:30:00"),
    "M9 an hour that comes twice, second": ("2025-10-26T02:30:00+01:00", "2025-10-26T01:30:00"),
    "M9 the future": ("2199-01-01", "2199-01-01T00:00:00"),
    "M9 a leap second": ("2016-12-31T23:59:60Z", None),
    "M9 hour 24": ("2026-01-01T24:00:00", None),
    "M9 30 February": ("2026-02-30", None),
    "M9 year 0": ("0000-01-01", None),
    "M9 year 1": ("0001-01-01T00:00:00+23:59", None),
    "M9 year 9999": ("9999-12-31T23:59:59-23:59", None),
    "M9 year 10000": ("10000-01-01", None),
    "M9 seconds since 1970": ("1767322800", None),
    "M9 digits of another script": ("\u0662\u0660\u0662\u0666-01-01", None),
    "M9 words": ("now", None),
    "M9 nothing": ("", None),
    "M9 a zone of a day": ("2026-01-01T00:00:00+24:00", None),
}


@pytest.mark.parametrize("name", TIMES)
def test_a_time_is_the_moment_that_was_meant_or_refused(tmp_path: Path, name: str) -> None:
    written, moment = TIMES[name]
    columns = (Column(name="age", kind="integer"), Column(name="at", kind="time"))

    class Ages:
        def predict(self, frame: Any) -> Any:
            return frame["age"].to_numpy(dtype=float)

    target = app(tmp_path, loaded(scorer=Scorer(contract(columns=columns), Ages())))
    found = post(target, "/predict/m", {"rows": [{"age": 1, "at": written}]})
    assert found.status == (422 if moment is None else 200)
    (logged,) = log.read(tmp_path, "m")
    assert (logged.inputs or {}).get("at") == moment


# --- how much ---------------------------------------------------------------------------------------------


def stream(table: Any, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def bulk(target: App, body: bytes, accept: bytes = b"*/*") -> Response:
    return call(target, "POST", "/predict/m", body, [(b"content-type", ARROW), (b"accept", accept)])


def turned(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("clean", [True, False], ids=["quick", "by hand"])
@pytest.mark.parametrize("way", ["rows", "columns", "arrow"])
@pytest.mark.parametrize("limit", [1, 3, 600])
def test_h15_as_many_rows_as_may_be_and_one_more_whichever_way_they_come(
    tmp_path: Path, limit: int, way: str, clean: bool
) -> None:
    target = app(tmp_path, limits=Limits(rows=limit))
    for count, status in ((limit, 200), (limit + 1, 413)):
        rows = [{**GOOD, "bmi": 20.0 + place / 100} for place in range(count)]
        if not clean:
            rows[0]["sex"] = "x"
        if way == "arrow":
            found = bulk(target, stream(pa.Table.from_pylist(rows)))
        else:
            found = post(target, "/predict/m", {"rows": rows} if way == "rows" else {"columns": turned(rows)})
        assert found.status == status, found.body
        assert len(found.json.get("predictions", ())) == (limit if status == 200 else 0)
    assert len(list(log.read(tmp_path, "m"))) == limit


def test_h15_a_body_is_refused_as_soon_as_it_is_too_long_and_not_read_to_its_end(tmp_path: Path) -> None:
    target = app(tmp_path, limits=Limits(body_bytes=1000))
    padded = json.dumps({"rows": [GOOD]}).encode().ljust(1000)
    assert [call(target, "POST", "/predict/m", one).status for one in (padded, padded + b" ")] == [200, 413]
    for size, read in ((100, 11), (1000, 2), (1001, 1)):
        asked = 0
        sent: list[Any] = []

        async def receive(size: int = size) -> Any:
            nonlocal asked
            asked += 1
            return {"type": "http.request", "body": b" " * size, "more_body": True}

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/predict/m", "headers": list(JSON_HEADER)}
        asyncio.run(target(scope, receive, send))
        assert (sent[0]["status"], asked) == (413, read)


def test_h21_bodies_that_wait_to_be_decoded_count_as_held(tmp_path: Path) -> None:
    body = json.dumps({"rows": [GOOD] * 40}).encode()
    target = app(tmp_path, limits=Limits(inline_bytes=100, reading_bytes=len(body) * 5 // 2))

    async def together(path: str) -> list[int]:
        found = await asyncio.gather(*(ask(target, "POST", path, body) for _ in range(5)))
        assert all(one.headers.get("retry-after") == "1" for one in found if one.status == 503)
        return [one.status for one in found]

    for _ in range(2):  # the room is given back
        assert asyncio.run(together("/predict/m")) == [200, 200, 503, 503, 503]
    assert asyncio.run(together("/outcomes")) == [400, 400, 503, 503, 503]
    assert len(list(log.read(tmp_path, "m"))) == 160


LARGE: dict[str, tuple[bytes, int]] = {
    "H21 many empty lists": (b'{"rows":[' + b"[]," * 200_000 + b"[]]}", 400),
    "H21 many zeros": (b"[" + b"0," * 300_000 + b"0]", 400),
    "H21 many empty rows": (b'{"rows":[' + b"{}," * 200_000 + b"{}]}", 413),
    "H21 many keys": (b'{"rows":[{' + b",".join(b'"%d":0' % place for place in range(60_000)) + b"}]}", 422),
    "H21 many columns": (
        json.dumps({"columns": {f"c{place}": [0] * 100 for place in range(1000)}}).encode(),
        422,
    ),
    "H21 a long text": (b'{"rows":[{"sex":"' + b"x" * 600_000 + b'"}]}', 422),
    "H21 a long name": (b'{"rows":[{"' + b"x" * 600_000 + b'":1}]}', 422),
    "H21 quotes and backslashes": (b'{"rows":[{"sex":"' + b'\\"\\\\:' * 80_000 + b'"}]}', 422),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_large_body_is_refused_in_time_that_grows_with_its_length(tmp_path: Path, name: str) -> None:
    body, status = LARGE[name]
    begun = time.process_time()
    found = call(app(tmp_path), "POST", "/predict/m", body)
    assert time.process_time() - begun < 2.0
    assert found.status == status
    assert len(found.body) < 400_000


def test_h27_one_bad_row_among_many_costs_only_itself(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{**GOOD, "bmi": 20.0 + place / 100} for place in range(700)]
    rows[333] = {**GOOD, "age": "old"}
    for way, document in {"rows": {"rows": rows}, "columns": {"columns": turned(rows)}}.items():
        found = post(app(tmp_path / way), "/predict/m", document)
        verdicts = [row["verdict"] for row in found.json["predictions"]]
        assert (found.status, verdicts) == (200, ["ok"] * 333 + ["rejected"] + ["ok"] * 366)
        assert [one.verdict.status for one in log.read(tmp_path / way, "m")] == verdicts


# --- Arrow ------------------------------------------------------------------------------------------------


def one_row(**changes: Any) -> Any:
    return pa.table({"age": pa.array([40]), "bmi": pa.array([25.5]), "sex": pa.array(["f"]), **changes})


FAR = 10**15  # seconds: the year 31 million
SHIFTED = pa.array([1], pa.int64()).cast(pa.decimal128(19, 0))
ODD: dict[str, Any] = {
    "D8 a time that no calendar has": pa.array([FAR], pa.timestamp("s")),
    "D8 a day that no calendar has": pa.array([2**31 - 1], pa.int32()).cast(pa.date32()),
    "D8 a time in a zone that is not": pa.array([1], pa.timestamp("s", tz="Nowhere/Bad")),
    "P1 a zone that is a path": pa.array([1], pa.timestamp("s", tz="../../../../etc/passwd")),
    "D8 a dictionary of such times": pa.DictionaryArray.from_arrays(
        pa.array([0], pa.int8()), pa.array([FAR], pa.timestamp("s"))
    ),
    "D8 nothing but nulls": pa.nulls(1),
    "D8 a number that no float has": pa.array([Decimal("9" * 70)], pa.decimal256(76, 0)),
    "D8 2**64 - 1": pa.array([2**64 - 1], pa.uint64()),
    "D8 infinity": pa.array([float("inf")]),
    "D8 minus infinity": pa.array([float("-inf")]),
    "D8 an empty dictionary": pa.DictionaryArray.from_arrays(pa.array([None], pa.int8()), pa.array([], pa.string())),
    "D8 a null in the dictionary": pa.DictionaryArray.from_arrays(
        pa.array([0], pa.int8()), pa.array([None], pa.string())
    ),
    "D8 a text view": pa.array(["\x1b[31m"], pa.string_view()),
}
REFUSED_TYPES: dict[str, Any] = {
    "D8 bytes": pa.array([b"f"]),
    "D8 views of bytes": pa.array([b"f"], pa.binary_view()),
    "D8 a list": pa.array([[1]]),
    "D8 a view of a list": pa.array([[1]], pa.list_view(pa.int8())),
    "D8 a map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
    "D8 runs": pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["f"])),
    "D8 a duration": pa.array([2**62], pa.duration("s")),
    "D8 months, days and nanoseconds": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    "D8 a time of day": pa.array([2**62], pa.int64()).view(pa.time64("us")),
    "D8 300 zeros behind a decimal": SHIFTED.view(pa.decimal128(38, -300)),
    "D8 300 digits behind a point": SHIFTED.view(pa.decimal128(38, 300)),
}


@pytest.mark.parametrize("where", ["age", "bmi", "sex", "strange"])
@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_in_arrow_gets_a_verdict(tmp_path: Path, name: str, where: str) -> None:
    found = bulk(app(tmp_path), stream(one_row(**{where: ODD[name]})))
    assert found.status in (200, 422), found.body
    ((verdict, value),) = [(row["verdict"], row["prediction"]) for row in found.json["predictions"]]
    assert verdict in ("imputed", "flagged", "fallback", "rejected")
    assert (value is None) == (verdict == "rejected")
    assert b"\x1b" not in found.body


@pytest.mark.parametrize("name", REFUSED_TYPES)
def test_a_type_that_stands_for_no_plain_value_is_refused(tmp_path: Path, name: str) -> None:
    for where in ("bmi", "strange"):
        found = bulk(app(tmp_path), stream(one_row(**{where: REFUSED_TYPES[name]})))
        assert found.status == 400
        assert found.json["error"]["received"] == f"'{where}'"
    assert list(log.read(tmp_path, "m")) == []


LONG = "x" * 100_000


def many(rows: int, **changes: Any) -> Any:
    return pa.table({"age": [40] * rows, "bmi": [25.5] * rows, "sex": ["f"] * rows, **changes})


BOMBS: dict[str, tuple[Any, str | None, int]] = {
    "Z7 zeros, compressed": (pa.table({"age": np.zeros(3_000_000, dtype=np.int64)}), "zstd", 415),
    "Z7 a text, compressed": (one_row(sex=pa.array(["x" * 10_000_000])), "lz4", 415),
    "Z7 a dictionary, compressed": (one_row(sex=pa.array(["x" * 1_000_000]).dictionary_encode()), "zstd", 415),
    "D9 rows without content": (pa.table({"z": pa.nulls(2_000_000_000)}), None, 413),
    "D9 rows of nothing": (pa.table({"z": pa.nulls(10_001)}), None, 413),
    "D9 columns without content": (many(3000, **{f"z{place}": pa.nulls(3000) for place in range(1500)}), None, 413),
    "D9 one long text that many rows name": (
        many(1000, sex=pa.DictionaryArray.from_arrays(np.zeros(1000, dtype=np.int8), [LONG])),
        None,
        413,
    ),
    "D9 the same in a column of numbers": (
        many(1000, age=pa.DictionaryArray.from_arrays(np.zeros(1000, np.int8), pa.array([LONG], "large_string"))),
        None,
        413,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_stream_cannot_grow_in_memory(tmp_path: Path, name: str) -> None:
    table, compression, status = BOMBS[name]
    body = stream(table, compression)
    assert len(body) < 2**20
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    target = app(tmp_path)
    found = bulk(target, body)
    assert found.status == status, found.body
    assert pool.bytes_allocated() - before < 2**20
    assert bulk(target, stream(one_row())).status == 200


def test_d9_long_views_of_one_buffer_are_counted(tmp_path: Path) -> None:
    views = np.zeros((1000, 4), dtype=np.int32)
    views[:, 0] = len(LONG)
    views[:, 1] = int.from_bytes(b"xxxx", "little")
    column = pa.Array.from_buffers(
        pa.string_view(), 1000, [None, pa.py_buffer(views.tobytes()), pa.py_buffer(LONG.encode())]
    )
    column.validate(full=True)
    body = stream(many(1000, sex=column))
    found = bulk(app(tmp_path), body)
    assert (found.status, "too much" in found.json["error"]["message"]) == (413, True)
    assert bulk(app(tmp_path), stream(many(10, sex=column.slice(3, 10)))).status == 200


@pytest.mark.parametrize("batches", [1, 7])
def test_d9_a_row_limit_counts_all_batches_and_the_stream_may_have_dictionaries(tmp_path: Path, batches: int) -> None:
    table = many(21, sex=pa.array(["f", "m", "x"] * 7).dictionary_encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=21 // batches)
    body = bytes(sink.getvalue())
    assert bulk(app(tmp_path, limits=Limits(rows=20)), body).status == 413
    found = bulk(app(tmp_path, limits=Limits(rows=21)), body)
    assert [row["verdict"] for row in found.json["predictions"]] == ["ok", "ok", "fallback"] * 7


BROKEN = {
    "D8 a place that is not in the dictionary": pa.DictionaryArray.from_arrays(
        pa.array([5], pa.int8()), pa.array(["f"]), safe=False
    ),
    "D8 a place before the dictionary": pa.DictionaryArray.from_arrays(
        pa.array([-1], pa.int8()), pa.array(["f"]), safe=False
    ),
    "H22 text that is not UTF-8": pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32).tobytes()), pa.py_buffer(b"\xff\xfe")]
    ),
    "D8 a view beyond its buffer": pa.Array.from_buffers(
        pa.string_view(), 1, [None, pa.py_buffer(np.array([99, 0, 0, 0], np.int32).tobytes()), pa.py_buffer(b"x")]
    ),
    "D8 a view into no buffer": pa.Array.from_buffers(
        pa.string_view(), 1, [None, pa.py_buffer(np.array([99, 0, 7, 0], np.int32).tobytes()), pa.py_buffer(b"x")]
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_stream_whose_parts_do_not_fit_is_refused(tmp_path: Path, name: str) -> None:
    for where in ("sex", "age", "strange"):
        found = bulk(app(tmp_path), stream(one_row(**{where: BROKEN[name]})))
        assert (found.status, found.json["error"]["code"]) == (400, "request_invalid")
    assert list(log.read(tmp_path, "m")) == []


def test_d8_an_odd_value_that_only_the_log_sees_is_told_there_in_words(tmp_path: Path) -> None:
    one = loaded(scorer=Scorer(contract(context=("when",)), Sum()))
    found = bulk(app(tmp_path, one), stream(one_row(when=pa.array([FAR], pa.timestamp("s")))))
    assert [row["verdict"] for row in found.json["predictions"]] == ["ok"]
    (logged,) = log.read(tmp_path, "m")
    assert logged.context == {"when": "a value that is no timestamp[s]"}


def test_l11_a_version_that_changes_while_a_stream_is_read_answers_it_whole(tmp_path: Path) -> None:
    rows = [{**GOOD, "age": 20 + place} for place in range(5)]
    body = stream(pa.Table.from_pylist(rows))
    lenient = contract(columns=contract().columns[:2], unknown="flag")
    later = [loaded(version=number, scorer=Scorer(lenient, Sum(1000.0 * number))) for number in range(2, 9)]
    current = loaded()

    def seen() -> View:  # the version changes with each look
        nonlocal current
        current = later.pop(0) if later else current
        return view(current)

    found = bulk(App(seen, Desk(tmp_path)), body)
    number = found.json["version"]
    assert 1 < number <= current.version
    values = [row["prediction"] for row in found.json["predictions"]]
    assert values == [20 + place + 25.5 + 1000.0 * number for place in range(5)]
    assert {one.version for one in log.read(tmp_path, "m")} == {number}


@settings(
    max_examples=80, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 1500),
)
def test_d8_d9_a_stream_with_changed_bytes_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    body = bytearray(stream(one_row(sex=pa.array(["f"]).dictionary_encode())))
    for place, byte in changes:
        body[place % len(body)] = byte
    found = bulk(app(tmp_path), bytes(body[: len(body) - cut // 10]))
    assert found.status in (200, 400, 413, 415, 422), found.body


def test_h28_an_arrow_answer_is_refused_in_the_one_shape(tmp_path: Path) -> None:
    found = bulk(app(tmp_path), stream(one_row(age=pa.array([7]))), accept=ARROW)
    assert (found.status, found.headers["content-type"]) == (422, "application/json")
    assert found.json["error"]["code"] == "request_invalid"
    assert [row["verdict"] for row in found.json["predictions"]] == ["rejected"]


# --- what the model does ----------------------------------------------------------------------------------


class Answers:
    """Answers whatever it was made with for a row of 66, and the age for others."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, frame: Any) -> Any:
        return [self.answer if age == 66 else float(age) for age in frame["age"].tolist()]


@pytest.mark.parametrize(
    "answer",
    [float("nan"), float("inf"), float("-inf"), None, "text", 1j, [1.0, 2.0], {}, object(), 10**400, b"\xff"],
    ids=["nan", "inf", "-inf", "None", "text", "complex", "list", "dict", "object", "10**400", "bytes"],
)
@pytest.mark.parametrize("failed", ["reject", "fallback"])
def test_h28_what_is_no_finite_number_never_leaves(tmp_path: Path, answer: Any, failed: str) -> None:
    target = app(tmp_path, loaded(scorer=Scorer(contract(failed=failed), Answers(answer))))
    found = post(target, "/predict/m", {"rows": [{**GOOD, "age": age} for age in (20, 66, 30)]})
    msgspec.json.decode(found.body)  # strict: no NaN, no infinity
    assert [row["prediction"] for row in found.json["predictions"]] == [
        20.0,
        99.0 if failed == "fallback" else None,
        30.0,
    ]
    assert [one.value for one in log.read(tmp_path, "m")] == [row["prediction"] for row in found.json["predictions"]]


@pytest.mark.parametrize(
    "answers",
    [lambda rows: [1.0] * (rows + 1), lambda rows: [], lambda rows: 1.0, lambda rows: [[1.0, 2.0]] * rows],
    ids=["one more", "none", "a scalar", "two each"],
)
def test_h28_as_many_answers_as_rows_or_none(tmp_path: Path, answers: Any) -> None:
    class Wrong:
        def predict(self, frame: Any) -> Any:
            return np.array(answers(len(frame)))

    target = app(tmp_path, loaded(scorer=Scorer(contract(), Wrong())))
    found = post(target, "/predict/m", {"rows": [GOOD, {**GOOD, "age": 50}]})
    assert found.status == 422
    assert [row["problems"][0]["reason"] for row in found.json["predictions"]] == ["model", "model"]


def test_h28_a_chance_that_is_no_number_never_leaves(tmp_path: Path) -> None:
    class Sure(Coin):
        def predict_proba(self, frame: Any) -> Any:
            return np.where(frame["age"].to_numpy()[:, None] == 66, np.nan, super().predict_proba(frame))

    target = app(tmp_path, loaded(scorer=Scorer(classes(), Sure())))
    found = post(target, "/predict/m", {"rows": [{**GOOD, "age": 66}, {**GOOD, "age": 75}]})
    first, second = msgspec.json.decode(found.body)["predictions"]
    assert (first["prediction"], "probabilities" in first) == (None, False)
    assert second["probabilities"] == {"no": 0.25, "yes": 0.75}
