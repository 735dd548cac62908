"""An ONNX file judged before any library reads it: what it computes with, and that it lies in no other file.

ONNX is protocol buffers (onnx.proto, ONNX 1.23): this reads every message in a file field by field, in whatever
order and however often they stand there, and refuses what it does not know. So a tensor that keeps its numbers in
another file (CVE-2022-25882, CVE-2024-27318 and what followed) is found wherever it hides: among initializers, in a
sparse tensor, in an attribute, in the graph inside a node. Sparse tensors, functions and training graphs are refused
as a whole, and so is ONNX Runtime's own format, which nobody here judges.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fullcircle.errors import BundleInvalid, ModelRefused

MOST_BYTES = 2**30
MOST_NODES = 100_000
DEEPEST = 16  # graphs in nodes of graphs
_OTHER_FORMAT = b"ORTM"  # at byte 4: what ONNX Runtime takes for a file of its own format, whatever else it is

_ENTRY = {1: "", 2: ""}
# Of each message the fields that may be there: "" is a plain value or text, a name is a message, "-" is refused.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {1: "", 2: "", 3: "", 4: "", 5: "", 6: "", 7: "graph", 8: "opset", 14: "property", 20: "-", 25: "-"},
    "opset": _ENTRY,
    "property": _ENTRY,
    "graph": {
        1: "node",
        2: "",
        5: "tensor",
        10: "",
        11: "",
        12: "",
        13: "",
        14: "-",
        15: "-",
        16: "property",
    },
    "node": {1: "", 2: "", 3: "", 4: "", 5: "attribute", 6: "", 7: "", 8: "-", 9: "property", 10: "-"},
    "attribute": {
        1: "",
        2: "",
        3: "",
        4: "",
        5: "tensor",
        6: "graph",
        7: "",
        8: "",
        9: "",
        10: "tensor",
        11: "graph",
        13: "",
        14: "",
        15: "",
        20: "",
        21: "-",
        22: "-",
        23: "-",
    },
    "tensor": {
        1: "",
        2: "",
        3: "-",
        4: "",
        5: "",
        6: "",
        7: "",
        8: "",
        9: "",
        10: "",
        11: "",
        12: "",
        13: "-",
        14: "-",
        16: "property",
    },
}
_REFUSED = {
    ("model", 20): "it holds a training graph",
    ("model", 25): "it holds functions",
    **dict.fromkeys((("graph", 15), ("attribute", 22), ("attribute", 23)), "it holds a sparse tensor"),
    ("tensor", 13): "a tensor lies in another file (external data)",
    ("tensor", 14): "a tensor lies in another file (external data)",
}
_RUNS = {0x40: re.compile(rb"(?:\x40[\x80-\xff]{0,9}[\x00-\x7f])+"), 0x3D: re.compile(rb"(?:\x3d.{4})+", re.DOTALL)}
"""The integers and floats of an attribute, one after the other: millions of them where there are many trees."""

_PLAIN = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh BatchNormalization Cast CastLike Ceil Celu Clip Compress
Concat Constant ConstantOfShape Cos Cosh CumSum Det Div Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather
GatherElements GatherND Gelu Gemm Greater GreaterOrEqual HardSigmoid HardSwish Hardmax Identity If IsInf IsNaN
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max Mean
MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round
Scan ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign Split
Sqrt Squeeze StringNormalizer Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Where Xor
"""
_LEARNED = """
ArrayFeatureExtractor Binarizer CategoryMapper DictVectorizer FeatureVectorizer Imputer LabelEncoder LinearClassifier
LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler TreeEnsemble TreeEnsembleClassifier
TreeEnsembleRegressor ZipMap
"""
OPERATIONS: Mapping[str, frozenset[str]] = {
    "": frozenset(_PLAIN.split()),
    "ai.onnx": frozenset(_PLAIN.split()),
    "ai.onnx.ml": frozenset(_LEARNED.split()),
}
"""What a graph may compute with, by domain: nothing random, nothing that loops without an end, no images or sound."""


@dataclass(frozen=True, kw_only=True)
class Audited:
    """What an ONNX file says of itself: its operations as ``domain:name``, its properties, and class labels in it.

    ``labels`` are the lists of class labels that stand in its nodes, of classifiers and of ``ZipMap``.
    """

    operations: tuple[str, ...]
    properties: Mapping[str, str]
    labels: tuple[tuple[int | str, ...], ...]


def audit(data: bytes) -> Audited:
    """Judge all of a file. Raises ModelRefused for what may not be in one, BundleInvalid for one that is damaged."""
    if len(data) > MOST_BYTES:
        raise ModelRefused(
            "an ONNX model is too large",
            received=f"{len(data)} bytes",
            allowed=f"{MOST_BYTES} bytes",
            next_step="train a smaller model",
        )
    if data[4:8] == _OTHER_FORMAT:
        raise _refused("it is in the format of ONNX Runtime")
    found = _Found()
    found.message("model", data, 0, len(data), 0)
    if found.graphs == 0:
        raise _damaged("it holds no graph")
    return Audited(
        operations=tuple(sorted(found.operations)), properties=found.properties, labels=tuple(found.labels)
    )


class _Found:
    """A walk through the messages of a file."""

    def __init__(self) -> None:
        self.operations: set[str] = set()
        self.properties: dict[str, str] = {}
        self.labels: list[tuple[int | str, ...]] = []
        self.graphs = self.nodes = 0

    def message(self, kind: str, data: bytes, begin: int, end: int, depth: int) -> None:
        """Look at one message and at all that are in it."""
        if kind == "graph":
            self.graphs += 1
            depth += 1
            if depth > DEEPEST:
                raise _damaged("graphs stand in each other too deep")
        for number, wire, start, stop in fields(data, begin, end):
            inner = _FIELDS[kind].get(number, "-")
            if inner == "-" and not ((kind, number) == ("tensor", 14) and wire == 0 and data[start:stop] == b"\0"):
                raise _refused(_REFUSED.get((kind, number), f"field {number} of a {kind} is not known here"))
            if inner not in ("", "-"):
                if wire != 2:
                    raise _damaged("a message is none")
                self.message(inner, data, start, stop, depth)
        if kind == "node":
            self._node(data, begin, end, depth)
        elif kind == "attribute":
            self._labels(data, begin, end)
        elif kind == "property" and depth == 0:
            key, value = (_texts(data, begin, end, number) for number in (1, 2))
            self.properties["".join(key)] = "".join(value)

    def _node(self, data: bytes, begin: int, end: int, depth: int) -> None:
        names, domains = _texts(data, begin, end, 4), _texts(data, begin, end, 7)
        if len(names) != 1 or len(domains) > 1:
            raise _damaged("a node has not one name of what it does")
        domain = "".join(domains)
        if names[0] not in OPERATIONS.get(domain, ()):
            raise _refused(f"it computes with {domain or 'ai.onnx'}:{names[0]}"[:120])
        if names[0] == "Scan" and depth > 1:
            raise _refused("a loop stands in a graph inside a node, such as in another loop")
        self.operations.add(f"{domain or 'ai.onnx'}:{names[0]}")
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise _damaged("it has too many nodes")

    def _labels(self, data: bytes, begin: int, end: int) -> None:
        """The class labels in an attribute that is named after them."""
        name = "".join(_texts(data, begin, end, 1))
        if name in ("classlabels_strings",):
            self.labels.append(tuple(_texts(data, begin, end, 9)))
        elif name in ("classlabels_int64s", "classlabels_ints"):
            self.labels.append(tuple(_integers(data, begin, end)))


def fields(data: bytes, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: number, wire type, and where the value begins and ends. Runs of numbers are one."""
    place = begin
    while place < end:
        run = _RUNS.get(data[place])
        found = run.match(data, place, end) if run else None
        if found:
            yield data[place] >> 3, data[place] & 7, place + 1, found.end()
            place = found.end()
            continue
        tag, place = _number(data, place, end)
        number, wire = tag >> 3, tag & 7
        start = place
        if wire == 0:
            _, place = _number(data, place, end)
        elif wire == 2:
            length, start = _number(data, place, end)
            place = start + length
        elif wire in (1, 5):
            place += 8 if wire == 1 else 4
        else:
            raise _damaged("a field has no known form")
        if place > end or number == 0:
            raise _damaged("a field reaches beyond its message")
        yield number, wire, start, place


def _number(data: bytes, place: int, end: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    found = 0
    for shift in range(0, 70, 7):
        if place >= end:
            raise _damaged("it ends too early")
        byte = data[place]
        place += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, place
    raise _damaged("a number is too long")


def _texts(data: bytes, begin: int, end: int, wanted: int) -> list[str]:
    try:
        return [
            data[start:stop].decode()
            for number, wire, start, stop in fields(data, begin, end)
            if number == wanted and wire == 2
        ]
    except UnicodeDecodeError as error:
        raise _damaged("a name is no text") from error


def _integers(data: bytes, begin: int, end: int) -> Iterator[int]:
    """The values of the field ``ints`` of an attribute: each with its tag, or packed."""
    for number, wire, start, stop in fields(data, begin, end):
        place = start
        while number == 8 and place < stop:
            value, place = _number(data, place, stop)
            yield value - 2**64 if value >= 2**63 else value
            place += wire == 0  # the tag of the next one in a run


def _refused(what: str) -> ModelRefused:
    return ModelRefused(
        f"an ONNX model may not be used: {what}",
        allowed="one graph of ONNX's own operations and ai.onnx.ml's, with all of its numbers in the one file",
        next_step="export it as one file for inference; see docs/models.md",
    )


def _damaged(what: str) -> BundleInvalid:
    return BundleInvalid(
        f"the ONNX model is damaged: {what}",
        next_step="do not use it; fetch it again, or build it again with: fullcircle package",
    )
