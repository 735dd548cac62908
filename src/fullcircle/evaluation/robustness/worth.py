"""What answers to spoilt inputs earn more or less, by the project's worth gate."""

from __future__ import annotations

import numpy as np

from fullcircle.evaluation import amounts
from fullcircle.evaluation.check import Array, Subject
from fullcircle.evaluation.robustness.asking import Answered


class Worth:
    """The amounts of answers to ``rows`` (positions, k) beside those of the answers ``before``.

    The gate's function is the project's own: where it raises for such answers, ``why`` says so and nothing is told.
    """

    def __init__(self, subject: Subject, rows: Array, before: Answered) -> None:
        self.why = ""
        gate = next((gate for gate in subject.gates if gate.kind == "worth"), None)
        # Rows without an answer keep the one that the model gave: they are not counted.
        self._kept = np.where(before.given, before.answers, np.asarray(subject.predicted)[rows])
        try:
            self._pay = None if gate is None else amounts.of_rows(gate, subject, rows)
            self._usual = None if self._pay is None else self._pay(self._kept)
        except Exception as error:  # noqa: BLE001 - the function is the project's own; that it fails is told
            self._failed(error)

    def change(self, after: Answered, both: Array) -> float | None:
        """The mean change over the rows ``both`` (k,); None without a worth gate, or where it could not be told."""
        if self._pay is None:
            return None
        try:
            return float((self._pay(np.where(both, after.answers, self._kept)) - self._usual)[both].mean())
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        self._pay = self._usual = None
        self.why = f"What wrong answers would cost is not known, as the worth gate raised {type(error).__name__}"
