"""Ask a scorer every case of its contract, and say of each whether what came back is what was declared."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from fullcircle.development.cases.comparing import apart, limit_of, same_bits, scale_of
from fullcircle.development.cases.rows import Case, Row, cases, good_row
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.values import quoted
from fullcircle.types.contract import Contract, Value
from fullcircle.types.prediction import Prediction
from fullcircle.types.tests import CaseResult

_CELLS = 200_000
"""Values asked about in one call: enough for all cases of a usual contract, and bounded for one of 1000 columns."""
MOST_HUGE = 64
"""Each may cost a model that raises on it two calls of its own."""
_QUOTABLE = 5


def judge(scorer: Scorer, rows: Sequence[Row]) -> tuple[CaseResult, ...]:
    """The results of every case of the scorer's contract; ``rows`` are good ones, private columns filled.

    All cases are asked in a few calls, so each stands among rows that do not fit; good rows at both ends have to be
    answered as they are alone.
    """
    contract = scorer.contract
    base = good_row(contract, rows)
    alone = ask(scorer, [base])
    if isinstance(alone, str):
        return (CaseResult(name="a good row", kind="contract", status="failed", text=alone),)
    # A wide contract has more rows to try than fit in memory: they are made as they are asked about.
    usual = (case for case in cases(contract, rows) if not case.huge)
    huge = [case for case in cases(contract, rows) if case.huge]
    step = -(-len(huge) // MOST_HUGE) or 1
    results: list[CaseResult] = []
    judging = _Judging(scorer, base, alone[0])
    size = max(_CELLS // (2 * max(len(contract.columns), 1)), 50)
    for part in (*_parts(usual, size), *_parts(huge[::step], size)):
        results.extend(judging.results(part))
    return tuple(results)


def ask(scorer: Scorer, rows: Sequence[Any]) -> tuple[Prediction, ...] | str:
    """The answers, or what is wrong with them as a whole: a scorer never raises, and answers each row."""
    try:
        with warnings.catch_warnings():
            # A row far out overflows on purpose; what came of it is judged by the answer.
            warnings.simplefilter("ignore", RuntimeWarning)
            found = tuple(scorer.score(rows))
    except Exception as error:  # noqa: BLE001 - that it raises at all is the finding
        return f"the scorer raised {type(error).__name__} for {len(rows)} rows together"
    if len(found) != len(rows):
        return f"the scorer answered {len(rows)} rows with {len(found)} predictions"
    return found


def _parts(found: Iterable[Case], size: int) -> Iterator[list[Case]]:
    left = iter(found)
    while part := list(islice(left, size)):
        yield part


class _Judging:
    """One scorer, one good row and its answer, against which cases are judged."""

    def __init__(self, scorer: Scorer, base: Row, alone: Prediction) -> None:
        self._scorer = scorer
        self._contract = scorer.contract
        self._base, self._alone = base, alone
        self._allowed = limit_of(scorer)
        self._scale = scale_of(scorer.contract, [alone])
        self._private = {column.name for column in scorer.contract.columns if column.private}

    def results(self, part: Sequence[Case]) -> Iterator[CaseResult]:
        asked = [self._base, *(case.row for case in part), *(case.like for case in part if case.like is not None)]
        found = ask(self._scorer, [*asked, self._base])
        if isinstance(found, str):
            yield CaseResult(name=f"{len(part)} cases together", kind="contract", status="failed", text=found)
            return
        likes = iter(found[1 + len(part) :])
        for case, prediction in zip(part, found[1 : 1 + len(part)], strict=True):
            yield self._result(case, prediction, next(likes) if case.like is not None else None)
        gap = max(apart(self._alone, found[0], self._scale), apart(self._alone, found[-1], self._scale))
        huge = any(case.huge for case in part)
        yield CaseResult(
            name="a good row among rows far out of range" if huge else "a good row among rows that do not fit",
            kind="metamorphic",
            status="passed" if gap <= self._allowed else "failed",
            text="" if gap <= self._allowed else f"its answer is not the one that it gets alone ({_told(gap)})",
        )

    def _result(self, case: Case, found: Prediction, like: Prediction | None) -> CaseResult:
        given_up = [problem for problem in found.verdict.problems if problem.reason == "model"]
        if given_up and case.huge:
            text = f"the contract lets this row through, and the model refused it: {given_up[0].text}"
            return CaseResult(name=case.name, kind="contract", status="noted", text=text)
        wrong = next(self._wrong(case, found, like), "")
        if not wrong:
            return CaseResult(name=case.name, kind="contract", status="passed")
        return CaseResult(
            name=case.name,
            kind="contract",
            status="failed",
            text=wrong,
            row=self._shown(case),
            expected=case.status + (f" ({case.reason})" if case.reason else ""),
            got=found.verdict.status + _reasons(found),
        )

    def _wrong(self, case: Case, found: Prediction, like: Prediction | None) -> Iterator[str]:
        """What is wrong with an answer, most telling first; nothing where it is as declared."""
        status, problems = found.verdict.status, found.verdict.problems
        for problem in problems:
            if problem.reason == "model":
                yield f"the contract lets this row through, and the model did not answer it: {problem.text}"
        if status != case.status:
            yield f"the verdict is {status}, and the contract declares {case.status}"
        about = [problem for problem in problems if case.column in ("", problem.column)]
        if case.reason and case.reason not in {problem.reason for problem in about}:
            yield f"no problem says {case.reason}"
        if case.column and not case.reason and about:
            yield f"the value fits, and the verdict says {about[0].reason}"
        yield from _unsound(self._contract, found)
        if case.secret is not None and any(_quotes(problem.text, case.secret) for problem in problems):
            yield "a problem's text quotes the value of a private column"
        answered = ("rejected", "fallback")
        if like is not None and status not in answered and like.verdict.status not in answered:
            gap = apart(like, found, self._scale)
            if gap > self._allowed:
                yield f"the same row, written with the value that counts, gets another answer ({_told(gap)})"

    def _shown(self, case: Case) -> Mapping[str, str]:
        """The row as text: every value short and safe, the private ones left out."""
        if not isinstance(case.row, Mapping):
            return {"the whole row": quoted(case.row)}
        return {
            ascii(name)[1:-1] if isinstance(name, str) and not name.isprintable() else str(name): "(private)"
            if name in self._private
            else quoted(value)
            for name, value in case.row.items()
        }


def _unsound(contract: Contract, found: Prediction) -> Iterator[str]:
    """What no answer may be, whatever the row was."""
    status, value, chances = found.verdict.status, found.value, found.probabilities
    if status == "rejected":
        if value is not None or chances is not None:
            yield "a rejected row was answered"
    elif status == "fallback" and found.answered_by != "previous":
        if not same_bits(value, contract.prior):
            yield "the fallback's answer is not the contract's prior"
    elif not _is_answer(contract, value):
        what = "finite number" if contract.task == "regression" else "class that the contract knows"
        yield f"the answer is no {what}"
    elif chances is not None:
        labels = [str(label) for label in contract.classes]
        numbers = list(chances.values())
        fits = list(chances) == labels and all(-1e-9 <= chance <= 1 + 1e-9 for chance in numbers)
        if not fits or abs(sum(numbers) - 1.0) > 1e-6:
            yield "the probabilities are not those of the classes, or do not add up to 1"


def _is_answer(contract: Contract, value: Value) -> bool:
    if contract.task == "classification":
        return any(same_bits(value, known) for known in contract.classes)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _quotes(text: str, value: object) -> bool:
    """Whether a text holds a value in one of its spellings; short ones could stand there by chance."""
    spellings = {str(value), repr(value), ascii(value).strip("'")}
    return any(spelling in text for spelling in spellings if len(spelling) >= _QUOTABLE)


def _reasons(found: Prediction) -> str:
    reasons = sorted({problem.reason for problem in found.verdict.problems})
    return f" ({', '.join(reasons)})" if reasons else ""


def _told(gap: float) -> str:
    return "another answer altogether" if gap == math.inf else f"{gap:.2g} apart, relative"
