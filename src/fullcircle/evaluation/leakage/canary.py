"""A canary: models of the same kind, trained on shuffled labels. None of them may know anything about the test rows.

One such model proves nothing: what it makes of noise lies, by luck, with or against the truth, and the luck is the
same on all test rows. So several are trained, each on another shuffle, and their mean is judged by how much they
differ. Each is judged by its skill: 1 - squared error / squared error of the best constant (of probabilities for
classes: Brier's skill score), which no model without knowledge has on average, whatever its loss and however
the shares of classes have changed since training.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullcircle.evaluation.check import Array, Frame, Subject, absent

ALPHA = 0.0003
_TIMES = 8
_STEPS = (5000, 2000, 1000, 500, 200)
_FEWEST = 50  # rows on either side
_TRIAL = 500
_SECONDS = 20.0
_SKILL = 0.05  # below this, skill is of no use to anybody, and tiny constant effects must not count
_SUFFERED = 60.0


@dataclass(frozen=True)
class Canary:
    """What models trained on shuffled labels know: their mean skill with a 95 % interval, or ``why`` there is none.

    ``p`` is the one-sided chance of such skill without knowledge, ``rows`` how many each learned from, ``tested`` how
    many it answered.
    """

    skill: float | None = None
    low: float | None = None
    high: float | None = None
    p: float = 1.0
    rows: int = 0
    tested: int = 0
    times: int = 0
    why: str = ""

    @property
    def sings(self) -> bool:
        """Whether the labels reach the model some other way than by the labels given."""
        return self.skill is not None and self.skill >= _SKILL and self.p < ALPHA


def canary(subject: Subject) -> Canary:
    """Train eight models on shuffled labels of at most 5000 seeded rows and ask them about at most 5000 test rows.

    Fewer rows where a trial on 500 says that it would take over 20 seconds. What the project's own ``fit`` raises
    is a reason, not an error.
    """
    train, inputs = subject.train, subject.inputs
    if train is None or train.fit is None or inputs is None:
        return Canary(why="how to train such a model is not known")
    known = np.flatnonzero(~absent(train.actual))
    if min(len(known), subject.rows) < _FEWEST:
        return Canary(why=f"there are fewer than {_FEWEST} rows to learn from or to ask about")
    generator = np.random.default_rng(subject.seed)
    asked = _some(generator, np.arange(subject.rows), _STEPS[0])
    truth = _truth(subject, asked)
    if not float(np.var(truth, axis=0).sum()) > 0.0:
        return Canary(why="all labels of the test rows are the same")
    try:
        seconds = _trial(subject, _some(generator, known, _TRIAL), generator)
        rows = next((rows for rows in _STEPS if _TIMES * seconds * rows <= _SECONDS), _STEPS[-1])
        if _TIMES * seconds * min(rows, len(known)) > _SUFFERED:
            return Canary(why=f"training takes too long ({seconds * _TRIAL:.0f} s for {_TRIAL} rows)")
        skills = []
        for _ in range(_TIMES):
            picked = _some(generator, known, rows)
            model = _fit(subject, picked, generator)
            skills.append(_skill(_answers(subject, model, inputs.iloc[asked]), truth))
    except Exception as error:  # noqa: BLE001 - fit is the project's own code; that it fails is told, with its type
        return Canary(why=f"it raised {type(error).__name__}")
    if not np.isfinite(skills).all():
        return Canary(why="its answers are not all finite numbers")
    return _judged(np.array(skills), min(rows, len(known)), len(asked))


def _judged(skills: Array, rows: int, tested: int) -> Canary:
    from scipy.special import stdtr, stdtrit

    mean, error = float(skills.mean()), float(skills.std(ddof=1)) / math.sqrt(len(skills))
    degrees = len(skills) - 1
    half = float(stdtrit(degrees, 0.975)) * error
    p = float(stdtr(degrees, -mean / error)) if error > 0.0 else float(mean <= 0.0)
    return Canary(mean, mean - half, mean + half, p, rows, tested, len(skills))


def _some(generator: np.random.Generator, rows: Array, most: int) -> Array:
    return rows if len(rows) <= most else np.sort(generator.choice(rows, most, replace=False))


def _fit(subject: Subject, picked: Array, generator: np.random.Generator) -> Any:
    """A model of these rows, labels shuffled. The rows keep their names: a fit may look labels up by them."""
    train = subject.train
    assert train is not None  # noqa: S101 - canary() has looked
    assert train.fit is not None  # noqa: S101
    return train.fit(train.inputs.iloc[picked].copy(), generator.permutation(np.asarray(train.actual)[picked]))


def _trial(subject: Subject, picked: Array, generator: np.random.Generator) -> float:
    """Seconds that a row takes."""
    begun = time.perf_counter()
    _fit(subject, picked, generator)
    return (time.perf_counter() - begun) / len(picked)


def _truth(subject: Subject, rows: Array) -> Array:
    """Numbers (n x 1), or indicators of the classes (n x k)."""
    actual = np.asarray(subject.actual)[rows]
    if subject.task == "regression":
        return actual.astype(float)[:, None]
    return _indicators(actual, subject.classes)


def _indicators(values: Array, classes: tuple[Any, ...]) -> Array:
    place = {value: position for position, value in enumerate(classes)}
    codes = [place.get(value, len(place)) for value in np.asarray(values).tolist()]
    return np.eye(len(place) + 1)[codes]


def _answers(subject: Subject, model: Any, asked: Frame) -> Array:
    """As ``_truth``: numbers, or the probabilities of the classes (the answer alone where there are none)."""
    if subject.task == "regression":
        return np.asarray(model.predict(asked), dtype=float).reshape(-1, 1)
    if not (hasattr(model, "predict_proba") and hasattr(model, "classes_")):
        return _indicators(np.asarray(model.predict(asked)).reshape(-1), subject.classes)
    shares = np.asarray(model.predict_proba(asked), dtype=float)
    place = {value: position for position, value in enumerate(np.asarray(model.classes_).tolist())}
    nothing = np.zeros(len(shares))
    columns = [shares[:, place[each]] if each in place else nothing for each in subject.classes]
    return np.column_stack([*columns, nothing])


def _skill(answers: Array, truth: Array) -> float:
    around = float(((truth - truth.mean(axis=0)) ** 2).sum())
    return 1.0 - float(((answers - truth) ** 2).sum()) / around
