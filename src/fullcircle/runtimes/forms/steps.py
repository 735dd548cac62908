"""scikit-learn's simple preprocessing steps, read when a version is packaged, as ``preparing`` does them.

A step that is not known here, or is used in a way that could not be followed, is refused: the model is then asked
as it was fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fullcircle.runtimes.forms.preparing import (
    FINITE,
    MOST_BINS,
    NEUTRAL,
    OPERATIONS,
    UNARY,
    Array,
    Chains,
    Prepared,
    Tables,
)
from fullcircle.runtimes.values import may_be_missing
from fullcircle.types.contract import Contract

Link = tuple[str, float]


class NotCompiled(Exception):
    """Why a form cannot be made of a model, in half a sentence for the certificate."""


@dataclass(frozen=True)
class Number:
    """A column of numbers: where it comes from, and what was done to it. ``raw_boolean``: still of dtype bool."""

    column: int
    chain: tuple[Link, ...] = ()
    raw_boolean: bool = False


@dataclass(frozen=True)
class Listed:
    """A column of few values: for each bin of an input column what stands there, and whether it is refused."""

    column: int
    keys: tuple[float, ...]
    values: tuple[Any, ...]
    refused: tuple[bool, ...]


Cell = Number | Listed


def begin(contract: Contract) -> list[Cell]:
    """The columns of the frame that a model is asked with."""
    cells: list[Cell] = []
    for place, column in enumerate(contract.columns):
        if column.kind == "category":
            keys = (*(float(code) for code in range(len(column.categories))), math.inf)
            cells.append(Listed(place, keys, (*column.categories, math.nan, math.nan), (False,) * (len(keys) + 1)))
        elif column.kind in ("number", "integer", "boolean"):
            cells.append(Number(place, raw_boolean=column.kind == "boolean" and not may_be_missing(column)))
        else:
            raise NotCompiled(f"the column {column.name!r} holds {column.kind}")
    return cells


def split(model: Any) -> tuple[list[Any], Any]:
    """The preprocessing steps of a model, in order, and the estimator after them."""
    if _name(model) != "sklearn.pipeline.Pipeline":
        return [], model
    before = [step for _, step in model.steps[:-1]]
    inner, last = split(model.steps[-1][1])
    return [*before, *inner], last


def through(steps: Sequence[Any], cells: list[Cell]) -> list[Cell]:
    """What the steps of a pipeline make of columns."""
    for step in steps:
        cells = _step(step, cells)
    return cells


def numeric(cells: Sequence[Cell]) -> None:
    """Refuse columns that an estimator of scikit-learn would not take as numbers."""
    for cell in cells:
        if isinstance(cell, Listed) and not all(isinstance(value, float) for value in cell.values):
            raise NotCompiled("a column of categories reaches the model without being encoded")


def validated(cells: Sequence[Cell]) -> list[Cell]:
    """The columns after scikit-learn looked for infinities, which only arithmetic can have brought in."""
    numeric(cells)
    found: list[Cell] = []
    for cell in cells:
        if isinstance(cell, Listed):
            infinite = (math.isinf(value) for value in cell.values)
            refused = tuple(bad or inf for bad, inf in zip(cell.refused, infinite, strict=True))
            found.append(replace(cell, refused=refused))
        elif any(name != "fill" for name, _ in cell.chain) and cell.chain[-1][0] != FINITE:
            found.append(_with(cell, (FINITE, 0.0)))
        else:
            found.append(cell)
    return found


def prepared(cells: Sequence[Cell], width: int) -> Prepared:
    """Columns as one preparation; ``width`` is the number of the contract's columns."""
    numeric(cells)
    numbers = [cell for cell in cells if isinstance(cell, Number)]
    entries: dict[tuple[int, tuple[float, ...], tuple[bool, ...]], int] = {}
    chain: list[int] = []
    entry: list[int] = []
    values: list[float] = []
    first = [0]
    for cell in cells:
        if isinstance(cell, Listed):
            chain.append(-1)
            entry.append(entries.setdefault((cell.column, cell.keys, cell.refused), len(entries)))
            values.extend(cell.values)
        else:
            chain.append(sum(each >= 0 for each in chain))
            entry.append(-1)
        first.append(len(values))
    starts = np.cumsum([0, *(len(keys) for _, keys, _ in entries)])
    if len(values) > MOST_BINS or starts[-1] > MOST_BINS:
        raise NotCompiled("its columns have too many different values")
    tables = Tables(
        columns=np.array([column for column, _, _ in entries], dtype=np.intp),
        keys=np.array([key for _, keys, _ in entries for key in keys], dtype=np.float64),
        starts=starts.astype(np.intp),
        refused=np.array([bad for _, _, refused in entries for bad in refused], dtype=np.bool_),
    )
    return Prepared(
        width=width,
        chains=_aligned(numbers),
        tables=tables,
        chain=np.array(chain, dtype=np.intp),
        entry=np.array(entry, dtype=np.intp),
        values=np.array(values, dtype=np.float64),
        first=np.array(first, dtype=np.intp),
    )


def _aligned(numbers: Sequence[Number]) -> Chains:
    """Chains of single columns as operations on all: each link at the first place after the one before it."""
    stages: list[str] = []
    placed: list[list[tuple[int, float]]] = []
    for number in numbers:
        found, at = [], 0
        for name, value in number.chain:
            while at < len(stages) and stages[at] != name:
                at += 1
            if at == len(stages):
                stages.append(name)
            found.append((at, value))
            at += 1
        placed.append(found)
    shape = (len(stages), len(numbers))
    neutral = np.array([NEUTRAL.get(name, 0.0) for name in stages], dtype=np.float64)
    values = np.repeat(neutral[:, None], len(numbers), axis=1).reshape(shape)
    marks = np.zeros(shape, dtype=np.bool_)
    for place, found in enumerate(placed):
        for stage, value in found:
            values[stage, place], marks[stage, place] = value, True
    return Chains(
        sources=np.array([number.column for number in numbers], dtype=np.intp),
        operations=np.array([OPERATIONS.index(name) for name in stages], dtype=np.intp),
        values=values,
        marks=marks,
    )


def _step(step: Any, cells: list[Cell]) -> list[Cell]:
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return cells
    read = _STEPS.get(_name(step))
    if read is None:
        raise NotCompiled(f"the step {type(step).__name__} is not known")
    return read(step, cells)


def _pipeline(step: Any, cells: list[Cell]) -> list[Cell]:
    return through([inner for _, inner in step.steps], cells)


def _columns(step: Any, cells: list[Cell]) -> list[Cell]:
    if step.transformer_weights:
        raise NotCompiled("a ColumnTransformer that weighs its parts is not known")
    found: list[Cell] = []
    for name, inner, _ in step.transformers_:
        indices = step._transformer_to_input_indices[name]
        if not len(indices) or (isinstance(inner, str) and inner == "drop"):
            continue
        found.extend(_step(inner, [cells[index] for index in indices]))
    return found


def _standard(step: Any, cells: list[Cell]) -> list[Cell]:
    means = step.mean_ if step.with_mean else None
    scales = step.scale_ if step.with_std else None
    return _scaled(cells, (("subtract", means), ("divide", scales)))


def _robust(step: Any, cells: list[Cell]) -> list[Cell]:
    centers = step.center_ if step.with_centering else None
    scales = step.scale_ if step.with_scaling else None
    return _scaled(cells, (("subtract", centers), ("divide", scales)))


def _minmax(step: Any, cells: list[Cell]) -> list[Cell]:
    found = _scaled(cells, (("multiply", step.scale_), ("add", step.min_)))
    if not step.clip:
        return found
    low, high = (np.full(len(cells), float(bound)) for bound in step.feature_range)
    return [_with(cell, ("low", a), ("high", b)) for cell, a, b in zip(found, low, high, strict=True)]


def _maxabs(step: Any, cells: list[Cell]) -> list[Cell]:
    if getattr(step, "clip", False):
        raise NotCompiled("MaxAbsScaler with clip is not known")
    return _scaled(cells, (("divide", step.scale_),))


def _scaled(cells: list[Cell], links: Sequence[tuple[str, Array | None]]) -> list[Cell]:
    found = validated(cells)
    for name, values in links:
        if values is not None:
            found = [_with(cell, (name, float(value))) for cell, value in zip(found, values, strict=True)]
    return found


def _imputer(step: Any, cells: list[Cell]) -> list[Cell]:
    missing = step.missing_values
    if not (isinstance(missing, float) and math.isnan(missing)):
        raise NotCompiled("an imputer of something else than NaN is not known")
    if any(isinstance(each, float) and math.isnan(each) for each in step.statistics_):
        raise NotCompiled("an imputer of an empty column is not known")
    if all(isinstance(cell, Number) for cell in cells):
        cells = validated(cells)
    found = [_filled(cell, value) for cell, value in zip(cells, step.statistics_, strict=True)]
    if step.add_indicator:
        found += [_missing(cells[index]) for index in step.indicator_.features_.tolist()]
    return found


def _filled(cell: Cell, value: Any) -> Cell:
    if isinstance(cell, Number):
        return _with(cell, ("fill", float(value)))
    value = value if isinstance(value, str) else float(value)
    return replace(cell, values=tuple(value if _is_nan(each) else each for each in cell.values))


def _missing(cell: Cell) -> Cell:
    if isinstance(cell, Number):
        return _with(cell, ("isnan", 0.0))
    return replace(cell, values=tuple(float(_is_nan(each)) for each in cell.values))


def _function(step: Any, cells: list[Cell]) -> list[Cell]:
    if step.validate or step.kw_args:
        raise NotCompiled("a FunctionTransformer that validates or passes arguments is not known")
    if step.func is None or _checks_only(step.func):
        return cells
    name = next((name for name, function in UNARY.items() if step.func is function and name != "isnan"), None)
    if name is None:
        raise NotCompiled("a FunctionTransformer of this function is not known")
    if any(isinstance(cell, Number) and cell.raw_boolean for cell in cells):
        raise NotCompiled("a function of a boolean column is not known")
    numeric(cells)
    return [_with(cell, (name, 0.0)) for cell in cells]


def _checks_only(function: Any) -> bool:
    """What histogram gradient boosting puts before its numbers: a check that lets infinities and NaN through."""
    inner = getattr(function, "func", None)
    return (
        f"{getattr(inner, '__module__', '')}.{getattr(inner, '__name__', '')}"
        == "sklearn.utils.validation.check_array"
        and function.keywords.get("ensure_all_finite") is False
    )


def _encoder(step: Any, cells: list[Cell]) -> list[Cell]:
    """The step itself is asked for every value of every column, the others standing at their first category."""
    listed = [
        _listed(cell, categories) if isinstance(cell, Number) else cell
        for cell, categories in zip(cells, step.categories_, strict=True)
    ]
    usual = [categories[0] for categories in step.categories_]
    widths = getattr(step, "_n_features_outs", [1] * len(cells))
    first = np.cumsum([0, *widths])
    found: list[Cell] = []
    for place, cell in enumerate(listed):
        rows = [[*usual[:place], value, *usual[place + 1 :]] for value in cell.values]
        table, refused = _asked(step, rows)
        bad = tuple(a or b for a, b in zip(cell.refused, refused, strict=True))
        found.extend(
            replace(cell, values=tuple(table[:, out].tolist()), refused=bad)
            for out in range(int(first[place]), int(first[place + 1]))
        )
    return found


def _asked(step: Any, rows: list[list[Any]]) -> tuple[Array, list[bool]]:
    """What a fitted step makes of rows, and which of them it refuses."""
    import warnings

    import pandas as pd

    names = getattr(step, "feature_names_in_", None)
    kinds = [np.float64 if categories.dtype.kind in "iufb" else object for categories in step.categories_]

    def ask(some: list[list[Any]]) -> Array:
        columns = [np.array(column, dtype=kind) for column, kind in zip(zip(*some, strict=True), kinds, strict=True)]
        frame = pd.DataFrame(dict(enumerate(columns)))
        if names is not None:
            frame.columns = pd.Index(names)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = step.transform(frame if names is not None else frame.to_numpy(dtype=object))
        out = out.toarray() if hasattr(out, "toarray") else out
        return np.asarray(out, dtype=np.float64)

    try:
        return ask(rows), [False] * len(rows)
    except (TypeError, ValueError):
        parts: list[Array | None] = []
        for row in rows:
            try:
                parts.append(ask([row]))
            except (TypeError, ValueError):
                parts.append(None)
    width = next((part.shape[1] for part in parts if part is not None), None)
    if width is None:
        raise NotCompiled(f"{type(step).__name__} refuses its own categories")
    filled = [np.zeros((1, width)) if part is None else part for part in parts]
    return np.concatenate(filled), [part is None for part in parts]


def _listed(cell: Number, categories: Array) -> Listed:
    """A column of numbers as the few values an encoder knows, with an interval before each for all the others."""
    if cell.chain:
        raise NotCompiled("an encoder of a computed column is not known")
    try:
        known = sorted({float(value) for value in categories} - {math.nan})
    except (TypeError, ValueError) as error:
        raise NotCompiled("an encoder of numbers as text is not known") from error
    known = [value for value in known if not math.isnan(value)]
    if any(abs(value) > 2**53 for value in known):
        raise NotCompiled("an encoder of numbers beyond 2**53 is not known")
    keys: list[float] = []
    for value in known:
        before = math.nextafter(value, -math.inf)
        keys += [value] if keys and keys[-1] >= before else [before, value]
    keys.append(math.inf)
    beyond = math.nextafter(known[-1], math.inf) if known else 0.0
    return Listed(cell.column, tuple(keys), (*keys[:-1], beyond, math.nan), (False,) * (len(keys) + 1))


def _with(cell: Cell, *links: Link) -> Cell:
    if isinstance(cell, Number):
        return Number(cell.column, (*cell.chain, *links))
    values = np.array(cell.values, dtype=np.float64).reshape(-1, 1)
    table = _aligned([Number(0, links)]).apply(values)[0]
    return replace(cell, values=tuple(table[:, 0].tolist()))


def _is_nan(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _name(step: Any) -> str:
    return f"{type(step).__module__}.{type(step).__qualname__}"


_STEPS: Mapping[str, Callable[[Any, list[Cell]], list[Cell]]] = {
    "sklearn.pipeline.Pipeline": _pipeline,
    "sklearn.compose._column_transformer.ColumnTransformer": _columns,
    "sklearn.preprocessing._data.StandardScaler": _standard,
    "sklearn.preprocessing._data.RobustScaler": _robust,
    "sklearn.preprocessing._data.MinMaxScaler": _minmax,
    "sklearn.preprocessing._data.MaxAbsScaler": _maxabs,
    "sklearn.impute._base.SimpleImputer": _imputer,
    "sklearn.preprocessing._function_transformer.FunctionTransformer": _function,
    "sklearn.preprocessing._encoders.OneHotEncoder": _encoder,
    "sklearn.preprocessing._encoders.OrdinalEncoder": _encoder,
}
