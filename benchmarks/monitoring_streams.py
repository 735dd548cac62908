"""Streams of windows in which nothing changes (of the bikes, something does), and rates of alarms with intervals."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.rows import ROOT

SHARED = ROOT.parent / "shared" / "data"
EMPLOYMENT = Path(os.environ.get("EMPLOYMENT_DIR") or SHARED)
BIKE = Path(os.environ.get("BIKE_HOUR") or SHARED / "bike_hour.csv")
SCALE = float(os.environ.get("FULLCIRCLE_BENCH_SCALE", "1"))
"""Below 1 for a quick look: fewer rows, windows and repetitions. Goals are those of 1."""
DAY = 86_400
YEAR = 365.25 * DAY


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A reference and, after it, windows of ``rows`` rows each (both pandas DataFrames of the same columns).

    ``seconds`` is how long a window is. ``timed`` says that the reference's rows have times, that many a window,
    so that dependence can be learned from them. ``changed`` says that the world did change.
    """

    name: str
    reference: Any
    windows: Any
    rows: int
    seconds: int
    categories: tuple[str, ...] = ()
    timed: bool = False
    changed: bool = False

    @property
    def count(self) -> int:
        """How many whole windows there are."""
        return len(self.windows) // self.rows

    def years(self, windows: int) -> float:
        """How long so many windows are."""
        return windows * self.seconds / YEAR


class Rate(NamedTuple):
    """Alarms a year, and the ends of the exact 95 % interval for a Poisson count (Garwood 1936)."""

    value: float
    low: float
    high: float


def rate(count: int, years: float) -> Rate:
    """The yearly rate of ``count`` alarms in ``years``. Raises ValueError for no time at all."""
    from scipy.stats import chi2

    if years <= 0 or count < 0:
        raise ValueError(f"{count} alarms in {years} years is no rate")
    low = float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    return Rate(count / years, low / years, float(chi2.ppf(0.975, 2 * count + 2)) / 2 / years)


def explained(budget: float, years: float) -> float:
    """The highest yearly rate that chance explains (97.5 %) where ``budget`` alarms a year are expected."""
    from scipy.stats import poisson

    return float(poisson.ppf(0.975, budget * years)) / years


def shuffled(frame: Any, seed: int) -> Any:
    """The rows in any order."""
    return block_shuffled(frame, 1, seed)


def block_shuffled(frame: Any, block: int, seed: int) -> Any:
    """Blocks of neighbouring rows in any order, each kept as it is; the last block may be shorter."""
    import numpy as np

    starts = np.random.default_rng(seed).permutation(np.arange(0, len(frame), block)).tolist()
    places = np.concatenate([np.arange(start, min(start + block, len(frame))) for start in starts])
    return frame.iloc[places].reset_index(drop=True)


def streams(scale: float = SCALE) -> list[Stream]:
    """All streams whose data are here, the same each time."""
    found = [_drawn(10_000, 1000, scale), _drawn(2000, 100, scale)]
    if (EMPLOYMENT / "employment_ma_reference.parquet").is_file():
        found += _employed(scale)
    if BIKE.is_file():
        found.append(_bikes())
    return found


def _drawn(reference: int, rows: int, scale: float) -> Stream:
    import numpy as np
    import pandas as pd

    windows = max(3, int(500 * scale))
    values = np.random.default_rng(rows).normal(size=(reference + windows * rows, 20))
    frame = pd.DataFrame(values, columns=[f"x{place}" for place in range(20)])
    return Stream(
        name=f"20 normal columns, {rows} rows an hour, reference {reference}",
        reference=frame[:reference],
        windows=frame[reference:].reset_index(drop=True),
        rows=rows,
        seconds=3600,
    )


def employment() -> tuple[Any, Any]:
    """The reference year and the three years after it, in order, labels joined."""
    import pandas as pd

    parts = {part: pd.read_parquet(EMPLOYMENT / f"employment_ma_{part}.parquet") for part in _PARTS}
    return parts["reference"], parts["analysis"].merge(parts["analysis_target"], on="id")


_PARTS = ("reference", "analysis", "analysis_target")
_NUMBERS = ("AGEP", "predicted_probability")


def _employed(scale: float) -> list[Stream]:
    """All four years as one pool, so that reference and windows are of one world: rows mixed, and blocks mixed."""
    import pandas as pd

    pool = pd.concat(employment()).drop(columns=["id", "year", "employed"])
    names = tuple(name for name in pool.columns if name not in _NUMBERS)
    pool = pool.astype(dict.fromkeys(names, str) | dict.fromkeys(_NUMBERS, float)).reset_index(drop=True)
    rows, days = 1000, 63
    kept = rows * (days + max(3, int(200 * scale)))
    ways = {
        "employment, rows shuffled": shuffled(pool, 1)[:kept],
        "employment, blocks of 500 rows shuffled": block_shuffled(pool, 500, 2)[:kept],
    }
    return [
        Stream(
            name=f"{name}, {rows} rows a day, reference {days} days",
            reference=frame[: rows * days],
            windows=frame[rows * days :].reset_index(drop=True),
            rows=rows,
            seconds=DAY,
            categories=names,
            timed="blocks" in name,
        )
        for name, frame in ways.items()
    ]


def _bikes() -> Stream:
    """2011 as reference, 2012 week by week: seasons and growth, so alarms are right here."""
    import pandas as pd

    frame = pd.read_csv(BIKE)
    named = ["hr", "weekday", "workingday", "weathersit", "temp", "hum", "windspeed", "cnt"]
    kinds = dict.fromkeys(("weekday", "workingday", "weathersit"), str)
    first, then = (frame.loc[frame["yr"] == year, named].astype(kinds).reset_index(drop=True) for year in (0, 1))
    return Stream(
        name="bikes, 2012 by weeks, reference 2011",
        reference=first,
        windows=then,
        rows=168,
        seconds=7 * DAY,
        categories=tuple(kinds),
        changed=True,
    )
