"""Estimated metrics on the employment data, 2016 to 2018: how often the realised one lay within the band."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benchmarks.monitoring_streams import EMPLOYMENT, SCALE, employment
from benchmarks.peers.talking import Peer
from benchmarks.rows import Row

CHUNK, LEVEL = 5000, 0.95
METRICS = ("accuracy", "roc_auc", "f1", "precision", "recall")
LABEL, SAID, CHANCE = "employed", "prediction", "predicted_probability"


def rows(folder: Path, nannyml: Path, scale: float = SCALE) -> list[Row]:
    """A row a metric, NannyML's CBPE (its bands are three sampling errors) beside it; none without the data."""
    if not (EMPLOYMENT / "employment_ma_reference.parquet").is_file():
        return []
    reference, analysis = employment()
    kept = analysis.iloc[: max(2, int(len(analysis) * scale) // CHUNK) * CHUNK]
    ours, theirs = estimated(reference, kept), _asked(folder, nannyml, reference, kept)
    found = []
    for metric in METRICS:
        within = [low <= real <= high for _, low, high, real in ours.get(metric, [])]
        beside = [low <= real <= high for _, low, high, real in theirs[metric]]
        if within:
            found.append(_row(metric, within, beside))
    return found


def _row(metric: str, within: list[bool], beside: list[bool]) -> Row:
    """The goal is what bands that hold 95 % fall short of in one of forty such tables only."""
    from scipy.stats import binom

    count = len(within)
    return Row(
        what=f"employment 2016-18: estimated {metric} within its {LEVEL:.0%} band, {count} chunks of {CHUNK}",
        unit="% of chunks", ours=100 * sum(within) / count, goal=100 * float(binom.ppf(0.025, count, LEVEL)) / count,
        peer=100 * sum(beside) / max(1, len(beside)), peer_name="NannyML CBPE", at_least=True,
    )  # fmt: skip


def estimated(reference: Any, analysis: Any) -> dict[str, list[tuple[float, float, float, float]]]:
    """Metric to (estimate, low, high, realised) of each chunk."""
    from fullcircle.monitoring import losses
    from fullcircle.monitoring.estimates import PREFIX, Answered, estimate
    from fullcircle.types.contract import Column, Contract

    column = Column(name="AGEP", kind="number")
    contract = Contract(columns=(column,), label=LABEL, task="classification", classes=(0, 1))
    loss = losses.fit(contract, reference[LABEL].to_numpy(), reference[SAID].to_numpy(), _chances(reference))
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for start in range(0, len(analysis) // CHUNK * CHUNK, CHUNK):
        chunk = analysis.iloc[start : start + CHUNK]
        real = realised(chunk)
        answered = Answered(predicted=chunk[SAID].to_numpy(), probabilities=_chances(chunk))
        for each in estimate(loss, contract, answered, reference_rows=len(reference)):
            metric = each.name.removeprefix(PREFIX)
            ends = (math.nan if one is None else one for one in (each.value, each.low, each.high))
            if metric in real:
                value, low, high = ends
                found.setdefault(metric, []).append((value, low, high, real[metric]))
    return found


def realised(chunk: Any) -> dict[str, float]:
    """The metrics of a chunk, class 1 being the positive one."""
    from sklearn import metrics as sk

    actual, said = chunk[LABEL], chunk[SAID]
    return {
        "accuracy": float(sk.accuracy_score(actual, said)),
        "roc_auc": float(sk.roc_auc_score(actual, chunk[CHANCE])),
        "f1": float(sk.f1_score(actual, said)),
        "precision": float(sk.precision_score(actual, said)),
        "recall": float(sk.recall_score(actual, said)),
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
