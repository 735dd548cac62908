"""A batch of traffic as counts: what is left of its rows when they were counted, and all that is judged later.

Batches add up: ``a + b`` is exactly what counting all rows at once gives, the mean and the deviation included, so
that workers, hours and machines may count on their own. Rows are counted as they arrived (``profiles.arrived``).
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fullcircle.errors import DataUnfit
from fullcircle.monitoring import losses
from fullcircle.monitoring.profiles import arrived, chances_of, distinct, objects, roles
from fullcircle.stats import bins, summaries
from fullcircle.types.contract import Contract, Value
from fullcircle.types.monitoring import FeatureProfile, Profile
from fullcircle.types.prediction import Prediction

Integers = NDArray[np.int64]
_FORM = 2
_HEAD = struct.Struct("<B8sQBB")
_SEAL = 8  # bytes at the end that only these bytes before them have
_LIMB = 2**63


@dataclass(frozen=True, slots=True)
class Summary:
    """One column of a batch: ``n`` values, of which how many were missing, unseen, or outside the reference's range.

    ``low``, ``high``, ``mean`` and ``deviation`` are those of its numbers, None without any (and for categories).
    """

    n: int
    missing: int
    unseen: int
    outside: int
    low: float | None
    high: float | None
    mean: float | None
    deviation: float | None


class Layout:
    """Where each column's counts lie. Made once from the columns of a profile, and shared by their batches.

    Raises DataUnfit where two columns have one name.
    """

    __slots__ = ("features", "grids", "names", "orders", "places", "points", "print", "starts")

    def __init__(self, features: Sequence[FeatureProfile]) -> None:
        self.features = tuple(features)
        self.names = tuple(feature.name for feature in self.features)
        distinct(self.names)
        self.places = {name: place for place, name in enumerate(self.names)}
        sizes = [len(feature.counts) for feature in self.features]
        self.starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
        self.grids = tuple(_grid(feature) for feature in self.features)
        self.points = tuple(_points(feature) for feature in self.features)
        self.orders = tuple(np.argsort(points, kind="stable") for points in self.points)
        self.print = self._print()

    def _print(self) -> bytes:
        """Eight bytes that tell bins from other bins."""
        made = hashlib.blake2b(digest_size=8)
        for feature in self.features:
            words = "".join(f"{len(each)} {each}" for each in (feature.name, feature.kind, *feature.categories))
            numbers = [*feature.edges, *(math.nan if each is None else each for each in (feature.low, feature.high))]
            made.update(f"{len(words)} {len(numbers)} {words}".encode(errors="surrogatepass"))
            made.update(np.array(numbers, dtype="<f8").tobytes())
        return made.digest()


def _grid(feature: FeatureProfile) -> summaries.Grid | None:
    if feature.kind != "number" or feature.low is None or feature.high is None:
        return None
    return summaries.grid(feature.low, feature.high)


def _points(feature: FeatureProfile) -> NDArray[np.float64]:
    """What values are compared with: the edges, then the last number below the reference's range, and its end."""
    if feature.low is None or feature.high is None:
        return np.array(feature.edges)
    return np.array([*feature.edges, math.nextafter(feature.low, -math.inf), feature.high])


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The counts of a lot of rows. Immutable; equal batches give equal bytes.

    ``table`` holds the counts of all columns one after the other, ``beyond`` (columns,) the numbers outside the
    reference's range, ``lows`` and ``highs`` the least and greatest finite number (infinity without any), ``first``
    and ``second`` the sums of ``stats.summaries``.
    """

    layout: Layout
    rows: int
    table: Integers
    beyond: Integers
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    first: tuple[int, ...]
    second: tuple[int, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The names of its columns."""
        return self.layout.names

    @classmethod
    def empty(cls, features: Sequence[FeatureProfile] | Layout) -> Batch:
        """A batch without a row."""
        layout = features if isinstance(features, Layout) else Layout(features)
        size, none = len(layout.names), (0,) * len(layout.names)
        return cls(
            layout=layout,
            rows=0,
            table=np.zeros(int(layout.starts[-1]), dtype=np.int64),
            beyond=np.zeros(size, dtype=np.int64),
            lows=np.full(size, math.inf),
            highs=np.full(size, -math.inf),
            first=none,
            second=none,
        )

    def counts(self, name: str) -> Integers:
        """The K + 2 counts of a column."""
        place = self.layout.places[name]
        return self.table[self.layout.starts[place] : self.layout.starts[place + 1]]

    def outside(self, name: str) -> int:
        """How many numbers of a column are below the reference's least or above its greatest, infinities included."""
        return int(self.beyond[self.layout.places[name]])

    def summary(self, name: str) -> Summary:
        """What a column held."""
        place, counted = self.layout.places[name], self.counts(name)
        on = self.layout.grids[place]
        found = summaries.Sums(int(counted[:-2].sum()), self.first[place], self.second[place])
        low, high = float(self.lows[place]), float(self.highs[place])
        return Summary(
            n=int(counted.sum()),
            missing=int(counted[-1]),
            unseen=int(counted[-2]),
            outside=self.outside(name),
            low=low if low <= high else None,
            high=high if low <= high else None,
            mean=None if on is None else summaries.mean(found, on),
            deviation=None if on is None else summaries.deviation(found, on),
        )

    def __add__(self, other: Batch) -> Batch:
        """Both lots together, exactly. Raises DataUnfit where they were counted in different bins."""
        if self.layout is not other.layout and self.layout.print != other.layout.print:
            raise _other_bins(f"{len(self.features)} and {len(other.features)} columns, or other bins of the same")
        return Batch(
            layout=self.layout,
            rows=self.rows + other.rows,
            table=self.table + other.table,
            beyond=self.beyond + other.beyond,
            lows=np.minimum(self.lows, other.lows),
            highs=np.maximum(self.highs, other.highs),
            first=tuple(map(int.__add__, self.first, other.first)),
            second=tuple(map(int.__add__, self.second, other.second)),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Batch) and self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.encode())

    def encode(self) -> bytes:
        """As bytes, for a file, sealed: some 90 a column of 20 bins, where no count is above 65535."""
        numbers = [place for place, on in enumerate(self.layout.grids) if on is not None]
        widths = [_width(each) for each in (self.table, self.beyond)]
        second = [self.second[place] for place in numbers]
        told = b"".join(
            [
                _HEAD.pack(_FORM, self.layout.print, self.rows, *widths),
                self.table.astype(f"<u{widths[0]}").tobytes(),
                self.beyond.astype(f"<u{widths[1]}").tobytes(),
                np.array([self.first[place] for place in numbers], dtype="<i8").tobytes(),
                np.array([each // _LIMB for each in second], dtype="<i8").tobytes(),
                np.array([each % _LIMB for each in second], dtype="<i8").tobytes(),
                self.lows.astype("<f8").tobytes(),
                self.highs.astype("<f8").tobytes(),
            ]
        )
        return told + _seal(told)

    @classmethod
    def decode(cls, features: Sequence[FeatureProfile] | Layout, data: bytes) -> Batch:
        """The batch that ``encode`` wrote. Raises DataUnfit where it was counted in other bins, or is damaged."""
        layout = features if isinstance(features, Layout) else Layout(features)
        numbers = [place for place, on in enumerate(layout.grids) if on is not None]
        if len(data) < _HEAD.size + _SEAL or data[0] != _FORM or _seal(data[:-_SEAL]) != data[-_SEAL:]:
            raise _damaged(data)
        _, bins_of, rows, *widths = _HEAD.unpack_from(data)
        if bins_of != layout.print:
            raise _other_bins(f"bins {bins_of.hex()}, not {layout.print.hex()}")
        size, total, few = len(layout.names), int(layout.starts[-1]), len(numbers)
        parts = [(total, f"<u{widths[0]}"), (size, f"<u{widths[1]}"), *[(few, "<i8")] * 3, *[(size, "<f8")] * 2]
        at, found = _HEAD.size, list[Any]()
        for count, kind in parts:
            found.append(np.frombuffer(data, dtype=kind, count=count, offset=at))
            at += found[-1].nbytes
        first, second = [0] * size, [0] * size
        for place, low, great, small in zip(numbers, *(each.tolist() for each in found[2:5]), strict=True):
            first[place], second[place] = low, great * _LIMB + small
        return cls(
            layout=layout,
            rows=rows,
            table=found[0].astype(np.int64),
            beyond=found[1].astype(np.int64),
            lows=found[5].astype(np.float64),
            highs=found[6].astype(np.float64),
            first=tuple(first),
            second=tuple(second),
        )


def _width(counts: Integers) -> int:
    most = int(counts.max(initial=0))
    return next(width for width in (1, 2, 4, 8) if most < 256**width)


def _seal(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_SEAL).digest()


def _damaged(data: bytes) -> DataUnfit:
    return DataUnfit(
        "these bytes are not the counts of a batch, or they are damaged",
        received=f"{len(data)} bytes that begin with {data[:8].hex() or 'nothing'}",
        allowed="what encode() of this version of fullcircle gave, whole and unchanged",
        next_step="take the file they are from out of a backup; counts are not mended",
    )


def _other_bins(received: str) -> DataUnfit:
    return DataUnfit(
        "counts in different bins cannot be put together",
        received=received,
        allowed="counts made with the same profile",
        next_step="count both with one profile",
    )


def count(features: Sequence[FeatureProfile] | Layout, columns: Mapping[str, ArrayLike], rows: int) -> Batch:
    """Count columns, each an array, a pandas or an Arrow column; one that is not there is missing in all ``rows``.

    ``features`` may be a ``Layout``, so that what is worked out from the profile is worked out once. Rows are taken
    as they stand: the contract is not asked. To count more than fits in memory, add up the batches of its parts.
    """
    layout = features if isinstance(features, Layout) else Layout(features)
    found = Batch.empty(layout)
    first, second = list(found.first), list(found.second)
    for place, feature in enumerate(layout.features):
        counted = found.counts(feature.name)
        values = columns.get(feature.name)
        if values is None:
            counted[-1] = rows
        elif feature.kind == "category":
            counted[:] = bins.count_categories(values, feature.categories)
        else:
            sums = _numbers(values, layout, place, found)
            first[place], second[place] = sums.first, sums.second
    return Batch(
        layout=layout,
        rows=rows,
        table=found.table,
        beyond=found.beyond,
        lows=found.lows,
        highs=found.highs,
        first=tuple(first),
        second=tuple(second),
    )


def _numbers(values: ArrayLike, layout: Layout, place: int, into: Batch) -> summaries.Sums:
    """Count one column of numbers in one pass, and give its sums."""
    feature, points, on = layout.features[place], layout.points[place], layout.grids[place]
    order, sorted_points = layout.orders[place], points[layout.orders[place]]
    below, total, sums = np.zeros(points.size, dtype=np.int64), 0, summaries.Sums()
    low, high, present = math.inf, -math.inf, 0
    for block in bins.blocks(values):
        total += block.size
        least = float(block.min())
        if least != least:
            block = block[block == block]
            least = float(block.min(initial=math.inf))
        present += block.size
        below[order] += bins.up_to(block, sorted_points)
        most = float(block.max(initial=-math.inf))
        if math.isinf(least) or math.isinf(most):
            finite = block[np.isfinite(block)]
            least, most = float(finite.min(initial=math.inf)), float(finite.max(initial=-math.inf))
        low, high = min(low, least), max(high, most)
        if on is not None:
            sums = sums.plus(summaries.sums(block, on))
    inner = len(feature.edges)
    into.counts(feature.name)[:] = bins.from_below(below[:inner], present, total)
    into.beyond[place] = below[inner] + present - below[inner + 1] if on is not None else 0
    # Adding 0.0 turns -0.0 into 0.0: equal batches give equal bytes.
    into.lows[place], into.highs[place] = low + 0.0, high + 0.0
    return sums


def read(profile: Profile, data: bytes) -> Batch:
    """The batch of ``of_rows`` that ``Batch.encode`` wrote. Raises DataUnfit as ``Batch.decode``."""
    return Batch.decode(profile.features, data)


def of_rows(profile: Profile, contract: Contract, predictions: Sequence[Prediction]) -> Batch:
    """Count the rows of the log in the columns of ``profile.features``.

    Inputs are those of rows that the model answered, as they arrived; the verdict is counted over all rows, the
    prediction over those with an answer, the expected loss over those that the model answered.
    """
    role = roles(profile)
    asked = [each for each in predictions if each.inputs is not None]
    inputs = [
        (each.inputs or {}) if not each.verdict.problems else arrived(each.inputs or {}, each.verdict)
        for each in asked
    ]
    columns = _turned(inputs, [name for name, what in role.items() if what == "input"])
    for feature in profile.features:
        match role[feature.name]:
            case "verdict":
                columns[feature.name] = [each.verdict.status for each in predictions]
            case "prediction":
                columns[feature.name] = [each.value for each in predictions if each.value is not None]
            case "estimate":
                columns[feature.name] = _expected(profile, contract, asked)
    return count(profile.features, columns, len(predictions))


def _turned(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Rows as columns, None where a row does not have one."""
    try:
        if len(names) > 1 and rows:
            return dict(zip(names, zip(*map(itemgetter(*names), rows), strict=True), strict=True))
    except KeyError:
        pass  # some row lacks a column: they are asked one by one
    return {name: [row.get(name) for row in rows] for name in names}


def of_labelled(profile: Profile, contract: Contract, pairs: Iterable[tuple[Prediction, Value]]) -> Batch:
    """Count answered rows with their labels in the columns of ``profile.outcomes``: the label, and the loss."""
    known = [(row, label) for row, label in pairs if row.value is not None and label is not None]
    labels = [label for _, label in known]
    columns: dict[str, Any] = {}
    for feature in profile.outcomes:
        if feature.role == "loss" and profile.loss is not None:
            given = (
                objects([row.value for row, _ in known]),
                chances_of(contract, [row.probabilities for row, _ in known]),
            )
            columns[feature.name] = losses.realised(profile.loss, contract, *given, objects(labels)) if known else []
        else:
            columns[feature.name] = labels
    return count(profile.outcomes, columns, len(known))


def _expected(profile: Profile, contract: Contract, asked: Sequence[Prediction]) -> Any:
    answered = [each for each in asked if each.value is not None]
    if not answered or profile.loss is None:
        return []
    chances = chances_of(contract, [each.probabilities for each in answered])
    return losses.expected(profile.loss, contract, objects([each.value for each in answered]), chances)
