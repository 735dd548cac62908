"""What a turn of monitoring says besides drift: quality, with labels and without, requests, what a change costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from fullcircle.flows import quality
from fullcircle.flows.counting import Turn
from fullcircle.monitoring import service, words
from fullcircle.monitoring.batches import Batch
from fullcircle.monitoring.grid import iso
from fullcircle.monitoring.journal import Entry
from fullcircle.packaging.bundle import Bundle
from fullcircle.tables import predictions as log
from fullcircle.tables import requests
from fullcircle.types.monitoring import KINDS, Evidence, FeatureProfile, Kind, Suspect
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.report import Finding

BEFORE = 8  # batches before the window, on which earlier estimates are scored
_DAY = 86_400_000_000
_LOOKED_AT = 2_000  # rows of a batch, evenly spaced, from which a mistake of units is guessed
_MANY = 200_000  # rows: more are not read again for the sake of earlier estimates


def of_rows(
    turn: Turn,
    found: Bundle,
    version: int,
    rows: Sequence[Prediction],
    outcomes: Mapping[str, Outcome],
    since: str = "",
) -> tuple[Finding, ...]:
    """M003 and M004: quality on those rows whose labels have come, and what can be said of all."""
    about = quality.about(turn.session, found, turn.project, version)
    return quality.findings(about, rows, outcomes, since=since)


def of_log(turn: Turn, found: Bundle, version: int, since: int) -> tuple[Finding, ...]:
    """The same of the rows of a version since a moment, read from the log, and M005: what became of requests."""
    folder, begin = turn.session.workspace.predictions, max(0, since - BEFORE * turn.grid.length)
    if turn.journal.rows(version, begin) > _MANY:
        begin = since
    rows = [*log.read(folder, turn.model, since=iso(begin), version=version)]
    said = of_rows(turn, found, version, rows, log.read_outcomes(folder, turn.model), iso(since))
    stretch = [(iso(since), iso(turn.now + 1))]
    (counted,) = requests.read(folder, turn.model, stretch, version)
    (unnamed,) = requests.read(folder, "", stretch)
    return (*said, service.finding(counted, unnamed))


def costs_of(
    turn: Turn, found: Bundle, entry: Entry, rows: Iterable[Prediction] | None = None
) -> tuple[Mapping[Kind, float], str]:
    """What the model earns less a day than on the reference, as far as a batch shows it, and the currency.

    It is said beside an alarm of any kind: nobody knows which of them it belongs to. ``rows`` are those of the
    batch; without them they are read from the log.
    """
    about = quality.about(turn.session, found, turn.project, entry.version)
    if about.gate is None:
        return {}, ""
    folder = turn.session.workspace.predictions
    bounds = [(iso(entry.start), iso(entry.stop))]
    if rows is None:
        rows = log.read(folder, turn.model, since=bounds[0][0], until=bounds[0][1], version=entry.version)
    (measures,) = quality.over_time(about, bounds, rows, log.read_outcomes(folder, turn.model))
    lasted = turn.grid.length if entry.name else entry.stop - entry.start
    cost = quality.cost_per_day(about, measures, entry.rows * _DAY / lasted)
    return ({}, "") if cost is None else (dict.fromkeys(KINDS, cost[0]), cost[1])


def explained(
    turn: Turn, found: Bundle, entry: Entry, counts: Sequence[Batch], evidence: Sequence[Evidence]
) -> tuple[Evidence, ...]:
    """Evidence whose suspects say what moved in this batch and, by an even sample of it, what may have happened.

    Only where an alarm is raised: rows are not read again for anything less.
    """
    if not any(each.fired for each in evidence):
        return tuple(evidence)
    features = {each.name: each for each in (*found.profile.features, *found.profile.outcomes)}
    held = {name: batch.counts(name).tolist() for batch in counts for name in batch.features}
    rows = log.read(
        turn.session.workspace.predictions,
        turn.model,
        since=iso(entry.start),
        until=iso(entry.stop),
        version=entry.version,
    )
    spaced = islice(rows, 0, None, max(1, -(-entry.rows // _LOOKED_AT)))
    inputs = [row.inputs for row in spaced if row.inputs is not None]

    def told(suspect: Suspect) -> Suspect:
        feature: FeatureProfile | None = features.get(suspect.feature)
        if feature is None or not sum(held.get(suspect.feature, ())):
            return suspect
        values = [row[feature.name] for row in inputs if row.get(feature.name) is not None]
        guess = words.guess(feature, values) if values and feature.role == "input" else ""
        return replace(suspect, text=words.what_moved(feature, held[suspect.feature]), guess=guess)

    return tuple(replace(each, suspects=tuple(map(told, each.suspects))) for each in evidence)
