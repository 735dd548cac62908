"""Whether MLflow's database is of the schema that the installed MLflow writes, and bringing our own one there.

MLflow refuses some older databases and changes others without asking, and for newer ones it raises what its migration
library raises. So the revision is looked at before MLflow is.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from fullcircle.errors import TrackingUnavailable

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_VERSIONS = "alembic_version"


def stands(mlflow: Any, revision: str) -> Literal["current", "older", "unknown"]:
    """How a revision compares with the one that the installed MLflow writes; unknown: another MLflow made it."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    scripts = ScriptDirectory.from_config(_config(mlflow))
    if revision in scripts.get_heads():
        return "current"
    try:
        scripts.get_revision(revision)
    except CommandError:
        return "unknown"
    return "older"


def revision_of(uri: str) -> str | None:
    """The revision of the database at ``uri``; None for one that is not there yet, is empty, or is no database."""
    if uri.partition(":")[0].partition("+")[0] not in _DATABASES:
        return None
    path = file_of(uri)
    if path is not None and not path.exists():
        return None
    import sqlalchemy

    engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table(_VERSIONS):
            return None
        found = connection.execute(sqlalchemy.text(f"select version_num from {_VERSIONS}")).scalars().all()  # noqa: S608
    return ", ".join(found) or None


def refuse_or_upgrade(mlflow: Any, uri: str, shown: str, *, own: bool, tell: Callable[[str], None]) -> None:
    """Let a database of the installed MLflow's schema pass, and upgrade an older one that is our ``own``.

    A copy of what was there is kept beside it, and ``tell`` is told. ``shown`` is the URI without its password.
    Raises TrackingUnavailable with the words to type for any other, and where upgrading fails; the database is then
    as it was.
    """
    revision = revision_of(uri)
    standing = "current" if revision is None else stands(mlflow, revision)
    if standing == "current":
        return
    if standing == "unknown":
        raise TrackingUnavailable(
            "MLflow's database has a schema that the MLflow installed here does not know; a newer one wrote it",
            received=f"{shown}, schema {revision}",
            allowed=f"the schemas of MLflow {mlflow.__version__} and older",
            next_step="install the MLflow that wrote it: pip install --upgrade mlflow-skinny",
        )
    path = file_of(uri)
    if not own or path is None or not os.access(path.parent, os.W_OK):
        raise TrackingUnavailable(
            "MLflow's database has an older schema than the MLflow installed here; it was left untouched, because "
            + ("others may use it" if not own else "it cannot be written to"),
            received=f"{shown}, schema {revision}",
            next_step=f"take a backup, then type: mlflow db upgrade {shown}",
        )
    kept = _upgrade(mlflow, path, str(revision), shown)
    tell(f"MLflow's database was brought to the schema of MLflow {mlflow.__version__}; the one before is {kept}")


def _upgrade(mlflow: Any, path: Path, revision: str, shown: str) -> Path:
    """Upgrade a copy of the file and put it in its place: what is cut short leaves the file as it was."""
    from alembic import command
    from alembic.util import CommandError
    from sqlalchemy.exc import SQLAlchemyError

    making, keeping = (path.with_name(f".{path.name}.{word}") for word in ("upgrading", "keeping"))
    try:
        _clear(making, keeping)  # what a process that was killed left behind
        with _held(path, f"{shown}, schema {revision}"):
            copy(path, making)
            copy(path, keeping)
            config = _config(mlflow)
            config.set_main_option("sqlalchemy.url", f"sqlite:///{making}".replace("%", "%%"))
            with unsynced(making):
                command.upgrade(config, "head")
            with making.open("rb") as made:
                os.fsync(made.fileno())
            kept = _free(path.with_name(f"{path.name}.{revision}"))
            os.replace(keeping, kept)
            os.replace(making, path)
    except (SQLAlchemyError, sqlite3.Error, CommandError) as error:
        raise TrackingUnavailable(
            f"MLflow's database could not be brought to the schema of MLflow {mlflow.__version__}; it is as it was",
            received=f"{shown}, schema {revision}: {str(error).splitlines()[0][:200]}",
            next_step=f"see what MLflow says: mlflow db upgrade {shown}",
        ) from error
    finally:
        _clear(making, keeping)
    return kept


@contextmanager
def unsynced(path: Path) -> Iterator[None]:
    """Write no change of a SQLite file through to the disk: one that is cut short is made anew.

    MLflow commits 74 times while it makes its tables, and a busy disk takes up to a quarter of a second for each.
    """
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def relax(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            (_, _, file), *_ = connection.execute("PRAGMA database_list").fetchall()
            if file and os.path.samefile(file, path):
                connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", relax)
    try:
        yield
    finally:
        event.remove(Engine, "connect", relax)


@contextmanager
def _held(path: Path, received: str) -> Iterator[None]:
    """Nobody else writes to the database meanwhile: what came after the copy would be in neither file.

    Who has it open still, after another took its place, is refused by SQLite. Raises TrackingUnavailable where
    somebody is writing, or has it open with a log of writes beside it.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as held:
        try:
            held.execute("pragma journal_mode=delete")
            held.execute("begin immediate")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise TrackingUnavailable(
                "another process has MLflow's database open, which has to be upgraded; it is as it was",
                received=received,
                next_step="end that process (such as mlflow ui), then type the same again",
            ) from error
        yield


def _clear(*paths: Path) -> None:
    for path in paths:
        for each in (path, path.with_name(f"{path.name}-journal")):
            each.unlink(missing_ok=True)


def _free(path: Path) -> Path:
    """The path itself, or the first with a number behind it that nothing has yet: what was kept before stays."""
    number = 1
    while (found := path if number == 1 else path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return found


def copy(source: Path, target: Path) -> None:
    """Copy a SQLite database as a whole, also while others write to it."""
    with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there)
        # The copy stands alone: no log of writes beside it.
        there.execute("pragma journal_mode=delete")


def file_of(uri: str) -> Path | None:
    """The file of a SQLite database; None for any other."""
    if not uri.startswith("sqlite:///") or uri.startswith("sqlite:///:memory:"):
        return None
    return Path(uri.removeprefix("sqlite:///").split("?")[0])


def _config(mlflow: Any) -> Any:
    from alembic.config import Config

    config = Config()
    folder = Path(mlflow.__file__).parent / "store" / "db_migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config
