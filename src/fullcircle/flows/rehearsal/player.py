"""One policy, played: window by window rows are answered, labels come, and the live flows take their turn.

The champion of the moment answers all rows up to a window's end and the monitor's grace; outcomes whose time has
come are delivered; the clock moves; monitoring and the loop take a turn. A server in a played workspace that gets
the same rows and labels at the same moments comes to the same decisions (docs/rehearse.md).
"""

from __future__ import annotations

import hashlib
import heapq
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import GateFailed
from fullcircle.flows import data, drafts, loop, monitor, views
from fullcircle.flows.counting import GRACE
from fullcircle.flows.log import KEY
from fullcircle.flows.package import package_in
from fullcircle.flows.promote import promote_in
from fullcircle.flows.rehearsal import answering
from fullcircle.flows.rehearsal.history import NEVER, History, known_by, spans
from fullcircle.flows.rehearsal.place import Place
from fullcircle.flows.session import Session, opened
from fullcircle.flows.train import train_in
from fullcircle.ledger.state import State
from fullcircle.monitoring.grid import iso, length
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.values import is_quantity
from fullcircle.settings import Settings
from fullcircle.tables.outcomes import append_outcomes
from fullcircle.tables.private import read_key
from fullcircle.types import clock
from fullcircle.types.contract import Contract, Value
from fullcircle.types.prediction import Outcome

EVERY = 2.0  # seconds between two states that are kept: what a killed worker has to do again
Told = Callable[[int, int], None]


@dataclass
class Player:
    """Plays ``history`` from ``since`` until ``until`` (microseconds) by the project of ``source`` in ``place``."""

    place: Place
    source: LoadedProject
    history: History
    since: int
    until: int
    settings: Settings
    every: float = EVERY
    _waiting: list[tuple[int, str, Value]] = field(default_factory=list)
    _scorer: Scorer | None = None

    @property
    def model(self) -> str:
        """The model's name."""
        return self.source.project.name

    @property
    def steps(self) -> list[int]:
        """When each turn is taken: as soon as a window can be judged."""
        window = length(self.source.project.monitor.window)
        return [stop + GRACE for _, stop in spans(self.since, self.until, window)]

    def play(self, told: Told = lambda done, total: None) -> None:
        """Play what is left. ``told`` hears how many turns of how many are done.

        Raises GateFailed where the first version does not pass its gates.
        """
        self.place.folder.mkdir(parents=True, exist_ok=True)
        done, steps = self.place.restore(), self.steps
        if done is None:
            self.place.workspace.mkdir(parents=True)
        clock.put(self.place.workspace, self.since if not done else steps[done - 1])
        with self.session() as session:
            if done is None:
                self._begin(session)
                self.place.keep(0)
            self._catch_up(steps[: done or 0])
            kept = time.monotonic()
            for number in range(done or 0, len(steps)):
                told(number, len(steps))
                self._turn(session, number, steps)
                if time.monotonic() - kept >= self.every:
                    self.place.keep(number + 1)
                    kept = time.monotonic()
            self.place.keep(len(steps))
            told(len(steps), len(steps))

    def session(self) -> Any:
        """The scratch workspace, open."""
        return opened(self.place.settings(self.settings), rehearsal=True)

    def _begin(self, session: Session) -> None:
        """The first champion: made of the rows whose label was known when the rehearsal begins."""
        label = self.source.project.label
        key = hashlib.sha256(self.history.digest.encode()).hexdigest()  # the same history has the same log
        (self.place.workspace / KEY).write_text(f"{key}\n")
        frame = known_by(self.history, self.since, label)
        if self.source.project.view is not None:
            views.ingest(session, self.source, self.source.project.view)  # a model's view needs its tables defined
        snapshot = data.store(session, self.model, frame, f"history until {iso(self.since)[:16]}")
        trained = train_in(session, self.source, snapshot=snapshot)
        if not trained.report.passed:
            raise _held_at_first(trained.report, self.since, len(frame))
        draft = drafts.of_run(session, trained.run)
        made = package_in(session, self.source, draft, trained.report_digest, trained.report, approve="auto")
        promote_in(session, self.model, made.version, f"the first version, of {len(frame)} rows")

    def _turn(self, session: Session, number: int, steps: list[int]) -> None:
        """One window: answers, labels, and a turn of monitoring and of the loop at its end."""
        stop = steps[number]
        start = steps[number - 1] if number else self.since
        self._scorer = self._answers_now(session)
        for piece, rows in enumerate(self.history.between(start, min(stop, self.until))):
            name = self.place.segment(number, piece)
            key = read_key(self.place.workspace / KEY)
            answering.write(self.place.predictions, name, self._scorer, rows, key)
            self._await(name, rows)
        self._deliver(stop)
        clock.put(self.place.workspace, stop)
        monitor.turn_in(session, self.source)
        loop.turn_in(session, self.source)

    def _answers_now(self, session: Session) -> Scorer:
        """The champion's scorer: the same one as long as champion and stand-in are the same."""
        state: State = session.workspace.ledger.state()
        champion = int(state.champions[self.model])
        before = state.history[self.model][-2:-1]
        made = self._scorer
        if made is not None and made.version == champion:
            stand_in = (made.fallback.version,) if made.fallback is not None else ()
            if stand_in == tuple(before):
                return made
        return answering.scorer_of(session, self.model, champion)

    def _catch_up(self, steps: list[int]) -> None:
        """The labels that still wait after these turns, which were taken before this process began."""
        start = self.since
        for number, stop in enumerate(steps):
            for piece, rows in enumerate(self.history.between(start, min(stop, self.until))):
                self._await(self.place.segment(number, piece), rows)
            self._due(stop)
            start = stop

    def _await(self, name: str, rows: Any) -> None:
        labels = rows.frame[self.source.project.label].tolist()
        found = answering.ids(self.place.predictions, self.model, name)
        for arrival, identity, label in zip(rows.arrivals.tolist(), found, labels, strict=True):
            if arrival != NEVER:
                heapq.heappush(self._waiting, (arrival, identity, label))

    def _due(self, stop: int) -> Iterator[tuple[int, str, Value]]:
        found = []
        while self._waiting and self._waiting[0][0] < stop:
            found.append(heapq.heappop(self._waiting))
        return iter(found)

    def _deliver(self, stop: int) -> None:
        """Outcomes that came before this moment, with the time when they came; as a server takes them."""
        assert self._scorer is not None  # noqa: S101 - the rows were answered before
        contract = self._scorer.contract
        outcomes = [
            Outcome(prediction_id=identity, value=label, time=iso(arrival))
            for arrival, identity, label in self._due(stop)
            if _fits(label, contract)
        ]
        if outcomes:
            append_outcomes(self.place.predictions, self.model, outcomes)


def _fits(label: Value, contract: Contract) -> bool:
    """Whether a server of this version would take the label."""
    if contract.task == "classification":
        return any(type(label) is type(known) and label == known for known in contract.classes)
    return is_quantity(label)


def _held_at_first(report: Any, since: int, rows: int) -> GateFailed:
    return GateFailed(
        f"the first version, of the {rows} rows whose label was known by {iso(since)[:16]}, is held by its gates",
        received="; ".join(f"{gate.gate}: {gate.reason}" for gate in report.gates if not gate.passed) or "no gates",
        next_step="begin later, when more is known: --since DATE; or mend the model or the gates",
    )


def played(source: LoadedProject) -> LoadedProject:
    """The project as a rehearsal runs it: nobody is notified, and what a person would approve is approved at once."""
    project = source.project
    return replace(
        source,
        project=replace(
            project,
            approve="auto",
            retrain=replace(project.retrain, approve="auto"),
            monitor=replace(project.monitor, notify=()),
            arrivals={},
        ),
    )
