"""The one way from rows to predictions, for evaluation, batch and server alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fullcircle.runtimes.contracts import context_of, examine, rows_of, to_frame, worst
from fullcircle.runtimes.encoding import Encoder
from fullcircle.runtimes.form import Form, FrameForm
from fullcircle.runtimes.values import EXACT
from fullcircle.types.contract import Contract, Policy, Problem, Value, Verdict
from fullcircle.types.prediction import Prediction

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from fullcircle.runtimes.encoding import Matrix

Part = slice
_ANSWERED = ("ok", "imputed", "flagged")


@dataclass(frozen=True, slots=True)
class Enriched:
    """A row with what was looked up for it, what stood in the way, and how it was looked up, for the log."""

    row: object
    problems: tuple[Problem, ...] = ()
    lookup: Mapping[str, Any] | None = None


Enrich = Callable[[Sequence[object]], Sequence[Enriched]]


@dataclass(frozen=True, slots=True)
class Block:
    """What a model answered for n judged rows.

    ``answers`` has shape (n,): float64 for regression, else positions in the contract's classes. ``chances`` has
    shape (n, classes), or is None. ``failed`` says for which rows there is no answer, and why; what stands there
    means nothing.
    """

    answers: np.ndarray[Any, Any]
    chances: np.ndarray[Any, Any] | None
    failed: Mapping[int, str] = field(default_factory=dict)


class Scorer:
    """A contract and a model: rows in, one prediction a row out, in the same order.

    ``name``, ``version`` and ``bundle`` are written into each prediction. A scorer holds no state of its own:
    threads may share it where they may share the model and ``enrich``, which completes rows before they are judged.
    ``form`` is how the model is asked, by default with a frame as it was fitted; ``model`` may then be None.
    ``fallback`` is the scorer of the champion before, which answers a row whose policy is "fallback". ``background``
    are judged rows that predictions are explained against.
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
        form: Form | None = None,
        fallback: Scorer | None = None,
    ) -> None:
        self.contract = contract
        self.model = model
        self.name = name
        self.version = version
        self.bundle = bundle
        self.enrich = enrich
        self.form: Form = FrameForm(contract, model) if form is None else form
        self.fallback = fallback
        self.background: Sequence[Mapping[str, Value]] = ()
        self.encoder = Encoder(contract)
        self._labels = tuple(str(label) for label in contract.classes)

    def score(self, rows: Sequence[object]) -> tuple[Prediction, ...]:
        """Judge each row by the contract and answer those that may be answered, with one call of the model.

        A row whose policy is "fallback" is answered by the champion before, or by the contract's prior without
        probabilities. A row on which the model raises or answers with anything but a finite number (or a known class)
        is treated by the contract's policy ``failed``, with the reason "model"; its neighbours are answered all the
        same. Never raises for a row; what ``enrich`` raises for all of them comes out.
        """
        found = [Enriched(row) for row in rows] if self.enrich is None else self.enrich(rows)
        judged = [self._judged(one) for one in found]
        asked = [place for place, (verdict, _) in enumerate(judged) if verdict.status in _ANSWERED]
        block = self._asked([judged[place][1] for place in asked])
        answers = self._plain(block)
        done: dict[int, Prediction] = {}
        left: dict[int, Verdict] = {
            place: verdict for place, (verdict, _) in enumerate(judged) if verdict.status == "fallback"
        }
        for number, place in enumerate(asked):
            verdict, values = judged[place]
            if number in block.failed:
                left[place] = self._failed(verdict, block.failed[number])
            else:
                value, chances = answers[number]
                done[place] = self._prediction(found[place], verdict, value, chances, values)
        done |= self._fallen_back(found, left)
        return tuple(
            done[place] if place in done else self._prediction(found[place], verdict, None)
            for place, (verdict, _) in enumerate(judged)
        )

    def block(self, matrix: Matrix) -> Block:
        """Ask the model for judged rows: a matrix of ``Encoder``, shape (n, columns). Never raises for a row."""
        if not len(matrix):  # scikit-learn raises for no row at all
            return self._isolated(lambda part: self.form.ask(matrix[part]), 0)
        try:
            answers, chances = self.form.ask(matrix)
        except Exception:  # noqa: BLE001, S110 - the model is foreign code; what it raised is told below, row by row
            pass
        else:
            if _sound(answers) and (chances is None or _sound(chances)):
                return Block(answers, chances)
        return self._isolated(lambda part: self.form.ask(matrix[part]), len(matrix))

    def without_model(self, rows: Sequence[object], why: str) -> tuple[Prediction, ...]:
        """What becomes of rows that nobody can ask the model for, by the contract's policy ``failed``.

        ``why`` is half a sentence for the problem of each row. Rows that the contract rejects stay rejected.
        """
        found = [Enriched(row) for row in rows]
        verdicts = [examine(self.contract, row)[0] for row in rows]
        left = {
            place: verdict if verdict.status == "fallback" else self._failed(verdict, why)
            for place, verdict in enumerate(verdicts)
            if verdict.status != "rejected" or self.enrich is not None
        }
        done = self._fallen_back(found, left)
        return tuple(
            done[place] if place in done else self._prediction(found[place], verdict, None)
            for place, verdict in enumerate(verdicts)
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

        if not self.form.probable:
            return None
        none = (math.nan,) * len(self._labels)
        found = [none if each.probabilities is None else tuple(each.probabilities.values()) for each in predictions]
        return np.array(found, dtype=np.float64).reshape(len(found), len(self._labels))

    def _failed(self, verdict: Verdict, why: str) -> Verdict:
        """The verdict on a row that the model could not answer."""
        action: Policy = (
            "fallback" if self.contract.failed == "fallback" and self.contract.prior is not None else "reject"
        )
        problem = Problem(column="", reason="model", action=action, text=why)
        problems = (*verdict.problems, problem)
        return Verdict(status=worst(one.action for one in problems), problems=problems)

    def _fallen_back(self, found: Sequence[Enriched], left: Mapping[int, Verdict]) -> dict[int, Prediction]:
        """Rows whose verdict is "fallback" (or by now "rejected"), answered by who comes after the model."""
        places = [place for place, verdict in left.items() if verdict.status == "fallback"]
        earlier: Sequence[Prediction | None] = [None] * len(places)
        if self.fallback is not None and places:
            earlier = self.fallback.score([found[place].row for place in places])
        done = {place: self._prediction(found[place], verdict, None) for place, verdict in left.items()}
        for place, one in zip(places, earlier, strict=True):
            if one is not None and one.verdict.status in _ANSWERED and self._knows(one):
                chances = None if one.probabilities is None else tuple(one.probabilities.values())
                done[place] = self._prediction(found[place], left[place], one.value, chances, by="previous")
            else:
                done[place] = self._prediction(found[place], left[place], self.contract.prior, by="prior")
        return done

    def _knows(self, one: Prediction) -> bool:
        """Whether an earlier version's answer means the same in this version's contract."""
        if self.contract.task == "regression":
            return isinstance(one.value, float)
        known = one.probabilities is None or tuple(one.probabilities) == self._labels
        return known and one.value in self.contract.classes

    def _plain(self, block: Block) -> list[tuple[Value, tuple[float, ...] | None]]:
        """The answers of a block as plain values."""
        if self.contract.task == "regression":
            return [(value, None) for value in block.answers.tolist()]
        labels = [self.contract.classes[place] for place in block.answers.tolist()]
        if block.chances is None:
            return [(label, None) for label in labels]
        return [(label, tuple(row)) for label, row in zip(labels, block.chances.tolist(), strict=True)]

    def _prediction(
        self,
        asked: Enriched,
        verdict: Verdict,
        value: Value,
        chances: tuple[float, ...] | None = None,
        inputs: Mapping[str, Value] | None = None,
        by: str = "",
    ) -> Prediction:
        return Prediction(
            value=value,
            verdict=verdict,
            probabilities=None if chances is None else dict(zip(self._labels, chances, strict=True)),
            model=self.name,
            version=self.version,
            bundle=self.bundle,
            inputs=inputs,
            context=context_of(self.contract, asked.row),
            lookup=asked.lookup,
            answered_by=by,
        )

    def _asked(self, rows: list[dict[str, Value]]) -> Block:
        """An answer for each row that ``examine`` let through, or why there is none."""
        if self.encoder.encodable and not (self.form.name in ("frame", "array") and self._huge(rows)):
            return self.block(self.encoder.matrix(rows))
        form = self.form
        if not isinstance(form, FrameForm):  # never certified for text, times and what no float holds
            form = FrameForm(self.contract, self.model)
        return self._isolated(lambda part: form.ask_frame(to_frame(self.contract, rows[part])), len(rows))

    def _huge(self, rows: Sequence[Mapping[str, Value]]) -> bool:
        """Whether an integer would not be exact as a float."""
        names = [column.name for column in self.contract.columns if column.kind == "integer"]
        return any(abs(value) > EXACT for row in rows for name in names if isinstance(value := row[name], int))

    def _isolated(self, ask: Callable[[Part], tuple[Any, Any]], count: int) -> Block:
        """Ask for all rows at once; a batch that fails is halved until the culprit is alone."""
        import numpy as np

        regression = self.contract.task == "regression"
        answers = np.full(count, np.nan) if regression else np.zeros(count, dtype=np.intp)
        chances = np.full((count, len(self._labels)), np.nan) if self.form.probable else None
        failed: dict[int, str] = {}
        parts = [slice(0, count)] if count else []
        while parts:
            part = parts.pop()
            try:
                some, table = ask(part)
            except Exception as error:  # noqa: BLE001 - one row must not hurt another
                middle = (part.start + part.stop) // 2
                if part.stop - part.start == 1:
                    failed[part.start] = f"the model could not answer this row ({type(error).__name__})"
                else:
                    parts += [slice(part.start, middle), slice(middle, part.stop)]
                continue
            sound = np.isfinite(some) if table is None else np.isfinite(some) & np.isfinite(table).all(axis=1)
            if part.stop - part.start == 1 and not sound.all():
                failed[part.start] = "the model's answer to this row is not a finite number"
            else:
                parts += [slice(part.start + i, part.start + i + 1) for i in np.flatnonzero(~sound).tolist()]
            answers[part] = some
            if chances is not None and table is not None:
                chances[part] = table
        return Block(answers, chances, dict(sorted(failed.items())))


def _sound(values: np.ndarray[Any, Any]) -> bool:
    """Whether all are finite."""
    import numpy as np

    return values.dtype.kind == "i" or int(np.count_nonzero(np.isfinite(values))) == values.size
