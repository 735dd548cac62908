"""One window of production: what moved, what became of the rows, and how good the answers were."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from fullcircle import registry
from fullcircle.monitoring import charts, quality
from fullcircle.monitoring.detector import Counts, Detector
from fullcircle.monitoring.profiles import arrived, counts
from fullcircle.stats.distances import jensen_shannon_debiased
from fullcircle.types.contract import STATUSES, Contract
from fullcircle.types.durations import per_year
from fullcircle.types.monitoring import Alarm, Profile, Window
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.project import Monitor
from fullcircle.types.report import Finding, Measure, Report


def watch(
    predictions: Sequence[Prediction],
    outcomes: Mapping[str, Outcome],
    *,
    profile: Profile,
    contract: Contract,
    monitor: Monitor,
    metric: quality.Metric | None,
    name: str,
    model: str,
    version: int,
    detectors: Sequence[Detector] | None = None,
) -> Window:
    """Compare the predictions of one window with the reference, and join the labels that have come.

    ``outcomes`` maps prediction ids to labels. Rejected rows count in the verdicts only, which are a feature like
    any other. ``detectors`` are all registered ones by default; they share the alert budget (see ``level``). An
    empty window raises no alarm.
    """
    detectors = _registered() if detectors is None else detectors
    alpha = level(monitor, len(profile.features), len(detectors))
    inputs = [arrived(each.inputs, each.verdict) for each in predictions if each.inputs is not None]
    statuses = [each.verdict.status for each in predictions]
    found = counts(profile, inputs, [each.value for each in predictions], statuses)
    alarms = tuple(alarm for each in detectors for alarm in each.detect(profile, found, alpha=alpha))
    labelled = quality.join(predictions, outcomes, contract)
    answered = sum(each.value is not None for each in predictions)
    times = [each.time for each in predictions if each.time]
    findings = (
        _drift(profile, found, alarms, alpha, _drift_text(profile, alarms, monitor, contract)),
        _verdicts(predictions),
        quality.realised(labelled, answered, metric, profile),
    )
    return Window(
        name=name,
        model=model,
        version=version,
        since=min(times, default=""),
        until=max(times, default=""),
        rows=len(predictions),
        labelled=len(labelled.actual),
        verdicts=_statuses(predictions),
        alarms=alarms,
        report=Report(subject=f"{model} version {version}, {name}", findings=findings, rows=len(predictions)),
    )


def level(monitor: Monitor, features: int, detectors: int = 1) -> float:
    """The chance of a false alarm that one detector has on one feature of one window: the budget, divided evenly.

    Expected false alarms a year are then at most the budget (a sum of expectations needs no independence).
    """
    return min(1.0, per_year(monitor.false_alerts) / (features * monitor.windows_per_year * max(1, detectors)))


def _registered() -> list[Detector]:
    return [registry.find("detectors", name)() for name in registry.names("detectors")]


def _drift(profile: Profile, found: Counts, alarms: Sequence[Alarm], alpha: float, text: str) -> Finding:
    distances = {
        feature.name: jensen_shannon_debiased(found[feature.name], feature.counts) for feature in profile.features
    }
    known = {name: bits for name, bits in distances.items() if not math.isnan(bits)}
    moved = dict.fromkeys(alarm.feature for alarm in alarms)
    title = "Drift against the reference"
    if not known:
        text = "There is no row in this window, so there is nothing to compare."
        return Finding(check="drift", code="M001", title=title, severity="warning", text=text)
    worst = min(moved or known, key=_order(profile, known))
    feature = next(each for each in profile.features if each.name == worst)
    return Finding(
        check="drift",
        code="M001",
        title=title,
        severity="warning" if alarms else "good",
        text=text,
        measures=tuple(
            Measure(
                name="js_distance",
                value=bits if name in known else None,
                n=sum(found[name]),
                unit="bits",
                method="debiased Jensen-Shannon divergence",
                group=name,
            )
            for name, bits in distances.items()
        ),
        charts=(charts.distances(known, moved), charts.histogram(feature, found[worst])),
        table=_table(distances, found, alarms, alpha),
    )


def _order(profile: Profile, distances: Mapping[str, float]) -> Callable[[str], tuple[bool, float]]:
    """The farthest first, the verdicts after all else: they are the consequence of what moved, or all there is.

    Of equal distances the first counts: the inputs come before the prediction.
    """
    verdict = profile.features[-2].name
    return lambda name: (name == verdict, -round(distances.get(name, 0.0), 3))


def _drift_text(profile: Profile, alarms: Sequence[Alarm], monitor: Monitor, contract: Contract) -> str:
    features = len(profile.features)
    budget = f"at a budget of {monitor.false_alerts} over {features} features (verdict and prediction are two)"
    private = [column.name for column in contract.columns if column.private]
    unwatched = f" Not watched, because private: {', '.join(private)}." if private else ""
    if not alarms:
        return f"No feature differs from the reference beyond chance, {budget}.{unwatched}"
    order = _order(profile, {alarm.feature: alarm.distance for alarm in alarms})
    first = sorted(alarms, key=lambda alarm: order(alarm.feature))
    named = ". ".join(dict.fromkeys(alarm.text for alarm in first[:3]))
    count = len({alarm.feature for alarm in alarms})
    more = f", and {count - 3} more" if count > 3 else ""
    return f"{count} of the features moved, {budget}{more}. {named}.{unwatched}"


def _table(
    distances: Mapping[str, float], found: Counts, alarms: Sequence[Alarm], alpha: float
) -> tuple[dict[str, object], ...]:
    lowest: dict[str, float] = {}
    for alarm in alarms:
        lowest[alarm.feature] = min(alarm.p, lowest.get(alarm.feature, 1.0))
    return tuple(
        {
            "feature": name,
            "distance, bits": None if math.isnan(bits) else round(bits, 4),
            "missing": found[name][-1],
            "alarm": name in lowest,
            "p": lowest.get(name),
            "alpha": alpha,
        }
        for name, bits in distances.items()
    )


def _statuses(predictions: Sequence[Prediction]) -> tuple[tuple[str, int], ...]:
    found = Counter(each.verdict.status for each in predictions)
    return tuple((status, found[status]) for status in STATUSES if found[status])


def _verdicts(predictions: Sequence[Prediction]) -> Finding:
    """How many rows got which verdict, and which columns were at fault."""
    statuses = _statuses(predictions)
    faults = Counter((problem.column, problem.reason) for each in predictions for problem in each.verdict.problems)
    share = ", ".join(f"{count} {status}" for status, count in statuses) or "none"
    common = [f"{column or 'the model'} ({reason}: {count})" for (column, reason), count in faults.most_common(3)]
    text = f"Of {len(predictions)} rows: {share}."
    if common:
        text += f" Most problems: {', '.join(common)}."
    return Finding(
        check="verdicts",
        code="M002",
        title="What became of the rows",
        severity="info",
        text=text,
        measures=tuple(
            Measure(name="verdicts", value=float(count), n=len(predictions), unit="rows", group=status)
            for status, count in statuses
        ),
        table=tuple(
            {"column": column, "problem": reason, "rows": count} for (column, reason), count in faults.most_common(50)
        ),
    )
