"""Gates: conditions for promotion, as a project declares them. They are decided in ``evaluation.gates``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fullcircle.errors import ProjectInvalid
from fullcircle.types import declared
from fullcircle.types.durations import byte_count, duration

GateKind = Literal["at_most", "at_least", "beats", "fair", "worth", "latency", "size"]


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A condition for promotion. Made by at_most, at_least, beats, fair, worth, latency and size.

    ``by`` names the columns whose groups are looked at one by one, ``without`` groups of them that are known to be
    too small to judge. ``margin`` is how much worse than a rival is still accepted. ``per_row`` or ``matrix`` says
    what an answer is worth.
    """

    kind: GateKind
    metric: str = ""
    limit: float = 0.0
    by: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    margin: float = 0.0
    per_row: Callable[[Any, Any], Any] | None = None
    matrix: Mapping[tuple[Any, Any], float] | None = None
    text: str = ""


def at_most(metric: str, limit: float, *, by: str | Sequence[str] = ()) -> Gate:
    """The metric on the test rows must not exceed ``limit``: the upper end of its 95 % interval decides.

    With ``by`` it must hold in every group of that column (of several: in every intersection).
    """
    return _absolute("at_most", "at most", metric, limit, by)


def at_least(metric: str, limit: float, *, by: str | Sequence[str] = ()) -> Gate:
    """The metric on the test rows must reach ``limit``: the lower end of its 95 % interval decides.

    With ``by`` it must hold in every group of that column (of several: in every intersection).
    """
    return _absolute("at_least", "at least", metric, limit, by)


def _absolute(kind: GateKind, said: str, metric: str, limit: float, by: str | Sequence[str]) -> Gate:
    names, number = declared.columns("by", by), declared.number("limit", limit)
    text = f"{declared.name_of('metric', metric)} {said} {number:g}{_in_groups(names)}"
    return Gate(kind=kind, metric=metric, limit=number, by=names, text=text)


def beats(rival: str = "champion", *, by: str | Sequence[str] = (), margin: float = 0.0) -> Gate:
    """The main metric must be better than the champion's on the same rows, beyond chance (95 % interval).

    While there is no champion, the rival is the trivial baseline. ``margin`` (in the metric's unit) is how much
    worse is still accepted: with 0.5 the interval's lower end must be above -0.5. With ``by`` this must hold in every
    group of that column: a challenger that is better on average and worse for some does not pass.
    """
    declared.one_of("the rival in beats(...)", rival, ("champion", "baseline"))
    names, allowed = declared.columns("by", by), declared.number("margin", margin, 0.0)
    slack = f", up to {allowed:g} worse" if allowed else ""
    return Gate(
        kind="beats", metric=rival, by=names, margin=allowed, text=f"beats the {rival}{slack}{_in_groups(names)}"
    )


def fair(by: str | Sequence[str], metric: str, gap: float, *, without: Sequence[str] = ()) -> Gate:
    """The metric may differ by at most ``gap`` between the groups of column ``by`` (of several: intersections).

    The upper end of the gap's interval decides. A group too small to judge fails the gate, unless it is named in
    ``without``: ``without=["other"]``, or ``["female, other"]`` for intersections.
    """
    names = declared.columns("by", by)
    if not names:
        raise ProjectInvalid("by in fair(...) names no column", allowed="a column", next_step="mend the project file")
    limit = declared.number("gap", gap, 0.0)
    return Gate(
        kind="fair",
        by=names,
        metric=declared.name_of("metric", metric),
        limit=limit,
        without=declared.columns("without", without),
        text=f"{metric} differs by at most {limit:g} between groups of {' and '.join(names)}",
    )


def worth(
    per_row: Callable[[Any, Any], Any] | None = None,
    at_least: float = 0.0,
    *,
    matrix: Mapping[tuple[Any, Any], float] | None = None,
) -> Gate:
    """What answers are worth, and how much they must earn on average a row (the interval's lower end decides).

    Either ``per_row(actual, predicted)`` (arrays of n in, array of n amounts out), or for classes a ``matrix``
    ``{(actual, predicted): amount}``: gains positive, costs negative, pairs left out 0. The amounts are in the
    project's ``currency``.
    """
    if (per_row is None) == (matrix is None) or not (per_row is None or callable(per_row)):
        raise ProjectInvalid(
            "worth(...) needs one way to say what an answer is worth",
            received=f"per_row={per_row!r}, matrix={matrix!r}",
            allowed="per_row=function of (actual, predicted), or matrix={(actual, predicted): amount}",
            next_step="pass one of the two",
        )
    if matrix is not None:
        declared.mapping("matrix in worth(...)", matrix)
        pairs = all(isinstance(pair, tuple) and len(pair) == 2 for pair in matrix)
        if not matrix or not pairs:
            raise ProjectInvalid(
                "matrix in worth(...) does not map pairs of classes to amounts",
                received=repr(matrix),
                allowed='{("yes", "no"): -500.0, ...}: the actual class first, then the predicted one',
                next_step="mend the project file",
            )
        matrix = {pair: declared.number(f"matrix[{pair!r}]", amount) for pair, amount in matrix.items()}
    limit = declared.number("at_least", at_least)
    return Gate(
        kind="worth",
        metric="value_per_row",
        limit=limit,
        per_row=per_row,
        matrix=matrix,
        text=f"worth at least {limit:g} a row",
    )


def latency(p99: str) -> Gate:
    """99 of 100 single rows must be answered within this time, contract included, in process."""
    return Gate(
        kind="latency",
        metric="latency_p99_ms",
        limit=duration(p99).total_seconds() * 1000.0,
        text=f"latency p99 at most {p99}",
    )


def size(limit: str) -> Gate:
    """The model file must not be larger than this."""
    return Gate(kind="size", metric="model_bytes", limit=float(byte_count(limit)), text=f"size at most {limit}")


def _in_groups(names: Sequence[str]) -> str:
    return f" in every group of {' and '.join(names)}" if names else ""
