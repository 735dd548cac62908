"""Times as callers write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from fullcircle.errors import RequestInvalid
from fullcircle.features.moments import moment

NOON = 1_772_366_400 * 10**9  # 2026-03-01T12:00:00Z


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01T12:00:00", "2026-03-01 12:00:00Z", "2026-03-01T13:00:00+01:00", datetime(2026, 3, 1, 12),
        datetime(2026, 3, 1, 7, tzinfo=timezone(timedelta(hours=-5))), np.datetime64("2026-03-01T12"),
        datetime(2026, 3, 1, 13, tzinfo=ZoneInfo("Europe/Berlin")), pd.Timestamp("2026-03-01T12:00:00"),
        pd.Timestamp("2026-03-01T13:00:00", tz="Europe/Berlin"), np.datetime64("2026-03-01T12:00:00.000", "ms"),
    ],
)  # fmt: skip
def test_one_moment_is_written_in_many_ways(value: Any) -> None:
    assert moment(value) == NOON


def test_days_and_nanoseconds_are_exact() -> None:
    assert moment(date(2026, 3, 1)) == moment("2026-03-01") == NOON - 43_200 * 10**9
    assert moment(np.datetime64("2026-03", "M")) == moment("2026-03-01")
    assert moment(np.datetime64(NOON + 1, "ns")) == NOON + 1
    assert moment(pd.Timestamp(NOON + 1, unit="ns")) == NOON + 1
    assert moment(pd.Timestamp(NOON + 1, unit="ns", tz="UTC")) == NOON + 1
    assert moment(datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) == -1000


def test_an_hour_that_comes_twice_is_told_by_its_fold() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    first, second = (datetime(2025, 10, 26, 2, 30, tzinfo=berlin, fold=fold) for fold in (0, 1))
    assert moment(second) - moment(first) == 3600 * 10**9


@pytest.mark.parametrize(
    "value",
    [
        "yesterday", "", 5, 5.0, None, True, np.int64(5), pd.NaT, np.datetime64("NaT"), [], b"2026-03-01",
        "9999-01-01", datetime(1, 1, 1), np.datetime64("9999-01-01"), pd.Timestamp("9999-01-01"), date(1500, 1, 1),
        np.datetime64(1, "fs"),
    ],
)  # fmt: skip
def test_what_is_no_time_or_out_of_range_is_refused_in_the_same_words(value: Any) -> None:
    with pytest.raises(RequestInvalid) as caught:
        moment(value)
    assert "1678" in str(caught.value)
