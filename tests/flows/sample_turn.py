"""A turn as a run makes it, with figures of the diabetes example, for tests of what is made from turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fullcircle.types.bundle import Proof
from fullcircle.types.contract import Problem, Verdict
from fullcircle.types.monitoring import Alarm, Decision, Suspect, Window
from fullcircle.types.prediction import Prediction
from fullcircle.types.report import Chart, Finding, GateVerdict, Measure, Report
from fullcircle.types.turn import Candidate, Deployed, Packaged, Probe, Retrained, Snapshot, Stage, Trained, Turn

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"


def bars(title: str, named: Sequence[tuple[str, float]], x_title: str) -> Chart:
    """A chart with one bar a name."""
    spec: dict[str, Any] = {
        "$schema": SCHEMA,
        "width": "container",
        "height": {"step": 18},
        "data": {"values": [{"name": name, "x": value} for name, value in named]},
        "mark": {"type": "bar", "tooltip": True},
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": x_title},
            "y": {"field": "name", "type": "nominal", "title": None, "sort": None},
        },
    }
    return Chart(title=title, spec=spec)


def scatter(title: str) -> Chart:
    """Predictions beside labels."""
    points = [{"x": 60 + 3 * i, "y": 70 + (37 * i % 59) + 2.2 * i} for i in range(80)]
    encoding = {
        "x": {"field": "x", "type": "quantitative", "title": "actual"},
        "y": {"field": "y", "type": "quantitative", "title": "predicted"},
    }
    layers = [
        {"data": {"values": points}, "mark": {"type": "point", "clip": True, "opacity": 0.5}, "encoding": encoding},
        {
            "data": {"values": [{"x": 50, "y": 50}, {"x": 300, "y": 300}]},
            "mark": {"type": "line", "color": "gray"},
            "encoding": encoding,
        },
    ]
    return Chart(title=title, spec={"$schema": SCHEMA, "width": "container", "height": 260, "layer": layers})


def report(subject: str, *, beaten: bool = True) -> Report:
    """What the checks say about a run."""
    quality = Finding(
        check="quality",
        code="E001",
        title="Quality",
        severity="good" if beaten else "warning",
        text="On 88 rows the model is wrong by 43.4 on average (95 % 37.9 to 48.8); guessing the mean, by 63.3.",
        measures=(
            Measure(name="mae", value=43.4, low=37.9, high=48.8, n=88, unit="target", method="bootstrap, 1000 draws"),
            Measure(name="rmse", value=54.1, low=48.2, high=60.1, n=88, unit="target", method="bootstrap"),
            Measure(name="r2", value=0.48, low=0.33, high=0.6, n=88, method="bootstrap"),
            Measure(name="baseline_mae", value=63.3, low=57.0, high=69.9, n=88, unit="target", method="bootstrap"),
            Measure(name="improvement", value=19.9, low=12.7, high=26.8, n=88, group="baseline", method="paired t"),
        ),
        charts=(scatter("Predicted and actual progression"),),
    )
    fairness = Finding(
        check="fairness",
        code="E002",
        title="Fairness",
        severity="good",
        text="mae differs by 4.1 between groups of sex: 45.2 for sex=male, 41.1 for sex=female.",
        measures=(
            Measure(name="fair_gap:sex:mae", value=4.1, low=0.3, high=13.0, n=88, method="Fairlearn, bootstrap"),
            Measure(name="mae", value=41.1, low=34.0, high=49.0, n=46, group="sex=female"),
            Measure(name="mae", value=45.2, low=37.1, high=54.4, n=42, group="sex=male"),
        ),
        charts=(bars("mae by sex", [("female", 41.1), ("male", 45.2)], "mae"),),
    )
    value = Finding(
        check="value",
        code="E003",
        title="Value",
        severity="good",
        text="Worth 46.6 a row (95 % 20.5 to 71.6); guessing, 31.8.",
        measures=(Measure(name="value_per_row", value=46.6, low=20.5, high=71.6, n=88, method="bootstrap"),),
    )
    importance = Finding(
        check="importance",
        code="E004",
        title="What the answers depend on",
        severity="info",
        text="Shuffling a column makes mae worse by (most first): s5 (9.9), bmi (9.1), bp (3.4).",
        charts=(
            bars(
                "Importance of columns",
                [("s5", 9.9), ("bmi", 9.1), ("bp", 3.4), ("s6", 1.1), ("age", 0.9), ("sex", 0.7), ("s3", 0.4)],
                "mae worse by, when shuffled",
            ),
        ),
    )
    last = ("beats the champion", beaten, "improvement 19.9 (95 % 12.7 to 26.8) over the baseline")
    if not beaten:
        last = ("beats the champion", False, "improvement 0.8 (95 % −1.9 to 3.5) is not beyond chance on 88 rows")
    verdicts = (
        ("mae at most 55", True, "43.4 (95 % 37.9 to 48.8) on 88 rows"),
        last,
        ("mae differs by at most 20 between groups of sex", True, "gap 4.1 (95 % 0.3 to 13.0)"),
        ("worth at least 20 a row", True, "46.6 (95 % 20.5 to 71.6)"),
        ("latency p99 at most 100ms", True, "1.9 ms"),
        ("size at most 5MB", True, "112 kB"),
    )
    return Report(
        subject=subject,
        findings=(quality, fairness, value, importance),
        gates=tuple(GateVerdict(gate=gate, passed=passed, reason=reason) for gate, passed, reason in verdicts),
        rows=88,
        notes=("latency: 200 single rows after warm-up",),
    )


def trained(run: str, *, beaten: bool = True) -> Trained:
    """A model with its report."""
    return Trained(
        model="diabetes",
        run=run,
        snapshot=Snapshot(digest="5f" * 32, rows=351, columns=12, source="pandas table in memory"),
        train_rows=263,
        test_rows=88,
        split="a draw with seed 0",
        metric="mae",
        candidates=(
            Candidate(name="boosting", run=run, metric="mae", value=43.4, low=37.9, high=48.8, chosen=True),
            Candidate(name="linear", run="77" * 16, metric="mae", value=None),
        ),
        report=report(run, beaten=beaten),
        report_digest="a1" * 32,
        code="c0" * 32,
        params={"max_iter": 60, "learning_rate": 0.05},
    )


def packaged(version: int = 1) -> Packaged:
    """A version that was proven."""
    proof = Proof(
        bundle="b2" * 32,
        python="3.11.7",
        platform="linux-x86_64",
        packages=(("numpy", "2.4.6"), ("pandas", "3.1.1"), ("scikit-learn", "1.9.1"), ("skops", "0.16.0")),
        golden_rows=25,
        largest_difference=0.0,
        same_bits=True,
        environment="e3" * 32,
        seconds=4.2,
    )
    files = (
        ("contract.json", "c1" * 32),
        ("golden.json", "d2" * 32),
        ("lock.txt", "e3" * 32),
        ("model.skops", "f4" * 32),
    )
    return Packaged(
        model="diabetes",
        version=version,
        run="0f" * 16,
        bundle="b2" * 32,
        size_bytes=1_204_233,
        files=files,
        proof=proof,
    )


def window(name: str, alarms: tuple[Alarm, ...] = ()) -> Window:
    """A stretch of traffic."""
    distances = [(c, 0.002 * i) for i, c in enumerate(["age", "sex", "bp", "s1", "s2", "s5", "prediction"])]
    if alarms:
        distances.insert(0, ("bmi", 0.97))
    drift = Finding(
        check="gtest",
        code="M001",
        title="Drift",
        severity="bad" if alarms else "good",
        text="bmi has moved." if alarms else "No feature has moved beyond what 91 rows can show.",
        charts=(bars("Distance from the reference", distances, "Jensen-Shannon, bits"),),
        table=tuple({"feature": c, "distance": d, "p": 0.4} for c, d in distances),
    )
    return Window(
        name=name,
        model="diabetes",
        version=1,
        since="2026-11-23T18:00:00.000000Z",
        until="2026-11-23T18:00:04.000000Z",
        rows=91,
        labelled=91,
        verdicts=(("ok", 90), ("imputed", 0), ("flagged", 1)) if not alarms else (("ok", 0), ("flagged", 91)),
        alarms=alarms,
        report=Report(subject=name, findings=(drift,), rows=91),
    )


def alarm(feature: str = "bmi") -> Alarm:
    """Evidence that a feature moved."""
    text = "all 91 rows lie above the reference range (18 to 42.2); the median is 10 times the reference's"
    return Alarm(
        id="diabetes-1-drift-1",
        model="diabetes",
        version=1,
        kind="drift",
        severity="ticket",
        state="open",
        since="2026-11-23T18:00:00.000000Z",
        opened="2026-11-23T18:00:04.000000Z",
        updated="2026-11-23T18:00:04.000000Z",
        text=text,
        sure="at a budget of 1 false alert a year this happens by chance less than once in 2 years",
        advice="ask who sends bmi",
        suspects=(Suspect(feature=feature, distance=0.97, evidence=30.0, guess=f"{feature} looks multiplied by 10"),),
    )


def probes() -> tuple[Probe, ...]:
    """Rows that are wrong on purpose."""

    def probe(title: str, status: Any, problem: Problem, value: float | None) -> Probe:
        verdict = Verdict(status=status, problems=(problem,))
        return Probe(title=title, row={problem.column: None}, prediction=Prediction(value=value, verdict=verdict))

    return (
        probe(
            "age is missing",
            "rejected",
            Problem(column="age", reason="missing", action="reject", text="age is missing"),
            None,
        ),
        probe(
            "sex was never seen",
            "flagged",
            Problem(column="sex", reason="unseen", action="flag", text='sex "never seen before" is not one of 2'),
            151.3,
        ),
        probe(
            "bmi is missing",
            "imputed",
            Problem(column="bmi", reason="missing", action="impute", text="bmi is missing; 25.7 was put in"),
            148.0,
        ),
    )


def stages() -> tuple[Stage, ...]:
    """The steps of a turn."""
    told = (
        ("open", 1.3, ""),
        ("snapshot", 0.2, "351 rows, 12 columns, snapshot 5f5f5f5f5f5f"),
        ("fit", 2.9, ""),
        ("evaluate", 3.8, "6 checks"),
        ("package", 1.1, "bundle b2b2b2b2b2b2, 1.2 MB"),
        ("prove", 6.9, "25 golden rows, the same bits"),
        ("promote", 0.1, "version 1"),
        ("deploy", 2.2, "http://127.0.0.1:8710"),
        ("probe", 0.1, "3 rows"),
        ("window: next patients", 0.9, "91 rows, 91 labelled: quiet"),
        ("window: bmi in the wrong unit", 0.8, "91 rows, 91 labelled: alarm"),
        ("retrain", 4.7, "held"),
    )
    return tuple(Stage(name=name, seconds=seconds, text=text) for name, seconds, text in told)


def whole_turn() -> Turn:
    """A turn that went all the way round: version 1 promoted, its challenger held."""
    first = "0f" * 16
    gate = "improvement 0.8 (95 % −1.9 to 3.5) is not beyond chance on 88 rows"
    held = Decision(
        action="hold",
        model="diabetes",
        version=1,
        reason="alarm in window bmi in the wrong unit (bmi); 90 new labelled rows, 92 quarantined; held by its "
        f"gates: beats the champion: {gate}",
        figures=(("improvement", 0.8), ("improvement_low", -1.9), ("improvement_high", 3.5)),
    )
    return Turn(
        model="diabetes",
        started="2026-11-23T18:00:00.000000Z",
        seconds=25.0,
        stages=stages(),
        trained=trained(first),
        decision=Decision(action="promote", model="diabetes", version=1, reason="all gates passed"),
        packaged=packaged(),
        deployed=Deployed(model="diabetes", version=1, target="local", url="http://127.0.0.1:8710", rows=88),
        probes=probes(),
        windows=(window("next patients"), window("bmi in the wrong unit", (alarm(),))),
        retrained=Retrained(
            model="diabetes", decision=held, trained=trained("1e" * 16, beaten=False), new_rows=90, quarantined=92
        ),
        champion=1,
        sample_prediction="s1-1",
        next_steps=("fullcircle why s1-1", "fullcircle runs diabetes", "fullcircle status"),
    )
