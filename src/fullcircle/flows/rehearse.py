"""Rehearse: play the loop over recorded history, side by side with never retraining, the calendar and hindsight."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version as version_of
from pathlib import Path

import msgspec

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import DataUnfit
from fullcircle.flows.rehearsal import answering, crew, history, policies, scoring, verdict
from fullcircle.flows.rehearsal.history import History, Rows, spans
from fullcircle.flows.rehearsal.place import Place, place_of
from fullcircle.flows.rehearsal.policies import Tried
from fullcircle.flows.rehearsal.running import Job, Result
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.ledger.folder import locked
from fullcircle.monitoring.grid import iso, length, micros
from fullcircle.settings import Settings
from fullcircle.tables.lines import moment
from fullcircle.types import clock
from fullcircle.types.loop import Rehearsal
from fullcircle.types.progress import Progress

FEWEST = 200
"""Labels that must be known when the rehearsal begins, where nobody says when."""
_FORM = 1  # of what is kept: another one is played anew
_NOTES = (
    "A rehearsal shows what the loop would have done with these rows. It cannot show what other answers would have "
    "changed: a loan that another version refuses would have had no label.",
    "Gates on latency and size are taken as passed, and an approval that the project asks for as given at once. What "
    "the loop itself leaves to a person waits in vain.",
)
_OF_VIEWS = "Features are those that were known at the time of each row, by the tables as they are today."
_OF_PREPARE = "What prepare works out over all rows at once (a mean, a rank) knows the future; the rest does not."


def rehearse(
    project: str | Path | LoadedProject,
    *,
    since: str | None = None,
    until: str | None = None,
    tries: Sequence[str] = (),
    workers: int | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Rehearsal:
    """Play the project's history through the live flows in scratch workspaces, one for each policy.

    Version 1 learns from the rows whose label was known at ``since`` (UTC, ISO 8601; by default when a third of the
    rows had come and 200 labels were known); rows from then on and before ``until`` are played. Each of ``tries``
    ("retrain.schedule=30d") is a policy of its own. ``workers`` processes play at a time, one for each core by
    default; 0 is this process. Stopped, the same call goes on where it was.

    Raises SettingInvalid for what cannot be tried, DataUnfit where history is too short, GateFailed where the first
    version is held by its gates, and RehearsalFailed.
    """
    begun = time.perf_counter()
    source = loaded(project)
    tried = policies.policies(tries)
    for each in tried:
        policies.changed(source, each.changes)  # what cannot be tried is refused before anything is done
    with opened(settings, progress) as session:
        session.progress.step("history", "reading the rows")
        with _history(session, source) as rows:
            first, last = _bounds(source, rows, since, until)
            home, played = _home(session, source, rows, first, last)
        with locked(home / "lock", 0.0):
            jobs = [_job(session, source, home, each, first, last) for each in tried]
            results = _played(session, source, jobs, workers)
            found = _told(session, source, home, played, results, (first, last))
        found = replace(found, seconds=round(time.perf_counter() - begun, 3))
        return replace(found, page=_page(session, found))


@contextmanager
def _history(session: Session, source: LoadedProject) -> Iterator[Rows]:
    """The project's rows. Of a view they are joined in a workspace that is thrown away: this one stays as it is."""
    if source.project.view is None:
        yield history.read(session, source)
        return
    folder = Path(tempfile.mkdtemp(prefix=".reading-", dir=session.folder("rehearsals")))
    try:
        own = Place(folder, source.project.name).settings(session.settings)
        with opened(own, session.progress) as scratch:
            yield history.read(scratch, source)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bounds(source: LoadedProject, rows: Rows, since: str | None, until: str | None) -> tuple[int, int]:
    window = length(source.project.monitor.window)
    last = int(rows.times[-1]) + 1 if until is None else micros(moment(until)) or 0
    first = history.start_of(rows, window, FEWEST) if since is None else micros(moment(since)) or 0
    played = int(((rows.times >= first) & (rows.times < last)).sum())
    if not played or not (rows.arrivals <= first).any():
        raise DataUnfit(
            "there is nothing to rehearse on" if not played else "no label was known when the rehearsal begins",
            received=f"{played} rows from {iso(first)[:16]} until {iso(last)[:16]}",
            allowed=f"a part of {iso(int(rows.times[0]))[:16]} to {iso(int(rows.times[-1]))[:16]}, after labels came",
            next_step="say another --since or --until",
        )
    return first, last


def _home(session: Session, source: LoadedProject, rows: Rows, since: int, until: int) -> tuple[Path, History]:
    """The folder of this rehearsal, with its history: the same question finds the same folder."""
    model = source.project.name
    partial = Path(tempfile.mkdtemp(prefix=".history-", dir=session.folder("rehearsals")))
    try:
        written = history.written(rows, partial / "history")
        params = dict(sorted(source.project.params.items()))
        told = [_FORM, version_of("fullcircle"), model, source.code, params, written.digest, since, until]
        digest = hashlib.sha256(msgspec.json.encode(told, enc_hook=str)).hexdigest()
        home = session.folder("rehearsals") / f"{model}-{digest[:16]}"
        home.mkdir(exist_ok=True)
        if not (home / "history").exists():
            os.rename(partial / "history", home / "history")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return home, history.opened(home / "history")


def _job(session: Session, source: LoadedProject, home: Path, tried: Tried, since: int, until: int) -> Job:
    return Job(
        project=str(source.folder / source.file),
        params=dict(source.project.params),
        code=source.code,
        home=str(home),
        name=tried.name,
        changes=dict(tried.changes),
        since=since,
        until=until,
        values=dict(session.settings.values),
        paths=dict(session.settings.paths),
        folder=str(session.settings.folder),
    )


def _played(session: Session, source: LoadedProject, jobs: Sequence[Job], workers: int | None) -> list[Result]:
    session.progress.step("rehearse", f"{len(jobs)} policies")
    heard = _hearing(session, len(jobs))
    if workers == 0:
        return crew.alone(jobs, source, heard)
    return crew.together(jobs, min(len(jobs), _cores() if workers is None else workers), heard)


def _hearing(session: Session, count: int) -> Callable[[str, int, int], None]:
    """Progress over all policies: those that were not heard of yet count as long as the longest."""
    known: dict[str, tuple[int, int]] = {}

    def heard(name: str, done: int, total: int) -> None:
        known[name] = done, total
        longest = max(each for _, each in known.values())
        whole = sum(each for _, each in known.values()) + longest * (count - len(known))
        session.progress.advance(sum(each for each, _ in known.values()), whole)
        if done == total:
            session.progress.note(f"{name}: played to the end")

    return heard


def _told(
    session: Session,
    source: LoadedProject,
    home: Path,
    played: History,
    results: Sequence[Result],
    between: tuple[int, int],
) -> Rehearsal:
    project, (since, until) = source.project, between
    shipped = place_of(home, project.name, policies.SHIPPED, {})
    with clock.played(lambda: until), opened(shipped.settings(session.settings), rehearsal=True) as scratch:
        how = scoring.measuring(project, answering.scorer_of(scratch, project.name, 1))
        first = scratch.workspace.ledger.facts("snapshot.created")
        learned = int(next(iter(first)).body["rows"])
    session.progress.step("hindsight", "the best version of every window")
    bounds = spans(since, until, length(project.monitor.window))
    best = verdict.hindsight(results, played, bounds, until, how, home)
    own = [result.policy for result in results]
    found = (*own[:3], best, *own[3:])
    more = (_OF_VIEWS,) if project.view is not None else (_OF_PREPARE,)
    return Rehearsal(
        model=project.name,
        metric=how.metric.name,
        higher_is_better=how.metric.greater_is_better,
        since=iso(since),
        until=iso(until),
        first=learned,
        rows=sum(window.rows for window in best.windows),
        seconds=0.0,
        policies=found,
        currency=project.currency,
        verdict=verdict.sentences(found, how, project.currency),
        notes=(*_NOTES, *more),
    )


def _page(session: Session, found: Rehearsal) -> str:
    """Write the page that tells the story over time. Returns where it is."""
    try:
        from fullcircle.flows.pages.rehearsal import render_rehearsal
    except ImportError:
        return ""
    path = session.workspace.pages / f"{found.model}-rehearsal.html"
    partial = path.with_suffix(".partial")
    partial.write_text(render_rehearsal(found), encoding="utf-8")
    os.replace(partial, path)
    return str(path)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
