"""How a packaged model is asked, and the evidence that this way is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FormName = Literal["frame", "array", "trees", "linear", "onnx"]
COMPILED_FORMS: tuple[FormName, ...] = ("trees", "linear", "onnx")
"""Those that a bundle keeps in a file of their own, and that answer without the fitted model."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Which form answers for a version, and how it compared with the model as it was fitted.

    ``form``: "frame" (the model as it was fitted, asked with a data frame), "array" (the same model asked with an
    array), "trees" or "linear" (compiled for numpy), "onnx" (converted, asked with ONNX Runtime). Over ``rows``
    rows the largest difference of an answer or probability was ``largest_difference``, relative to the larger of
    the answer and 1; at most ``tolerance`` is allowed, and classes are equal in all of them. ``seconds`` are the
    form's for 1 row and for 64 rows, ``native_seconds`` the fitted model's. ``refused`` are the forms that were
    tried in vain, each with the reason, and ``versions`` the libraries that it was compared with.
    """

    form: FormName = "frame"
    rows: int = 0
    same_bits: bool = True
    largest_difference: float = 0.0
    tolerance: float = 0.0
    seconds: tuple[float, float] = (0.0, 0.0)
    native_seconds: tuple[float, float] = (0.0, 0.0)
    refused: tuple[tuple[str, str], ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
