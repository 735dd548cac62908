"""A champion that changes while its server runs: its environment is made before, and the server moves into it."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from fullcircle.errors import FullcircleError, ServerFailed
from fullcircle.flows import consent, deploy, issuers, needs, versions
from fullcircle.flows.session import Session
from fullcircle.packaging import proof as proofs
from fullcircle.packaging.bundle import Bundle
from fullcircle.types.bundle import Proof
from fullcircle.types.needs import Need, variables

_TARGET = "local"


def make_ready(session: Session, model: str, version: int) -> None:
    """See that a version can answer before it becomes champion.

    Its bundle is read and audited. Where a server of the model runs here, the version's environment is there
    afterwards; one that had to be built again has answered the golden rows once more, with the same bits. What it
    needs is asked for, as before a deployment; where the server just follows, only what it does not need already: a
    need that both have would make nothing worse, and neither would a server that takes no tokens already. Raises
    BlobMissing, BlobCorrupt, BundleInvalid, LockFailed, ProofFailed, NeedUnmet or MissingExtra, and nothing has
    changed then.
    """
    bundle = versions.bundle(session, model, version)
    if not _runs(session, model):
        return
    stays = _stays(session, model, version, bundle)
    if not stays:
        issuers.check_environment(session, f"{model} version {version}", bundle.lock)
    known = _environment(session, model, version)
    home = session.workspace.environments / known
    there = bool(known) and (home / "bin" / "python").exists()
    python = proofs.environment(
        bundle, session.workspace.environments, offline=session.settings.offline, progress=session.progress
    )
    if not there:
        digest = versions.find(session, model, version).bundle
        proofs.prove(bundle, python, allow_pickle=consent.given(session, digest))
    needs.before_deploy(session, bundle, python, known=_known(session, model) if stays else ())


def follow(session: Session, model: str) -> None:
    """Have the model's server, where one runs here, answer from the environment of the champion.

    A server follows a champion by itself. Where the champion was proven in another environment than the one that it
    runs in, or reads variables that the server was not given, a new server takes its place on the same port. Raises
    ServerFailed where that cannot answer; the old one goes on then, and the champion is what it is.
    """
    if not _runs(session, model):
        return
    noted = session.workspace.ledger.state().deployments[model]
    champion = versions.champion(session, model)
    if _stays(session, model, champion, versions.bundle(session, model, champion)):
        return
    port = urlsplit(str(noted["url"])).port or session.settings.port
    moved = replace(
        session, settings=replace(session.settings, values={**session.settings.values, "port": str(port)})
    )
    try:
        deploy.deploy_in(moved, model)
    except FullcircleError as error:
        raise ServerFailed(
            f"version {champion} of {model} is champion now, but no new server took over: {error.what}",
            received=error.received,
            allowed=error.allowed,
            next_step=f"{error.next_step}; then fullcircle deploy {model}. The old server goes on at {noted['url']}, "
            f"with the version that it can answer; to leave it at that: fullcircle rollback {model}",
        ) from error
    finally:
        if "features" in vars(moved):
            moved.features.close()


def _runs(session: Session, model: str) -> bool:
    noted = session.workspace.ledger.state().deployments.get(model)
    return noted is not None and noted.get("target") == _TARGET and deploy.process_of(session, model) > 0


def _stays(session: Session, model: str, version: int, bundle: Bundle) -> bool:
    """Whether the server that runs can answer by the version: it has its environment, and its variables."""
    before = int(session.workspace.ledger.state().deployments[model]["version"])
    given = set(variables(bundle.needs)) <= set(variables(_known(session, model)))
    return given and _environment(session, model, before) == _environment(session, model, version)


def _known(session: Session, model: str) -> tuple[Need, ...]:
    """The needs that the server was deployed with; none where that bundle is lost: one must be able to go back."""
    try:
        version = int(session.workspace.ledger.state().deployments[model]["version"])
        return versions.bundle(session, model, version).needs
    except FullcircleError:
        return ()


def _environment(session: Session, model: str, version: int) -> str:
    """The name of the environment that a version was proven in."""
    return session.recall(versions.find(session, model, version).proof, Proof).environment
