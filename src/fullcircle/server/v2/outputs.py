"""The values of the outputs of the Open Inference Protocol V2 for the rows of one request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fullcircle.server.dialects import Row
from fullcircle.server.v2 import binary

if TYPE_CHECKING:
    from fullcircle.server.rendering import Lines
    from fullcircle.server.v2.documents import Model

_SAME = {"verdict": b'"ok"', "problems": b'""'}  # of every row that is ok
_encode = msgspec.json.encode


class Data(Protocol):
    """The values of each output for the rows of a request."""

    @property
    def count(self) -> int:
        """How many rows."""
        ...

    @property
    def gaps(self) -> bool:
        """Whether a row has no prediction."""
        ...

    def json(self, name: str) -> bytes:
        """An output's values as JSON, row by row, with commas and without brackets."""
        ...

    def blob(self, name: str) -> bytes:
        """The same as bytes."""
        ...


class OfLines:
    """The outputs of rows that are all ok: the lines from ``start`` to before ``end``."""

    gaps = False

    def __init__(self, model: Model, lines: Lines, start: int, end: int) -> None:
        self._model, self._lines, self._place = model, lines, slice(start, end)
        self.count = end - start

    def json(self, name: str) -> bytes:
        """See Data."""
        lines, place = self._lines, self._place
        if name == "prediction":
            encoded = self._model.encoded
            if not encoded:
                return b",".join(lines.values[place])
            return b",".join([encoded[label] for label in lines.answers[place].tolist()])
        if name == "probabilities" and lines.figures:
            width = len(self._model.labels)
            return b",".join(lines.figures[place.start * width : place.stop * width])
        if name == "id":
            return b'"' + '","'.join(lines.ids[place]).encode() + b'"'
        same = _SAME.get(name)
        return b",".join([same] * self.count) if same else b",".join([b"null"] * self.count * len(self._model.labels))

    def blob(self, name: str) -> bytes:
        """See Data."""
        lines, model, place = self._lines, self._model, self._place
        if name == "prediction":
            answers = lines.answers[place]
            if not model.labels:
                return answers.astype("<f8", copy=False).tobytes()
            return binary.written(model.outputs[name].datatype, [model.labels[label] for label in answers.tolist()])
        if name == "probabilities":
            none = [None] * (self.count * len(model.labels))
            chances = None if lines.chances is None else lines.chances[place]
            return binary.written("FP64", none) if chances is None else chances.astype("<f8", copy=False).tobytes()
        if name == "id":
            return binary.written("BYTES", lines.ids[place])
        return (b"\2\0\0\0ok" if name == "verdict" else b"\0\0\0\0") * self.count


class OfRows:
    """The outputs of rows of any verdict.

    A row may have been answered by another version than the one that is served, under a split. Its answer is put
    under the classes of the one that is served, by their names: null where that has no such class.
    """

    def __init__(self, model: Model, rows: Sequence[Row]) -> None:
        self._model, self._rows = model, rows
        self._labels = [model.label(row.prediction) for row in rows]
        self.count = len(rows)
        self.gaps = None in self._labels

    def json(self, name: str) -> bytes:
        """See Data."""
        return _encode(self._values(name))[1:-1]

    def blob(self, name: str) -> bytes:
        """See Data."""
        outputs = self._model.with_gaps if self.gaps else self._model.outputs
        return binary.written(outputs[name].datatype, self._values(name))

    def _values(self, name: str) -> list[Any]:
        rows, model, output = self._rows, self._model, self._model.outputs[name]
        if name == "prediction":
            if not self.gaps or output.datatype == "BYTES":
                return self._labels
            return [None if label is None else float(label) for label in self._labels]
        if name == "probabilities":
            return [(row.probabilities or {}).get(label) for row in rows for label in model.shares]
        if name == "problems":
            return [_encode(row.problems).decode() if row.problems else "" for row in rows]
        return [row.verdict if name == "verdict" else row.id for row in rows]
