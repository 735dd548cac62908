"""E009 robustness: what happens to the answers when inputs go wrong?

Each column of a sample of test rows is spoiled on purpose: missing, a category never seen, ten and a hundred times
too large, text for a number, a little noise. Where the contract is known the rows go through it, so the finding
tells what it catches. Columns of the test rows that look as if they came in another unit than the training rows are
named. Measures: ``noise_change``, the mean change of the answer under noise of 1 % of a standard deviation in all
numbers at once; ``silent_unit_errors``, the share of values ten times too large that pass with nothing said.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fullcircle.evaluation import earning, words
from fullcircle.evaluation.check import Array, Frame, Skipped, Subject
from fullcircle.evaluation.robustness import asking, perturbing
from fullcircle.evaluation.robustness.asking import FAILED, REJECTED, SILENT, TOLD, Answered
from fullcircle.evaluation.robustness.worth import Worth
from fullcircle.stats import influence, intervals
from fullcircle.stats.units import unit_shift
from fullcircle.types.report import Chart, Finding, Measure

_ROWS = 300
_FEWEST_ROWS = 10
_NOISE_ROWS = 100
_COLUMNS = 40
_CELLS = 100_000  # values that the contract reads in all: about two seconds
_SECONDS = 10.0
_SHOWN = 30
_UNIT_ROWS = 20_000
_SWITCHED, _MOVED = 0.2, 0.25  # shares of answers, and of their standard deviation, that noise may change
_JUDGED = 30  # rows, below which noise is not judged


@dataclass(frozen=True)
class _Trial:
    """One column spoiled in one way: which of n rows are different, what became of each, and of their answers."""

    column: str
    kind: str
    touched: Array
    fate: Array
    change: float | None = None
    far: float | None = None
    switched: float | None = None
    value: float | None = None

    @property
    def rows(self) -> int:
        return int(self.touched.sum())

    def count(self, fate: int) -> int:
        return int((self.fate[self.touched] == fate).sum())

    def share(self, fate: int) -> float:
        return self.count(fate) / self.rows


class Robustness:
    """How the answers bear wrong inputs, and how much of it is noticed."""

    name = "robustness"
    code = "E009"
    measures: tuple[str, ...] = ("noise_change", "silent_unit_errors")

    def run(self, subject: Subject) -> Finding | Skipped:
        """Spoil columns of at most 300 seeded rows one at a time, and look how the answers change."""
        if subject.predict is None or subject.inputs is None:
            return Skipped("the model itself is not known, only its answers")
        generator = np.random.default_rng(subject.seed)
        picked = np.sort(generator.permutation(subject.rows)[:_ROWS])
        spread = _spread(subject)
        noise, fragile = _noise(subject, picked, spread, generator)
        trials, looked = _trials(subject, picked, generator)
        trials += _noise_by_column(subject, picked[:_NOISE_ROWS], spread, generator)
        units = _units(subject, generator)
        broken = [_broken(each) for each in trials if subject.judge is not None and each.count(FAILED)]
        wrong = [*units, *fragile, *broken[:3], *([f"and {len(broken) - 3} more of this kind"] * (len(broken) > 3))]
        said = [*wrong, _fates_said(subject, trials), _moves_said(subject, trials, noise), looked]
        return Finding(
            check=self.name,
            code=self.code,
            title="Wrong inputs",
            severity="bad" if units else "warning" if wrong else "info",
            text=" ".join(f"{each}." for each in said if each),
            measures=(noise, _silent(subject, trials)),
            charts=_charts(subject, trials),
            table=tuple(_row(each) for each in sorted(trials, key=_damage, reverse=True)[:_SHOWN]),
        )


def _spread(subject: Subject) -> dict[str, float]:
    """The standard deviation of every feature that is a number and varies."""
    inputs: Frame = subject.inputs
    known = inputs if subject.train is None else subject.train.inputs
    names = [name for name in subject.features if _sort(subject, inputs, name) == "number"]
    return perturbing.spreads(known, [name for name in names if name in known.columns])


def _noise(
    subject: Subject, picked: Array, spread: Mapping[str, float], generator: np.random.Generator
) -> tuple[Measure, list[str]]:
    """The change under noise in all numbers at once, and whether it is too large."""
    inputs: Frame = subject.inputs
    shares = subject.task == "classification" and subject.probabilities is not None
    unit = (subject.unit or subject.label) if subject.task == "regression" else "probability" if shares else "share"
    if not spread:
        said = "no feature is a number that varies"
        return Measure(name="noise_change", value=None, unit=unit, method=said, better="lower"), []
    rows = inputs.iloc[picked]
    before = asking.by_model(subject, rows)
    after = asking.by_model(subject, perturbing.noisy(rows, spread, subject.columns, generator))
    change = after.change(before)
    told = np.isfinite(change)
    weights = None if subject.weights is None else subject.weights[picked][told]
    found = earning.measure(
        "noise_change",
        change[told],
        weights,
        unit=unit,
        method="noise of 1 % of a standard deviation in all numbers, a seeded sample of rows, t interval",
        same=True,
    )
    found = replace(found, better="lower")
    if found.value is None or found.low is None or found.n < _JUDGED:
        return found, []
    # The interval's lower end decides, so that one row that jumps far does not.
    if subject.task == "classification":
        switched = intervals.proportion(int(after.switched(before).sum()), len(picked))
        said = f"Noise of 1 % in the numbers changes {100 * switched.value:.3g} % of the predicted classes"
        return found, [said] if switched.low > _SWITCHED else []
    spread_of_answers = float(np.std(np.asarray(subject.predicted, dtype=float)))
    said = f"Noise of 1 % in the numbers moves the answer by {words.number(found.value)} on average, far too much"
    return found, [said] if found.low > _MOVED * spread_of_answers > 0.0 else []


def _noise_by_column(
    subject: Subject, picked: Array, spread: Mapping[str, float], generator: np.random.Generator
) -> list[_Trial]:
    """Noise in one column at a time, asked of the model itself: values so near the true ones surprise no contract."""
    import pandas as pd

    inputs: Frame = subject.inputs
    names = list(spread)[:_COLUMNS]
    rows = inputs.iloc[picked]
    if not names or not len(rows):
        return []
    noisy = [perturbing.noisy(rows, {name: spread[name]}, subject.columns, generator) for name in names]
    said = asking.by_model(subject, pd.concat([rows, *noisy], ignore_index=True))
    before, *after = (said.at(slice(start, start + len(rows))) for start in range(0, len(said.fate), len(rows)))
    every = np.ones(len(rows), dtype=bool)
    found = [_measured(subject, name, "noise", each, before, every) for name, each in zip(names, after, strict=True)]
    return [each for each in found if each is not None]


def _sort(subject: Subject, frame: Frame, name: str) -> str:
    return perturbing.sort_of(frame[name], subject.columns.get(name))


def _trials(subject: Subject, picked: Array, generator: np.random.Generator) -> tuple[list[_Trial], str]:
    """Every column spoiled in every way, and what was left out."""
    frame: Frame = subject.inputs if subject.judge is None else subject.frame
    names = [name for name in subject.features if name in frame.columns]
    left = f"Only {_COLUMNS} of {len(names)} columns were spoiled" if len(names) > _COLUMNS else ""
    if left:
        kept = set(generator.choice(len(names), _COLUMNS, replace=False).tolist())
        names = [name for place, name in enumerate(names) if place in kept]
    if not names:
        return [], ""
    if subject.judge is not None:
        # Every judged row costs time by the number of its columns.
        most = _CELLS // (len(subject.features) * 4 * len(names))
        picked = np.sort(generator.permutation(picked)[: max(_FEWEST_ROWS, most)])
    rows = frame.iloc[picked].reset_index(drop=True)
    before = _ask(subject, rows, "")
    worth = Worth(subject, picked, before)
    begun = time.perf_counter()
    trials: list[_Trial] = []
    for each in perturbing.spoiled(rows, names, subject.columns, wrong_type=subject.judge is not None):
        if time.perf_counter() - begun > _SECONDS:
            left = f"It was stopped after {_SECONDS:.0f} seconds, with {words.number(len(trials))} trials made"
            break
        after = _ask(subject, each.frame, each.column)
        trial = _measured(subject, each.column, each.kind, after, before, each.touched, worth)
        if trial is not None:
            trials.append(trial)
    return trials, ". ".join(filter(None, (worth.why, left)))


def _ask(subject: Subject, frame: Frame, column: str) -> Answered:
    if subject.judge is not None:
        return asking.through_contract(subject, subject.judge(frame), column)
    try:
        return asking.by_model(subject, frame)
    except Exception:
        # That a model without a contract raises for a spoiled column is an answer to what is asked here.
        if not column:
            raise
        return asking.no_answer(len(frame), len(subject.classes))


def _measured(
    subject: Subject,
    column: str,
    kind: str,
    after: Answered,
    before: Answered,
    touched: Array,
    worth: Worth | None = None,
) -> _Trial | None:
    """What became of the touched rows that had an answer before; None where there are none."""
    touched = touched & before.given
    if not touched.any():
        return None
    change = after.change(before)[touched]
    change = change[np.isfinite(change)]
    if not change.size:
        return _Trial(column, kind, touched, after.fate)
    both = touched & after.given
    value = None if worth is None else worth.change(after, both)
    switched = float(after.switched(before)[both].mean()) if subject.task == "classification" else None
    far = float(np.quantile(change, 0.95))
    return _Trial(column, kind, touched, after.fate, float(change.mean()), far, switched, value)


def _units(subject: Subject, generator: np.random.Generator) -> list[str]:
    """Columns of the test rows that look as if they came in another unit than the training rows."""
    if subject.train is None:
        return []
    pair: tuple[Frame, Frame] = (subject.train.inputs, subject.inputs)
    names = [name for name in subject.features if all(name in each.columns for each in pair)]
    names = [name for name in names if all(_sort(subject, each, name) == "number" for each in pair)]
    samples = [each[names].iloc[np.sort(generator.permutation(len(each))[:_UNIT_ROWS])] for each in pair]
    said = []
    for name in names:
        first, second = (each[name].to_numpy(dtype=float, na_value=np.nan) for each in samples)
        found = unit_shift(first, second)
        if found is not None:
            part = "all" if found.share > 0.95 else f"about {100 * found.share:.0f} %"
            said.append(f"The column {name} {found.description} in {part} of the test rows")
    return said


def _broken(trial: _Trial) -> str:
    kind = perturbing.NAMES[trial.kind]
    return f"The model cannot answer when {trial.column} is spoiled ({kind}), although the contract lets it through"


def _damage(trial: _Trial) -> tuple[float, float]:
    """Failures first, then by change of the answer."""
    return trial.share(FAILED), trial.change or 0.0


def _row(trial: _Trial) -> Mapping[str, Any]:
    return {
        "column": trial.column,
        "input": perturbing.NAMES[trial.kind],
        "rows": trial.rows,
        "rejected": _short(trial.share(REJECTED)),
        "told": _short(trial.share(TOLD)),
        "silent": _short(trial.share(SILENT)),
        "failed": _short(trial.share(FAILED)),
        "mean_change": _short(trial.change),
        "change_95": _short(trial.far),
        "classes_changed": _short(trial.switched),
        "value_change": _short(trial.value),
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _fates_said(subject: Subject, trials: Sequence[_Trial]) -> str:
    """What becomes of inputs that go wrong in the three commonest ways."""
    told = {
        "missing": "a missing value",
        "unseen": "a category never seen",
        "times_10": "a value ten times too large",
    }
    ways = {REJECTED: "is rejected", TOLD: "is answered with a remark", SILENT: "passes with nothing said"}
    ways[FAILED] = "makes the model fail"
    if subject.judge is None:
        ways[SILENT] = "is answered"
    said = []
    for kind, name in told.items():
        some = [each for each in trials if each.kind == kind]
        rows = sum(each.rows for each in some)
        if rows:
            shares = {fate: sum(each.count(fate) for each in some) / rows for fate in ways}
            parts = [f"{ways[fate]} in {_percent(share)}" for fate, share in shares.items() if share > 0.0]
            said.append(f"{name} {_and(parts)}")
    text = "; ".join(said)
    return text[:1].upper() + text[1:]


def _moves_said(subject: Subject, trials: Sequence[_Trial], noise: Measure) -> str:
    """Which spoiled column moves the answer most, and what noise does."""
    what = "probability" if noise.unit == "probability" else "answer"
    unit = f" {subject.unit}" if subject.task == "regression" and subject.unit else ""
    moved = [each for each in trials if each.change]
    said = []
    if moved:
        most = max(moved, key=lambda each: each.change or 0.0)
        how = f"{most.column} ({perturbing.NAMES[most.kind]})"
        said.append(f"the {what} moves most with {how}, by {words.number(most.change)}{unit} on average")
    if noise.value is not None:
        said.append(f"noise of 1 % in all numbers moves it by {words.number(noise.value)}{unit}")
    text = "; ".join(said)
    return text[:1].upper() + text[1:]


def _percent(share: float) -> str:
    """A share that is not all is never shown as all."""
    if share == 1.0:
        return "all rows"
    return f"{min(99.9, 100 * share):.3g} % of rows"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _silent(subject: Subject, trials: Sequence[_Trial]) -> Measure:
    """The share of values ten times too large that pass with nothing said; all columns of a row are one cluster."""
    some = [each for each in trials if each.kind == "times_10"]
    if subject.judge is None or not some:
        why = "no feature is a number" if subject.judge is not None else "the contract is not known"
        return Measure(name="silent_unit_errors", value=None, unit="share", method=why, better="lower")
    touched = np.sum([each.touched for each in some], axis=0).astype(float)
    silent = np.sum([each.touched & (each.fate == SILENT) for each in some], axis=0).astype(float)
    silent, touched = silent[touched > 0], touched[touched > 0]
    rows, share = len(touched), float(silent.sum() / touched.sum())
    if share in (0.0, 1.0):
        _, low, high = intervals.proportion(rows if share else 0, rows)
    else:
        half = 1.96 * influence.error((silent - share * touched) / touched.mean())
        low, high = max(0.0, share - half), min(1.0, share + half)
    method = (
        "values ten times too large, a column at a time, in a seeded sample of rows; not weighted, rows as clusters"
    )
    known = np.isfinite(low)
    return Measure(
        name="silent_unit_errors",
        value=share,
        low=float(low) if known else None,
        high=float(high) if known else None,
        n=rows,
        unit="share",
        method=method,
        better="lower",
    )


def _charts(subject: Subject, trials: Sequence[_Trial]) -> tuple[Chart, ...]:
    """How far answers move, by column and kind."""
    seen = sorted((each for each in trials if each.change is not None), key=_damage, reverse=True)
    columns = list(dict.fromkeys(each.column for each in seen))[:_SHOWN]
    values = [
        {"y": each.column, "x": perturbing.NAMES[each.kind], "change": _short(each.change), "rows": each.rows}
        for each in seen
        if each.column in columns
    ]
    if not values:
        return ()
    title = "mean change" if subject.task == "regression" else "mean change of probability"
    encoding = {
        "x": {"field": "x", "type": "nominal", "title": None, "sort": list(perturbing.NAMES.values())},
        "y": {"field": "y", "type": "nominal", "title": None, "sort": columns},
        "color": {"field": "change", "type": "quantitative", "title": title, "scale": {"scheme": "blues"}},
    }
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": "container",
        "height": {"step": 22},
        "data": {"values": values},
        "mark": {"type": "rect", "tooltip": True},
        "encoding": encoding,
    }
    return (Chart(title="How far answers move when one input is wrong", spec=spec),)
