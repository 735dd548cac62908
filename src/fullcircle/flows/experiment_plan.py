"""The plan of an experiment: what would matter, what rows of the past tell, and how long it will take."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fullcircle.errors import FullcircleError, SettingInvalid
from fullcircle.flows.exposed import EVENTS, FAILED, LABEL, SLOWER, Exposed, Measuring, gathered
from fullcircle.flows.quality import FEWEST_LABELS
from fullcircle.flows.session import Session
from fullcircle.flows.versions import find
from fullcircle.monitoring.grid import iso, micros, now
from fullcircle.stats import planning, sequences
from fullcircle.stats.planning import Noise
from fullcircle.tables import predictions as log
from fullcircle.types.durations import duration
from fullcircle.types.experiments import Arm, Guardrail, Metric, Plan
from fullcircle.types.report import Report

PAST_DAYS = 28
"""Four whole weeks: what a day of the week does weighs the same for each."""
FLOOR = 0.1
"""The least share of an arm that is learned. Below, exactness costs more than twice the rows (see the docs)."""
NEARLY = 0.95
"""Of the labels that came so far, so many came within the time that is waited where the project says none."""
_LEAST_DELAY = 1.0  # seconds: whether a label came in time must be clear from times in microseconds
_DAY = 86_400.0
_SUCH = {"alpha": "0.05", "power": "0.8", "share": "50%"}
_GUARD = re.compile(r"\s*([^<>=]+?)\s*<=\s*([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)\s*(%|x)?\s*")


def share_of(text: str) -> float:
    """A share such as "50%" or "0.5". Raises SettingInvalid."""
    percent = text.strip().endswith("%")
    try:
        return float(text.strip().removesuffix("%")) / (100.0 if percent else 1.0)
    except ValueError as error:
        raise SettingInvalid(
            "the share cannot be read",
            received=ascii(text[:40]),
            allowed="such as 50% or 0.5",
            next_step="say --share 50%",
        ) from error


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a person says of an experiment."""

    metric: str
    effect: float
    share: float
    alpha: float
    power: float
    guardrails: tuple[str, ...]
    until: str
    entity: tuple[str, ...]
    shadow: bool
    thompson: bool


@dataclass(frozen=True, kw_only=True)
class Past:
    """What the log tells: a unit's standard deviation, rows in a unit, rows a day (0: nobody can say).

    ``delay`` is the time of labels in days, ``valued`` the share of the rows that had it and have a value.
    """

    spread: float
    rows_a_unit: float
    rows_a_day: float
    delay: float
    valued: float
    assumed: tuple[str, ...]


def plan_of(
    session: Session, model: str, measuring: Measuring, both: tuple[int, int], delay: float, wanted: Wanted
) -> Plan:
    """The plan of ``both``, the champion first. Raises SettingInvalid.

    ``delay`` is that of labels in days as the project has it; where it says none, it is what they took so far.
    """
    _check(wanted)
    rails = tuple(guardrail(text, measuring, wanted.shadow) for text in wanted.guardrails)
    metric = replace(measuring.metric(wanted.metric), entity=wanted.entity)
    if wanted.shadow and metric.name == LABEL:
        raise SettingInvalid(
            "what happened is the same for both versions where both answer the same row",
            received=f"--metric {LABEL} with --shadow",
            allowed=", ".join(name for name in measuring.names if name != LABEL),
            next_step="choose a metric of the answer, or leave --shadow out",
        )
    past = _past(session, model, measuring, metric, both[0], delay)
    kind: Any = "paired" if wanted.shadow else "ratio" if past.rows_a_unit > 1 or wanted.entity else metric.kind
    metric = replace(metric, kind=kind)
    noise, assumed = _noise(past.spread, metric, wanted.share)
    size = planning.size(wanted.effect, noise, wanted.alpha, wanted.power)
    likely = planning.likely(wanted.effect, noise, size, wanted.alpha)
    rows, half = (math.ceil(each * past.rows_a_unit) for each in (size, likely))
    a_day = past.rows_a_day * past.valued
    days = [None if a_day <= 0 else each / a_day + past.delay for each in (rows, half)]
    shares = (1.0, 1.0) if wanted.shadow else (1.0 - wanted.share, wanted.share)
    return Plan(
        model=model,
        metric=metric,
        arms=tuple(Arm(version=number, share=share) for number, share in zip(both, shares, strict=True)),
        effect=wanted.effect,
        spread=past.spread * (math.sqrt(2.0) if wanted.shadow else 1.0),
        alpha=wanted.alpha,
        power=wanted.power,
        guardrails=rails,
        rows=rows,
        likely_rows=half,
        rows_a_day=past.rows_a_day,
        days=days[0],
        likely_days=days[1],
        rows_a_unit=past.rows_a_unit,
        valued=past.valued,
        label_delay_days=past.delay,
        floor=FLOOR if wanted.thompson else None,
        until=_moment(wanted.until),
        assumed=(*past.assumed, *assumed),
    )


def guardrail(text: str, measuring: Measuring, shadow: bool) -> Guardrail:
    """Read a guardrail such as "rejected<=1%", "fallback<=2x", "slower:200ms<=5%" or "mae<=0.1" (so much worse)."""
    match = _GUARD.fullmatch(text)
    # A shadow has nobody who stands in for it, and what happened is the same for both.
    known = [name for name in EVENTS if not (shadow and name == FAILED)]
    names = [name for name in measuring.names if not (shadow and name == LABEL)]
    if match is not None:
        name, limit, kind = match[1], float(match[2]), match[3]
        event = name in known or (name.startswith(SLOWER) and _is_span(name.removeprefix(SLOWER)))
        if event and kind == "%" and 0 < limit < 100:
            return Guardrail(name=name, kind="rate", limit=limit / 100)
        if event and kind == "x" and limit > 0 and not shadow:
            return Guardrail(name=name, kind="times", limit=limit)
        if name in names and kind is None:
            return Guardrail(name=name, kind="margin", limit=limit, better=measuring.metric(name).better)
    raise SettingInvalid(
        "this is no guardrail of such an experiment",
        received=text,
        allowed=f"EVENT<=1% (of its rows) or, of a split, EVENT<=2x (times the champion's) with EVENT one of "
        f"{', '.join(known)} and slower:200ms; METRIC<=0.1 (worse by so much) with {', '.join(names)}",
        next_step="say for example --guardrail rejected<=1%",
    )


def _is_span(text: str) -> bool:
    try:
        return duration(text).total_seconds() > 0
    except FullcircleError:
        return False


def _check(wanted: Wanted) -> None:
    """Refuse what cannot be meant together."""
    if wanted.thompson and (wanted.shadow or wanted.entity or not FLOOR <= wanted.share <= 1.0 - FLOOR):
        raise SettingInvalid(
            "shares are learned only where chance deals every request anew",
            received="--thompson with " + ("--shadow" if wanted.shadow else "--entity or a share beyond the floor"),
            allowed=f"a split without --entity, begun with a share from {FLOOR:.0%} to {1 - FLOOR:.0%}",
            next_step="leave one of them out",
        )
    for name, value in (("alpha", wanted.alpha), ("power", wanted.power), ("share", wanted.share)):
        if not 0.0 < value < 1.0:
            raise SettingInvalid(f"the {name} is none", received=value, allowed="above 0 and below 1",
                                 next_step=f"say such as --{name} {_SUCH[name]}")  # fmt: skip
    if not (wanted.effect > 0.0 and math.isfinite(wanted.effect)):
        raise SettingInvalid(
            "an experiment needs the least difference that would matter",
            received=wanted.effect,
            allowed="a number above 0, in the unit of the metric",
            next_step="say --effect: what would you act on?",
        )


def _past(session: Session, model: str, measuring: Measuring, metric: Metric, champion: int, delay: float) -> Past:
    """From the champion's rows of the last weeks; where there are too few, from its report."""
    begin = now() - PAST_DAYS * round(_DAY) * 1_000_000
    folder = session.workspace.predictions
    rows = log.read(folder, model, since=iso(begin), version=champion)
    found = gathered(rows, log.read_outcomes(folder, model), measuring, [metric.name], entity=metric.entity)
    values = found.values[metric.name]
    usable = np.flatnonzero(np.isfinite(values))
    enough = len(usable) >= FEWEST_LABELS
    units = found.unit[usable] if enough else found.unit
    took = found.arrived[usable] - found.at[usable]
    delay = delay or max(_LEAST_DELAY, float(np.quantile(took, NEARLY)) if len(took) else 0.0) / _DAY
    a_day, assumed = _rows_a_day(found)
    valued, doubtful = _valued(found, delay)
    assumed = (*assumed, *doubtful)
    known = {
        "rows_a_unit": len(units) / len(np.unique(units)) if len(units) else 1.0,
        "rows_a_day": a_day,
        "delay": delay,
        "valued": valued,
    }
    spread = _spread(units, values[usable]) if enough else 0.0
    if spread > 0:
        return Past(spread=spread, assumed=assumed, **known)
    spread, told = _reported(session, model, measuring, metric, champion)
    told = f"{told}, as {len(usable)} rows of the last {PAST_DAYS} days have a label"
    return Past(spread=spread, assumed=(*assumed, told), **known)


def _spread(unit: Any, values: Any) -> float:
    """The standard deviation of a unit: of one row, or of the influence of a request's or an entity's."""
    found = sequences.ratio(*sequences.by_entity(unit, values, np.ones(len(values))))
    return found.error * math.sqrt(found.units) if math.isfinite(found.error) else 0.0


def _rows_a_day(found: Exposed) -> tuple[float, tuple[str, ...]]:
    if found.rows < 2:
        return 0.0, ("how many rows come a day is not known: nobody can say how long it takes",)
    days = (now() / 1e6 - float(found.at.min())) / _DAY
    if days < 1.0:
        return found.rows / max(days, 1 / 24), ("rows a day are those of less than one day",)
    return found.rows / days, ()


def _valued(found: Exposed, delay: float) -> tuple[float, tuple[str, ...]]:
    """The share of the rows that had their time and have a value: only these count."""
    due = found.at <= now() / 1e6 - delay * _DAY
    valued = int(np.isfinite(found.arrived[due]).sum())
    if valued:
        return valued / int(due.sum()), ()
    return 1.0, (f"each row gets a label, as none of {int(due.sum()):,} that had their time has one",)


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
        received=f"no {FEWEST_LABELS} labelled rows of version {champion} in the last {PAST_DAYS} days",
        allowed=", ".join(measuring.names),
        next_step="wait for labels, or choose a metric that the report of the champion has",
    )


def _noise(spread: float, metric: Metric, share: float) -> tuple[Noise, tuple[str, ...]]:
    if metric.kind == "paired":
        told = "both versions err independently of each other; where they err alike it takes fewer rows"
        return Noise(spread * math.sqrt(2.0)), (told,)
    return planning.two_arms(spread, share, exact=metric.kind != "ratio"), ()


def _moment(text: str) -> str:
    """A time, or a span from now, as a time; "" stays."""
    if not text:
        return ""
    found = micros(text)
    if found is None and _is_span(text):
        found = now() + round(duration(text).total_seconds() * 1e6)
    if found is None or found <= now():
        raise SettingInvalid(
            "until when is not clear",
            received=text,
            allowed='a UTC time to come (ISO 8601), or a span from now such as "14d"',
            next_step="say --until 14d",
        )
    return iso(found)
