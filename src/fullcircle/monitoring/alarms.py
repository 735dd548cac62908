"""What becomes of evidence: alarms are opened, go on, are told, and resolve by themselves. Nothing here does I/O.

Harm is a page (risk: realised losses grew; estimate: the losses that the model itself expects grew), a column that
moved is a ticket. At most one alarm of a model, version and kind is open at a time; evidence that comes meanwhile
goes to it. Times are those of the batches, so that the same batches always give the same alarms and messages.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from typing import Any, Literal

import msgspec

from fullcircle.errors import StateConflict
from fullcircle.monitoring import alarmwords
from fullcircle.types.durations import duration
from fullcircle.types.monitoring import Alarm, Evidence, Kind, Suspect
from fullcircle.types.project import Monitor

Event = Literal["raised", "still", "resolved", "test"]


@dataclass(frozen=True, kw_only=True)
class Message:
    """What is told of an alarm, in plain text; as JSON it is the body that a webhook gets.

    ``id`` is the same each time the same message is sent, so that whoever gets it twice can drop one. ``event`` is
    raised, still (it is open, and nobody acknowledged it), resolved or test. ``hold`` is how many seconds the alarm
    is to be held open by whoever forgets alarms that are not told again. ``alarm`` is the alarm as JSON has it.
    """

    id: str
    event: Event
    at: str
    severity: str
    title: str
    text: str
    hold: float = 0.0
    alarm: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The alarms as they are now, those that were given and the new ones, and the messages to be told, as JSON."""

    alarms: tuple[Alarm, ...]
    messages: tuple[str, ...] = ()


def follow(
    alarms: Sequence[Alarm],
    evidence: Sequence[Evidence],
    *,
    at: str,
    model: str,
    version: int,
    monitor: Monitor,
    costs: Mapping[Kind, float] | None = None,
    currency: str = "",
    link: str = "",
    since: Mapping[Kind, str] | None = None,
    taken: Collection[str] = (),
) -> Followed:
    """Bring the alarms of a model up to the evidence of one more batch of a version, which ended ``at`` (UTC).

    ``alarms`` are all that there are of the model, also resolved ones: ids count on from these. ``costs`` is what the
    change probably costs a day, by kind, ``since`` when it is thought to have begun. Ids that are ``taken`` are not
    given again. Alarms of other versions stay as they are.
    """
    found, messages = list(alarms), []
    for said in evidence:
        place = _open(found, version, said.kind)
        if place is None:
            if not said.fired:
                continue
            alarm = _opened(found, said, at, model, version, monitor, link, taken)
            found.append(replace(alarm, since=(since or {}).get(said.kind, alarm.since)))
            place = len(found) - 1
        else:
            found[place] = _gone_on(found[place], said, at, monitor)
        alarm = found[place]
        if costs and said.kind in costs and alarm.state != "resolved":
            alarm = replace(alarm, cost=costs[said.kind], currency=currency)
        found[place], event = _tell(alarm, monitor)
        if event:
            messages.append((place, event))
    texts = (_message(found[place], event, monitor, _beside(found, found[place])) for place, event in messages)
    return Followed(alarms=tuple(found), messages=tuple(encode(text) for text in texts))


def retire(alarms: Sequence[Alarm], *, at: str, monitor: Monitor, champion: int) -> Followed:
    """Resolve the open alarms of every version but the champion: nothing more will be known of them."""
    found, messages = list(alarms), []
    for place, alarm in enumerate(found):
        if alarm.version != champion and alarm.state != "resolved":
            moment = max(at, alarm.updated)
            found[place] = replace(alarm, state="resolved", updated=moment, resolved=moment)
            if alarm.told:
                messages.append(encode(_message(found[place], "resolved", monitor, (), champion)))
    return Followed(alarms=tuple(found), messages=tuple(messages))


def acknowledge(alarm: Alarm, by: str) -> Alarm:
    """The alarm as somebody took it on: it is told no more before it resolves. A second time changes nothing.

    Raises StateConflict where it is resolved.
    """
    if alarm.state == "resolved":
        raise StateConflict(
            "the alarm has resolved by itself; there is nothing to acknowledge",
            received=alarm.id,
            allowed="an alarm that is open",
            next_step="see which are open: fullcircle alarms list PROJECT",
        )
    return alarm if alarm.state == "acknowledged" else replace(alarm, state="acknowledged", acknowledged_by=by)


def standing(alarm: Alarm, monitor: Monitor, at: str) -> Message:
    """An open alarm as a message that only keeps it open where it was told before."""
    return replace(_message(alarm, "still", monitor, ()), at=at)


def trial(model: str, at: str) -> Message:
    """A message that only shows that an address works."""
    return Message(
        id=f"{model}/test/{at}", event="test", at=at, severity="test", title=f"[test] {model}: this address works",
        text=f"This is a test of fullcircle: alarms of {model} will be told here. Nothing is wrong.",
        hold=60.0,
    )  # fmt: skip


def encode(message: Message) -> str:
    """A message as JSON."""
    return msgspec.json.encode(message).decode()


def decode(text: str) -> Message:
    """A message that ``encode`` wrote."""
    return msgspec.json.decode(text, type=Message)


def _open(alarms: Sequence[Alarm], version: int, kind: Kind) -> int | None:
    places = (place for place, each in enumerate(alarms) if (each.version, each.kind) == (version, kind))
    return next((place for place in places if alarms[place].state != "resolved"), None)


def _opened(
    alarms: Sequence[Alarm], said: Evidence, at: str, model: str, version: int, monitor: Monitor, link: str,
    taken: Collection[str],
) -> Alarm:  # fmt: skip
    number = 1 + sum((each.model, each.version, each.kind) == (model, version, said.kind) for each in alarms)
    ids = (f"{model}-{version}-{said.kind}-{each}" for each in count(number))
    known = {each.id for each in alarms}
    return Alarm(
        id=next(each for each in ids if each not in taken and each not in known),
        model=model,
        version=version,
        kind=said.kind,
        severity="ticket" if said.kind == "drift" else "page",
        state="open",
        since=_before(at, (said.begun + 1) * duration(monitor.window)),
        opened=at,
        updated=at,
        text=alarmwords.what(said.kind, said.suspects),
        sure=alarmwords.sure(said.kind, monitor),
        advice=alarmwords.advice(said.kind, said.suspects, model),
        link=link,
        suspects=said.suspects,
        on=(True,),
    )


def _gone_on(alarm: Alarm, said: Evidence, at: str, monitor: Monitor) -> Alarm:
    """The alarm after one more batch: suspects that are away join it, those that came back leave it."""
    at = max(at, alarm.updated)
    on = said.fired or bool(said.suspects)
    if not on:
        held = _last((*alarm.on, False), monitor)
        if alarm.state == "open" and not alarm.told and any(held[1 - monitor.confirmed_by[1] :]):
            return replace(alarm, updated=at, on=held)  # M of N batches can still come together
        return replace(alarm, state="resolved", updated=at, resolved=at, on=held)
    suspects = {each.feature: each for each in alarm.suspects if each.feature not in said.returned}
    suspects |= {each.feature: _told_before(each, suspects.get(each.feature)) for each in said.suspects}
    ordered = tuple(sorted(suspects.values(), key=lambda each: (not each.certain, -each.evidence, each.feature)))
    return replace(
        alarm,
        updated=at,
        batches=alarm.batches + 1,
        suspects=ordered,
        text=alarmwords.what(alarm.kind, ordered),
        sure=alarmwords.sure(alarm.kind, monitor),
        advice=alarmwords.advice(alarm.kind, ordered, alarm.model),
        on=_last((*alarm.on, True), monitor),
    )


def _told_before(now: Suspect, before: Suspect | None) -> Suspect:
    """A suspect with what was said of it when it was named, where nothing new is said."""
    if before is None or now.text or now.guess:
        return now
    return replace(now, text=before.text, guess=before.guess)


def _last(on: tuple[bool, ...], monitor: Monitor) -> tuple[bool, ...]:
    return on[-monitor.confirmed_by[1] :]


def _tell(alarm: Alarm, monitor: Monitor) -> tuple[Alarm, Event | None]:
    """Whether somebody is to be told now, and the alarm with that noted. What nobody was told of ends in silence."""
    if alarm.state == "resolved":
        return alarm, "resolved" if alarm.told else None
    if not alarm.told:
        confirmed = sum(alarm.on) >= monitor.confirmed_by[0] and alarm.state == "open"
        return (replace(alarm, told=alarm.updated), "raised") if confirmed else (alarm, None)
    due = _time(alarm.updated) - _time(alarm.told) >= duration(monitor.cooldown)
    if due and alarm.state == "open" and alarm.updated > alarm.told:
        return replace(alarm, told=alarm.updated), "still"
    return alarm, None


def _beside(alarms: Sequence[Alarm], alarm: Alarm) -> tuple[Alarm, ...]:
    """The other open alarms of the same version: drift beside harm is often its cause."""
    return tuple(
        each for each in alarms if each.id != alarm.id and each.version == alarm.version and each.state != "resolved"
    )


def _message(
    alarm: Alarm, event: Event, monitor: Monitor, beside: Sequence[Alarm], champion: int | None = None
) -> Message:
    return Message(
        id=f"{alarm.id}/{event}/{alarm.updated}",
        event=event,
        at=alarm.updated,
        severity=alarm.severity,
        title=alarmwords.title(alarm, event),
        text=alarmwords.body(alarm, event, beside, champion=champion),
        hold=max(2 * duration(monitor.window).total_seconds(), 3600.0),
        alarm=msgspec.json.decode(msgspec.json.encode(alarm)),
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _before(at: str, span: timedelta) -> str:
    """``at`` less a span, not before 1970, in the same form."""
    moment = _time(at)
    earliest = datetime(1970, 1, 1, tzinfo=moment.tzinfo)
    found = moment - span if span < moment - earliest else earliest
    text = found.isoformat(timespec="microseconds" if "." in at else "seconds")
    return text.removesuffix("+00:00") + "Z" if at.endswith("Z") else text
