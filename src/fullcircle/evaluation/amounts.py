"""What other answers for some rows would earn: the project's function is still asked about all rows at once."""

from __future__ import annotations

import numpy as np

from fullcircle.evaluation import earning
from fullcircle.evaluation.check import Array, Subject
from fullcircle.types.gates import Gate


def of_rows(gate: Gate, subject: Subject, rows: Array) -> earning.Pay:
    """Amounts of ``rows`` (positions, k) by answers for them (k,).

    A gate's function may know rows by their place, so the other rows keep the subject's own answers and go along.
    Raises ProjectInvalid like ``earning.pay``, and what the function raises.
    """
    ask, own = earning.pay(gate, subject), np.asarray(subject.predicted)

    def earned(answers: Array) -> Array:
        # Fixed-width text would cut longer names of classes.
        given = np.array(np.asarray(answers).tolist(), dtype=None if own.dtype.kind in "US" else own.dtype)
        full = own.astype(np.result_type(own.dtype, given.dtype))
        full[rows] = given
        return np.asarray(ask(full)[rows])

    return earned
