"""Streams of windows in which nothing changes (of the bikes, something does), and rates of alarms with intervals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.peers.servers import ONE_THREAD
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


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes that are started meanwhile do their maths in one thread: more of them wait for each other here."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def at_most(count: int, years: float) -> float:
    """The highest yearly rate that ``count`` alarms in ``years`` leave possible: 95 %, exact for a Poisson count."""
    from scipy.stats import chi2

    return float(chi2.ppf(0.95, 2 * count + 2)) / 2 / years


def shuffled(frame: Any, seed: int) -> Any:
    """The rows in any order."""
    return block_shuffled(frame, 1, seed)


def block_shuffled(frame: Any, block: int, seed: int) -> Any:
    """Blocks of neighbouring rows in any order, each kept as it is; the last block may be shorter."""
    import numpy as np

    starts = np.random.default_rng(seed).permutation(np.arange(0, len(frame), block)).tolist()
    places = np.concatenate([np.arange(start, min(start + block, len(frame))) for start in starts])
    return frame.iloc[places].reset_index(drop=True)


def streams(scale: float = SCALE) -> list[Callable[[int], Stream]]:
    """All streams whose data are here; each is asked for by the seed of its order, and is the same each time."""
    found: list[Callable[[int], Stream]] = [partial(_drawn, 10_000, 1000, scale), partial(_drawn, 2000, 100, scale)]
    if (EMPLOYMENT / "employment_ma_reference.parquet").is_file():
        found += [partial(_employed, scale, block) for block in (1, 50, 500)]
    if BIKE.is_file():
        found += [partial(_days, scale), _bikes]
    return found


def _drawn(reference: int, rows: int, scale: float, seed: int) -> Stream:
    import numpy as np
    import pandas as pd

    windows = max(3, int(500 * scale))
    values = np.random.default_rng(rows + seed).normal(size=(reference + windows * rows, 20))
    frame = pd.DataFrame(values, columns=[f"x{place}" for place in range(20)])
    return Stream(
        name=f"20 normal columns, {rows} rows a day, reference {reference}",
        reference=frame[:reference],
        windows=frame[reference:].reset_index(drop=True),
        rows=rows,
        seconds=DAY,
    )


def employment() -> tuple[Any, Any]:
    """The reference year and the three years after it, in order, labels joined."""
    import pandas as pd

    parts = {part: pd.read_parquet(EMPLOYMENT / f"employment_ma_{part}.parquet") for part in _PARTS}
    return parts["reference"], parts["analysis"].merge(parts["analysis_target"], on="id")


_PARTS = ("reference", "analysis", "analysis_target")
_NUMBERS = ("AGEP", "predicted_probability")


@lru_cache(maxsize=1)
def _pool() -> Any:
    """All four years of employment as inputs: numbers, and strings."""
    import pandas as pd

    pool = pd.concat(employment()).drop(columns=["id", "year", "employed"])
    return pool.astype({name: float if name in _NUMBERS else str for name in pool.columns})


def _employed(scale: float, block: int, seed: int) -> Stream:
    """The four years as one pool, so that reference and windows are of one world, in blocks of neighbouring rows."""
    rows, days = 1000, 63
    pool = _pool()
    names = tuple(name for name in pool.columns if name not in _NUMBERS)
    frame = block_shuffled(pool, block, seed)[: rows * (days + max(3, int(200 * scale)))]
    way = "rows shuffled" if block == 1 else f"blocks of {block} rows shuffled"
    return Stream(
        name=f"employment, {way}, {rows} rows a day, reference {days} days",
        reference=frame[: rows * days],
        windows=frame[rows * days :].reset_index(drop=True),
        rows=rows,
        seconds=DAY,
        categories=names,
        timed=block > 1,
    )


_RIDES = ("hr", "weekday", "workingday", "weathersit", "temp", "hum", "windspeed", "cnt")
_KINDS = dict.fromkeys(("weekday", "workingday", "weathersit"), str)


def _days(scale: float, seed: int) -> Stream:
    """The days of both years in any order, each kept as it is: no season and no growth."""
    import pandas as pd

    frame = pd.read_csv(BIKE).astype(_KINDS)
    whole = [day[list(_RIDES)] for _, day in frame.groupby("dteday") if len(day) == 24]
    order = shuffled(pd.DataFrame({"day": range(len(whole))}), seed)["day"].tolist()
    first, last = 365, 365 + max(3, int(300 * scale))
    return Stream(
        name="bikes, days of both years shuffled, reference 365 days",
        reference=pd.concat([whole[day] for day in order[:first]]).reset_index(drop=True),
        windows=pd.concat([whole[day] for day in order[first:last]]).reset_index(drop=True),
        rows=24,
        seconds=DAY,
        categories=tuple(_KINDS),
        timed=True,
    )


def _bikes(seed: int) -> Stream:
    """2011 as reference, 2012 week by week: seasons and growth, so alarms are right here. There is one order only."""
    import pandas as pd

    frame = pd.read_csv(BIKE).astype(_KINDS)
    first, then = (frame.loc[frame["yr"] == year, list(_RIDES)].reset_index(drop=True) for year in (0, 1))
    return Stream(
        name="bikes, 2012 by weeks, reference 2011",
        reference=first,
        windows=then,
        rows=168,
        seconds=7 * DAY,
        categories=tuple(_KINDS),
        changed=True,
    )
