"""Champion and challenger side by side: what a retraining may be worth, and how both do on fresh and frozen rows."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullcircle.evaluation import metrics
from fullcircle.flows import subjects, versions
from fullcircle.flows.learning import Champion, Frozen
from fullcircle.monitoring.batches import Batch
from fullcircle.monitoring.grid import now
from fullcircle.monitoring.journal import Journal
from fullcircle.packaging.bundle import Bundle
from fullcircle.retraining import challenge, worth
from fullcircle.retraining.challenge import Moved
from fullcircle.retraining.worth import Level, Traffic, level
from fullcircle.runtimes.scorer import Scorer
from fullcircle.stats.intervals import Interval
from fullcircle.types.contract import Contract
from fullcircle.types.loop import Difference, Step, Worth

Array = NDArray[Any]
_DAY = 86_400_000_000
_LOOK_BACK = 30 * _DAY
BATCHES = 12
_Z = 1.959963984540054


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The fresh rows (n): what each model was wrong by, and both differences that were judged."""

    fresh: Difference | None
    frozen: Difference | None
    moved: Moved
    worth: Worth | None

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Those that could be told."""
        return tuple(each for each in (self.fresh, self.frozen) if each is not None and _told(each))


def expected(
    champion: Champion, journal: Journal, frame: Any, scored: subjects.Scored, frozen: Frozen | None
) -> Worth | None:
    """What a retraining may win back at most, by the champion's answers on new rows; None where nobody can tell.

    What was lost is measured against the better of the champion and the first version, each on the rows that it was
    judged by: a champion that was made when things were bad already is no measure of how good one can be.
    """
    reference, test = champion.made_from
    effect = effect_of(champion.bundle)
    known = [level(_lost(champion, reference[test], subjects.score(champion.scorer, reference[test])), effect=effect)]
    if frozen is not None and frozen.first != champion.version:
        first = versions.kept_scorer(champion.session, champion.project.name, frozen.first)
        answered = subjects.score(first, frozen.frame)
        known.append(level(_lost(champion, frozen.frame, answered, first.contract), effect=effect))
    told = [each for each in known if math.isfinite(each.mean)] or known
    came = level(_lost(champion, frame, scored), effect=effect)
    found = worth.expected(
        worth.growth(min(told, key=lambda each: each.mean), came),
        spread=came.spread,
        traffic=traffic(champion, journal),
        retrain=champion.project.retrain,
    )
    return found if _finite(found) else None


def _lost(champion: Champion, frame: Any, scored: subjects.Scored, contract: Contract | None = None) -> Array:
    """What answers missed on each row (n,): of money where the project says what one is worth, else the loss."""
    money = champion.missed(frame, scored)
    return champion.losses(frame, scored, contract) if money is None else money


def traffic(champion: Champion, journal: Journal) -> Traffic:
    """How many rows a day are answered now, by the journal's last 30 days; what the sums are in."""
    present = now()
    since = max(0, present - _LOOK_BACK)
    first = min((entry.start for entry in journal.entries(since=since, counts=False)), default=present)
    days = max(1.0, (present - max(first, since)) / _DAY)
    money = champion.about.gate is not None
    unit = champion.project.currency or "of value" if money else "loss"
    return Traffic(rows_a_day=journal.rows(None, since) / days, unit=unit, money=money)


def effect_of(bundle: Bundle) -> float:
    """How many rows tell as much of the loss as one independent row."""
    dependence = bundle.profile.dependence
    names = [each.name for each in bundle.profile.outcomes if each.role == "loss"]
    return max((dependence.effects.get(name, 1.0) for name in names), default=1.0) if dependence else 1.0


def compared(
    champion: Champion,
    challenger: Scorer,
    journal: Journal,
    fresh: Any,
    answered: subjects.Scored,
    frozen: Frozen | None,
    *,
    source: Any = None,
    quarantined: float = 0.0,
) -> Compared:
    """Both models on the ``fresh`` rows, which the champion ``answered`` already, and on the frozen ones."""
    given = subjects.score(challenger, fresh)
    on_fresh = _difference(champion, "fresh", fresh, answered, given, challenger, allowed=0.0)
    gain = champion.losses(fresh, answered) - champion.losses(fresh, given, challenger.contract)
    on_frozen = None if frozen is None else _on_frozen(champion, challenger, frozen, fresh, gain)
    moved = Moved(False, "")
    if on_frozen is not None and not on_frozen.passed:
        told = np.isfinite(gain)
        moved = challenge.moved(
            fresh[list(champion.project.features)][told].reset_index(drop=True),
            gain[told],
            None if source is None else source[told],
            reference=level(champion.reference, effect=effect_of(champion.bundle)),
            batches=batches_of(champion, journal),
            quarantined=quarantined,
        )
    return Compared(
        fresh=on_fresh,
        frozen=on_frozen,
        moved=moved,
        worth=_measured(champion, journal, fresh, answered, given, gain),
    )


def batches_of(champion: Champion, journal: Journal) -> list[Level]:
    """The champion's realised loss in the monitor's latest batches that have labels, the oldest first."""
    profile = champion.bundle.profile
    names = [each.name for each in profile.outcomes if each.role == "loss"]
    entries = [each for each in journal.entries(champion.version, judged=True, counts=False) if each.labelled]
    effect, found = effect_of(champion.bundle), []
    for entry in entries[-BATCHES:] if names else ():
        data = journal.counts_of(entry)[1]
        said = Batch.decode(profile.outcomes, data).summary(names[0]) if data else None
        if said is not None and said.n and said.mean is not None and said.deviation is not None:
            error = said.deviation * math.sqrt(effect / said.n)
            found.append(Level(mean=said.mean, error=error, spread=said.deviation, rows=said.n))
    return found


def _measured(
    champion: Champion, journal: Journal, fresh: Any, answered: subjects.Scored, given: subjects.Scored, gain: Array
) -> Worth | None:
    before, after = champion.earned(fresh, answered), champion.earned(fresh, given)
    found = level(gain if before is None or after is None else after - before, effect=effect_of(champion.bundle))
    half = _Z * found.error
    said = worth.measured(
        Interval(found.mean, found.mean - half, found.mean + half),
        spread=found.spread,
        traffic=traffic(champion, journal),
        retrain=champion.project.retrain,
    )
    return said if _finite(said) else None


def _difference(
    champion: Champion,
    on: Literal["fresh", "frozen"],
    frame: Any,
    answered: subjects.Scored,
    given: subjects.Scored,
    challenger: Scorer,
    *,
    allowed: float,
) -> Difference:
    """The paired difference on the rows that both answered."""
    metric = champion.about.metric
    both = answered.known & given.known
    one, other = (
        _answers(champion, frame[both], scored, contract, both)
        for scored, contract in ((answered, champion.contract), (given, challenger.contract))
    )
    found = metrics.improvement(metric, other, one, seed=champion.project.seed)
    figures = [found.value, found.low, found.high]
    value, low, high = (math.nan if each is None else each for each in figures)
    return challenge.judge(
        on, metric.name, int(both.sum()), metric.of(one), metric.of(other), value, low, high, allowed=allowed
    )


def _answers(champion: Champion, frame: Any, scored: subjects.Scored, contract: Any, both: Array) -> metrics.Answers:
    classes = champion.contract.classes
    shares = subjects.in_order(contract, scored.probabilities, classes)
    actual = frame[champion.project.label].to_numpy()
    return metrics.answers(
        contract.task, actual, scored.values[both], None if shares is None else shares[both], classes
    )


def _on_frozen(champion: Champion, challenger: Scorer, frozen: Frozen, fresh: Any, gain: Array) -> Difference:
    frame, project = frozen.frame, champion.project
    answered, given = subjects.score(champion.scorer, frame), subjects.score(challenger, frame)
    metric = champion.about.metric
    known = answered.known
    own = metric.merit(metric.of(_answers(champion, frame[known], answered, champion.contract, known)))
    anchor = anchor_of(champion, frozen)
    merit = own if anchor == champion.version else _merit_of(champion, anchor, frame)
    allowed = challenge.allowance(project.retrain.tolerance, merit, own)
    allowed = allowed if math.isfinite(allowed) else 0.0
    features = list(project.features)
    return challenge.everywhere(
        _difference(champion, "frozen", frame, answered, given, challenger, allowed=allowed),
        frame[features],
        champion.losses(frame, answered),
        champion.losses(frame, given, challenger.contract),
        fresh[features],
        gain,
        tolerance=project.retrain.tolerance,
    )


def anchor_of(champion: Champion, frozen: Frozen) -> int:
    """The version that is gone by on the frozen rows.

    It is the latest on the way to the champion that a person approved or that came with a change of concept, else the
    first of the line.
    """
    state, model = champion.session.workspace.ledger.state(), champion.project.name
    changed = {
        fact.body.get("version")
        for fact in state.decisions
        if fact.body.get("model") == model and fact.body.get("action") == "promote" and fact.body.get("step")
        if champion.session.recall(str(fact.body["step"]), Step).changed
    }
    for number in reversed(state.history[model]):
        if number in changed or state.approval(model, number) is not None:
            return number
    return frozen.first


def _merit_of(champion: Champion, version: int, frame: Any) -> float:
    """How good a version is on labelled rows, in merit."""
    session, model = champion.session, champion.project.name
    scorer = versions.kept_scorer(session, model, version)
    metric = champion.about.metric
    found = subjects.score(scorer, frame)
    return metric.merit(metric.of(_answers(champion, frame[found.known], found, scorer.contract, found.known)))


def _told(difference: Difference) -> bool:
    return all(math.isfinite(each) for each in astuple(difference) if isinstance(each, float))


def _finite(found: Worth) -> bool:
    figures = (found.rows, found.per_row, found.low, found.high, found.cost, found.risk)
    return all(math.isfinite(each) for each in figures)
