"""The documents of the Open Inference Protocol V2: what a model takes and gives, and the answer to a request.

A rejected row is null in the outputs (in binary data NaN, or an empty text), and its ``verdict`` says so. A rejected
row of whole numbers or truths is never written as bytes, which have no null: such an output comes as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from fullcircle.errors import RequestInvalid
from fullcircle.server import tabular
from fullcircle.server.dialects import Row
from fullcircle.server.follower import Loaded
from fullcircle.server.http import JSON, Answer
from fullcircle.server.v2 import binary
from fullcircle.server.v2.tensors import Request
from fullcircle.types.contract import Contract

if TYPE_CHECKING:
    from fullcircle.server.rendering import Lines

EXTENSIONS = ("binary_tensor_data", "model_repository")
_TEXTS = dict.fromkeys(("category", "text", "time"), "BYTES")
_KINDS = {"integer": "INT64", "number": "FP64", "boolean": "BOOL", **_TEXTS}
_encode = msgspec.json.encode


class Output(NamedTuple):
    """An output of a model: its datatype, its width (0 for one value a row), and its JSON up to the shape.

    ``classes`` is the parameter of this name with a comma behind it, as JSON.
    """

    datatype: str
    width: int
    head: bytes
    classes: bytes = b""

    @property
    def template(self) -> bytes:
        """Its JSON with two places to be filled: the number of rows, and the values."""
        shape = b"%%b,%d" % self.width if self.width else b"%b"
        more = b',"parameters":{%b}' % _literal(self.classes[:-1]) if self.width else b""
        return b'%b%b],"data":[%%b]%b}' % (_literal(self.head), shape, more)

    @classmethod
    def named(cls, name: str, datatype: str, classes: Sequence[Any] = ()) -> Output:
        """The output of this name; ``classes`` are those of its columns."""
        head = b'{"name":%b,"datatype":"%b","shape":[' % (_encode(name), datatype.encode())
        text = _encode([str(label) for label in classes]).decode()
        return cls(datatype, len(classes), head, b'"classes":' + _encode(text) + b"," if classes else b"")


class Chosen(NamedTuple):
    """An output that is wanted, and whether as bytes."""

    output: Output
    in_bytes: bool


class Data(Protocol):
    """The values of each output for the rows of a request."""

    @property
    def count(self) -> int:
        """How many rows."""
        ...

    def json(self, name: str) -> bytes:
        """An output's values as JSON, row by row, with commas and without brackets."""
        ...

    def blob(self, name: str) -> bytes | None:
        """The same as bytes; None where they have no such form."""
        ...


class Model:
    """A loaded version in the protocol's words. Made once for each, as it is asked with every request."""

    def __init__(self, loaded: Loaded) -> None:
        contract = loaded.scorer.contract
        self.loaded = loaded
        self.inputs = tuple((name, str(kind)) for name, kind in tabular.inputs(loaded).items())
        """The columns that a row has to bring, with their kinds."""
        self.numbers = loaded.quick and loaded.decoder.numbers
        """Whether rows may be taken as a table without a look at each value."""
        datatype = _label(contract)
        self.outputs: Mapping[str, Output] = {"prediction": Output.named("prediction", datatype)}
        if contract.classes and loaded.scorer.form.probable:
            found = Output.named("probabilities", "FP64", contract.classes)
            self.outputs = {**self.outputs, "probabilities": found}
        texts = {name: Output.named(name, "BYTES") for name in ("verdict", "id", "problems")}
        self.outputs = {**self.outputs, **texts}
        self.labels = [str(label) if datatype == "BYTES" else label for label in contract.classes]
        """The classes as the output ``prediction`` has them."""
        self.written = [_encode(label) for label in self.labels]
        """The same as JSON."""
        self._all = {name: Chosen(each, in_bytes=False) for name, each in self.outputs.items()}
        self._all_in_bytes = {name: Chosen(each, in_bytes=True) for name, each in self.outputs.items()}
        self._name = b'{"model_name":' + _encode(loaded.model) + b',"model_version":"'
        whole = b",".join(output.template for output in self.outputs.values())
        self._whole = _literal(self._name) + b'%d","id":%b,"outputs":[' + whole + b"]}"

    def metadata(self) -> dict[str, Any]:
        """What the model takes and gives. ``properties`` has a request that can be sent as it is."""
        row = tabular.example(self.loaded)
        kinds = {name: _KINDS[kind] for name, kind in self.inputs}
        example = {
            "inputs": [
                {"name": name, "shape": [1], "datatype": kind, "data": [row[name]]} for name, kind in kinds.items()
            ]
        }
        return {
            "name": self.loaded.model,
            "versions": [str(self.loaded.version)],
            "platform": f"fullcircle_{self.loaded.scorer.form.name}",
            "inputs": [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in kinds.items()],
            "outputs": [
                {"name": name, "datatype": one.datatype, "shape": [-1, one.width] if one.width else [-1]}
                for name, one in self.outputs.items()
            ],
            "properties": {"example": _encode(example).decode()},
        }

    def chosen(self, request: Request) -> Mapping[str, Chosen]:
        """The outputs that a request wants. Raises RequestInvalid for one that there is not."""
        everything = _truth(request.parameters, "binary_data_output", default=False)
        if not request.outputs:
            return self._all_in_bytes if everything else self._all
        found: dict[str, Chosen] = {}
        for one in request.outputs:
            if one.name not in self.outputs or one.name in found:
                raise RequestInvalid(
                    "an output is asked for twice, or the model does not have it",
                    received=ascii(one.name[:60]),
                    allowed=", ".join(self.outputs),
                    next_step="ask for outputs of the metadata, each once, or for none: that gives all",
                )
            parameters = one.parameters or {}
            if parameters.get("classification") or any(name.startswith("shared_memory") for name in parameters):
                raise RequestInvalid(
                    "an output cannot be given in this form",
                    allowed="binary_data true or false",
                    next_step="leave the parameter out; the output probabilities has all classes",
                )
            in_bytes = _truth(parameters, "binary_data", default=everything)
            found[one.name] = Chosen(self.outputs[one.name], in_bytes)
        return found

    def answer(
        self, wanted: Mapping[str, Chosen], number: str, data: Data, *, version: int, rejected: int = 0
    ) -> Answer:
        """The answer to a request. ``number`` is its id, ``rejected`` how many rows were."""
        count = b"%d" % data.count
        if wanted is self._all and not rejected:  # what most ask for: all of it at once
            pieces = [part for name in self.outputs for part in (count, data.json(name))]
            return Answer(200, self._whole % (version, _encode(number), *pieces), kind=JSON[1])
        parts, blobs = [], []
        for name, (output, in_bytes) in wanted.items():
            shape = b"%b,%d" % (count, output.width) if output.width else count
            blob = data.blob(name) if in_bytes else None
            if blob is None:
                more = b',"parameters":{%b}' % output.classes[:-1] if output.width else b""
                parts.append(b'%b%b],"data":[%b]%b}' % (output.head, shape, data.json(name), more))
            else:
                size = b'%b"binary_data_size":%d' % (output.classes, len(blob))
                parts.append(b'%b%b],"parameters":{%b}}' % (output.head, shape, size))
                blobs.append(blob)
        end = b'],"parameters":{"rejected":%d}}' % rejected if rejected else b"]}"
        outputs = b",".join(parts)
        body = b'%b%d","id":%b,"outputs":[%b%b' % (self._name, version, _encode(number), outputs, end)
        if not blobs:
            return Answer(200, body, kind=JSON[1])
        return Answer(200, b"".join((body, *blobs)), ((binary.HEADER, b"%d" % len(body)),), kind=binary.KIND)


class OfLines:
    """The outputs of rows that are all ok."""

    def __init__(self, model: Model, lines: Lines) -> None:
        self._model, self._lines = model, lines
        self.count = len(lines.ids)

    def json(self, name: str) -> bytes:
        """See Data."""
        lines = self._lines
        if name == "prediction":
            if not self._model.labels:
                return b",".join(lines.values)
            written = self._model.written
            return b",".join([written[place] for place in lines.answers.tolist()])
        if name == "probabilities" and lines.chances is not None:
            return _encode(lines.chances.ravel().tolist())[1:-1]
        if name == "id":
            return b'"' + '","'.join(lines.ids).encode() + b'"'
        same = {"verdict": b'"ok"', "problems": b'""'}.get(name)
        return b",".join([same] * self.count) if same else b",".join([b"null"] * self.count * len(self._model.labels))

    def blob(self, name: str) -> bytes | None:
        """See Data."""
        lines, model = self._lines, self._model
        if name == "prediction":
            if not model.labels:
                return lines.answers.astype("<f8", copy=False).tobytes()
            labels = [model.labels[place] for place in lines.answers.tolist()]
            return binary.written(model.outputs[name].datatype, labels)
        if name == "probabilities":
            none = [None] * (self.count * len(model.labels))
            chances = lines.chances
            return binary.written("FP64", none) if chances is None else chances.astype("<f8", copy=False).tobytes()
        if name == "id":
            return binary.written("BYTES", lines.ids)
        return (b"\2\0\0\0ok" if name == "verdict" else b"\0\0\0\0") * self.count


class OfRows:
    """The outputs of rows of any verdict."""

    def __init__(self, model: Model, rows: Sequence[Row]) -> None:
        self._model, self._rows = model, rows
        self.count = len(rows)

    def json(self, name: str) -> bytes:
        """See Data."""
        return _encode(self._values(name))[1:-1]

    def blob(self, name: str) -> bytes | None:
        """See Data."""
        return binary.written(self._model.outputs[name].datatype, self._values(name))

    def _values(self, name: str) -> list[Any]:
        rows, output = self._rows, self._model.outputs[name]
        if name == "prediction":
            found = [row.prediction for row in rows]
            return found if output.datatype != "BYTES" else [None if one is None else str(one) for one in found]
        if name == "probabilities":
            none: dict[Any, float | None] = dict.fromkeys(range(output.width))
            return [value for row in rows for value in (row.probabilities or none).values()]
        if name == "problems":
            return [_encode(row.problems).decode() if row.problems else "" for row in rows]
        return [row.verdict if name == "verdict" else row.id for row in rows]


def _literal(text: bytes) -> bytes:
    """Text that stands for itself in a template."""
    return text.replace(b"%", b"%%")


def _label(contract: Contract) -> str:
    kinds = set(map(type, contract.classes))
    if not kinds:
        return "FP64"
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"


def _truth(parameters: Any, name: str, *, default: bool) -> bool:
    value = parameters.get(name) if parameters else None
    if value is not None and not isinstance(value, bool):
        raise RequestInvalid(f"{name} is neither true nor false", allowed="true or false")
    return default if value is None else value
