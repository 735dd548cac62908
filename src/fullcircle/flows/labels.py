"""Labels, answers and weights that somebody hands over, as plain arrays: of one kind, or refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from fullcircle.errors import DataUnfit, FullcircleError, PredictionInvalid, ProjectInvalid
from fullcircle.evaluation.check import Array, absent
from fullcircle.types.contract import Value

_NUMBERS = (bool, int, float, np.bool_, np.number, Decimal)
_NAMED = 5


def plain(values: Any, name: str, *, error: type[FullcircleError] = DataUnfit, holes: bool = False) -> Array:
    """Labels or answers (n) as an array of numbers, booleans or text, whatever library they come from.

    Categories, nullable and Arrow-backed values become what they stand for; a table of one column is that column.
    Raises ``error`` for what is no list, for text among numbers, and for missing values unless ``holes`` are allowed;
    these become None or stay NaN.
    """
    array = _array(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.ravel()
    if array.ndim != 1 or len(array) == 0:
        raise error(
            f"{name}: this is no list of values", received=f"shape {array.shape}", allowed="n labels, one per row"
        )
    if array.dtype.kind not in "biufUO":
        raise error(f"there are no labels in {name}", received=str(array.dtype), allowed="numbers, booleans or text")
    # Only what stands alone can be compared with itself, which is how a hole is told.
    if array.dtype.kind == "O" and any(np.ndim(value) for value in array.tolist()):
        raise error(f"there are no labels in {name}", received="lists", allowed="numbers, booleans or text")
    gone = absent(array)
    if gone.any() and not holes:
        raise error(
            f"values are missing in {name}",
            received=f"{int(gone.sum())} of {len(array)}",
            allowed="a finite number or a class in every row",
            next_step="leave these rows out",
        )
    return _unified(array, gone, name, error) if array.dtype.kind == "O" else array


def _array(values: Any) -> Array:
    # numpy would turn the list [1, "a"] into text without a word, so its values stay what they are.
    if isinstance(values, list | tuple):
        lengths = {len(value) if isinstance(value, list | tuple | np.ndarray) else 0 for value in values}
        if lengths and lengths != {0}:
            return np.asarray(values) if len(lengths) == 1 else np.empty((len(values), 0))
        made = np.empty(len(values), dtype=object)
        for place, value in enumerate(values):
            made[place] = value
        return made
    return np.asarray(values)


def _unified(array: Array, gone: Array, name: str, error: type[FullcircleError]) -> Array:
    """Objects as numbers or booleans where they all are; text stays, everything else is refused."""
    present = array[~gone].tolist()
    found = kinds(present)
    if len(found) > 1 or "" in found:
        raise error(
            f"there are values of different kinds in {name}" if len(found) > 1 else f"there are no labels in {name}",
            received=", ".join(sorted({f"{value!r} ({type(value).__name__})" for value in present})[:_NAMED]),
            allowed="text alone, or numbers and booleans alone",
            next_step="make them one kind: 1 and '1' are two labels",
        )
    if found == {"number"} and not gone.any():
        return np.array([float(value) if isinstance(value, Decimal) else value for value in present])
    made = array.copy()
    made[gone] = None
    return made


def kinds(values: Iterable[Any]) -> set[str]:
    """What labels are: "text", "number" (booleans too), or "" for what can be no label."""
    types = {type(value) for value in values}
    return {"text" if issubclass(each, str) else "number" if issubclass(each, _NUMBERS) else "" for each in types}


def refuse_mixed(named: Mapping[str, Any]) -> None:
    """Refuse labels, answers and classes of different kinds: 1 is not '1', and no figure would show that."""
    found = {name: kinds(np.asarray(values, dtype=object).tolist()) for name, values in named.items()}
    if len(set().union(*found.values())) > 1:
        raise PredictionInvalid(
            "labels, answers and classes are of different kinds",
            received=", ".join(f"{name}: {_first(values)}" for name, values in named.items()),
            allowed="text everywhere, or numbers everywhere",
            next_step="make them one kind: 1 and '1' are two labels; probabilities go into probabilities=",
        )


def _first(values: Any) -> str:
    array = np.asarray(values, dtype=object)
    present = array[~absent(array)].tolist()
    return f"such as {present[0]!r}" if present else "nothing"


def refuse_shares(actual: Array, values: Array) -> None:
    """Refuse answers between 0 and 1 for labels of 0 and 1: they are probabilities, and none would ever be right."""
    if two(actual) is None or values.dtype.kind != "f":
        return
    inside = (values > 0.0) & (values < 1.0)
    if inside.any() and ((values >= 0.0) & (values <= 1.0)).all():
        raise PredictionInvalid(
            "these look like probabilities, not answers: pass probabilities=",
            received=f"{int(inside.sum())} of {len(values)} between 0 and 1, such as {values[inside][0]:g}",
            allowed="0 or 1 in every row",
            next_step='evaluate(None, X, y, probabilities=...); with task="regression" they are quantities',
        )


def refuse_strange(actual: Array, values: Array, classes: Sequence[Value]) -> tuple[str, ...]:
    """Refuse labels or answers of which not one is a class; some that are not make a note of how many and which."""
    notes = []
    told: tuple[tuple[str, Array, type[FullcircleError], str], ...] = (
        ("label", actual, DataUnfit, "no label is a class of the model"),
        ("answer", values, PredictionInvalid, "no answer is one of the classes"),
    )
    for word, found, error, what in told:
        unknown = strangers(found, classes)
        if len(unknown) == len(found):
            raise error(what, **_beside(found, classes))
        if unknown:
            which = ", ".join(sorted(map(repr, set(unknown)))[:_NAMED])
            share = f"{len(unknown)} of {len(found)} {word}s"
            notes.append(f"{share} are none of the classes ({which}): these rows count as wrong")
    return tuple(notes)


def _beside(values: Array, classes: Sequence[Value]) -> dict[str, str]:
    return {
        "received": ", ".join(sorted(map(repr, set(np.asarray(values).tolist())))[:_NAMED]),
        "allowed": ", ".join(repr(value) for value in classes[:10]),
        "next_step": "are labels and answers of one kind? 1 and '1' are not; classes=[...] names all classes",
    }


def strangers(labels: Any, classes: Sequence[Value]) -> list[Any]:
    """The labels that are no class."""
    known = set(classes)
    return [value for value in np.asarray(labels).tolist() if value not in known]


def known(labels: Any, classes: Sequence[Value]) -> Any:
    """The labels that the model knows: shares of classes are taken of them. Raises DataUnfit where there is none."""
    if not classes:
        return labels
    places = set(classes)
    kept = [value for value in np.asarray(labels).tolist() if value in places]
    if not kept:
        raise DataUnfit("no label that it learned from is a class of the model", **_beside(labels, classes))
    return kept


def two(actual: Array) -> list[Any] | None:
    """False and true, or 0 and 1: the only labels of which it is plain which one is meant by a single column."""
    found = set(np.unique(actual).tolist()) if actual.dtype.kind in "biuf" else set()
    return ([False, True] if actual.dtype.kind == "b" else [0, 1]) if found and found <= {0, 1} else None


def named(classes: Any) -> tuple[Value, ...]:
    """Class labels as somebody named them, in that order. Raises ProjectInvalid for fewer than two, or one twice."""
    given = [value.item() if isinstance(value, np.generic) else value for value in classes]
    found = kinds(given)
    if len(found) != 1 or "" in found or len(set(given)) != len(given) or len(given) < 2:
        raise ProjectInvalid(
            "classes are not at least two different labels",
            received=repr(given),
            allowed="text alone, or numbers and booleans alone",
            next_step="name each class once",
        )
    return tuple(given)


def occurring(*seen: Array) -> tuple[Value, ...]:
    """All classes that occur, sorted. Raises DataUnfit where there is one alone."""
    found = {value for values in seen for value in values.tolist()}
    if len(found) < 2:
        raise DataUnfit(
            "there is one class only, in labels and answers",
            received=", ".join(repr(value) for value in found) or "none",
            allowed="at least two classes",
            next_step="name all classes with classes=[...]",
        )
    return tuple(sorted(found))


def refuse_other_order(given: tuple[Value, ...], own: tuple[Value, ...]) -> None:
    """Refuse classes that are not the model's: its columns of probabilities are in its own order."""
    if given == own:
        return
    turned = set(given) == set(own)
    raise ProjectInvalid(
        "classes are those of the model in another order" if turned else "classes are not those of the model",
        received=", ".join(map(repr, given)),
        allowed=", ".join(map(repr, own)) + ": the model's own classes_, in the order of its probabilities",
        next_step="leave classes out",
    )


def shares(values: Any, name: str = "probabilities") -> Array:
    """Probabilities as an array of floats, n or n x k. Raises PredictionInvalid for what is none, in one column."""
    array = np.asarray(values)
    if array.dtype.kind == "O" and kinds(array.ravel().tolist()) <= {"number"}:
        array = array.astype(float)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or array.size == 0:
        raise PredictionInvalid(
            f"{name} are no probabilities",
            received=f"{array.dtype} of shape {array.shape}",
            allowed="numbers from 0 to 1: n, or n x k",
            next_step="pass one column for each class, or that of the second class",
        )
    array = np.asarray(array, dtype=float)
    return array.ravel() if array.ndim == 2 and array.shape[1] == 1 else array


def whole(values: Array) -> Array:
    """A champion's probabilities, n x k; a row of NaN is one that it did not answer. Raises PredictionInvalid."""
    told = np.asarray(values[np.isfinite(values).any(axis=1)])
    outside = ~((told >= 0.0) & (told <= 1.0 + 1e-9)).all(axis=1) | ~np.isclose(told.sum(axis=1), 1.0, atol=1e-4)
    if outside.any():
        raise PredictionInvalid(
            "the champion's probabilities are none",
            received=f"{int(outside.sum())} of {len(values)} rows",
            allowed="0 to 1 in every cell, 1 in the sum of every row, NaN in a row without an answer",
            next_step="a champion that looks worse than it is would let any model pass",
        )
    return values


def numbers(values: Array) -> Array:
    """The answers of a regression as floats. Raises PredictionInvalid for text."""
    if values.dtype.kind == "O" and kinds(values[~absent(values)].tolist()) <= {"number"}:
        values = np.where(absent(values), np.nan, values).astype(float)
    if values.dtype.kind not in "biuf":
        raise PredictionInvalid(
            "the answers of a regression are no numbers",
            received=f"{values.dtype}, such as {values.tolist()[0]!r}",
            allowed="one number per row",
            next_step='is it a classification? pass task="classification"',
        )
    return values.astype(float)


def refuse_text(values: Array, name: str) -> None:
    """Refuse labels of a regression that are text: "1" is not 1."""
    if values.dtype.kind not in "biuf":
        raise DataUnfit(
            f"this is a regression, and there is text in {name}",
            received=f"such as {values.tolist()[0]!r}",
            allowed="numbers",
            next_step='make them numbers, or pass task="classification"',
        )


def weights(values: Any) -> Array | None:
    """Weights (n) as floats. Raises DataUnfit for text, booleans or a table; the subject looks at the numbers."""
    if values is None:
        return None
    array = _array(values)
    if array.dtype.kind == "O" and array.ndim == 1 and not absent(array).any():
        types = {type(value) for value in array.tolist()}
        if kinds(array.tolist()) == {"number"} and not types & {bool, np.bool_}:
            array = array.astype(float)
    if array.dtype.kind not in "iuf" or array.ndim != 1:
        raise DataUnfit(
            "weights are no weights",
            received=f"{array.dtype} of shape {array.shape}",
            allowed="n finite numbers, none negative",
            next_step="give one weight per row, or none at all",
        )
    return np.asarray(array, dtype=float)
