"""When retraining is due, and when it is too early for it.

An alarm asks once. It asks again, and another one of its kind asks for the first time, only when labelled rows came
that could teach something else: so a storm of alarms is no storm of trainings, their number grows with the logarithm
of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from fullcircle.types.durations import duration
from fullcircle.types.loop import Standing, Trigger
from fullcircle.types.monitoring import Alarm, Kind
from fullcircle.types.project import Retrain

FEWEST = 30
"""So many labelled rows must have come since the last try before an alarm asks for another one."""
AGAIN = 2.0
"""Times as many labelled rows as at the last try, before an alarm that was answered asks again."""
ANEW = 1.25
"""Times as many, before an alarm that was raised since then asks."""
_HARM: tuple[Kind, ...] = ("risk", "estimate")
_DRIFT: tuple[Kind, ...] = ("drift",)
_NAMES = {"risk": "realised losses grew", "estimate": "the losses that the model expects grew", "drift": "drift"}


def due(standing: Standing, retrain: Retrain) -> Trigger | None:
    """Why to retrain at ``standing.at``: the first cause that holds of harm, drift, schedule and rows; None for none.

    harm is an open alarm of kind risk or estimate on this version, drift one of kind drift (what it is worth is
    weighed later). After a try on this champion an alarm that was answered asks again when there are twice as many
    labelled rows as then, one that was not when there are a quarter more; 30 more in both cases. schedule counts from
    when the champion was promoted or a training was last tried. rows counts the labelled rows since then. Where the
    last one was held without a training for want of rows, nothing asks before these have come.
    """
    if standing.labelled < standing.awaited:
        return None
    return (
        _alarmed(standing, retrain, "harm", _HARM)
        or _alarmed(standing, retrain, "drift", _DRIFT)
        or _scheduled(standing, retrain)
        or _enough_rows(standing, retrain)
    )


def cooling(standing: Standing, retrain: Retrain) -> str:
    """Why it is too early for another training, counted from the last try or promotion; "" where it is not."""
    pause, age = duration(retrain.cooldown), _moment(standing.at) - _last(standing)
    if age >= pause:
        return ""
    what = "a retraining was last tried" if _tried_last(standing) else f"version {standing.version} was promoted"
    return (
        f"too early: {what} {span(age)} ago and the project's cooldown is {retrain.cooldown}; "
        f"over at {_iso(_last(standing) + pause)}"
    )


def later(labelled: int, times: float) -> int:
    """So many times as many labelled rows, and 30 more at least: before that little can have changed."""
    return max(math.ceil(times * labelled), labelled + FEWEST)


def span(time: timedelta) -> str:
    """A span of time in words: "3.0 hours", "12.5 days"."""
    hours = time.total_seconds() / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"


def _alarmed(standing: Standing, retrain: Retrain, cause: str, kinds: tuple[Kind, ...]) -> Trigger | None:
    if cause not in retrain.triggers:
        return None
    opened = [each for each in standing.alarms if each.kind in kinds and each.state != "resolved"]
    asking = [each for each in opened if each.version == standing.version and _asks(standing, each)]
    if not asking:
        return None
    asking.sort(key=lambda each: (kinds.index(each.kind), each.since, each.id))
    again = [each.id for each in asking if each.id in standing.answered]
    reason = f"{cause}: {'; '.join(_told(asking))}"
    if standing.tried:
        came = standing.labelled - standing.tried_rows
        reason += (
            f"; {came:,} labelled rows came since the last try at {standing.tried} ({standing.tried_rows:,} then)"
        )
        reason += ", which answered it already" if len(again) == len(asking) else ""
    return Trigger(
        cause="harm" if cause == "harm" else "drift",
        reason=reason,
        since=min(each.since for each in asking),
        alarms=tuple(each.id for each in asking),
    )


def _asks(standing: Standing, alarm: Alarm) -> bool:
    if not standing.tried:
        return True
    times = AGAIN if alarm.id in standing.answered else ANEW
    return standing.labelled >= later(standing.tried_rows, times)


def _told(alarms: Iterable[Alarm]) -> list[str]:
    return [f"{_NAMES[each.kind]} since {each.since} (alarm {each.id}: {each.text})" for each in alarms]


def _scheduled(standing: Standing, retrain: Retrain) -> Trigger | None:
    if not retrain.schedule:
        return None
    every, last = duration(retrain.schedule), _last(standing)
    if _moment(standing.at) - last < every:
        return None
    what = "the last try was" if _tried_last(standing) else f"version {standing.version} was promoted"
    reason = (
        f"schedule: {what} {span(_moment(standing.at) - last)} ago, and the project retrains every {retrain.schedule}"
    )
    return Trigger(cause="schedule", reason=reason, since=_iso(last + every))


def _enough_rows(standing: Standing, retrain: Retrain) -> Trigger | None:
    came = standing.labelled - standing.tried_rows
    if not retrain.rows or came < retrain.rows:
        return None
    since = "the last try" if standing.tried else f"version {standing.version} was made"
    return Trigger(
        cause="rows",
        reason=f"rows: {came:,} new labelled rows since {since}, and the project asks for {retrain.rows:,}",
    )


def _tried_last(standing: Standing) -> bool:
    return bool(standing.tried) and _moment(standing.tried) >= _moment(standing.promoted)


def _last(standing: Standing) -> datetime:
    return _moment(standing.tried if _tried_last(standing) else standing.promoted)


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
