"""MLflow databases of older and newer schemas, made by MLflow's own migrations."""

from __future__ import annotations

import hashlib
import resource
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fullcircle.errors import TrackingUnavailable
from fullcircle.exploration import schema
from fullcircle.exploration.tracking import Tracking

# Before tables that MLflow makes without asking where they are missing.
OLDER = "da6fb0208061"


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as an MLflow of before 3.13 left it, with one experiment and one run in it."""
    import sqlalchemy
    from alembic import command
    from alembic.config import Config
    from mlflow.store import db_migrations
    from mlflow.store.tracking.dbmodels.initial_models import Base

    path = tmp_path_factory.mktemp("older") / "mlflow.db"
    config = Config()
    config.set_main_option("script_location", next(iter(db_migrations.__path__)))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}")
    with schema.unsynced(path):
        engine = sqlalchemy.create_engine(f"sqlite:///{path}", poolclass=sqlalchemy.NullPool)
        Base.metadata.create_all(engine)
        command.upgrade(config, OLDER)
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "insert into experiments (experiment_id, name, artifact_location, lifecycle_stage) "
            "values (1, 'houses', '/nowhere', 'active')"
        )
        database.execute(
            "insert into runs (run_uuid, name, status, start_time, lifecycle_stage, experiment_id, user_id, "
            "source_type, artifact_uri) "
            "values ('aaaa', 'old', 'FINISHED', 1700000000000, 'active', 1, 'someone', 'LOCAL', '/nowhere')"
        )
        database.commit()
    return path


@pytest.fixture
def place(older: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(older, tmp_path / "mlflow.db"))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def revision(path: Path) -> Any:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("select version_num from alembic_version").fetchone()[0]


def become(path: Path, name: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("update alembic_version set version_num = ?", (name,))
        database.commit()


def test_a_shared_database_of_an_older_schema_is_refused_untouched_with_the_words_to_type(place: Path) -> None:
    before = digest(place)
    with pytest.raises(TrackingUnavailable, match="older schema") as caught:
        Tracking(f"sqlite:///{place}").leaderboard("houses")
    assert str(caught.value.next_step) == f"take a backup, then type: mlflow db upgrade sqlite:///{place}"
    assert OLDER in str(caught.value.received)
    assert digest(place) == before


def test_our_own_is_upgraded_with_what_it_holds_and_the_one_before_is_kept(place: Path) -> None:
    told: list[str] = []
    before = place.read_bytes()
    place.with_name(f"mlflow.db.{OLDER}").write_bytes(b"kept once, by whoever")
    own = Tracking(f"sqlite:///{place}", place.parent.as_uri(), own=True, tell=told.append)
    assert [row.name for row in own.leaderboard("houses")] == ["old"]
    with own.run("houses", name="new"):
        pass
    assert {row.name for row in own.leaderboard("houses")} == {"old", "new"}
    kept = place.with_name(f"mlflow.db.{OLDER}.2")
    assert revision(kept) == OLDER
    assert place.read_bytes() != before
    with closing(sqlite3.connect(kept)) as database:
        assert database.execute("select name from runs").fetchall() == [("old",)]
    assert len(told) == 1
    assert str(kept) in told[0]
    assert {path.name for path in place.parent.iterdir() if path.is_file()} == {
        "mlflow.db",
        "mlflow.db.lock",
        f"mlflow.db.{OLDER}",
        kept.name,
    }
    assert place.with_name(f"mlflow.db.{OLDER}").read_bytes() == b"kept once, by whoever"
    Tracking(f"sqlite:///{place}", own=True, tell=told.append).leaderboard("houses")
    assert len(told) == 1


@pytest.mark.parametrize("own", [False, True])
def test_a_newer_database_is_refused_and_nobody_is_told_to_upgrade_it(place: Path, own: bool) -> None:
    become(place, "ffffffffffff")
    before = digest(place)
    with pytest.raises(TrackingUnavailable, match="newer one wrote it") as caught:
        Tracking(f"sqlite:///{place}", own=own).leaderboard("houses")
    assert "mlflow db upgrade" not in str(caught.value)
    assert "pip install --upgrade mlflow-skinny" in str(caught.value.next_step)
    assert digest(place) == before


def test_a_database_that_cannot_be_upgraded_is_as_it_was(place: Path) -> None:
    with closing(sqlite3.connect(place)) as database:
        database.execute("create table review_queues (unexpected integer)")  # a migration will not be able to make it
        database.commit()
    before = digest(place)
    with pytest.raises(TrackingUnavailable, match="could not be brought") as caught:
        Tracking(f"sqlite:///{place}", own=True).leaderboard("houses")
    assert f"mlflow db upgrade sqlite:///{place}" in str(caught.value.next_step)
    assert digest(place) == before
    assert [path.name for path in place.parent.iterdir() if path.name != "mlflow.db.lock"] == ["mlflow.db"]


def test_a_database_that_another_process_has_open_is_not_replaced(place: Path) -> None:
    with closing(sqlite3.connect(place)) as other:
        other.execute("pragma journal_mode=wal")
        other.execute("insert into experiments (experiment_id, name) values (7, 'unseen')")
        other.commit()
        with pytest.raises(TrackingUnavailable, match="another process has"):
            Tracking(f"sqlite:///{place}", own=True).leaderboard("houses")
        assert other.execute("select count(*) from experiments").fetchone() == (2,)


def test_what_is_written_while_it_is_upgraded_is_refused_and_not_lost(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, heard = schema.copy, []

    def copy(source: Path, target: Path) -> None:
        real(source, target)
        with closing(sqlite3.connect(place, timeout=0.0)) as other:
            try:
                other.execute("insert into experiments (experiment_id, name) values (9, 'late')")
            except sqlite3.OperationalError as error:
                heard.append(str(error))

    monkeypatch.setattr(schema, "copy", copy)
    with closing(sqlite3.connect(place, timeout=0.0)) as open_still:
        assert open_still.execute("select count(*) from experiments").fetchone() == (1,)
        Tracking(f"sqlite:///{place}", own=True).leaderboard("houses")
        assert heard == ["database is locked"] * 2
        with pytest.raises(sqlite3.OperationalError, match="readonly"):  # its file has another name now
            open_still.execute("insert into experiments (experiment_id, name) values (9, 'late')")
    with closing(sqlite3.connect(place)) as after:
        after.execute("insert into experiments (experiment_id, name) values (9, 'late')")


def test_a_database_that_is_being_written_to_is_not_upgraded(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: real(*given, **{**named, "timeout": 0.0}))
    with closing(real(place)) as other:
        other.execute("insert into experiments (experiment_id, name) values (7, 'half')")
        with pytest.raises(TrackingUnavailable, match="another process has"):
            schema.refuse_or_upgrade(_mlflow(), f"sqlite:///{place}", "shown", own=True, tell=lambda _: None)
        other.commit()
        assert other.execute("select count(*) from experiments").fetchone() == (2,)
    assert revision(place) == OLDER


@pytest.mark.parametrize("room", [0.5, 1.01])
def test_where_the_disk_is_full_it_is_as_it_was(place: Path, room: float) -> None:
    before, names = digest(place), {path.name for path in place.parent.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(place.stat().st_size * room), hard))
    try:
        with pytest.raises(TrackingUnavailable, match="could not be brought"):
            schema.refuse_or_upgrade(_mlflow(), f"sqlite:///{place}", "shown", own=True, tell=lambda _: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert digest(place) == before
    assert {path.name for path in place.parent.iterdir()} == names


def test_of_two_who_find_it_older_one_upgrades_and_the_other_waits(place: Path) -> None:
    told: list[str] = []
    found: list[Any] = []

    def look() -> None:
        found.append(Tracking(f"sqlite:///{place}", own=True, tell=told.append).leaderboard("houses"))

    callers = [threading.Thread(target=look) for _ in range(2)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert [[row.name for row in rows] for rows in found] == [["old"], ["old"]]
    assert len(told) == 1
    assert sorted(path.name for path in place.parent.glob("mlflow.db.*")) == [f"mlflow.db.{OLDER}", "mlflow.db.lock"]


def _mlflow() -> Any:
    from fullcircle.exploration.connection import load_mlflow

    return load_mlflow()


def test_no_database_has_no_revision(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "empty.db").close()
    assert schema.revision_of(f"sqlite:///{tmp_path}/empty.db") is None
    assert schema.revision_of(f"sqlite:///{tmp_path}/none.db") is None
    assert schema.revision_of("http://127.0.0.1:9") is None
    assert schema.file_of("sqlite:///:memory:") is None
