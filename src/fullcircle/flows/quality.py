"""Quality in production: what labels tell, what can be said without them, over time and as findings.

Metrics, value, fairness and slices are evaluation's, so that figures mean the same as in the report before the model
was promoted. Without labels it is monitoring.estimates, moved and widened by what earlier estimates were off where
labels came. docs/outcomes.md has the limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fullcircle.evaluation import earning, groups, metrics
from fullcircle.evaluation.fairness import disparity
from fullcircle.evaluation.metrics import Metric
from fullcircle.flows import slicing
from fullcircle.flows.lots import Lot, lots
from fullcircle.flows.session import Session
from fullcircle.flows.versions import find
from fullcircle.monitoring import estimates, tracking
from fullcircle.monitoring import quality as told
from fullcircle.monitoring.grid import Grid, iso, length, micros
from fullcircle.packaging.bundle import Bundle
from fullcircle.stats import intervals, order
from fullcircle.types.contract import Contract
from fullcircle.types.gates import Gate
from fullcircle.types.monitoring import Loss, Profile
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.project import Project
from fullcircle.types.report import Finding, Measure, Report, Severity

FEWEST_LABELS = told.FEWEST_LABELS
VALUE = "value_per_row"
CALIBRATION = "calibration"
_REFERENCE = "reference_"
_ALSO = {"classification": ("accuracy", "roc_auc", "brier"), "regression": ("mae", "rmse")}
_LIMITS = (
    "It takes the model's probabilities at their word, after a calibration on the reference. The band holds only if "
    "the same answer still means what it meant there: that it means something else is not seen before labels come."
)
_LIMITS_OF_NUMBERS = (
    "For numbers it is the error that the reference had at such predictions: it sees other predictions, nothing else."
)


@dataclass(frozen=True, kw_only=True)
class About:
    """What stays the same for a version: whom it is about, how it is measured, and how it was on the reference.

    ``reference`` maps a metric to its measure in the report that the version was registered with.
    """

    project: Project
    contract: Contract
    profile: Profile
    metric: Metric
    gate: Gate | None
    reference: Mapping[str, Measure]

    @property
    def unit(self) -> str:
        """The unit of the label."""
        return self.contract.label_unit

    @property
    def loss(self) -> Loss | None:
        """What the model is wrong by on a row."""
        return self.profile.loss

    @property
    def reference_rows(self) -> int:
        """On how many rows the loss was learned."""
        labelled = [sum(each.counts) for each in self.profile.outcomes]
        return max(labelled, default=self.profile.rows)

    @property
    def also(self) -> tuple[Metric, ...]:
        """The metrics that are followed: the main one first."""
        task = self.contract.task
        return tuple(dict.fromkeys([self.metric, *(metrics.find(name, task) for name in _ALSO[task])]))


def about(session: Session, bundle: Bundle, project: Project, version: int) -> About:
    """What is needed to judge a version. Raises VersionNotFound where the ledger does not know it."""
    report = session.recall(find(session, project.name, version).report, Report)
    return about_of(bundle.contract, bundle.profile, project, report)


def about_of(contract: Contract, profile: Profile, project: Project, report: Report | None = None) -> About:
    """The same without a workspace."""
    task = contract.task
    metric = metrics.find(profile.metric, task) if profile.metric else metrics.main_metric(task, project.gates)
    gate = next((gate for gate in project.gates if gate.kind == "worth"), None)
    found = {}
    for name in (*(each.name for each in metrics.of_task(task)), VALUE, slicing.WORST):
        measure = None if report is None else report.measure(name)
        if measure is not None and measure.usable:
            found[name] = measure
    if profile.metric and profile.metric_value is not None:
        found[profile.metric] = Measure(
            name=profile.metric,
            value=profile.metric_value,
            low=profile.metric_low,
            high=profile.metric_high,
            n=profile.rows,
            unit=_unit(metric, contract),
            better=metric.better,
        )
    return About(project=project, contract=contract, profile=profile, metric=metric, gate=gate, reference=found)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A stretch by its own rows alone: what labels tell, what is estimated, and how far that was off, by metric.

    ``estimated`` is not moved by what earlier estimates missed; ``missed`` is of the rows that have a label.
    """

    realised: tuple[Measure, ...]
    estimated: tuple[Measure, ...] = ()
    missed: Mapping[str, tracking.Miss] = field(default_factory=dict)


def over_time(
    about: About, bounds: Sequence[tuple[str, str]], rows: Iterable[Prediction], outcomes: Mapping[str, Outcome]
) -> list[tuple[Measure, ...]]:
    """The measures of each stretch, in the order of ``bounds``: [since, until), times as the log has them, ascending.

    One pass over ``rows``, in any order; of a stretch 20 000 rows are kept, an even sample. An estimate is moved and
    widened by the misses of earlier stretches whose labels were due when it ended.
    """
    return told_over_time(about, bounds, judge(about, bounds, rows, outcomes))


def judge(
    about: About, bounds: Sequence[tuple[str, str]], rows: Iterable[Prediction], outcomes: Mapping[str, Outcome]
) -> list[Judged]:
    """The first half of ``over_time``, and the dear one: each stretch by its own rows alone."""
    worst = slicing.Slices(about.contract, bounds, about.project.protected)
    found = lots(about.contract, bounds, worst.passing(rows, outcomes), outcomes, about.project.protected)
    return [_judged(about, lot, worst.measures(about.project, place)) for place, lot in enumerate(found)]


def told_over_time(
    about: About, bounds: Sequence[tuple[str, str]], judged: Sequence[Judged]
) -> list[tuple[Measure, ...]]:
    """The second half: each stretch's measures, its estimates as they were known when it ended."""
    due = [sum(_due(about, other, present) for other in bounds[:place]) for place, present in enumerate(bounds)]
    given, _ = _followed(judged, due)
    return [(*each.realised, *measures) for each, measures in zip(judged, given, strict=True)]


def findings(
    about: About, rows: Iterable[Prediction], outcomes: Mapping[str, Outcome], *, since: str = ""
) -> tuple[Finding, ...]:
    """M003, what labels tell of the rows from ``since`` on, and M004, what can be said without them.

    Rows before ``since`` only serve to score earlier estimates, batch by batch, and to move the present one.
    """
    rows = list(rows)
    start = micros(since) if since else None
    earlier = _batches(about.project, rows, start)
    found = lots(about.contract, [*earlier, (since, "")], rows, outcomes, about.project.protected)
    due = [sum(_due(about, other, present) for other in earlier[:place]) for place, present in enumerate(earlier)]
    judged = [_judged(about, lot) for lot in found]
    given, held = _followed(judged, [*due, len(earlier)])
    return (_m003(about, found[-1], judged[-1]), _m004(about, found[-1], given[-1], held))


def cost_per_day(about: About, measures: Iterable[Measure], rows_a_day: float) -> tuple[float, str] | None:
    """What the model earns less than on the reference, in a day, and the currency; by labels, else by its estimate.

    None where no gate says what an answer is worth, or where it is not known to be less: the interval reaches the
    reference.
    """
    before = about.reference.get(VALUE)
    if about.gate is None or before is None or before.value is None:
        return None
    given = {each.name: each for each in measures if not each.group}
    for name in (VALUE, estimates.PREFIX + VALUE):
        found = given.get(name)
        if found is not None and found.value is not None and found.high is not None:
            less = found.high < before.value
            return ((before.value - found.value) * rows_a_day, about.project.currency) if less else None
    return None


def realised(about: About, lot: Lot) -> tuple[Measure, ...]:
    """What labels tell of a stretch: coverage and delay always, figures from 30 labels on, the reference's beside."""
    made = [_coverage(lot), *_delays(lot)]
    pairs = lot.labels
    if len(pairs.actual) < FEWEST_LABELS:
        return tuple(made)
    judged = [_measured(about, metric, pairs) for metric in about.also]
    made += [each for each in judged if each.value is not None]
    bias = _measured(about, metrics.find("bias", about.contract.task), pairs)
    if bias.value is not None:
        made.append(replace(bias, name=CALIBRATION))
    if about.gate is not None:
        made.append(_value(about, about.gate, pairs))
    made += _beside(about, made)
    for column in about.project.protected:
        made += _gaps(about, lot, pairs, column)
    return tuple(made)


def estimated(about: About, lot: Lot, *, labelled: bool = False) -> tuple[Measure, ...]:
    """What can be said without labels, of all rows or of those that have one; not yet moved."""
    if about.loss is None:
        return ()
    asked = lot.labelled_answers if labelled else lot.answers
    measures = estimates.estimate(
        about.loss,
        about.contract,
        asked,
        reference_rows=about.reference_rows,
        earn=_earn(about),
        unit=about.unit,
        currency=about.project.currency,
    )
    wanted = {*(metric.name for metric in about.also), VALUE}
    return tuple(each for each in measures if each.name.removeprefix(estimates.PREFIX) in wanted)


def _judged(about: About, lot: Lot, more: Sequence[Measure] = ()) -> Judged:
    came = realised(about, lot)
    more = (*more, *_beside(about, more))
    return Judged(realised=(*came, *more), estimated=estimated(about, lot), missed=_missed(about, lot, came))


def _beside(about: About, measures: Iterable[Measure]) -> list[Measure]:
    """What these were on the reference, as far as that is known."""
    known = [(each.name, about.reference.get(each.name)) for each in measures if not each.group]
    return [replace(before, name=_REFERENCE + name) for name, before in known if before is not None]


def _missed(about: About, lot: Lot, came: Sequence[Measure]) -> Mapping[str, tracking.Miss]:
    """How far the estimates on the labelled rows were off, by metric; nothing where there are too few."""
    if lot.labelled < estimates.FEWEST_ROWS:
        return {}
    known = {each.name: each for each in came if not each.group}
    found = {}
    for each in estimated(about, lot, labelled=True):
        name = each.name.removeprefix(estimates.PREFIX)
        off = tracking.miss(each, known[name]) if name in known else None
        if off is not None:
            found[name] = off
    return found


def _followed(
    judged: Sequence[Judged], due: Sequence[int]
) -> tuple[list[tuple[Measure, ...]], Mapping[str, Sequence[bool | None]]]:
    """The estimates of each stretch moved and widened, and by metric which of the bands held what came."""
    raw = [{each.name.removeprefix(estimates.PREFIX): each for each in one.estimated} for one in judged]
    given, held = {}, {}
    for name in dict.fromkeys(name for one in raw for name in one):
        given[name], held[name] = tracking.follow(
            [one.get(name) for one in raw], [each.missed.get(name) for each in judged], due
        )
    measures = [tuple(found for name in one if (found := given[name][place])) for place, one in enumerate(raw)]
    return measures, held


def _due(about: About, earlier: tuple[str, str], present: tuple[str, str]) -> bool:
    """Whether the labels of an earlier stretch were due when the present one ended."""
    ended, end = micros(earlier[1]), micros(present[1])
    if ended is None or end is None or earlier[1] >= present[1]:
        return False
    return ended + length(about.project.label_delay) <= end


def _batches(project: Project, rows: Sequence[Prediction], start: int | None) -> list[tuple[str, str]]:
    """The batches before the window that have rows, as far as their labels are due by its start."""
    if start is None:
        return []
    grid = Grid(length(project.monitor.window))
    last = start - length(project.label_delay)
    starts = {grid.start(made) for row in rows if (made := micros(row.time)) is not None}
    return [(iso(each), iso(each + grid.length)) for each in sorted(starts) if each + grid.length <= last]


def _m003(about: About, lot: Lot, judged: Judged) -> Finding:
    pairs = lot.labels
    metric = told.Metric(
        name=about.metric.name,
        of=lambda actual, predicted, shares: _figure(about, actual, predicted, shares),
        greater_is_better=about.metric.greater_is_better,
        unit=_unit(about.metric, about.contract),
        measure=lambda labelled: _measured(about, about.metric, labelled),
    )
    found = told.realised(pairs, lot.answered, metric, about.profile)
    known = {(each.name, each.group) for each in found.measures}
    more = tuple(each for each in judged.realised if (each.name, each.group) not in known)
    text = found.text
    value = next((each for each in more if each.name == VALUE), None)
    if value is not None:
        said = told.figure(value.value, value.low, value.high) if value.usable else f"unknown: {value.method}"
        text += f" An answer was worth {said} {value.unit}."
    return replace(found, text=text, measures=(*found.measures, *more))


def _m004(about: About, lot: Lot, measures: Sequence[Measure], held: Mapping[str, Sequence[bool | None]]) -> Finding:
    title = "Quality as estimated without labels"
    if not measures:
        return Finding(check="estimated", code="M004", title=title, severity="info", text=_why_not(about, lot))
    names = [each.name.removeprefix(estimates.PREFIX) for each in measures]
    name = about.metric.name if about.metric.name in names else names[0]
    main = measures[names.index(name)]
    text = f"{name} is probably {told.figure(main.value, main.low, main.high)} on {lot.answered} answered rows"
    before = about.reference.get(name)
    severity: Severity = "info"
    if before is not None and before.value is not None:
        text += f", {told.figure(before.value, before.low, before.high)} on the reference"
        worse = told.apart(main, before, main.better == "higher")
        severity = "warning" if worse else "good"
        text += ": worse, beyond the band" if worse else ""
    text += f". {_LIMITS_OF_NUMBERS if about.contract.task == 'regression' else _LIMITS}"
    hits = [each for each in held[name][:-1] if each is not None]
    if hits:
        text += f" Of {len(hits)} earlier batches whose labels came, {sum(hits)} fell within the band given then."
    more = tuple(
        replace(before, name=_REFERENCE + each) for each in names if (before := about.reference.get(each)) is not None
    )
    return Finding(
        check="estimated", code="M004", title=title, severity=severity, text=text, measures=(*measures, *more)
    )


def _why_not(about: About, lot: Lot) -> str:
    if about.loss is None:
        return "Cannot tell: the version has no loss to estimate; its reference had no labels, or its bundle is old."
    if about.loss.name == "error":
        return "Cannot tell: the model gives no probabilities, so it does not say how sure it is."
    if about.loss.name == "absolute" and not about.loss.calibration:
        return "Cannot tell: the reference had too few labelled rows to learn expected errors from."
    return f"Cannot tell yet: {lot.answered} answered rows, {estimates.FEWEST_ROWS} with probabilities are needed."


def _measured(about: About, metric: Metric, pairs: told.Labelled) -> Measure:
    found = metrics.measure(
        metric, pairs.actual, pairs.predicted, pairs.probabilities, about.contract.classes, unit=about.unit
    )
    return replace(found, better=metric.better)


def _figure(about: About, actual: Any, predicted: Any, shares: Any) -> float:
    found = metrics.answers(about.contract.task, actual, predicted, shares, about.contract.classes)
    return about.metric.of(found)


def _unit(metric: Metric, contract: Contract) -> str:
    return contract.label_unit if metric.unit == "label" else metric.unit


def _value(about: About, gate: Gate, pairs: told.Labelled) -> Measure:
    unit = f"{about.project.currency} a row".strip()
    try:
        amounts = pay(about, gate)(pairs.actual, pairs.predicted)
    except Exception as error:  # noqa: BLE001 - the function is the project's own, and must not stop the watch
        method = f"worth(...) failed: {type(error).__name__}: {error}"[:300]
        return Measure(name=VALUE, value=None, n=len(pairs.actual), unit=unit, method=method, better="higher")
    return earning.measure(VALUE, amounts, None, unit=unit)


def pay(about: About, gate: Gate) -> Callable[[Any, Any], Any]:
    """What a worth gate says each answer earned: of labels (n,) and answers (n,)."""
    contract = about.contract
    return earning.earn_of(gate, model=about.project.name, task=contract.task, classes=contract.classes)


def _earn(about: About) -> Callable[[Any, Any], Any] | None:
    """What answers would earn, None where that is not known or the project's function cannot say it."""
    if about.gate is None or about.contract.task == "regression":
        return None
    earn = pay(about, about.gate)
    label = about.contract.classes[0]
    try:
        earn(np.array([label] * 2), np.array([label] * 2))
    except Exception:  # noqa: BLE001 - what labels tell says why
        return None
    return earn


def _coverage(lot: Lot) -> Measure:
    found = intervals.proportion(lot.labelled, lot.answered) if lot.answered else None
    return Measure(
        name="label_coverage",
        value=None if found is None else found.value,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        n=lot.answered,
        unit="share",
        method="Wilson interval",
    )


def _delays(lot: Lot) -> list[Measure]:
    delays = lot.delays
    if not len(delays):
        return []
    found = [(name, order.quantile(delays, share)) for name, share in (("p50", 0.5), ("p90", 0.9))]
    return [
        Measure(
            name=f"label_delay_{name}",
            value=each.value,
            low=_finite(each.low),
            high=_finite(each.high),
            n=len(delays),
            unit="s",
            method="order statistics, of the labels that have come",
        )
        for name, each in found
    ]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _gaps(about: About, lot: Lot, pairs: told.Labelled, column: str) -> list[Measure]:
    """The main metric in each group of a column, and the widest gap; nothing where the log lacks the column."""
    values = lot.values(column)
    if all(value is None for value in values):
        return []
    import pandas as pd

    codes, names = groups.of_rows(pd.DataFrame({column: pd.Series(values, dtype=object)}), [column])
    metric, unit = about.metric, _unit(about.metric, about.contract)
    name = groups.gap_name([column], metric.name)
    if len(names) > disparity.MOST_GROUPS:
        method = f"{column} has {len(names)} groups; at most {disparity.MOST_GROUPS} can be compared"
        return [Measure(name=name, value=None, n=len(codes), unit=unit, method=method, better="lower")]
    whole = metrics.answers(
        about.contract.task, pairs.actual, pairs.predicted, pairs.probabilities, about.contract.classes
    )
    found = []
    for code, group in enumerate(names):
        part = whole.at(np.flatnonzero(codes == code))
        figures = {metric.name: metrics.estimate(metric, part)}
        found.append(disparity.Group(group, part.rows, part.worth, figures))
    # A group too small to judge would leave the gap unknown for as long as it is small: it is left out, and named.
    small = [group.name for group in found if group.worth < disparity.SMALLEST_GROUP]
    gap = disparity.gap(found, [column], metric.name, without=small)
    method = gap.method + (f"; left out as too small: {', '.join(small[:5])}" if small else "")
    return [
        Measure(
            name=name,
            value=gap.value,
            low=gap.low,
            high=gap.high,
            n=gap.rows,
            unit=unit,
            method=method,
            better="lower",
        ),
        *(
            metrics.as_measure(
                metric.name,
                group.estimates[metric.name],
                rows=group.worth,
                unit=unit,
                group=group.name,
                better=metric.better,
            )
            for group in found
            if group.worth >= disparity.SMALLEST_GROUP
        ),
    ]
