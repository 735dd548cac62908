"""Why the model answered a logged row as it did: the sentences that the report would have for the same row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fullcircle.errors import BlobMissing, DataUnfit, MissingExtra
from fullcircle.evaluation.explanation import reasons as sentences
from fullcircle.evaluation.explanation import shapley
from fullcircle.flows import drafts, versions
from fullcircle.flows.session import Session
from fullcircle.flows.subjects import drawn
from fullcircle.runtimes.contracts import to_frame
from fullcircle.runtimes.framing import framed
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.prediction import Prediction

_UNUSABLE = "a value that the model cannot use"


def for_prediction(session: Session, draft: drafts.Draft, prediction: Prediction) -> tuple[tuple[str, ...], str]:
    """Up to four sentences on a logged prediction of a version made from ``draft``, or why there are none.

    The packaged model is asked about mixtures of this row with rows that it was trained on, a seeded sample: the same
    as the report's, so that both say the same of the same row.
    """
    unanswered = _unanswered(prediction)
    if unanswered:
        return (), unanswered
    contract = draft.contract
    unlogged = [name for name in contract.names if name not in (prediction.inputs or {})]
    if unlogged:
        more = f" and {len(unlogged) - 3} more" if len(unlogged) > 3 else ""
        return (), f"the log does not hold the values of {', '.join(unlogged[:3])}{more}: they are private"
    try:
        scorer = versions.fitted(session, prediction.model, prediction.version)
        background = background_of(session, draft)
    except BlobMissing:
        return (), "the rows that the model was trained on, or the model, were deleted"
    row = to_frame(contract, [prediction.inputs or {}])
    return told(scorer, background, row, _given(prediction), draft.seed)


def told(
    scorer: Scorer, background: Any, row: Any, given: Mapping[str, Any], seed: int
) -> tuple[tuple[str, ...], str]:
    """Sentences on one row, or why there are none.

    ``background`` and ``row`` (a frame of one row) are as the model sees them, ``given`` holds the row's values as
    they are to be told.
    """
    contract = scorer.contract
    probable = contract.task == "classification" and hasattr(scorer.model, "predict_proba")
    shares = scorer.model.predict_proba if probable else None
    ask = shapley.asking(contract.task, scorer.model.predict, shares)
    if ask is None:
        return (), "the model gives no probabilities to explain"
    try:
        explanation = shapley.explain(ask, background, row, seed=seed)
    except MissingExtra as missing:
        return (), f"{missing.what}: {missing.next_step}"
    except DataUnfit as unfit:
        return (), unfit.what
    except Exception as error:  # noqa: BLE001 - the model may be anyone's code, and the rest of the way is still true
        # The error's own text may quote rows of other people.
        return (), f"the model failed when it was asked about mixtures of rows: {type(error).__name__}"
    about = sentences.Answer(
        task=contract.task,
        label=contract.label_name or contract.label,
        unit=contract.label_unit,
        classes=tuple(contract.classes),
    )
    columns = {column.name: column for column in contract.columns}
    return sentences.reasons(explanation, 0, given, columns, about), ""


def background_of(session: Session, draft: drafts.Draft) -> Any:
    """The rows that others are compared with, as the model sees them: a seeded sample of those it was trained on.

    It is drawn as for the report.
    """
    frame, test = drafts.rows(session, draft)
    learned = drawn(frame[~test], draft.seed)
    return shapley.background(framed(draft.contract, learned)[0], draft.seed)


def _unanswered(prediction: Prediction) -> str:
    """Why the model itself did not answer a row, or ""."""
    if prediction.verdict.status == "rejected":
        return "the row was rejected, so the model did not answer it"
    if prediction.verdict.status == "fallback":
        return "the row was answered by the fallback and not by the model"
    return "" if prediction.inputs is not None else "the log does not hold the row"


def _given(prediction: Prediction) -> Mapping[str, Any]:
    """The row as it was given, as far as the log tells: not what was filled in for it."""
    given: dict[str, Any] = dict(prediction.inputs or {})
    for problem in prediction.verdict.problems:
        if problem.reason == "missing":
            given[problem.column] = None
        elif problem.reason in ("unseen", "wrong_type") or problem.action == "impute":
            given[problem.column] = _UNUSABLE
    return given
