"""What the monitor found, in Prometheus' text format, for the textfile collector of the node exporter."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from fullcircle.errors import WorkspaceUnusable
from fullcircle.types.durations import per_year
from fullcircle.types.monitoring import KINDS, Monitored, Stretch

FEATURES = 20
"""Features of a model that have a figure of their own, those farthest away; the largest of the others is "other"."""
_HELP: Mapping[str, str] = {
    "fullcircle_monitor_timestamp_seconds": "When the monitor ran last, in Unix seconds.",
    "fullcircle_monitor_batch_rows": "Rows of the last batch that has any.",
    "fullcircle_monitor_batch_labelled_rows": "Rows of that batch whose label has come.",
    "fullcircle_feature_drift_bits": "Debiased Jensen-Shannon divergence from the reference.",
    "fullcircle_drift_level_ratio": "Level of a detector over its threshold, of logarithms: 1 is an alarm.",
    "fullcircle_alarms_open": "Alarms that were told and are not resolved.",
    "fullcircle_alarm_budget_per_year": "False alarms a year that are accepted.",
    "fullcircle_estimated_metric": "The metric as it is estimated without labels, with the bounds of its interval.",
    "fullcircle_realised_metric": "The metric on the rows whose labels have come, with the bounds of its interval.",
}
Sample = tuple[str, Mapping[str, str], float]


def text(models: Sequence[Monitored]) -> str:
    """The figures of these models. A figure that is not known is left out."""
    found: dict[str, list[str]] = {}
    for model in models:
        for name, labels, value in _samples(model):
            shown = ",".join(f'{key}="{_escaped(said)}"' for key, said in labels.items())
            found.setdefault(name, []).append(f"{name}{{{shown}}} {value!r}\n")
    return "".join(
        f"# HELP {name} {told}\n# TYPE {name} gauge\n{''.join(found[name])}"
        for name, told in _HELP.items()
        if name in found
    )


def write(path: Path, models: Sequence[Monitored]) -> None:
    """Replace the file as a whole. Raises WorkspaceUnusable where it cannot be written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text(models), encoding="utf-8")
        beside.chmod(0o644)
        os.replace(beside, path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise WorkspaceUnusable(
            f"the file of metrics cannot be written: {error.strerror or error}",
            received=path,
            next_step="give a file in the folder that the node exporter reads (--collector.textfile.directory)",
        ) from error


def _samples(model: Monitored) -> Iterable[Sample]:
    own = {"model": model.model, "version": str(model.version)}
    moment = datetime.fromisoformat(model.at).timestamp()
    yield "fullcircle_monitor_timestamp_seconds", own, moment
    yield "fullcircle_alarm_budget_per_year", own, per_year(model.budget)
    told = [one for one in model.alarms if one.told and one.state != "resolved"]
    for severity in ("page", "ticket"):
        for kind in KINDS:
            number = sum((one.severity, one.kind) == (severity, kind) for one in told)
            yield "fullcircle_alarms_open", {**own, "severity": severity, "kind": kind}, float(number)
    latest = next((one for one in reversed(model.stretches) if one.rows), None)
    if latest is None:
        return
    yield "fullcircle_monitor_batch_rows", own, float(latest.rows)
    yield "fullcircle_monitor_batch_labelled_rows", own, float(latest.labelled)
    for kind_of, level in latest.levels.items():
        yield "fullcircle_drift_level_ratio", {**own, "kind": kind_of}, float(level)
    for feature, bits in _features(latest):
        yield "fullcircle_feature_drift_bits", {**own, "feature": feature}, bits
    for name, metric in (
        ("fullcircle_realised_metric", model.reference.metric),
        ("fullcircle_estimated_metric", f"estimated_{model.reference.metric}"),
    ):
        yield from _metric(model.stretches, name, metric, {**own, "metric": model.reference.metric})


def _metric(stretches: Sequence[Stretch], name: str, metric: str, labels: Mapping[str, str]) -> Iterable[Sample]:
    """The latest that is known, with its bounds."""
    for stretch in reversed(stretches):
        for one in stretch.measures:
            if one.name == metric and not one.group and one.usable:
                for bound, value in (("point", one.value), ("lower", one.low), ("upper", one.high)):
                    if value is not None:
                        yield name, {**labels, "bound": bound}, float(value)
                return


def _features(stretch: Stretch) -> list[tuple[str, float]]:
    known = [
        (one.group, float(one.value))
        for one in stretch.measures
        if one.name == "js_distance" and one.group and one.usable and one.value is not None
    ]
    known.sort(key=lambda one: (-one[1], one[0]))
    shown, rest, other = known[:FEATURES], known[FEATURES:], "other"
    while any(name == other for name, _ in shown):  # two lines of the same labels, and Prometheus takes none at all
        other += "_"
    return [*shown, *([(other, rest[0][1])] if rest else [])]


def _escaped(said: str) -> str:
    return said.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
