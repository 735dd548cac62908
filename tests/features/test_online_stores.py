"""The built-in online stores pass the public suite, survive kill -9, and say what is wrong with their place."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest

from fullcircle.errors import OnlineStoreUnavailable, PluginUnknown, SettingInvalid
from fullcircle.features.online import OnlineStore, open_online
from fullcircle.features.stores.redis import RedisOnlineStore
from fullcircle.features.stores.sqlite import SqliteOnlineStore
from fullcircle.testing.online import Make, OnlineStoreSuite, one_more, write
from rights import obey_rights, set_rights

Server = Callable[..., AbstractContextManager[tuple[str, "subprocess.Popen[bytes]"]]]


class TestSqlite(OnlineStoreSuite):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Make:
        return lambda: SqliteOnlineStore(f"sqlite:///{tmp_path}/a folder/with % and ü#/online.db")


class TestRedis(OnlineStoreSuite):
    @pytest.fixture
    def make(self, redis_url: str) -> Make:
        return lambda: RedisOnlineStore(redis_url)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "online.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteOnlineStore]:
    with closing(SqliteOnlineStore(f"sqlite:///{path}")) as store:
        yield store


def unavailable(url: str, *, create: bool = True) -> OnlineStoreUnavailable:
    """The error that opening, or the first look, ends in."""
    with pytest.raises(OnlineStoreUnavailable) as caught:
        opened_and_read(url, create=create)
    assert caught.value.next_step
    return caught.value


def opened_and_read(url: str, *, create: bool) -> None:
    kind = SqliteOnlineStore if url.startswith("sqlite") else RedisOnlineStore
    with closing(kind(url, create=create)) as store:
        list(store.scan("a"))


# --- URLs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["", "nothing", "online.db", "me:hunter2@host", "://hunter2", "/hunter2"])
def test_a_text_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(SettingInvalid, match="URL") as caught:
        open_online(url)
    assert "FULLCIRCLE_ONLINE" in str(caught.value.next_step)
    assert "sqlite:///" in str(caught.value.allowed)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_scheme_is_an_unknown_plugin() -> None:
    with pytest.raises(PluginUnknown) as caught:
        open_online("memcached://me:hunter2@host")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?mode=ro", "sqlite://me:hunter2@host/a"]
)
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(SettingInvalid, match="SQLite file") as caught:
        SqliteOnlineStore(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://:hunter2@host:port/0", "redis://:hunter2@host/name", "http://hunter2", "redis://[hunter2/0"]
)
def test_a_url_that_names_no_redis_is_refused(url: str) -> None:
    with pytest.raises(SettingInvalid, match="cannot be read") as caught:
        RedisOnlineStore(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_nothing_is_made_without_create(kind: str, path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{path}" if kind == "sqlite" else request.getfixturevalue("redis_url")
    for _ in range(2):
        assert "nothing was published" in unavailable(url, create=False).what
    assert not path.exists()
    opened_and_read(url, create=True)
    opened_and_read(url, create=False)


# --- SQLite: the file ---------------------------------------------------------------------------------


def test_an_empty_file_is_made_a_store_only_by_create(path: Path) -> None:
    path.touch()
    assert "nothing was published" in unavailable(f"sqlite:///{path}", create=False).what
    assert path.read_bytes() == b""
    opened_and_read(f"sqlite:///{path}", create=True)


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_is_no_database_is_damaged(path: Path, create: bool) -> None:
    path.write_bytes(b"these are not the features you are looking for " * 100)
    before = path.read_bytes()
    assert "damaged" in unavailable(f"sqlite:///{path}", create=create).what
    assert path.read_bytes() == before


def test_damaged_pages_are_an_error_and_no_crash(path: Path) -> None:
    with closing(SqliteOnlineStore(f"sqlite:///{path}")) as store:
        write(store, "a", {b"%d" % number: b"x" * 400 for number in range(2000)})
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * (len(whole) - 8192))
    assert "damaged" in unavailable(f"sqlite:///{path}", create=False).what
    path.write_bytes(whole[: len(whole) // 2])
    assert "damaged" in unavailable(f"sqlite:///{path}").what


@pytest.mark.parametrize("create", [True, False])
def test_another_programs_database_is_left_untouched(path: Path, create: bool) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.executescript("CREATE TABLE entries (mine TEXT); INSERT INTO entries VALUES ('mine');")
    before = path.read_bytes()
    assert "another program" in unavailable(f"sqlite:///{path}", create=create).what
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_format_is_left_untouched(path: Path, create: bool) -> None:
    opened_and_read(f"sqlite:///{path}", create=True)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 2")
    before = path.read_bytes()
    assert "newer fullcircle (format 2)" in unavailable(f"sqlite:///{path}", create=create).what
    assert path.read_bytes() == before


def test_a_folder_in_the_way(path: Path, tmp_path: Path) -> None:
    path.mkdir()
    assert "is a folder" in unavailable(f"sqlite:///{path}").what
    assert "is a folder" in unavailable(f"sqlite:///{path}", create=False).what
    (tmp_path / "file").write_text("x")
    assert "folder" in unavailable(f"sqlite:///{tmp_path}/file/online.db").what
    assert "nothing was published" in unavailable(f"sqlite:///{tmp_path}/file/online.db", create=False).what


READ_ONLY = """
import sys
from fullcircle.errors import OnlineStoreUnavailable
from fullcircle.features.stores.sqlite import SqliteOnlineStore
for create in (True, False):
    try:
        store = SqliteOnlineStore(sys.argv[1], create=create)
        print(store.read("a", [b"k"]))
        store.update("a", [b"k"], lambda present: [b"changed"])
        print("changed")
    except OnlineStoreUnavailable as error:
        print(type(error).__name__, error.what)
store.close()
"""


def test_a_file_that_may_only_be_read(path: Path, tmp_path: Path) -> None:
    with closing(SqliteOnlineStore(f"sqlite:///{path}")) as store:
        write(store, "a", {b"k": b"v"})
        set_rights(tmp_path, 0o755, 0o444)
        command = [sys.executable, "-c", READ_ONLY, f"sqlite:///{path}"]
        preparation = obey_rights if os.getuid() == 0 else None
        done = subprocess.run(command, capture_output=True, text=True, check=True, preexec_fn=preparation)
        set_rights(tmp_path, 0o755, 0o644)
    said = "OnlineStoreUnavailable the online store may only be read"
    assert done.stdout.splitlines() == [said, "[b'v']", said]


def test_a_file_in_use_by_another_writer_for_too_long(
    path: Path, store: SqliteOnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, "a", {b"k": b"v"})
    monkeypatch.setattr("fullcircle.features.stores.sqlite.TIMEOUT", 0.2)
    with closing(SqliteOnlineStore(f"sqlite:///{path}")) as hurried, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OnlineStoreUnavailable, match="locked for more than"):
            write(hurried, "a", {b"k": b"changed"})
        assert hurried.read("a", [b"k"]) == [b"v"], "readers wait for nobody"
        other.rollback()
        write(hurried, "a", {b"k": b"changed"})
    assert store.read("a", [b"k"]) == [b"changed"]


def test_many_openers_make_one_file(path: Path) -> None:
    problems: list[BaseException] = []

    def work() -> None:
        try:
            with closing(SqliteOnlineStore(f"sqlite:///{path}")) as store:
                store.update("a", [b"k"], one_more)
        except BaseException as error:
            problems.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    with closing(SqliteOnlineStore(f"sqlite:///{path}", create=False)) as store:
        assert store.read("a", [b"k"]) == [b"8"]


def test_a_space_taken_back_with_its_update_is_not_remembered(path: Path, store: SqliteOnlineStore) -> None:
    with pytest.raises(ZeroDivisionError):
        store.update("taken back", [b"k"], lambda _present: [b"%d" % (1 // 0)])
    with closing(SqliteOnlineStore(f"sqlite:///{path}")) as other:
        write(other, "first", {b"k": b"v"})
    assert store.read("taken back", [b"k"]) == [None]
    write(store, "taken back", {b"k": b"w"})
    assert store.read("first", [b"k"]) + store.read("taken back", [b"k"]) == [b"v", b"w"]


def test_sqlite_is_set_to_survive_a_power_cut(store: SqliteOnlineStore) -> None:
    with store._using() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_closed_store_says_so(kind: str, path: Path, request: pytest.FixtureRequest) -> None:
    store: OnlineStore
    if kind == "sqlite":
        store = SqliteOnlineStore(f"sqlite:///{path}")
    else:
        store = RedisOnlineStore(request.getfixturevalue("redis_url"))
    scan = store.scan("a")
    store.close()
    for call in (lambda: store.read("a", [b"k"]), lambda: store.note("n"), lambda: next(scan)):
        with pytest.raises(OnlineStoreUnavailable, match="closed"):
            call()


# --- kill -9 ------------------------------------------------------------------------------------------

# Each update counts up all keys of its batch together and then says which turn was acknowledged.
COUNT = """
import sys
from fullcircle.features.stores.redis import RedisOnlineStore
from fullcircle.features.stores.sqlite import SqliteOnlineStore
url = sys.argv[1]
store = (SqliteOnlineStore if url.startswith("sqlite") else RedisOnlineStore)(url)
keys = [b"%d" % number for number in range(800)]
print("ready", flush=True)
while True:
    turn = []
    def merge(present):
        turn[:] = [int((present[0] or b"0").split(b" ")[0]) + 1]
        return [b"%d %s" % (turn[0], b"x" * 150)] * len(keys)
    store.update("a", keys, merge)
    store.set_note("turn", b"%d" % turn[0])
    print(turn[0], flush=True)
"""


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_kill_at_any_moment_loses_nothing_acknowledged(
    kind: str, path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{path}" if kind == "sqlite" else request.getfixturevalue("redis_url")
    last = 0
    for turn in range(12 if kind == "sqlite" else 4):
        child = subprocess.Popen([sys.executable, "-c", COUNT, url], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.02 + 0.0077 * turn)
        child.kill()
        said, _ = child.communicate()
        last = max([last, *(int(line) for line in said.splitlines(keepends=True) if line.endswith("\n"))])
        last = found(url, last)
    assert last > 4


def found(url: str, acknowledged: int) -> int:
    """The turn that is there: the same in all keys, none that was acknowledged missing."""
    kind = SqliteOnlineStore if url.startswith("sqlite") else RedisOnlineStore
    with closing(kind(url)) as store:
        values = set(store.read("a", [b"%d" % number for number in range(800)]))
        note = int(store.note("turn") or b"0")
    assert len(values) == 1, "half an update"
    (value,) = values
    turn = int((value or b"0").split(b" ")[0])
    assert acknowledged <= note <= turn <= note + 1
    return turn


# --- forks --------------------------------------------------------------------------------------------


def forked(work: Callable[[], object]) -> int:
    """Run in a forked child: its exit code."""
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_parent_and_forked_child_use_one_store(kind: str, path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{path}" if kind == "sqlite" else request.getfixturevalue("redis_url")
    store = SqliteOnlineStore(url) if kind == "sqlite" else RedisOnlineStore(url)
    with closing(store):
        store.update("a", [b"k"], one_more)

        def count() -> None:
            for _ in range(100):
                store.update("a", [b"k"], one_more)
            store.close()

        children = [multiprocessing.get_context("fork").Process(target=count) for _ in range(2)]
        for child in children:
            child.start()
        for _ in range(100):
            store.update("a", [b"k"], one_more)
        for child in children:
            child.join(60)
        assert [child.exitcode for child in children] == [0, 0]
        assert store.read("a", [b"k"]) == [b"301"]


def test_a_child_keeps_its_own_file_open_after_the_parent_closed(path: Path) -> None:
    store = SqliteOnlineStore(f"sqlite:///{path}")
    write(store, "a", {b"k": b"1"})
    read, told = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        code = 1
        try:
            store.read("a", [b"k"])
            os.read(read, 1)  # the parent has closed: as the last one it would take the log away
            store.update("a", [b"k"], one_more)
            code = 0
        finally:
            os._exit(code)
    time.sleep(0.1)
    store.close()
    os.write(told, b"x")
    assert os.waitpid(child, 0)[1] == 0
    os.close(read)
    os.close(told)
    with closing(SqliteOnlineStore(f"sqlite:///{path}")) as again:
        assert again.read("a", [b"k"]) == [b"2"]


def test_a_child_forked_within_an_update_may_not_use_the_store(
    store: SqliteOnlineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fullcircle.features.stores.connections.PATIENCE", 0.1)
    codes = []

    def look() -> None:
        with pytest.raises(OnlineStoreUnavailable, match="in use while this process was forked"):
            store.read("a", [b"k"])

    def merge(_present: list[bytes | None]) -> list[bytes | None]:
        codes.append(forked(look))
        return [b"v"]

    store.update("a", [b"k"], merge)
    assert codes == [0]
    assert store.read("a", [b"k"]) == [b"v"]


def test_a_fork_waits_for_other_threads_to_finish(store: SqliteOnlineStore) -> None:
    within = threading.Event()

    def merge(_present: list[bytes | None]) -> list[bytes | None]:
        within.set()
        time.sleep(0.3)
        return [b"v"]

    thread = threading.Thread(target=store.update, args=("a", [b"k"], merge))
    thread.start()
    within.wait(10)
    assert forked(lambda: store.update("a", [b"k"], lambda present: [(present[0] or b"none") + b"w"])) == 0
    thread.join()
    assert store.read("a", [b"k"]) == [b"vw"]


# --- Redis: the server --------------------------------------------------------------------------------


def test_a_server_that_is_not_there_shows_no_password() -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        error = unavailable(f"redis://me:hunter2@127.0.0.1:{taken.getsockname()[1]}/0")
    assert "cannot be used" in error.what
    assert "127.0.0.1" in str(error.received)
    assert "hunter2" not in str(error)


def test_a_wrong_password_is_not_shown(redis_server: Server) -> None:
    with redis_server("--requirepass", "swordfish") as (url, _):
        for wrong in ("unix://:hunter2@", "unix://me:hunter2@", "unix://"):
            error = unavailable(url.replace("unix://", wrong))
            assert "hunter2" not in str(error)
            assert "hunter2" not in str(error.__cause__)
        opened_and_read(url.replace("unix://", "unix://:swordfish@"), create=True)


def test_a_server_that_answers_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        error = unavailable(f"redis://:hunter2@127.0.0.1:{silent.getsockname()[1]}/0?socket_timeout=0.3")
        assert time.monotonic() - began < 4
    assert "Timeout" in error.what


def test_a_server_that_went_away_is_an_error_until_it_is_back(redis_server: Server) -> None:
    with redis_server() as (url, server), closing(RedisOnlineStore(url)) as store:
        write(store, "a", {b"k": b"v"})
        server.send_signal(signal.SIGKILL)
        server.wait(20)
        calls: list[Callable[[], object]] = [
            lambda: store.read("a", [b"k"]),
            lambda: write(store, "a", {b"k": b"w"}),
            lambda: list(store.scan("a")),
            lambda: store.clear("a"),
            lambda: store.note("n"),
            lambda: store.set_note("n", b"v"),
            store.sizes,
        ]
        for call in calls:
            with pytest.raises(OnlineStoreUnavailable, match="cannot be used"):
                call()


def test_a_connection_that_was_cut_is_opened_again(redis_url: str) -> None:
    import redis

    with closing(RedisOnlineStore(redis_url)) as store, redis.Redis.from_url(redis_url) as other:
        write(store, "a", {b"k": b"v"})
        other.client_kill_filter(_type="normal", skipme=True)
        assert store.read("a", [b"k"]) == [b"v"]


def test_an_answer_lost_in_the_middle_of_an_update_is_not_written_twice(redis_url: str) -> None:
    with closing(RedisOnlineStore(redis_url)) as store:
        write(store, "a", {b"k": b"1"})
        inner = store._client.eval

        def cut(*arguments: object) -> object:
            inner(*arguments)  # type: ignore[arg-type]
            raise ConnectionResetError("cut")

        store._client.eval = cut  # type: ignore[method-assign, assignment]
        with pytest.raises(OnlineStoreUnavailable, match="cut"):
            store.update("a", [b"k"], one_more)
        assert store.read("a", [b"k"]) == [b"2"]


def test_others_who_are_always_faster_end_in_an_error(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullcircle.features.stores.redis.TRIES", 3)
    with closing(RedisOnlineStore(redis_url)) as store, closing(RedisOnlineStore(redis_url)) as other:
        calls = []

        def merge(present: list[bytes | None]) -> list[bytes | None]:
            calls.append(present)
            other.update("a", [b"k"], one_more)
            return [b"mine", b"mine"]

        with pytest.raises(OnlineStoreUnavailable, match="each of 3 tries"):
            store.update("a", [b"l", b"k"], merge)
        assert calls == [[None, None], [None, b"1"], [None, b"2"]]
        assert store.read("a", [b"l", b"k"]) == [None, b"3"]


def test_a_full_server_refuses_the_whole_update(redis_server: Server) -> None:
    import redis

    with redis_server() as (url, _), closing(RedisOnlineStore(url)) as store:
        write(store, "a", {b"k": b"v"})
        with redis.Redis.from_url(url) as admin:
            admin.config_set("maxmemory", "1mb")
        with pytest.raises(OnlineStoreUnavailable, match="maxmemory"):
            write(store, "a", {b"%d" % number: b"x" * 1000 for number in range(100)} | {b"k": None})
        assert dict(store.scan("a")) == {b"k": b"v"}


def test_what_others_keep_in_the_database_is_left_alone(redis_url: str) -> None:
    import redis

    with closing(RedisOnlineStore(redis_url)) as store, redis.Redis.from_url(redis_url) as other:
        other.set("theirs", "1")
        other.lpush("fullcircle:a:list", "1")
        write(store, "a", {b"k": b"v"})
        assert dict(store.scan("a")) == {b"k": b"v"}
        assert store.sizes() == {"a": (1, 2)}
        store.clear("a")
        assert other.get("theirs") == b"1"


def test_a_url_may_choose_the_database_and_not_what_values_are(redis_url: str) -> None:
    with closing(RedisOnlineStore(f"{redis_url}?db=2")) as store, closing(RedisOnlineStore(redis_url)) as elsewhere:
        write(store, "a", {b"\xff": b"\xff"})
        assert store.read("a", [b"\xff"]) == [b"\xff"]
        assert elsewhere.read("a", [b"\xff"]) == [None]
        assert store._shown.endswith("?db=2")
    with pytest.raises(SettingInvalid, match="option that is not allowed: decode_responses"):
        RedisOnlineStore(f"{redis_url}?decode_responses=1")


def test_a_server_is_reached_by_its_port_too(redis_server: Server) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with redis_server("--port", str(port), "--bind", "127.0.0.1"):
        with closing(RedisOnlineStore(f"redis://127.0.0.1:{port}/3")) as store:
            write(store, "a", {b"k": b"v"})
            assert store._shown == f"redis://127.0.0.1:{port}/3"
        with closing(RedisOnlineStore(f"redis://127.0.0.1:{port}/3", create=False)) as store:
            assert store.read("a", [b"k"]) == [b"v"]


def test_a_newer_format_in_redis_is_refused(redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as other:
        other.set("fullcircle:format", "2")
        assert "newer fullcircle (format 2)" in unavailable(redis_url).what
        assert other.dbsize() == 1


WITHOUT_LIBRARY = """
import sys
sys.modules["redis"] = None
from fullcircle.errors import MissingExtra
from fullcircle.features.stores.redis import RedisOnlineStore
try:
    RedisOnlineStore("redis://localhost/0")
except MissingExtra as error:
    print(error.next_step)
"""
LIGHT = """
import sys
import fullcircle.features.online, fullcircle.features.stores.sqlite, fullcircle.features.stores.redis
print(sorted({name.partition(".")[0] for name in sys.modules} & {"redis", "numpy", "pandas", "pyarrow", "duckdb"}))
"""


@pytest.mark.parametrize(
    ("code", "said"), [(WITHOUT_LIBRARY, "pip install 'fullcircle[redis]'"), (LIGHT, "[]")], ids=["missing", "light"]
)
def test_the_library_of_redis_is_asked_for_only_when_it_is_needed(code: str, said: str) -> None:
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == said
