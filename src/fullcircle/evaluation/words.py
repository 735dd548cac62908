"""Numbers as people read them, and measures as sentences say them."""

from __future__ import annotations

import math

from fullcircle.types.report import Measure


def number(value: float | None) -> str:
    """Four significant digits, thousands whole, small ones without powers of ten, "unknown" for None and NaN.

    Below a millionth of a millionth is what adding floats leaves behind, and is 0.
    """
    if value is None or not math.isfinite(value):
        return "unknown"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", " ")
    if abs(value) < 1e-12:
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.{3 - math.floor(math.log10(abs(value)))}f}".rstrip("0")
    return f"{value:.4g}"


def span(measure: Measure) -> str:
    """``44.3 (95 % 41.2 to 47.5)``, with the unit where there is one."""
    unit = f" {measure.unit}" if measure.unit and measure.value is not None else ""
    if measure.low is None or measure.high is None:
        return f"{number(measure.value)}{unit}"
    return f"{number(measure.value)}{unit} (95 % {number(measure.low)} to {number(measure.high)})"


def rows(count: int) -> str:
    """``1 row``, ``4 345 rows``."""
    return "1 row" if count == 1 else f"{count:,} rows".replace(",", " ")
