"""What an evaluation looks at, made of a project's run: truths and answers on test rows, and ways to ask for more.

Rows go through the contract a stretch at a time, so that memory holds answers and not millions of rows as objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullcircle.development import training
from fullcircle.development.loading import LoadedProject
from fullcircle.evaluation.check import Subject, Training
from fullcircle.evaluation.metrics import Answers, answers, trivial
from fullcircle.flows import drafts, versions
from fullcircle.flows.session import Session
from fullcircle.runtimes.contracts import rows_of, to_frame
from fullcircle.runtimes.framing import STRETCH, framed, joined, stretches
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Contract, Value
from fullcircle.types.prediction import Prediction
from fullcircle.types.progress import Progress, Silent

# A rival model, a search for leaks and a background hardly gain by more rows than this.
TRAINING_ROWS = 50_000


@dataclass(frozen=True)
class Rival:
    """The champion, and which rows of the frame it was trained on: on those it proves nothing."""

    version: int
    scorer: Scorer
    learned: Any


@dataclass(frozen=True)
class Scored:
    """Answers on n rows of a frame. ``known`` marks the rows that the model itself answered.

    The others were rejected, or answered by the fallback: their value is NaN or None. ``inputs`` holds the known rows
    as the model saw them; None where they were not kept.
    """

    values: Any
    probabilities: Any
    known: Any
    inputs: Any = None


def rival_of(session: Session, model: str, frame: Any) -> Rival | None:
    """The present champion of a model, None where there is none."""
    champion = session.workspace.ledger.state().champions.get(model)
    if champion is None:
        return None
    draft = drafts.of_run(session, versions.find(session, model, champion).run)
    return Rival(champion, versions.kept_scorer(session, model, champion), drafts.learned(session, draft, frame))


def of_draft(
    session: Session,
    source: LoadedProject,
    draft: drafts.Draft,
    frame: Any,
    test: Any,
    rival: Rival | None,
    *,
    training_rows: bool = True,
) -> tuple[Subject, int]:
    """The subject of a run, and how many of its test rows were left out: rejected, or answered by the fallback.

    Without ``training_rows`` it holds none of what the model learned from, which takes time to prepare.
    """
    project, contract = source.project, draft.contract
    scorer = drafts.scorer(session, draft)
    asked = frame[test]
    scored = score(scorer, asked, keep=True, progress=session.progress)
    rows = asked[scored.known].reset_index(drop=True)
    learned = frame[~test]
    baseline, shares = trivial(
        learned[project.label].to_numpy(), len(rows), task=contract.task, classes=contract.classes
    )
    champion, champion_shares = None, None
    if rival is not None:
        champion, champion_shares = _answers(rival, rows, rival.learned[test][scored.known], contract.classes)
    subject = Subject(
        model=project.name,
        task=contract.task,
        label=contract.label_name or project.label,
        unit=contract.label_unit,
        currency=project.currency,
        classes=contract.classes,
        actual=rows[project.label].to_numpy(),
        predicted=scored.values[scored.known],
        probabilities=None if scored.probabilities is None else scored.probabilities[scored.known],
        baseline=baseline,
        baseline_probabilities=shares,
        champion=champion,
        champion_probabilities=champion_shares,
        frame=rows,
        features=project.features,
        protected=project.protected,
        time=project.data.time or "",
        columns={column.name: column for column in contract.columns},
        serving=project.serving,
        gates=project.gates,
        seed=project.seed,
        inputs=scored.inputs,
        predict=scorer.model.predict,
        predict_probabilities=None if scored.probabilities is None else scorer.model.predict_proba,
        judge=lambda raw: scorer.score(rows_of(raw, contract)),
        score_one=lambda row: scorer.score([row]),
        train=None if draft.adopted or not training_rows else _training(source, draft, learned),
        model_bytes=len(session.workspace.blobs.get(draft.model_blob)),
    )
    return subject, int((~scored.known).sum())


def score(scorer: Scorer, frame: Any, *, keep: bool = False, progress: Progress | None = None) -> Scored:
    """Every row of a frame through contract and model; with ``keep`` also as the model saw it."""
    values, shares, parts, known = [], [], [], []
    for number, stretch in enumerate(stretches(frame)):
        (progress or Silent()).advance(min(number * STRETCH, len(frame)), len(frame))
        found = scorer.score(rows_of(stretch, scorer.contract))
        answered = [prediction.inputs is not None for prediction in found]
        known.extend(answered)
        values.append(scorer.values([_own(prediction) for prediction in found]))
        shares.append(scorer.probabilities(found))
        if keep:
            seen = [prediction.inputs or {} for prediction, own in zip(found, answered, strict=True) if own]
            parts.append(to_frame(scorer.contract, seen))
    (progress or Silent()).advance(len(frame), len(frame))
    whole = [each for each in shares if each is not None]
    return Scored(
        np.concatenate(values),
        np.concatenate(whole) if whole else None,
        np.array(known, dtype=bool),
        joined(scorer.contract, parts) if keep else None,
    )


def _own(prediction: Prediction) -> Prediction:
    """A prediction without the answer of the fallback: that is not the model's."""
    from dataclasses import replace

    return prediction if prediction.inputs is not None else replace(prediction, value=None, probabilities=None)


def _answers(rival: Rival, rows: Any, learned: Any, classes: Sequence[Value]) -> tuple[Any, Any]:
    """The champion's answers, with its probabilities in the order of these classes; none on rows it has learned."""
    found = score(rival.scorer, rows)
    if rival.scorer.contract.task == "regression":
        return np.where(learned, np.nan, found.values), None
    values = found.values.astype(object)
    values[learned] = None
    shares = in_order(rival.scorer.contract, found.probabilities, classes)
    return values, None if shares is None else np.where(learned[:, None], np.nan, shares)


def in_order(contract: Contract, shares: Any, classes: Sequence[Value]) -> Any:
    """Probabilities with their columns in the order of ``classes``; none for a class that the contract lacks."""
    if shares is None or not classes:
        return None
    places = {value: place for place, value in enumerate(contract.classes)}
    columns = [shares[:, places[value]] if value in places else np.zeros(len(shares)) for value in classes]
    return np.column_stack(columns)


def beside(scorer: Scorer, rows: Any, classes: Sequence[Value]) -> tuple[Answers, Any]:
    """A model's answers on labelled rows beside the truth, and which rows it answered (n, bool)."""
    contract = scorer.contract
    found = score(scorer, rows)
    shares = in_order(contract, found.probabilities, classes)
    actual = rows[contract.label].to_numpy()
    return answers(contract.task, actual, found.values, shares, tuple(classes)), found.known


def drawn(learned: Any, seed: int) -> Any:
    """At most ``TRAINING_ROWS`` of the training rows, in a seeded draw: the report and ``why`` look at the same."""
    if len(learned) <= TRAINING_ROWS:
        return learned
    picked = np.random.default_rng(seed).choice(len(learned), TRAINING_ROWS, replace=False)
    return learned.iloc[np.sort(picked)]


def _training(source: LoadedProject, draft: drafts.Draft, learned: Any) -> Training:
    """What the model learned from, at most ``TRAINING_ROWS`` of it, in a seeded draw."""
    project = source.project
    learned = drawn(learned, project.seed)
    inputs, fits = framed(draft.contract, learned)
    kept = learned[fits].reset_index(drop=True)
    return Training(
        frame=kept,
        inputs=inputs,
        actual=kept[project.label].to_numpy(),
        fit=_fit(source, draft.candidate, draft.contract),
    )


def _fit(source: LoadedProject, candidate: str, contract: Contract) -> Callable[[Any, Any], Any] | None:
    """Train as the run was trained, on other labels; None where the project no longer has that candidate."""
    project = source.project
    chosen = project.fits.get(candidate)
    if chosen is None:
        return None

    def fit(X: Any, y: Any) -> Any:
        import pandas as pd

        labels = pd.Series(y, name=project.label)
        return training.fit(chosen, X, labels, project.params, contract=contract, task=contract.task)

    return fit
