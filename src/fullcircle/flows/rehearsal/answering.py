"""Answers in bulk: what a server would have answered and logged, row by row, as one closed segment of the log."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from fullcircle.deployment.answering import ID, Answerer
from fullcircle.flows import versions
from fullcircle.flows.rehearsal.history import Rows
from fullcircle.flows.session import Session
from fullcircle.monitoring.grid import iso
from fullcircle.runtimes.columns import Typed
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables.lines import model_folder, plain
from fullcircle.tables.predictions import kept_back, signed
from fullcircle.tables.segments import LINES
from fullcircle.types.contract import Contract, Value
from fullcircle.types.prediction import Prediction

if TYPE_CHECKING:
    import pandas as pd

_FIELDS = tuple(name for name in Prediction.__dataclass_fields__ if name not in ("id", "time"))
_NAME = b'{"id":"'


def scorer_of(session: Session, model: str, version: int) -> Scorer:
    """What answers for a version as its server would: the champion before stands in where a policy says so.

    Rows of a view bring their features along, as they were known then, so nothing is looked up.
    """
    scorer = versions.scorer(session, model, version)
    before = session.workspace.ledger.state().history.get(model, ())
    if len(before) > 1 and before[-1] == version:
        scorer.fallback = versions.scorer(session, model, before[-2])
    return scorer


def write(folder: Path, name: str, scorer: Scorer, rows: Rows, key: bytes = b"") -> None:
    """Answer the rows and write them as the closed segment ``name``, whole or not at all.

    ``key`` is what private values are hashed with.
    """
    bodies = _Bodies(scorer, key)
    order = _answered(scorer, bodies, rows.frame)
    home = model_folder(folder, scorer.name)
    home.mkdir(parents=True, exist_ok=True)
    lines, place, head = [], 0, f"{name}-"
    for number, time in zip(order, rows.times.tolist(), strict=True):
        line = b'%b%b%d","time":"%b",%b\n' % (
            _NAME,
            head.encode(),
            place,
            iso(time).encode(),
            bodies.found[number][1:],
        )
        lines.append(line)
        place += len(line)
    partial = home / f".{name}.partial"
    partial.write_bytes(b"".join(lines))
    os.replace(partial, home / f"{name}{LINES}")


def ids(folder: Path, model: str, name: str) -> list[str]:
    """The ids of a segment's rows, in order."""
    path = model_folder(folder, model) / f"{name}{LINES}"
    begin = len(_NAME)
    with path.open("rb") as lines:
        return [line[begin : line.index(b'"', begin)].decode() for line in lines]


def _answered(scorer: Scorer, bodies: _Bodies, frame: pd.DataFrame) -> list[int]:
    """Answer all rows; returns for each which of the bodies is its own."""
    columns = _columns(scorer.contract, frame)
    if columns is None:
        return [int(one.id) for one in bodies.append(scorer.score(rows_of(frame, scorer.contract)))]
    found = Answerer(scorer, bodies).answer(columns, 0)
    return [int(number) for number in found.columns[ID].to_pylist()]


def _columns(contract: Contract, frame: pd.DataFrame) -> Typed | None:
    """The columns as Arrow has them; None where one of them has no type there."""
    import pyarrow as pa

    names = [name for name in dict.fromkeys((*contract.names, *contract.context)) if name in frame.columns]
    try:
        arrays = {name: pa.array(frame[name], from_pandas=True) for name in names}
    except (pa.ArrowException, TypeError, OverflowError):
        return None
    whole = {
        name: each.combine_chunks() if hasattr(each, "combine_chunks") else each for name, each in arrays.items()
    }
    return Typed(whole, len(frame))


class _Bodies:
    """Takes what is logged of rows, and numbers it: its place in the file is known when all are answered."""

    def __init__(self, scorer: Scorer, key: bytes) -> None:
        self.left_out, self.hashing = kept_back(scorer.contract)
        self.found: list[bytes] = []
        self._scorer, self._key = scorer, key

    def append(self, predictions: Sequence[Prediction]) -> Sequence[Prediction]:
        """See Recorder."""
        made = self._scorer
        done = signed(
            predictions, made.contract, model=made.name, version=made.version, bundle=made.bundle, key=self._key
        )
        bodies = [msgspec.json.encode({name: getattr(one, name) for name in _FIELDS}, enc_hook=plain) for one in done]
        return [replace(one, id=number) for one, number in zip(done, self.write(bodies), strict=True)]

    def write(self, bodies: Sequence[bytes]) -> Sequence[str]:
        """See Recorder."""
        start = len(self.found)
        self.found.extend(bodies)
        return [str(number) for number in range(start, len(self.found))]


@dataclass(frozen=True)
class Answers:
    """Answers on n rows: ``values`` (n,) numbers or positions in ``classes`` (NaN: none), ``shares`` (n, classes).

    ``shares`` is None for numbers, and for models without probabilities.
    """

    values: Any
    shares: Any


def asked(scorer: Scorer, frame: pd.DataFrame, classes: Sequence[Value]) -> Answers:
    """What a version answers for rows of a frame; classes are positions in ``classes``."""
    contract = scorer.contract
    columns = _columns(contract, frame)
    alike = set(contract.classes) <= set(classes)
    if columns is None or not scorer.encoder.encodable or not alike:
        return of_predictions(contract, scorer.score(rows_of(frame, contract)), classes, len(frame))
    matrix = columns.matrix(scorer.encoder)
    known = np.flatnonzero(scorer.encoder.clean(matrix))
    block = scorer.block(matrix[known])
    good = np.ones(len(known), dtype=bool)
    good[list(block.failed)] = False
    known = known[good]
    values, shares = np.full(len(frame), np.nan), None
    places = np.array([classes.index(label) for label in contract.classes])
    values[known] = block.answers[good] if contract.task == "regression" else places[block.answers[good]]
    if block.chances is not None:
        shares = np.full((len(frame), len(classes)), np.nan)
        shares[np.ix_(known, np.arange(len(classes)))] = 0.0
        shares[np.ix_(known, places)] = block.chances[good]
    others = np.setdiff1d(np.arange(len(frame)), known)
    if len(others):
        judged = scorer.score(columns.dicts(contract, others.tolist()))
        more = of_predictions(contract, judged, classes, len(others))
        values[others] = more.values
        if shares is not None and more.shares is not None:
            shares[others] = more.shares
    return Answers(values, shares)


def of_predictions(
    contract: Contract, predictions: Sequence[Prediction], classes: Sequence[Value], rows: int
) -> Answers:
    """Logged answers as arrays. An answer that is none of ``classes`` counts as no answer."""
    if contract.task == "regression":
        values = (np.nan if one.value is None else float(one.value) for one in predictions)
        return Answers(np.fromiter(values, dtype=np.float64, count=rows), None)
    places: Mapping[Value, int] = {label: place for place, label in enumerate(classes)}
    values = (places.get(one.value, np.nan) for one in predictions)
    found = np.fromiter(values, dtype=np.float64, count=rows)
    if not any(one.probabilities for one in predictions):
        return Answers(found, None)
    names = [str(label) for label in classes]
    told = [[(one.probabilities or {}).get(name, np.nan) for name in names] for one in predictions]
    return Answers(found, np.array(told, dtype=np.float64))
