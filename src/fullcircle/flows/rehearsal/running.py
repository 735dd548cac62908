"""A policy from its beginning to its result: it is played, its story read, and its answers are measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.development.loading import LoadedProject
from fullcircle.flows.counting import GRACE
from fullcircle.flows.rehearsal import answering, history, policies, scoring, story
from fullcircle.flows.rehearsal.history import spans
from fullcircle.flows.rehearsal.place import Place, place_of
from fullcircle.flows.rehearsal.player import EVERY, Player, Told, played
from fullcircle.flows.session import Session
from fullcircle.ledger.folder import locked
from fullcircle.monitoring.grid import iso, length, micros
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.types.loop import Played, Policy

PATIENCE = 60.0  # seconds: longer than a turn


@dataclass(frozen=True, kw_only=True)
class Job:
    """One policy to play: the project's file and parameters, where, and from when until when (microseconds)."""

    project: str
    params: Mapping[str, Any]
    code: str
    home: str
    name: str
    changes: Mapping[str, str]
    since: int
    until: int
    values: Mapping[str, str]
    paths: Mapping[str, str]
    folder: str
    every: float = EVERY


@dataclass(frozen=True, kw_only=True)
class Made:
    """A version that a policy made: the name of its answers, and when the first window began that it could answer."""

    name: str
    at: int


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out of one policy, and the versions that it made."""

    policy: Policy
    versions: tuple[Made, ...]


def run(job: Job, source: LoadedProject, told: Told = lambda done, total: None) -> Result:
    """Play a policy, or take up the result that is there already. ``source`` is the project without the changes.

    Raises WorkspaceBusy where another process plays it: one whose parent was killed ends with its turn.
    """
    place = place_of(Path(job.home), source.project.name, job.name, job.changes)
    place.folder.mkdir(parents=True, exist_ok=True)
    with locked(place.folder / "lock", PATIENCE):
        if place.result.exists():
            return msgspec.json.decode(place.result.read_bytes(), type=Result)
        return _run(job, source, place, told)


def _run(job: Job, source: LoadedProject, place: Place, told: Told) -> Result:
    player = Player(
        place=place,
        source=played(policies.changed(source, job.changes)),
        history=history.opened(Path(job.home) / "history"),
        since=job.since,
        until=job.until,
        settings=Settings(values=job.values, paths=job.paths, folder=Path(job.folder)),
        every=job.every,
    )
    player.play(told)
    with player.session() as session:
        found = _result(job, player, session, length(source.project.monitor.window), source)
    partial = place.folder / f".result.{os.getpid()}"
    partial.write_bytes(msgspec.json.encode(found, order="deterministic"))
    os.replace(partial, place.result)
    return found


def _result(job: Job, player: Player, session: Session, window: int, source: LoadedProject) -> Result:
    model = player.model
    how = scoring.measuring(source.project, answering.scorer_of(session, model, 1))
    bounds = spans(job.since, job.until, window)
    sums = scoring.Sums(how)
    windows = _windows(player, session, bounds, sums)
    counts = story.counts(session, model)
    value = sums.value
    earned = None if value is None else value * sums.rows - source.project.retrain.cost * counts["trained"]
    return Result(
        policy=Policy(
            name=job.name,
            changes=dict(sorted(job.changes.items())),
            windows=tuple(windows),
            told=story.told(session, model, job.since),
            metric=sums.metric,
            value=value,
            earned=earned,
            **counts,
        ),
        versions=tuple(_versions(job, player, session, how)),
    )


def _windows(player: Player, session: Session, bounds: Sequence[tuple[int, int]], sums: scoring.Sums) -> list[Played]:
    """What was answered in each window, measured by all labels that ever came."""
    rows = _logged(player)
    contract, version = answering.scorer_of(session, player.model, 1).contract, 1
    found = []
    for each in scoring.windows(player.history, bounds, player.until, player.source.project.label):
        answers = [next(rows) for _ in range(len(each.labels))]
        version = answers[-1].version if answers else version
        told = answering.of_predictions(contract, answers, sums.how.classes, len(answers))
        labelled, metric, value = sums.add(each.labels, each.known, told)
        found.append(
            Played(
                since=iso(each.start),
                until=iso(min(each.stop, player.until)),
                rows=len(answers),
                labelled=labelled,
                version=version,
                metric=metric,
                value=value,
            )
        )
    return found


def _logged(player: Player) -> Any:
    """The logged rows in the order in which they were played."""
    home = player.place.predictions / player.model
    for path in sorted(home.glob("[0-9a-f]" * 16 + ".jsonl")):
        yield from log.SegmentRows(home, path.stem)


def _versions(job: Job, player: Player, session: Session, how: scoring.Measuring) -> Any:
    """Each version with its answers for all rows from the window on that it was made for.

    It was there a minute after that window began: the monitor waits so long.
    """
    folder = Path(job.home) / "answers"
    folder.mkdir(exist_ok=True)
    known = session.workspace.ledger.state().versions[player.model]
    for number, time in sorted(story.made(session, player.model).items()):
        at = max((micros(time) or 0) - GRACE, job.since)
        name = f"{known[number].bundle[:24]}-{at}"
        scorer = answering.scorer_of(session, player.model, number)
        scoring.version_answers(folder / name, scorer, player.history, at, player.until, how)
        yield Made(name=name, at=at)


def reloaded(job: Job) -> LoadedProject:
    """The project of a job, in a process of its own."""
    from fullcircle.development.loading import load

    source = load(job.project)
    return replace(source, project=replace(source.project, params=job.params))
