"""Why: from a prediction back to everything that made it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fullcircle.features.origins import Origin
from fullcircle.flows import consent, data, drafts, reasons, steps, versions, views
from fullcircle.flows.session import Session, opened
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.types.bundle import Proof
from fullcircle.types.facts import Fact
from fullcircle.types.loop import Step
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.report import Report
from fullcircle.types.turn import Snapshot


@dataclass(frozen=True, kw_only=True)
class Why:
    """The way from a prediction to its origins.

    ``decisions`` are the facts that made its version champion, ``approvals`` those by which somebody approved it,
    ``features`` where looked-up features came from. ``reasons`` say in sentences what made the prediction what it is,
    and ``reasons_note`` why there are none. ``erased`` is the fact that its values were erased from the log, and why.
    ``consent`` is the fact by which somebody consented to a model that runs code when it is loaded. ``steps`` are the
    turns of the loop behind the decisions, with the sums that they rested on.
    """

    prediction: Prediction
    outcome: Outcome | None
    bundle: str
    proof: Proof
    run: str
    code: str
    candidate: str
    report: Report
    decisions: tuple[Fact, ...]
    snapshot: Snapshot
    features: tuple[Origin, ...] = ()
    approvals: tuple[Fact, ...] = ()
    reasons: tuple[str, ...] = ()
    reasons_note: str = ""
    erased: Fact | None = None
    consent: Fact | None = None
    steps: tuple[Step, ...] = ()


def why(prediction_id: str, *, settings: Settings | None = None) -> Why:
    """Trace a logged prediction. Raises PredictionNotFound."""
    with opened(settings, create=False) as session:
        prediction = log.find(session.workspace.predictions, prediction_id)
        model, number = prediction.model, prediction.version
        version = versions.find(session, model, number)
        draft = drafts.of_run(session, version.run)
        every = [*session.workspace.ledger.facts()]
        facts = [
            fact
            for fact in every
            if fact.kind in ("version.approved", "version.promoted", "version.rolled_back", "decision.taken")
            and fact.body.get("model") == model
            and fact.body.get("version") == number
        ]
        sentences, note = _reasons(session, draft, prediction)
        return Why(
            prediction=prediction,
            outcome=log.read_outcomes(session.workspace.predictions, model).get(prediction_id),
            bundle=version.bundle,
            proof=session.recall(version.proof, Proof),
            run=version.run,
            code=draft.code_version,
            candidate=draft.candidate,
            report=session.recall(version.report, Report),
            decisions=tuple(fact for fact in facts if fact.kind != "version.approved"),
            approvals=tuple(fact for fact in facts if fact.kind == "version.approved"),
            snapshot=data.find(session, version.snapshot),
            features=views.origins_of(session, drafts.view_of(session, draft), prediction),
            reasons=sentences,
            reasons_note=note,
            erased=next(
                (one for one in every if prediction.erased and one.body.get("mark") == prediction.erased), None
            ),
            consent=consent.of(session, version.bundle),
            steps=tuple(
                step
                for fact in facts
                if fact.kind == "decision.taken" and (step := steps.step_of(session, fact)) is not None
            ),
        )


def _reasons(session: Session, draft: drafts.Draft, prediction: Prediction) -> tuple[tuple[str, ...], str]:
    if prediction.erased:
        return (), "the row was erased"
    hashes = {column.name for column in draft.contract.columns if column.hashed}
    shown = {name: value for name, value in (prediction.inputs or {}).items() if name not in hashes}
    return reasons.for_prediction(session, draft, replace(prediction, inputs=shown) if hashes else prediction)
