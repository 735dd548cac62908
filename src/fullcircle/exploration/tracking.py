"""Runs and model versions, kept in MLflow. What is champion is decided in the ledger and mirrored here."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullcircle.errors import RunNotFound, StateConflict, TrackingUnavailable, VersionNotFound
from fullcircle.exploration.connection import first_use, global_uri, load_mlflow, shown, speaking
from fullcircle.exploration.revision import commit
from fullcircle.exploration.runs import RunRow, TrackedRun, row
from fullcircle.ledger import processes

__all__ = ["RunRow", "TrackedRun", "Tracking"]

CHAMPION = "champion"
STATUS = "fullcircle.status"
ALIAS_SEQ = "fullcircle.alias_seq"
HOST, PROCESS, BORN = "fullcircle.host", "fullcircle.process", "fullcircle.born"
ENDED = "fullcircle.ended"
_PARENT = "mlflow.parentRunId"
_PAGE = 500


class Tracking:
    """MLflow at ``uri``; new experiments keep their artifacts under ``artifacts`` ("": where the server wants).

    Nothing is imported or connected to before the first call. One thread at a time; many processes may use the
    same store. Every method raises TrackingUnavailable where the store cannot be used. A database of an older schema
    is upgraded where it is our ``own``, which ``tell`` is told.
    """

    def __init__(
        self, uri: str, artifacts: str = "", *, own: bool = False, tell: Callable[[str], None] | None = None
    ) -> None:
        self.uri = uri
        self.artifacts = artifacts
        self._own, self._tell = own, tell
        self._opened: tuple[Any, Any] | None = None

    @contextmanager
    def run(
        self,
        model: str,
        *,
        name: str,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, object] | None = None,
        folder: Path | None = None,
    ) -> Iterator[TrackedRun]:
        """A run of the experiment ``model``, active for MLflow's own functions, so a user's autolog writes into it.

        It ends FINISHED, FAILED when an exception passes, KILLED when that is KeyboardInterrupt. A tag
        ``fullcircle.snapshot`` also becomes the run's dataset; the git commit of ``folder`` becomes a tag. Where this
        process is killed, the run says RUNNING until ``end_dead`` is called on the same machine.
        Raises StateConflict where the caller already has an active run.
        """
        mlflow, client = self._open()
        active = mlflow.active_run()
        if active is not None:
            raise StateConflict(
                "an MLflow run is active already, and a run of ours would be mixed up with it",
                received=active.info.run_id,
                next_step="end it first: mlflow.end_run()",
            )
        revision = commit(folder) if folder is not None else None
        noted = {**(tags or {}), **({"fullcircle.git": revision} if revision else {})}
        experiment = self._experiment(client, model)
        with global_uri(mlflow, self.uri):
            with speaking(self.uri):
                begun = mlflow.start_run(experiment_id=experiment, run_name=name, tags=_origin())
                run_id = begun.info.run_id
            tracked = TrackedRun(run_id, client, self.uri)
            with self._ended(mlflow, client, run_id):
                tracked.set_tags(noted)
                tracked.log_params(params or {})
                if noted.get("fullcircle.snapshot"):
                    tracked.log_snapshot(noted["fullcircle.snapshot"], model)
                yield tracked

    def log_artifact(self, run_id: str, name: str, content: bytes) -> None:
        """Add a file to a run that may have ended."""
        _, client = self._open()
        TrackedRun(run_id, client, self.uri).log_artifact(name, content)

    def log_artifacts(self, run_id: str, folder: str, files: Mapping[str, bytes]) -> None:
        """Add files below ``folder`` of a run that may have ended; their names may have folders of their own."""
        _, client = self._open()
        with tempfile.TemporaryDirectory() as temporary, speaking(self.uri):
            for name, content in files.items():
                path = Path(temporary) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            client.log_artifacts(run_id, temporary, artifact_path=folder)

    def download(self, address: str, folder: Path) -> Path:
        """Copy the files of ``models:/NAME/3``, ``models:/NAME@ALIAS`` or ``runs:/RUN/PATH`` into ``folder``.

        Returns where they are. Raises TrackingUnavailable where there is nothing at this address.
        """
        mlflow, _ = self._open()
        with global_uri(mlflow, self.uri), speaking(self.uri):
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(folder)))

    def leaderboard(self, model: str) -> tuple[RunRow, ...]:
        """All runs of a model, the latest first. A model without runs has an empty one."""
        _, client = self._open()
        with speaking(self.uri):
            return tuple(row(run, model) for run in _runs(client, model, "attributes.start_time DESC"))

    def end_dead(self, model: str) -> tuple[str, ...]:
        """Mark runs KILLED that say RUNNING and whose process on this machine is gone. Returns their ids.

        So are runs that such a run began within itself, as an autolog does. A tag says why. Runs of other machines
        and containers, and those that were not begun by ``run``, are left alone: nobody here knows how they fare.
        """
        _, client = self._open()
        ended: list[str] = []
        with speaking(self.uri):
            # The latest first: what began within a run is ended before that run, so none is lost where this is cut.
            for number in _dead(_runs(client, model, "attributes.start_time DESC", "attributes.status = 'RUNNING'")):
                # It may have ended well since it was looked for; its process is gone, so this is the last word.
                if client.get_run(number).info.status == "RUNNING":
                    client.set_tag(number, ENDED, "its process is gone: it was killed, or the machine stopped")
                    client.set_terminated(number, "KILLED")
                    ended.append(number)
        return tuple(ended)

    def get(self, run_id: str) -> RunRow:
        """One run by its whole id. Raises RunNotFound."""
        _, client = self._open()
        with speaking(self.uri):
            run = _or_none(client.get_run, run_id)
            if run is not None:
                return row(run, client.get_experiment(run.info.experiment_id).name)
        raise RunNotFound("no run has this id", received=repr(run_id), next_step="see: fullcircle runs PROJECT")

    def register(self, model: str, run_id: str, bundle_digest: str, tags: Mapping[str, str] | None = None) -> int:
        """Make the next version of the registered model, as pending. Returns its number.

        Its source is the folder ``bundle`` of the run's artifacts. Raises RunNotFound.
        """
        _, client = self._open()
        with speaking(self.uri):
            run = _or_none(client.get_run, run_id)
            if run is None:
                raise RunNotFound("no run has this id", received=repr(run_id), next_step="train a model first")
            if _or_none(client.get_registered_model, model) is None:
                _or_existing(client.create_registered_model, model)
            made = client.create_model_version(
                model,
                source=f"{run.info.artifact_uri}/bundle",
                run_id=run_id,
                tags={**(tags or {}), "fullcircle.bundle": bundle_digest, STATUS: "pending"},
                await_creation_for=0,
            )
        return int(made.version)

    def confirm(self, model: str, version: int, seq: int) -> None:
        """Mark a version as registered by the ledger's fact ``seq``."""
        self._mark(model, version, {STATUS: "confirmed", "fullcircle.seq": str(seq)})

    def abandon(self, model: str, version: int) -> None:
        """Mark a version that no fact knows. It is not deleted: its number must never be given again."""
        self._mark(model, version, {STATUS: "abandoned"})

    def pending(self, model: str, *, older_than: float = 0.0) -> tuple[int, ...]:
        """The versions begun at least so many seconds ago and neither confirmed nor abandoned, in order."""
        _, client = self._open()
        latest = (time.time() - older_than) * 1000
        versions: list[int] = []
        with speaking(self.uri):
            token = None
            while True:
                page = client.search_model_versions(f"name = '{model}'", max_results=_PAGE, page_token=token)
                versions += [
                    int(each.version)
                    for each in page
                    if each.tags.get(STATUS) == "pending" and each.creation_timestamp <= latest
                ]
                token = page.token
                if not token:
                    return tuple(sorted(versions))

    def set_champion(self, model: str, version: int, seq: int) -> None:
        """Point the alias "champion" at a version, and say by which fact. Raises VersionNotFound."""
        _, client = self._open()
        with speaking(self.uri):
            self._known(client, model, version)
            client.set_registered_model_alias(model, CHAMPION, str(version))
            client.set_registered_model_tag(model, ALIAS_SEQ, str(seq))

    def alias(self, model: str) -> tuple[int | None, int | None]:
        """Where the alias "champion" points, and the fact that we last set it by; None for what is not there."""
        _, client = self._open()
        with speaking(self.uri):
            found = _or_none(client.get_registered_model, model)
        if found is None:
            return None, None
        version, seq = dict(found.aliases).get(CHAMPION), found.tags.get(ALIAS_SEQ, "")
        return (None if version is None else int(version)), (int(seq) if seq.isdecimal() else None)

    def _open(self) -> tuple[Any, Any]:
        if self._opened is None:
            mlflow = load_mlflow()
            self._opened = (mlflow, first_use(mlflow, self.uri, own=self._own, tell=self._tell))
        return self._opened

    def _experiment(self, client: Any, model: str) -> str:
        with speaking(self.uri):
            found = client.get_experiment_by_name(model)
            if found is None:
                place = f"{self.artifacts.rstrip('/')}/{model}" if self.artifacts else None
                # Another process may be faster; then its experiment is ours too.
                _or_existing(client.create_experiment, model, artifact_location=place)
                found = client.get_experiment_by_name(model)
        if found.lifecycle_stage != "active":
            raise TrackingUnavailable(
                f"the MLflow experiment {model!r} was deleted",
                received=shown(self.uri),
                next_step=f"bring it back: mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)

    @contextmanager
    def _ended(self, mlflow: Any, client: Any, run_id: str) -> Iterator[None]:
        """End the run with the right status, whatever the code within left active or ended itself."""
        try:
            yield
        except BaseException as error:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            try:
                self._end(mlflow, client, run_id, status)
            except TrackingUnavailable as second:
                error.add_note(f"the run {run_id} could not be marked {status}: {second.what}")
            raise
        self._end(mlflow, client, run_id, "FINISHED")

    def _end(self, mlflow: Any, client: Any, run_id: str, status: str) -> None:
        with speaking(self.uri):
            while mlflow.active_run() is not None:
                mlflow.end_run(status)
            client.set_terminated(run_id, status)

    def _mark(self, model: str, version: int, tags: Mapping[str, str]) -> None:
        _, client = self._open()
        with speaking(self.uri):
            self._known(client, model, version)
            for name, value in tags.items():
                client.set_model_version_tag(model, str(version), name, value)

    def _known(self, client: Any, model: str, version: int) -> None:
        if _or_none(client.get_model_version, model, str(version)) is None:
            raise VersionNotFound(
                f"MLflow has no version {version} of {model}",
                received=str(version),
                next_step=f"see: fullcircle runs {model}",
            )


def _origin() -> dict[str, str]:
    """Tags that tell which process a run belongs to."""
    number = os.getpid()
    return {HOST: processes.place(), PROCESS: str(number), BORN: processes.born(number)}


def _dead(running: list[Any]) -> list[str]:
    """The runs whose process was on this machine and is gone, and those begun within them, in the same order."""
    here = processes.place()
    tags: dict[str, Mapping[str, str]] = {run.info.run_id: run.data.tags for run in running}

    def dead(number: str) -> bool:
        mine = tags[number]
        if mine.get(_PARENT, "") in tags and HOST not in mine:
            return dead(mine[_PARENT])
        process, born = mine.get(PROCESS, ""), mine.get(BORN, "")
        known = mine.get(HOST) == here and process.isdecimal() and born != ""
        return known and processes.born(int(process)) != born

    return [number for number in tags if dead(number)]


def _runs(client: Any, model: str, order: str, wanted: str = "") -> list[Any]:
    """All runs of a model's experiment that are wanted, in this order."""
    found: list[Any] = []
    experiment = client.get_experiment_by_name(model)
    token = None
    while experiment is not None:
        page = client.search_runs(
            [experiment.experiment_id], filter_string=wanted, order_by=[order], max_results=_PAGE, page_token=token
        )
        found += page
        token = page.token
        if not token:
            break
    return found


def _or_none(ask: Any, *words: Any) -> Any:
    """The answer, or None where MLflow says that there is no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return ask(*words)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND"):
            return None
        raise


def _or_existing(make: Any, *words: Any, **named: Any) -> None:
    """Make it, unless it is there already."""
    from mlflow.exceptions import MlflowException

    try:
        make(*words, **named)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
