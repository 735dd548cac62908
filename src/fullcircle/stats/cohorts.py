"""Late labels: which rows of an experiment may be used at a moment, and in which order.

A label that comes soon is not like one that comes late: who defaults, defaults early. So a row counts by when it was
exposed, not by when its label came: it is usable once it had its time and its label is there. That order only
grows, so what holds at every look holds for it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit


class Cohort(NamedTuple):
    """``usable``: places of the rows that count, in the order in which they came to count.

    ``due`` (n,): rows that had their time. ``in_time`` (n,): those of them whose label came within it. While no label
    is corrected that never changes afterwards, so ``mixtures.off_coverage`` may be asked of it at every look. A label
    that is corrected later is one that came later: its row leaves its place, and counts from then on.
    """

    usable: NDArray[np.intp]
    due: NDArray[np.bool_]
    in_time: NDArray[np.bool_]


def cohort(exposed: ArrayLike, arrived: ArrayLike, now: float, delay: float) -> Cohort:
    """Of rows ``exposed`` at, with a label ``arrived`` at (NaN: not yet), each (n,); ``delay`` is their time.

    All in one unit, such as seconds. Equal moments keep the order of the rows.
    """
    begun, came = np.asarray(exposed, dtype=np.float64).ravel(), np.asarray(arrived, dtype=np.float64).ravel()
    if begun.size != came.size or not np.isfinite(begun).all() or not delay >= 0.0:
        raise DataUnfit(
            "rows and the arrival of their labels do not belong together",
            received=f"{begun.size} rows, {came.size} labels, a delay of {delay!r}",
            allowed="one finite moment of exposure and one of arrival (NaN: none yet) a row, a delay of 0 or more",
            next_step="pass what the log and the outcomes hold, row by row",
        )
    ends = begun + delay
    counts_from = np.maximum(came, ends)  # NaN while there is no label
    known = np.flatnonzero(counts_from <= now)
    order = known[np.argsort(counts_from[known], kind="stable")]
    due = ends <= now
    return Cohort(order, due, due & (came <= ends))
