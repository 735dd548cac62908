"""The demo itself: weeks of traffic, labels that come late, and after each week the very loop of production.

Nothing of what it tells is written beforehand but the troubles themselves: alarms, decisions and their sums are those
of the objects that monitoring and the loop make.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import GateFailed, MissingExtra
from fullcircle.flows import drafts, monitor, monitored, versions
from fullcircle.flows.demo import lender
from fullcircle.flows.demo.desks import Desk, Inside, served
from fullcircle.flows.demo.world import BEGIN, WEEK, Application, World
from fullcircle.flows.loop import turn_in
from fullcircle.flows.package import package_in
from fullcircle.flows.promote import approve, promote_in
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.flows.train import train_in
from fullcircle.monitoring.journal import Journal
from fullcircle.settings import Settings
from fullcircle.types import clock
from fullcircle.types.loop import Step
from fullcircle.types.monitoring import Alarm
from fullcircle.types.prediction import Outcome

WEEKS = 26
LEARNED_WEEKS = 12
GRACE = timedelta(minutes=2)  # a batch is judged when it is over, and a little
APPROVED = "looked at both reports: the labels are right, and times have changed"
_PARTS = 7  # of a week: a day is sent at a time

Kind = Literal["began", "trouble", "alarm", "resolved", "hold", "approve", "promote", "rollback", "page", "ended"]


@dataclass(frozen=True, kw_only=True)
class Happened:
    """Something worth a line, at ``at`` of the played clock."""

    at: datetime
    kind: Kind
    text: str


@dataclass(kw_only=True)
class Scene:
    """How things stand at this moment: what a view shows."""

    week: int = 0
    weeks: int = 0
    at: datetime = BEGIN
    champion: int = 0
    rows: int = 0
    labels: int = 0
    waiting: int = 0
    url: str = ""
    verdicts: Counter[str] = field(default_factory=Counter)
    answered_by: Counter[int] = field(default_factory=Counter)
    alarms: tuple[Alarm, ...] = ()
    happened: list[Happened] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the demo came to. ``steps`` are the loop's turns that decided something, ``page`` the model's page."""

    folder: str
    project: str
    weeks: int
    rows: int
    labels: int
    champion: int
    seconds: float
    alarms: tuple[Alarm, ...]
    steps: tuple[Step, ...]
    happened: tuple[Happened, ...]
    page: str = ""


class Stage(Protocol):
    """Shows the scene. It is called often, and in the thread that plays."""

    def show(self, scene: Scene) -> None:
        """The scene as it is now."""

    def tell(self, happened: Happened) -> None:
        """Something happened."""


class Dark:
    """Shows nothing."""

    def show(self, scene: Scene) -> None:
        """See Stage."""

    def tell(self, happened: Happened) -> None:
        """See Stage."""


def demo(
    folder: Path,
    *,
    settings: Settings,
    stage: Stage | None = None,
    minutes: float = 3.0,
    weeks: int = WEEKS,
    world: World | None = None,
    server: bool = True,
) -> Shown:
    """Play so many weeks of the lender in a new workspace in ``folder``, in about as many minutes (0: at once).

    ``settings`` are those whose workspace is FOLDER/workspace (see ``settings_in``). Without ``server`` rows are
    answered in this process. Whatever ends it, the server that it started is ended.
    """
    begun = time.monotonic()
    world = world or World()
    project = lender.lay_out(folder / "lender", world, LEARNED_WEEKS)
    settings.workspace.mkdir(parents=True)
    clock.put(settings.workspace, _micros(BEGIN))
    with opened(settings, rehearsal=True) as session:
        source = loaded(project)
        first = _first(session, source)
        desk: AbstractContextManager[Desk] = (
            served(session, lender.MODEL) if server else nullcontext(Inside(session, lender.MODEL))
        )
        with desk as opened_desk:
            play = _Play(session, source, opened_desk, world, stage or Dark(), weeks)
            play.scene.champion, play.scene.url = first, opened_desk.url
            play.began()
            play.all(begun + minutes * 60)
        page = play.page()
    scene = play.scene
    return Shown(
        folder=str(folder),
        project=str(project),
        weeks=scene.week,
        rows=scene.rows,
        labels=scene.labels,
        champion=scene.champion,
        seconds=round(time.monotonic() - begun, 1),
        alarms=tuple(play.alarms.values()),
        steps=tuple(play.steps),
        happened=tuple(scene.happened),
        page=page,
    )


def new_folder(parent: Path) -> Path:
    """A folder for a demo that is not there yet: fullcircle-demo, or with a number behind it."""
    names = ("fullcircle-demo", *(f"fullcircle-demo-{number}" for number in range(2, 10_000)))
    return next(parent / name for name in names if not (parent / name).exists())


def _first(session: Session, source: LoadedProject) -> int:
    """Version 1: trained, judged by its gates, packaged, and champion."""
    trained = train_in(session, source)
    if not trained.report.passed:
        failed = "; ".join(f"{gate.gate}: {gate.reason}" for gate in trained.report.gates if not gate.passed)
        raise GateFailed(
            "the demo's first model did not pass its gates",
            received=failed,
            next_step="play it with more applications a week",
        )
    draft = drafts.of_run(session, trained.run)
    made = package_in(session, source, draft, trained.report_digest, trained.report, approve="auto")
    promote_in(session, source.project.name, made.version, "the demo's first model")
    return made.version


class _Play:
    """One demo while it is played."""

    def __init__(
        self, session: Session, source: LoadedProject, desk: Desk, world: World, stage: Stage, weeks: int
    ) -> None:
        self.session, self.source, self.desk, self.world, self.stage = session, source, desk, world, stage
        self.scene = Scene(weeks=weeks)
        self.alarms: dict[str, Alarm] = {}
        self.steps: list[Step] = []
        self._due: list[tuple[datetime, str, int]] = []

    def began(self) -> None:
        """Say what begins."""
        where = f"at {self.scene.url}" if self.scene.url else "in this process"
        model = f"{self.source.project.name} version {self.scene.champion}"
        self._tell("began", f"{model} is champion and answers {where}")

    def all(self, until: float) -> None:
        """Play every week, evenly until ``until`` of the monotonic clock."""
        for week in range(self.scene.weeks):
            told = self.world.troubles.told(week)
            self.scene.at = BEGIN + week * WEEK
            if told:
                self._tell("trouble", told)
            self._person()
            left = (until - time.monotonic()) / (self.scene.weeks - week)
            began = time.monotonic()
            for part, applications in enumerate(_parts(self.world.week(week), week)):
                self._traffic(applications, BEGIN + week * WEEK + (part + 1) * WEEK / _PARTS)
                _rest(began + max(left, 0.0) * (part + 1) / (_PARTS + 1))
            self._turn(week)
        self._tell("ended", f"{self.scene.weeks} weeks were played")

    def page(self) -> str:
        """Write the model's page; "" where what it needs is not installed."""
        try:
            found = str(monitored.page_in(self.session, self.source.project, code=self.source.code))
        except MissingExtra:
            return ""
        self._tell("page", found)
        return found

    def _traffic(self, applications: list[Application], until: datetime) -> None:
        """A day: what is asked is answered, and the labels that become known in it are sent."""
        scene = self.scene
        if applications:
            self._clock(applications[-1].at)
            found = self.desk.predict([one.row for one in applications])
            scene.rows += len(found)
            scene.verdicts.update(each.verdict.status for each in found)
            scene.answered_by.update(each.version for each in found)
            for each, one in zip(found, applications, strict=True):
                heapq.heappush(self._due, (one.known, each.id, one.defaulted))
        self._clock(until)
        known = []
        while self._due and self._due[0][0] <= until:
            _, identity, value = heapq.heappop(self._due)
            known.append(Outcome(prediction_id=identity, value=value))
        if known:
            self.desk.label(known)
        scene.labels += len(known)
        scene.waiting = len(self._due)
        self.stage.show(scene)

    def _turn(self, week: int) -> None:
        """A week is over: a turn of monitoring and one of the loop."""
        self._clock(BEGIN + (week + 1) * WEEK + GRACE)
        self.scene.week = week + 1
        monitor.turn_in(self.session, self.source)
        with Journal(self.session.folder("monitoring") / f"{self.source.project.name}.db") as journal:
            found = journal.alarms()
        for alarm in found:
            before = self.alarms.get(alarm.id)
            if before is None or before.state != alarm.state:
                self._tell("resolved" if alarm.state == "resolved" else "alarm", _alarm_text(alarm))
            self.alarms[alarm.id] = alarm
        self.scene.alarms = tuple(each for each in self.alarms.values() if each.state != "resolved")
        step = turn_in(self.session, self.source)
        if step.decision is not None:
            self.steps.append(step)
            self._tell(step.decision.action, step_text(step))  # type: ignore[arg-type] # never "keep" here
        self._follow()

    def _person(self) -> None:
        """Somebody comes in on Monday: a version that the loop did not dare to promote alone is approved."""
        model, state = self.source.project.name, self.session.workspace.ledger.state()
        waiting = [number for number in state.versions[model] if state.waits(model, number)]
        if not waiting or waiting[-1] < self.scene.champion:
            return
        number = waiting[-1]
        given = approve(model, version=number, reason=APPROVED, settings=self.session.settings)
        self._tell("approve", f"{given.actor} approves version {number}: {given.reason}")
        made = promote_in(self.session, model, number, f"approved by {given.actor}: {given.reason}")
        self._tell("promote", made.reason)
        self._follow()

    def _follow(self) -> None:
        champion = versions.champion(self.session, self.source.project.name)
        if champion != self.scene.champion:
            self.desk.follow(champion)
            self.scene.champion = champion
        self.stage.show(self.scene)

    def _clock(self, moment: datetime) -> None:
        self.scene.at = moment
        clock.put(self.session.workspace.root, _micros(moment))

    def _tell(self, kind: Kind, text: str) -> None:
        happened = Happened(at=self.scene.at, kind=kind, text=text)
        self.scene.happened.append(happened)
        self.stage.tell(happened)
        self.stage.show(self.scene)


def _alarm_text(alarm: Alarm) -> str:
    """An alarm in its own words."""
    return f"{alarm.severity} {alarm.id}: {alarm.text}"


def step_text(step: Step) -> str:
    """What a turn of the loop decided, in its own words; the alarms behind it by their ids: they were told before."""
    if step.decision is None:
        return "nothing"
    reason, trigger = step.decision.reason, step.trigger
    if trigger is None or not reason.startswith(trigger.reason):
        return reason
    behind = f" ({', '.join(trigger.alarms)})" if trigger.alarms else ""
    apart = "".join(f"; kept apart: {each.rows:,} rows, {each.reason}" for each in step.quarantine)
    return f"{trigger.cause}{behind}: {reason.removeprefix(trigger.reason).lstrip('; ')}{apart}"


def _parts(applications: Iterable[Application], week: int) -> Iterator[list[Application]]:
    """The applications of a week, a day at a time."""
    every = list(applications)
    for part in range(_PARTS):
        low, high = (BEGIN + week * WEEK + each * WEEK / _PARTS for each in (part, part + 1))
        yield [one for one in every if low <= one.at < high]


def _rest(until: float) -> None:
    pause = until - time.monotonic()
    if pause > 0:
        time.sleep(pause)


def _micros(moment: datetime) -> int:
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
