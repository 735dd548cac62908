"""A scikit-learn model converted to ONNX in double precision, and asked with ONNX Runtime.

It is of use for models that numpy does not answer for here, such as neural networks. Operations that ONNX has in
single precision only (trees of classifiers, support vectors) differ by more than the tolerance, and are refused by
the comparison and not by a list.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from fullcircle.errors import BundleInvalid
from fullcircle.runtimes import onnx
from fullcircle.runtimes.forms.preparing import Array
from fullcircle.runtimes.forms.steps import NotCompiled
from fullcircle.runtimes.onnxfile import audit
from fullcircle.types.contract import Contract

_KINDS = ("number", "integer", "boolean")


class OnnxForm:
    """Answers with ONNX Runtime, in one thread. ``data`` is judged before anything of it is built."""

    name = "onnx"

    def __init__(self, contract: Contract, data: bytes) -> None:
        audit(data)
        self._session = onnx.session(data)
        self.probable = contract.task == "classification"
        self._inputs = [one.name for one in self._session.get_inputs()]
        self._places = {label: place for place, label in enumerate(contract.classes)}
        self._width = len(contract.columns)
        self._classes = len(contract.classes)
        outputs = len(self._session.get_outputs())
        if len(self._inputs) not in (1, self._width) or outputs != (2 if self.probable else 1):
            raise _unfit("its inputs or outputs")

    def ask(self, matrix: Array) -> tuple[Array, Array | None]:
        """See Form. Raises what ONNX Runtime raises."""
        rows = np.ascontiguousarray(matrix, dtype=np.float64)
        if len(self._inputs) == 1:
            fed = {self._inputs[0]: rows}
        else:
            fed = {name: rows[:, place : place + 1] for place, name in enumerate(self._inputs)}
        found = onnx.run(self._session, None, fed)
        if not self.probable:
            return np.asarray(found[0], dtype=np.float64).reshape(len(rows)), None
        labels = np.asarray(found[0]).reshape(len(rows)).tolist()
        places = np.array([self._places[label] for label in labels], dtype=np.intp)
        return places, np.asarray(found[1], dtype=np.float64).reshape(len(rows), self._classes)


def converted(contract: Contract, model: Any) -> bytes:
    """A fitted scikit-learn model as an ONNX file, with one input for all columns or one for each.

    The same model gives the same bytes. Raises NotCompiled where skl2onnx cannot, or is not installed.
    """
    if any(column.kind not in _KINDS for column in contract.columns):
        raise NotCompiled("not all columns are numbers")
    if contract.task == "classification" and not hasattr(model, "predict_proba"):
        raise NotCompiled("a class alone cannot say that a row is refused")
    try:
        from skl2onnx import to_onnx
        from skl2onnx.common.data_types import DoubleTensorType
    except ImportError as error:
        raise NotCompiled("skl2onnx is not installed") from error
    options = {id(model): {"zipmap": False}} if contract.task == "classification" else None
    whole = [("rows", DoubleTensorType([None, len(contract.columns)]))]
    each = [(column.name, DoubleTensorType([None, 1])) for column in contract.columns]
    why = ""
    for kinds in (whole, each):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                proto = to_onnx(model, initial_types=kinds, options=options, name="model")
        except Exception as error:  # noqa: BLE001 - converters raise what they like for what they do not know
            why = why or type(error).__name__
            continue
        data: bytes = proto.SerializeToString(deterministic=True)
        return data
    raise NotCompiled(f"skl2onnx cannot convert it ({why})")


def _unfit(what: str) -> BundleInvalid:
    return BundleInvalid(
        f"the ONNX form of the model does not fit the contract: {what}",
        next_step="do not use it; fetch it again, or build it again with: fullcircle package",
    )
