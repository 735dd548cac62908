"""Monitor: count what is new in the log, judge the batches that are over, and tell what a stretch of them says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import reduce
from pathlib import Path

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import DataUnfit, FullcircleError
from fullcircle.flows import alarms, experiment, outcomes, saying, splitting, versions
from fullcircle.flows.counting import Turn, count, with_rows
from fullcircle.flows.judging import judge, judge_entry, record, retire, window_of
from fullcircle.flows.log import settle_or_note
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.ledger.folder import locked
from fullcircle.monitoring.batches import Batch, Layout, of_labelled
from fullcircle.monitoring.engine import Watch
from fullcircle.monitoring.grid import iso, length, micros, now
from fullcircle.monitoring.journal import Entry, Journal
from fullcircle.settings import Settings
from fullcircle.tables import following
from fullcircle.tables.lines import moment
from fullcircle.types.monitoring import Window
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.progress import Progress
from fullcircle.types.project import Project
from fullcircle.types.report import Finding

PATIENCE = 30.0  # seconds to wait for another process that monitors the same model


def monitor(
    project: str | Path | LoadedProject,
    *,
    since: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Window:
    """Take one turn of monitoring, and tell what the last window (or all since a UTC time, ISO 8601) says.

    ``since`` only chooses what is told. A split of the model, and its experiment, take a turn too, whatever happens.
    Raises VersionNotFound where the model has no champion, and WorkspaceBusy where another process is at it.
    """
    source = loaded(project)
    with opened(settings, progress, create=False) as session:
        try:
            window = monitor_in(session, source, since=since)
        except Exception:  # what keeps monitoring from its turn must not keep a version that does harm
            _beside(session, source)
            raise
        _beside(session, source)
        return window


def _beside(session: Session, source: LoadedProject) -> None:
    """A turn of what is tried beside the champion. What monitoring found, or why it could not, comes before."""
    try:
        splitting.turns_in(session, source.project.name)
    except FullcircleError as error:
        session.progress.note(f"served.json cannot be brought up to the ledger at the moment: {error.what}")
    finally:
        experiment.turns_in(session, source)


def monitor_in(session: Session, source: LoadedProject, *, since: str | None = None) -> Window:
    """Take a turn within an open session. See ``monitor``."""
    version = versions.champion(session, source.project.name)
    session.progress.step("monitor", f"{source.project.name} version {version}")
    settle_or_note(session)
    start = None if since is None else micros(moment(since))
    with ExitStack() as after, _turn(session, source.project) as turn, source.active():
        _take(turn)
        after.callback(_deliver, session, source.project)
        return _told(turn, version, turn.now - length(source.project.monitor.window) if start is None else start)


def turn_in(session: Session, source: LoadedProject) -> int:
    """Take a turn within an open session of which nobody is told. Returns how many batches were judged."""
    with _turn(session, source.project) as turn, source.active():
        _take(turn)
        return turn.judged


def _take(turn: Turn) -> None:
    """Bring the journal and the ledger up to the log."""
    outcomes.settle_in(turn.session, turn.model)
    count(turn)
    judge(turn)
    retire(turn)
    record(turn)


def watch_in(
    session: Session,
    project: Project,
    version: int,
    rows: Sequence[Prediction],
    labels: Mapping[str, Outcome],
    name: str,
    *,
    since: int,
) -> Window:
    """Judge exactly these predictions, with their labels, as one batch within an open session; once and for all.

    ``since`` is when the first of them was about to be sent, or what was sent to try the server (microseconds): from
    then on until the last of them rows are nobody's calls (see ``flows.experiment_past``).
    """
    with _turn(session, project) as turn:
        record(turn)
        places = {row.id: place for row in rows if (place := following.place_of(row.id)) is not None}
        fresh = [row for row in rows if row.id in places and not _counted(turn, *places[row.id])]
        found = turn.bundle(version)
        if not fresh or found is None:
            raise DataUnfit(
                "there is no prediction to judge in this window",
                received=f"{len(rows)} of {project.name} version {version}",
                allowed="rows that were not judged before, of a version that this workspace knows",
                next_step="wait for traffic; fullcircle monitor PROJECT tells of what was judged already",
            )
        times = [each for each in (micros(row.time) for row in fresh) if each is not None] or [turn.now]
        pairs = [(row, labels[row.id].value) for row in fresh if row.id in labels]
        pairs = [(row, value) for row, value in pairs if value is not None]
        with turn.journal.step():
            entry = Entry(version=version, start=min(since, *times), stop=max(times) + 1, name=name)
            entry = with_rows(turn, entry, fresh)
            labelled = of_labelled(found.profile, found.contract, pairs)
            entry = replace(entry, labelled=len(pairs), outcomes=labelled.encode())
            window = judge_entry(turn, entry, saying.of_rows(turn, found, version, fresh, labels))
            turn.journal.count_ahead(places[row.id] for row in fresh)
            turn.journal.counted(places[row.id] for row, _ in pairs)
        retire(turn)
        record(turn)
    _deliver(session, project)
    assert window is not None  # noqa: S101 - the version is known
    return window


def _deliver(session: Session, project: Project) -> None:
    """Tell of alarms, when nobody has to wait for it: outside the turn's lock."""
    with Journal(_path(session, project)) as journal:
        for problem in alarms.deliver_in(session, journal, project.name, monitor=project.monitor):
            session.progress.note(problem)


def _path(session: Session, project: Project) -> Path:
    return session.folder("monitoring") / f"{project.name}.db"


@contextmanager
def _turn(session: Session, project: Project) -> Iterator[Turn]:
    path = _path(session, project)
    with locked(path.with_suffix(".lock"), PATIENCE), Journal(path) as journal:
        yield Turn(session=session, project=project, journal=journal, now=now())


def _counted(turn: Turn, segment: str, place: int) -> bool:
    return place < turn.journal.places().get(segment, (0, 0))[0] or place in turn.journal.ahead(segment)


def _told(turn: Turn, version: int, since: int) -> Window:
    entries = turn.journal.entries(version, since=since, counts=False)
    found = turn.bundle(version)
    assert found is not None  # noqa: S101 - the champion is a version that the ledger knows
    if not turn.journal.rows(version):
        turn.tell(f"nothing to see yet: no row of version {version} was logged")
    layout = Layout(found.profile.features)
    counted = (Batch.decode(layout, data) for data in (turn.journal.counts_of(each)[0] for each in entries) if data)
    batch = reduce(Batch.__add__, counted, Batch.empty(layout))
    still = [alarm for alarm in turn.journal.alarms() if alarm.state != "resolved"]
    shown = entries or [Entry(version=version, start=since, stop=max(since, turn.now))]
    notes = (*Watch(found.profile, turn.project.monitor).notes, *turn.notes)
    said = saying.of_log(turn, found, version, since)
    window = window_of(turn, found, shown, batch, still, name=f"since {iso(since)[:16]}", notes=notes, findings=said)
    return replace(window, batches=turn.judged, raised=tuple(turn.raised), labelled=_known(said))


def _known(said: Sequence[Finding]) -> int:
    """How many rows have a label by now, also those whose batch is not over."""
    coverage = next(each for finding in said for each in finding.measures if each.name == "label_coverage")
    return round((coverage.value or 0.0) * coverage.n)
