"""E011 serving: batch, real time or both? A decision sheet from what a project needs and what was measured.

It is no check that measures: it reads latency and throughput from the report, and the needs from the project. One
machine like the one that evaluated is taken to answer one row at a time, on one core; the busiest moment of a day is
taken to bring ``PEAK`` times the average. Both are said in the sheet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fullcircle.evaluation import words
from fullcircle.types.durations import duration
from fullcircle.types.project import Serving
from fullcircle.types.report import Finding, Measure, Report

CHECK = "serving"
CODE = "E011"
PEAK = 5.0
# Beyond this share of a core, requests wait for each other more than they are worked on (M/M/1: twice as long).
_BUSY = 0.5
_HOURS_A_MONTH = 365.25 * 24 / 12
# A batch that takes more than this share of the time between two batches leaves none to repeat a failed one.
_ROOM = 0.5


@dataclass(frozen=True)
class Way:
    """One way to serve: whether it fits the needs, why, what it costs a month and how many machines it takes."""

    name: str
    fits: bool
    why: str
    cost: float
    machines: int


def sheet(report: Report, needs: Serving, *, currency: str = "") -> Finding:
    """The decision sheet as a finding.

    A warning where no way fits the needs, or where latency or throughput were not measured.
    """
    p99, speed = report.measure("latency_p99_ms"), report.measure("rows_per_second")
    if p99 is None or p99.value is None or speed is None or speed.value is None or not speed.value > 0.0:
        return Finding(
            check=CHECK,
            code=CODE,
            title="How to serve it",
            severity="warning",
            text="Latency and throughput were not measured, so nothing can be said about how to serve the model.",
        )
    half = report.measure("latency_p50_ms")
    typical = half.value if half is not None and half.value is not None else p99.value
    batch = _batch(needs, speed.value)
    real_time = _real_time(needs, p99, typical)
    chosen, text = _choose(needs, batch, real_time)
    money = f" {currency}" if currency else ""
    costs = (
        f" In machine time a month, batch costs {_money(batch.cost)}{money} and real time "
        f"{_money(real_time.cost)}{money}."
        if needs.machine_hour
        else ""
    )
    return Finding(
        check=CHECK,
        code=CODE,
        title="How to serve it",
        severity="good" if chosen else "warning",
        text=text + costs,
        measures=_measures(batch, real_time, currency, bool(needs.machine_hour)),
        table=tuple(
            {
                "way": way.name,
                "fits": "yes" if way.fits else "no",
                "why": way.why,
                "machines": way.machines,
                f"cost a month{money and ' in' + money}": "less than 0.01"
                if 0.0 < way.cost < 0.01
                else round(way.cost, 2),
                "chosen": "yes" if way.name in chosen else "",
            }
            for way in (batch, real_time)
        ),
    )


def _batch(needs: Serving, speed: float) -> Way:
    """Score everything every so often; answers are as old as the last run."""
    fresh = duration(needs.freshness).total_seconds()
    rows = needs.requests_per_day * fresh / 86400.0
    seconds = rows / speed
    fits = seconds <= _ROOM * fresh
    why = (
        f"a run every {_every(needs.freshness)} has about {words.rows(math.ceil(rows))} and takes "
        f"{_seconds(seconds)} at {_short(speed)} rows a second"
    )
    if not fits:
        why += ", more than half of the time between two runs"
    hours = needs.requests_per_day * (365.25 / 12) / speed / 3600.0
    return Way("batch", fits, why, hours * needs.machine_hour, 1)


def _real_time(needs: Serving, p99: Measure, typical: float) -> Way:
    """Answer each row when it is asked for, on machines that are always on."""
    allowed = duration(needs.latency).total_seconds() * 1000.0
    slowest = p99.high if p99.high is not None else math.inf
    fits = slowest <= allowed
    machines = max(1, math.ceil(needs.requests_per_day / 86400.0 * PEAK * typical / 1000.0 / _BUSY))
    told = f"{_short(p99.value or 0.0)} ms" + (
        f" (up to {_short(p99.high)} ms at 95 %)" if p99.high is not None else ""
    )
    why = f"99 of 100 answers take at most {told}, and {_span(needs.latency)} is allowed"
    if not fits:
        why += ": too slow" if p99.high is not None else ": too few rows were timed to be sure"
    return Way("real time", fits, why, machines * _HOURS_A_MONTH * needs.machine_hour, machines)


def _choose(needs: Serving, batch: Way, real_time: Way) -> tuple[tuple[str, ...], str]:
    """Which ways to take, and why, for somebody who decides about a product."""
    old, wait = _span(needs.freshness), _span(needs.latency)
    peak = f"{words.number(needs.requests_per_day)} rows a day (at the busiest moment {PEAK:g} times the average)"
    if real_time.fits and batch.fits and _slow_enough(needs):
        text = (
            f"Both: answers may be {old} old, so rows that are known beforehand can be scored in batch, "
            f"the cheaper way; those that nobody knew of are answered in real time, within {wait}. "
            f"Counted for {peak}. If every row is known beforehand, batch alone is enough."
        )
        return ("batch", "real time"), text
    if real_time.fits:
        why = (
            f"answers older than {old} are of no use, and runs in batch would hardly end before the next"
            if not batch.fits
            else f"answers may be only {old} old, which is too short for runs in batch to be worth it"
        )
        text = (
            f"Real time: {why}. {real_time.machines} machine{'s' if real_time.machines > 1 else ''} like this one "
            f"answer{'s' if real_time.machines == 1 else ''} {peak} within {wait}."
        )
        return ("real time",), text
    if batch.fits:
        text = (
            f"Batch: {real_time.why}. A run every {_every(needs.freshness)} keeps up with {peak}; whoever "
            "asks looks the answer up, and a row that came after the last run has none until the next."
        )
        return ("batch",), text
    text = (
        f"Neither fits: {real_time.why}; {batch.why}. A smaller model, a longer wait than {wait}, or "
        f"answers older than {old} would change that."
    )
    return (), text


def _slow_enough(needs: Serving) -> bool:
    """From an hour on, a scheduled run is simpler than a server for rows that are known."""
    return duration(needs.freshness).total_seconds() >= 3600.0


def _measures(batch: Way, real_time: Way, currency: str, priced: bool) -> tuple[Measure, ...]:
    machines = Measure(name="real_time_machines", value=float(real_time.machines), method="rate x time / 0.5")
    if not priced:
        return (machines,)
    unit = f"{currency} a month".strip()
    costs = ((batch, "batch_cost_per_month"), (real_time, "real_time_cost_per_month"))
    return (machines, *(Measure(name=name, value=way.cost, unit=unit, method="machine hours") for way, name in costs))


def _seconds(value: float) -> str:
    if value < 1.0:
        return "less than a second"
    return f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.0f} h"


def _span(text: str) -> str:
    """A declared span of time in words: ``1 day``, ``5 minutes``, ``200 ms``."""
    seconds = duration(text).total_seconds()
    for name, size in (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0), ("second", 1.0)):
        count = seconds / size
        if count >= 1.0 and math.isclose(count, round(count)):
            return f"{round(count)} {name}{'' if round(count) == 1 else 's'}"
    return f"{words.number(1000.0 * seconds)} ms" if seconds < 1.0 else f"{words.number(seconds)} seconds"


def _every(text: str) -> str:
    """``day`` for a run every day, ``7 days``."""
    return _span(text).removeprefix("1 ")


def _money(amount: float) -> str:
    """Two decimals below 100, whole numbers from there on."""
    if 0.0 < amount < 0.01:
        return "less than 0.01"
    return f"{amount:.2f}" if amount < 99.995 else f"{amount:,.0f}".replace(",", " ")


def _short(value: float) -> str:
    """Three significant digits are enough for what a machine does in its own time."""
    return words.number(float(f"{value:.3g}"))
