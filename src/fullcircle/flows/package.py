"""Package: build the bundle of a run, prove it in a clean environment of its own, register it as a version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fullcircle import registry
from fullcircle.development.loading import LoadedProject
from fullcircle.errors import GateFailed, StateConflict
from fullcircle.flows import admission, attestations, consent, drafts, flavor, issuers, testing
from fullcircle.flows.promote import judged_against
from fullcircle.flows.provenance import provenance
from fullcircle.flows.reconcile import reconcile, registering
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.ledger.state import State
from fullcircle.monitoring.profiles import profile as profile_of
from fullcircle.packaging import bundle as bundles
from fullcircle.packaging import lock as locks
from fullcircle.packaging import machine
from fullcircle.packaging import proof as proofs
from fullcircle.packaging import wheel as wheels
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.forms.certificate import Chosen, candidates_of, choose, kept, told
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.values import read
from fullcircle.settings import Settings
from fullcircle.types.attestation import AttestationKind
from fullcircle.types.bundle import Proof
from fullcircle.types.contract import Column, Value
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.needs import Need, packages
from fullcircle.types.progress import Progress
from fullcircle.types.project import Approve
from fullcircle.types.report import Report
from fullcircle.types.turn import Packaged

GOLDEN_ROWS = 25


def package(
    project: str | Path | LoadedProject,
    *,
    run: str | None = None,
    out: str | Path | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Packaged:
    """Package a finished run (the latest by default) and register it as a version, not yet promoted.

    ``out`` is a folder that gets ``bundle.zip`` and its attestations, to travel. Raises GateFailed where the run's
    latest report or a test of the bundle did not pass, LockFailed and ProofFailed, and SettingInvalid where ``out``
    is not empty.
    """
    source = loaded(project)
    if out is not None:
        attestations.check_free(Path(out))
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
        packaged = package_in(session, source, draft, digest, report, approve=source.project.approve)
        if out is None:
            return packaged
        folder = attestations.write(session, packaged.model, packaged.version, Path(out))
        return replace(packaged, folder=str(folder))


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
    session.progress.step("package", "" if session.rehearsal else "locking the environment")
    bundle = build(
        session,
        draft,
        report,
        requires=source.project.needs,
        time=source.project.data.time,
        window=source.project.monitor.window,
    )
    packed = bundles.pack(bundle)
    blob = session.workspace.blobs.put(packed)
    session.record("bundle.built", model=draft.model, run=draft.run, bundle=blob, bytes=len(packed))
    consent.record(session, draft, blob)
    if session.rehearsal:
        return _rehearsed(session, draft, bundle, blob, report_digest, approve)
    tested = testing.gate(session, source, bundle, run=draft.run, digest=blob)
    session.progress.step("prove", "a clean environment answers the golden rows")
    proof = _proof(session, bundle, draft)
    proof_digest = session.keep(proof)
    session.record("bundle.proven", model=draft.model, bundle=blob, proof=proof_digest, same_bits=proof.same_bits)
    said = provenance(source, draft, approve=approve, parent=judged_against(session, report_digest))
    made_of = session.keep(said)
    blobs: dict[AttestationKind, str] = {"report": report_digest, "certificate": proof_digest, "provenance": made_of}
    signed = attestations.signed(session, draft.model, blob, blobs)
    session.progress.step("register", "in MLflow and in the ledger")
    session.tracking.log_artifacts(draft.run, "bundle", flavor.files(bundle, packed, digest=blob, run=draft.run))
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
            provenance=made_of,
            attestations=signed,
            login=admission.login(),
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


def _rehearsed(
    session: Session, draft: drafts.Draft, bundle: bundles.Bundle, blob: str, report: str, approve: Approve
) -> Packaged:
    """Register a version of a rehearsal: nothing was tested or proven, and its certificate says so."""
    nothing = Proof(
        bundle=bundle.digest,
        python=bundle.manifest.python,
        platform="",
        packages=(),
        golden_rows=0,
        largest_difference=0.0,
        same_bits=False,
        environment="",
        seconds=0.0,
    )
    version = session.tracking.register(draft.model, draft.run, blob)
    session.record(
        "version.registered",
        guard=_unknown(draft.model, version),
        model=draft.model,
        version=version,
        run=draft.run,
        bundle=blob,
        report=report,
        snapshot=draft.snapshot,
        proof=session.keep(nothing),
        approve="person" if approve == "person" else None,
        login=admission.login(),
    )
    size, files = len(session.workspace.blobs.get(blob)), bundle.manifest.files
    return Packaged(
        model=draft.model, version=version, run=draft.run, bundle=blob, size_bytes=size, files=files, proof=nothing
    )


def _proof(session: Session, bundle: bundles.Bundle, draft: drafts.Draft) -> Proof:
    """The certificate of a bundle, and of its compiled form alone where it has a lock of its own."""
    place, offline, progress = session.workspace.environments, session.settings.offline, session.progress
    python = proofs.environment(bundle, place, offline=offline, progress=progress)
    small = None
    if bundle.compiled_lock is not None:
        small = proofs.environment(bundle, place, compiled=True, offline=offline, progress=progress)
    proof = proofs.prove(bundle, python, compiled=small, platform=draft.wanted.platform, allow_pickle=draft.pickled)
    if proof.target:
        progress.note(f"proven here with the same versions; on {proof.target} it is still to be proven")
    return proof


def _unknown(model: str, version: int) -> Callable[[State], None]:
    def guard(state: State) -> None:
        if version in state.versions.get(model, {}):
            raise StateConflict(
                f"MLflow gave {model} the version number {version}, which the ledger knows already",
                received=f"version {version}",
                next_step="use the MLflow that this ledger was made with: see the setting mlflow in docs/settings.md",
            )

    return guard


def build(
    session: Session,
    draft: drafts.Draft,
    report: Report,
    *,
    requires: tuple[Need, ...] = (),
    time: str | None = None,
    window: str = "",
) -> bundles.Bundle:
    """The bundle of a draft: model, its form, contract, golden rows, reference profile, lock, fullcircle's wheel.

    ``requires`` are the needs that the project declares, ``time`` the column of event time and ``window`` the length
    of a monitored batch: with both, the profile can tell how rows depend on each other.
    """
    frame, test = drafts.rows(session, draft)
    rows = rows_of(frame[test], draft.contract)
    native = drafts.scorer(session, draft)
    view = drafts.view_of(session, draft)
    with machine.one_thread():
        chosen, scorer = _formed(session, draft, native, rows)
        predictions = scorer.score(rows)
        golden = _golden(scorer, rows if view is None else _without_keys(rows, view))
    main = report.measure(draft.metric)
    saved = drafts.saved_model(session, draft)
    wheel = wheels.empty() if session.rehearsal else wheels.wheel()
    lock = (
        locks.nothing(wheel)
        if session.rehearsal
        else locks.lock(
            wheel=wheel,
            packages=(*registry.find("runtimes", draft.runtime)().packages, *saved.requirements),
            wanted=draft.wanted,
            serving=(
                *packages(requires),
                *drafts.needed(view),
                *(_online(session) if view is not None else ()),
                *issuers.packages(session),
                *(["onnxruntime"] if chosen.certificate.form == "onnx" else []),
            ),
            compiled=chosen.data is not None,
            offline=session.settings.offline,
            progress=session.progress,
        )
    )
    return bundles.build(
        model=draft.model,
        runtime=draft.runtime,
        saved=saved,
        contract=draft.contract,
        golden=golden,
        profile=profile_of(
            frame[test].reset_index(drop=True),
            predictions,
            draft.contract,
            labels=_values(frame[test], draft.contract.label),
            times=frame[test][time].reset_index(drop=True) if time is not None and time in frame.columns else None,
            window=window,
            metric=draft.metric,
            value=main.value if main else None,
            low=main.low if main else None,
            high=main.high if main else None,
        ),
        lock=lock.text,
        wheel=wheel,
        view=view,
        certificate=kept(chosen.certificate, locks.pins(lock.text)),
        compiled=chosen.data,
        compiled_lock=lock.compiled if lock.compiled != lock.text else None,  # where it spares nothing, one will do
        requires=requires,
        python=draft.wanted.python or None,
    )


def _values(frame: Any, column: str) -> list[Value] | None:
    """A column as plain values, None where it is missing; None where the frame does not have it."""
    if column not in frame.columns:
        return None
    found = frame[column]
    return list(found.astype(object).where(found.notna(), None))


def _formed(session: Session, draft: drafts.Draft, native: Scorer, rows: list[Any]) -> tuple[Chosen, Scorer]:
    """The form that will answer, and the scorer that asks it: its answers are the golden ones."""
    candidates = {} if session.rehearsal else candidates_of(draft.wanted.lines)
    chosen = choose(draft.contract, native.model, rows, seed=draft.seed, candidates=candidates)
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
