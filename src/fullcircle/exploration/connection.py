"""How MLflow is loaded, opened and spoken to: late, quietly, and with our own errors."""

from __future__ import annotations

import errno
import fcntl
import importlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fullcircle.errors import MissingExtra, TrackingUnavailable
from fullcircle.exploration import schema

# Set for this process before MLflow is imported, and only where the user has not said otherwise. Telemetry
# is off because nobody was asked. A server that does not answer is given up after seconds, not the four
# minutes of MLflow's default, and MLflow's links and bars are not printed between our own lines.
_SURROUNDING = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_LOGGERS = ("alembic", "mlflow")


def load_mlflow() -> Any:
    """The module ``mlflow``. Raises MissingExtra where it is not installed."""
    for name, value in _SURROUNDING.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("mlflow")
    except ImportError as error:
        raise MissingExtra(
            f"runs are tracked with MLflow, which cannot be imported: {error}",
            next_step='install it: pip install "fullcircle[lab]"',
        ) from error


def first_use(mlflow: Any, uri: str, *, own: bool = False, tell: Callable[[str], None] | None = None) -> Any:
    """A client whose database exists and is of the right schema. Making or upgrading one takes some seconds.

    A database of an older schema is upgraded where it is our ``own``, and ``tell`` is told; otherwise it is refused.
    """
    with speaking(uri), _alone(uri), _quiet():
        path = schema.file_of(uri)
        if path is not None and not path.exists() and os.access(path.parent, os.W_OK):
            _make(mlflow, path)
        schema.refuse_or_upgrade(mlflow, uri, shown(uri), own=own, tell=tell or (lambda _: None))
        return _client(mlflow, uri)


def _client(mlflow: Any, uri: str) -> Any:
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)
    return client


def _make(mlflow: Any, path: Path) -> None:
    """Make a SQLite database as a whole or not at all: MLflow cannot go on with one whose making was cut short."""
    making, made = (path.with_name(f".{path.name}.{word}") for word in ("making", "made"))
    try:
        for rest in (making, path.with_name(f"{making.name}-journal")):
            rest.unlink(missing_ok=True)  # what a process that was killed left behind
        with schema.unsynced(making):
            _client(mlflow, f"sqlite:///{making}")
        # A copy, because MLflow keeps its connection to the first file open.
        shutil.copyfile(making, made)
        os.replace(made, path)
    finally:
        making.unlink(missing_ok=True)


@contextmanager
def speaking(uri: str) -> Iterator[None]:
    """Turn whatever MLflow or its database raises into TrackingUnavailable."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise _translated(error, uri) from error


@contextmanager
def global_uri(mlflow: Any, uri: str) -> Iterator[None]:
    """Point MLflow's fluent functions (``mlflow.log_metric``, autolog) here, and back afterwards.

    MLflow keeps the URI both in the module and in the environment variable; a URI that came from the
    environment alone goes back to exactly that.
    """
    variable = "MLFLOW_TRACKING_URI"
    written = os.environ.get(variable)
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None if before == written else before)
        if written is not None:
            os.environ[variable] = written


def shown(uri: str) -> str:
    """The URI without its password."""
    return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", uri)


@contextmanager
def _quiet() -> Iterator[None]:
    """Creating a database is no news to the user: one line per migration stays out of the terminal."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """One process at a time makes the tables of a SQLite file; the others wait and find them made."""
    path = schema.file_of(uri)
    if path is None:
        yield
        return
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        # A database that cannot be written to needs no lock: it is read, or refused by SQLite itself.
        if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        yield
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _translated(error: Exception, uri: str) -> TrackingUnavailable:
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "out-of-date database schema" in said:
        return TrackingUnavailable(
            "MLflow's database has another schema than the MLflow that is installed here",
            received=said.split(". ")[0],
            next_step=(
                f"take a backup, then type: mlflow db upgrade {shown(uri)} "
                "(if a newer MLflow wrote it, upgrade mlflow-skinny instead)"
            ),
        )
    return TrackingUnavailable(
        f"MLflow's store could not be used: {shown(said)[:500]}",
        received=shown(uri),
        next_step="see that it can be reached and written to, or choose another with the setting mlflow",
    )
