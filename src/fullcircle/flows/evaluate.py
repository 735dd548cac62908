"""Evaluate: the report on a trained model, and what its gates say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fullcircle.development.loading import LoadedProject
from fullcircle.evaluation.check import Subject
from fullcircle.evaluation.evaluate import evaluate as run_checks
from fullcircle.evaluation.metrics import Metric, measure, trivial
from fullcircle.flows import drafts, versions
from fullcircle.flows.material import Material
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.runtimes.contracts import rows_of, to_frame
from fullcircle.runtimes.scorer import Scorer
from fullcircle.settings import Settings
from fullcircle.types.contract import Value
from fullcircle.types.progress import Progress
from fullcircle.types.report import Measure, Report


def evaluate(
    project: str | Path | LoadedProject,
    *,
    run: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Report:
    """Report again on a finished run (the latest by default) with the project's checks and gates of today."""
    source = loaded(project)
    with opened(settings, progress) as session:
        draft = drafts.of_run(session, run) if run else drafts.latest(session, source.project.name)
        session.progress.step("evaluate", f"run {draft.run[:12]}")
        frame, test = drafts.rows(session, draft)
        report, digest, champion = report_on(session, source, draft, frame, test)
        session.record(
            "report.recorded",
            model=draft.model,
            run=draft.run,
            report=digest,
            passed=report.passed,
            champion=champion,
        )
        return report


@dataclass(frozen=True)
class Rival:
    """The champion, and which rows of the frame it was trained on: on those it proves nothing."""

    scorer: Scorer
    learned: Any


def _rival_of(session: Session, model: str, champion: int, frame: Any) -> Rival:
    draft = drafts.of_run(session, versions.find(session, model, champion).run)
    return Rival(versions.scorer(session, model, champion), drafts.learned(session, draft, frame))


def report_on(
    session: Session, source: LoadedProject, draft: drafts.Draft, frame: Any, test: Any
) -> tuple[Report, str, int | None]:
    """Run the checks and gates on the test rows; keeps the report.

    Returns it with its digest and the champion's version that it was compared with (None: there is none).
    """
    from threadpoolctl import threadpool_limits

    champion = session.workspace.ledger.state().champions.get(draft.model)
    rival = None if champion is None else _rival_of(session, draft.model, champion, frame)
    # Checks ask for many small batches, on which threads lose more time waiting for each other than they save.
    with source.active(), threadpool_limits(limits=1):
        subject = subject_of(
            source,
            draft.contract,
            drafts.scorer(session, draft),
            frame,
            test,
            rival,
            len(session.workspace.blobs.get(draft.model_blob)),
        )
        report = run_checks(subject, source.project.gates, has_champion=champion is not None)
    if rival is not None and (known := int(rival.learned[test].sum())):
        text = f"the champion was trained on {known} of {int(test.sum())} test rows; it is not compared on them"
        report = replace(report, notes=(*report.notes, text))
    refused = int(test.sum()) - len(subject.actual)
    if refused:
        text = f"{refused} of {int(test.sum())} test rows were rejected by the contract and are not in the figures"
        report = replace(report, notes=(*report.notes, text))
    return report, session.keep(report), champion


def subject_of(
    source: LoadedProject, contract: Any, scorer: Scorer, frame: Any, test: Any, rival: Rival | None, size: int
) -> Subject:
    """What the checks look at: truths and answers on the test rows, and ways to ask for more."""
    project = source.project
    rows = frame[test].reset_index(drop=True)
    predictions = scorer.score(rows_of(rows, contract))
    answered = [prediction.value is not None for prediction in predictions]
    rows = rows[answered].reset_index(drop=True)
    predictions = tuple(p for p, good in zip(predictions, answered, strict=True) if good)
    task = contract.task
    baseline, baseline_probabilities = trivial(
        frame[~test][project.label].to_numpy(), len(rows), task=task, classes=contract.classes
    )
    probabilities = scorer.probabilities(predictions)
    inputs = to_frame(contract, [prediction.inputs or {} for prediction in predictions])
    champion, champion_probabilities = None, None
    if rival is not None:
        champion, champion_probabilities = _answers(rival, rows, rival.learned[test][answered], contract.classes)
    return Subject(
        model=project.name,
        task=task,
        label=project.label,
        classes=contract.classes,
        actual=rows[project.label].to_numpy(),
        predicted=scorer.values(predictions),
        probabilities=probabilities,
        baseline=baseline,
        baseline_probabilities=baseline_probabilities,
        champion=champion,
        champion_probabilities=champion_probabilities,
        frame=rows,
        features=project.features,
        gates=project.gates,
        seed=project.seed,
        inputs=inputs,
        predict=lambda asked: scorer.model.predict(asked),
        predict_probabilities=None if probabilities is None else lambda asked: scorer.model.predict_proba(asked),
        judge=lambda asked: scorer.score(rows_of(asked, contract)),
        score_one=lambda row: scorer.score([row]),
        model_bytes=size,
    )


def _answers(rival: Rival, rows: Any, learned: Any, classes: tuple[Value, ...]) -> tuple[Any, Any]:
    """The champion's answers, with its probabilities in the order of these classes; none on rows it has learned."""
    import numpy as np

    scorer = rival.scorer
    found = scorer.score(rows_of(rows, scorer.contract))
    pairs = zip(found, learned, strict=True)
    found = tuple(replace(one, value=None, probabilities=None) if known else one for one, known in pairs)
    probabilities = scorer.probabilities(found)
    if probabilities is None or not classes:
        return scorer.values(found), None
    places = {value: place for place, value in enumerate(scorer.contract.classes)}
    columns = [probabilities[:, places[value]] if value in places else np.zeros(len(found)) for value in classes]
    return scorer.values(found), np.column_stack(columns)


def measured(source: LoadedProject, material: Material, model: Any, mask: Any, metric: Metric) -> Measure:
    """A metric, with its interval, of a model in memory on the masked rows."""
    project = source.project
    X, y = material.part(mask, project.label)
    probabilities = model.predict_proba(X) if hasattr(model, "predict_proba") else None
    return measure(
        metric,
        y.to_numpy(),
        model.predict(X),
        probabilities,
        tuple(getattr(model, "classes_", ())),
        seed=project.seed,
    )
