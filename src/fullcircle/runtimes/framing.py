"""Many rows through a contract in bounded memory: a stretch at a time, only what is kept stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fullcircle.runtimes.contracts import examine, rows_of, to_frame
from fullcircle.types.contract import Contract

if TYPE_CHECKING:
    import pandas as pd

STRETCH = 20_000


def stretches(frame: pd.DataFrame, rows: int = STRETCH) -> Iterator[pd.DataFrame]:
    """The frame in stretches of at most ``rows`` rows, in order; one empty stretch of an empty frame."""
    for start in range(0, max(len(frame), 1), rows):
        yield frame.iloc[start : start + rows]


def joined(contract: Contract, parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Frames that ``to_frame`` made, one after the other, with its dtypes."""
    import pandas as pd

    if not parts:
        return to_frame(contract, [])
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def framed(contract: Contract, frame: pd.DataFrame) -> tuple[pd.DataFrame, Any]:
    """The rows that the contract lets through, as the model sees them, and which of ``frame`` they are (n, bool).

    Rows that are rejected, or answered by the fallback, never reach the model and are left out.
    """
    import numpy as np

    parts: list[pd.DataFrame] = []
    fits: list[bool] = []
    for stretch in stretches(frame):
        judged = [examine(contract, row) for row in rows_of(stretch, contract)]
        good = [verdict.status not in ("rejected", "fallback") for verdict, _ in judged]
        parts.append(to_frame(contract, [values for (_, values), fit in zip(judged, good, strict=True) if fit]))
        fits.extend(good)
    return joined(contract, parts), np.array(fits, dtype=bool)
