"""What the past tells the plan of an experiment: how far rows stray, how many callers send, how long labels take.

Only what callers asked is history. The rows that ``run`` sends itself come in requests of its own size, on its own
day, with labels that it has already: they say nothing of callers, and are left out.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullcircle.errors import SettingInvalid
from fullcircle.flows.compared import too_few
from fullcircle.flows.exposed import Exposed, Floats, Measuring, gathered
from fullcircle.flows.quality import FEWEST_LABELS
from fullcircle.flows.session import Session
from fullcircle.flows.versions import find
from fullcircle.monitoring.grid import iso, micros, now
from fullcircle.monitoring.journal import Journal
from fullcircle.stats import sequences
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Contract
from fullcircle.types.experiments import Metric
from fullcircle.types.prediction import Prediction
from fullcircle.types.report import Report

PAST_DAYS = 28
"""Four whole weeks: what a day of the week does weighs the same for each."""
NEARLY = 0.95
"""Of the labels that came so far, so many came within the time that is waited where the project says none."""
_LEAST_DELAY = 1.0  # seconds: whether a label came in time must be clear from times in microseconds
_DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Past:
    """What the log tells: a unit's standard deviation, rows in a unit, rows a day (0: nobody can say).

    ``delay`` is the time of labels in days (0: nobody can say), ``valued`` the share of the rows that had it and have
    a value. ``units`` is how many requests, or entities, it is told by, ``assumed`` what it does not tell.
    """

    spread: float
    rows_a_unit: float
    rows_a_day: float
    delay: float
    valued: float
    units: int
    assumed: tuple[str, ...]


def past_of(session: Session, model: str, measuring: Measuring, metric: Metric, champion: int, delay: float) -> Past:
    """From the champion's rows of the last weeks that callers asked for; where there are too few, from its report.

    ``delay`` is that of labels in days as the project has it, 0 where it says none. Raises SettingInvalid where
    nothing tells how far the metric strays, or by whose values too few things can be told apart.
    """
    _check_entity(measuring.contract, metric.entity)
    begin = now() - PAST_DAYS * round(_DAY) * 1_000_000
    folder, asked = session.workspace.predictions, _asked(session, model, champion, begin)
    rows = (row for row in log.read(folder, model, since=iso(begin), version=champion) if asked(row))
    found = gathered(rows, log.read_outcomes(folder, model), measuring, [metric.name], entity=metric.entity)
    values = found.values[metric.name]
    usable = np.flatnonzero(np.isfinite(values))
    labelled, every = found.unit[usable], found.unit
    enough = _units(labelled) >= FEWEST_LABELS
    entities = every[~found.loose]
    if metric.entity and too_few(_units(entities), len(entities)):
        raise _few(f"{', '.join(metric.entity)}: {_units(entities)} entities in {len(entities):,} rows that have one")
    a_day, sparse = _rows_a_day(found)
    wait, unsure = _delay(found, usable, delay)
    valued, doubtful = _valued(found, wait)
    together, alone = _together(labelled if enough else every, metric)
    assumed = [each for each in (sparse, unsure, doubtful, alone) if each]
    spread = _spread(labelled, values[usable]) if enough else 0.0
    if not spread > 0:
        spread, told = _reported(session, model, measuring, metric, champion)
        assumed.append(f"{told}, as {_told(metric, _units(labelled))} of the last {PAST_DAYS} days have a label")
    return Past(
        spread=spread,
        rows_a_unit=together,
        rows_a_day=a_day,
        delay=wait,
        valued=valued,
        units=_units(every),
        assumed=tuple(assumed),
    )


def _asked(session: Session, model: str, version: int, since: int) -> Callable[[Prediction], bool]:
    """Whether callers asked for a row: not those of windows that ``run`` played, from its first row to its last."""
    path = session.workspace.root / "monitoring" / f"{model}.db"
    if not path.exists():
        return lambda row: True
    with Journal(path) as journal:
        played = journal.entries(version, since=since, counts=False)
    windows = sorted((each.start, each.stop) for each in played if each.name)

    def asked(row: Prediction) -> bool:
        at = micros(row.time) or 0
        place = bisect_right(windows, (at, math.inf)) - 1
        return place < 0 or at >= windows[place][1]

    return asked


def _check_entity(contract: Contract, entity: tuple[str, ...]) -> None:
    """Refuse columns that can tell too few things apart, as the rows that trained the model already say."""
    known = {each.name: each for each in contract.columns}
    counts = [2 if each.kind == "boolean" else len(each.categories) for name in entity if (each := known.get(name))]
    number = math.prod(counts)
    if entity and len(counts) == len(entity) and 0 < number < FEWEST_LABELS:
        raise _few(f"{', '.join(entity)}: {number} values in the rows that trained the model")


def _few(received: str) -> SettingInvalid:
    return SettingInvalid(
        "rows of an entity stay together, and by so few entities nothing is ever known",
        received=received,
        allowed=f"columns that tell at least {FEWEST_LABELS} entities apart, better some hundreds",
        next_step="name the column that says whom a row is about with --entity, or leave it out",
    )


def _units(unit: NDArray[np.intp]) -> int:
    return len(np.unique(unit))


def _told(metric: Metric, units: int) -> str:
    one, several = ("entity", "entities") if metric.entity else ("request", "requests")
    return f"{units:,} {one if units == 1 else several}"


def _together(units: NDArray[np.intp], metric: Metric) -> tuple[float, str]:
    """Rows of a unit; one where too few were seen to tell."""
    number = _units(units)
    if number >= FEWEST_LABELS:
        return len(units) / number, ""
    what = "an entity has one row" if metric.entity else "rows come one by one"
    return 1.0, f"{what}, as callers sent {_told(metric, number)} in the last {PAST_DAYS} days"


def _spread(unit: NDArray[np.intp], values: Floats) -> float:
    """The standard deviation of a unit: of one row, or of the influence of a request's or an entity's."""
    found = sequences.ratio(*sequences.by_entity(unit, values, np.ones(len(values))))
    return found.error * math.sqrt(found.units) if math.isfinite(found.error) else 0.0


def _rows_a_day(found: Exposed) -> tuple[float, str]:
    requests = len(np.unique(found.at))
    if requests < FEWEST_LABELS:
        told = f"as callers sent {requests} request{'' if requests == 1 else 's'} in the last {PAST_DAYS} days"
        return 0.0, f"how many rows come a day is not known, {told}: nobody can say how long it takes"
    days = (now() / 1e6 - float(found.at.min())) / _DAY
    if days < 1.0:
        return found.rows / max(days, 1 / 24), "rows a day are those of less than one day"
    return found.rows / days, ""


def _delay(found: Exposed, usable: NDArray[np.intp], said: float) -> tuple[float, str]:
    """The time that labels take: as the project says, else as they took it; 0 where too few came to tell."""
    if said:
        return said, ""
    if _units(found.unit[usable]) < FEWEST_LABELS:
        told = "how long labels take is not known, so a row counts as soon as its label comes"
        return 0.0, f"{told}; better say so in the project: label_delay"
    took = found.arrived[usable] - found.at[usable]
    return max(_LEAST_DELAY, float(np.quantile(took, NEARLY))) / _DAY, ""


def _valued(found: Exposed, delay: float) -> tuple[float, str]:
    """The share of the rows that had their time and have a value: only these count."""
    due = found.at <= now() / 1e6 - delay * _DAY
    valued = int(np.isfinite(found.arrived[due]).sum())
    if valued and delay:
        return valued / int(due.sum()), ""
    told = f"only {valued:,}" if valued else "none"
    return 1.0, f"each row gets a label, as {told} of {int(due.sum()):,} that had their time has one"


def _reported(session: Session, model: str, measuring: Measuring, metric: Metric, champion: int) -> tuple[float, str]:
    """The spread that the champion's report leaves to see, else the largest that a share can have."""
    report = session.recall(find(session, model, champion).report, Report)
    measure = report.measure(metric.name)
    if metric.kind == "proportion":
        return 0.5, "a share strays as far as a share can (0.5)"
    if measure is not None and measure.low is not None and measure.high is not None and measure.n:
        spread = (measure.high - measure.low) / 2 / 1.96 * math.sqrt(measure.n)
        if spread > 0:
            return spread, f"rows stray by {spread:.4g}, by the interval in the report of version {champion}"
    raise SettingInvalid(
        f"nothing tells how far {metric.name} strays from row to row, so no size can be planned",
        received=f"fewer than {FEWEST_LABELS} requests with a label to version {champion} in {PAST_DAYS} days",
        allowed=", ".join(measuring.names),
        next_step="wait for labels, or choose a metric that the report of the champion has",
    )
