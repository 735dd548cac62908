"""Reports for tests of their faces: a real one, and findings by hand of checks that need more than that."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import subjects
from flows.sample_turn import bars, scatter
from fullcircle.evaluation import charts
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.types.approval import Approval
from fullcircle.types.gates import at_least, at_most, beats, fair
from fullcircle.types.report import About, Chart, Finding, GateVerdict, Measure, Report

HOSTILE = (
    "<script>alert('x')</script>\"><img src=x onerror=alert(1)> </script><!-- | `a` [b](http://c) *d* _e_ \\ $f$"
)
ABOUT = About(
    task="classification",
    label="repaid",
    currency="EUR",
    classes=("no", "yes"),
    features=("signal", "noise", "annual_income", "debt_ratio"),
    protected=("group",),
    algorithm="LogisticRegression",
    purpose="Decides which applications for a loan a clerk looks at first.",
    limits="Not for business loans, and not for people under 21: none were in the data.",
    source="applications.parquet",
    snapshot="5f" * 32,
    run="0f" * 16,
    code="c0" * 32,
    split="the latest quarter, from 1 July 2026 on",
    train_rows=400,
)
APPROVAL = Approval(
    model="loans",
    version=2,
    report="a" * 64,
    reason="looked at with the risk team",
    actor="ada@bank",
    time="2026-11-23T18:00:00Z",
    seq=7,
)
CHECKS = ("quality", "fairness")


def measures(name: str, count: int, **fields: Any) -> tuple[Measure, ...]:
    """Figures of that many groups, which get larger."""
    return tuple(
        Measure(
            name=name, group=f"column {i}", value=0.1 * i, low=0.1 * i - 0.05, high=0.1 * i + 0.05, n=200, **fields
        )
        for i in range(count)
    )


def more() -> tuple[Finding, ...]:
    """What other checks might say, one of each kind of chart."""
    latency = Measure(name="latency_p99_ms", value=1.9, low=1.7, high=2.2, n=200, unit="ms", better="lower")
    sheet = Finding(
        check="serving",
        code="E011",
        title="Real time, from one small machine",
        severity="info",
        text="Answers are wanted within 100 ms and take 1.9 ms, so one machine answers 1 000 requests a day with "
        "room to spare. It costs about 36 EUR a month; a nightly batch would cost 0.02 EUR and be up to a day old.",
        measures=(latency, Measure(name="cost_per_month", value=36.0, low=36.0, high=36.0, n=1, unit="EUR")),
        table=(
            {"way": "real time", "answer is old": "0 s", "machines": 1, "a month": "36 EUR", "fits": True},
            {"way": "batch", "answer is old": "up to 1 d", "machines": 1, "a month": "0.02 EUR", "fits": False},
        ),
    )
    calibration = Finding(
        check="calibration",
        code="E006",
        title="Calibration",
        severity="good",
        text="Where the model says 70 %, about 70 % repay: it is off by 0.021 on average (95 % 0.008 to 0.041).",
        measures=(Measure(name="ece", value=0.021, low=0.008, high=0.041, n=200, better="lower", method="debiased"),),
        charts=(
            scatter("Said and seen"),
            charts.histogram("How sure it is", [i % 17 for i in range(200)], x_title="p"),
        ),
    )
    value = Finding(
        check="value",
        code="E003",
        title="Value",
        severity="good",
        text="Worth 46.6 EUR a row (95 % 20.5 to 71.6); guessing, 31.8.",
        measures=(
            Measure(name="value_per_row", value=46.6, low=20.5, high=71.6, n=200, unit="EUR", better="higher"),
        ),
        charts=(curve(),),
    )
    explained = Finding(
        check="importance",
        code="E004",
        title="Why it answers as it does",
        severity="info",
        text="signal decides most. The glass-box rival is as accurate within doubt: the black box buys nothing.",
        measures=measures("importance", 23, unit="log odds", method="5 shuffles, 200 rows"),
        charts=(
            bars(
                "What the answers depend on",
                [(f"a rather long name of column {i}", i / 4) for i in range(18)],
                "SHAP",
            ),
            charts.ranges("By column", [(each.group, each) for each in measures("x", 12)], x_title="mean |SHAP|"),
        ),
        table=tuple({"row": i, "reason": f"annual_income is low ({i * 1000} EUR)", "moves": -0.25} for i in range(9)),
    )
    robust = Finding(
        check="robustness",
        code="E009",
        title="When the input is wrong",
        severity="bad",
        text="With annual_income in thousands 38 of 100 answers change and nothing says so.",
        charts=(
            charts.heat(
                "Answers that change", [("unit", "income", 38), ("noise", "debt", 3)], x_title="", y_title=""
            ),
        ),
    )
    return value, calibration, explained, robust, sheet


def curve() -> Chart:
    """A line with its band, in layers, with points that show on hover: what a value curve looks like."""
    values = [{"t": i / 20, "v": 50 - 90 * (i / 20 - 0.4) ** 2} for i in range(21)]
    rows = [{**row, "low": row["v"] - 8, "high": row["v"] + 8} for row in values]
    across = {"field": "t", "type": "quantitative", "title": "threshold", "axis": {"format": "%"}}
    up = {"type": "quantitative", "title": "EUR a row"}
    picked = {"name": "hover", "select": {"type": "point", "on": "pointerover", "nearest": True}}
    layers: list[dict[str, Any]] = [
        {"mark": "area", "encoding": {"x": across, "y": {**up, "field": "low"}, "y2": {"field": "high"}}},
        {"mark": "line", "encoding": {"x": across, "y": {**up, "field": "v"}}},
        {
            "params": [picked],
            "mark": {"type": "point", "tooltip": True},
            "encoding": {
                "x": across,
                "y": {**up, "field": "v"},
                "opacity": {"condition": {"param": "hover", "value": 1, "empty": False}, "value": 0},
            },
        },
    ]
    spec = {"$schema": "https://vega.github.io/schema/vega-lite/v5.json", "width": "container", "height": 220}
    return Chart(title="What each threshold earns", spec={**spec, "data": {"values": rows}, "layer": layers})


@cache
def evaluated(seed: int = 0) -> Report:
    """What the registered checks say about a small model."""
    gates = [at_most("log_loss", 0.6), at_least("accuracy", 0.99), beats("champion"), fair("group", "accuracy", 0.5)]
    return evaluate(subjects.classification(400, gates=gates, seed=seed), gates, checks=CHECKS)


def whole_report(seed: int = 0) -> Report:
    """A report in which everything a page shows is there."""
    found = evaluated(seed)
    return replace(
        found,
        subject="loans",
        findings=(*found.findings, *more()),
        notes=("latency was measured on a machine that did other work (load 1.4)", *found.notes),
        about=ABOUT,
    )


def hostile_report() -> Report:
    """A report in which every text that a user, a column or a class chooses is hostile."""
    finding = Finding(
        check="quality",
        code="E001",
        title=HOSTILE,
        severity="bad",
        text=HOSTILE,
        measures=(
            Measure(name="mae", value=1.0, low=0.5, high=1.5, n=9, unit=HOSTILE, method=HOSTILE),
            Measure(name="baseline_mae", value=2.0, n=9, unit=HOSTILE),
            Measure(
                name="improvement_over_baseline", value=1.0, low=0.5, high=1.5, n=9, unit=HOSTILE, method=HOSTILE
            ),
            Measure(name=HOSTILE, value=float("nan"), group=HOSTILE, method=HOSTILE, unit=HOSTILE),
        ),
        charts=(bars(HOSTILE, [(HOSTILE, 1.0), ("b", 2.0)], HOSTILE),),
        table=({HOSTILE: HOSTILE}, {"other": None}),
    )
    others = ("fairness", "calibration", "value", "importance", "serving", "slices")
    told: dict[str, Any] = {name: HOSTILE for name, value in vars(ABOUT).items() if isinstance(value, str)}
    return Report(
        subject=HOSTILE,
        findings=tuple(replace(finding, check=name, code=f"E00{i}") for i, name in enumerate(("quality", *others))),
        gates=(GateVerdict(gate=HOSTILE, passed=False, reason=HOSTILE),),
        notes=(HOSTILE,),
        about=replace(ABOUT, classes=(HOSTILE,), features=(HOSTILE,), protected=(HOSTILE,), **told),
    )
