"""The words of checks: addresses without secrets, and what an exception means for who has to do something."""

from __future__ import annotations

import http.client
import socket
import ssl
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.deployment.needs.checking import Checker
from fullcircle.deployment.needs.net import reach, unreached
from fullcircle.deployment.needs.outcome import Unmet
from fullcircle.deployment.needs.places import parts, shown, without
from fullcircle.types.needs import KINDS, Need
from needed import dead, silent

SECRETS = st.text("GHIJKxyz%~!$&'()*+,;=", min_size=4, max_size=12).map(lambda text: f"ZQ{text}QZ")
HOSTS = st.sampled_from(["db", "db.example", "127.0.0.1", "[::1]", "[::1]:5432", "db:5432"])


@settings(max_examples=150, deadline=None)
@given(SECRETS, SECRETS, HOSTS)
def test_an_address_is_shown_without_user_password_query_and_fragment(user: str, password: str, host: str) -> None:
    place = f"postgresql://{quote(user)}:{quote(password)}@{host}/sales?sslpassword={quote(password)}#{quote(user)}"
    seen = shown(place)
    assert seen == f"postgresql://{host}/sales"
    assert "ZQ" not in seen


@settings(max_examples=150, deadline=None)
@given(st.text("GHIJ0123456789/?#@:", max_size=12), st.sampled_from(["postgresql", "redis", "https"]))
def test_a_password_that_nobody_quoted_is_not_shown_as_a_path(middle: str, scheme: str) -> None:
    seen = shown(f"{scheme}://me:ZQ{middle}QZ@host/sales")
    assert "ZQ" not in seen
    assert "QZ" not in seen


@pytest.mark.parametrize(
    ("kind", "at", "seen"),
    [
        ("url", "env:HOOK", False),
        ("url", "http://127.0.0.1:{port}/services/T0/geheim", True),
        ("h2o", "env:HOOK", False),
        ("mlflow", "env:HOOK", False),
    ],
)
def test_the_path_of_a_web_address_in_a_variable_may_be_a_secret(
    kind: str, at: str, seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = dead()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{port}/services/T0/geheim?b=1")
    (found,) = Checker().check((Need(name="hook", kind=kind, at=at.format(port=port)),))  # type: ignore[arg-type]
    assert found.status == "failed"
    assert ("geheim" in repr(found)) is seen
    assert f"127.0.0.1:{port}" in found.received


@pytest.mark.parametrize("at", ["http://[::1]/", "https://[::1]/x"])
def test_an_address_of_ipv6_without_a_port_has_the_usual_one(at: str) -> None:
    (found,) = Checker().check((Need(name="it", kind="url", at=at),))
    assert "name of the host" not in found.what
    assert found.received.startswith(at.partition("]")[0]) or found.status == "ok"


@pytest.mark.parametrize("password", ["p%40ss", "a%2Fb", "%C3%BC%C3%BC"])
def test_a_password_is_taken_out_of_foreign_words_however_it_is_written(password: str) -> None:
    place = f"postgresql://me@db/x?sslpassword={password}"
    for written in (password, unquote(password)):
        assert without(f"bad: {written}", place) == "bad: ***"


@settings(max_examples=150, deadline=None)
@given(SECRETS, SECRETS)
def test_foreign_words_are_repeated_without_them_and_on_one_line(user: str, password: str) -> None:
    place = f"postgresql://{quote(user)}:{quote(password)}@db/sales"
    found = without(f"cannot log in\nas {quote(user)}\twith {quote(password)} at db", place)
    assert found == "cannot log in as *** with *** at db"
    assert len(without("x" * 9999, place)) == 300


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_any_text_is_shown_or_not_but_never_raises(text: str) -> None:
    assert "@" not in shown(text).partition("://")[2].partition("/")[0]
    try:
        parts(text)
    except Unmet:
        return


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(["no-such-thing", "env:NO_SUCH_VARIABLE", "://", "http://", "sqlite://", "%00"]),
)
def test_a_need_that_nobody_would_declare_is_a_finding_and_no_exception(kind: str, at: str) -> None:
    (found,) = Checker(limit=2.0).check((Need(name="it", kind=kind, at=at),))  # type: ignore[arg-type]
    assert found.status in ("failed", "warn")
    assert found.next_step


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (socket.gaierror(-2, "unknown"), "name of the host"),
        (UnicodeError("label too long"), "name of the host"),
        (TimeoutError(), "within 5 seconds"),
        (ConnectionRefusedError(), "nothing listens"),
        (ConnectionResetError(), "does not answer in HTTP"),
        (http.client.BadStatusLine("SSH-2.0"), "does not answer in HTTP"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER]"), "does not speak TLS"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
        (OSError(), "cannot be reached: OSError"),
    ],
)
def test_every_way_to_fail_has_its_words_and_a_next_step(error: Exception, word: str) -> None:
    found = unreached(error, "http://db", 5.0)
    assert word in found.what
    assert found.received == "http://db"
    assert found.next_step


def test_a_port_is_reached_or_not() -> None:
    with silent() as port:
        reach("127.0.0.1", port, 1.0)
    with pytest.raises(Unmet, match="nothing listens"):
        reach("127.0.0.1", dead(), 1.0)
    with pytest.raises(Unmet, match="name of the host"):
        reach("x" * 300 + ".invalid", 80, 1.0)
