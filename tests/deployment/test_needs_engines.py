"""Needs that are real servers: PostgreSQL, Redis as an online store."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from features.conftest import _redis_server
from fullcircle.deployment.needs.checking import Checker
from fullcircle.features.online import open_online
from fullcircle.types.needs import Checked, Need
from ledger.conftest import postgres

__all__ = ["postgres"]
SECRET = "s3cr3t-geheim"


def check(at: str, kind: str = "database", limit: float = 5.0, online: str = "", **said: str) -> Checked:
    """The check of a place that stands in a variable, as one with a password has to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLACE", at)
        need = Need(name="it", kind=kind, at="env:PLACE" if at else "", **said)  # type: ignore[arg-type]
        (found,) = Checker(limit=limit, online=online).check((need,))
    assert SECRET not in repr(found)
    assert found.status == "ok" or found.next_step
    return found


@dataclass(frozen=True)
class Postgres:
    """A server that lets the role guarded in with its password only."""

    url: str
    admin: str
    pid: int


@pytest.fixture(scope="module")
def server(postgres: Callable[[], str]) -> Postgres:
    psycopg = pytest.importorskip("psycopg")
    admin = postgres()
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f"create role guarded login password '{SECRET}'")
        (hba,), (data,) = (connection.execute(f"show {name}").fetchone() for name in ("hba_file", "data_directory"))
        path = Path(hba)
        path.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + path.read_text())
        connection.execute("select pg_reload_conf()")
    pid = int((Path(data) / "postmaster.pid").read_text().splitlines()[0])
    found = Postgres(admin.replace("fc:secret@", f"guarded:{SECRET}@"), admin, pid)
    deadline = time.monotonic() + 10
    while check(found.url.replace(SECRET, "wrong")).status == "ok":  # until it has read its file again
        assert time.monotonic() < deadline
    return found


class TestPostgres:
    def test_one_that_lets_us_in(self, server: Postgres) -> None:
        found = check(server.url, version=">=9", within="2s")
        assert found.status == "ok"
        assert "lets us in" in found.what
        assert "version 1" in found.what
        for scheme in ("postgresql+psycopg", "postgres"):
            assert check(server.url.replace("postgresql", scheme)).status == "ok"

    def test_of_another_version(self, server: Postgres) -> None:
        found = check(server.url, version="<9")
        assert (found.status, found.allowed) == ("failed", "<9")

    @pytest.mark.parametrize(
        ("before", "after", "word"),
        [
            (SECRET, "wrong", "refuses who asks"),
            (f":{SECRET}", "", "refuses who asks"),
            ("guarded", "nobody-of-this-name", "refuses who asks"),
            ("/t", "/no-such-", "no database of this name"),
            ("/t0", "/t0?strange=1", "cannot be used"),
        ],
    )
    def test_one_that_does_not(self, server: Postgres, before: str, after: str, word: str) -> None:
        path = urlsplit(server.url).path
        found = check(server.url.replace(before if before[0] != "/" else path, after))
        assert (found.status, word in found.what) == ("failed", True), found
        assert "geheim" not in repr(found)

    def test_nothing_is_written(self, server: Postgres) -> None:
        import psycopg

        with psycopg.connect(server.admin) as connection:
            before = connection.execute("select xact_commit, tup_inserted from pg_stat_database").fetchall()
            assert check(server.url).status == "ok"
            after = connection.execute("select xact_commit, tup_inserted from pg_stat_database").fetchall()
        assert [row[1] for row in before] == [row[1] for row in after]

    def test_one_that_hangs_is_given_up(self, server: Postgres) -> None:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            found = check(server.url, limit=0.4)
            assert ("no answer within" in found.what, time.monotonic() - begun < 1.5) == (True, True)
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert check(server.url).status == "ok"

    def test_as_the_place_of_mlflow(self, server: Postgres) -> None:
        found = check(server.url, kind="mlflow")
        assert (found.status, "MLflow's database" in found.what) == ("ok", True)


class TestRedis:
    def test_a_store_that_nobody_published_to_one_that_is_used_and_one_that_is_gone(self) -> None:
        pytest.importorskip("redis")
        with _redis_server() as (url, process):
            assert check(url, kind="features").status == "failed"
            open_online(url).close()
            for found in (check(url, kind="features"), check("", kind="features", online=url)):
                assert found.status == "ok", found
            os.kill(process.pid, signal.SIGSTOP)
            try:
                assert check(url, kind="features", limit=0.3).status == "failed"
            finally:
                os.kill(process.pid, signal.SIGCONT)
        assert check(url, kind="features").status == "failed"
