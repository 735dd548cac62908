"""Checks of needs on one machine: web addresses, files, secrets, SQLite, what is silent or hangs."""

from __future__ import annotations

import base64
import os
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fullcircle.deployment.needs.asking import Question, ask
from fullcircle.deployment.needs.checking import Checker, bound
from fullcircle.deployment.needs.outcome import Unmet
from fullcircle.deployment.needs.places import shown
from fullcircle.deployment.needs.web import get
from fullcircle.types.needs import Checked, Need
from needed import Web, certificate, dead, silent, web

LIMIT = 1.0
SECRET = "s3cr3t-geheim"


def check(limit: float = LIMIT, **said: Any) -> Checked:
    (found,) = Checker(limit=limit).check((Need(**{"name": "it", **said}),))
    assert SECRET not in repr(found)
    assert (found.name, found.kind) == ("it", said["kind"])
    if found.status != "ok":
        assert found.next_step
    return found


def unmet(**said: Any) -> Checked:
    found = check(**said)
    assert found.status == "failed", found
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    with web() as found:
        yield found


class TestUrls:
    def test_one_that_answers(self, server: Web) -> None:
        found = check(kind="url", at=f"{server.url}/?a=1")
        assert found.status == "ok"
        assert 0 < found.seconds < LIMIT
        assert "200" in found.what
        assert server.asked[-1][0] == "/?a=1"

    def test_letters_of_all_languages_and_spaces_are_sent_as_they_have_to_be(self, server: Web) -> None:
        assert check(kind="url", at=f"{server.url}/slow/0/Grüße an %41?a=ß b&c=d").status == "ok"
        assert server.asked[-1][0] == "/slow/0/Gr%C3%BC%C3%9Fe%20an%20%41?a=%C3%9F%20b&c=d"

    @pytest.mark.parametrize(
        ("path", "word"),
        [
            ("/status/401", "refuses who asks"),
            ("/status/403", "refuses who asks"),
            ("/status/404", "nothing at this address"),
            ("/status/410", "nothing at this address"),
            ("/status/418", "refuses the request"),
            ("/status/429", "too often"),
            ("/status/500", "broken"),
            ("/status/503", "broken"),
            ("/status/304", "no other place"),
            ("/to?http://elsewhere.example/login?token=x", "another host"),
            ("/to?ftp://127.0.0.1/x", "less safe"),
            ("/to?file:///etc/passwd", "less safe"),
        ],
    )
    def test_an_answer_that_is_none(self, server: Web, path: str, word: str) -> None:
        found = unmet(kind="url", at=server.url + path)
        assert word in found.what
        assert "token" not in repr(found)

    def test_a_method_that_is_not_taken_shows_that_somebody_is_there(self, server: Web) -> None:
        found = check(kind="url", at=f"{server.url}/status/405")
        assert (found.status, "more was not checked" in found.what) == ("ok", True)

    def test_a_redirect_on_the_same_host_is_followed_with_its_credentials(
        self, server: Web, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PLACE", server.url.replace("://", f"://me:{SECRET}@") + "/to?/private")
        server.secret = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
        try:
            assert check(kind="url", at="env:PLACE").status == "ok"
            assert "refuses" in unmet(kind="url", at=f"{server.url}/private").what
        finally:
            server.secret = None
        assert server.asked[-2][0] == "/private"

    def test_one_that_goes_round_and_round(self, server: Web) -> None:
        assert "again and again" in unmet(kind="url", at=f"{server.url}/to?" + "/to?" * 9).what

    def test_what_is_slow(self, server: Web) -> None:
        found = unmet(kind="url", at=f"{server.url}/slow/0.05", within="20ms")
        assert found.what == "it is too slow"
        assert found.seconds >= 0.05
        assert (found.allowed, "median of 3" in found.received) == ("within 20ms", True)
        assert check(kind="url", at=f"{server.url}/slow/0.01", within="900ms").status == "ok"

    def test_the_median_counts_and_not_a_single_blip(self, server: Web) -> None:
        before = len(server.asked)
        assert check(kind="url", at=server.url, within="900ms").status == "ok"
        assert len(server.asked) - before == 3

    @pytest.mark.parametrize("path", ["/slow/3", "/drip"])
    def test_what_hangs_or_drips_is_given_up(self, server: Web, path: str) -> None:
        begun = time.monotonic()
        found = unmet(kind="url", at=server.url + path, limit=0.3)
        assert "no answer within 0.3 seconds" in found.what
        assert time.monotonic() - begun < 1.0

    def test_the_end_of_a_connection_that_was_cut_is_no_end_of_headers(self, server: Web) -> None:
        for _ in range(3):  # nobody waits beside it here: what the reader itself makes of the cut counts
            with pytest.raises(Unmet, match=r"no answer within 0.1 seconds"):
                get(f"{server.url}/drip", 0.1)

    def test_of_what_never_ends_little_is_read(self, server: Web) -> None:
        server.sent = 0
        assert check(kind="url", at=f"{server.url}/huge").status == "ok"
        time.sleep(0.05)
        assert server.sent < 50_000_000  # what fits into the buffers of a socket

    def test_a_port_that_accepts_and_says_nothing(self) -> None:
        with silent() as port:
            for at in (f"http://127.0.0.1:{port}/", f"https://127.0.0.1:{port}/"):
                assert "no answer within" in unmet(kind="url", at=at, limit=0.3).what

    def test_a_dead_port_and_an_unknown_name(self) -> None:
        assert "nothing listens" in unmet(kind="url", at=f"http://127.0.0.1:{dead()}/").what
        assert "name of the host" in unmet(kind="url", at="http://no-such-host.invalid/", limit=5.0).what

    def test_tls_where_there_is_none_and_the_other_way_round(self, server: Web, tmp_path: Path) -> None:
        found = unmet(kind="url", at=server.url.replace("http:", "https:"))
        assert ("TLS" in found.what, "http://" in found.next_step) == (True, True)
        with web(certificate(tmp_path)) as safe:
            assert "HTTP" in unmet(kind="url", at=safe.url.replace("https:", "http:")).what

    def test_certificates(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        good, old, other = (certificate(tmp_path, days=2), certificate(tmp_path, days=-1),
                            certificate(tmp_path, name="127.0.0.9"))  # fmt: skip
        with web(good) as safe:
            assert "certificate is not accepted: self-signed" in unmet(kind="url", at=safe.url).what
            monkeypatch.setenv("SSL_CERT_FILE", str(good[0]))
            assert check(kind="url", at=safe.url).status == "ok"
        for wrong, word in ((old, "expired"), (other, "mismatch")):
            monkeypatch.setenv("SSL_CERT_FILE", str(wrong[0]))
            with web(wrong) as safe:
                assert word in unmet(kind="url", at=safe.url).what

    def test_a_redirect_to_less_safety_is_not_followed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        files = certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(files[0]))
        with web(files) as safe:
            found = unmet(kind="url", at=f"{safe.url}/to?{safe.url.replace('https', 'http')}/")
        assert "less safe" in found.what


class TestVariables:
    @pytest.mark.parametrize("kind", ["url", "database", "mlflow", "h2o", "features", "file"])
    @pytest.mark.parametrize(("value", "word"), [(None, "not set"), ("", "empty"), (" \n", "empty")])
    def test_a_place_that_nobody_gave(
        self, kind: str, value: str | None, word: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("PLACE", raising=False)
        if value is not None:
            monkeypatch.setenv("PLACE", value)
        found = unmet(kind=kind, at="env:PLACE")
        assert ("PLACE" in found.what, word in found.what, "PLACE" in found.next_step) == (True, True, True)

    @pytest.mark.parametrize(
        "place",
        [f"nonsense-{SECRET}", f"http://[{SECRET}", f"postgresql://u:{SECRET}@127.0.0.1:1/x", f"h2o://{SECRET}@x:1/",
         f"http://u:{SECRET}@127.0.0.1:1/?{SECRET}", f"mysql://{SECRET}@127.0.0.1:1/x", f"redis://:{SECRET}@h:x/0",
         f"postgresql://u:{SECRET}/x@127.0.0.1/y", f"http://127.0.0.1:1/\r\nX: {SECRET}", "://"],
    )  # fmt: skip
    @pytest.mark.parametrize("kind", ["url", "database", "mlflow", "h2o", "features"])
    def test_whatever_stands_there_no_secret_is_told(
        self, kind: str, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PLACE", place)
        assert check(kind=kind, at="env:PLACE").status != "ok"

    @pytest.mark.parametrize(
        ("text", "seen"),
        [
            (f"postgresql://u:{SECRET}@db:5432/x?sslkey={SECRET}", "postgresql://db:5432/x"),
            (f"https://{SECRET}@[::1]:8/a#{SECRET}", "https://[::1]:8/a"),
            (f"http://[{SECRET}", "an address that cannot be read"),
            (SECRET, "an address without a scheme"),
            ("sqlite:////data/a.db", "sqlite:////data/a.db"),
            ("sqlite:///a.db", "sqlite:///a.db"),
        ],
    )
    def test_how_addresses_are_shown(self, text: str, seen: str) -> None:
        assert shown(text) == seen


class TestSecrets:
    def test_one_that_is_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKEN", SECRET)
        found = check(kind="secret", at="TOKEN")
        assert (found.status, found.what) == ("ok", "TOKEN is set")

    @pytest.mark.parametrize(("value", "word"), [(None, "not set"), ("", "empty"), ("  ", "empty")])
    def test_one_that_is_not(self, value: str | None, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TOKEN", raising=False)
        if value is not None:
            monkeypatch.setenv("TOKEN", value)
        assert word in unmet(kind="secret", at="TOKEN").what

    def test_a_line_break_at_its_end_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKEN", f"{SECRET}\n")
        found = check(kind="secret", at="TOKEN")
        assert (found.status, "printf" in found.next_step) == ("warn", True)


class TestFiles:
    def test_one_that_is_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.csv").write_bytes(b"x" * 2500)
        assert "2.5 kB" in check(kind="file", at=str(tmp_path / "a.csv")).what
        monkeypatch.chdir(tmp_path)
        assert check(kind="file", at="a.csv", age="1h").status == "ok"
        assert "1 entries" in check(kind="file", at=str(tmp_path)).what

    def test_one_that_is_old_empty_or_gone(self, tmp_path: Path) -> None:
        file = tmp_path / "a.csv"
        assert "no such file" in unmet(kind="file", at=str(file)).what
        file.touch()
        assert (check(kind="file", at=str(file)).status, check(kind="file", at=str(file)).what[-5:]) == (
            "warn",
            "empty",
        )
        os.utime(file, (time.time() - 7300, time.time() - 7300))
        found = unmet(kind="file", at=str(file), age="2h")
        assert (found.received, found.allowed) == ("written 2 hours ago", "2h")

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        begun = time.monotonic()
        assert "neither a file nor a folder" in unmet(kind="file", at=str(tmp_path / "pipe")).what
        assert time.monotonic() - begun < 0.5

    def test_one_that_nobody_may_read(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        assert "cannot be read" in unmet(kind="file", at=str(tmp_path / "loop")).what

    @pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
    def test_one_without_rights(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("x")
        (tmp_path / "a").chmod(0)
        assert "Permission" in unmet(kind="file", at=str(tmp_path / "a")).what


class TestSqlite:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        with closing(sqlite3.connect(tmp_path / "a b.db")) as made:
            made.execute("create table t (x)")
            made.commit()
        return tmp_path / "a b.db"

    def test_one_that_can_be_read(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = check(kind="database", at=f"sqlite:///{file}", version=">=3")
        assert (found.status, sqlite3.sqlite_version in found.what) == ("ok", True)
        monkeypatch.chdir(file.parent)
        assert check(kind="database", at="sqlite:///a%20b.db").status == "ok"
        assert check(kind="mlflow", at=f"sqlite:///{file}").status == "ok"

    def test_of_a_version_that_is_none_that_was_asked_for(self, file: Path) -> None:
        found = unmet(kind="database", at=f"sqlite:///{file}", version=">=99")
        assert (found.received, found.allowed) == (sqlite3.sqlite_version, ">=99")

    def test_nothing_is_made_and_nothing_is_written(self, file: Path) -> None:
        before = file.read_bytes(), sorted(file.parent.iterdir())
        assert "no such database file" in unmet(kind="database", at=f"sqlite:///{file.parent}/no.db").what
        assert check(kind="database", at=f"sqlite:///{file}").status == "ok"
        assert (file.read_bytes(), sorted(file.parent.iterdir())) == before

    def test_a_damaged_one_and_one_in_memory(self, file: Path) -> None:
        file.write_bytes(b"no database" * 100)
        assert "no sound database" in unmet(kind="database", at=f"sqlite:///{file}").what
        for at in ("sqlite://", "sqlite:///:memory:"):
            assert "names no file" in unmet(kind="database", at=at).what

    def test_one_that_is_locked(self, file: Path) -> None:
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("begin exclusive")
            assert "locked" in unmet(kind="database", at=f"sqlite:///{file}", limit=3.0).what


class TestOtherDatabases:
    def test_they_are_reached_and_it_is_told_that_no_more_was_done(self, server: Web) -> None:
        port = server.server_address[1]
        found = check(kind="database", at=f"mysql+pymysql://me@127.0.0.1:{port}/x")
        assert (found.status, "password and version were not checked" in found.what) == ("ok", True)
        found = check(kind="database", at=f"mysql://127.0.0.1:{port}/x", version=">=8")
        assert (found.status, "tells no version" in found.what) == ("warn", True)
        assert "nothing listens" in unmet(kind="database", at=f"mysql://127.0.0.1:{dead()}/x").what

    def test_one_of_which_nobody_knows_the_port(self) -> None:
        found = check(kind="database", at="strange://127.0.0.1/x")
        assert (found.status, "port" in found.next_step) == ("warn", True)

    def test_postgres_without_its_driver_is_reached_only(self, server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        port = server.server_address[1]
        found = check(kind="database", at=f"postgresql://127.0.0.1:{port}/x", version=">=14")
        assert (found.status, "psycopg[binary]" in found.next_step) == ("warn", True)
        assert "nothing listens" in unmet(kind="database", at=f"postgresql://127.0.0.1:{dead()}/x").what


class TestServers:
    def test_mlflow(self, server: Web, monkeypatch: pytest.MonkeyPatch) -> None:
        found = check(kind="mlflow", at=f"{server.url}/", version=">=3.15,<4")
        assert (found.status, "3.15.2" in found.what) == ("ok", True)
        assert unmet(kind="mlflow", at=server.url, version="<3").received == "3.15.2"
        server.secret = f"Bearer {SECRET}"
        try:
            assert "MLFLOW_TRACKING_TOKEN" in unmet(kind="mlflow", at=server.url).next_step
            monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
            assert check(kind="mlflow", at=server.url).status == "ok"
            monkeypatch.delenv("MLFLOW_TRACKING_TOKEN")
            server.secret = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
            monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
            monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
            assert check(kind="mlflow", at=server.url).status == "ok"
        finally:
            server.secret = None

    def test_what_is_no_mlflow(self, server: Web, tmp_path: Path) -> None:
        assert "nothing at this address" in unmet(kind="mlflow", at=f"{server.url}/status/404").what
        assert "no MLflow server" in unmet(kind="mlflow", at=f"{server.url}/slow/0").what
        assert "no such folder" in unmet(kind="mlflow", at=str(tmp_path / "no")).what
        assert check(kind="mlflow", at=str(tmp_path)).status == "ok"
        assert check(kind="mlflow", at=tmp_path.as_uri(), version=">=3").status == "warn"
        assert check(kind="mlflow", at="databricks://team").status == "warn"

    def test_h2o(self, server: Web) -> None:
        found = check(kind="h2o", at=server.url, version=">=3.46")
        assert (found.status, "3 nodes" in found.what, "3.46.0.7" in found.what) == ("ok", True, True)
        server.healthy = False
        try:
            assert "not healthy" in unmet(kind="h2o", at=server.url).what
        finally:
            server.healthy = True
        assert "no H2O" in unmet(kind="h2o", at=f"{server.url}/slow/0").what


class TestAllTogether:
    def test_they_are_asked_at_once_and_come_in_order(self, server: Web) -> None:
        wanted = [Need(name=f"n{place}", kind="url", at=f"{server.url}/slow/0.{place}") for place in (3, 1, 2, 3)]
        begun = time.monotonic()
        found = Checker(limit=2.0).check(wanted)
        assert time.monotonic() - begun < 0.9
        assert [one.name for one in found] == ["n3", "n1", "n2", "n3"]
        assert {one.status for one in found} == {"ok"}
        assert Checker().check(()) == ()

    def test_what_is_optional_keeps_nothing_from_starting(self) -> None:
        found = check(kind="url", at=f"http://127.0.0.1:{dead()}/", optional=True)
        assert (found.status, found.what) == ("warn", "optional: nothing listens there")

    def test_what_still_hangs_is_not_asked_again(self, tmp_path: Path) -> None:
        need = Need(name="it", kind="database", at=f"sqlite:///{tmp_path}/a.db")
        with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
            other.execute("create table t (x)")
            other.execute("begin exclusive")
            checker = Checker(limit=0.1)  # SQLite itself waits for a second
            assert "no answer within 0.1" in checker.check((need,))[0].what
            begun = time.monotonic()
            assert "still hangs" in checker.check((need,))[0].what
            assert time.monotonic() - begun < 0.05
            other.execute("rollback")
        time.sleep(1.1)
        assert checker.check((need,))[0].status == "ok"

    def test_how_long_a_check_may_take(self) -> None:
        assert bound(Need(name="a", kind="url", at="x")) == 5.0
        assert bound(Need(name="a", kind="url", at="x", within="200ms")) == 5.0
        assert bound(Need(name="a", kind="url", at="x", within="10s")) == 31.0


class TestFromWhereItWillRun:
    def test_the_other_interpreter_gets_the_variables_that_are_named_and_no_others(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TOKEN", SECRET)
        monkeypatch.setenv("OTHER", SECRET)
        needs = (
            Need(name="a", kind="secret", at="TOKEN"),
            Need(name="b", kind="file", at="env:OTHER", optional=True),
        )
        found = ask(Path(sys.executable), Question(needs=needs))
        assert [one.status for one in found] == ["ok", "warn"]
        assert "no such file" in found[1].what
        assert SECRET not in repr(found[0])

    @pytest.mark.parametrize("program", ["/bin/false", "/bin/echo", "/no/such/python"])
    def test_one_that_does_not_answer(self, program: str) -> None:
        need = Need(name="a", kind="features")
        (found,) = ask(Path(program), Question(needs=(need,)))
        assert (found.status, "could not check it" in found.what) == ("failed", True)
        assert found.next_step
        assert ask(Path(program), Question(needs=())) == ()

    def test_by_hand(self, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        from fullcircle.deployment.needs.__main__ import main

        file = tmp_path / "requires.json"
        file.write_bytes(msgspec.json.encode([Need(name="a", kind="file", at=str(file))]))
        assert main([str(file)]) == 0
        file.write_bytes(msgspec.json.encode(Question(needs=(Need(name="a", kind="features"),))))
        assert main([str(file)]) == 1
        file.write_bytes(b"{")
        assert main([str(file)]) == 2
        assert main([str(tmp_path / "no")]) == 2
        out = capfdbinary.readouterr().out
        assert b'"ok"' in out
        assert b"nobody said where the online store is" in out
