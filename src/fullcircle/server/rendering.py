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
    """Rows that are ok and in the log: the id of each, its value and probabilities as JSON, and the model's answers.

    ``answers`` and ``chances`` are those of ``Block``; ``shares`` are empty where there are no probabilities.
    """

    ids: Sequence[str]
    values: Sequence[bytes]
    shares: Sequence[bytes]
    answers: np.ndarray[Any, Any]
    chances: np.ndarray[Any, Any] | None

    def part(self, start: int, end: int) -> Lines:
        """Some of them."""
        chances = None if self.chances is None else self.chances[start:end]
        place = slice(start, end)
        return Lines(self.ids[place], self.values[place], self.shares[place], self.answers[place], chances)


class Renderer:
    """Writes for one loaded version."""

    def __init__(self, contract: Contract, *, model: str, version: int, bundle: str) -> None:
        self._labels = [_encode(label) for label in contract.classes]
        self._names = [_encode(str(label)) for label in contract.classes]
        self._open = b'{"model":' + _encode(model) + b',"version":' + _encode(version) + b',"predictions":['
        self._signature = (
            b',"model":' + _encode(model) + b',"version":' + _encode(version) + b',"bundle":' + _encode(bundle) + b"}"
        )

    def parts(self, block: Block) -> tuple[list[bytes], list[bytes]]:
        """The value of each answered row, and its probabilities ("null" where there are none), as JSON."""
        if self._labels:
            labels = self._labels
            values = [labels[place] for place in block.answers.tolist()]
        else:
            values = _encode(block.answers.tolist())[1:-1].split(b",")
        if block.chances is None:
            return values, []
        width = len(self._labels)
        pieces = _encode(block.chances.ravel().tolist())[1:-1].split(b",")
        if width == 2:
            first, second = self._names
            template = b"{" + _literal(first) + b":%b," + _literal(second) + b":%b}"
            return values, [template % pair for pair in zip(pieces[::2], pieces[1::2], strict=True)]
        template = b"{" + b",".join(_literal(name) + b":%b" for name in self._names) + b"}"
        return values, [template % tuple(pieces[start : start + width]) for start in range(0, len(pieces), width)]

    def logged(self, value: bytes, chances: bytes, row: bytes, latency: bytes) -> bytes:
        """What the log keeps of a row that is ok: all but id and time. ``row`` is what ``Decoder.logged`` gave."""
        shares = b',"probabilities":' + chances if chances else b""
        return (
            b"".join((b'{"value":', value, b',"verdict":{"status":"ok"}', shares, b",", row, b',"latency":', latency))
            + self._signature
        )

    def row(self, number: str, value: bytes, chances: bytes) -> bytes:
        """The answer for a row that is ok."""
        shares = b',"probabilities":' + chances if chances else b""
        return b'{"id":"%b","prediction":%b,"verdict":"ok","problems":[]%b}' % (number.encode(), value, shares)

    def rows(self, lines: Lines) -> list[bytes]:
        """The answers for rows that are ok."""
        return list(map(self.row, lines.ids, lines.values, lines.shares))

    def answered(self, lines: Lines) -> bytes:
        """The body for a request whose rows are all ok."""
        return self.document(self.rows(lines), rejected=False)

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
