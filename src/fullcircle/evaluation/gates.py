"""Gates: what must hold before a version may be promoted. They fail closed.

A gate reads measures of a report by name and decides on an end of their 95 % interval, not on the value. A missing
measure, a value or end that is None or NaN, or fewer than 30 rows (with weights: rows that tell less than 30 equal
ones) is a no, and the reason says so with the figures. With ``by`` every group of these columns must hold, the
smallest ones too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from fullcircle import registry
from fullcircle.errors import ColumnMissing, ProjectInvalid
from fullcircle.evaluation import groups, metrics, words
from fullcircle.evaluation.fairness.sides import BEYOND
from fullcircle.evaluation.metrics import Task
from fullcircle.types.gates import Gate
from fullcircle.types.report import Better, GateVerdict, Measure, Report

FEWEST_ROWS = 30
_NAMED = 3
# Counted or timed, not drawn: they need no rows, and a check that gives no interval has measured them outright.
_OUTRIGHT = ("latency", "size")
# Which way is good of what checks measure beyond the table of metrics.
_BETTER: Mapping[str, Better] = {
    "improvement_over_baseline": "higher",
    "value_per_row": "higher",
    "rows_per_second": "higher",
    "latency_p50_ms": "lower",
    "latency_p99_ms": "lower",
    "ece": "lower",
    "shared_rows": "lower",
    "worst_slice": "lower",
    "noise_change": "lower",
    "silent_unit_errors": "lower",
}
_WORDS: Mapping[str, str] = {
    "value_per_row": "the value of a row",
    "latency_p50_ms": "the median latency",
    "latency_p99_ms": "the 99 % latency",
    "rows_per_second": "the number of rows a second",
    "model_bytes": "the size of the model file",
}


# The names of all groups that rows have by some columns: names alone do not tell by which columns a group is.
Grouped = Mapping[tuple[str, ...], Collection[str]]


def decide(
    gates: Sequence[Gate], report: Report, *, has_champion: bool, grouped: Grouped = MappingProxyType({})
) -> tuple[GateVerdict, ...]:
    """Every gate's answer, in order.

    ``has_champion`` says whom "beats the champion" means. ``grouped`` names the groups of the rows by the columns of
    each gate's ``by``: every one has to be in the report. A gate by columns that are not in it says no.
    """
    return tuple(_decide(gate, report, has_champion, grouped) for gate in gates)


def refuse_others(gates: object) -> tuple[Gate, ...]:
    """The gates as they are, where it is a list of gates. Raises ProjectInvalid for anything else."""
    listed = isinstance(gates, Sequence) and not isinstance(gates, str | bytes)
    found = tuple(gates) if listed and isinstance(gates, Sequence) else ()
    wrong = [repr(each) for each in found if not isinstance(each, Gate)]
    if not listed or wrong:
        raise ProjectInvalid(
            "gates holds things that are no gates" if listed else "gates is not a list of gates",
            received=", ".join(wrong) if listed else getattr(gates, "text", "") or repr(gates),
            allowed="[fc.at_most(...), fc.beats(...), ...]",
            next_step="make each with fc.at_most, at_least, beats, fair, worth, latency or size, between [ and ]",
        )
    return found


def refuse_unknown(
    gates: Sequence[Gate], *, task: Task, columns: Collection[str], classes: int | None = None
) -> None:
    """Refuse, before any training, gates that could never be decided.

    Raises ProjectInvalid for a metric that the task does not have, a direction that makes no sense, or two answers
    to one question, ColumnMissing for groups by a column that is not in the data.
    """
    _refuse_twice(gates)
    for gate in gates:
        absent = [name for name in gate.by if name not in columns]
        if absent:
            raise ColumnMissing(
                "a gate names a column that is not in the data",
                received=", ".join(absent),
                allowed=", ".join(columns),
                next_step="mend by=... in the project file, or make the column in prepare",
            )
        if gate.kind in ("at_most", "at_least", "fair"):
            _refuse_metric(gate, task, classes)
        if gate.matrix is not None and task != "classification":
            raise ProjectInvalid(
                "matrix in worth(...) is for classes, and the label is a number",
                received=repr(dict(gate.matrix)),
                allowed="fc.worth(per_row=function of (actual, predicted))",
                next_step="say what an answer is worth as a function",
            )


def _refuse_twice(gates: Sequence[Gate]) -> None:
    if sum(gate.kind == "worth" for gate in gates) > 1:
        raise ProjectInvalid(
            "there are two worth gates, so what a row is worth has two answers",
            allowed="one fc.worth(...)",
            next_step="add both values up in one function",
        )
    fair = [gate for gate in gates if gate.kind == "fair"]
    for gate in fair:
        others = [one for one in fair if (one.by, one.metric) == (gate.by, gate.metric)]
        if any(set(one.without) != set(gate.without) for one in others):
            raise ProjectInvalid(
                f"two gates compare {gate.metric} between groups of {' and '.join(gate.by)} without different ones",
                received="; ".join(", ".join(one.without) or "all groups" for one in others),
                allowed="one without=[...] for each metric and columns",
                next_step="mend the project file",
            )


def _refuse_metric(gate: Gate, task: Task, classes: int | None) -> None:
    known = {metric.name: metric for metric in metrics.of_task(task)}
    named = known.get(gate.metric)
    if named is None:
        others = _beyond(gate, task)
        if gate.metric in others:
            _refuse_direction(gate, _BETTER.get(gate.metric, ""))
            return
        raise ProjectInvalid(
            f"the gate {gate.text!r} names a metric that {task} does not have" + (" in groups" if gate.by else ""),
            received=repr(gate.metric),
            allowed=", ".join([*known, *others]),
            next_step="choose one of these in the project file",
        )
    if named.binary and classes is not None and classes != 2:
        raise ProjectInvalid(
            f"the gate {gate.text!r} names a metric of two classes",
            received=f"{classes} classes",
            allowed=", ".join(metric.name for metric in known.values() if not metric.binary),
            next_step="choose one of these in the project file",
        )
    _refuse_direction(gate, named.better)


def _backwards(gate: Gate, better: Better) -> bool:
    return (gate.kind, better) in (("at_most", "higher"), ("at_least", "lower"))


def _refuse_direction(gate: Gate, better: Better) -> None:
    if _backwards(gate, better):
        right = "at_least" if gate.kind == "at_most" else "at_most"
        raise ProjectInvalid(
            f"the gate {gate.text!r} would let bad models through and stop good ones",
            received=f"{gate.kind} for {gate.metric}",
            allowed=f"{right} for {gate.metric}: {better} is better",
            next_step=f"write fc.{right}({gate.metric!r}, {gate.limit:g})",
        )


def _beyond(gate: Gate, task: Task) -> tuple[str, ...]:
    """What this gate may name beyond the table of metrics: what checks measure, which they do for all rows only."""
    if gate.kind == "fair":
        return BEYOND[task]
    if gate.by:
        return ()
    found = (getattr(registry.find("checks", name), "measures", ()) for name in registry.names("checks"))
    return tuple(measure for measures in found for measure in measures)


def _decide(gate: Gate, report: Report, has_champion: bool, grouped: Grouped) -> GateVerdict:
    name, instead = _name(gate, has_champion)
    if gate.kind != "fair" and gate.by:
        passed, reason = _every_group(gate, name, report, grouped.get(gate.by, ()))
    else:
        passed, reason = _one(gate, name, report.measure(name), report)
    return GateVerdict(gate=gate.text, passed=passed, reason=reason + instead)


def _name(gate: Gate, has_champion: bool) -> tuple[str, str]:
    """The name of the measure that decides, and what to add to the reason."""
    if gate.kind == "fair":
        return groups.gap_name(gate.by, gate.metric), ""
    if gate.kind != "beats":
        return gate.metric, ""
    rival = "champion" if gate.metric == "champion" and has_champion else "baseline"
    instead = "; there is no champion yet, so the rival is the baseline" if gate.metric != rival else ""
    return f"improvement_over_{rival}", instead


def _one(gate: Gate, name: str, measure: Measure | None, report: Report) -> tuple[bool, str]:
    """Whether one measure keeps the gate, and the reason with its figures."""
    if measure is None:
        return False, f"{_named(name)} is not in the report{_causes(report)}"
    told = f"{_called(name)} for {measure.group}" if measure.group else _called(name)
    if _backwards(gate, measure.better):
        return False, f"of {told} {measure.better} is better, so {gate.text!r} cannot be meant"
    value = measure.value
    if value is None or not math.isfinite(value):
        return False, f"{told} is unknown" + (f": {measure.method}" if measure.method else "")
    rows = measure.n if measure.group else measure.n or report.rows
    if gate.kind not in _OUTRIGHT and rows < FEWEST_ROWS:
        few = f"only {words.rows(rows)}" if rows else "an unknown number of rows"
        return False, f"{told} is {words.number(value)} on {few}; at least {FEWEST_ROWS} are needed to decide"
    low, high = _ends(gate, measure, value)
    if low is None or high is None:
        why = measure.method or "its check has to give one"
        return False, f"{told} is {words.number(value)} and has no interval to decide on: {why}"
    return _judged(gate, measure, f"{told} is {_span(measure)}", (value, low, high))


def _named(name: str) -> str:
    """A measure by the name that a person can look for; an improvement has no other in its gate."""
    return name.replace("improvement_over_", "improvement over the ")


def _called(name: str) -> str:
    """A measure in words where its name is none."""
    if name.startswith("fair_gap:"):
        columns, _, metric = name.removeprefix("fair_gap:").rpartition(":")
        return f"the gap of {metric} between groups of {columns.replace('/', ' and ')}"
    return _WORDS.get(name, _named(name))


def _ends(gate: Gate, measure: Measure, value: float) -> tuple[float | None, float | None]:
    """The lowest and the highest that the measure may truly be, None where it is not known."""
    if gate.kind in _OUTRIGHT and measure.low is None and measure.high is None:
        return value, value
    if not _finite(measure.low) or not _finite(measure.high):
        return None, None
    known = (value, measure.low, measure.high)  # a skewed interval need not hold the value: the worst of all counts
    return min(end for end in known if end is not None), max(end for end in known if end is not None)


def _judged(gate: Gate, measure: Measure, told: str, found: tuple[float, float, float]) -> tuple[bool, str]:
    value, low, high = found
    exact = low == high
    limit = words.number(gate.limit)
    if gate.kind == "beats":
        kept, passed, must = value > -gate.margin, low > -gate.margin, f"above {words.number(-gate.margin or 0.0)}"
        end = "its lower end"
    elif gate.kind == "at_most" and (measure.better == "zero" or gate.metric in _around_zero()):
        # Too low is as far from zero as too high.
        kept, passed = abs(value) <= gate.limit, max(abs(low), abs(high)) <= gate.limit
        end, must = "both ends", f"at most {limit} from zero"
    elif gate.kind in ("at_least", "worth"):
        kept, passed, must, end = value >= gate.limit, low >= gate.limit, f"at least {limit}", "its lower end"
    else:
        kept, passed, must, end = value <= gate.limit, high <= gate.limit, f"at most {limit}", "its upper end"
    on = f" on {words.rows(measure.n)}" if measure.n and gate.kind not in _OUTRIGHT else ""
    chance = "beyond chance" if low > 0.0 else "worse beyond chance" if high < 0.0 else "not beyond chance"
    on += f", {chance}" if gate.kind == "beats" else ""
    reason = f"{told}{on}; {'it' if exact else end} must be {must}"
    if kept and not passed:
        reason += "; the value keeps the limit but its interval does not: more rows would tell"
    return passed, reason


def _every_group(gate: Gate, name: str, report: Report, wanted: Collection[str]) -> tuple[bool, str]:
    """Whether every group keeps the gate; the reason names those that do not.

    Several groups may have one name, such as ``sex=f, race=b``: then all figures under it have to hold.
    """
    said = " and ".join(gate.by)
    found = [
        measure
        for finding in report.findings
        for measure in finding.measures
        if measure.name == name and measure.group in wanted
    ]
    if not found:
        return False, f"{_named(name)} for groups of {said} is not in the report{_causes(report)}"
    gone = [group for group in wanted if all(measure.group != group for measure in found)]
    if gone:
        more = f" and {len(gone) - _NAMED} more groups" if len(gone) > _NAMED else ""
        return False, f"{_named(name)} for {'; '.join(gone[:_NAMED])}{more} is not in the report"
    answers = [(measure, *_one(gate, name, measure, report)) for measure in found]
    failed = dict.fromkeys(reason for _, passed, reason in answers if not passed)
    if failed:
        more = f"; and {len(failed) - _NAMED} more groups" if len(failed) > _NAMED else ""
        return False, "; ".join(list(failed)[:_NAMED]) + more + _way_out(answers)
    worst = min(answers, key=lambda answer: _room(gate, answer[0]))
    return True, f"all {len(dict.fromkeys(m.group for m in found))} groups of {said}; the closest: {worst[2]}"


def _way_out(answers: Iterable[tuple[Measure, bool, str]]) -> str:
    """How to do without groups that are too small to judge, where one failed for it."""
    if not any(measure.n < FEWEST_ROWS for measure, passed, _ in answers if not passed):
        return ""
    return "; to do without a small group, join it to others: make a coarser column in prepare and name it in by"


def _room(gate: Gate, measure: Measure) -> float:
    """How far a measure with both ends is from failing."""
    low, high = measure.low or 0.0, measure.high or 0.0
    if gate.kind == "beats":
        return low + gate.margin
    if gate.kind == "at_least":
        return low - gate.limit
    return gate.limit - (max(abs(low), abs(high)) if gate.metric in _around_zero() else high)


def _around_zero() -> frozenset[str]:
    both = (*metrics.of_task("regression"), *metrics.of_task("classification"))
    return frozenset(metric.name for metric in both if metric.better == "zero")


def _causes(report: Report) -> str:
    """What checks that failed say: one of them may be why a measure is missing."""
    broken = [finding for finding in report.findings if finding.severity == "bad" and not finding.measures]
    return "".join(f"; {finding.text}" for finding in broken)


def _span(measure: Measure) -> str:
    if measure.low == measure.high == measure.value:
        unit = "" if measure.unit == "share" else measure.unit
        return f"{words.number(measure.value)} {unit}".strip()
    return words.span(replace(measure, unit="") if measure.unit == "share" else measure)


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
