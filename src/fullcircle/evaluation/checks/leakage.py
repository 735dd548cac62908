"""E008 leakage: did the model learn from what it will not know, or was it tested on what it has learned?

Four questions: does a column alone tell the label, is a feature dated after its row, do test rows equal training
rows more often than by chance, and does a model trained on shuffled labels know anything? Measures: ``shared_rows``
(share of test rows), ``canary_improvement`` (skill of models trained on shuffled labels), ``alone`` in group
``<column>``, ``dated_after`` in group ``<column>`` (share of training rows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fullcircle.evaluation import charts, words
from fullcircle.evaluation.check import Array, Frame, Skipped, Subject, Training
from fullcircle.evaluation.leakage import alone, canary, overlap
from fullcircle.stats import intervals
from fullcircle.types.report import Chart, Finding, Measure

# With the canary's level (0.0003), below 0.001 for all questions; the other two do not rest on chance.
ALPHA = 0.0006
_TELLS, _SURELY = 0.99, 0.98
_SHOWN = 10
_UNSURE = np.timedelta64(14, "h")  # as far as a clock without a time zone may be off


@dataclass
class _Heard:
    """What one question brought: what is wrong, what is all right, what cannot be told; half sentences."""

    wrong: list[str] = field(default_factory=list)
    fine: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    question: str = ""


class Leakage:
    """Signs that the answers on the test rows are better than they will be in use."""

    name = "leakage"
    code = "E008"
    measures: tuple[str, ...] = ("shared_rows",)

    def run(self, subject: Subject) -> Finding | Skipped:
        """Ask the four questions, each of a seeded sample where rows are many."""
        train = subject.train
        if train is None or len(train.actual) == 0:
            return Skipped("the rows that the model learned from are not known")
        heard = [_alone(subject, train), _dated(subject, train), _shared(subject, train), _canary(subject)]
        wrong, fine, unknown = ([s for each in heard for s in getattr(each, k)] for k in ("wrong", "fine", "unknown"))
        said = wrong or [_and(fine)] * bool(fine) or ["Nothing could be checked"]
        if unknown:
            said = [*said, f"Not checked: {'; '.join(unknown)}"]
        grave = any(each.wrong for each in heard[1:])
        return Finding(
            check=self.name,
            code=self.code,
            title="Leakage",
            severity="bad" if grave else "warning" if wrong else "good" if fine else "info",
            text=" ".join(f"{_capital(each)}." for each in said),
            measures=tuple(measure for each in heard for measure in each.measures),
            charts=tuple(chart for each in heard for chart in each.charts),
            table=tuple(_row(each) for each in heard),
        )


def _row(heard: _Heard) -> Mapping[str, Any]:
    answer = "yes" if heard.wrong else "no" if heard.fine else "not known"
    return {
        "question": heard.question,
        "answer": answer,
        "why": "; ".join(heard.wrong or heard.fine or heard.unknown),
    }


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"


def _alone(subject: Subject, train: Training) -> _Heard:
    heard = _Heard(question="does a column alone tell the label?")
    features = [name for name in subject.features if name in train.inputs.columns]
    found = alone.strengths(
        train.inputs, train.actual, features, task=subject.task, classes=subject.classes, seed=subject.seed
    )
    if not found:
        heard.unknown.append("whether a column alone tells the label (too few training rows)")
        return heard
    sampled = "a seeded sample of " if found[0].rows == alone.ROWS < len(train.actual) else ""
    for each in found[:_SHOWN]:
        method = f"cross-fitted {each.figure} of the column alone, 5 folds of {sampled}training rows, not weighted"
        heard.measures.append(
            Measure(
                name="alone",
                value=each.value,
                low=each.low,
                high=each.high,
                n=each.rows,
                method=method,
                group=each.column,
            )
        )
    telling = [each for each in found if each.value >= _TELLS and each.low >= _SURELY]
    for each in telling[:3]:
        heard.wrong.append(
            f"the column {each.column} alone tells the label almost perfectly ({_of(each)} on rows not seen), so "
            "look whether it is known when the model is asked"
        )
    if len(telling) > 3:
        heard.wrong.append(f"so do {len(telling) - 3} other columns")
    best = found[0]
    if not telling:
        heard.fine.append(f"no column alone tells the label (most: {best.column}, {_of(best)})")
    titled = [(measure.group, measure) for measure in heard.measures]
    heard.charts.append(charts.ranges("How well a column alone tells the label", titled, x_title=best.figure))
    return heard


def _of(best: alone.Alone) -> str:
    return f"{best.figure} {words.number(best.value)}"


def _dated(subject: Subject, train: Training) -> _Heard:
    heard = _Heard(question="is a feature dated after its row?")
    frame = train.frame
    timed = [name for name in subject.features if name in frame.columns and _is_time(subject, frame, name)]
    timed = [name for name in timed if name != subject.time]
    if not timed:
        heard.fine.append("no feature is dated after its row" if subject.time else "no feature is a date")
        return heard
    if not subject.time or subject.time not in frame.columns:
        heard.unknown.append(f"whether {', '.join(timed[:3])} is dated after its row (no column holds a row's time)")
        return heard
    when, zoned = _times(frame[subject.time])
    for name in timed:
        dates, aware = _times(frame[name])
        told = ~(np.isnat(dates) | np.isnat(when))
        slack = np.timedelta64(0, "h") if aware == zoned else _UNSURE
        later = int((dates[told] > when[told] + slack).sum())
        total = int(told.sum())
        share = later / total if total else None
        heard.measures.append(
            Measure(
                name="dated_after",
                value=share,
                low=share,
                high=share,
                n=total,
                unit="share",
                method="counted in the training rows" if total else "no row has both times",
                group=name,
                better="lower",
            )
        )
        if later:
            part = f"{100 * later / total:.3g} % of the training rows ({later} of {total})"
            heard.wrong.append(f"the feature {name} is later than the row itself in {part}")
    if not heard.wrong:
        heard.fine.append("no feature is dated after its row")
    return heard


def _is_time(subject: Subject, frame: Frame, name: str) -> bool:
    column = subject.columns.get(name)
    return frame[name].dtype.kind == "M" or (column is not None and column.kind == "time")


def _times(column: Any) -> tuple[Array, bool]:
    """Moments in UTC (NaT where there is none), and whether they came with a time zone; without, UTC is taken."""
    import pandas as pd

    if column.dtype.kind == "M":
        aware = isinstance(column.dtype, pd.DatetimeTZDtype)
        moments = pd.to_datetime(column, utc=True)
    else:
        first = column.dropna().astype(str).head(100)
        aware = bool(len(first)) and bool(first.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$", regex=True).all())
        moments = pd.to_datetime(column, utc=True, errors="coerce", format="mixed")
    return moments.dt.tz_localize(None).to_numpy(dtype="datetime64[ns]"), aware


def _shared(subject: Subject, train: Training) -> _Heard:
    heard = _Heard(question="do test rows equal training rows more often than by chance?")
    pair = (train.inputs, subject.inputs) if subject.inputs is not None else (train.frame, subject.frame)
    columns = [name for name in subject.features if all(name in each.columns for each in pair)]
    if len(columns) < len(subject.features) or not columns:
        heard.unknown.append("whether test rows equal training rows (columns are missing)")
        heard.measures.append(Measure(name="shared_rows", value=None, unit="share", method="columns are missing"))
        return heard
    found = overlap.shared(*pair, columns, (train.actual, subject.actual))
    share, low, high = intervals.proportion(found.rows, found.of)
    by_chance = f"{100 * found.expected:.3g} %"
    heard.measures.append(
        Measure(
            name="shared_rows",
            value=share,
            low=low,
            high=high,
            n=found.of,
            unit="share",
            method=f"equal in all features and the label, not weighted; {by_chance} of training rows equal another; "
            "Wilson interval",
            better="lower",
        )
    )
    told = f"{found.rows} of {words.rows(found.of)}"
    more = found.rows - found.expected * found.of
    if found.p < ALPHA and (more >= 0.01 * found.of or more >= 5):
        heard.wrong.append(
            f"{100 * share:.3g} % of the test rows ({told}) equal a training row, label included, and only "
            f"{by_chance} of the training rows equal another one: the model was tested on rows that it has learned"
        )
    elif found.rows == 0:
        heard.fine.append("no test row equals a training row")
    else:
        heard.fine.append(
            f"{100 * share:.3g} % of the test rows equal a training row, which chance can make "
            f"({by_chance} of the training rows equal another)"
        )
    return heard


def _canary(subject: Subject) -> _Heard:
    heard = _Heard(question="does a model trained on shuffled labels know anything?")
    found = canary.canary(subject)
    if found.skill is None:
        heard.unknown.append(f"training on shuffled labels ({found.why})")
    method = (
        f"mean skill (1 - squared error / that of the best constant) of {found.times} models on shuffled labels, "
        f"{words.rows(found.rows)} each, on {words.rows(found.tested)}; t interval over the models, not weighted"
    )
    heard.measures.append(
        Measure(
            name="canary_improvement",
            value=found.skill,
            low=found.low,
            high=found.high,
            n=found.tested,
            unit="share",
            method=found.why or method,
            better="lower",
        )
    )
    if found.sings:
        heard.wrong.append(
            f"models trained on shuffled labels still explain {100 * (found.skill or 0.0):.3g} % of what there is to "
            "explain, so training sees the labels some other way than it should"
        )
    elif found.skill is not None:
        heard.fine.append("models trained on shuffled labels know nothing")
    return heard
