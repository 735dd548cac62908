"""What gates are known to say before a training is what they say after it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.evaluation import groups, metrics
from fullcircle.evaluation.beforehand import lacking, telling
from fullcircle.evaluation.fairness import disparity
from fullcircle.types.gates import Gate, at_least, at_most, beats, fair, latency, worth
from fullcircle.types.report import Finding, Measure, Report


def people(*counts: int, names: Sequence[str] = ("north", "south", "east")) -> pd.DataFrame:
    """Rows in which regions come one after the other, so that the last one comes last."""
    return pd.DataFrame({"region": [name for name, count in zip(names, counts, strict=False) for _ in range(count)]})


def report(name: str, value: float, low: float, high: float, rows: int = 400) -> Report:
    measure = Measure(name=name, value=value, low=low, high=high, n=rows)
    finding = Finding(check="all", code="E000", title="t", severity="info", text="t", measures=(measure,))
    return Report(subject="m", findings=(finding,), rows=rows)


FAIR = fair(by="region", metric="mae", gap=10.0)


# --- groups -----------------------------------------------------------------------------------------------


def _is_known(frame: pd.DataFrame, gate: Gate) -> bool:
    """Whether the check of fairness can tell the gap on these rows at all, with answers that are never far off."""
    rng = np.random.default_rng(0)
    actual = rng.normal(size=len(frame))
    answers = metrics.answers("regression", actual, actual + rng.normal(size=len(frame)), None, ())
    found = disparity.measured(answers, groups.of_rows(frame, gate.by), [metrics.find("mae", "regression")], seed=0)
    names = groups.of_rows(frame, gate.by)[1]
    without = [groups.called(names, gate.by, text) for text in gate.without]
    return disparity.gap(found, gate.by, "mae", without=without).value is not None


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(1, 70), min_size=2, max_size=3),
    before=st.integers(0, 60),
    without=st.sampled_from([(), ("east",), ("south",)]),
)
def test_a_gap_is_said_to_lack_rows_where_it_could_not_be_told(
    counts: list[int], before: int, without: tuple[str, ...]
) -> None:
    judged = people(*counts)
    kept = pd.concat([people(before, before, before), judged], ignore_index=True)
    gate = fair(by="region", metric="mae", gap=10.0, without=without)
    lack = lacking([gate], kept, len(judged), None)
    known = _is_known(judged, gate)
    if known:
        assert lack is None
    elif lack is None:  # one group is left to compare, and there are no rows of another one to come
        assert sum(count >= 30 for count in counts) < 2
        assert without
    else:
        assert lack.rows > len(judged)
        assert lack.gate == gate.text


def test_it_says_how_many_rows_are_needed_and_facts_name_no_group() -> None:
    kept = pd.concat([people(280, 40), people(60, 20)], ignore_index=True)
    lack = lacking([FAIR], kept, 80, None)
    assert lack is not None
    assert lack.rows == 200, "30 of 60 in 400"
    assert "region=south has 20 of the 80 rows" in lack.text
    assert "south" not in lack.told
    assert lacking([fair(by="region", metric="mae", gap=10.0, without=["south"])], kept, 80, None) is None
    assert lacking([at_most("mae", 9.0, by="region")], kept, 80, None) == pytest.approx(
        lack.__class__(gate="mae at most 9 in every group of region", rows=200, text=lack.text, told=lack.told)
    )


def test_one_group_alone_waits_for_the_one_that_came_before() -> None:
    kept = pd.concat([people(10, 90), people(0, 50)], ignore_index=True)
    lack = lacking([FAIR], kept, 50, None)
    assert lack is not None
    assert "region=north has 0 of the 50 rows" in lack.text
    assert lack.rows == math.ceil(30 * 150 / 10)
    assert lacking([at_most("mae", 9.0, by="region")], kept, 50, None) is None, "what is not there is not judged"


def test_gates_without_groups_and_of_columns_that_the_log_does_not_have_lack_nothing() -> None:
    gates = [at_most("mae", 9.0), beats("champion"), fair(by="sex", metric="mae", gap=1.0), latency("1s")]
    assert lacking(gates, people(5, 5), 4, None) is None


def test_the_gate_that_lacks_most_is_named() -> None:
    kept = people(300, 40).assign(half=[1, 2] * 170)
    lack = lacking([fair(by="half", metric="mae", gap=9.0), FAIR], kept, 50, None)
    assert lack is not None
    assert (lack.gate, lack.rows) == ("mae differs by at most 9 between groups of half", 60)
    assert lacking([FAIR], kept, 50, None) != lack


# --- chance -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gate", "found"),
    [
        (at_least("r2", 0.7), report("r2", 0.8, 0.75, 0.85)),
        (at_most("mae", 10.0), report("mae", 8.0, 7.0, 9.0)),
        (worth(per_row=max, at_least=50.0), report("value_per_row", 90.0, 70.0, 110.0)),
    ],
)
def test_an_interval_twice_as_wide_needs_a_quarter_of_the_rows(gate: Gate, found: Report) -> None:
    assert telling(gate, found) == 100
    lack = lacking([gate], people(50, 50), 99, found)
    assert lack is not None
    assert (lack.rows, lack.gate) == (100, gate.text)
    assert lacking([gate], people(50, 50), 100, found) is None
    assert lacking([gate], people(50, 50), 99, None) is None, "a person who asks is not told to wait for chance"


@pytest.mark.parametrize(
    ("gate", "found"),
    [
        (at_least("r2", 0.7), report("r2", 0.69, 0.6, 0.8)),
        (at_least("r2", 0.7), report("mae", 8.0, 7.0, 9.0)),
        (at_most("mae", 8.0), report("mae", 8.0, 7.0, 9.0)),
        (at_most("mae", 9.0, by="sex"), report("mae", 8.0, 7.0, 9.0)),
        (beats("champion"), report("improvement_over_champion", 1.0, 0.5, 1.5)),
        (at_least("r2", 0.7), report("r2", 0.8, math.nan, math.nan)),
    ],
)
def test_where_no_number_of_rows_would_tell_nothing_is_waited_for(gate: Gate, found: Report) -> None:
    assert telling(gate, found) == 0
    assert lacking([gate], people(50, 50), 30, found) is None


def test_a_gate_that_the_champion_did_not_pass_is_not_waited_for() -> None:
    """It came later, or was made stricter: nobody knows how many rows it takes."""
    found = report("r2", 0.72, 0.6, 0.84)
    assert telling(at_least("r2", 0.7), found) > 400
    assert lacking([at_least("r2", 0.7)], people(50, 50), 30, found) is None


@given(value=st.floats(0.71, 0.95), width=st.floats(0.01, 0.2), rows=st.integers(30, 5000))
def test_on_so_many_rows_the_same_model_would_keep_the_gate(value: float, width: float, rows: int) -> None:
    needed = telling(at_least("r2", 0.7), report("r2", value, value - width, value + width, rows))
    assert value - width * math.sqrt(rows / needed) >= 0.7 - 1e-9
    if needed > 1:
        assert value - width * math.sqrt(rows / (needed - 1)) < 0.7 + 1e-9
