"""Evaluate: the report on a trained model, on a model in memory, or on answers made elsewhere, and what gates say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fullcircle.development.loading import LoadedProject
from fullcircle.evaluation.evaluate import evaluate as run_checks
from fullcircle.evaluation.evaluate import needed_for
from fullcircle.evaluation.metrics import Metric, answers, as_measure, estimate
from fullcircle.flows import consent, drafts, given, reports, subjects
from fullcircle.flows.material import Material
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.settings import Settings
from fullcircle.types.gates import Gate
from fullcircle.types.progress import Progress, Silent
from fullcircle.types.project import Project, Serving
from fullcircle.types.report import About, GateVerdict, Measure, Report

NOT_REHEARSED = ("latency", "size")
WITHOUT_TRAINING_ROWS = {"quality", "fairness", "value"}
"""Checks that ask nothing of what the model learned from."""
ADOPTED = (
    "the model was trained elsewhere: which rows it has learned is not known, and if these are among them, "
    "every figure here is too good"
)


def evaluate(
    subject: str | Path | LoadedProject | Any = None,
    X: Any = None,
    y: Any = None,
    *,
    run: str | None = None,
    predicted: Any = None,
    probabilities: Any = None,
    classes: Sequence[Any] | None = None,
    weights: Any = None,
    train: tuple[Any, Any] | None = None,
    champion: Any = None,
    champion_probabilities: Any = None,
    features: str | Sequence[str] | None = None,
    protected: str | Sequence[str] = (),
    gates: Gate | Sequence[Gate] = (),
    checks: str | Sequence[str] = (),
    task: str | None = None,
    serving: Serving | None = None,
    currency: str = "",
    name: str = "",
    label: str = "",
    seed: int = 0,
    out: str | Path | Sequence[str | Path] = (),
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Report:
    """The report on a model, with the answers of its gates. Three things can be evaluated:

    - ``evaluate("project.py")``: a finished run of a project (``run``, the latest by default), with today's gates.
      The report is kept in the workspace and in MLflow.
    - ``evaluate(model, X, y)``: a fitted model in memory, on n rows ``X`` (a frame, or an array n x k) with labels
      ``y`` (n). ``features`` names the columns that the model sees (by default those it was fitted on, else all),
      ``train=(X, y)`` what it learned from: some checks need that.
    - ``evaluate(None, X, y, predicted=..., probabilities=...)``: answers made elsewhere. ``X`` may be None.
      Probabilities are n x k with ``classes`` in the order of their columns (or a frame whose columns are the
      classes), or n of the second class.

    The present ``champion`` may be a fitted model, which is asked about the same rows, or its n answers on them (NaN
    or None where it has none) with ``champion_probabilities`` in the order of the classes; choose rows that neither
    has learned. Without one, ``beats("champion")`` compares with the trivial model and says so.

    ``weights`` (n) say how many rows each stands for; ``protected`` names columns of ``X`` whose groups are compared;
    ``checks`` those to run, all by default; ``label`` is the label's name and ``task`` "regression" or
    "classification" where it cannot be told. A project says all of these itself, and they are refused with one.
    ``out`` names files to write the report to: .html, .json or .md (a model card).

    Raises DataUnfit and PredictionInvalid where no true number could come out (labels and answers of different kinds
    too), ProjectInvalid for arguments that do not fit each other, and the errors of loading a project.
    """
    paths = reports.checked(out)
    wanted = given.Given(
        X=X,
        y=y,
        predicted=predicted,
        probabilities=probabilities,
        classes=classes,
        weights=weights,
        train=train,
        champion=champion,
        champion_probabilities=champion_probabilities,
        features=features,
        protected=protected,
        gates=gates,
        checks=checks,
        task=task,
        serving=serving,
        currency=currency,
        name=name,
        label=label,
        seed=seed,
    )
    if isinstance(subject, str | Path | LoadedProject):
        given.refuse_with_project(wanted)
        return _of_project(subject, run, paths, settings, progress)
    given.refuse_of_project(run=run, settings=settings)
    return _of_memory(given.checked(replace(wanted, model=subject)), paths, progress or Silent())


def _of_memory(wanted: given.Given, paths: Sequence[Path], progress: Progress) -> Report:
    progress.step("answers" if wanted.model is None else "predict", wanted.name)
    made = given.subject(wanted, progress)
    progress.step("evaluate", f"{made.subject.rows} rows")
    report = run_checks(made.subject, checks=wanted.checks or None, progress=progress)
    report = replace(report, about=made.about, notes=(*report.notes, *made.notes))
    reports.write(report, paths)
    return report


def _of_project(
    project: str | Path | LoadedProject,
    run: str | None,
    paths: Sequence[Path],
    settings: Settings | None,
    progress: Progress | None,
) -> Report:
    source = loaded(project)
    with opened(settings, progress) as session:
        draft = drafts.of_run(session, run) if run else drafts.latest(session, source.project.name)
        session.progress.step("evaluate", f"run {draft.run[:12]}")
        frame, test = drafts.rows(session, draft)
        report, digest, champion = report_on(session, source, draft, frame, test)
        reports.keep(session, draft, report)
        session.record(
            "report.recorded",
            model=draft.model,
            run=draft.run,
            report=digest,
            passed=report.passed,
            champion=champion,
        )
        reports.write(report, paths)
        return report


def report_on(
    session: Session, source: LoadedProject, draft: drafts.Draft, frame: Any, test: Any
) -> tuple[Report, str, int | None]:
    """Run the checks and gates on the test rows; keeps the report.

    Returns it with its digest and the champion's version that it was compared with (None: there is none).
    """
    from threadpoolctl import threadpool_limits

    project = source.project
    # Checks ask for many small batches, on which threads lose more time waiting for each other than they save.
    with source.active(), threadpool_limits(limits=1):
        rival = subjects.rival_of(session, draft.model, frame)
        gates, checks = project.gates, tuple(project.checks) or None
        if session.rehearsal:
            gates = tuple(gate for gate in gates if gate.kind not in NOT_REHEARSED)
            checks = needed_for(gates)
        looked_at = checks is None or bool(set(checks) - WITHOUT_TRAINING_ROWS)
        subject, refused = subjects.of_draft(
            session, source, draft, frame, test, rival, training_rows=looked_at or not session.rehearsal
        )
        report = run_checks(subject, gates, has_champion=rival is not None, checks=checks, progress=session.progress)
    if session.rehearsal:
        report = replace(report, gates=(*report.gates, *_not_rehearsed(project.gates)))
    notes = [*report.notes, *consent.notes(draft)]
    if rival is not None and (known := int(rival.learned[test].sum())):
        notes.append(
            f"the champion was trained on {known} of {int(test.sum())} test rows; it is not compared on them"
        )
    if draft.adopted:
        notes.append(ADOPTED)
    if refused:
        notes.append(
            f"{refused} of {int(test.sum())} test rows were rejected by the contract or answered by its fallback, "
            "and are not in the figures"
        )
    report = replace(report, notes=tuple(notes), about=_about(session, project, draft, test))
    return report, session.keep(report), None if rival is None else rival.version


def _not_rehearsed(gates: Sequence[Gate]) -> tuple[GateVerdict, ...]:
    why = "not rehearsed: it depends on the machine that will answer, and on how the model is packed"
    left_out = [gate for gate in gates if gate.kind in NOT_REHEARSED]
    return tuple(GateVerdict(gate=gate.text, passed=True, reason=why) for gate in left_out)


def _about(session: Session, project: Project, draft: drafts.Draft, test: Any) -> About:
    """What a model card says of where the model comes from."""
    known = session.workspace.ledger.state().snapshots[draft.snapshot]
    return About(
        task=draft.contract.task,
        label=draft.contract.label_name or project.label,
        unit=draft.contract.label_unit,
        currency=project.currency,
        classes=tuple(str(value) for value in draft.contract.classes),
        features=tuple(project.features),
        protected=tuple(project.protected),
        algorithm=draft.algorithm,
        purpose=project.purpose,
        limits=project.limits,
        source=known.source,
        snapshot=draft.snapshot,
        run=draft.run,
        code=draft.code_version,
        split="the latest rows" if project.data.time else f"a draw with seed {project.seed}",
        train_rows=0 if draft.adopted else int((~test).sum()),
    )


def measured(source: LoadedProject, material: Material, model: Any, mask: Any, metric: Metric) -> Measure:
    """A metric, with its interval, of a model in memory on the masked rows."""
    project = source.project
    X, y = material.part(mask, project.label)
    probabilities = model.predict_proba(X) if hasattr(model, "predict_proba") else None
    classes = tuple(getattr(model, "classes_", ()))
    found = answers(metric.task, y.to_numpy(), model.predict(X), probabilities, classes)
    return as_measure(metric.name, estimate(metric, found, seed=project.seed), rows=len(y))
