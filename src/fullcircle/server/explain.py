"""The answer of ``/explain/{model}``: for each row how much each column moved the answer, in numbers and in words.

It runs for up to a few seconds in a thread beside the event loop, and writes nothing to the prediction log.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fullcircle.errors import FullcircleError, RequestInvalid
from fullcircle.runtimes import explaining
from fullcircle.runtimes.explaining import BUDGET, Shapley, Target
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.follower import Loaded
from fullcircle.types.contract import Column, Problem, Value
from fullcircle.types.prediction import Prediction

ROWS = 20  # rows that one request may ask about
SECONDS = 3.0  # that the model may be asked for one request, as far as can be told beforehand
_REQUEST = 100_000  # model rows that one request may cost
_LEAST = 250  # model rows below which an explanation would say little
_TOLD = 3  # columns that the sentence names
_SHOWN = 40  # characters of a value in the sentence


class Contribution(msgspec.Struct, omit_defaults=True):
    """How much one column moved the answer. A private column's value is left out."""

    column: str
    contribution: float
    error: float
    label: str = ""
    unit: str = ""
    value: Value | msgspec.UnsetType = msgspec.UNSET


class Explanation(msgspec.Struct, omit_defaults=True):
    """One row explained: ``base + contributions = answer``, largest first; ``text`` says it, or why there is none."""

    prediction: Value
    verdict: str
    problems: tuple[Problem, ...]
    text: str
    explained: str = ""
    answer: float | None = None
    base: float | None = None
    method: str = ""
    background: int = 0
    asked: int = 0
    contributions: list[Contribution] = []


class Explanations(msgspec.Struct, omit_defaults=True):
    """The answer for all rows of a request, by one version. ``error`` is set where no row could be explained."""

    model: str
    version: int
    rows: list[Explanation]
    error: dict[str, str] | None = None

    @property
    def status(self) -> int:
        """The status of the answer: 422 where no row could be explained."""
        return 200 if self.error is None else 422


def document(
    loaded: Loaded, rows: Sequence[Mapping[str, Any]], background: Sequence[Mapping[str, Value]] | None = None
) -> Explanations:
    """Explain rows against ``background``: judged rows, by default the golden rows of the bundle that answers.

    Raises RequestInvalid: 413 for too many rows, 422 for a model that cannot be explained while somebody waits. What
    looking features up raises comes out.
    """
    if len(rows) > ROWS:
        raise RequestInvalid(
            "there are too many rows to explain in one request",
            received=f"{len(rows):,}",
            allowed=f"at most {ROWS}",
            next_step="send several requests",
            status=413,
        )
    scorer = loaded.scorer
    others = scorer.background if background is None else background
    predictions = scorer.score(rows)
    most = budget(explaining.pace(scorer, others), len(rows))
    found = [_explained(scorer, one, others, most) for one in predictions]
    body = Explanations(model=loaded.model, version=loaded.version, rows=found)
    if all(row.answer is None for row in found):
        body.error = RequestInvalid("no row could be explained: see the text of each", status=422).as_dict()
    return body


def budget(pace: float, rows: int) -> int:
    """Model rows for each of ``rows``, for a model that takes ``pace`` seconds a row.

    Halved until it fits the time: what a fast model answers does not depend on the clock. Raises RequestInvalid (422)
    where too few would be left.
    """
    most = min(BUDGET, _REQUEST // rows)
    while most > _LEAST and most * rows * pace > SECONDS:
        most = max(most // 2, _LEAST)
    if most * rows * pace > SECONDS:
        raise RequestInvalid(
            "this model is too slow to be explained while somebody waits",
            received=f"about {pace * 1000:.3g} ms for a row",
            allowed=f"at most {SECONDS / _LEAST / rows * 1000:.3g} ms",
            next_step="ask for fewer rows, or compute Shapley values offline",
            status=422,
        )
    return most


def _explained(scorer: Scorer, one: Prediction, background: Sequence[Mapping[str, Value]], most: int) -> Explanation:
    found = Explanation(
        prediction=one.value, verdict=one.verdict.status, problems=one.verdict.problems, text="", contributions=[]
    )
    if one.inputs is None or one.value is None or one.verdict.status == "fallback":
        why = "was answered by the fallback" if one.verdict.status == "fallback" else "was rejected"
        found.text = f"The row {why}: there is nothing of the model's to explain."
        return found
    what = explaining.target(scorer, one.value)
    try:
        values = explaining.explain(scorer, one.inputs, background, what, budget=most)
    except FullcircleError as error:
        found.text = f"{error.what[:1].upper()}{error.what[1:]}."
        return found
    found.explained = _subject(scorer, what)
    found.answer, found.base = values.answer, values.base
    found.method = "exact" if values.exact else "sampled"
    found.background, found.asked = values.background, values.asked
    order = sorted(range(len(values.contributions)), key=lambda place: -abs(values.contributions[place]))
    columns = scorer.contract.columns
    found.contributions = [_contribution(columns[place], place, values, one.inputs) for place in order]
    unit = f" {scorer.contract.label_unit}" if scorer.contract.label_unit and what.place is None else ""
    ordered = [(columns[place], place) for place in order]
    found.text = _sentence(found.explained, unit, values, ordered, one.inputs)
    return found


def _contribution(column: Column, place: int, values: Shapley, inputs: Mapping[str, Value]) -> Contribution:
    return Contribution(
        column=column.name,
        contribution=values.contributions[place],
        error=values.errors[place],
        label=column.label,
        unit=column.unit,
        value=msgspec.UNSET if column.private else inputs[column.name],
    )


def _subject(scorer: Scorer, what: Target) -> str:
    label = scorer.contract.label_name or scorer.contract.label
    if what.place is None:
        return f"the predicted {label}"
    if what.probable:
        return f"the probability of {label} = {what.label}"
    return f"whether the answer is {label} = {what.label} (1) or not (0)"


def _sentence(
    subject: str, unit: str, values: Shapley, ordered: Sequence[tuple[Column, int]], inputs: Mapping[str, Value]
) -> str:
    gap = values.answer - values.base
    far = "as much as" if _none(gap, values) else f"{_number(abs(gap))} {'more' if gap > 0 else 'less'} than"
    head = (
        f"{subject[:1].upper()}{subject[1:]} is {_number(values.answer)}{unit}, {far} the mean of "
        f"{_number(values.base)} over {values.background} rows that it was packaged with."
    )
    moving = [(column, place) for column, place in ordered if not _none(values.contributions[place], values)]
    if not moving:
        return f"{head} No column moves it."
    parts = [f"{_named(column, inputs)} {_moves(values.contributions[place])}" for column, place in moving[:_TOLD]]
    if rest := moving[_TOLD:]:
        together = math.fsum(values.contributions[place] for _, place in rest)
        who = "one other column" if len(rest) == 1 else f"{len(rest)} other columns together"
        parts.append(f"{who} {'change nothing' if _none(together, values) else _moves(together, many=len(rest) > 1)}")
    return f"{head} Of this, {_listed(parts)}."


def _none(number: float, values: Shapley) -> bool:
    """Whether a number is nothing but rounding."""
    return abs(number) <= 1e-12 * max(1.0, abs(values.answer), abs(values.base))


def _named(column: Column, inputs: Mapping[str, Value]) -> str:
    name = column.label or column.name
    if column.private:
        return name
    value = inputs[column.name]
    text = "missing" if value is None else _number(value) if type(value) is float else str(value)
    text = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return f"{name} ({text}{f' {column.unit}' if column.unit and value is not None else ''})"


def _moves(number: float, *, many: bool = False) -> str:
    verb = "raise" if number > 0 else "lower"
    return f"{verb}{'' if many else 's'} it by {_number(abs(number))}"


def _number(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 10_000 and math.isfinite(number) else f"{number:.4g}"


def _listed(parts: Sequence[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
