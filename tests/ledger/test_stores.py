"""The built-in stores pass the public suite, and say clearly what is wrong with their place."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fullcircle.errors import LedgerBroken, PluginUnknown, SettingInvalid, WorkspaceUnusable
from fullcircle.ledger.sqlite import SqliteStore
from fullcircle.ledger.store import Line, Store, canonical, line_hash, open_store
from fullcircle.testing.stores import StoreSuite, add


class TestSqlite(StoreSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/a folder/with % and ü/ledger.db"


class TestPostgres(StoreSuite):
    @pytest.fixture
    def place(self, postgres: Callable[[], str]) -> str:
        return postgres()


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a.db?mode=ro", "nothing"]
)
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(SettingInvalid, match="URL") as caught:
        open_store(url, create=True)
    assert "sqlite:///" in str(caught.value.allowed)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(PluginUnknown) as caught:
        open_store("oracle://host/db", create=True)
    assert caught.value.allowed == "postgresql, sqlite"


def test_a_postgres_url_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(SettingInvalid):
        open_store("postgresql://host:noport/db", create=True)


def test_a_postgres_server_that_is_not_there() -> None:
    with pytest.raises(WorkspaceUnusable, match="database cannot be used") as caught:
        open_store("postgresql://me:secret@127.0.0.1:1/none", create=True, timeout=2)
    assert "secret" not in str(caught.value)


def test_a_postgres_user_who_may_only_read_can_read(postgres: Callable[[], str]) -> None:
    import psycopg

    url = postgres()
    with opened(url) as store:
        line = add(store)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN")
        connection.execute("GRANT SELECT ON fullcircle_facts TO reader")
    with opened(url.replace("fc:secret", "reader")) as store:
        assert list(store.read(0, 10)) == [line]
        with pytest.raises(WorkspaceUnusable, match="permission denied"):
            add(store)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_a_connection_that_was_cut_is_an_error_and_then_forgotten(postgres: Callable[[], str]) -> None:
    url = postgres()
    with opened(url) as store:
        add(store)
        with pytest.raises(WorkspaceUnusable):
            read_while_cut(store, url)
        assert add(store).seq == 2


def test_a_file_that_is_no_database_is_a_broken_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"these are not the facts you are looking for " * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerBroken, match="damaged"):
        open_store(f"sqlite:///{path}", create=True)
    assert path.read_bytes() == before


def test_a_damaged_page_is_a_broken_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with opened(f"sqlite:///{path}") as store:
        for _ in range(200):
            add(store, canonical({"what": "x" * 400}))
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with opened(f"sqlite:///{path}") as store, pytest.raises(LedgerBroken):
        store.read(0, 1000)


def test_sqlite_is_set_to_survive_a_power_cut(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/ledger.db") as store:
        assert isinstance(store, SqliteStore)
        with store._engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_a_folder_in_the_way_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(WorkspaceUnusable):
        open_store(f"sqlite:///{tmp_path}/ledger.db", create=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkspaceUnusable):
        open_store(f"sqlite:///{tmp_path}/file/ledger.db", create=True)


def test_the_hash_is_over_previous_and_everything_else() -> None:
    line = Line(3, "2026-01-01T00:00:00.000000Z", "ü", "reconciled", '{"what":"x"}', "a" * 64, "")
    text = (
        "a" * 64 + '{"actor":"\\u00fc","body":{"what":"x"},"kind":"reconciled","seq":3,'
        '"time":"2026-01-01T00:00:00.000000Z"}'
    )
    assert line_hash(line) == hashlib.sha256(text.encode()).hexdigest()


def test_a_missing_driver_says_which_extra_to_install() -> None:
    code = """
import sys
sys.modules["psycopg"] = None
from fullcircle.errors import MissingExtra
from fullcircle.ledger.store import open_store
try:
    open_store("postgresql://localhost/x", create=True)
except MissingExtra as error:
    print(error.next_step)
"""
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "pip install 'fullcircle[postgres]'"


def read_while_cut(store: Store, url: str) -> None:
    import psycopg

    with store.writing() as writing:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        writing.read(0, 1)


@contextmanager
def opened(url: str) -> Iterator[Store]:
    store = open_store(url, create="reader" not in url)
    try:
        yield store
    finally:
        store.close()
