"""The one way from rows to predictions, for evaluation, batch and server alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fullcircle.errors import PredictionInvalid
from fullcircle.runtimes.contracts import context_of, examine, rows_of, to_frame, worst
from fullcircle.types.contract import Contract, Problem, Value, Verdict
from fullcircle.types.prediction import Prediction

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Answer = tuple[Value, tuple[float, ...] | None]


@dataclass(frozen=True, slots=True)
class Enriched:
    """A row with what was looked up for it, what stood in the way, and how it was looked up, for the log."""

    row: object
    problems: tuple[Problem, ...] = ()
    lookup: Mapping[str, Any] | None = None


Enrich = Callable[[Sequence[object]], Sequence[Enriched]]


class Scorer:
    """A contract and a model: rows in, one prediction a row out, in the same order.

    ``name``, ``version`` and ``bundle`` are written into each prediction. A scorer holds no state of its own:
    threads may share it where they may share the model and ``enrich``, which completes rows before they are judged.
    """

    def __init__(
        self,
        contract: Contract,
        model: Any,
        *,
        name: str = "",
        version: int = 0,
        bundle: str = "",
        enrich: Enrich | None = None,
    ) -> None:
        self.contract = contract
        self.model = model
        self.name = name
        self.version = version
        self.bundle = bundle
        self.enrich = enrich
        self._probable = contract.task == "classification" and hasattr(model, "predict_proba")
        self._labels = tuple(str(label) for label in contract.classes)

    def score(self, rows: Sequence[object]) -> tuple[Prediction, ...]:
        """Judge each row by the contract and answer those that may be answered, with one call of the model.

        A row whose policy is "fallback" gets the contract's prior, without probabilities. A row on which the
        model raises or answers with anything but a finite number (or a known class) is rejected with the reason
        "model"; its neighbours are answered all the same. Never raises for a row; what ``enrich`` raises for all of
        them comes out.
        """
        found = [Enriched(row) for row in rows] if self.enrich is None else self.enrich(rows)
        judged = [self._judged(one) for one in found]
        asked = [place for place, (verdict, _) in enumerate(judged) if verdict.status not in ("rejected", "fallback")]
        answers = dict(zip(asked, self._answers([judged[place][1] for place in asked]), strict=True))
        return tuple(
            self._prediction(verdict, values, answers.get(place), found[place])
            for place, (verdict, values) in enumerate(judged)
        )

    def _judged(self, one: Enriched) -> tuple[Verdict, dict[str, Value]]:
        verdict, values = examine(self.contract, one.row)
        if one.problems:
            actions = [problem.action for problem in (*one.problems, *verdict.problems)]
            verdict = Verdict(status=worst(actions), problems=(*one.problems, *verdict.problems))
        return verdict, values

    def predict(self, frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        """The predicted value of each row of a frame, through the contract: shape (n,).

        A rejected row is NaN for regression (float64). For classes it is None (then the dtype is object).
        """
        return self.values(self.score(rows_of(frame, self.contract)))

    def predict_proba(self, frame: pd.DataFrame) -> np.ndarray[Any, Any] | None:
        """The probability of each class, shape (n, classes); a row of NaN where there was none to give.

        None for regression, or for a model without probabilities.
        """
        return self.probabilities(self.score(rows_of(frame, self.contract)))

    def values(self, predictions: Sequence[Prediction]) -> np.ndarray[Any, Any]:
        """The values of predictions as ``predict`` returns them."""
        import numpy as np

        found = [prediction.value for prediction in predictions]
        if self.contract.task == "regression":
            return np.array([math.nan if value is None else value for value in found], dtype=np.float64)
        return np.array(found, dtype=object if None in found else None)

    def probabilities(self, predictions: Sequence[Prediction]) -> np.ndarray[Any, Any] | None:
        """The probabilities of predictions as ``predict_proba`` returns them."""
        import numpy as np

        if not self._probable:
            return None
        none = (math.nan,) * len(self._labels)
        found = [none if each.probabilities is None else tuple(each.probabilities.values()) for each in predictions]
        return np.array(found, dtype=np.float64).reshape(len(found), len(self._labels))

    def _prediction(
        self, verdict: Verdict, values: Mapping[str, Value], answer: Answer | str | None, asked: Enriched
    ) -> Prediction:
        value: Value = None
        probabilities: Mapping[str, float] | None = None
        inputs: Mapping[str, Value] | None = None
        if verdict.status == "fallback":
            value = self.contract.prior
        elif isinstance(answer, str):
            problem = Problem(column="", reason="model", action="reject", text=answer)
            verdict = Verdict(status="rejected", problems=(*verdict.problems, problem))
        elif answer is not None:
            inputs = values
            value = answer[0]
            if answer[1] is not None:
                probabilities = dict(zip(self._labels, answer[1], strict=True))
        return Prediction(
            value=value,
            verdict=verdict,
            probabilities=probabilities,
            model=self.name,
            version=self.version,
            bundle=self.bundle,
            inputs=inputs,
            context=context_of(self.contract, asked.row),
            lookup=asked.lookup,
        )

    def _answers(self, rows: Sequence[Mapping[str, Value]]) -> list[Answer | str]:
        """An answer for each row, or why there is none. A batch that fails is halved until the culprit is alone."""
        if not rows:
            return []
        try:
            answers = self._ask(rows)
        except Exception as error:  # noqa: BLE001 - the model is foreign code, and one row must not hurt another
            if len(rows) == 1:
                return [f"the model could not answer this row ({type(error).__name__})"]
            half = len(rows) // 2
            return self._answers(rows[:half]) + self._answers(rows[half:])
        if len(rows) == 1:
            return [answers[0] if _sound(answers[0]) else "the model's answer to this row is not a finite number"]
        return [
            answer if _sound(answer) else self._answers([row])[0] for row, answer in zip(rows, answers, strict=True)
        ]

    def _ask(self, rows: Sequence[Mapping[str, Value]]) -> list[Answer]:
        """One call of the model (two for a classifier: its own decision, and its probabilities)."""
        import numpy as np

        frame = to_frame(self.contract, rows)
        values = np.asarray(self.model.predict(frame))
        if values.shape == (len(rows), 1):
            values = values.reshape(-1)
        if values.shape != (len(rows),):
            raise _misshapen("predictions", values.shape, (len(rows),))
        if self.contract.task == "regression":
            return [(value, None) for value in values.astype(np.float64).tolist()]
        labels = values.tolist()
        if not set(labels) <= set(self.contract.classes):
            raise PredictionInvalid(
                "the model answered with a class that the contract does not know",
                allowed=", ".join(self._labels),
                next_step="train again: the labels have changed",
            )
        if not self._probable:
            return [(label, None) for label in labels]
        table = np.asarray(self.model.predict_proba(frame), dtype=np.float64)
        if table.shape != (len(rows), len(self._labels)):
            raise _misshapen("probabilities", table.shape, (len(rows), len(self._labels)))
        return [(label, tuple(chances)) for label, chances in zip(labels, table.tolist(), strict=True)]


def _sound(answer: Answer) -> bool:
    value, chances = answer
    finite = not isinstance(value, float) or math.isfinite(value)
    return finite and (chances is None or all(math.isfinite(chance) for chance in chances))


def _misshapen(what: str, received: tuple[int, ...], allowed: tuple[int, ...]) -> PredictionInvalid:
    return PredictionInvalid(
        f"the model answered with the wrong number of {what}",
        received=received,
        allowed=allowed,
        next_step="check what predict of the model returns",
    )
