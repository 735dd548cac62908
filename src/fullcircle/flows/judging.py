"""Judging for the monitor: each batch that is over takes its step, once, and what it says becomes alarms and facts.

One batch of all versions is one transaction of the journal: counts, evidence, alarms, messages and facts change
together. The facts go to the ledger after that; each says what it is about, so that none is written twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from fullcircle.errors import DataUnfit
from fullcircle.flows import regretting
from fullcircle.flows.counting import GRACE, JUDGED, Turn
from fullcircle.flows.saying import costs_of, explained
from fullcircle.flows.session import Session
from fullcircle.ledger.state import State
from fullcircle.monitoring import alarms as policy
from fullcircle.monitoring.batches import Batch, of_labelled
from fullcircle.monitoring.engine import Watch
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.journal import Entry, Journal
from fullcircle.monitoring.window import report
from fullcircle.packaging.bundle import Bundle
from fullcircle.tables import following
from fullcircle.types.contract import STATUSES, Value
from fullcircle.types.monitoring import Alarm, Evidence, Window
from fullcircle.types.prediction import Prediction
from fullcircle.types.report import Finding

_FEW = 4  # versions whose detectors are kept at hand: of 1000 columns they may take some 100 MB each


def judge(turn: Turn) -> None:
    """Judge every batch whose end lies back longer than the grace, the earliest first."""
    for start, stop in turn.journal.starts():
        if stop + GRACE > turn.now:
            break
        with turn.journal.step():
            _skip(turn, start)
            for entry in turn.journal.entries(since=start, until=start + 1, judged=False):
                judge_entry(turn, _labelled(turn, entry))
            turn.journal.put(JUDGED, max(stop, turn.judged_until or stop))
    with turn.journal.step():
        _skip(turn, turn.grid.start(turn.now - GRACE))


def judge_entry(turn: Turn, entry: Entry, findings: Sequence[Finding] = ()) -> Window | None:
    """Let a batch take its step within an open transaction. Returns what it says; None for an unknown version."""
    found = turn.bundle(entry.version)
    if found is None:
        turn.journal.keep(replace(entry, judged=True))
        return None
    watch = _watch(turn, found, entry.version)
    phase = None if entry.name else turn.grid.phase(entry.start, found.profile)
    counts = counts_of(found, entry)
    evidence = explained(turn, found, entry, counts, watch.step(*counts, phase=phase))
    _remember(turn, entry.version, watch)
    entry = replace(entry, evidence=evidence, judged=True)
    entry = replace(entry, id=turn.journal.keep(entry))
    turn.judged += 1
    before = {alarm.id: alarm for alarm in turn.journal.alarms()}
    followed = _followed(turn, found, entry, tuple(before.values()))
    changed = _keep(turn, before, followed)
    raised = [alarm for alarm in changed if alarm.id not in before]
    turn.raised += [alarm.id for alarm in raised]
    shown = [alarm for alarm in followed.alarms if alarm.state != "resolved" or alarm in changed]
    name = entry.name or iso(entry.start)[:16]
    window = window_of(turn, found, [entry], counts[0], shown, name=name, notes=watch.notes, findings=findings)
    window = replace(window, raised=tuple(alarm.id for alarm in raised))
    _note_facts(turn, window, evidence, changed, raised)
    return window


def retire(turn: Turn) -> None:
    """Resolve the alarms of versions that the champion replaced: of these nothing more will be known."""
    if turn.champion is None:
        return
    with turn.journal.step():
        before = {alarm.id: alarm for alarm in turn.journal.alarms()}
        followed = policy.retire(
            tuple(before.values()),
            at=iso(turn.judged_until or turn.now),
            monitor=turn.project.monitor,
            champion=turn.champion,
        )
        for alarm in _keep(turn, before, followed):
            about = {"workspace": turn.session.workspace.id, "model": turn.model, "version": alarm.version}
            turn.journal.note_fact("alarm.resolved", about | {"alarm": alarm.id})


def _watch(turn: Turn, found: Bundle, version: int) -> Watch:
    """The detectors of a version as they were after its last batch.

    Where they judged by other rules then, evidence begins anew: what was gathered under one budget says nothing
    about another. That costs only time.
    """
    state, monitor = turn.journal.state(version), turn.project.monitor
    if state and turn.journal.rules(version) == _rules(turn):
        left_at, watch = turn.watches.pop(version, (b"", None))
        if watch is not None and left_at == state:
            return watch
        with suppress(DataUnfit):  # a profile read otherwise than by the fullcircle of that time
            return Watch(found.profile, monitor, state=state)
    if state:
        turn.tell(f"evidence on version {version} begins anew: its budget, window or columns are not those of before")
    return Watch(found.profile, monitor)


def _remember(turn: Turn, version: int, watch: Watch) -> None:
    """Keep the state of the detectors, and these as they are for the next batch of the turn."""
    state = watch.state()
    turn.journal.remember(version, state, _rules(turn))
    if len(turn.watches) >= _FEW:
        turn.watches.clear()
    if not watch.anew:  # one that is says so in its notes: at this batch, and not again
        turn.watches[version] = state, watch


def _rules(turn: Turn) -> str:
    """All that evidence depends on besides the profile."""
    own = turn.project.monitor
    tolerance = own.tolerance if isinstance(own.tolerance, int | float) else dict(sorted(own.tolerance.items()))
    return msgspec.json.encode([own.false_alerts, own.window, own.confidence, tolerance, own.worse_by]).decode()


def _followed(turn: Turn, found: Bundle, entry: Entry, before: Sequence[Alarm]) -> policy.Followed:
    """What the evidence of a batch makes of the alarms: nothing where the version has been replaced.

    Columns that are away already when a version comes back as champion are told anew.
    """
    if turn.champion not in (None, entry.version):
        return policy.Followed(alarms=tuple(before))
    said = tuple(replace(each, fired=each.fired or bool(each.suspects)) for each in entry.evidence)
    known = any(alarm.version == entry.version and alarm.state != "resolved" for alarm in before)
    costs, currency = costs_of(turn, found, entry) if known or any(each.fired for each in said) else ({}, "")
    return policy.follow(
        before,
        said,
        at=iso(entry.stop),
        model=turn.model,
        version=entry.version,
        monitor=turn.project.monitor,
        costs=costs,
        currency=currency,
        link=turn.link,
        since={each.kind: iso(_began(turn, entry, each)) for each in said if each.fired},
        taken=_taken(turn) if any(each.fired for each in said) else (),
    )


def _began(turn: Turn, entry: Entry, said: Evidence) -> int:
    """When the change is thought to have begun: with the batch that lies as many back as the detector counted."""
    found = turn.journal.began(entry.version, max(0, said.begun - 1), labelled=said.kind == "risk")
    return entry.start if found is None else found


def _taken(turn: Turn) -> set[str]:
    """The ids that the ledger knows: where a journal was lost, those of its alarms are not given again."""
    known = turn.session.workspace.ledger.state().alarms
    return {alarm for workspace, alarm in known if workspace == turn.session.workspace.id}


def _keep(turn: Turn, before: Mapping[str, Alarm], followed: policy.Followed) -> list[Alarm]:
    """Keep what became of the alarms, with its messages. Returns those that are not as they were."""
    changed = [alarm for alarm in followed.alarms if alarm != before.get(alarm.id)]
    turn.journal.raise_alarms(changed)
    for message in followed.messages:
        turn.journal.queue(turn.project.monitor.notify, message)
    return changed


def window_of(
    turn: Turn,
    found: Bundle,
    entries: Sequence[Entry],
    batch: Batch,
    alarms: Iterable[Alarm],
    *,
    name: str,
    notes: Sequence[str] = (),
    findings: Sequence[Finding] = (),
) -> Window:
    """Batches of one version as a window; ``batch`` is what they count together.

    ``findings`` are told behind those on drift and verdicts.
    """
    version = entries[0].version
    verdicts: Counter[str] = Counter()
    faults: Counter[str] = Counter()
    for entry in entries:
        verdicts.update(entry.verdicts)
        faults.update(entry.faults)
    alarms = tuple(alarms)
    held = [entry.stop for entry in entries if entry.rows]
    return Window(
        name=name,
        model=turn.model,
        version=version,
        since=iso(min(entry.start for entry in entries)),
        until=iso(max(entry.stop for entry in entries)),
        rows=sum(entry.rows for entry in entries),
        labelled=sum(entry.labelled for entry in entries),
        verdicts=tuple((status, verdicts[status]) for status in STATUSES if verdicts[status]),
        alarms=alarms,
        report=report(
            found.profile,
            found.contract,
            turn.project.monitor,
            subject=f"{turn.model} version {version}, {name}",
            batch=batch,
            evidence=next((entry.evidence for entry in reversed(entries) if entry.evidence), ()),
            alarms=[alarm for alarm in alarms if alarm.version == version],
            verdicts=verdicts,
            faults=faults,
            findings=findings,
            notes=notes,
        ),
        batches=sum(entry.judged for entry in entries),
        waits="" if any(entry.judged for entry in entries) else iso(min(held)) if held else "",
    )


def counts_of(found: Bundle, entry: Entry) -> tuple[Batch, Batch]:
    """The counts of a batch: of its rows, and of the labels that count in it."""
    profile = found.profile
    columns = profile.features, profile.outcomes
    rows, labelled = (
        Batch.decode(features, data) if data else Batch.empty(features)
        for features, data in zip(columns, (entry.counts, entry.outcomes), strict=True)
    )
    return rows, labelled


def record(turn: Turn) -> None:
    """Write the facts that wait into the ledger, each once, also where a process died between the two."""
    record_facts(turn.session, turn.journal)


def record_facts(session: Session, journal: Journal) -> None:
    """Write the facts that wait in a journal into the ledger, each once."""
    for number, kind, body in journal.facts():
        with suppress(_Recorded):  # by a process that died before it noted that
            session.record(kind, guard=partial(_once, kind=kind, body=body), **body)
        journal.recorded([number])


class _Recorded(Exception):
    """The fact is in the ledger."""


def _once(state: State, *, kind: str, body: dict[str, Any]) -> None:
    if kind == "window.monitored":
        known = any(
            (fact.body.get("workspace"), fact.body.get("window")) == (body["workspace"], body["window"])
            for fact in reversed(state.windows)
        )
    else:
        known = kind in state.alarms.get((str(body["workspace"]), str(body["alarm"])), ())
    if known:
        raise _Recorded


def _skip(turn: Turn, start: int) -> None:
    """Note the batches up to ``start`` in which nothing came as empty: they are judged, and say nothing."""
    judged = turn.judged_until
    if judged is not None and start > judged:
        turn.journal.empty(judged, start)
        turn.journal.put(JUDGED, start)


def _labelled(turn: Turn, entry: Entry) -> Entry:
    """The batch with the labels that count in it, which are counted by this, once and for all."""
    found = turn.bundle(entry.version)
    if found is None:
        return entry
    _, labelled = counts_of(found, entry)
    rows = 0
    while labels := turn.journal.labels(entry.version, entry.start, following.CHUNK):
        values = {label.id: label.value for label in labels}
        for pairs in _pairs(turn, values):
            labelled = labelled + of_labelled(found.profile, found.contract, pairs)
            regretting.learn(turn, entry.version, found, pairs)
            rows += len(pairs)
        turn.journal.counted((label.segment, label.place) for label in labels)
    return replace(entry, labelled=entry.labelled + rows, outcomes=labelled.encode() if rows else entry.outcomes)


def _pairs(turn: Turn, values: dict[str, Value]) -> Iterable[list[tuple[Prediction, Value]]]:
    rows = following.of_ids(turn.home, values)
    while part := list(islice(rows, following.CHUNK)):
        yield [(row, values[row.id]) for row in part]


def _note_facts(
    turn: Turn, window: Window, evidence: Sequence[Evidence], changed: Sequence[Alarm], raised: Sequence[Alarm]
) -> None:
    digest = turn.session.keep(window)
    about = {"workspace": turn.session.workspace.id, "model": turn.model, "version": window.version}
    still = sum(alarm.state != "resolved" for alarm in window.alarms)
    turn.journal.note_fact(
        "window.monitored",
        {**about, "window": digest, "name": window.name, "rows": window.rows, "labelled": window.labelled}
        | {"alarms": still},
    )
    levels = {each.kind: each for each in evidence}
    for alarm in changed:
        if alarm.id in {each.id for each in raised}:
            worst, said = next(iter(alarm.suspects), None), levels[alarm.kind]
            body: dict[str, Any] = {
                "alarm": alarm.id,
                "detector": alarm.kind,
                "severity": alarm.severity,
                "since": alarm.since,
            }
            body |= {"threshold": said.threshold, "window": digest}
            if math.isfinite(said.level):
                body["level"] = said.level
            if worst is not None:
                body |= {"feature": worst.feature[:200], "distance": worst.distance}
            turn.journal.note_fact("alarm.raised", about | body)
        if alarm.state == "resolved":
            turn.journal.note_fact("alarm.resolved", about | {"alarm": alarm.id, "window": digest})
