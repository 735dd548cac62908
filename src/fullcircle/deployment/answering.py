"""Answers for a stretch of columns: most rows as one block, the rest judged by hand, all of them logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from fullcircle.runtimes.columns import Columns
from fullcircle.runtimes.scorer import Block, Scorer
from fullcircle.types.contract import Contract, Value, Verdict
from fullcircle.types.prediction import Prediction

if TYPE_CHECKING:
    import numpy as np

RESULT_COLUMNS = ("row", "prediction", "verdict", "problems")
ID = "prediction_id"
_OK = Verdict(status="ok")


class Recorder(Protocol):
    """Logs predictions before they are written, and says which columns the log may not hold as they are."""

    left_out: frozenset[str]
    hashing: frozenset[str]

    def append(self, predictions: Sequence[Prediction]) -> Sequence[Prediction]:
        """The predictions with their ids."""

    def write(self, bodies: Sequence[bytes]) -> Sequence[str]:
        """The ids of rows that are written already: JSON objects of a logged prediction, without id and time."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What n rows were answered: Arrow arrays by the name of the result column, and which rows were rejected."""

    columns: Mapping[str, Any]
    rejected: np.ndarray[Any, np.dtype[np.bool_]]
    verdicts: Mapping[str, int]


class Answerer:
    """Answers stretches with one scorer, and logs them where there is a recorder. For one thread at a time."""

    def __init__(self, scorer: Scorer, recorder: Recorder | None = None) -> None:
        self.scorer = scorer
        self._recorder = recorder
        self._contract = scorer.contract
        self._quick = scorer.enrich is None and scorer.encoder.encodable
        self._body = None if recorder is None else _body(scorer, recorder)

    def answer(self, columns: Columns, first: int) -> Answered:
        """Answer and log all rows, of which the first has the number ``first``. The log is in no order."""
        import numpy as np

        ok = np.zeros(columns.rows, dtype=np.bool_)
        if self._quick:
            matrix = columns.matrix(self.scorer.encoder)
            ok = self.scorer.encoder.clean(matrix)
            block = self.scorer.block(matrix[ok])
            if block.failed:
                failed = np.zeros(len(block.answers), dtype=np.bool_)
                failed[list(block.failed)] = True
                ok[np.flatnonzero(ok)[failed]] = False
                chances = None if block.chances is None else block.chances[~failed]
                block = Block(answers=block.answers[~failed], chances=chances)
            matrix = matrix[ok]
        others = np.flatnonzero(~ok)
        judged: Sequence[Prediction] = ()
        if len(others):
            places = others.tolist() if len(others) < columns.rows else None
            judged = self.scorer.score(columns.dicts(self._contract, places))
        ids: list[str] | None = None
        if self._recorder is not None:
            judged = self._recorder.append(judged)
            ids = [""] * columns.rows
            _place(ids, others, [one.id for one in judged])
            if ok.any():
                _place(ids, np.flatnonzero(ok), self._logged(matrix, block, columns, ok))
        return self._columns(first, ok, block if ok.any() else None, judged, ids)

    def _logged(self, matrix: Any, block: Block, columns: Columns, ok: Any) -> Sequence[str]:
        assert self._recorder is not None  # noqa: S101 - for the type checker
        values = self._labels(block)
        contexts: list[Any] = []
        if self._contract.context:
            found = columns.contexts(self._contract)
            contexts = [found[place] for place in ok.nonzero()[0]]
        if self._body is not None:
            return self._recorder.write(self._body(matrix, values, block.chances, contexts))
        names = tuple(map(str, self._contract.classes))
        chances = None if block.chances is None else block.chances.tolist()
        predictions = [
            Prediction(
                value=value,
                verdict=_OK,
                probabilities=None if chances is None else dict(zip(names, chances[place], strict=True)),
                inputs=inputs,
                context=contexts[place] if contexts else None,
            )
            for place, (value, inputs) in enumerate(zip(values, self.scorer.encoder.values(matrix), strict=True))
        ]
        return [one.id for one in self._recorder.append(predictions)]

    def _labels(self, block: Block) -> list[Value]:
        answers: list[Any] = block.answers.tolist()
        classes = self._contract.classes
        return answers if self._contract.task == "regression" else [classes[place] for place in answers]

    def _columns(
        self, first: int, ok: Any, block: Block | None, judged: Sequence[Prediction], ids: list[str] | None
    ) -> Answered:
        import numpy as np
        import pyarrow as pa

        rows, others = len(ok), np.flatnonzero(~ok)
        statuses = np.full(rows, "ok", dtype=object)
        statuses[others] = [one.verdict.status for one in judged]
        problems = np.full(rows, "", dtype=object)
        problems[others] = [told(one) for one in judged]
        found = {
            "row": pa.array(np.arange(first, first + rows)),
            "prediction": self._values(ok, block, judged),
            "verdict": pa.array(statuses, pa.string()),
            "problems": pa.array(problems, pa.string()),
        }
        if ids is not None:
            found[ID] = pa.array(ids, pa.string())
        for place, label in enumerate(map(str, self._contract.classes)):
            chances = np.full(rows, np.nan)
            if block is not None and block.chances is not None:
                chances[ok] = block.chances[:, place]
            chances[others] = [np.nan if one.probabilities is None else one.probabilities[label] for one in judged]
            found[probability(label)] = pa.array(chances, from_pandas=True)
        verdicts = Counter(statuses.tolist())
        return Answered(columns=found, rejected=statuses == "rejected", verdicts=verdicts)

    def _values(self, ok: Any, block: Block | None, judged: Sequence[Prediction]) -> Any:
        import numpy as np
        import pyarrow as pa

        if self._contract.task == "regression":
            numbers = np.full(len(ok), np.nan)
            if block is not None:
                numbers[ok] = block.answers
            numbers[~ok] = [np.nan if one.value is None else one.value for one in judged]
            return pa.array(numbers, from_pandas=True)
        classes = self._contract.classes
        places = np.full(len(ok), len(classes))
        if block is not None:
            places[ok] = block.answers
        places[~ok] = [len(classes) if one.value is None else classes.index(one.value) for one in judged]
        try:
            labels = pa.array([*classes, None])
        except (pa.ArrowInvalid, pa.ArrowTypeError):  # labels of several types have no type but text in common
            labels = pa.array([*map(str, classes), None])
        return labels.take(pa.array(places))


def told(prediction: Prediction) -> str:
    """The problems of a row in one line."""
    return "; ".join(f"{problem.column}: {problem.text}" for problem in prediction.verdict.problems)


def probability(label: object) -> str:
    """The name of the result column with the probability of a class."""
    return f"probability_{label}"


def reserved(contract: Contract, *, recorded: bool) -> list[str]:
    """The names of the result columns, which the input may not have."""
    return [*RESULT_COLUMNS, *([ID] if recorded else []), *map(probability, contract.classes)]


def _place(target: list[str], places: Any, values: Sequence[str]) -> None:
    for place, value in zip(places.tolist(), values, strict=True):
        target[place] = value


def _body(scorer: Scorer, recorder: Recorder) -> Any:
    """What writes many rows as the log has them, in one call; None where a value has to be hashed or left out first.

    The structs of msgspec are made for it: there is no quicker way from lists to JSON in Python.
    """
    contract = scorer.contract
    kept = [name for name in contract.names if name not in recorder.left_out]
    if recorder.hashing or not kept or recorder.left_out & set(contract.context):
        return None
    labels = [str(label) for label in contract.classes]
    inputs, shares = _struct("Inputs", kept), _struct("Shares", labels)
    if inputs is None or shares is None:
        return None
    fixed = {
        "verdict": _OK,
        "model": scorer.name,
        "version": scorer.version,
        "bundle": scorer.bundle,
    }
    fields: list[Any] = [("value", Any), ("inputs", Any)]
    fields += [("probabilities", Any)] if labels and scorer.form.probable else []
    fields += [("context", Any)] if contract.context else []
    whole = msgspec.defstruct(
        "Body", [*fields, *((name, Any, msgspec.field(default=value)) for name, value in fixed.items())], gc=False
    )
    chosen = [place for place, name in enumerate(contract.names) if name in set(kept)]
    encoder = msgspec.json.Encoder()

    def bodies(matrix: Any, values: list[Value], chances: Any, contexts: list[Any]) -> list[bytes]:
        columns = scorer.encoder.columns(matrix)
        parts: list[Any] = [values, map(inputs, *(columns[place] for place in chosen))]
        if chances is not None:
            parts.append(map(shares, *chances.T.tolist()))
        if contract.context:
            parts.append(contexts)
        # A list: of an iterator, msgspec (0.22) never lets go of what it gave.
        return encoder.encode_lines(list(map(whole, *parts))).split(b"\n")[:-1]

    return bodies


def _struct(title: str, names: Sequence[str]) -> Any:
    """A struct with these keys, None where one of them is no key that msgspec takes."""
    try:
        return msgspec.defstruct(
            title,
            [(f"c{place}", Any) for place in range(len(names))],
            rename={f"c{place}": name for place, name in enumerate(names)},
            gc=False,
        )
    except ValueError:
        return None
