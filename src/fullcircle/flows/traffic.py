"""Play a table through the real server as production traffic, and join the labels when their time has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fullcircle.deployment import client
from fullcircle.development.cases.comparing import limit_of
from fullcircle.errors import ProofFailed, StateConflict
from fullcircle.flows import admission
from fullcircle.flows.session import Session
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Contract
from fullcircle.types.durations import duration
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.project import Project
from fullcircle.types.turn import Deployed

CHUNK = 250
ROUNDING = 1e-9  # BLAS may add in another order for another batch size


@dataclass(frozen=True)
class Traffic:
    """What was sent and answered: the logged predictions, and the outcomes that are known by now."""

    predictions: tuple[Prediction, ...]
    outcomes: Mapping[str, Outcome]


def play(session: Session, project: Project, contract: Contract, url: str, frame: Any) -> Traffic:
    """Send the rows to the server, then the labels that are older than the project's label delay."""
    rows = rows_of(frame, contract)
    ids: list[str] = []
    door = admission.door(session)
    for start in range(0, len(rows), CHUNK):
        answers = client.predict(url, project.name, rows[start : start + CHUNK], door=door)
        ids += [answer.id for answer in answers]
        session.progress.advance(min(start + CHUNK, len(rows)), len(rows))
    known = _known_labels(project, frame)
    outcomes = [
        Outcome(prediction_id=identity, value=_plain(value))
        for identity, value, due in zip(ids, _labels(frame, project.label), known, strict=True)
        if due
    ]
    client.outcomes(url, project.name, outcomes, door=door)
    return Traffic(
        _logged(session, project.name, ids), log.read_outcomes(session.workspace.predictions, project.name)
    )


def compared(deployed: Deployed, scorer: Scorer, rows: Sequence[Mapping[str, Any]], sent: Traffic) -> Deployed:
    """Score the rows again in batch and note the largest difference to what the server answered.

    Raises ProofFailed where they differ by more than rounding, or in a verdict: then nothing here can be trusted.
    """
    largest = deployed.largest_difference
    if {prediction.version for prediction in sent.predictions} - {scorer.version}:
        raise StateConflict(
            "the champion changed while this window was played",
            received=", ".join(sorted({f"version {prediction.version}" for prediction in sent.predictions})),
            allowed=f"version {scorer.version}",
            next_step="run again",
        )
    allowed = max(ROUNDING, limit_of(scorer))
    for online, batch in zip(sent.predictions, scorer.score(rows), strict=True):
        if isinstance(online.value, float) and isinstance(batch.value, float):
            difference = abs(online.value - batch.value)
            same = difference <= allowed * max(1.0, abs(batch.value))
            largest = max(largest, difference)
        else:
            same = online.value == batch.value
        if not same or online.verdict.status != batch.verdict.status:
            raise ProofFailed(
                "the server and the batch scorer answered the same row differently",
                received=f"{online.value} ({online.verdict.status}) online, {batch.value} ({batch.verdict.status})",
                next_step="look at the prediction: fullcircle why " + online.id,
            )
    return replace(deployed, rows=deployed.rows + len(rows), largest_difference=largest)


def _known_labels(project: Project, frame: Any) -> Sequence[bool]:
    """Which rows' labels have come by the time of the latest row."""
    if project.label not in frame.columns:
        return [False] * len(frame)
    present = frame[project.label].notna()
    time = project.data.time
    if not time or time not in frame.columns:
        return list(present)
    latest = frame[time].max() - duration(project.label_delay)
    return list(present & (frame[time] <= latest))


def _labels(frame: Any, label: str) -> list[Any]:
    """The labels of rows that arrive; unknown where the table does not have them."""
    return list(frame[label].tolist()) if label in frame.columns else [None] * len(frame)


def _logged(session: Session, model: str, ids: list[str]) -> tuple[Prediction, ...]:
    wanted = set(ids)
    found = {p.id: p for p in log.read(session.workspace.predictions, model) if p.id in wanted}
    if wanted - found.keys():
        raise StateConflict(
            "some of the rows that were played are not in the prediction log",
            received=f"{sum(identity not in found for identity in ids)} of {len(ids)}",
            next_step="see fullcircle log: with log_full=count a full log loses rows; somebody may have erased them",
        )
    return tuple(found[identity] for identity in ids)


def _plain(value: Any) -> Any:
    """A cell as JSON can carry it."""
    if value is None or value != value:  # NaN and NaT are not equal to themselves
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value
