"""Gates: what must hold before a version may be promoted. They fail closed.

A gate reads measures of a report by name. A missing measure, a value that is None or NaN, a missing bound, or
fewer than 30 rows is a no, and the reason says so with the figures.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from fullcircle import registry
from fullcircle.errors import ColumnMissing, ProjectInvalid
from fullcircle.evaluation import groups, metrics, words
from fullcircle.evaluation.metrics import Task
from fullcircle.types.gates import Gate
from fullcircle.types.report import GateVerdict, Measure, Report

FEWEST_ROWS = 30


def decide(gates: Sequence[Gate], report: Report, *, has_champion: bool) -> tuple[GateVerdict, ...]:
    """Every gate's answer, in order. ``has_champion`` says whom "beats the champion" means."""
    return tuple(_decide(gate, report, has_champion) for gate in gates)


def refuse_unknown(
    gates: Sequence[Gate], *, task: Task, columns: Collection[str], classes: int | None = None
) -> None:
    """Refuse, before any training, gates that could never be decided.

    Raises ProjectInvalid for a metric that the task does not have, or a direction that makes no sense, ColumnMissing
    for groups by a column that is not in the data.
    """
    if sum(gate.kind == "worth" for gate in gates) > 1:
        raise ProjectInvalid(
            "there are two worth gates, so what a row is worth has two answers",
            allowed="one fc.worth(...)",
            next_step="add both values up in one function",
        )
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


def _refuse_metric(gate: Gate, task: Task, classes: int | None) -> None:
    others = () if gate.kind == "fair" else _of_checks()
    if gate.metric in others:
        return
    named = metrics.METRICS.get(gate.metric)
    if named is None or named.task != task:
        raise ProjectInvalid(
            f"the gate {gate.text!r} names a metric that {task} does not have",
            received=repr(gate.metric),
            allowed=", ".join([*(metric.name for metric in metrics.of_task(task)), *others]),
            next_step="choose one of these in the project file",
        )
    if named.binary and classes is not None and classes != 2:
        raise ProjectInvalid(
            f"the gate {gate.text!r} names a metric of two classes",
            received=f"{classes} classes",
            allowed=", ".join(metric.name for metric in metrics.of_task(task) if not metric.binary),
            next_step="choose one of these in the project file",
        )
    if (gate.kind == "at_most" and named.better == "higher") or (gate.kind == "at_least" and named.better == "lower"):
        right = "at_least" if gate.kind == "at_most" else "at_most"
        raise ProjectInvalid(
            f"the gate {gate.text!r} would let bad models through and stop good ones",
            received=f"{gate.kind} for {gate.metric}",
            allowed=f"{right} for {gate.metric}: {named.better} is better",
            next_step=f"write fc.{right}({gate.metric!r}, {gate.limit:g})",
        )


def _of_checks() -> tuple[str, ...]:
    """What the registered checks measure for all rows beyond the table of metrics."""
    found = (getattr(registry.find("checks", name), "measures", ()) for name in registry.names("checks"))
    return tuple(measure for measures in found for measure in measures)


def _decide(gate: Gate, report: Report, has_champion: bool) -> GateVerdict:
    if gate.kind == "beats":
        return _beats(gate, report, has_champion)
    name = groups.gap_name(gate.by, gate.metric) if gate.kind == "fair" else gate.metric
    measure = report.measure(name)
    doubt = _doubt(name, measure, report, counts_rows=gate.kind not in ("latency", "size"))
    if doubt or measure is None or measure.value is None:
        return GateVerdict(gate=gate.text, passed=False, reason=doubt)
    named = metrics.METRICS.get(gate.metric)
    if gate.kind == "at_most" and named is not None and named.better == "zero":
        # Too low is as far from zero as too high.
        passed, bound = abs(measure.value) <= gate.limit, "from zero at most"
    elif gate.kind in ("at_least", "worth"):
        passed, bound = measure.value >= gate.limit, "at least"
    else:
        passed, bound = measure.value <= gate.limit, "at most"
    return GateVerdict(
        gate=gate.text,
        passed=passed,
        reason=f"{name} is {words.span(measure)}{_on(measure)}; allowed: {bound} {words.number(gate.limit)}",
    )


def _beats(gate: Gate, report: Report, has_champion: bool) -> GateVerdict:
    rival = "champion" if gate.metric == "champion" and has_champion else "baseline"
    measure = report.measure("improvement", rival)
    instead = "; there is no champion yet, so the rival is the baseline" if gate.metric != rival else ""
    doubt = _doubt(f"improvement over the {rival}", measure, report, counts_rows=True)
    if not doubt and measure is not None and (measure.low is None or not math.isfinite(measure.low)):
        doubt = f"the improvement over the {rival} is {words.number(measure.value)} and has no interval to decide on"
    if doubt or measure is None or measure.low is None:
        return GateVerdict(gate=gate.text, passed=False, reason=doubt + instead)
    passed = measure.low > 0.0
    verdict = "beyond chance" if passed else "not beyond chance: the low end must be above 0"
    if measure.high is not None and measure.high < 0.0:
        verdict = f"worse than the {rival} beyond chance"
    return GateVerdict(
        gate=gate.text,
        passed=passed,
        reason=f"improvement over the {rival} is {words.span(measure)}{_on(measure)}, {verdict}{instead}",
    )


def _doubt(name: str, measure: Measure | None, report: Report, *, counts_rows: bool) -> str:
    """Why this measure cannot be decided on, or ""."""
    if measure is None:
        broken = [finding for finding in report.findings if finding.severity == "bad" and not finding.measures]
        return f"{name} is not in the report" + "".join(f"; {finding.text}" for finding in broken)
    if not measure.usable:
        return f"{name} is unknown" + (f": {measure.method}" if measure.method else "")
    rows = measure.n or report.rows
    if counts_rows and rows < FEWEST_ROWS:
        return (
            f"{name} is {words.number(measure.value)} on only {words.rows(rows)}; "
            f"at least {FEWEST_ROWS} are needed to decide"
        )
    return ""


def _on(measure: Measure) -> str:
    return f" on {words.rows(measure.n)}" if measure.n else ""
