"""How long a report takes, whether it fits in memory, and whether its intervals and its silence can be trusted.

The peer of the figures on a million rows is scikit-learn with Fairlearn on the same rows: the same metrics by group,
as points without intervals. The other numbers have no peer: nothing we know of gives them.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.rows import ROOT, Row, once, table

BIN = Path(sys.executable).parent
FRESH = get_context("spawn")  # a fork of a process whose threads have done maths hangs
ROWS, COLUMNS = 30_000, 23
MANY, WIDE = 1_000_000, 50
SEEDS = int(os.environ.get("FULLCIRCLE_BENCH_SEEDS", "1000"))
PEER = "scikit-learn and Fairlearn, no intervals"


def rows() -> list[Row]:
    """All measurements, in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="fullcircle-evaluation-") as name:
        folder = Path(name)
        found = [_full(folder), *_million(), *_wide()]
        print(table(found), flush=True)  # the rest takes minutes
        return [*found, *_trust()]


# --- the full report on 30k x 23 ----------------------------------------------------------------------------

PROJECT = '''
"""30 000 rows of 23 columns, drawn with a seed: who will not pay back?"""

from pathlib import Path

import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

import fullcircle as fc


def fit(X, y):
    return HistGradientBoostingClassifier(categorical_features="from_dtype", random_state=0).fit(X, y)


rows = pd.read_parquet(Path(__file__).parent / "rows.parquet")
project = fc.Project(
    name="credit",
    data=fc.Table(rows),
    label="late",
    features=[name for name in rows.columns if name not in ("late", "sex")],
    fit=fit,
    protected=["sex", "school"],
    serving=fc.Serving(requests_per_day=20_000, machine_hour=0.1),
    currency="EUR",
    gates=[
        fc.at_least("roc_auc", 0.6),
        fc.at_most("ece", 0.1),
        fc.fair(by="sex", metric="selection_rate", gap=0.2),
        fc.worth(matrix={("yes", "yes"): 400, ("no", "yes"): -100, ("yes", "no"): -300}, at_least=-300),
        fc.latency(p99="100ms"),
    ],
)
'''


def _full(folder: Path) -> Row:
    """``fullcircle evaluate`` on a trained run, as a whole process: every check, three faces, MLflow."""
    credit(ROWS).to_parquet(folder / "rows.parquet")
    (folder / "project.py").write_text(textwrap.dedent(PROJECT), encoding="utf-8")
    env = {"FULLCIRCLE_WORKSPACE": str(folder / "workspace"), "FULLCIRCLE_CONFIG": str(folder / "config")}
    command = str(BIN / "fullcircle")
    once([command, "train", str(folder / "project.py")], env=env)
    seconds = once([command, "evaluate", str(folder / "project.py")], env=env)
    return Row(what="full report on 30k x 23, glass box included", unit="s", ours=seconds, goal=90)


def credit(count: int) -> Any:
    """Rows like those of a lender: 19 numbers, 3 categories, a label that depends on some of them, and sex."""
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(7)
    frame = pd.DataFrame({f"x{number}": generator.normal(size=count) for number in range(COLUMNS - 4)})
    frame["school"] = generator.choice(["primary", "secondary", "university"], count)
    frame["married"] = generator.choice(["yes", "no", "other"], count)
    frame["region"] = generator.choice([f"r{number}" for number in range(12)], count)
    frame["limit"] = np.round(generator.lognormal(10, 1, count))
    frame["sex"] = generator.choice(["f", "m"], count)
    law = frame["x0"] + 0.8 * frame["x1"] * frame["x2"] + np.sin(2 * frame["x3"]) - (frame["school"] == "university")
    late = generator.random(count) < 1.0 / (1.0 + np.exp(1.2 - law))
    return frame.assign(late=np.where(late, "yes", "no"))


# --- a million rows -----------------------------------------------------------------------------------------


def _million() -> list[Row]:
    """Quality, value, calibration and fairness of a million answers, ours and the peer's in turn."""
    data = _answers(MANY)
    ours, theirs = [], []
    for _ in range(3):
        ours.append(_timed(lambda: _reported(*data)))
        theirs.append(_timed(lambda: _pointwise(*data)))
    what = "quality, value, calibration, fairness on 1M rows"
    mine, peer = statistics.median(ours), statistics.median(theirs)
    return [Row(what=what, unit="s", ours=mine, goal=10, peer=peer, peer_name=PEER)]


def _answers(count: int) -> tuple[Any, Any, Any]:
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(3)
    groups = pd.DataFrame(
        {"sex": generator.choice(["f", "m"], count), "race": generator.choice([f"r{n}" for n in range(6)], count)}
    )
    share = 1.0 / (1.0 + np.exp(-generator.normal(size=count) * 1.5))
    return groups, (generator.random(count) < share).astype(int), share


def _reported(groups: Any, actual: Any, share: Any) -> Any:
    import fullcircle as fc

    gates = [fc.worth(matrix={(1, 1): 400.0, (0, 1): -100.0}), fc.fair("sex", "selection_rate", 1.0)]
    report = fc.evaluate(
        None, groups, actual, probabilities=share, protected=["sex", "race"], gates=gates, checks=_NEEDED
    )
    assert {finding.check for finding in report.findings} == set(_NEEDED), report.notes
    assert not any(finding.title.endswith("failed") for finding in report.findings), report.findings
    return report


_NEEDED = ("quality", "value", "calibration", "fairness")


def _pointwise(groups: Any, actual: Any, share: Any) -> Any:
    """The same metrics as points: what one writes by hand."""
    import numpy as np
    from fairlearn import metrics as fair
    from sklearn import metrics as sk
    from sklearn.calibration import calibration_curve

    said = (share >= 0.5).astype(int)
    found = [
        metric(actual, said)
        for metric in (
            sk.accuracy_score,
            sk.balanced_accuracy_score,
            sk.precision_score,
            sk.recall_score,
            sk.matthews_corrcoef,
        )
    ]
    found.append(sk.f1_score(actual, said, average="macro"))
    found += [
        metric(actual, share)
        for metric in (sk.log_loss, sk.brier_score_loss, sk.roc_auc_score, sk.average_precision_score)
    ]
    calibration_curve(actual, share, n_bins=10, strategy="quantile")
    by_group = {
        "accuracy": sk.accuracy_score,
        "selection_rate": fair.selection_rate,
        "true_positive_rate": fair.true_positive_rate,
        "false_positive_rate": fair.false_positive_rate,
    }
    for columns in (["sex"], ["race"], ["sex", "race"]):
        frame = fair.MetricFrame(metrics=by_group, y_true=actual, y_pred=said, sensitive_features=groups[columns])
        found.append(frame.difference().sum())
    found.append(np.where(said == 1, np.where(actual == 1, 400.0, -100.0), 0.0).mean())
    return found


def _timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


# --- a million rows of fifty columns ------------------------------------------------------------------------


def _wide() -> list[Row]:
    """Every check that can be made of a model in memory on 1M x 50, in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=FRESH) as pool:
        seconds, megabytes = pool.submit(_wide_report).result()
    return [
        Row(what="full report on 1M x 50: peak memory", unit="MB", ours=megabytes, goal=4000),
        Row(what="full report on 1M x 50", unit="s", ours=seconds, goal=300),
    ]


def _wide_report() -> tuple[float, float]:
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import SGDClassifier

    import fullcircle as fc

    generator = np.random.default_rng(5)
    X = pd.DataFrame({f"x{number}": generator.normal(size=MANY) for number in range(WIDE - 2)})
    X["sex"], X["region"] = generator.integers(0, 2, MANY), generator.integers(0, 8, MANY)
    y = (X["x0"] + X["x1"] + generator.logistic(size=MANY) > 0).astype(int).to_numpy()
    model = SGDClassifier(loss="log_loss", random_state=0, max_iter=5, tol=None).fit(X.head(50_000), y[:50_000])
    begun = time.perf_counter()
    report = fc.evaluate(
        model,
        X,
        y,
        train=(X.head(50_000), y[:50_000]),
        protected=["sex"],
        gates=[fc.worth(matrix={(1, 1): 10.0, (0, 1): -5.0}, at_least=-10)],
    )
    seconds = time.perf_counter() - begun
    failed = [finding.text for finding in report.findings if finding.title.endswith("failed")]
    if failed:
        raise RuntimeError("; ".join(failed))
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


# --- can it be trusted? -------------------------------------------------------------------------------------


def _trust() -> list[Row]:
    """Coverage, silence and detection: counts, not times, so they share the cores."""
    from benchmarks.coverage import coverage

    with ProcessPoolExecutor(mp_context=FRESH) as pool:
        held = pool.submit(coverage)
        raised = sum(pool.map(_raises, range(SEEDS), chunksize=5))
        missed = sum(pool.map(_misses, range(20)))
        return [*_coverage(held.result()), *_silence(raised, missed)]


def _coverage(found: list[dict[str, Any]]) -> list[Row]:
    """How far from 95 % the coverage of the worst metric's intervals is, over 4000 simulated data sets."""
    (ROOT / "benchmarks" / "results" / "coverage.json").write_text(json.dumps(found, indent=2) + "\n")
    worst = max(found, key=lambda one: abs(one["coverage"] - 0.95))
    return [
        Row(
            what=f"coverage of 95 % intervals, {len(found)} figures: the furthest out ({worst['metric']})",
            unit="points from 95 %",
            ours=100.0 * abs(worst["coverage"] - 0.95),
            goal=1.0,
        )
    ]


def _silence(raised: int, missed: int) -> list[Row]:
    """Clean data sets on which any check that looks for a fault raised anything, and planted faults not found."""
    return [
        Row(
            what=f"clean data sets of {SEEDS} with any finding, all checks",
            unit="sets",
            ours=raised,
            goal=SEEDS // 100,
        ),
        Row(what="planted faults of 200 not found by their check", unit="faults", ours=missed, goal=0),
    ]


def _raises(seed: int) -> int:
    sys.path.insert(0, str(ROOT / "tests"))
    import planted
    from fullcircle.evaluation.evaluate import evaluate

    kind = planted.KINDS[seed % 2]
    report = evaluate(planted.clean(kind, seed), checks=planted.CHECKS)
    return int(any(finding.severity in ("warning", "bad") for finding in report.findings))


def _misses(seed: int) -> int:
    sys.path.insert(0, str(ROOT / "tests"))
    import planted
    from fullcircle.evaluation.evaluate import evaluate

    missed = 0
    for fault, check in planted.FAULTS.items():
        for kind in planted.KINDS:
            report = evaluate(planted.planted(kind, fault, seed), checks=[check])
            missed += report.findings[0].severity not in ("warning", "bad")
    return missed
