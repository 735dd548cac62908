"""The page of a model in production: put together from the journal, the log, and the ledger, and written to a file.

It only reads. What it shows of columns, evidence and alarms was counted by turns of monitoring; quality and traffic
are worked out from the log when the page is made, so that a label that came late is in it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fullcircle.development.loading import LoadedProject
from fullcircle.flows import past, quality, steps, versions
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.monitoring import service, stretches, words
from fullcircle.monitoring.engine import Watch
from fullcircle.monitoring.grid import iso, now
from fullcircle.monitoring.journal import Entry, Journal
from fullcircle.packaging.bundle import Bundle
from fullcircle.settings import Settings
from fullcircle.tables import predictions, requests
from fullcircle.types.monitoring import Alarm, Decision, Monitored, Profile, Suspect
from fullcircle.types.project import Monitor, Project
from fullcircle.types.report import Measure

_DECISIONS = 20  # the latest ones
_RESOLVED = 50  # of alarms: the latest ones


def page(project: str | Path | LoadedProject, *, settings: Settings | None = None) -> Path:
    """Write the page of a project's champion to WORKSPACE/pages/MODEL-monitor.html, and return where it is.

    It takes no turn: run ``monitor`` before, for what is new. Raises VersionNotFound where the model has no champion
    and MissingExtra where Jinja2 is not installed.
    """
    source = loaded(project)
    with opened(settings, create=False) as session, source.active():
        return page_in(session, source.project, code=source.code)


def page_in(session: Session, project: Project, *, journal: Journal | None = None, code: str = "") -> Path:
    """The same within an open session, from an open journal where there is one."""
    from fullcircle.flows.pages import render_monitored

    shown = monitored_in(session, project, journal=journal, code=code)
    text = render_monitored(shown, steps=steps.decided(session, project.name, shown.decisions))
    path = session.folder("pages") / f"{project.name}-monitor.html"
    beside = path.with_name(f".{path.name}.{os.getpid()}")  # whoever has it open never sees half of one
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return path


def monitored(project: str | Path | LoadedProject, *, settings: Settings | None = None) -> Monitored:
    """What the page of a project's champion shows. Raises VersionNotFound where the model has no champion."""
    source = loaded(project)
    with opened(settings, create=False) as session, source.active():
        return monitored_in(session, source.project, code=source.code)


def monitored_in(session: Session, project: Project, *, journal: Journal | None = None, code: str = "") -> Monitored:
    """The same within an open session, from an open journal where there is one.

    With the digest of the project's ``code`` the quality of past stretches is kept for the next time.
    """
    path = session.workspace.root / "monitoring" / f"{project.name}.db"
    if journal is None and path.exists():
        with Journal(path) as found:
            return _monitored(session, project, found, code)
    return _monitored(session, project, journal, code)


def _monitored(session: Session, project: Project, journal: Journal | None, code: str) -> Monitored:
    version = versions.champion(session, project.name)
    found = versions.bundle(session, project.name, version)
    entries = [] if journal is None else journal.entries(version, judged=True, counts=False)
    alarms = _alarms(() if journal is None else journal.alarms(), version)
    shown, merged = stretches.lots(entries, () if journal is None else journal.empties())
    pointed = {suspect.feature for alarm in alarms if alarm.state != "resolved" for suspect in alarm.suspects}
    counted = stretches.over_time(found.profile, shown, pointed, *([] if journal is None else [journal.counts_of]))
    bounds = [(each.since, each.until) for each in counted.stretches]
    more = _measured(session, project, found, version, bounds, code)
    monitor = project.monitor
    return Monitored(
        model=project.name,
        version=version,
        at=iso(now()),
        budget=monitor.false_alerts,
        reference=found.profile,
        stretches=tuple(
            replace(each, measures=(*each.measures, *own)) for each, own in zip(counted.stretches, more, strict=True)
        ),
        latest=counted.latest,
        alarms=_told(alarms, found.profile, counted.latest),
        decisions=_decisions(session, project.name),
        notes=_notes(found, monitor, entries, 0 if journal is None else journal.undelivered()),
        currency=project.currency,
        window=monitor.window,
        merged=merged,
        tolerance=_tolerance(monitor, found.profile),
    )


def _measured(
    session: Session, project: Project, found: Bundle, version: int, bounds: Sequence[tuple[str, str]], code: str
) -> list[tuple[Measure, ...]]:
    """Quality and traffic of each stretch."""
    if not bounds:
        return []
    log = session.workspace.predictions
    about = quality.about(session, found, project, version)
    if code:
        kept = session.folder("cache") / f"{project.name}-monitored.bin"
        key = past.key_of(code, found.digest)
        known = past.judged(about, log, version, bounds, kept=kept, key=key)
    else:
        rows = predictions.read(log, project.name, since=bounds[0][0], until=bounds[-1][1], version=version)
        known = quality.judge(about, bounds, rows, predictions.read_outcomes(log, project.name))
    served = requests.read(log, project.name, bounds, version)
    return [
        (*measures, *(service.measures(counted) if counted.lines else ()))
        for measures, counted in zip(quality.told_over_time(about, bounds, known), served, strict=True)
    ]


def _alarms(every: Sequence[Alarm], version: int) -> tuple[Alarm, ...]:
    """Those that are open, the gravest first, then those resolved; of other versions only open ones."""
    latest = list(reversed(every))
    still = [each for each in latest if each.state != "resolved"]
    still.sort(key=lambda each: (each.severity != "page", each.state != "open"))
    return (*still, *[each for each in latest if each.state == "resolved" and each.version == version][:_RESOLVED])


def _told(alarms: Sequence[Alarm], profile: Profile, latest: Mapping[str, Sequence[int]]) -> tuple[Alarm, ...]:
    """Alarms with what moved in the last batch, where nothing is said of a column and the alarm is open."""
    features = {each.name: each for each in (*profile.features, *profile.outcomes)}

    def told(suspect: Suspect) -> Suspect:
        known = features.get(suspect.feature)
        if suspect.text or known is None or suspect.feature not in latest:
            return suspect
        return replace(suspect, text=words.what_moved(known, latest[suspect.feature]))

    return tuple(
        alarm if alarm.state == "resolved" else replace(alarm, suspects=tuple(map(told, alarm.suspects)))
        for alarm in alarms
    )


def _decisions(session: Session, model: str) -> tuple[tuple[str, Decision], ...]:
    facts = [fact for fact in session.workspace.ledger.facts("decision.taken") if fact.body["model"] == model]
    return tuple(
        (
            fact.time,
            Decision(
                action=fact.body["action"],
                model=model,
                version=fact.body.get("version"),
                reason=fact.body["reason"],
                previous=fact.body.get("previous"),
            ),
        )
        for fact in reversed(facts[-_DECISIONS:])
    )


def _tolerance(monitor: Monitor, profile: Profile) -> dict[str, float]:
    given = monitor.tolerance
    names = [each.name for each in (*profile.features, *profile.outcomes)]
    return {name: float(given.get(name, 0.0) if isinstance(given, Mapping) else given) for name in names}


def _notes(found: Bundle, monitor: Monitor, entries: Sequence[Entry], waiting: int) -> tuple[str, ...]:
    """What the engine assumes, and what was not counted where it belongs."""
    notes = [f"{note[:1].upper()}{note[1:]}." for note in Watch(found.profile, monitor).notes]
    late, early = sum(each.late for each in entries), sum(each.early for each in entries)
    private = [column.name for column in found.contract.columns if column.private]
    if late:
        notes.append(f"{late} rows came after their batch was judged, and count in a later one.")
    if early:
        notes.append(f"{early} rows had times that lay ahead: a clock is wrong, here or where they came from.")
    if private:
        notes.append(f"Not watched, because private: {', '.join(private)}.")
    if not monitor.notify:
        notes.append("Nobody is told of alarms: the project names no address (Monitor(notify=[...])).")
    elif waiting:
        notes.append(f"{waiting} messages about alarms wait to be delivered.")
    return tuple(notes)
