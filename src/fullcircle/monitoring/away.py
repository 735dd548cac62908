"""Columns that an alarm named: since when they are away, how far, and whether they came back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.monitoring.detector import Floats
from fullcircle.stats import distances
from fullcircle.types.monitoring import Suspect

if TYPE_CHECKING:
    from fullcircle.monitoring.columns import Columns

BACK = math.log(1000.0)
"""How much likelier (in nats) the reference must be than the change before a column counts as back."""
_KINDS = ("<f4", "<f4", "<f4", "<f4", "<i4", "|b1", "|b1")


@dataclass
class Since:
    """For F columns: ``seen`` (F, C) counts since the column was last quiet, ``changed`` (F, C) the shares it had
    when it was named, ``back`` (F,) how much speaks for its return, ``own`` (F,) its level at the alarm, ``age`` (F,)
    batches since it was quiet, ``away`` and ``certain`` (F,) whether it is a suspect, and a certain one.
    """

    seen: Floats
    changed: Floats
    back: Floats
    own: Floats
    age: NDArray[np.int64]
    away: NDArray[np.bool_]
    certain: NDArray[np.bool_]

    @classmethod
    def start(cls, shape: tuple[int, ...]) -> Since:
        """Nothing is away."""
        flat, flags = np.zeros(shape[0]), np.zeros(shape[0], dtype=np.bool_)
        ages = np.zeros(shape[0], dtype=np.int64)
        return cls(np.zeros(shape), np.zeros(shape), flat, flat.copy(), ages, flags, flags.copy())

    def step(self, raw: Floats, counts: Floats, shares: Floats, quiet: NDArray[np.bool_]) -> tuple[int, ...]:
        """Take a batch in: ``raw`` counts, ``counts`` divided by the effect. Returns the columns that came back.

        ``quiet`` is which columns show nothing against the reference: of those that are away, over the batches that
        speak for their return (since ``back`` was 0). One that is unlike both what it was at the alarm and the
        reference stays away, and its test begins anew.
        """
        here = raw.sum(axis=1) > 0
        reset = quiet & ~self.away & here
        grown = self.seen + raw
        self.seen = np.where(reset[:, None], 0.0, grown).astype(np.float32).astype(np.float64)
        self.age = np.where(reset, 0, self.age + here)
        with np.errstate(divide="ignore"):
            ratio = np.log(shares) - np.log(np.where(self.changed > 0, self.changed, shares))
        back = self.back + (counts * ratio).sum(axis=1)
        unlike = back >= BACK
        home = self.away & unlike & quiet
        self.back = np.where(self.away & ~unlike, np.maximum(0.0, back), 0.0).astype(np.float32).astype(np.float64)
        self.away, self.certain = self.away & ~home, self.certain & ~home
        self.seen[home], self.age[home], self.changed[home] = 0.0, 0, 0.0
        return tuple(np.flatnonzero(home).tolist())

    def leave(self, named: NDArray[np.bool_], certain: NDArray[np.bool_], own: Floats, raw: Floats) -> None:
        """Columns are named by an alarm: what they look like now is what their return is tested against.

        ``raw`` are the counts of the batch that raised it: all that is seen of a column that was quiet until then.
        """
        fresh = named & ~self.away
        sudden = fresh & (self.seen.sum(axis=1) == 0) & (raw.sum(axis=1) > 0)
        self.seen, self.age = np.where(sudden[:, None], raw, self.seen), np.where(sudden, 1, self.age)
        smooth = self.seen + 0.5
        shares = (smooth / smooth.sum(axis=1, keepdims=True)).astype(np.float32).astype(np.float64)
        self.changed = np.where(fresh[:, None], shares, self.changed)
        self.own = np.where(fresh, own, self.own).astype(np.float32).astype(np.float64)
        self.back = np.where(fresh, 0.0, self.back)
        self.away, self.certain = self.away | named, self.certain | (certain & named)

    def state(self) -> list[bytes]:
        """All of it as bytes."""
        arrays = (self.seen, self.changed, self.back, self.own, self.age, self.away, self.certain)
        return [np.ascontiguousarray(each, dtype=kind).tobytes() for each, kind in zip(arrays, _KINDS, strict=True)]

    def restore(self, kept: Any) -> bool:
        """Take over what ``state`` gave; False where it does not fit."""
        arrays = (self.seen, self.changed, self.back, self.own, self.age, self.away, self.certain)
        if len(kept) != len(arrays):
            return False
        read = [np.frombuffer(data, kind) for data, kind in zip(kept, _KINDS, strict=True)]
        if any(one.size != like.size for one, like in zip(read, arrays, strict=True)):
            return False
        fresh: list[Any] = [
            one.reshape(like.shape).astype(like.dtype) for one, like in zip(read, arrays, strict=True)
        ]
        self.seen, self.changed, self.back, self.own, self.age, self.away, self.certain = fresh
        return True


def suspects(since: Since, columns: Columns) -> tuple[Suspect, ...]:
    """The columns that are away, the strongest evidence first, with how far they are since the change began."""
    places = np.flatnonzero(since.away)
    if not places.size:
        return ()
    found = distances.compare(columns.counts[places], since.seen[places])
    made = [
        Suspect(
            feature=columns.names[place],
            distance=float(np.nan_to_num(found.js[row])),
            low=float(np.nan_to_num(found.js_low[row])),
            high=float(np.nan_to_num(found.js_high[row])),
            evidence=float(since.own[place]),
            certain=bool(since.certain[place]),
        )
        for row, place in enumerate(places.tolist())
    ]
    return tuple(sorted(made, key=lambda one: (-one.evidence, one.feature)))
