"""Snapshots: a frame as Parquet bytes that are the same for the same content, and what changed between two."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullcircle.errors import BlobCorrupt, DataUnfit
from fullcircle.stats.bins import count_categories, count_numbers, quantile_edges
from fullcircle.stats.distances import g_test, jensen_shannon_debiased
from fullcircle.tables.keys import family, row_keys

__all__ = ["Shift", "SnapshotDiff", "decode", "diff", "encode", "row_keys"]

_MARK = b"fullcircle"
_LEVEL = 0.01  # the chance that any column at all is called shifted when none is
_MOST_CATEGORIES = 100


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A column distributed differently in the two snapshots. ``distance`` is the debiased divergence in bits."""

    column: str
    distance: float
    p: float
    text: str


@dataclass(frozen=True, kw_only=True)
class SnapshotDiff:
    """What changed from one snapshot to another.

    Rows are compared by the columns that both have in the same type; a row that occurs twice counts twice.
    ``columns_retyped`` are (name, before, after).
    """

    rows_before: int
    rows_after: int
    rows_added: int
    rows_removed: int
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    columns_retyped: tuple[tuple[str, str, str], ...]
    shifted: tuple[Shift, ...]

    @property
    def same(self) -> bool:
        """Whether both hold the same rows, in whatever order, and the same columns."""
        columns = self.columns_added or self.columns_removed or self.columns_retyped
        return not (self.rows_added or self.rows_removed or columns)


def encode(frame: Any) -> bytes:
    """``frame`` (text column names, each once) as Parquet. The same content gives the same bytes.

    What pandas would note about itself is left out, so pandas 2 and 3 agree; the bytes still name the Parquet
    writer's version. The index is not kept. Text comes back as pandas' own text type, objects that are numbers
    as numbers. Raises DataUnfit for a column that has no type (mixed objects, lists).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    marks: dict[str, dict[str, Any]] = {}
    arrays = [_to_arrow(frame[name], marks) for name in frame.columns]
    table = pa.table(arrays, names=list(frame.columns)).combine_chunks()
    noted = json.dumps({"rows": len(frame), "columns": marks}, sort_keys=True, ensure_ascii=True)
    table = table.replace_schema_metadata({_MARK: noted.encode()})
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", version="2.6", write_statistics=False)
    return sink.getvalue()


def decode(data: bytes) -> Any:
    """The frame that was encoded, as a pandas DataFrame. Raises BlobCorrupt for bytes that are no snapshot."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
        noted = json.loads((table.schema.metadata or {})[_MARK])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise BlobCorrupt(
            "these bytes are not a snapshot",
            received=str(error).splitlines()[0] if str(error) else type(error).__name__,
            allowed="Parquet as written by encode",
            next_step="see `fullcircle audit`",
        ) from error
    columns = {name: _from_arrow(table.column(name), noted["columns"].get(name, {})) for name in table.column_names}
    return pd.DataFrame(
        columns, index=pd.RangeIndex(noted["rows"]), columns=pd.Index(table.column_names, dtype=object)
    )


def diff(a: Any, b: Any) -> SnapshotDiff:
    """What changed from frame ``a`` to frame ``b``.

    Shifted columns are those whose counts in bins frozen on ``a`` differ by the G-test at level 0.01, shared out
    over the columns.
    """
    shared = [name for name in a.columns if name in b.columns]
    retyped = tuple((name, str(a[name].dtype), str(b[name].dtype)) for name in shared if _retyped(a[name], b[name]))
    alike = [name for name in shared if name not in {entry[0] for entry in retyped}]
    before, after = (_multiset(frame[alike]) for frame in (a, b))
    kept = sum(min(times, after.get(key, 0)) for key, times in before.items())
    level = _LEVEL / max(1, len(alike))
    return SnapshotDiff(
        rows_before=len(a),
        rows_after=len(b),
        rows_added=len(b) - kept,
        rows_removed=len(a) - kept,
        columns_added=tuple(name for name in b.columns if name not in a.columns),
        columns_removed=tuple(name for name in a.columns if name not in b.columns),
        columns_retyped=retyped,
        shifted=tuple(shift for name in alike if (shift := _shift(name, a[name], b[name])).p <= level),
    )


def _to_arrow(column: Any, marks: dict[str, dict[str, Any]]) -> Any:
    import pandas as pd
    import pyarrow as pa

    kind, values = column.dtype, column
    if isinstance(kind, pd.CategoricalDtype):
        labels = kind.categories.tolist()
        if not all(isinstance(label, str | int | float | bool) for label in labels):
            raise _typeless(column, "categories that are neither text nor numbers")
        of = str(kind.categories.dtype)
        of = "text" if of in _TEXT else of
        marks[column.name] = {"categories": labels, "ordered": bool(kind.ordered), "of": of}
        # Codes are kept, not values: a category is then small, and its order and unused ones come back.
        codes = column.cat.codes.to_numpy()
        return pa.array(codes.astype(np.int32), mask=codes < 0)
    if pd.api.types.is_object_dtype(kind) and pd.api.types.infer_dtype(column) in _NUMBERS:
        values = pd.to_numeric(column)
    elif kind.kind in "mM" or (pd.api.types.is_extension_array_dtype(kind) and str(kind) != "str"):
        marks[column.name] = {"dtype": str(kind)}
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError) as error:
        raise _typeless(column, str(error).splitlines()[0]) from error
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if pa.types.is_nested(array.type) or isinstance(array.type, pa.BaseExtensionType):
        raise _typeless(column, str(array.type))
    is_text = pa.types.is_string(array.type) or pa.types.is_string_view(array.type)
    return array.cast(pa.large_string()) if is_text else array


_NUMBERS = ("integer", "floating", "mixed-integer-float")


def _from_arrow(column: Any, mark: dict[str, Any]) -> Any:
    import pandas as pd

    if "categories" in mark:
        codes = column.fill_null(-1).to_numpy()
        labels = pd.Index(mark["categories"], dtype=None if mark["of"] == "text" else mark["of"])
        return pd.Series(pd.Categorical.from_codes(codes, labels, ordered=mark["ordered"]))
    if "dtype" not in mark:
        return column.to_pandas()
    kind = pd.api.types.pandas_dtype(mark["dtype"])
    if hasattr(kind, "__from_arrow__"):
        return pd.Series(kind.__from_arrow__(column), dtype=kind)
    return column.to_pandas().astype(kind)


_TEXT = ("str", "object", "string")


def _typeless(column: Any, received: str) -> DataUnfit:
    return DataUnfit(
        f"the column {column.name!r} cannot be kept, because it has no type",
        received=received,
        allowed="numbers, text, booleans, times, categories: one type per column",
        next_step="turn it into one of these in prepare, or drop it",
    )


def _retyped(before: Any, after: Any) -> bool:
    return family(before) != family(after)


def _multiset(frame: Any) -> dict[int, int]:
    if frame.shape[1] == 0:
        return {0: len(frame)}
    keys, times = np.unique(row_keys(frame), return_counts=True)
    return dict(zip(keys.tolist(), times.tolist(), strict=True))


def _shift(name: str, before: Any, after: Any) -> Shift:
    kind = family(before)
    if kind in ("number", "time"):
        old, new = (_as_floats(column, kind) for column in (before, after))
        edges = quantile_edges(old)
        counts = count_numbers(old, edges), count_numbers(new, edges)
        text = f"median {_middle(old, kind)} before, {_middle(new, kind)} after"
    else:
        usual = before.dropna().astype(str).value_counts()
        shown = usual.index[:_MOST_CATEGORIES].tolist()
        counts = (
            count_categories(before.astype(object).to_numpy(), shown),
            count_categories(after.astype(object).to_numpy(), shown),
        )
        shares = [counted.max() / max(1, counted.sum()) for counted in counts]
        text = f"the most frequent value has {shares[0]:.0%} of the rows before, {shares[1]:.0%} after"
    gaps = [column.isna().mean() if len(column) else 0.0 for column in (before, after)]
    if round(gaps[0], 3) != round(gaps[1], 3):
        text += f"; {gaps[0]:.1%} missing before, {gaps[1]:.1%} after"
    return Shift(column=name, distance=jensen_shannon_debiased(*counts), p=g_test(*counts).p, text=text)


def _as_floats(column: Any, kind: str) -> Any:
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if kind == "time":
        times = pd.to_datetime(column, utc=True)
        seconds = (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
        return seconds.to_numpy(dtype=float)
    return pd.to_numeric(column).to_numpy(dtype=float, na_value=np.nan)


def _middle(values: Any, kind: str) -> str:
    import pandas as pd

    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return "none"
    middle = float(np.median(finite))
    return f"{pd.Timestamp(middle, unit='s'):%Y-%m-%d %H:%M}" if kind == "time" else f"{middle:.6g}"
