"""MLflow's scoring protocol, and with it SageMaker's contract: POST /invocations, GET /ping, /health and /version.

Rows come as JSON in one of four forms (dataframe_split, dataframe_records, instances, inputs), or as CSV with the
names of the columns in the first line. The answer is ``{"predictions": [...]}``: null for a row that was rejected,
and how many of these there are in the header X-Fullcircle-Rejected.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from fullcircle.errors import ModelNotServed, RequestInvalid, ServerBusy
from fullcircle.server import dialects, tabular
from fullcircle.server.dialects import Asked, Parts, Row, asked
from fullcircle.server.engine import Ask
from fullcircle.server.http import Answer
from fullcircle.server.prometheus import release
from fullcircle.server.requests import check_count, too_many
from fullcircle.server.strict import decode
from fullcircle.server.tabular import Taken

if TYPE_CHECKING:
    from fullcircle.server.follower import Loaded, View
    from fullcircle.server.rendering import Lines

CSV = b"text/csv"
REJECTED = b"x-fullcircle-rejected"
_TEXT = b"text/plain; charset=utf-8"
_FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_NEXT = (
    'send {"dataframe_split": {"columns": [...], "data": [[...], ...]}}, {"dataframe_records": [{...}, ...]}, '
    '{"instances": [...]}, {"inputs": {...}}, or CSV with a line of names'
)
Handler = Callable[[Any], Awaitable[Answer]]


class Handlers:
    """Answers at the addresses of MLflow's scoring server."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def table(self) -> Mapping[str, Handler]:
        """Who answers at which address."""
        return {
            "/invocations": self._invoked,
            "/invocations/{model}": self._invoked,
            "/ping": self._ping,
            "/health": self._ping,
            "/version": _version,
        }

    async def _invoked(self, call: Asked) -> Answer:
        model = call.names[0] if call.names else _only(call.view)
        self._parts.served(call.view, model)
        in_csv = dialects.check(call.scope["headers"], self._parts.limits, CSV)
        take = partial(_of_csv if in_csv else _of_json, self._parts.limits.rows)
        return await dialects.predicted(self._parts, call, model, take, _given, _written)

    async def _ping(self, call: Asked) -> Answer:
        found = await self._parts.ready(call)
        return Answer(200, b"\n", kind=_TEXT) if found.status == 200 else found


async def _version(call: Asked) -> Answer:
    del call
    return Answer(200, release().encode(), kind=_TEXT)


def _only(view: View) -> str:
    """The one model that is served. Raises RequestInvalid where there are several."""
    names = sorted(view.wanted | view.loaded.keys())
    if len(names) == 1:
        return names[0]
    if names:
        raise RequestInvalid(
            "several models are served here",
            allowed=", ".join(f"/invocations/{name}" for name in names),
            next_step="name the model in the address",
        )
    if view.file:
        raise ServerBusy("no model answers yet", next_step="try again in a second", cause="not_ready")
    raise ModelNotServed("no model is served here", next_step="see /models")


def _written(loaded: Loaded, kept: Any, lines: Lines, start: int, end: int) -> Answer:
    del loaded, kept
    return Answer(200, b'{"predictions":[' + b",".join(lines.values[start:end]) + b"]}", ((REJECTED, b"0"),))


def _given(loaded: Loaded, kept: Any, rows: Sequence[Row], number: int) -> Answer:
    del loaded, kept, number
    rejected = sum(row.verdict == "rejected" for row in rows)
    body = msgspec.json.encode({"predictions": [row.prediction for row in rows]})
    return Answer(200, body, ((REJECTED, b"%d" % rejected),))


# --- JSON ----------------------------------------------------------------------------------------------------


def _of_json(limit: int, loaded: Loaded, body: bytes) -> Ask:
    document = decode(without_nan(body))
    known = [name for name in _FORMS if isinstance(document, dict) and name in document]
    if len(known) != 1 or document.keys() - {*known, "params"}:
        raise _unfit(f"the body is not an object with exactly one of {', '.join(_FORMS)}")
    if document.get("params") not in (None, {}):
        raise _unfit("the model has no parameters, and params is not an empty object", "no params")
    (form,) = known
    return asked(_READERS[form](limit, loaded, document[form]))


def without_nan(body: bytes) -> bytes:
    """A document with null for NaN, which is no JSON, but what MLflow's client writes for a missing value.

    A document has no byte 0; with that in place of escapes every second piece between quotes lies outside of strings.
    """
    if b"NaN" not in body or b"\0" in body:
        return body
    pieces = body.replace(b"\\\\", b"\0\0").replace(b'\\"', b"\0\1").split(b'"')
    pieces[::2] = b'"'.join(pieces[::2]).replace(b"NaN", b"null").split(b'"')
    return b'"'.join(pieces).replace(b"\0\1", b'\\"').replace(b"\0\0", b"\\\\")


def _split(limit: int, loaded: Loaded, given: Any) -> Taken:
    if not isinstance(given, dict) or given.keys() - {"columns", "index", "data"} or "data" not in given:
        raise _unfit("dataframe_split is not an object of columns, index and data")
    names = given.get("columns")
    if names is None:
        return _by_place(limit, loaded, given["data"])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
        raise _unfit("columns is not a list of names")
    if len(set(names)) != len(names):
        raise _unfit("two columns have one name")
    return _of_lists(limit, loaded, names, given["data"])


def _records(limit: int, loaded: Loaded, given: Any) -> Taken:
    if not isinstance(given, list) or not given or not all(isinstance(row, dict) for row in given):
        raise _unfit("the rows are not a list of at least one object")
    check_count(len(given), "rows", limit)
    return tabular.of_rows(loaded, given)


def _instances(limit: int, loaded: Loaded, given: Any) -> Taken:
    if isinstance(given, list) and given and isinstance(given[0], dict):
        return _records(limit, loaded, [_unboxed(row) if isinstance(row, dict) else row for row in given])
    return _by_place(limit, loaded, given)


def _inputs(limit: int, loaded: Loaded, given: Any) -> Taken:
    if not isinstance(given, dict):
        return _by_place(limit, loaded, given)
    columns = {name: [_alone(value) for value in found] for name, found in given.items() if isinstance(found, list)}
    counts = set(map(len, columns.values()))
    if len(columns) != len(given) or len(counts) != 1 or 0 in counts:
        raise _unfit("inputs is not an object of lists of one length")
    check_count(counts.pop(), "rows", limit)
    return tabular.of_columns(loaded, columns)


_READERS: Mapping[str, Callable[[int, Loaded, Any], Taken]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "instances": _instances,
    "inputs": _inputs,
}


def _by_place(limit: int, loaded: Loaded, given: Any) -> Taken:
    """Rows whose values stand in the order of the model's own columns."""
    names = list(tabular.inputs(loaded))
    if isinstance(given, list) and given and not isinstance(given[0], list) and len(names) == 1:
        given = [[value] for value in given]
    return _of_lists(limit, loaded, names, given)


def _of_lists(limit: int, loaded: Loaded, names: Sequence[str], given: Any) -> Taken:
    if not isinstance(given, list) or not given:
        raise _unfit("the data are not a list of at least one row")
    check_count(len(given), "rows", limit)
    if not all(isinstance(row, list) and len(row) == len(names) for row in given):
        raise _unfit("a row has not as many values as there are columns", f"{len(names)} values in a row")
    return tabular.of_columns(loaded, {name: [row[place] for row in given] for place, name in enumerate(names)})


def _unboxed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _alone(value) for name, value in row.items()}


def _alone(value: Any) -> Any:
    """A tensor of shape [1] stands for its value."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


# --- CSV -----------------------------------------------------------------------------------------------------


def _of_csv(limit: int, loaded: Loaded, body: bytes) -> Ask:
    """Lines of values below a line of names, as ``fullcircle score`` reads files: an empty cell is missing."""
    try:
        text = body.decode("utf-8-sig")
        found = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = list(islice((line for line in found if line), limit + 2))
    except UnicodeDecodeError as error:
        raise _unfit("the body is not UTF-8") from error
    except csv.Error as error:
        raise _unfit("the body is not CSV") from error
    if len(lines) < 2:
        raise _unfit("there is no row below the line of names")
    names, *rows = lines
    if len(rows) > limit:  # nobody counted how many there are
        raise too_many("rows", limit)
    if len(set(names)) != len(names):
        raise _unfit("two columns have one name")
    if not set(names) & tabular.inputs(loaded).keys():
        raise _unfit("the first line has none of the model's columns", ", ".join(tabular.inputs(loaded)))
    if not all(len(row) == len(names) for row in rows):
        raise _unfit("a line has not as many values as the first one", f"{len(names)} values in a line")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    return asked(tabular.of_texts(loaded, columns))


def _unfit(what: str, allowed: str | None = None) -> RequestInvalid:
    return RequestInvalid(what, allowed=allowed, next_step=_NEXT)
