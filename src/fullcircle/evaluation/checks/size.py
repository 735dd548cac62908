"""E006 size: how large is the model file? Measure: ``model_bytes``."""

from __future__ import annotations

from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.types.report import Finding, Measure


class Size:
    """The bytes of the saved model."""

    name = "size"
    code = "E006"
    measures: tuple[str, ...] = ("model_bytes",)

    def run(self, subject: Subject) -> Finding | Skipped:
        """Say it."""
        size = subject.model_bytes
        if size is None:
            return Skipped("there is no file of the model")
        return Finding(
            check=self.name,
            code=self.code,
            title="Size",
            severity="info",
            text=f"The model file has {as_text(size)}.",
            measures=(Measure(name="model_bytes", value=float(size), unit="bytes", method="counted"),),
        )


def as_text(size: int) -> str:
    """Bytes in the unit that fits, powers of 1000."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
