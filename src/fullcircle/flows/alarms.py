"""Alarms: which there are, taking one on, and telling those whom the project names.

What is to be told waits in the journal's outbox until it is delivered: at least once. A message is sent again only
where its channel did not take it, or where the process died between the sending and the note of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import AlarmNotFound, SettingInvalid, VersionNotFound, WorkspaceBusy
from fullcircle.flows.judging import record_facts
from fullcircle.flows.session import Session, loaded, model_name, opened
from fullcircle.ledger.bodies import checked
from fullcircle.ledger.folder import locked
from fullcircle.monitoring import alarms as policy
from fullcircle.monitoring import channels
from fullcircle.monitoring.alarms import Message
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.grid import now as present
from fullcircle.monitoring.journal import Due, Journal
from fullcircle.monitoring.sending import STUBBORN, Letter, send
from fullcircle.settings import Settings
from fullcircle.types.monitoring import Alarm
from fullcircle.types.project import Monitor

SECONDS = 30.0  # for all that is sent in one turn; the addresses do not wait for each other
_SECOND = 1_000_000
_FIRST, _LONGEST = 60, 3600  # seconds until a message is tried again: after the first failure, and at most
_EVER = 2**62
_SHOWN = 200  # characters of an address in a fact
_STANDING = "standing"
_NUMBER_STANDING = 0  # the outbox counts from 1


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """Alarms of a model, the latest first, and how many messages about them wait to be delivered."""

    model: str
    alarms: tuple[Alarm, ...]
    waiting: int = 0


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An address, as far as it may be shown, and "" or why a test message did not arrive there."""

    address: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What became of a test message, for each address."""

    model: str
    addresses: tuple[Tried, ...]

    @property
    def well(self) -> bool:
        """Whether it arrived everywhere."""
        return not any(each.problem for each in self.addresses)


def list_alarms(
    project: str | Path | LoadedProject, *, resolved: bool = False, settings: Settings | None = None
) -> Alarms:
    """The alarms of a model that are open; with ``resolved`` all that there ever were."""
    with opened(settings, create=False) as session:
        model = _known(session, project)
        path = _path(session, model)
        if not path.exists():
            return Alarms(model=model, alarms=())
        with Journal(path) as journal:
            found = [each for each in journal.alarms() if resolved or each.state != "resolved"]
            return Alarms(model=model, alarms=tuple(reversed(found)), waiting=journal.undelivered())


def acknowledge(
    project: str | Path | LoadedProject, alarm: str, *, reason: str, settings: Settings | None = None
) -> Alarm:
    """Take an alarm on: nobody is told of it again before it resolves. A second time changes nothing.

    Raises AlarmNotFound where the model has no alarm of this id, StateConflict where it has resolved, and FactInvalid
    for a reason that the ledger cannot hold.
    """
    with opened(settings, create=False) as session:
        model, by = _known(session, project), session.workspace.ledger.actor
        path = _path(session, model)
        if not path.exists():
            raise _no_alarm(model, alarm, ())
        with Journal(path) as journal:
            with journal.step():
                known = {each.id: each for each in journal.alarms()}
                if alarm not in known:
                    raise _no_alarm(model, alarm, tuple(known.values()))
                taken = policy.acknowledge(known[alarm], by)
                if taken != known[alarm]:
                    journal.raise_alarms([taken])
                    body = {"workspace": session.workspace.id, "model": model, "version": taken.version}
                    body |= {"alarm": alarm, "reason": reason}
                    checked("alarm.acknowledged", body)
                    journal.note_fact("alarm.acknowledged", body)
            record_facts(session, journal)
            return taken


def try_addresses(project: str | Path | LoadedProject, *, settings: Settings | None = None) -> Trial:
    """Send a test message to every address that the project names, and tell where it arrived.

    Needs no workspace. Raises SettingInvalid where the project names none.
    """
    found = loaded(project).project
    addresses = list(dict.fromkeys(found.monitor.notify))
    if not addresses:
        raise SettingInvalid(
            "the project names nobody who is to be told of alarms",
            received=found.name,
            next_step='name addresses in the project: monitor=fc.Monitor(notify=["mailto://..."])',
        )
    message = policy.trial(found.name, iso(present()))
    said = {
        address: why for address, _, why in send({each: [(0, message, 0)] for each in addresses}, seconds=SECONDS)
    }
    tried = (Tried(address=channels.masked(each), problem=said.get(each, "")) for each in addresses)
    return Trial(model=found.name, addresses=tuple(tried))


def deliver_in(
    session: Session,
    journal: Journal,
    model: str,
    *,
    monitor: Monitor | None = None,
    now: int | None = None,
    seconds: float = SECONDS,
) -> tuple[str, ...]:
    """Send what waits in a journal's outbox and is due, outside a step. Returns in words what did not arrive.

    With ``monitor`` open alarms are held open where they would be forgotten else (Alertmanager), and what waits for
    an address that it does not name is dropped, which is a fact in the ledger and is said. Where another
    process is sending, nothing is done. A channel that fails makes nothing else fail; its messages are tried again a
    minute later, then after 2, 4 and so on, at most an hour.
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(_path(session, model).with_suffix(".sending.lock"), 0.0))
        except WorkspaceBusy:
            return ()
        gone = () if monitor is None else _withdrawn(session, journal, model, monitor)
        return (*gone, *_deliver(journal, monitor, present() if now is None else now, seconds))


def _withdrawn(session: Session, journal: Journal, model: str, monitor: Monitor) -> tuple[str, ...]:
    """Drop what waits for addresses that the project no longer names, with a fact and a line for each of them."""
    lots: dict[tuple[str, str], list[Due]] = {}
    for each in journal.due(_EVER):
        if each.address not in monitor.notify:
            alarm = str(policy.decode(each.message).alarm.get("id", ""))
            lots.setdefault((channels.masked(each.address), alarm), []).append(each)
    for (address, alarm), lot in lots.items():
        session.record(
            "alarm.untold",
            workspace=session.workspace.id,
            model=model,
            alarm=alarm,
            address=address[:_SHOWN],
            messages=len(lot),
            reason="the project no longer names this address",
        )
        for each in lot:
            journal.delivered(each.id)
    counts: dict[str, int] = {}
    for (address, _), lot in lots.items():
        counts[address] = counts.get(address, 0) + len(lot)
    return tuple(
        f"alarms were not told at {address}, which the project no longer names: {count} dropped"
        for address, count in counts.items()
    )


def _deliver(journal: Journal, monitor: Monitor | None, now: int, seconds: float) -> tuple[str, ...]:
    waiting = journal.due(_EVER)
    letters = _letters(waiting, {each.id for each in journal.due(now)})
    held = {each.address for each in waiting}
    if monitor is not None:
        letters |= _standing(journal, monitor, now, held)
    attempts = {each.id: each.attempts for each in waiting}
    problems = []
    for address, number, why in send(letters, seconds=seconds):
        if number > _NUMBER_STANDING:
            if not why:
                journal.delivered(number)
                continue
            pause = min(_FIRST * 2 ** min(attempts[number], 10), _LONGEST)
            journal.failed(number, now + pause * _SECOND)
        if why:
            problems.append(f"alarms could not be told at {channels.masked(address)}: {why}")
    return tuple(dict.fromkeys(problems))


def _letters(waiting: Sequence[Due], due: set[int]) -> dict[str, list[Letter]]:
    """What is to be sent now, by address, in order: an address whose first message is put off is left alone."""
    letters: dict[str, list[Letter]] = {}
    put_off = set()
    for each in waiting:
        if each.id not in due and each.attempts <= STUBBORN:
            put_off.add(each.address)
        elif each.id in due and each.address not in put_off:
            letters.setdefault(each.address, []).append((each.id, policy.decode(each.message), each.attempts))
    return letters


def _standing(journal: Journal, monitor: Monitor, now: int, held: set[str]) -> dict[str, list[Letter]]:
    """Messages that hold open alarms open, at most once a minute, where nothing else is still to be told."""
    addresses = [each for each in dict.fromkeys(monitor.notify) if each not in held and channels.standing(each)]
    last = journal.get(_STANDING)
    if not addresses or (last is not None and 0 <= now - int(last) < _FIRST * _SECOND):
        return {}
    open_ones = [each for each in journal.alarms() if each.state != "resolved" and each.told]
    if not open_ones:
        return {}
    with journal.step():
        journal.put(_STANDING, now)
    messages: list[Message] = [policy.standing(each, monitor, iso(now)) for each in open_ones]
    return {address: [(_NUMBER_STANDING, message, 0) for message in messages] for address in addresses}


def _path(session: Session, model: str) -> Path:
    return session.folder("monitoring") / f"{model}.db"


def _known(session: Session, project: str | Path | LoadedProject) -> str:
    """The model's name. Raises VersionNotFound for one that this workspace knows nothing of."""
    model, versions = model_name(session, project), session.workspace.ledger.state().versions
    if model not in versions:
        raise VersionNotFound(
            f"{model} has no version here, and so no alarms",
            received=model,
            allowed=", ".join(versions) or "none yet",
            next_step="run the project: fullcircle run PROJECT",
        )
    return model


def _no_alarm(model: str, alarm: str, known: Sequence[Alarm]) -> AlarmNotFound:
    open_ones = [each.id for each in known if each.state != "resolved"]
    return AlarmNotFound(
        f"{model} has no alarm of this id",
        received=alarm,
        allowed=", ".join(open_ones) or "none is open",
        next_step=f"see them: fullcircle alarms list {model} --all",
    )
