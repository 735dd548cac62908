"""The drift engine: one step per batch, from counts to evidence, with an alert budget that holds for ever.

All registered detectors bet on all columns of a kind; their e-detectors are averaged, and the kind alarms when the
average reaches c = batches a year / (budget x share of the kind). docs/drift.md derives the promise.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from fullcircle import registry
from fullcircle.errors import DataUnfit
from fullcircle.monitoring import away
from fullcircle.monitoring.columns import Columns
from fullcircle.monitoring.detector import Counted, Detector, Floats, Plan
from fullcircle.monitoring.profiles import columns_of
from fullcircle.stats import evidence
from fullcircle.types.durations import duration, per_year
from fullcircle.types.monitoring import KINDS, Evidence, Kind, Profile
from fullcircle.types.project import Monitor

SHARES: Mapping[Kind, float] = {"drift": 0.5, "risk": 0.25, "estimate": 0.25}
_FORM = 1
_QUIET = math.log(2.0)  # a column whose averaged CUSUM is at most this shows nothing


class Traffic(Protocol):
    """What the engine asks of a batch (``monitoring.batches.Batch``)."""

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that were counted."""
        ...

    def counts(self, name: str) -> ArrayLike:
        """K + 2 counts of a column."""
        ...

    def outside(self, name: str) -> int:
        """How many of its numbers are outside the reference's range."""
        ...


def threshold(monitor: Monitor, kind: Kind) -> float:
    """The logarithm of c: the level of the averaged e-detector at which a kind raises an alarm."""
    return math.log(max(1.0, monitor.windows_per_year / (per_year(monitor.false_alerts) * SHARES[kind])))


class Watch:
    """The detectors of one version of a model. Not for two threads at once.

    ``state`` is what ``state()`` gave earlier for the same profile; other bytes are refused with DataUnfit. Where
    other detectors gave it, evidence begins ``anew``, which costs only time, and ``notes`` say so. ``detectors`` are
    all registered ones by default.
    """

    def __init__(
        self,
        profile: Profile,
        monitor: Monitor,
        *,
        state: bytes = b"",
        detectors: Sequence[Detector] | None = None,
    ) -> None:
        chosen = _registered() if detectors is None else tuple(detectors)
        columns = {kind: columns_of(profile, kind) for kind in KINDS}
        every = max(1, sum(len(each) for each in columns.values()))
        self._legs = tuple(
            _Leg(kind, Columns(columns[kind], profile, monitor, every), chosen, threshold(monitor, kind))
            for kind in KINDS
            if columns[kind]
        )
        self.notes = _notes(profile, monitor)
        self._print = _print(profile)
        self._made_by = [f"{each.code} {each.name}" for each in chosen]
        self.anew = bool(state) and not self._restore(state)
        if self.anew:
            self.notes += ("the detectors are not those of the last batch: evidence begins anew",)

    def step(self, batch: Traffic, labelled: Traffic, *, phase: int | None = None) -> tuple[Evidence, ...]:
        """Judge one batch, once. ``labelled`` holds the columns of rows whose label came; both may be empty.

        ``phase`` is the batch's part of the week, counted as in ``Profile.dependence``; None for rows of no certain
        hour, which are compared with the whole week.
        """
        return tuple(leg.step(batch, labelled, phase) for leg in self._legs)

    def state(self) -> bytes:
        """Everything that later steps depend on; the same steps give the same bytes."""
        return msgspec.msgpack.encode([_FORM, self._print, self._made_by, [leg.state() for leg in self._legs]])

    def _restore(self, state: bytes) -> bool:
        """Go on from ``state``; False where evidence had to begin anew."""
        try:
            form, of, made_by, legs = msgspec.msgpack.decode(state)
            if form == _FORM and of == self._print and len(legs) == len(self._legs):
                same: bool = made_by == self._made_by
                for leg, kept in zip(self._legs, legs, strict=True):
                    same = leg.restore(kept, same) and same
                return same
        except (msgspec.DecodeError, ValueError, TypeError):
            pass  # refused like any other bytes
        raise DataUnfit(
            "the state of the detectors does not belong to this profile",
            received=f"{len(state)} bytes",
            allowed="what state() gave for the same profile",
            next_step="begin with an empty state: evidence so far is lost, the budget is kept",
        )


def _print(profile: Profile) -> bytes:
    """Tells one profile from another."""
    told = msgspec.msgpack.encode(profile, enc_hook=lambda number: number.item(), order="deterministic")
    return hashlib.blake2b(told, digest_size=16).digest()


def _registered() -> tuple[Detector, ...]:
    return tuple(registry.find("detectors", name)() for name in registry.names("detectors"))


class _Leg:
    """One kind: its columns, plans, and levels."""

    def __init__(self, kind: Kind, columns: Columns, detectors: Sequence[Detector], line: float) -> None:
        self.kind, self.columns, self.line, self.detectors = kind, columns, line, detectors
        self.share = 1 / len(detectors)
        self.plans: dict[int | None, tuple[Plan, ...]] = {}
        plans = self._plans(None)
        total = sum(each.weight for each in detectors)
        parts = [plan.weights * each.weight / total for plan, each in zip(plans, detectors, strict=True)]
        self.weights = np.concatenate(parts, axis=1)
        # A detector that does not bet on a column leaves its weight to the others.
        self.weights /= np.maximum(self.weights.sum(axis=1, keepdims=True), 1e-300)
        self.level: Floats = np.full(self.weights.shape, -np.inf)
        self.sums: Floats = np.full(self.weights.shape, -np.inf)
        self.memory = [plan.start() for plan in plans]
        self.since = away.Since.start(columns.counts.shape)

    def _plans(self, phase: int | None) -> tuple[Plan, ...]:
        phase = phase if self.columns.strata else None
        if phase not in self.plans:
            if len(self.plans) * self.columns.counts.size > 500_000:  # some 100 MB of bets
                self.plans.clear()
            reference = self.columns.reference(phase)
            self.plans[phase] = tuple(each.plan(reference, share=self.share) for each in self.detectors)
        return self.plans[phase]

    def step(self, batch: Traffic, labelled: Traffic, phase: int | None) -> Evidence:
        raw, outside = self.columns.counted(batch, labelled)
        effects = self.columns.effects_of(raw)
        counted = Counted(counts=raw / effects[:, None], outside=outside / effects)
        here = raw.sum(axis=1) > 0
        if not here.any():
            return self._evidence(False, ())
        returned = self._judge(counted, raw, here, phase)
        own = self._own()
        fired = float(evidence.log_average(own, np.full(len(own), 1 / len(own)))) >= self.line
        found = self._evidence(fired, returned)
        if fired:
            self._fire(own, raw)
            return self._evidence(True, returned, level=found.level)
        return found

    def _judge(self, counted: Counted, raw: Floats, here: Floats, phase: int | None) -> tuple[int, ...]:
        plans = self._plans(phase)
        log_e = np.concatenate(
            [plan.judge(counted, kept) for plan, kept in zip(plans, self.memory, strict=True)], axis=1
        )
        log_e = evidence.insured(log_e, self.columns.unseen)
        # Kept in short floats, so that a restart goes on from the very same numbers.
        level = evidence.shiryaev_roberts(self.level, log_e).astype(np.float32).astype(np.float64)
        sums = evidence.cusum(self.sums, log_e).astype(np.float32).astype(np.float64)
        self.level = np.where(here[:, None], level, self.level)
        self.sums = np.where(here[:, None], sums, self.sums)
        self.memory = [
            plan.learn(counted, kept).astype(np.float32).astype(np.float64)
            for plan, kept in zip(plans, self.memory, strict=True)
        ]
        quiet = evidence.log_average(self.sums, self.weights) <= _QUIET
        returned = self.since.step(raw, counted.counts, self.columns.shares(phase), quiet)
        # A column that came back joins at 0: what it shows in this batch was never for an alarm.
        out = self.since.away.copy()
        out[list(returned)] = True
        self.level[out] = -np.inf
        self.sums[out & (self.since.back <= 0)] = -np.inf
        return returned

    def _own(self) -> Floats:
        """The log e-detector of each column; a column that is away has none."""
        own = evidence.log_average(self.level, self.weights)
        return np.asarray(np.where(self.since.away, -np.inf, own))

    def _fire(self, own: Floats, raw: Floats) -> None:
        certain = evidence.passing(own, self.line)
        named = certain.copy()
        if not named.any():
            named[int(np.argmax(own))] = True
        self.since.leave(named, certain, own, raw)
        self.level[:] = -np.inf
        self.sums[self.since.back <= 0] = -np.inf

    def _evidence(self, fired: bool, returned: tuple[int, ...], level: float | None = None) -> Evidence:
        own = self._own()
        now = float(evidence.log_average(own, np.full(len(own), 1 / len(own))))
        return Evidence(
            kind=self.kind,
            level=now if level is None else level,
            threshold=self.line,
            fired=fired,
            suspects=away.suspects(self.since, self.columns),
            returned=tuple(self.columns.names[place] for place in returned),
            begun=int(self.since.age[self.since.away].max(initial=0)),
        )

    def state(self) -> list[object]:
        floats = [self.level, self.sums, *self.memory]
        kept = [np.ascontiguousarray(each, dtype="<f4").tobytes() for each in floats]
        return [list(self.columns.names), kept, self.since.state()]

    def restore(self, kept: list[object], same: bool) -> bool:
        """Go on from ``kept``, False where its evidence is of other detectors. ValueError for other columns."""
        names, floats, since = kept
        if list(self.columns.names) != names or not self.since.restore(since):
            raise ValueError(names)
        own = [self.level, self.sums, *self.memory]
        if not same or not isinstance(floats, list) or len(floats) != len(own):
            return False
        if any(len(data) != 4 * like.size for data, like in zip(floats, own, strict=True)):
            return False
        read = [
            np.frombuffer(data, "<f4").reshape(like.shape).astype(np.float64)
            for data, like in zip(floats, own, strict=True)
        ]
        self.level, self.sums, self.memory = read[0], read[1], read[2:]
        return True


def _notes(profile: Profile, monitor: Monitor) -> tuple[str, ...]:
    known, seconds = profile.dependence, duration(monitor.window).total_seconds()
    taken = "rows are taken as independent of each other and their mix as the same at any hour"
    if known is None:
        return (
            f"cannot calibrate for dependence yet: {taken}; with 8 weeks and 56 batches of them in the"
            " reference both are learned from it",
        )
    if abs(known.seconds - seconds) > 1e-6:
        return (
            f"cannot calibrate for dependence yet: it was learned for batches of {known.seconds:g} seconds and"
            f" batches are of {seconds:g} now, so {taken}",
        )
    learned = (
        f"evidence is divided by design effects learned from {known.batches} batches of the reference:"
        " with dependent rows the budget holds about, not exactly"
    )
    if not known.unseen:
        return (learned + "; those batches vary as independent rows do, so a batch of another kind is a change",)
    most = math.exp(float(evidence.insured(math.inf, known.unseen)))
    return (
        f"{learned}; up to {known.unseen:.2%} of all batches may be of kinds that never came among them, so one"
        f" batch multiplies evidence by at most {most:.3g}, and a change takes several batches to be found",
    )
