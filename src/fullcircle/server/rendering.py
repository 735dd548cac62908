"""Answers and log records as bytes, written once for many rows.

Most rows are answered by the model and nothing is wrong with them. Their JSON is put together from pieces that were
encoded in one call for the whole batch; it reads the same as what msgspec writes for ``requests.Row`` and for a
logged ``Prediction`` (a test compares them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fullcircle.errors import RequestInvalid
from fullcircle.server.requests import Row
from fullcircle.types.contract import Contract
from fullcircle.types.prediction import Prediction

if TYPE_CHECKING:
    import numpy as np

    from fullcircle.runtimes.scorer import Block

_encode = msgspec.json.encode


class Lines(NamedTuple):
    """Rows that are ok and in the log: the id of each, what ``Parts`` has of it, and the model's answers.

    ``answers`` and ``chances`` are those of ``Block``.
    """

    ids: Sequence[str]
    values: Sequence[bytes]
    shares: Sequence[bytes]
    figures: Sequence[bytes]
    answers: np.ndarray[Any, Any]
    chances: np.ndarray[Any, Any] | None


class Parts(NamedTuple):
    """The value of each answered row as JSON, its probabilities, and their numbers alone, row by row.

    Where there are no probabilities ``shares`` are empty texts, and ``figures`` is empty.
    """

    values: list[bytes]
    shares: list[bytes]
    figures: list[bytes]


class Renderer:
    """Writes for one loaded version."""

    def __init__(self, contract: Contract, *, model: str, version: int, bundle: str) -> None:
        self._labels = [_encode(label) for label in contract.classes]
        names = [_encode(str(label)) for label in contract.classes]
        self._open = b'{"model":' + _encode(model) + b',"version":' + _encode(version) + b',"predictions":['
        self._shares = b"{" + b",".join(_literal(name) + b":%b" for name in names) + b"}"
        told = (b',"model":' + _encode(model), b',"version":' + _encode(version), b',"bundle":' + _encode(bundle))
        signature = _literal(b"".join(told)) + b"}"
        begin = b'{"value":%b,"verdict":{"status":"ok"}'
        self._short = begin + b',"inputs":%b,"latency":%b' + signature
        self._line = begin + b',"probabilities":%b,"inputs":%b,"latency":%b' + signature

    def parts(self, block: Block) -> Parts:
        """What the rows of a block are answered, all of them."""
        if self._labels:
            labels = self._labels
            values = [labels[place] for place in block.answers.tolist()]
        else:
            values = _encode(block.answers.tolist())[1:-1].split(b",")
        if block.chances is None:
            return Parts(values, [b""] * len(values), [])
        figures = _encode(block.chances.ravel().tolist())[1:-1].split(b",")
        rows = zip(*[iter(figures)] * len(self._labels), strict=True)
        return Parts(values, [self._shares % row for row in rows], figures)

    def logged(self, parts: Parts, rows: Sequence[bytes], latencies: Sequence[bytes]) -> list[bytes]:
        """What the log keeps of rows that are ok: all but id and time. ``rows`` are what ``Decoder.logged`` gave."""
        if parts.figures:
            line = self._line
            return [line % four for four in zip(parts.values, parts.shares, rows, latencies, strict=True)]
        line = self._short
        return [line % three for three in zip(parts.values, rows, latencies, strict=True)]

    def row(self, number: str, value: bytes, chances: bytes) -> bytes:
        """The answer for a row that is ok."""
        shares = b',"probabilities":' + chances if chances else b""
        return b'{"id":"%b","prediction":%b,"verdict":"ok","problems":[]%b}' % (number.encode(), value, shares)

    def answered(self, lines: Lines, start: int, end: int) -> bytes:
        """The body for a request whose rows are all ok: those from ``start`` to before ``end``."""
        place = slice(start, end)
        rows = list(map(self.row, lines.ids[place], lines.values[place], lines.shares[place]))
        return self.document(rows, rejected=False)

    def other(self, one: Prediction) -> bytes:
        """The answer for any row."""
        return _encode(
            Row(
                id=one.id,
                prediction=one.value,
                verdict=one.verdict.status,
                problems=one.verdict.problems,
                probabilities=one.probabilities,
                answered_by=one.answered_by,
            )
        )

    def document(self, rows: Sequence[bytes], *, rejected: bool) -> bytes:
        """The body for all rows of a request; with ``rejected`` none of them was answered."""
        if not rejected:
            return self._open + b",".join(rows) + b"]}"
        error: Any = RequestInvalid("every row was rejected: see the problems of each", status=422).as_dict()
        return self._open + b",".join(rows) + b'],"error":' + _encode(error) + b"}"


def _literal(text: bytes) -> bytes:
    """Text that stands for itself in a template."""
    return text.replace(b"%", b"%%")
