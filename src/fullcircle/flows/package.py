"""Package: build the bundle of a run, prove it in a clean environment of its own, register it as a version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import GateFailed, StateConflict
from fullcircle.flows import drafts, testing
from fullcircle.flows.reconcile import reconcile, registering
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.ledger.state import State
from fullcircle.monitoring.profiles import profile as profile_of
from fullcircle.packaging import bundle as bundles
from fullcircle.packaging import lock as locks
from fullcircle.packaging import proof as proofs
from fullcircle.packaging import wheel as wheels
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.forms.certificate import Chosen, choose, told
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.values import read
from fullcircle.settings import Settings
from fullcircle.types.contract import Column, Value
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.progress import Progress
from fullcircle.types.project import Approve
from fullcircle.types.report import Report
from fullcircle.types.turn import Packaged

GOLDEN_ROWS = 25


def package(
    project: str | Path | LoadedProject,
    *,
    run: str | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Packaged:
    """Package a finished run (the latest by default) and register it as a version, not yet promoted.

    Raises GateFailed where the run's latest report or a test of the bundle did not pass, LockFailed and ProofFailed.
    """
    source = loaded(project)
    with opened(settings, progress) as session:
        reconcile(session)
        draft = drafts.of_run(session, run) if run else drafts.latest(session, source.project.name)
        digest, report = latest_report(session, draft.run)
        if not report.passed:
            raise GateFailed(
                f"the report on run {draft.run[:12]} did not pass its gates, so it is not packaged",
                received="; ".join(f"{g.gate}: {g.reason}" for g in report.gates if not g.passed) or "no gates",
                next_step="change the model or the gates and train again",
            )
        return package_in(session, source, draft, digest, report, approve=source.project.approve)


def latest_report(session: Session, run: str) -> tuple[str, Report]:
    """The latest report on a run: its digest and itself."""
    found = [fact for fact in session.workspace.ledger.facts("report.recorded") if fact.body["run"] == run]
    digest = str(found[-1].body["report"])
    return digest, session.recall(digest, Report)


def package_in(
    session: Session,
    source: LoadedProject,
    draft: drafts.Draft,
    report_digest: str,
    report: Report,
    *,
    approve: Approve,
) -> Packaged:
    """Package within an open session: bundle, tests, proof, then MLflow as pending, the fact, and confirmed.

    With ``approve="person"`` the version is registered as one that somebody has to approve before it is promoted.
    Raises GateFailed where a test of the bundle or of the project failed; nothing is registered then.
    """
    session.progress.step("package", "locking the environment")
    bundle = build(session, draft, report)
    packed = bundles.pack(bundle)
    blob = session.workspace.blobs.put(packed)
    session.record("bundle.built", model=draft.model, run=draft.run, bundle=blob, bytes=len(packed))
    tested = testing.gate(session, source, bundle, run=draft.run, digest=blob)
    session.progress.step("prove", "a clean environment answers the golden rows")
    python = proofs.environment(
        bundle, session.workspace.environments, offline=session.settings.offline, progress=session.progress
    )
    # The ledger names a bundle by the digest of its archive, where the blob store keeps it.
    proof = replace(proofs.prove(bundle, python), bundle=blob)
    proof_digest = session.keep(proof)
    session.record("bundle.proven", model=draft.model, bundle=blob, proof=proof_digest, same_bits=proof.same_bits)
    session.progress.step("register", "in MLflow and in the ledger")
    session.tracking.log_artifact(draft.run, "bundle/bundle.zip", packed)
    with registering(session, timeout=60.0):
        version = session.tracking.register(draft.model, draft.run, blob, {"fullcircle.bundle": blob})
        seq = session.record(
            "version.registered",
            guard=_unknown(draft.model, version),
            model=draft.model,
            version=version,
            run=draft.run,
            bundle=blob,
            report=report_digest,
            snapshot=draft.snapshot,
            proof=proof_digest,
            approve="person" if approve == "person" else None,
        )
        session.tracking.confirm(draft.model, version, seq)
    return Packaged(
        model=draft.model,
        version=version,
        run=draft.run,
        bundle=blob,
        size_bytes=len(packed),
        files=bundle.manifest.files,
        proof=proof,
        tests=tested.counts,
    )


def _unknown(model: str, version: int) -> Callable[[State], None]:
    def guard(state: State) -> None:
        if version in state.versions.get(model, {}):
            raise StateConflict(
                f"MLflow gave {model} the version number {version}, which the ledger knows already",
                received=f"version {version}",
                next_step="use the MLflow that this ledger was made with: see the setting mlflow in docs/settings.md",
            )

    return guard


def build(session: Session, draft: drafts.Draft, report: Report) -> bundles.Bundle:
    """The bundle of a draft: model, its form, contract, golden rows, reference profile, lock, fullcircle's wheel."""
    frame, test = drafts.rows(session, draft)
    rows = rows_of(frame[test], draft.contract)
    chosen, scorer = _formed(session, draft, rows)
    view = drafts.view_of(session, draft)
    predictions = scorer.score(rows)
    main = report.measure(draft.metric)
    wheel = wheels.wheel()
    saved = drafts.saved_model(session, draft)
    return bundles.build(
        model=draft.model,
        runtime=draft.runtime,
        saved=saved,
        contract=draft.contract,
        golden=_golden(scorer, rows if view is None else _without_keys(rows, view)),
        profile=profile_of(
            frame[test].reset_index(drop=True),
            [prediction.value for prediction in predictions],
            draft.contract,
            metric=draft.metric,
            value=main.value if main else None,
            low=main.low if main else None,
            high=main.high if main else None,
        ),
        lock=locks.lock(
            wheel=wheel,
            requirements=(*saved.requirements, *(_online(session) if view is not None else ())),
            offline=session.settings.offline,
            progress=session.progress,
        ),
        wheel=wheel,
        view=view,
        # Timings differ each time and would give the same bundle another digest: they are told, and not kept in it.
        certificate=replace(chosen.certificate, seconds=(0.0, 0.0), native_seconds=(0.0, 0.0)),
        compiled=chosen.data,
    )


def _formed(session: Session, draft: drafts.Draft, rows: list[Any]) -> tuple[Chosen, Scorer]:
    """The form that will answer, and the scorer that asks it: its answers are the golden ones."""
    native = drafts.scorer(session, draft)
    chosen = choose(draft.contract, native.model, rows, seed=draft.seed)
    session.progress.note(told(chosen.certificate))
    return chosen, Scorer(draft.contract, native.model, form=chosen.form)


def _without_keys(rows: list[Any], view: ViewSpec) -> list[Any]:
    """Rows that hold their features and say nothing of whose they are: a bundle travels."""
    keys = set(view.key_columns)
    return [{name: value for name, value in row.items() if name not in keys} for row in rows]


def _online(session: Session) -> tuple[str, ...]:
    """The distributions that a server needs to look features up where this workspace has them online."""
    return ("redis",) if not session.features.online_url.startswith("sqlite:") else ()


def _golden(scorer: Scorer, rows: list[Any]) -> list[Any]:
    """Rows spread evenly over the test rows, with their answers as one call gives them.

    A bundle travels: what stands in a private column is replaced by the column's fill before anything is asked.
    """
    fills = {column.name: _fill(column) for column in scorer.contract.columns if column.private}
    step = max(1, len(rows) // GOLDEN_ROWS)
    spread = [
        {name: fills[name] if name in fills and value is not None else value for name, value in row.items()}
        for row in rows[::step][:GOLDEN_ROWS]
    ]
    asked = zip(spread, scorer.score(spread), strict=True)
    picked = [row for row, prediction in asked if prediction.verdict.status != "rejected"]
    # BLAS may round differently in a batch of another size, so they are asked again as they will be replayed.
    return list(zip(picked, scorer.score(picked), strict=True))


def _fill(column: Column) -> Value:
    """What may stand in the place of any value of the column; missing where its fill does not fit it."""
    value, misfit = read(column, column.fill)
    return None if misfit is not None and misfit.reason != "outside" else value
