"""Status: champions, deployments, alarms and decisions at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from fullcircle.flows import foreground, split_status, steps, testing
from fullcircle.flows.deploy import behind, url_of
from fullcircle.flows.promote import waiting
from fullcircle.flows.reconcile import reconcile
from fullcircle.flows.session import Session, opened
from fullcircle.settings import Settings
from fullcircle.types.loop import Step


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """One model. ``url`` is None where no server of this workspace answers for it.

    ``waiting`` are the versions that passed their gates and that a person has to approve. ``last_tests`` says how the
    latest tests came out. ``pickled`` are the versions whose model runs code when it is loaded, with consent.
    ``last_step`` is the turn of the loop behind the last decision, with its sums, None where a person took it.
    ``split`` tells of the split or experiment that is on, or how the last one ended; "" where there was none.
    """

    name: str
    champion: int | None
    versions: tuple[int, ...]
    url: str | None
    last_window: str
    last_decision: str
    waiting: tuple[int, ...] = ()
    last_tests: str = "none"
    pickled: tuple[int, ...] = ()
    last_step: Step | None = None
    split: str = ""


@dataclass(frozen=True, kw_only=True)
class Status:
    """The workspace.

    ``notes`` say what reconciling found, an alias moved by hand among it, and which server is not as it should be.
    """

    workspace: str
    models: tuple[ModelStatus, ...]
    notes: tuple[str, ...]


def status(*, settings: Settings | None = None) -> Status:
    """Look at the workspace, after reconciling MLflow with the ledger."""
    with opened(settings, create=False) as session:
        reconcile(session)
        names = sorted(session.workspace.ledger.state().versions)
        session.notes.extend(f"the server of {name}: {why}" for name in names if (why := behind(session, name)))
        serving = foreground.running(session)
        served = serving.url or None if serving is not None else None
        return Status(
            workspace=str(session.workspace.root),
            models=tuple(_model(session, name, served) for name in names),
            notes=tuple(session.notes),
        )


def _model(session: Session, name: str, served: str | None) -> ModelStatus:
    state = session.workspace.ledger.state()
    facts = session.workspace.ledger.facts
    windows = [fact for fact in facts("window.monitored") if fact.body["model"] == name]
    decisions = [fact for fact in facts("decision.taken") if fact.body["model"] == name]
    return ModelStatus(
        name=name,
        champion=state.champions.get(name),
        versions=tuple(sorted(state.versions[name])),
        url=url_of(session, name) or served,
        last_window=f"{windows[-1].body['name']}: {windows[-1].body['alarms']} alarms" if windows else "none",
        last_decision=f"{decisions[-1].body['action']}: {decisions[-1].body['reason']}" if decisions else "none",
        waiting=waiting(session, name),
        last_tests=testing.last_of(session, name),
        pickled=tuple(number for number, one in sorted(state.versions[name].items()) if one.bundle in state.consents),
        last_step=steps.step_of(session, decisions[-1]) if decisions else None,
        split=split_status.line(session, name),
    )
