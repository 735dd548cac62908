"""The plan of an experiment: what would matter, what rows of the past tell, and how long it will take."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from fullcircle.errors import FullcircleError, SettingInvalid
from fullcircle.flows.experiment_past import PAST_DAYS, past_of
from fullcircle.flows.exposed import EVENTS, FAILED, LABEL, SLOWER, Measuring
from fullcircle.flows.session import Session
from fullcircle.monitoring.grid import iso, micros, now
from fullcircle.stats import planning
from fullcircle.stats.planning import Noise
from fullcircle.types.durations import duration
from fullcircle.types.experiments import Arm, Guardrail, Metric, Plan

FLOOR = 0.1
"""The least share of an arm that is learned. Below, exactness costs more than twice the rows (see the docs)."""
_SUCH = {"alpha": "0.05", "power": "0.8", "share": "50%"}
_GUARD = re.compile(r"\s*([^<>=]+?)\s*<=\s*([0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)\s*(%|x)?\s*")


def share_of(text: str) -> float:
    """A share such as "50%" or "0.5". Raises SettingInvalid."""
    percent = text.strip().endswith("%")
    try:
        found = float(text.strip().removesuffix("%")) / (100.0 if percent else 1.0)
    except ValueError:
        found = math.nan
    if 0.0 < found < 1.0:
        return found
    raise SettingInvalid(
        "the share is none",
        received=ascii(text[:40]),
        allowed="above 0% and below 100%, such as 50% or 0.5",
        next_step="say --share 50%",
    )


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
    past = past_of(session, model, measuring, metric, both[0], delay)
    kind: Any = "paired" if wanted.shadow else "ratio" if past.rows_a_unit > 1 or wanted.entity else metric.kind
    metric = replace(metric, kind=kind)
    noise, assumed = _noise(past.spread, metric, wanted.share)
    size = planning.size(wanted.effect, noise, wanted.alpha, wanted.power)
    assumed = (*assumed, *_entities(measuring, metric, past.units, size))
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


def _noise(spread: float, metric: Metric, share: float) -> tuple[Noise, tuple[str, ...]]:
    if metric.kind == "paired":
        told = "both versions err independently of each other; where they err alike it takes fewer rows"
        return Noise(spread * math.sqrt(2.0)), (told,)
    return planning.two_arms(spread, share, exact=metric.kind != "ratio"), ()


def _entities(measuring: Measuring, metric: Metric, seen: int, needed: float) -> tuple[str, ...]:
    """What has to be so of the things that rows hang together by."""
    columns = [each.name for each in measuring.contract.columns if each.kind == "number"]
    broken = ", ".join(name for name in metric.entity if name in columns)
    told = f"rows of one thing have the same {broken} to the last digit, though that is a number with a fraction"
    found = (told,) if broken else ()
    if metric.entity and seen < needed:
        came = f"{seen:,} came in the last {PAST_DAYS} days, and {math.ceil(needed):,} are needed"
        found = (*found, f"new entities ({', '.join(metric.entity)}) go on coming: {came}")
    return found


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
