"""Train: snapshot, split, contract, fit inside an MLflow run, report, gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from fullcircle import registry
from fullcircle.development import training
from fullcircle.development.adopted import Adopted
from fullcircle.development.environment import environment, machine
from fullcircle.development.loading import LoadedProject
from fullcircle.errors import ModelRefused
from fullcircle.evaluation.metrics import Metric, main_metric
from fullcircle.flows import admission, consent, drafts, reports, views
from fullcircle.flows.evaluate import measured, report_on
from fullcircle.flows.material import Material, prepare
from fullcircle.flows.session import Session, loaded, opened, with_params
from fullcircle.packaging import requirements
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.settings import Settings
from fullcircle.tables import splitting
from fullcircle.tables.keys import row_keys
from fullcircle.types.progress import Progress
from fullcircle.types.project import Fit
from fullcircle.types.turn import Candidate, Snapshot, Trained


def train(
    project: str | Path | LoadedProject,
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
    params: Mapping[str, str] | None = None,
) -> Trained:
    """Fit the project's model on a snapshot of its data and report on it. Nothing is packaged or promoted.

    ``params`` override the project's, as text. Raises the errors of loading, data, fit and MLflow.
    """
    source = with_params(loaded(project), params or {})
    with opened(settings, progress) as session:
        return train_in(session, source)


def train_in(
    session: Session,
    source: LoadedProject,
    *,
    snapshot: Snapshot | None = None,
    keep_training: frozenset[Any] = frozenset(),
    test: Any = None,
    tags: Mapping[str, str] | None = None,
) -> Trained:
    """Train within an open session, on a given snapshot or a new one of the project's data.

    ``test`` marks the test rows of that snapshot; otherwise it is split anew.
    """
    material = prepare(session, source, snapshot, keep_training, test)
    # A rehearsal trains the same code again and again; what cannot be packaged shows at its first training.
    tried = session.rehearsal and len(source.project.fits) == 1
    probable = True if tried else try_types(session, source, material)
    requirements.wanted(source.folder, source.project)  # what contradicts it is refused before the real training
    candidates = try_candidates(session, source, material, probable, tags or {})
    return _final_run(session, source, material, candidates, dict(tags or {}))


def try_types(session: Session, source: LoadedProject, material: Material) -> bool:
    """Fit each candidate on a few rows and refuse types that may not be packaged, before the real training.

    Returns whether all of them give probabilities, as far as these rows could tell.
    """
    session.progress.step("fit", "trying fit on a few rows")
    X, y = material.part(~material.test, source.project.label)
    if lost := int((~material.test).sum()) - len(X):
        session.progress.note(
            f"{lost} of {len(X) + lost} training rows do not fit the contract and are left out: see its limits"
        )
    probable = True
    with source.active():
        for fit in source.project.fits.values():
            model = training.trial(fit, X, y, source.project.params, task=material.task, seed=source.project.seed)
            if model is not None:
                runtime_for(model, source.folder, allow_pickle=source.project.allow_pickle)
                probable = probable and hasattr(model, "predict_proba")
    return probable


def runtime_for(model: object, folder: Path, *, allow_pickle: bool = False) -> str:
    """The name of the runtime that takes this model. Raises ModelRefused naming the type where none does.

    A runtime whose files run code when they are loaded is asked last, and only with ``allow_pickle``; it may then
    take what another one refused.
    """
    runtimes = {name: registry.find("runtimes", name)() for name in registry.names("runtimes")}
    refusal = ModelRefused(
        "no runtime can package a model of this type",
        received=f"{type(model).__module__}.{type(model).__qualname__}",
        allowed=", ".join(name for name, runtime in runtimes.items() if not runtime.pickled),
        next_step="return a scikit-learn estimator or pipeline from fit, or install a runtime for this library",
    )
    for name, runtime in runtimes.items():
        if not runtime.pickled and runtime.accepts(model):
            try:
                runtime.check(model, folder)
            except ModelRefused as error:
                refusal = error
                break
            return name
    last = [name for name in sorted(runtimes, key=lambda name: name == _GENERAL) if runtimes[name].pickled]
    able = [name for name in last if runtimes[name].accepts(model)]
    if able and allow_pickle:
        runtimes[able[0]].check(model, folder)
        return able[0]
    raise _with_way(refusal) if able else refusal


_GENERAL = "pickled"
"""The runtime that takes whatever predicts: asked after all others."""


def _with_way(error: ModelRefused) -> ModelRefused:
    """A refusal that also tells of the last resort, and what it costs."""
    return ModelRefused(
        error.what,
        received=error.received,
        allowed=error.allowed,
        next_step=f"{error.next_step}; or consent to a model file that runs code whenever it is loaded: "
        "allow_pickle=True in the project file (docs/models.md)",
    )


def try_candidates(
    session: Session, source: LoadedProject, material: Material, probable: bool, tags: Mapping[str, str]
) -> tuple[Candidate, ...]:
    """Compare several candidates on a validation part of the training rows, each in a run of its own.

    One metric for all: where one gives no probabilities, none is measured by them.
    """
    project = source.project
    if len(project.fits) < 2:
        return ()
    inner = splitting.split(
        material.frame[~material.test],
        label=project.label,
        task=material.task,
        time=project.data.time,
        share=0.25,
        seed=project.seed + 1,
    )
    validation = material.test.copy()
    validation[~material.test] = inner
    metric = main_metric(material.task, project.gates, probabilities=probable)
    tried = []
    for number, (name, fit) in enumerate(project.fits.items()):
        session.progress.advance(number, len(project.fits))
        tried.append(_one_candidate(session, source, material, validation, name, fit, metric, tags))
    best = max(tried, key=lambda candidate: -math.inf if candidate.value is None else metric.merit(candidate.value))
    return tuple(replace(candidate, chosen=candidate is best) for candidate in tried)


def _one_candidate(
    session: Session,
    source: LoadedProject,
    material: Material,
    validation: Any,
    name: str,
    fit: Fit,
    metric: Metric,
    tags: Mapping[str, str],
) -> Candidate:
    project = source.project
    training_rows = ~material.test & ~validation
    with session.tracking.run(
        project.name,
        name=name,
        tags={**tags, **_run_tags(source, material, name), "fullcircle.part": "validation"},
        params=project.params,
        folder=source.folder,
    ) as run:
        with source.active():
            X, y = material.part(training_rows, project.label)
            model = training.fit(fit, X, y, project.params, contract=material.contract, task=material.task)
            measure = measured(source, material, model, validation, metric)
        run.log_metrics(
            {measure.name: measure.value, f"{measure.name}_low": measure.low, f"{measure.name}_high": measure.high}
        )
    return Candidate(
        name=name, run=run.id, metric=measure.name, value=measure.value, low=measure.low, high=measure.high
    )


def _run_tags(source: LoadedProject, material: Material, candidate: str) -> dict[str, str]:
    return {
        "fullcircle.snapshot": material.snapshot.digest,
        "fullcircle.code": source.code,
        "fullcircle.candidate": candidate,
        "fullcircle.task": material.task,
    }


def _final_run(
    session: Session,
    source: LoadedProject,
    material: Material,
    candidates: tuple[Candidate, ...],
    tags: dict[str, str],
) -> Trained:
    project = source.project
    chosen = next((c.name for c in candidates if c.chosen), next(iter(project.fits)))
    session.progress.step("fit", chosen)
    with session.tracking.run(
        project.name,
        name=chosen,
        tags={**tags, **_run_tags(source, material, chosen)},
        params=project.params,
        folder=source.folder,
    ) as run:
        with source.active():
            X, y = material.part(~material.test, project.label)
            model = training.fit(
                project.fits[chosen], X, y, project.params, contract=material.contract, task=material.task
            )
            runtime_name, saved = _saved(session, source, model)
        metric = main_metric(material.task, project.gates, probabilities=hasattr(model, "predict_proba"))
        draft = _draft(session, source, material, run.id, chosen, runtime_name, saved, model, metric.name)
        consent.record(session, draft)
        session.progress.step("evaluate", "checks on the test rows")
        report, report_digest, champion = report_on(session, source, draft, material.frame, material.test)
        run.log_metrics(_metrics(report))
        kept = reports.keep(session, draft, report)
        run.set_tags({"fullcircle.metric": metric.name, "fullcircle.passed": str(report.passed).lower()})
        digest = session.keep(draft)
    found = report.measure(metric.name)
    # The run's own fact comes last: a run that is known has a report.
    session.record(
        "report.recorded",
        model=project.name,
        run=run.id,
        report=report_digest,
        passed=report.passed,
        champion=champion,
    )
    session.record(
        "run.finished",
        model=project.name,
        run=run.id,
        snapshot=material.snapshot.digest,
        code=source.code,
        candidate=chosen,
        metric=metric.name,
        value=found.value if found and found.usable else None,
        draft=digest,
        view=source.project.view.name if source.project.view is not None else None,
        definition=draft.definition or None,
        login=admission.login(),
    )
    return Trained(
        model=project.name,
        run=run.id,
        snapshot=material.snapshot,
        train_rows=0 if draft.adopted else int((~material.test).sum()),
        test_rows=int(material.test.sum()),
        split="the latest rows" if project.data.time else f"a draw with seed {project.seed}",
        metric=metric.name,
        candidates=candidates,
        report=report,
        report_digest=report_digest,
        code=source.code,
        params=dict(project.params),
        report_page=str(kept["report.html"]),
    )


def _saved(session: Session, source: LoadedProject, model: object) -> tuple[str, SavedModel]:
    """The name of the runtime that takes the model, and its file."""
    runtimes = {name: registry.find("runtimes", name)() for name in registry.names("runtimes")}
    for name, runtime in runtimes.items() if session.rehearsal else ():
        if not runtime.pickled and runtime.accepts(model):
            with suppress(ModelRefused):  # of what is refused the way below says why, or finds another
                return name, runtime.save(model, source.folder)  # does all that check does, once
    name = runtime_for(model, source.folder, allow_pickle=source.project.allow_pickle)
    return name, runtimes[name].save(model, source.folder)


def _draft(
    session: Session,
    source: LoadedProject,
    material: Material,
    run: str,
    candidate: str,
    runtime: str,
    saved: Any,
    model: Any,
    metric: str,
) -> drafts.Draft:
    blobs = session.workspace.blobs
    contract = material.contract
    if material.task == "classification":
        contract = replace(contract, classes=training.classes(model, contract))
    view = source.project.view
    definition, view_blob = ("", "") if view is None else views.definition(session, view)
    return drafts.Draft(
        model=source.project.name,
        run=run,
        snapshot=material.snapshot.digest,
        test=blobs.put(bytes(material.test.astype("uint8"))),
        source=blobs.put(msgspec.json.encode(dict(source.source), order="sorted")),
        code_version=source.code,
        project_file=source.file,
        candidate=candidate,
        params=dict(source.project.params),
        runtime=runtime,
        model_file=saved.file,
        model_blob=blobs.put(saved.data),
        types=tuple(saved.types),
        code={module: blobs.put(text) for module, text in saved.code.items()},
        contract=contract,
        metric=metric,
        view=view_blob,
        definition=definition,
        algorithm=_algorithm(model),
        seed=source.project.seed,
        requirements=tuple(saved.requirements),
        pickled=saved.pickled,
        wanted=requirements.wanted(source.folder, source.project, session.progress),
        environment={} if session.rehearsal else environment(source.folder),
        machine={} if session.rehearsal else machine(),
        adopted=isinstance(source.project.fits[candidate], Adopted),
    )


def _algorithm(model: Any) -> str:
    """The type of a model; of a pipeline, that of its last step."""
    steps = getattr(model, "steps", None)
    return type(steps[-1][1] if steps else model).__qualname__


def _metrics(report: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for finding in report.findings:
        for measure in finding.measures:
            if measure.group or not measure.usable:
                continue
            name = measure.name.replace(":", ".")
            found[name] = measure.value
            for side in ("low", "high"):
                bound = getattr(measure, side)
                if bound is not None:
                    found[f"{name}_{side}"] = bound
    return found


def training_keys(session: Session, draft: drafts.Draft) -> frozenset[Any]:
    """The content keys of the rows a model was trained on: they must never become test rows."""
    frame, test = drafts.rows(session, draft)
    return frozenset(row_keys(frame[~test]).tolist())
