"""The documents of the Open Inference Protocol V2: what a model takes and gives, and the answer to a request.

A rejected row is null in the outputs (in binary data NaN, or an empty text), and its ``verdict`` says so. Whole
numbers and truths have no null, and clients break on one: where a row has none they come as FP64, as in a data frame.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes import protocolshapes
from fullcircle.runtimes.values import EXACT, is_quantity
from fullcircle.server import tabular
from fullcircle.server.follower import Loaded
from fullcircle.server.http import JSON, Answer
from fullcircle.server.v2 import binary
from fullcircle.server.v2.outputs import Data, OfLines
from fullcircle.server.v2.tensors import Asked
from fullcircle.types.contract import Contract, Value

if TYPE_CHECKING:
    from fullcircle.server.rendering import Lines

EXTENSIONS = ("binary_tensor_data", "model_repository")
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


class Model:
    """A loaded version in the protocol's words. Made once for each, as it is asked with every request."""

    def __init__(self, loaded: Loaded) -> None:
        contract = loaded.scorer.contract
        self.loaded = loaded
        self.inputs = tuple((name, str(kind)) for name, kind in tabular.inputs(loaded).items())
        """The columns that a row has to bring, with their kinds."""
        self.names = [name for name, _ in self.inputs]
        self.numbers = loaded.quick and loaded.decoder.numbers
        """Whether rows may be taken as a table without a look at each value."""
        datatype = _label(contract)
        self.outputs: Mapping[str, Output] = {"prediction": Output.named("prediction", datatype)}
        if contract.classes and loaded.scorer.form.probable:
            found = Output.named("probabilities", "FP64", contract.classes)
            self.outputs = {**self.outputs, "probabilities": found}
        self._probable = "probabilities" in self.outputs
        texts = {name: Output.named(name, "BYTES") for name in ("verdict", "id", "problems")}
        self.outputs = {**self.outputs, **texts}
        wide = {} if datatype == "BYTES" else {"prediction": Output.named("prediction", "FP64")}
        self.with_gaps = {**self.outputs, **wide}
        """The outputs of rows of which one has no prediction."""
        self.labels = [str(label) if datatype == "BYTES" else label for label in contract.classes]
        """The classes as the output ``prediction`` has them."""
        self.encoded = [_encode(label) for label in self.labels]
        """The same as JSON."""
        self._simple = self.labels == list(contract.classes)
        """Whether the native protocol has them so too, or there are none."""
        self.shares = [str(label) for label in contract.classes]
        """The classes as the native protocol names their probabilities."""
        self._known = {
            (type(label), label): shown for label, shown in zip(contract.classes, self.labels, strict=True)
        }
        self.all: Mapping[str, Chosen] = {name: Chosen(each, in_bytes=False) for name, each in self.outputs.items()}
        self._all_in_bytes = {name: Chosen(each, in_bytes=True) for name, each in self.outputs.items()}
        self._name = b'{"model_name":' + _encode(loaded.model) + b',"model_version":"'
        whole = b",".join(output.template for output in self.outputs.values())
        named = _literal(self._name) + b'%d","id":%%b,"outputs":[' % loaded.version
        self._whole = named + whole + b"]}"

    def metadata(self) -> dict[str, Any]:
        """What the model takes and gives. ``properties`` has a request that can be sent as it is."""
        kinds = {name: protocolshapes.datatype(kind) for name, kind in self.inputs}
        example = protocolshapes.tensors(self.loaded.scorer.contract, tabular.example(self.loaded))
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

    def label(self, value: Value) -> Value:
        """A value as the output ``prediction`` has it; None for one that this model cannot give."""
        if self.labels:
            return self._known.get((type(value), value))
        return value if is_quantity(value) else None

    def chosen(self, request: Asked) -> Mapping[str, Chosen]:
        """The outputs that a request wants. Raises RequestInvalid for one that there is not."""
        everything = _truth(request.parameters, "binary_data_output", default=False)
        if not request.outputs:
            return self._all_in_bytes if everything else self.all
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

    def written(self, wanted: Mapping[str, Chosen], given: str, lines: Lines, start: int, end: int) -> Answer:
        """The answer to a request whose rows are all ok: the lines from ``start`` to before ``end``.

        ``given`` is the id of the request, which may have none.
        """
        ids = lines.ids[start:end]
        named = given or ids[0] or nameless()
        if wanted is not self.all or not self._simple or (self._probable and not lines.figures):
            data = OfLines(self, lines, start, end)
            return self.answer(wanted, named, data, version=self.loaded.version)
        rows = end - start  # below: what most ask for, all of it at once
        count = b"%d" % rows
        values: tuple[bytes, ...] = (count, b",".join(lines.values[start:end]))
        if self._probable:
            width = len(self.labels)
            values += (count, b",".join(lines.figures[start * width : end * width]))
        shown = ('"' + '","'.join(ids) + '"').encode()
        verdicts, problems = (
            (b'"ok"', b'""') if rows == 1 else (b",".join([b'"ok"'] * rows), b",".join([b'""'] * rows))
        )
        return Answer(200, self._whole % (_encode(named), *values, count, verdicts, count, shown, count, problems))

    def answer(
        self, wanted: Mapping[str, Chosen], number: str, data: Data, *, version: int, rejected: int = 0
    ) -> Answer:
        """The answer to a request. ``number`` is its id, ``rejected`` how many rows were."""
        count = b"%d" % data.count
        parts, blobs = [], []
        for name, (output, in_bytes) in wanted.items():
            output = self.with_gaps[name] if data.gaps else output
            shape = b"%b,%d" % (count, output.width) if output.width else count
            if not in_bytes:
                more = b',"parameters":{%b}' % output.classes[:-1] if output.width else b""
                parts.append(b'%b%b],"data":[%b]%b}' % (output.head, shape, data.json(name), more))
            else:
                blob = data.blob(name)
                size = b'%b"binary_data_size":%d' % (output.classes, len(blob))
                parts.append(b'%b%b],"parameters":{%b}}' % (output.head, shape, size))
                blobs.append(blob)
        end = b'],"parameters":{"rejected":%d}}' % rejected if rejected else b"]}"
        outputs = b",".join(parts)
        body = b'%b%d","id":%b,"outputs":[%b%b' % (self._name, version, _encode(number), outputs, end)
        if not blobs:
            return Answer(200, body, kind=JSON[1])
        return Answer(200, b"".join((body, *blobs)), ((binary.HEADER, b"%d" % len(body)),), kind=binary.KIND)


def nameless() -> str:
    """An id for the answer to a request without one, whose rows have none either, as the log is full."""
    return uuid.uuid4().hex


def _literal(text: bytes) -> bytes:
    """Text that stands for itself in a template."""
    return text.replace(b"%", b"%%")


def _label(contract: Contract) -> str:
    kinds = set(map(type, contract.classes))
    if any(isinstance(one, int) and abs(one) > EXACT for one in contract.classes):
        return "BYTES"  # as FP64 they would be other numbers
    if not kinds:
        return "FP64"
    return {bool: "BOOL", int: "INT64", float: "FP64"}.get(kinds.pop(), "BYTES") if len(kinds) == 1 else "BYTES"


def _truth(parameters: Any, name: str, *, default: bool) -> bool:
    value = parameters.get(name) if parameters else None
    if value is not None and not isinstance(value, bool):
        raise RequestInvalid(f"{name} is neither true nor false", allowed="true or false")
    return default if value is None else value
