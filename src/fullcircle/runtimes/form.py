"""How a model is asked: the matrix of a contract's rows in, answers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fullcircle.errors import PredictionInvalid
from fullcircle.runtimes.encoding import Encoder
from fullcircle.types.contract import Contract

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from fullcircle.runtimes.encoding import Matrix

    Answers = np.ndarray[Any, Any]


class Form(Protocol):
    """One way to ask a fitted model. It is chosen when a version is packaged, where it answers as the model does.

    A form holds no state that a call changes: equal rows give equal bits whatever their neighbours are (for
    trees; where BLAS adds, within the tolerance that its certificate states).
    """

    name: str
    probable: bool
    """Whether it gives probabilities."""

    def ask(self, matrix: Matrix) -> tuple[Answers, Answers | None]:
        """Answers for the rows of a matrix of ``Encoder``, shape (n, columns).

        Regression: float64 of shape (n,), and None. Classification: positions in ``contract.classes`` as integers of
        shape (n,), and probabilities of shape (n, classes) or None.
        """
        ...


class FrameForm:
    """The model as it was fitted, asked with a frame: right for every model, and the measure of all other forms."""

    name = "frame"

    def __init__(self, contract: Contract, model: Any) -> None:
        self.model = model
        self.probable = contract.task == "classification" and hasattr(model, "predict_proba")
        self._contract = contract
        self._encoder = Encoder(contract)
        self._places = {label: place for place, label in enumerate(contract.classes)}

    def ask(self, matrix: Matrix) -> tuple[Answers, Answers | None]:
        """See Form."""
        return self.ask_frame(self._encoder.frame(matrix))

    def ask_frame(self, frame: pd.DataFrame) -> tuple[Answers, Answers | None]:
        """Answers for a frame of ``contracts.to_frame``. Raises PredictionInvalid, and whatever the model raises."""
        import numpy as np

        rows = len(frame)
        values = np.asarray(self.model.predict(frame))
        if values.shape == (rows, 1):
            values = values.reshape(-1)
        if values.shape != (rows,):
            raise _misshapen("predictions", values.shape, (rows,))
        if self._contract.task == "regression":
            return values.astype(np.float64), None
        places = self._classes(values.tolist())
        if not self.probable:
            return places, None
        table = np.asarray(self.model.predict_proba(frame), dtype=np.float64)
        classes = len(self._contract.classes)
        if table.shape != (rows, classes):
            raise _misshapen("probabilities", table.shape, (rows, classes))
        return places, table

    def _classes(self, labels: list[Any]) -> Answers:
        import numpy as np

        try:
            return np.array([self._places[label] for label in labels], dtype=np.intp)
        except (KeyError, TypeError) as error:
            raise PredictionInvalid(
                "the model answered with a class that the contract does not know",
                allowed=", ".join(str(label) for label in self._contract.classes),
                next_step="train again: the labels have changed",
            ) from error


def _misshapen(what: str, received: tuple[int, ...], allowed: tuple[int, ...]) -> PredictionInvalid:
    return PredictionInvalid(
        f"the model answered with the wrong number of {what}",
        received=received,
        allowed=allowed,
        next_step="check what predict of the model returns",
    )
