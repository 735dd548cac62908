"""Counting for the monitor: what is new in the log goes into batches, labels to the batch in which they count.

Each step is one transaction of the journal, so that a row or a label is counted once whenever this is killed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fullcircle.errors import VersionNotFound
from fullcircle.flows import versions
from fullcircle.flows.session import Session
from fullcircle.monitoring import batches
from fullcircle.monitoring.grid import Grid, iso, length, micros
from fullcircle.monitoring.journal import GONE, GROWING, KEPT, WHOLE, Entry, Journal, Label
from fullcircle.packaging.bundle import Bundle
from fullcircle.tables import following, predictions, segments
from fullcircle.tables.lines import model_folder
from fullcircle.tables.outcomes import OUTCOMES
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.project import Project

if TYPE_CHECKING:
    from fullcircle.monitoring.engine import Watch

GRACE = 60_000_000  # microseconds: a row is in the log within milliseconds of its time
JUDGED = "judged_until"
_OUTCOMES = "outcomes"
_LENGTH = "length"


@dataclass
class Turn:
    """One turn of monitoring one model: the open journal, the batches on the clock, and the present moment.

    ``watches`` are the detectors of versions as they were left, each with its state, so that none is built again for
    each of many batches.
    """

    session: Session
    project: Project
    journal: Journal
    now: int
    notes: list[str] = field(default_factory=list)
    raised: list[str] = field(default_factory=list)
    judged: int = 0
    late: int = 0
    early: int = 0
    watches: dict[int, tuple[bytes, Watch]] = field(default_factory=dict)
    _bundles: dict[int, Bundle | None] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.project.name

    @property
    def home(self) -> Path:
        """The model's folder in the log."""
        return model_folder(self.session.workspace.predictions, self.model)

    @property
    def grid(self) -> Grid:
        """The batches on the clock."""
        return Grid(length(self.project.monitor.window))

    @cached_property
    def champion(self) -> int | None:
        """The version whose alarms are told; None where there is none."""
        found: int | None = self.session.workspace.ledger.state().champions.get(self.model)
        return found

    @property
    def link(self) -> str:
        """Where whoever is told of an alarm finds its page."""
        return str(self.session.workspace.pages / f"{self.model}-monitor.html")

    @property
    def judged_until(self) -> int | None:
        """The end of the last batch that was judged, None before the first."""
        found: int | None = self.journal.get(JUDGED)
        return found

    def bundle(self, version: int) -> Bundle | None:
        """The bundle of a version; None where the ledger knows no such version."""
        if version not in self._bundles:
            try:
                self._bundles[version] = versions.bundle(self.session, self.model, version)
            except VersionNotFound:
                self._bundles[version] = None
                self.tell(f"rows of version {version} are not monitored: this workspace knows no such version")
        return self._bundles[version]

    def tell(self, text: str) -> None:
        """Note something that whoever reads the report should know."""
        self.notes.append(text)
        self.session.progress.note(text)

    def batch_for(self, moment: int | None) -> tuple[int, bool, bool]:
        """The start of the batch that a row of this moment goes to, and whether it is late or early.

        What comes for a batch that was judged, and what has no time that can be read, goes to the one now open; what
        lies further ahead than the next batch, to that.
        """
        present = self.grid.start(self.now)
        start = present if moment is None else self.grid.start(moment)
        judged = self.judged_until
        if moment is None or (judged is not None and start + self.grid.length <= judged):
            return present, True, False
        return min(start, present + self.grid.length), False, moment > self.now + GRACE


def count(turn: Turn) -> None:
    """Bring the journal up to the log: new rows into batches, new labels to the batches in which they count."""
    _follow_clock(turn)
    _follow_grid(turn)
    known = turn.journal.places()
    names = segments.names(turn.home)
    for name in names:
        place, form = known.get(name, (0, GROWING))
        parts = None if form == WHOLE else following.after(turn.home, name, place)
        for part in parts or ():
            if part.place != place or part.whole:
                _count_part(turn, name, part)
    gone = [name for name, (_, form) in known.items() if form == GROWING and name not in names]
    if gone:
        turn.tell(f"{len(gone)} segments of the log are gone; what was not counted of them by then never will be")
        with turn.journal.step():
            for name in gone:
                turn.journal.move(name, known[name][0], GONE)
    _take_labels(turn)
    _forget(turn, [name for name in known if name not in names])
    if turn.late:
        turn.tell(f"{turn.late} rows came after their batch was judged; they count in the batch that is open now")
    if turn.early:
        turn.tell(f"{turn.early} rows have times that lie ahead: a clock is wrong, on this machine or on theirs")


def _forget(turn: Turn, gone: Sequence[str]) -> None:
    """Drop from the journal what is older than it keeps."""
    with turn.journal.step():
        turn.journal.forget(gone, max(0, turn.now - KEPT))


def with_rows(turn: Turn, entry: Entry, rows: Sequence[Prediction], *, late: int = 0, early: int = 0) -> Entry:
    """The batch with these rows of its version added."""
    found = turn.bundle(entry.version)
    assert found is not None  # noqa: S101 - the caller left out versions that nobody knows
    verdicts: Counter[str] = Counter(row.verdict.status for row in rows)
    columns = {column.name for column in found.contract.columns} | {""}
    faults = Counter(
        f"{fault.column if fault.column in columns else '(another column)'}\n{fault.reason}"
        for row in rows
        for fault in row.verdict.problems
    )
    batch = batches.of_rows(found.profile, found.contract, rows)
    if entry.counts:
        batch = batches.read(found.profile, entry.counts) + batch
    return replace(
        entry,
        rows=entry.rows + len(rows),
        late=entry.late + late,
        early=entry.early + early,
        verdicts=Counter(entry.verdicts) + verdicts,
        faults=Counter(entry.faults) + faults,
        counts=batch.encode(),
    )


def _follow_clock(turn: Turn) -> None:
    """Where this machine's clock went back, batches are judged anew from the present on, for the rows that come."""
    judged, present = turn.judged_until, turn.grid.start(turn.now)
    if judged is not None and judged > present:
        turn.tell(f"the clock of this machine went back: batches were judged up to {iso(judged)} already")
        with turn.journal.step():
            turn.journal.put(JUDGED, present)


def _follow_grid(turn: Turn) -> None:
    """Where the project has another window now, what waits to be judged goes into batches of the new length."""
    before, length_now = turn.journal.get(_LENGTH), turn.grid.length
    if before == length_now:
        return
    with turn.journal.step():
        turn.journal.put(_LENGTH, length_now)
        for entry in turn.journal.entries(judged=False) if before is not None else ():
            start, _, _ = turn.batch_for(_first(turn, entry))
            turn.journal.drop(entry)
            turn.journal.redirect(entry.version, entry.start, start)
            turn.journal.keep(
                _together(turn, turn.journal.open_entry(entry.version, start, start + length_now), entry)
            )


def _first(turn: Turn, entry: Entry) -> int:
    """When the first row of a batch came, as far as the log knows: what they say began no sooner."""
    folder, until = turn.session.workspace.predictions, iso(entry.stop)
    rows = predictions.read(folder, turn.model, since=iso(entry.start), until=until, version=entry.version)
    first = next(iter(rows), None)
    return (None if first is None else micros(first.time)) or entry.start


def _together(turn: Turn, one: Entry, other: Entry) -> Entry:
    found = turn.bundle(one.version)
    counts = one.counts or other.counts
    if found is not None and one.counts and other.counts:
        counts = (batches.read(found.profile, one.counts) + batches.read(found.profile, other.counts)).encode()
    return replace(
        one,
        rows=one.rows + other.rows,
        late=one.late + other.late,
        early=one.early + other.early,
        verdicts=Counter(one.verdicts) + Counter(other.verdicts),
        faults=Counter(one.faults) + Counter(other.faults),
        counts=counts,
    )


def _count_part(turn: Turn, name: str, part: following.Part) -> None:
    ahead = turn.journal.ahead(name)
    groups: dict[tuple[int, int], list[Prediction]] = defaultdict(list)
    late, early = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for row in part.rows:
        found = following.place_of(row.id)
        if (found is not None and found[1] in ahead) or turn.bundle(row.version) is None:
            continue
        start, is_late, is_early = turn.batch_for(micros(row.time))
        key = row.version, start
        groups[key].append(row)
        late[key] += is_late
        early[key] += is_early
    with turn.journal.step():
        for (version, start), rows in sorted(groups.items()):
            key = version, start
            entry = turn.journal.open_entry(version, start, start + turn.grid.length)
            turn.journal.keep(with_rows(turn, entry, rows, late=late[key], early=early[key]))
        turn.journal.move(name, part.place, WHOLE if part.whole else GROWING)
    turn.late += late.total()
    turn.early += early.total()


def _take_labels(turn: Turn) -> None:
    path = turn.home / OUTCOMES
    place = turn.journal.get(_OUTCOMES, 0)
    if place and (not path.exists() or path.stat().st_size < place):
        turn.tell(
            "the file of outcomes is shorter than it was: labels are read from its start again, each counts once"
        )
        place = 0
    for outcomes, reached in following.outcomes_after(path, place):
        if reached == place and not outcomes:
            continue
        with turn.journal.step():
            _await(turn, outcomes)
            turn.journal.put(_OUTCOMES, reached)
    _resolve(turn)


def _await(turn: Turn, outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        found = following.place_of(outcome.prediction_id)
        if found is not None:
            turn.journal.await_label(Label(segment=found[0], place=found[1], time=outcome.time, value=outcome.value))


def _resolve(turn: Turn) -> None:
    """Find the predictions of labels, and with them the batches in which they count.

    That is the batch in which the label is known and as old as the project says labels get: those that come sooner
    would show other rows than those that come later.
    """
    unknown = turn.journal.labels()
    delay = length(turn.project.label_delay)
    for at in range(0, len(unknown), following.CHUNK):
        labels = {label.id: label for label in unknown[at : at + following.CHUNK]}
        with turn.journal.step():
            for row in following.of_ids(turn.home, labels):
                label = labels[row.id]
                if turn.bundle(row.version) is None:
                    continue
                heard, made = micros(label.time), micros(row.time)
                old_enough = None if made is None else made + delay
                start = _due(turn, max(turn.now if each is None else each for each in (heard, old_enough)))
                turn.journal.await_label(replace(label, due=start, version=row.version))
                entry = turn.journal.open_entry(row.version, start, start + turn.grid.length)
                if not entry.id:
                    turn.journal.keep(entry)


def _due(turn: Turn, moment: int) -> int:
    """The batch that a label of this moment counts in: unlike a row, it may wait for as long as it takes."""
    start, late, _ = turn.batch_for(moment)
    return start if late else turn.grid.start(moment)
