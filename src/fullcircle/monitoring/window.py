"""What a stretch of production says, as a report: drift, verdicts, and what the monitor assumes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fullcircle.monitoring import charts, differences
from fullcircle.monitoring.batches import Batch
from fullcircle.types.contract import STATUSES, Contract
from fullcircle.types.monitoring import Alarm, Evidence, Profile
from fullcircle.types.project import Monitor
from fullcircle.types.report import Finding, Measure, Report


def report(
    profile: Profile,
    contract: Contract,
    monitor: Monitor,
    *,
    subject: str,
    batch: Batch,
    evidence: Sequence[Evidence],
    alarms: Sequence[Alarm],
    verdicts: Mapping[str, int],
    faults: Mapping[str, int],
    findings: Sequence[Finding] = (),
    notes: Sequence[str] = (),
) -> Report:
    """The findings on these counts; ``findings`` are those of others, told between the verdicts and the notes.

    ``verdicts`` counts rows per status, ``faults`` per column and reason, divided by a line feed.
    """
    told = [_drift(profile, contract, monitor, batch, evidence, alarms), _verdicts(verdicts, faults), *findings]
    if notes:
        title = "What the monitor assumes, and cannot tell"
        told.append(Finding(check="assumed", code="M006", title=title, severity="info", text=" ".join(notes)))
    return Report(subject=subject, findings=tuple(told), rows=sum(verdicts.values()))


def _drift(
    profile: Profile,
    contract: Contract,
    monitor: Monitor,
    batch: Batch,
    evidence: Sequence[Evidence],
    alarms: Sequence[Alarm],
) -> Finding:
    title = "Drift against the reference"
    reference = differences.Reference(profile.features)
    measures = differences.measures(reference, batch)
    far = {each.group: each.value for each in measures if each.name == "js_distance" and each.value is not None}
    if not far:
        text = "Cannot tell yet: there is no row in this stretch, so there is nothing to compare."
        return Finding(check="drift", code="M001", title=title, severity="info", text=text)
    away = [alarm for alarm in alarms if alarm.kind == "drift" and alarm.state != "resolved"]
    moved = [suspect.feature for alarm in away for suspect in alarm.suspects if suspect.feature in far]
    worst = max(moved or far, key=lambda name: round(far[name], 3))
    feature = profile.features[reference.places[worst]]
    names = [column.name for column in contract.columns if column.private]
    quiet = f"No evidence of drift beyond a budget of {monitor.false_alerts} over all kinds."
    text = away[0].text if away else quiet if evidence else "Nothing judged yet: no batch of this stretch is over."
    text += _levels(evidence) + (f" Not watched, because private: {', '.join(names)}." if names else "")
    return Finding(
        check="drift",
        code="M001",
        title=title,
        severity="warning" if away else "good" if evidence else "info",
        text=text,
        measures=measures,
        charts=(charts.distances(far, moved), charts.histogram(feature, batch.counts(worst).tolist())),
    )


def _levels(evidence: Sequence[Evidence]) -> str:
    """Each kind's level beside its threshold: natural logarithms of the e-detector; none before anything was seen."""
    said = [f"{each.kind} {each.level:.2f} of {each.threshold:.2f}" for each in evidence if math.isfinite(each.level)]
    return f" Evidence after the last batch judged, as logarithms: {', '.join(said)}." if said else ""


def _verdicts(verdicts: Mapping[str, int], faults: Mapping[str, int]) -> Finding:
    rows = sum(verdicts.values())
    counts = [(status, verdicts[status]) for status in STATUSES if verdicts.get(status)]
    parts = [(count, *key.partition("\n")[::2]) for key, count in faults.items()]
    common = sorted(parts, key=lambda one: (-one[0], one[1], one[2]))
    text = f"Of {rows} rows: {', '.join(f'{count} {status}' for status, count in counts) or 'none'}."
    if common:
        named = [f"{column or 'the model'} ({reason}: {count})" for count, column, reason in common[:3]]
        text += f" Most problems: {', '.join(named)}."
    return Finding(
        check="verdicts",
        code="M002",
        title="What became of the rows",
        severity="info",
        text=text,
        measures=tuple(
            Measure(name="verdicts", value=float(count), n=rows, unit="rows", group=status)
            for status, count in counts
        ),
        table=tuple({"column": column, "problem": reason, "rows": count} for count, column, reason in common[:50]),
    )
