"""E002 fairness: is the model worse for some groups than for others?

For every fair gate, Fairlearn's MetricFrame gives the metric per group of the column ``by``. Measures: the metric
per group (group ``<by>=<value>``), and the largest difference between groups as ``fair_gap:<by>:<metric>``. A
group too small to judge makes the gap unknown: it is named, and the gate says no.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fullcircle.errors import ColumnMissing
from fullcircle.evaluation import charts, metrics, words
from fullcircle.evaluation.check import Array, Skipped, Subject
from fullcircle.evaluation.metrics import Answers, Metric
from fullcircle.stats import intervals
from fullcircle.types.report import Chart, Finding, Measure

SMALLEST_GROUP = 20
_GROUPS_SHOWN = 20


class Fairness:
    """Metrics per group and the gap between groups."""

    name = "fairness"
    code = "E002"
    measures: tuple[str, ...] = ()

    def run(self, subject: Subject) -> Finding | Skipped:
        """One comparison for each column and metric that a fair gate names."""
        asked = dict.fromkeys((gate.by, gate.metric) for gate in subject.gates if gate.kind == "fair")
        if not asked:
            return Skipped("no gate asks for it: fc.fair(by=..., metric=..., gap=...)")
        limits = {(gate.by, gate.metric): gate.limit for gate in subject.gates if gate.kind == "fair"}
        found = [_compare(subject, by[0], metrics.find(name, subject.task)) for by, name in asked]
        gaps = [each.gap for each in found]
        unknown = any(not gap.usable for gap in gaps)
        wide = any(
            gap.value is not None and gap.value > limits[asked_for]
            for gap, asked_for in zip(gaps, asked, strict=True)
        )
        return Finding(
            check=self.name,
            code=self.code,
            title="Fairness",
            severity="bad" if wide else "warning" if unknown else "good",
            text=" ".join(each.text for each in found),
            measures=tuple(measure for each in found for measure in (each.gap, *each.groups)),
            charts=tuple(each.chart for each in found),
        )


@dataclass(frozen=True)
class Comparison:
    """The groups of one column under one metric."""

    gap: Measure
    groups: tuple[Measure, ...]
    chart: Chart
    text: str


def _compare(subject: Subject, by: str, metric: Metric) -> Comparison:
    import pandas as pd
    from fairlearn.metrics import MetricFrame

    names = _groups(subject, by)
    answers = metrics.answers(subject.task, subject.actual, subject.predicted, subject.probabilities, subject.classes)
    unit = subject.label if metric.unit == "label" else metric.unit
    rows = np.arange(subject.rows)

    def on(picked: Array, _: Array) -> float:
        # Fairlearn hands on labels and predictions; with positions in their place every metric fits, also
        # those of probabilities.
        chosen = answers.at(np.asarray(picked))
        return metric.of(chosen) if metric.applies(chosen) else float("nan")

    frame = MetricFrame(metrics=on, y_true=rows, y_pred=rows, sensitive_features=pd.Series(names))
    groups = tuple(
        metrics.as_measure(
            metric.name,
            metrics.estimate(metric, answers.at(rows[names == name]), seed=subject.seed),
            rows=int(np.sum(names == name)),
            unit=unit,
            group=f"{by}={name}",
        )
        for name in frame.by_group.index
    )
    gap = _gap(subject, by, metric, answers, names, float(frame.difference(method="between_groups")), groups, unit)
    title = f"{metric.name} by {by}"
    shown = sorted(groups, key=lambda each: -each.n)[:_GROUPS_SHOWN]
    chart = charts.ranges(
        title, [(each.group.removeprefix(f"{by}="), each) for each in shown], x_title=f"{metric.name} {unit}".strip()
    )
    return Comparison(gap, groups, chart, _text(by, metric, gap, groups))


def _groups(subject: Subject, by: str) -> Array:
    """The group of every row as text; a missing value is a group of its own."""
    if by not in subject.frame.columns:
        raise ColumnMissing(
            "a fair gate names a column that is not in the data",
            received=repr(by),
            allowed=", ".join(str(name) for name in subject.frame.columns),
            next_step="mend by=... in the project file",
        )
    column = subject.frame[by]
    present = column.notna().to_numpy()
    return np.array(
        [str(value) if known else "(missing)" for value, known in zip(column.tolist(), present, strict=True)],
        dtype=object,
    )


def _gap(
    subject: Subject,
    by: str,
    metric: Metric,
    answers: Answers,
    names: Array,
    value: float,
    groups: tuple[Measure, ...],
    unit: str,
) -> Measure:
    name = f"fair_gap:{by}:{metric.name}"
    reason = _why_not(by, groups)
    if reason or metrics.finite(value) is None:
        return Measure(name=name, value=None, n=subject.rows, unit=unit, method=reason or "not defined on these rows")
    codes = np.unique(names.astype(str), return_inverse=True)[1]

    def statistic(picked: Array) -> float:
        drawn = codes[picked]
        each = [metric.of(answers.at(picked[drawn == code])) for code in range(len(groups)) if np.any(drawn == code)]
        return max(each) - min(each)

    draws = metrics.draws_for(subject.rows)
    found = intervals.bootstrap(statistic, np.arange(subject.rows), seed=subject.seed, draws=draws)
    return Measure(
        name=name,
        value=value,
        low=metrics.finite(found[1]),
        high=metrics.finite(found[2]),
        n=subject.rows,
        unit=unit,
        method=f"Fairlearn difference between groups, percentile bootstrap, {draws} draws",
    )


def _why_not(by: str, groups: tuple[Measure, ...]) -> str:
    """Why no gap can be told, or ""."""
    if len(groups) < 2:
        return f"{by} has one group only, so there is nothing to compare"
    small = [group for group in groups if group.n < SMALLEST_GROUP]
    if small:
        named = ", ".join(f"{group.group} ({words.rows(group.n)})" for group in small[:5])
        more = f" and {len(small) - 5} more" if len(small) > 5 else ""
        return f"too few rows to judge {named}{more}; at least {SMALLEST_GROUP} are needed"
    undefined = [group.group for group in groups if not group.usable]
    return f"the metric is not defined for {', '.join(undefined[:5])}" if undefined else ""


def _text(by: str, metric: Metric, gap: Measure, groups: tuple[Measure, ...]) -> str:
    if not gap.usable:
        return f"The gap of {metric.name} between groups of {by} is unknown: {gap.method}."
    ordered = sorted(groups, key=lambda group: metric.merit(group.value or 0.0))
    worst, best = ordered[0], ordered[-1]
    return (
        f"{metric.name} differs by {words.span(gap)} between groups of {by}: "
        f"{words.number(worst.value)} for {worst.group}, {words.number(best.value)} for {best.group}."
    )
