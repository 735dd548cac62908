"""What a value is: present, null (a row is there, its value is not), missing (no row), expired (too old a row)."""

from __future__ import annotations

from typing import Any

from fullcircle.types.features import Status

PRESENT, NULL, MISSING, EXPIRED = 0, 1, 2, 3
NAMES: tuple[Status, ...] = ("present", "null", "missing", "expired")


def words(state: Any, column: Any) -> Any:
    """The statuses of a column as Arrow text; ``state`` (n,) says all but which present values are null."""
    import numpy as np
    import pyarrow as pa

    nulls = np.asarray(column.is_null())
    return pa.array(np.array(NAMES, dtype=object)[np.where((state == PRESENT) & nulls, NULL, state)])
