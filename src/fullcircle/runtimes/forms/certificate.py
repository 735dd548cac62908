"""Which form serves a model: the first that is worth it and was proven equal, else the model as it was fitted.

No clock decides (see ``worthwhile``), so the same model gives the same choice wherever it is packaged.
"""

from __future__ import annotations

import re
import sys
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np

from fullcircle.errors import FullcircleError
from fullcircle.runtimes.contracts import examine
from fullcircle.runtimes.encoding import Encoder
from fullcircle.runtimes.form import Form, FrameForm
from fullcircle.runtimes.forms import growing, probes, steps, stored, weighing, worthwhile
from fullcircle.runtimes.forms.array import ArrayForm, single_threaded
from fullcircle.runtimes.forms.linear import TOLERANCE
from fullcircle.runtimes.forms.onnx import OnnxForm, converted
from fullcircle.runtimes.forms.preparing import Array
from fullcircle.runtimes.forms.steps import NotCompiled
from fullcircle.runtimes.scorer import Block, Scorer
from fullcircle.types.contract import Contract
from fullcircle.types.form import Certificate, FormName

MOST_ROWS = 2000
_BATCH = 64
_SECONDS = 0.02
_REPEATS = 3
_MOST_SECONDS = 1.0
_ALONE = 100
_ALONE_UNCOMPILED = 25
_LIBRARIES = ("numpy", "scikit-learn", "scipy")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A form to be compared: the file it is kept in (None: the model's own), and where its answers may change."""

    form: Form
    name: FormName
    data: bytes | None
    limits: Mapping[int, Array]
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The form that serves, its certificate, and the file that a bundle keeps it in (None: the model's own)."""

    form: Form
    certificate: Certificate
    data: bytes | None = None


Make = Callable[[Contract, Any], Candidate]


def trees(contract: Contract, model: Any) -> Candidate:
    """The model as trees in numpy, as a bundle would open it. Raises NotCompiled."""
    prepared, forest, decision, link = growing.grow(contract, model)
    worthwhile.check_trees(forest, type(steps.split(model)[1]).__name__)
    data = stored.trees(prepared, forest, decision, link)
    return Candidate(
        form=stored.opened(data, contract),
        name="trees",
        data=data,
        limits=probes.limits(prepared, forest),
        tolerance=0.0,
    )


def linear(contract: Contract, model: Any) -> Candidate:
    """The model as weights in numpy, as a bundle would open it. Raises NotCompiled."""
    prepared, weights, decision, link = weighing.weigh(contract, model)
    worthwhile.check_scores(len(weights.intercept))
    data = stored.linear(prepared, weights, decision, link)
    return Candidate(
        form=stored.opened(data, contract),
        name="linear",
        data=data,
        limits=probes.limits(prepared, None),
        tolerance=TOLERANCE,
    )


def array(contract: Contract, model: Any) -> Candidate:
    """The model asked with an array. Raises NotCompiled."""
    form = ArrayForm(contract, model)
    worthwhile.check_size(model)
    return Candidate(form=form, name="array", data=None, limits={}, tolerance=TOLERANCE)


def onnx(contract: Contract, model: Any) -> Candidate:
    """The model converted to ONNX, as a bundle would open it. Raises NotCompiled."""
    data = converted(contract, model)
    return Candidate(form=OnnxForm(contract, data), name="onnx", data=data, limits={}, tolerance=TOLERANCE)


CANDIDATES: Mapping[str, Make] = {"trees": trees, "linear": linear, "array": array}
WITH_ONNX: Mapping[str, Make] = {"trees": trees, "linear": linear, "onnx": onnx, "array": array}
"""For projects that name onnxruntime among their packages: their servers then have it."""


def candidates_of(lines: Sequence[str]) -> Mapping[str, Make]:
    """The candidates for a project that says these requirements."""
    named = {re.split(r"[^A-Za-z0-9_.-]", line.strip(), maxsplit=1)[0].lower() for line in lines}
    return WITH_ONNX if "onnxruntime" in named else CANDIDATES


def choose(
    contract: Contract,
    model: Any,
    rows: Sequence[object],
    *,
    seed: int = 0,
    candidates: Mapping[str, Make] = CANDIDATES,
) -> Chosen:
    """The first candidate that is made for the model, and answers as the model does on every row compared.

    ``rows`` are rows as callers send them (golden and test rows; the first 2000 that the contract lets through
    count). To them come rows at every split and around it, at the bounds of each column, and with missing values and
    unseen categories where the contract lets them through.
    """
    frame = FrameForm(contract, model)
    matrix = _matrix(contract, rows)
    if matrix is None or not len(matrix):
        why = "a column holds text or times" if matrix is None else "there is no row to compare"
        return Chosen(form=frame, certificate=Certificate(refused=tuple((name, why) for name in candidates)))
    refused: list[tuple[str, str]] = []
    native = FrameForm(contract, single_threaded(model))
    for name, make in candidates.items():
        try:
            candidate = make(contract, model)
            alone = _ALONE_UNCOMPILED if candidate.data is None else _ALONE
            certificate = _compared(contract, native, candidate, matrix, seed, alone)
        except (NotCompiled, FullcircleError, *_FOREIGN) as error:
            why = str(error) if isinstance(error, NotCompiled) else f"it could not be made ({type(error).__name__})"
            refused.append((name, why))
            continue
        if isinstance(certificate, str):
            refused.append((name, certificate))
            continue
        certificate = replace(
            certificate,
            seconds=_timed(contract, candidate.form, matrix),
            native_seconds=_timed(contract, native, matrix),
            refused=tuple(refused),
            versions=_versions(),
        )
        return Chosen(form=candidate.form, certificate=certificate, data=candidate.data)
    return Chosen(
        form=frame,
        certificate=Certificate(refused=tuple(refused), versions=_versions()),
    )


def kept(certificate: Certificate, packages: Collection[str]) -> Certificate:
    """What a bundle keeps of a certificate: nothing that the same inputs could give otherwise on another machine.

    Those are timings, how far below its tolerance a form came (BLAS adds in another order with other threads), and
    libraries that are installed and not among ``packages``, those of the bundle's lock.
    """
    versions = tuple((name, version) for name, version in certificate.versions if name in {"python", *packages})
    same = replace(certificate, seconds=(0.0, 0.0), native_seconds=(0.0, 0.0), versions=versions)
    return same if not same.tolerance else replace(same, same_bits=False, largest_difference=same.tolerance)


def told(certificate: Certificate) -> str:
    """A certificate in a sentence for a person."""
    if certificate.form == "frame":
        return "the model answers as it was fitted: " + ("; ".join(f"{n}: {why}" for n, why in certificate.refused))
    how = "the same bits" if certificate.same_bits else f"at most {certificate.largest_difference:.1e} apart"
    own, other = certificate.seconds[0] * 1e6, certificate.native_seconds[0] * 1e6
    return (
        f"the form {certificate.form} answers: {how} on {certificate.rows} rows, "
        f"{own:.0f} µs for a row instead of {other:.0f}"
    )


_FOREIGN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What reading the private parts of another version of scikit-learn may raise: then it is not compiled."""


def _matrix(contract: Contract, rows: Sequence[object]) -> Array | None:
    encoder = Encoder(contract)
    if not encoder.encodable:
        return None
    judged = (examine(contract, row) for row in rows[: 2 * MOST_ROWS])
    sound = [values for verdict, values in judged if verdict.status in ("ok", "imputed", "flagged")]
    matrix: Array = encoder.matrix(sound[:MOST_ROWS])
    whole = [place for place, column in enumerate(contract.columns) if column.kind == "integer"]
    exact: Array = matrix[~(np.abs(matrix[:, whole]) > 2**53).any(axis=1)]
    return exact


def _compared(
    contract: Contract, native: FrameForm, candidate: Candidate, matrix: Array, seed: int, alone: int
) -> Certificate | str:
    """The certificate of a candidate, or what it answered differently. ``alone`` of the rows are asked singly too."""
    ours = Scorer(contract, None, form=candidate.form)
    theirs = Scorer(contract, native.model, form=native)
    if candidate.form.probable != native.probable:
        return "one of the two has no probabilities"
    count, largest, same, steady = 0, 0.0, True, True
    for rows in probes.blocks(contract, matrix, dict(candidate.limits), seed):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the fitted model has to say about strange rows
            expected, found = theirs.block(rows), ours.block(rows)
            steady = steady and _steady(ours, rows, found, candidate.tolerance, alone)
        if (expected.chances is None) != (found.chances is None):
            return "one of the two has no probabilities"
        if expected.failed.keys() != found.failed.keys():
            return "it answers rows that the model refuses, or refuses rows that the model answers"
        if contract.task == "classification" and not np.array_equal(*_kept(expected, found, "answers")):
            return "it gives another class"
        for part in ("answers", "chances"):
            a, b = _kept(expected, found, part)
            same = same and _bits(a) == _bits(b)
            largest = max(largest, _distance(a, b))
        count += len(rows)
    if largest > candidate.tolerance or (candidate.tolerance == 0.0 and not same):
        return f"its answers differ by more than {candidate.tolerance:g}"
    if not steady:
        return "it answers a row alone otherwise than among others"
    return Certificate(
        form=candidate.name,
        rows=count,
        same_bits=same,
        largest_difference=largest,
        tolerance=candidate.tolerance,
    )


def _steady(ours: Scorer, rows: Array, among: Block, tolerance: float, count: int) -> bool:
    """Whether some of the rows are answered alone, as a server often asks, as they were among the others."""
    for place in np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.intp)).tolist():
        one = ours.block(rows[place : place + 1])
        if bool(one.failed) != (place in among.failed):
            return False
        for before, after in ((among.answers, one.answers), (among.chances, one.chances)):
            if one.failed or before is None or after is None:
                continue
            before = before[place : place + 1]
            if _distance(before, after) > tolerance or (tolerance == 0.0 and _bits(before) != _bits(after)):
                return False
    return True


def _kept(expected: Block, found: Block, part: str) -> tuple[Array, Array]:
    """The answers or the chances of the rows that were answered."""
    a, b = getattr(expected, part), getattr(found, part)
    if a is None or b is None:
        return np.zeros(0), np.zeros(0)
    kept = np.ones(len(a), dtype=np.bool_)
    kept[list(expected.failed)] = False
    return np.asarray(a)[kept], np.asarray(b)[kept]


def _bits(values: Array) -> bytes:
    return np.ascontiguousarray(values).tobytes()


def _distance(a: Array, b: Array) -> float:
    """The largest difference, relative to the larger of the expected number and 1."""
    if not a.size:
        return 0.0
    return float((np.abs(a - b) / np.maximum(1.0, np.abs(a))).max())


def _timed(contract: Contract, form: Form, matrix: Array) -> tuple[float, float]:
    """The seconds of one call, for 1 row and for 64: the best of several, as what else runs can only slow it down."""
    scorer = Scorer(contract, None, form=form)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = _best(scorer, matrix[:1])
        if alone > _MOST_SECONDS:
            return alone, alone
        return alone, _best(scorer, np.resize(matrix, (_BATCH, matrix.shape[1])))


def _best(scorer: Scorer, rows: Array) -> float:
    best, calls, began = np.inf, 0, time.perf_counter()
    while calls <= _REPEATS or (time.perf_counter() - began < _SECONDS and calls < 1000):
        start = time.perf_counter()
        scorer.block(rows)
        best = min(best, time.perf_counter() - start)
        calls += 1
        if best > _MOST_SECONDS:
            break
    return float(round(best, 8))


def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", ".".join(str(part) for part in sys.version_info[:3]))]
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name)))
    return tuple(found)
