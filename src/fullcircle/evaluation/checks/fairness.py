"""E002 fairness: for whom is the model worse, and whom does it over- or underestimate?

Groups are those of every protected column, of two or three protected columns together, and of what fair gates name.
Measures: ``group_<metric>`` for every group; ``fair_gap:<columns>:<metric>``, the widest difference between two
groups; ``demographic_parity_difference:<columns>`` and ``equalized_odds_difference:<columns>`` for two classes,
``mean_prediction_gap:<columns>`` for numbers; ``proxy`` for every protected column, how well the features foretell
it. A group under 30 rows (with weights: one that tells less than 30 equal rows) makes a gap unknown, unless a gate
names it in ``without``: it is then left out, and named.
docs/checks/fairness.md has formulas and sources.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fullcircle.errors import DataUnfit
from fullcircle.evaluation import charts, metrics, words
from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.evaluation.fairness import disparity, proxy
from fullcircle.evaluation.fairness.disparity import MOST_GROUPS, SMALLEST_GROUP, Gap, Off
from fullcircle.evaluation.fairness.sides import BEYOND, Side, gap_measure, group_measure, sides_of, unit_of
from fullcircle.evaluation.metrics import Answers, Estimate, Metric
from fullcircle.types.gates import Gate
from fullcircle.types.report import Chart, Finding, Measure, Severity

__all__ = ["BEYOND", "SMALLEST_GROUP", "Fairness"]

LEVEL = 0.001  # of a false warning of a signed error, over all groups of all columns
# It must matter as well: in probability, and in standard deviations of a label that is a number.
RELEVANT = 0.02
RELEVANT_SD = 0.05
_GROUPS_SHOWN = 20
_SAID = 2


class Fairness:
    """Metrics per group, the gaps between groups, signed errors, and proxies."""

    name = "fairness"
    code = "E002"
    measures: tuple[str, ...] = ()

    def run(self, subject: Subject) -> Finding | Skipped:
        """Compare groups, and judge what gates ask."""
        fair = [gate for gate in subject.gates if gate.kind == "fair"]
        if not fair and not subject.protected:
            return Skipped("no column is protected and no gate asks: Project(protected=[...]) or fc.fair(...)")
        answers = metrics.own(subject)
        main = metrics.main_metric(subject.task, subject.gates, probabilities=subject.probabilities is not None)
        sides = sides_of(subject, answers, main, fair)
        singles = [side for side in sides if len(side.by) == 1 and side.found]
        off = _off(subject, answers, singles)
        proxies = [_proxy(subject, column, sides) for column in subject.protected]
        verdicts = [_verdict(gate, sides) for gate in fair]
        measures = tuple(measure for side in sides for measure in side.measures(subject)) + tuple(proxies)
        _refuse_twins(measures)
        return Finding(
            check=self.name,
            code=self.code,
            title="Fairness",
            severity=_severity(verdicts, off),
            text=" ".join(_sentences(subject, sides, main, verdicts, off, proxies)),
            measures=measures,
            charts=tuple(chart for side in singles for chart in _charts(subject, side, main)),
            table=tuple(row for side in sides for row in side.table()),
        )


@dataclass(frozen=True)
class _Verdict:
    gate: Gate
    gap: Gap
    kept: bool | None


def _refuse_twins(measures: Sequence[Measure]) -> None:
    """Column names and values with "=", "/" and commas could give two groups one name, and a gate either figure."""
    times = Counter((measure.name, measure.group) for measure in measures)
    twice = [f"{name} {group}".strip() for (name, group), count in times.items() if count > 1]
    if twice:
        raise DataUnfit(
            "two groups, or two groupings, are called alike",
            received=disparity.listed(twice),
            allowed="names and values of columns without '=', '/' and ', '",
            next_step="rename the column or its values in prepare",
        )


def _verdict(gate: Gate, sides: Sequence[Side]) -> _Verdict:
    """Whether a gate's gap keeps its limit at its upper end; None where that is unknown."""
    side = next(side for side in sides if side.by == gate.by)
    gap = side.gaps[gate.metric]
    return _Verdict(gate, gap, None if gap.value is None or gap.high is None else gap.high <= gate.limit)


def _off(subject: Subject, answers: Answers, singles: Sequence[Side]) -> tuple[Off, ...]:
    if subject.task == "regression":
        relevant = RELEVANT_SD * float(np.std(answers.actual))
    elif answers.known == 2 and answers.probabilities is not None and not answers.strange():
        relevant = RELEVANT
    else:
        return ()
    if answers.weights is not None and not np.any(answers.weights):
        return ()
    return disparity.off_zero(answers, [side.grouped for side in singles], relevant=relevant, level=LEVEL)


def _proxy(subject: Subject, column: str, sides: Sequence[Side]) -> Measure:
    grouped = next(side.grouped for side in sides if side.by == (column,))
    inputs = subject.frame[list(subject.features)] if subject.inputs is None else subject.inputs
    others = inputs[[name for name in inputs.columns if name != column]]
    if len(grouped[1]) > MOST_GROUPS:
        found = Estimate(None, method=f"it has {len(grouped[1])} groups")
    else:
        found = proxy.foretold(others, grouped, seed=subject.seed)
    return metrics.as_measure("proxy", found, rows=min(subject.rows, proxy.MOST_ROWS), group=column)


def _severity(verdicts: Sequence[_Verdict], off: Sequence[Off]) -> Severity:
    if any(verdict.kept is False for verdict in verdicts):
        return "bad"
    if off or any(verdict.kept is None for verdict in verdicts):
        return "warning"
    return "good" if verdicts else "info"


def _sentences(
    subject: Subject,
    sides: Sequence[Side],
    main: Metric,
    verdicts: Sequence[_Verdict],
    off: Sequence[Off],
    proxies: Sequence[Measure],
) -> list[str]:
    """The gravest first: gates, signed errors, else the widest gap; then proxies and names that fit nothing."""
    told = [_of_gate(subject, verdict, sides) for verdict in _gravest(verdicts)[:_SAID]]
    if len(verdicts) > _SAID:
        failed = sum(verdict.kept is not True for verdict in verdicts)
        told.append(f"{failed} of {len(verdicts)} fair gates are not kept or cannot be judged.")
    told += [_of_bias(subject, off)] if off else []
    if not told:
        told.append(_of_main(subject, sides[0], main))
    told += _of_proxies(proxies)
    for side in sides:
        if side.strangers:
            listed = disparity.listed([repr(name) for name in side.strangers])
            told.append(f"A gate names {listed} as too small, but there is no such group of {side.named}.")
    return told


def _gravest(verdicts: Sequence[_Verdict]) -> list[_Verdict]:
    rank: Mapping[bool | None, int] = {False: 0, None: 1, True: 2}
    return sorted(verdicts, key=lambda verdict: rank[verdict.kept])


def _of_gate(subject: Subject, verdict: _Verdict, sides: Sequence[Side]) -> str:
    gate, gap = verdict.gate, verdict.gap
    side = next(side for side in sides if side.by == gate.by)
    told = _of_gap(subject, side, gate.metric, gap)
    if gap.value is None:
        return told
    limit = words.number(gate.limit)
    if verdict.kept is None:
        return f"{told[:-1]}, without an interval to judge it by."
    if verdict.kept:
        return f"{told[:-1]}, within the allowed {limit}."
    if gap.value <= gate.limit:
        return f"{told[:-1]}; {limit} is allowed, and with so few rows it may be more."
    return f"{told[:-1]}, more than the allowed {limit}."


def _of_gap(subject: Subject, side: Side, metric: str, gap: Gap) -> str:
    if gap.value is None:
        return f"The gap of {metric} between groups of {side.named} is unknown: {gap.method}."
    measure = gap_measure(subject, "", gap, next((each for each in side.asked if each.name == metric), None))
    measure = replace(measure, unit="") if measure.unit == "share" else measure
    told = f"{metric} differs by {words.span(measure)} between groups of {side.named}"
    by_name = {group.name: group for group in side.found}
    if metric == "equalized_odds":
        told += f", most between {gap.lowest} and {gap.highest}"
    else:
        low, high = (by_name[name].estimates[metric].value for name in (gap.lowest, gap.highest))
        told += f": {words.number(low)} for {gap.lowest}, {words.number(high)} for {gap.highest}"
    if gap.left_out:
        told += f" (left out as too small: {disparity.listed(gap.left_out)})"
    return f"{told}."


def _of_main(subject: Subject, side: Side, main: Metric) -> str:
    name = main.name if main.name in side.gaps else next(iter(side.gaps))
    return _of_gap(subject, side, name, side.gaps[name])


def _of_bias(subject: Subject, off: Sequence[Off]) -> str:
    """Groups that are themselves over- or underestimated; only where there are none, those unlike the others."""
    unit = f" {subject.unit or subject.label}".rstrip() if subject.task == "regression" else ""
    own = [each for each in off if (each.bias > 0.0) is each.more and abs(each.bias) >= abs(each.others)]
    told: list[str] = []
    for each in sorted(own, key=lambda one: -abs(one.bias))[:_SAID]:
        way = "overestimated" if each.more else "underestimated"
        told.append(f"{each.group} is {way} by {words.number(abs(each.bias))}{unit}")
    if told:
        first = max(own, key=lambda one: abs(one.bias))
        rest = (
            f"against {words.number(first.others)}{unit} in all other rows" if len(told) == 1 else "unlike the others"
        )
        return f"On average {' and '.join(told)}, {rest}; that is beyond chance."
    each = off[0]
    way = "overestimated" if each.more else "underestimated"
    difference = words.number(abs(each.bias - each.others))
    against = f"Compared with all other rows {each.group} is {way} by {difference}{unit}"
    return f"{against} on average, which is beyond chance."


def _of_proxies(proxies: Sequence[Measure]) -> list[str]:
    known = [measure for measure in proxies if measure.value is not None]
    if not known:
        return []
    best = max(known, key=lambda measure: measure.value or 0.0)
    area = best.value or 0.0
    how = f"(AUC {area:.2f})"
    if area >= 0.9:
        return [f"The features tell {best.group} nearly surely {how}, so leaving the column out does not hide it."]
    if area >= 0.7:
        return [f"The features tell {best.group} in part {how}, so leaving the column out does not quite hide it."]
    return [f"The features hardly tell {best.group} {how}."]


def _charts(subject: Subject, side: Side, main: Metric) -> list[Chart]:
    drawn = []
    for metric in side.asked:
        if metric.name not in (main.name, "bias"):
            continue
        largest = sorted(side.found, key=lambda group: -group.rows)[:_GROUPS_SHOWN]
        named = [
            (group.name.removeprefix(f"{side.by[0]}="), group_measure(subject, metric, group)) for group in largest
        ]
        axis = f"{metric.name} {unit_of(subject, metric)}".strip()
        drawn.append(charts.ranges(f"{metric.name} by {side.named}", named, x_title=axis))
    return drawn
