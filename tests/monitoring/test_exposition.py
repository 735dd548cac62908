"""The monitor's figures for Prometheus: names, bounds on labels, a file that is whole."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from prometheus_client import parser

from fullcircle.errors import WorkspaceUnusable
from fullcircle.monitoring.exposition import FEATURES, text, write
from fullcircle.types.monitoring import Alarm, Monitored, Profile, Stretch
from fullcircle.types.report import Measure

STATES: tuple[tuple[Literal["open", "acknowledged", "resolved"], str], ...] = (
    ("open", "x"),
    ("acknowledged", "x"),
    ("resolved", "x"),
    ("open", ""),  # not confirmed yet
)


def monitored(features: int = 30) -> Monitored:
    drift = [Measure(name="js_distance", value=one / 100, group=f'f"{one}') for one in range(features)]
    metric = Measure(name="mae", value=3.0, low=2.0, high=4.0)
    estimate = Measure(name="estimated_mae", value=3.5)
    alarms = [
        Alarm(
            id=state, model="m", version=2, kind="drift", severity="ticket", state=state, since="", opened="",
            updated="", text="", sure="", advice="", resolved="x" if state == "resolved" else "", told=told,
        )
        for state, told in STATES
    ]  # fmt: skip
    stretch = partial(Stretch, since="2026-01-01T00:00:00Z", until="2026-01-02T00:00:00Z")
    return Monitored(
        model="m",
        version=2,
        at="2026-01-03T00:00:00Z",
        budget="2 per year",
        reference=Profile(features=(), rows=9, metric="mae"),
        stretches=(
            stretch(rows=5, measures=(metric,)),
            stretch(rows=7, labelled=0, measures=(*drift, estimate), levels={"drift": 0.5}),
            stretch(rows=0),
        ),
        alarms=tuple(alarms),
    )


OWN = ("model", "version")


def values(found: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted((k, v) for k, v in sample.labels.items() if k not in OWN))): sample.value
        for family in parser.text_string_to_metric_families(found)
        for sample in family.samples
    }  # fmt: skip


def test_the_figures_read_back() -> None:
    found = values(text([monitored()]))
    assert found["fullcircle_monitor_timestamp_seconds", ()] == 1767398400
    assert found["fullcircle_alarm_budget_per_year", ()] == 2
    assert found["fullcircle_alarms_open", (("kind", "drift"), ("severity", "ticket"))] == 2
    assert found["fullcircle_alarms_open", (("kind", "risk"), ("severity", "page"))] == 0
    assert found["fullcircle_monitor_batch_rows", ()] == 7
    assert found["fullcircle_drift_level_ratio", (("kind", "drift"),)] == 0.5
    bounds = {
        bound: found["fullcircle_realised_metric", (("bound", bound), ("metric", "mae"))]
        for bound in ("lower", "upper")
    }
    assert bounds == {"lower": 2.0, "upper": 4.0}
    assert found["fullcircle_estimated_metric", (("bound", "point"), ("metric", "mae"))] == 3.5
    features = {dict(key)["feature"]: value for (name, key), value in found.items() if name.endswith("drift_bits")}
    assert len(features) == FEATURES + 1
    assert (features['f"29'], features["other"]) == (0.29, 0.09)


def test_a_column_that_is_called_other_is_not_taken_for_the_others() -> None:
    known = monitored()
    *before, latest, empty = known.stretches
    renamed = [replace(one, group="other") if one.group == 'f"29' else one for one in latest.measures]
    found = values(text([replace(known, stretches=(*before, replace(latest, measures=tuple(renamed)), empty))]))
    features = {dict(key)["feature"]: value for (name, key), value in found.items() if name.endswith("drift_bits")}
    assert len(features) == FEATURES + 1
    assert (features["other"], features["other_"]) == (0.29, 0.09)


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "fullcircle.prom"
    path.write_text("old")
    write(path, [monitored(3)])
    assert path.read_text() == text([monitored(3)])
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(WorkspaceUnusable, match="cannot be written"):
        write(tmp_path / "no" / "where.prom", [])
