"""The workspace: one folder with the ledger, the blobs, MLflow's database and what servers and pages need."""

from __future__ import annotations

import getpass
import os
import uuid
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from fullcircle.errors import LedgerBroken, MissingExtra, SettingInvalid, WorkspaceBusy, WorkspaceUnusable
from fullcircle.ledger.blobs import Blobs
from fullcircle.ledger.bodies import LONGEST, is_text
from fullcircle.ledger.checkpoint import Checkpoints
from fullcircle.ledger.folder import LOCK, check_folder, fill, locked, read_marker, unusable, write_marker
from fullcircle.ledger.ledger import Ledger, begin, identity
from fullcircle.ledger.store import Store, open_store
from fullcircle.settings import Settings
from fullcircle.types.facts import Fact

TIMEOUT = 30.0


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """An open workspace; close it, or use it in a ``with`` statement.

    ``id`` names the workspace (its own ledger has the same id), ``mlflow_uri`` MLflow's tracking store,
    ``artifacts`` the URI under which new experiments keep files ("" where MLflow's server decides),
    ``config`` the user's config folder with the signing key, ``environments`` the folder of clean
    environments, ``served`` the file that servers follow.
    ``writable`` is False where the workspace may only be read: then every append raises WorkspaceUnusable.
    """

    root: Path
    id: str
    ledger: Ledger
    blobs: Blobs
    mlflow_uri: str
    artifacts: str
    config: Path
    environments: Path
    writable: bool

    @classmethod
    def open(cls, settings: Settings, create: bool = True) -> Workspace:
        """Open the workspace of ``settings``; with ``create`` make it, or complete it, and be sure it is writable.

        Without ``create`` nothing is written by opening, and a workspace that may only be read can be looked at.
        Several processes may open a new workspace at the same moment. Raises WorkspaceUnusable, WorkspaceTooNew,
        WorkspaceBusy, LedgerBroken, SettingInvalid, MissingExtra.
        """
        _require_lab()
        root, config = settings.workspace, _config(settings)
        try:
            if create:
                return _create(settings, root, config)
            return _look(settings, root, config)
        except OSError as error:
            if isinstance(error, WorkspaceUnusable | WorkspaceBusy):
                raise
            raise unusable(root, error.strerror or str(error)) from error

    @property
    def predictions(self) -> Path:
        """The folder of logged predictions and outcomes."""
        return self.root / "predictions"

    @property
    def pages(self) -> Path:
        """The folder of HTML pages."""
        return self.root / "pages"

    @property
    def served(self) -> Path:
        """The file that says which versions servers answer with."""
        return self.root / "served.json"

    def erase(self, digest: str, reason: str) -> Fact:
        """Delete a blob for good: the tombstone is recorded first, then the content goes. May be repeated."""
        fact = self.ledger.append("blob.deleted", {"digest": digest, "reason": reason})
        self.blobs.delete(digest)
        return fact

    def close(self) -> None:
        """Close the ledger's connections."""
        self.ledger.close()

    def __enter__(self) -> Workspace:
        """Hand itself over."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _create(settings: Settings, root: Path, config: Path) -> Workspace:
    check_folder(root)
    id = read_marker(root)
    root.mkdir(parents=True, exist_ok=True)
    if not os.access(root, os.W_OK):
        raise unusable(root, "it may only be read")
    if id is not None:
        fill(root)
        return _assemble(settings, root, config, id, create=True)
    with locked(root / LOCK, TIMEOUT):
        fill(root)
        workspace = _assemble(settings, root, config, read_marker(root), create=True)
        try:
            write_marker(root, workspace.id)
        except BaseException:
            workspace.close()
            raise
    return workspace


def _look(settings: Settings, root: Path, config: Path) -> Workspace:
    check_folder(root)
    id = read_marker(root)
    if id is None:
        raise WorkspaceUnusable(
            "there is no workspace here yet",
            received=str(root),
            next_step="make one: fullcircle run PROJECT; or name another folder with --workspace",
        )
    return _assemble(settings, root, config, id, create=False)


def _assemble(settings: Settings, root: Path, config: Path, id: str | None, *, create: bool) -> Workspace:
    ledger = _ledger(settings, root, config, id, create=create)
    try:
        return Workspace(
            root=root,
            id=id or (ledger.id if not settings["ledger"] else uuid.uuid4().hex),
            ledger=ledger,
            blobs=Blobs(_place(settings, settings["blobs"]) if settings["blobs"] else str(root / "blobs")),
            mlflow_uri=settings["mlflow"] or f"sqlite:///{root / 'mlflow.db'}",
            artifacts=_artifacts(settings, root),
            config=config,
            environments=settings.folder / (settings["environments"] or root / "environments"),
            writable=os.access(root, os.W_OK),
        )
    except BaseException:
        ledger.close()
        raise


def _artifacts(settings: Settings, root: Path) -> str:
    """Where new experiments keep files: an MLflow server decides itself; beside shared blobs; in the workspace."""
    if settings["mlflow"] and "sql" not in settings["mlflow"].partition(":")[0]:
        return ""
    if settings["mlflow"] and "://" in settings["blobs"]:
        return settings["blobs"].rstrip("/") + "-mlflow"
    return (root / "artifacts").as_uri()


def _ledger(settings: Settings, root: Path, config: Path, id: str | None, *, create: bool) -> Ledger:
    """Open the ledger. One in the workspace carries the workspace's id, a shared one says its own."""
    shared = settings["ledger"]
    url = _database(settings, shared) if shared else f"sqlite:///{root / 'ledger.db'}"
    actor, checkpoints = _actor(settings), Checkpoints(config)
    witnessed = not shared and id is not None and checkpoints.path(id).exists()
    if witnessed and not (root / "ledger.db").exists():
        raise _lost(root)
    store = open_store(url, create=create, timeout=TIMEOUT)
    try:
        found = identity(store)
        if create and found is None:
            if witnessed and not store.read(0, 1):
                raise _lost(root)
            found = _begin(store, id if id and not shared else uuid.uuid4().hex, actor, checkpoints)
    except BaseException:
        store.close()
        raise
    name = found if shared or id is None else id
    return Ledger(store, id=name or "", actor=actor, checkpoints=checkpoints, timeout=TIMEOUT)


def _begin(store: Store, id: str, actor: str, checkpoints: Checkpoints) -> str | None:
    """Write the first fact, or find that another process just did. Its checkpoint comes with the next append."""
    checkpoints.prepare()
    begin(Ledger(store, id=id, actor=actor, timeout=TIMEOUT), id)
    found = identity(store)
    first = store.read(0, 1)[0]
    if found == id:
        checkpoints.sign(id, first.seq, first.hash)
    return found


def _lost(root: Path) -> LedgerBroken:
    return LedgerBroken(
        "the ledger of this workspace is gone, but your checkpoints know its facts",
        received=str(root / "ledger.db"),
        allowed="a ledger is never made anew over a lost one",
        next_step="restore it from a backup, or begin in another folder with --workspace",
    )


def _require_lab() -> None:
    missing = [name for name in ("sqlalchemy", "cryptography", "fsspec", "platformdirs") if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            "a workspace needs libraries that are not installed",
            received=", ".join(missing),
            next_step="pip install 'fullcircle[lab]'",
        )


def _config(settings: Settings) -> Path:
    from platformdirs import user_config_path

    named = settings["config"]
    config = (settings.folder / Path(named).expanduser()).absolute() if named else user_config_path("fullcircle")
    if config.resolve().is_relative_to(settings.workspace.resolve()):
        raise SettingInvalid(
            "the config folder lies inside the workspace: whoever can change facts could sign them too",
            received=str(config),
            allowed="a folder outside of the workspace",
            next_step="change the setting config (FULLCIRCLE_CONFIG)",
        )
    return config


def _actor(settings: Settings) -> str:
    name = settings["actor"]
    if not name:
        try:
            name = getpass.getuser()
        except (OSError, KeyError, ImportError):  # no login name, as in some containers
            name = "unknown"
    if len(name) > LONGEST or not is_text(name):
        raise SettingInvalid(
            "the actor's name is too long or no text",
            received=repr(name[:80]),
            allowed=f"at most {LONGEST} characters",
            next_step="change the setting actor (FULLCIRCLE_ACTOR)",
        )
    return name


def _place(settings: Settings, url: str) -> str:
    return url if "://" in url else str((settings.folder / Path(url).expanduser()).absolute())


def _database(settings: Settings, url: str) -> str:
    """A relative SQLite path counts from the folder of the settings."""
    path = url.removeprefix("sqlite:///")
    if path == url or not path or path.startswith((":", "/")):
        return url
    return f"sqlite:///{(settings.folder / path).absolute()}"
