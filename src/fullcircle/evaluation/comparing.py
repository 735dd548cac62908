"""Compare: two reports side by side. Pure: what was measured is aligned, and nothing is measured anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fullcircle.types.comparison import ComparedFinding, ComparedGate, ComparedMeasure, Comparison, Standing
from fullcircle.types.report import Better, GateVerdict, Measure, Report

Key = tuple[str, str]
# What the paired improvement of a metric is called: improvement_mae.
PAIRED = "improvement_"


def compare_reports(
    first: Report, second: Report, *, names: tuple[str, str] = ("", ""), improvement: Sequence[Measure] = ()
) -> Comparison:
    """What the second report says beside the first, measure by measure and gate by gate.

    Measures meet by name and group, checks in the order of their codes; a name that a report holds twice counts
    once, as for gates. ``names`` are what the two are called, by default their subjects. ``improvement`` is the
    second's over the first on the same rows, where somebody let both answer them: then it decides how a measure
    stands.
    """
    called = _called(first, second, names)
    return Comparison(
        first=called[0],
        second=called[1],
        first_passed=first.passed,
        second_passed=second.passed,
        first_rows=first.rows,
        second_rows=second.rows,
        rows=_measures(first, second, {measure.name.removeprefix(PAIRED): measure for measure in improvement}),
        gates=_gates(first.gates, second.gates),
        findings=_findings(first, second),
        improvement=tuple(improvement),
        notes=_notes(first, second, called),
    )


def standing(first: Measure | None, second: Measure | None) -> Standing:
    """How the second measure stands beside the first, by their 95 % intervals.

    Where two intervals of equal width do not overlap, independent figures differ at a level of 0.6 %, and figures on
    the same rows at a lower one; where they do overlap, they may still differ. Of figures that are best at zero the
    distances from zero are compared.
    """
    if first is None or second is None or first.unit != second.unit:
        return "unknown"
    better: Better = second.better if first.better == second.better else ""
    one, two = _bounds(first, better), _bounds(second, better)
    if not better or one is None or two is None:
        return "unknown"
    if one[0] <= two[1] and two[0] <= one[1]:
        return "same within doubt"
    return "better" if (two[0] > one[1]) == (better == "higher") else "worse"


def paired(gain: Measure) -> Standing:
    """How the second stands beside the first where both answered the same rows: sharper than two intervals."""
    if not gain.usable or gain.low is None or gain.high is None:
        return "unknown"
    if gain.low <= 0.0 <= gain.high:
        return "same within doubt"
    return "better" if gain.low > 0.0 else "worse"


def _bounds(measure: Measure, better: Better) -> tuple[float, float] | None:
    """The interval; of figures that are best at zero, that of the distance from zero."""
    low, high = measure.low, measure.high
    if not measure.usable or low is None or high is None or not low <= high:
        return None
    if better != "zero":
        return low, high
    far = max(abs(low), abs(high))
    return (0.0, far) if low <= 0.0 <= high else (min(abs(low), abs(high)), far)


def _called(first: Report, second: Report, names: tuple[str, str]) -> tuple[str, str]:
    one, two = names[0] or first.subject, names[1] or second.subject
    return (f"{one} (first)", f"{two} (second)") if one == two else (one, two)


def _measures(first: Report, second: Report, gains: Mapping[str, Measure]) -> tuple[ComparedMeasure, ...]:
    ours, theirs = _by_key(first), _by_key(second)
    found: dict[Key, ComparedMeasure] = {}
    for code in sorted({finding.code for report in (first, second) for finding in report.findings}):
        for report in (first, second):
            for finding in report.findings:
                for measure in finding.measures if finding.code == code else ():
                    key = (measure.name, measure.group)
                    if key not in found:
                        gain = gains.get(measure.name) if not measure.group else None
                        known = theirs.get(key, measure)
                        found[key] = _compared(finding.check, known, ours.get(key), theirs.get(key), gain)
    return tuple(found.values())


def _by_key(report: Report) -> Mapping[Key, Measure]:
    found: dict[Key, Measure] = {}
    for finding in report.findings:
        for measure in finding.measures:
            found.setdefault((measure.name, measure.group), measure)
    return found


def _compared(
    check: str, known: Measure, first: Measure | None, second: Measure | None, gain: Measure | None
) -> ComparedMeasure:
    return ComparedMeasure(
        check=check,
        name=known.name,
        group=known.group,
        unit=known.unit,
        better=known.better,
        first=first,
        second=second,
        standing=standing(first, second) if gain is None else paired(gain),
    )


def _gates(first: Sequence[GateVerdict], second: Sequence[GateVerdict]) -> tuple[ComparedGate, ...]:
    ours, theirs = ({verdict.gate: verdict for verdict in verdicts} for verdicts in (first, second))
    found = []
    for gate in dict.fromkeys([*theirs, *ours]):
        one, two = ours.get(gate), theirs.get(gate)
        found.append(
            ComparedGate(
                gate=gate,
                first=None if one is None else one.passed,
                second=None if two is None else two.passed,
                first_reason="" if one is None else one.reason,
                second_reason="" if two is None else two.reason,
            )
        )
    return tuple(found)


def _findings(first: Report, second: Report) -> tuple[ComparedFinding, ...]:
    checks = {(finding.code, finding.check): finding for report in (first, second) for finding in report.findings}
    found = []
    for (code, check), known in sorted(checks.items()):
        one, two = first.finding(check), second.finding(check)
        found.append(
            ComparedFinding(
                check=check,
                code=code,
                title=known.title,
                first=None if one is None else one.severity,
                second=None if two is None else two.severity,
                first_text="" if one is None else one.text,
                second_text="" if two is None else two.text,
            )
        )
    return tuple(found)


def _notes(first: Report, second: Report, called: tuple[str, str]) -> tuple[str, ...]:
    """What makes the two hard to compare, and then what each report noted itself."""
    notes = []
    if first.rows != second.rows:
        notes.append(f"the test rows differ: {first.rows} for {called[0]}, {second.rows} for {called[1]}")
    one, two = first.about, second.about
    if one is not None and two is not None:
        told = (("snapshot", "data"), ("label", "label"), ("task", "task"), ("unit", "unit of the label"))
        for name, word in told:
            ours, theirs = getattr(one, name), getattr(two, name)
            if ours != theirs and ours and theirs:
                notes.append(f"the {word} differs: {ours} for {called[0]}, {theirs} for {called[1]}")
    for name, report in zip(called, (first, second), strict=True):
        notes.extend(f"{name}: {note}" for note in report.notes)
    return tuple(notes)
