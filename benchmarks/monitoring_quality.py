"""Estimated metrics on the employment data, 2016 to 2018: how often the realised one lay within the band.

Ours without any label, and as shipped with labels some chunks late; NannyML's CBPE on the same chunks, which learns
nothing from labels. F1 is the mean over both classes for ours, of class 1 for NannyML's: each is held to its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.monitoring_streams import EMPLOYMENT, SCALE, employment
from benchmarks.peers.talking import Peer
from benchmarks.rows import Row

CHUNK, LEVEL = 5000, 0.95
METRICS = ("accuracy", "roc_auc", "f1", "precision", "recall", "log_loss", "brier")
DELAYS = (0, 1, 3, 6)
"""Chunks after which labels come; 0 for never."""
LABEL, SAID, CHANCE = "employed", "prediction", "predicted_probability"


def rows(folder: Path, nannyml: Path | None, scale: float = SCALE) -> list[Row]:
    """A row a metric and delay, NannyML's CBPE (bands of three sampling errors) beside where it is installed."""
    if not (EMPLOYMENT / "employment_ma_reference.parquet").is_file():
        return []
    reference, analysis = employment()
    kept = analysis.iloc[: max(2, int(len(analysis) * scale) // CHUNK) * CHUNK]
    theirs = {} if nannyml is None else _asked(folder, nannyml, reference, kept)
    beside = {metric: [low <= real <= high for _, low, high, real in each] for metric, each in theirs.items()}
    return [
        _row(metric, delay, held, width, beside.get(metric))
        for metric, found in scored(reference, kept).items()
        for delay in DELAYS
        for held, width in [within(found, delay)]
    ]


def _row(metric: str, delay: int, held: list[bool], width: float, beside: list[bool] | None) -> Row:
    """The goal is what bands that hold 95 % fall short of in one of forty such tables only."""
    from scipy.stats import binom

    count = len(held)
    labels = f"labels {delay} late, {width:.2f} times as wide" if delay else "no labels"
    return Row(
        what=f"employment 2016-18, {count} chunks of {CHUNK}: {metric} within its {LEVEL:.0%} band, {labels}",
        unit="% of chunks", ours=100 * sum(held) / count, goal=100 * float(binom.ppf(0.025, count, LEVEL)) / count,
        peer=None if beside is None else 100 * sum(beside) / max(1, len(beside)),
        peer_name="" if beside is None else "NannyML CBPE", at_least=True,
    )  # fmt: skip


def within(found: list[tuple[Any, float]], delay: int) -> tuple[list[bool], float]:
    """Whether each chunk's band, as it was given then, held; and how wide it was beside the one without labels."""
    from fullcircle.monitoring import tracking
    from fullcircle.types.report import Measure

    estimates = [estimate for estimate, _ in found]
    misses = [tracking.miss(estimate, Measure(name="", value=real)) for estimate, real in found]
    due = [max(0, place - delay + 1) if delay else 0 for place in range(len(found))]
    given, held = tracking.follow(estimates, misses, due)
    wide = [_width(new) / _width(old) for new, old in zip(given, estimates, strict=True)]
    return [bool(each) for each in held], sum(wide) / len(wide)


def _width(measure: Any) -> float:
    return float(measure.high - measure.low)


def scored(reference: Any, analysis: Any, rows: int = CHUNK) -> dict[str, list[tuple[Any, float]]]:
    """Metric to (the estimate without labels, the realised value) of each chunk of so many rows."""
    from fullcircle.monitoring import losses
    from fullcircle.monitoring.estimates import PREFIX, Answered, estimate
    from fullcircle.types.contract import Column, Contract

    column = Column(name="AGEP", kind="number")
    contract = Contract(columns=(column,), label=LABEL, task="classification", classes=(0, 1))
    loss = losses.fit(contract, reference[LABEL].to_numpy(), reference[SAID].to_numpy(), _chances(reference))
    found: dict[str, list[tuple[Any, float]]] = {metric: [] for metric in METRICS}
    for start in range(0, len(analysis) // rows * rows, rows):
        chunk = analysis.iloc[start : start + rows]
        real = realised(chunk)
        answered = Answered(predicted=chunk[SAID].to_numpy(), probabilities=_chances(chunk))
        for each in estimate(loss, contract, answered, reference_rows=len(reference)):
            metric = each.name.removeprefix(PREFIX)
            if metric in real:
                found[metric].append((each, real[metric]))
    return found


def realised(chunk: Any) -> dict[str, float]:
    """The metrics of a chunk, class 1 being the positive one."""
    from sklearn import metrics as sk

    actual, said = chunk[LABEL], chunk[SAID]
    return {
        "accuracy": float(sk.accuracy_score(actual, said)),
        "roc_auc": float(sk.roc_auc_score(actual, chunk[CHANCE])),
        "f1": float(sk.f1_score(actual, said, average="macro")),
        "precision": float(sk.precision_score(actual, said)),
        "recall": float(sk.recall_score(actual, said)),
        "log_loss": float(sk.log_loss(actual, chunk[CHANCE])),
        "brier": float(sk.brier_score_loss(actual, chunk[CHANCE])),
    }


def _chances(frame: Any) -> Any:
    import numpy as np

    chance = frame[CHANCE].to_numpy(dtype=float)
    return np.column_stack([1.0 - chance, chance])


def _asked(folder: Path, python: Path, reference: Any, analysis: Any) -> Any:
    kept = [LABEL, SAID, CHANCE]
    paths = {"reference": str(folder / "known.parquet"), "windows": str(folder / "asked.parquet")}
    reference[kept].to_parquet(paths["reference"])
    analysis[kept].to_parquet(paths["windows"])
    with Peer(python, "monitoring_nannyml", "cbpe", folder=folder) as peer:
        return peer.ask("cbpe", **paths, rows=CHUNK, label=LABEL, said=SAID, chance=CHANCE)
