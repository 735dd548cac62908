"""Models in ONNX, asked by ONNX Runtime: a file that is judged field by field and computes, and runs no code.

``fit`` returns an ONNX ``ModelProto`` or its bytes. Its input is one tensor of shape [rows, columns], or one of shape
[rows, 1] for each column. Its outputs are the numbers of a regression, or labels and, with them, probabilities: as a
tensor or as the list of dictionaries that ``ZipMap`` makes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.errors import BundleInvalid, MissingExtra, ModelRefused, PredictionInvalid
from fullcircle.runtimes.onnxfile import Audited, audit
from fullcircle.runtimes.runtime import SavedModel

FILE = "model.onnx"
CLASSES = "fullcircle.classes"
"""The property of a file in which its author may say the class labels, as a JSON list."""
_NUMBERS = {
    "tensor(double)": "float64",
    "tensor(float)": "float32",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}
MOST_MEMORY = 2**31
"""Bytes that all models in ONNX of a process may have at once, their weights among them."""
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)", "tensor(bool)")
_CHANCES = ("tensor(double)", "tensor(float)")
_MAPS = ("seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))")


class OnnxRegressor:
    """An ONNX model that answers with numbers. ``data`` are its bytes, as they were judged."""

    def __init__(self, data: bytes, session: Any) -> None:
        self.data = data
        self._session = session
        self._inputs = [(one.name, one.type, one.shape) for one in session.get_inputs()]

    @property
    def columns(self) -> tuple[tuple[str, ...], int | None]:
        """The names of its columns, where each has an input of its own, and how many there are, where it says so."""
        if len(self._inputs) > 1:
            return tuple(name for name, _, _ in self._inputs), len(self._inputs)
        width = self._inputs[0][2][1]
        return (), width if isinstance(width, int) else None

    @property
    def single(self) -> bool:
        """Whether numbers come or go in single precision: their last digits depend on the rows beside a row."""
        kinds = [*(kind for _, kind, _ in self._inputs), *(one.type for one in self._session.get_outputs())]
        return any("(float)" in kind or ",tensor(float)" in kind for kind in kinds)

    def predict(self, frame: Any) -> Any:
        """The numbers or labels for the rows of a frame (n, columns): shape (n,)."""
        found = self._asked(frame, 0)
        if found.size != len(frame):
            raise PredictionInvalid(
                "the ONNX model answers with another number of values than it was asked for",
                received=f"shape {found.shape}",
                allowed=f"one for each of {len(frame)} rows",
                next_step="export the model with one answer for each row",
            )
        return found.reshape(-1)

    def _asked(self, frame: Any, output: int) -> Any:
        """One output of the model for the rows of a frame."""
        name = self._session.get_outputs()[output].name
        return run(self._session, [name], feed(self._inputs, frame))[0]


class OnnxLabeller(OnnxRegressor):
    """An ONNX model that answers with labels."""


class OnnxClassifier(OnnxLabeller):
    """An ONNX model that answers with labels and probabilities, in the order of ``classes_``."""

    def __init__(self, data: bytes, session: Any, classes: Sequence[int | str]) -> None:
        import numpy as np

        super().__init__(data, session)
        self.classes_ = np.array(list(classes))

    def predict_proba(self, frame: Any) -> Any:
        """The probabilities of the rows of a frame (n, columns): float64 of shape (n, classes)."""
        import numpy as np

        found = self._asked(frame, 1)
        if isinstance(found, list):
            labels = self.classes_.tolist()
            found = [[row[label] for label in labels] for row in found]
        table = np.asarray(found, dtype=np.float64)
        if table.ndim != 2 or table.shape[1] != len(self.classes_):
            raise PredictionInvalid(
                "the ONNX model answers with another number of probabilities than it has classes",
                received=table.shape,
                allowed=f"(rows, {len(self.classes_)})",
                next_step=f"say its classes in the property {CLASSES} of the file",
            )
        return table


class OnnxRuntime:
    """Saves and loads models in ONNX. Their bytes are kept as they are."""

    name = "onnx"
    packages = ("numpy", "onnxruntime", "pandas")
    pickled = False

    def accepts(self, model: Any) -> bool:
        """A model that ``opened`` made."""
        return isinstance(model, OnnxRegressor)

    def check(self, model: Any, folder: Path) -> tuple[str, ...]:
        """See Runtime: the operations in the file."""
        return self.save(model, folder).types

    def save(self, model: Any, folder: Path) -> SavedModel:
        """See Runtime."""
        if not isinstance(model, OnnxRegressor):
            raise ModelRefused(
                "this is no model in ONNX",
                received=f"{type(model).__module__}.{type(model).__qualname__}",
                next_step="return the ModelProto, or its bytes, from fit",
            )
        return SavedModel(file=FILE, data=model.data, types=audit(model.data).operations)

    def load(self, data: bytes, *, types: Sequence[str] | None = None, code: Path | None = None) -> Any:
        """See Runtime."""
        found = audit(data)
        if types is not None and tuple(sorted(types)) != found.operations:
            raise BundleInvalid(
                "the model file does not hold the operations that its manifest lists",
                received=", ".join(sorted(set(types) ^ set(found.operations))[:5]),
                next_step="build the bundle again from its run",
            )
        return _made(data, found)

    def describe(self, model: Any) -> str:
        """What kind of answers it gives, and its size."""
        kind = {OnnxRegressor: "regression", OnnxLabeller: "labels"}.get(type(model), "labels and probabilities")
        return f"ONNX ({kind}), {len(model.data)} bytes"


def answering(model: Any) -> Any:
    """What ``fit`` returned, as something with ``predict``, where it is a model in ONNX; else just what it returned.

    Raises ModelRefused for a session of ONNX Runtime, from which no file can be made, and as ``opened`` does.
    """
    home = type(model).__module__.partition(".")[0]
    if isinstance(model, bytes):
        return opened(model)
    if home == "onnx" and hasattr(model, "SerializeToString"):
        return opened(model.SerializeToString(deterministic=True))
    if home == "onnxruntime":
        raise ModelRefused(
            "a session of ONNX Runtime does not give back its model",
            received=type(model).__qualname__,
            allowed="the ModelProto, or its bytes",
            next_step="return from fit what the session was made of",
        )
    return model


def opened(data: bytes) -> OnnxRegressor:
    """The model in the bytes of an ONNX file, judged and ready to answer.

    Raises ModelRefused for what may not be in one or cannot be asked, BundleInvalid for a damaged file, MissingExtra
    without ONNX Runtime.
    """
    return _made(data, audit(data))


def session(data: bytes) -> Any:
    """A session of ONNX Runtime for bytes that were judged: one thread, nothing optimised, nothing from a path.

    An answer that needs more than ``MOST_MEMORY`` fails, as a file of some hundred bytes can ask for all there is.
    Raises BundleInvalid for what ONNX Runtime refuses.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra(
            "models in ONNX are asked with ONNX Runtime, which is not installed",
            received=str(error),
            next_step='install it with: pip install "fullcircle[onnx]"',
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    _bounded(MOST_MEMORY)
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the classes of its errors are private, and have no common one
        raise BundleInvalid(
            f"ONNX Runtime refuses the model: {str(error)[:300]}",
            next_step="export it again for this version of ONNX Runtime",
        ) from error


def run(session: Any, outputs: Sequence[str] | None, fed: dict[str, Any]) -> Any:
    """The outputs of a session (None: all of them). What memory it took is given back, also where it fails."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return session.run(outputs, fed, options)


@cache
def _bounded(most: int) -> None:
    """Give ONNX Runtime in this process one store of memory for all models, with an end."""
    import onnxruntime

    kinds = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    onnxruntime.create_and_register_allocator(
        onnxruntime.OrtMemoryInfo("Cpu", *kinds),
        onnxruntime.OrtArenaCfg({"max_mem": most, "arena_extend_strategy": 1}),
    )


def feed(inputs: Sequence[tuple[str, str, Any]], frame: Any) -> dict[str, Any]:
    """The tensors of a frame (n, columns) for the inputs (name, type, shape) of a model.

    One input for all columns takes them in their order; otherwise each column has the input of its name. Raises
    PredictionInvalid where a column has no input, or a missing value that its tensor cannot hold.
    """
    import numpy as np

    if len(inputs) == 1 and (frame.shape[1] != 1 or inputs[0][0] not in getattr(frame, "columns", ())):
        name, kind, _ = inputs[0]
        values = frame.to_numpy() if hasattr(frame, "to_numpy") else np.asarray(frame)
        return {name: _tensor(name, kind, values)}
    columns = [str(column) for column in frame.columns]
    if sorted(columns) != sorted(name for name, _, _ in inputs):
        raise PredictionInvalid(
            "the columns and the inputs of the ONNX model do not have the same names",
            received=", ".join(columns)[:200],
            allowed=", ".join(name for name, _, _ in inputs)[:200],
            next_step="export the model with one input for each column, under the column's name",
        )
    return {name: _tensor(name, kind, frame[name].to_numpy().reshape(-1, 1)) for name, kind, _ in inputs}


def _tensor(name: str, kind: str, values: Any) -> Any:
    import numpy as np
    import pandas as pd

    if values.dtype.kind in "mM":
        raise _unfit(name, "a time", _NUMBERS.get(kind, "text"))
    if kind == "tensor(string)":
        if pd.isna(values).any():
            raise _unfit(name, "a missing value", "text")
        return values.astype(str).astype(object)
    try:
        numbers = values if values.dtype.kind in "iub" else values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise _unfit(name, "text", _NUMBERS[kind]) from error
    with np.errstate(invalid="ignore", over="ignore"):
        found = numbers.astype(_NUMBERS[kind])
    if kind in _CHANCES and bool((np.isinf(found) & np.isfinite(numbers)).any()):
        raise _unfit(name, "too large a number", _NUMBERS[kind])
    if kind not in _CHANCES and not np.array_equal(found, numbers):
        raise _unfit(name, "a missing value, a fraction or too large a number", _NUMBERS[kind])
    return found


def _unfit(name: str, received: str, allowed: str) -> PredictionInvalid:
    return PredictionInvalid(
        f"the input {name} of the ONNX model cannot hold this",
        received=received,
        allowed=allowed,
        next_step="export the model with an input of another type, or fill missing values before it",
    )


def _made(data: bytes, found: Audited) -> OnnxRegressor:
    """The model of a judged file, by what its inputs and outputs are."""
    made = session(data)
    for one in made.get_inputs():
        if (one.type not in _NUMBERS and one.type != "tensor(string)") or len(one.shape) != 2:
            raise _unknown("input", one, "tensors of shape [rows, columns] of numbers or text")
    if not made.get_inputs():
        raise _unknown("input", None, "at least one")
    outputs = made.get_outputs()
    kinds = tuple(one.type for one in outputs)
    if len(kinds) == 1 and kinds[0] in _CHANCES:
        return OnnxRegressor(data, made)
    if len(kinds) == 1 and kinds[0] in _LABELS:
        return OnnxLabeller(data, made)
    if len(kinds) == 2 and kinds[0] in _LABELS and kinds[1] in (*_CHANCES, *_MAPS):
        return OnnxClassifier(data, made, _classes(found))
    told = ", ".join(kinds) or "none"
    raise _unknown("output", told, "one tensor of numbers; or labels and, after them, probabilities")


def _classes(found: Audited) -> tuple[int | str, ...]:
    """The class labels in the order of the probabilities: what the file says, else what its one classifier says."""
    if CLASSES in found.properties:
        try:
            said = msgspec.json.decode(found.properties[CLASSES], type=tuple[int | str, ...])
        except (msgspec.MsgspecError, RecursionError):
            said = ()
        if not said or len(set(said)) != len(said) or len(set(map(type, said))) > 1:
            raise ModelRefused(
                f"the property {CLASSES} of an ONNX model is no list of labels",
                received=found.properties[CLASSES][:80],
                allowed="a JSON list of texts or of whole numbers, each of them once",
                next_step='write it as JSON, such as ["no", "yes"]',
            )
        return said
    if len(set(found.labels)) == 1:
        return found.labels[0]
    raise ModelRefused(
        "an ONNX model with probabilities does not say which classes they are for",
        received=f"{len(set(found.labels))} lists of labels in its operations",
        allowed=f"one list, or the property {CLASSES} in the file",
        next_step="export it with ZipMap (the default of skl2onnx), or with onnx.helper.set_model_props(model, "
        f'{{"{CLASSES}": \'["no", "yes"]\'}})',
    )


def _unknown(what: str, one: Any, allowed: str) -> ModelRefused:
    received: Any = one
    if one is not None and not isinstance(one, str):
        received = f"{one.name}: {one.type} {one.shape}"
    return ModelRefused(
        f"an ONNX model has an {what} that fullcircle does not ask for",
        received=received,
        allowed=allowed,
        next_step="export it for tabular rows; see docs/models.md",
    )
