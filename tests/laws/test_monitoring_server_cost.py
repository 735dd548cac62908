"""The benchmark of what monitoring costs a server measures what it says it does."""

from __future__ import annotations

import math

from benchmarks.monitoring_server import COLUMNS, rows


def test_each_cost_is_one_of_a_row() -> None:
    found = rows(scale=0.02)
    assert [row.unit for row in found] == ["us"] * 4
    assert all(f"{COLUMNS} columns" in row.what and not row.at_least for row in found)
    one, hundred, counted, both = (row.ours for row in found)
    assert all(math.isfinite(row.ours) and row.ours > 0 for row in found)
    assert hundred < one  # what a request costs at all is shared by its rows
    assert counted < both
