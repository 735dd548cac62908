"""Tokens of an issuer: what is right gets in, and every known trick does not (N10 to N14 of the attack list)."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from access_samples import guarded, written
from certificates import certificate
from fullcircle.server import tokens
from fullcircle.server.app import App
from fullcircle.server.tokens import KeySet, Tokens
from fullcircle.types.access import Issuer
from serving import GOOD, JSON_HEADER, Response, call
from token_samples import EC, ED, ISSUER, OTHER, RSA, by_hand, claims, encoded, key_set, public, signed


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "keys.json").write_bytes(key_set(public(RSA, "one"), public(OTHER, "two")))
    return with_issuer(tmp_path, ISSUER)


def with_issuer(folder: Path, issuer: Issuer) -> App:
    found = guarded(folder, keys=())
    written(folder, issuers=(issuer,))
    assert found._guard is not None
    found._guard.look()
    return found


def predict(target: App, token: str) -> Response:
    target._guard._peers.clear()  # type: ignore[union-attr] # how often it was tried is not what is tested here
    header = (b"authorization", b"Bearer " + token.encode("utf-8", "surrogateescape"))
    return call(target, "POST", "/predict/m", json.dumps({"rows": [GOOD]}).encode(), (*JSON_HEADER, header))


def test_a_token_that_is_right_gets_in_with_the_roles_of_its_groups(app: App) -> None:
    assert predict(app, signed()).status == 200
    assert predict(app, signed(groups="apps more")).status == 200
    assert predict(app, signed(aud=["others", "models"])).status == 200
    assert predict(app, signed(OTHER, headers={"kid": "two"})).status == 200
    assert predict(app, signed(groups=["eyes"])).status == 403
    for groups in (["nobody"], [], None, 7, {"apps": 1}, [["apps"]], "app", "apps,ml"):
        assert predict(app, signed(groups=groups)).status == 403, groups


def test_groups_may_lie_within_another_claim(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(key_set(public(RSA, "one")))
    named = Issuer(**{**ISSUER.__dict__, "claim": "realm.roles"})
    app = with_issuer(tmp_path, named)
    assert predict(app, signed(realm={"roles": ["apps"]})).status == 200
    whole: dict[str, Any] = {"realm.roles": ["apps"]}
    assert predict(app, signed(**whole)).status == 200
    assert predict(app, signed(realm=["apps"])).status == 403


@pytest.mark.parametrize(
    ("key", "algorithm"), [(EC, "ES256"), (ED, "EdDSA"), (RSA, "PS256"), (RSA, "RS512")], ids=lambda one: str(one)[:5]
)
def test_the_algorithm_is_the_settings_one(key: Any, algorithm: str, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(key_set(public(key, "one"), public(RSA, "rsa")))
    app = with_issuer(tmp_path, Issuer(**{**ISSUER.__dict__, "algorithm": algorithm}))
    assert predict(app, signed(key, algorithm)).status == 200
    for headers in ({"kid": "one"}, {"kid": "rsa"}):
        assert predict(app, signed(RSA, "RS256", headers)).status == 401


# --- N10: the algorithm --------------------------------------------------------------------------------------

PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
HEADER = {"alg": "RS256", "typ": "JWT", "kid": "one"}


def shared(secret: bytes, algorithm: str = "HS256") -> str:
    """Signed as by a shared secret, which is what everybody knows: the public key."""
    text = f"{encoded({**HEADER, 'alg': algorithm})}.{encoded(claims())}"
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


def test_n10_a_token_does_not_choose_how_it_is_judged(app: App) -> None:
    for name in (
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        None,
        7,
        ["RS256"],
        "RS256 ",
        "rs256",
        "ES256",
        "HS256",
        "RS384",
    ):
        for signature in (b"", b"x", None):
            assert predict(app, by_hand({**HEADER, "alg": name}, claims(), signature)).status == 401, name
    no_algorithm = {"typ": "JWT", "kid": "one"}
    assert predict(app, by_hand(no_algorithm, claims())).status == 401
    der = RSA.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (PEM, PEM.strip(), der, b"", json.dumps(public(RSA, "one")).encode()):
        assert predict(app, shared(secret)).status == 401
        assert predict(app, shared(secret, "RS256")).status == 401


def test_n10_a_signature_of_nothing_signs_nothing(app: App, tmp_path: Path) -> None:
    for signature in (b"", bytes(256), b"\xff" * 256, bytes(64), b"\x01"):
        assert predict(app, by_hand(HEADER, claims(), signature)).status == 401
    place = tmp_path / "ec"
    place.mkdir()
    (place / "keys.json").write_bytes(key_set(public(EC, "one")))
    curve = with_issuer(place, Issuer(**{**ISSUER.__dict__, "algorithm": "ES256"}))
    for signature in (bytes(64), bytes(31) + b"\x01" + bytes(32), b"\xff" * 64, b""):
        assert predict(curve, by_hand({**HEADER, "alg": "ES256"}, claims(), signature)).status == 401


def test_another_key_of_the_issuer_does_not_sign_for_this_one(app: App) -> None:
    assert predict(app, signed(OTHER)).status == 401
    assert predict(app, signed(RSA, headers={"kid": "two"})).status == 401


def test_a_token_that_was_changed_is_refused(app: App) -> None:
    head, _, signature = signed().split(".")
    forged = encoded(claims(groups=["ml"]))
    assert predict(app, f"{head}.{forged}.{signature}").status == 401


# --- N11: what it says -----------------------------------------------------------------------------------------

NOW = int(time.time())
WRONG: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "others"},
    "no audience": {"aud": None},
    "an empty audience": {"aud": []},
    "an audience that begins so": {"aud": "models2"},
    "another issuer": {"iss": "https://evil.example"},
    "the issuer in a list": {"iss": ["https://id.example"]},
    "the issuer with a slash": {"iss": "https://id.example/"},
    "no issuer": {"iss": None},
    "expired": {"exp": NOW - 61},
    "no end": {"exp": None},
    "an end that is a word": {"exp": "tomorrow"},
    "an end that is a list": {"exp": [NOW + 60]},
    "an end that is true": {"exp": True},
    "not yet": {"nbf": NOW + 3600},
    "a beginning that is a word": {"nbf": "now"},
    "no subject": {"sub": None},
    "a subject that is a number": {"sub": 7},
    "issued later": {"iat": NOW + 3600},
}


@pytest.mark.parametrize("name", WRONG)
def test_n11_what_is_wrong_or_missing_is_refused(name: str, app: App) -> None:
    assert predict(app, by_hand(HEADER, claims(**WRONG[name]))).status == 401


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e400", "-1", "9" * 400])
def test_n11_an_end_that_is_no_moment_is_refused(number: str, app: App) -> None:
    payload = json.dumps(claims()).replace(str(claims()["exp"]), number).encode()
    assert predict(app, by_hand(HEADER, payload)).status == 401


def test_clocks_may_differ_by_a_minute_and_no_more(app: App) -> None:
    now = int(time.time())
    assert predict(app, signed(exp=now - 50)).status == 200
    assert predict(app, signed(exp=now - 65)).status == 401
    assert predict(app, signed(nbf=now + 50)).status == 200
    assert predict(app, signed(nbf=now + 65)).status == 401


def test_a_token_that_was_right_ends_at_its_time(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LEEWAY", 0.0)
    token = signed(exp=int(time.time()) + 2)
    assert predict(app, token).status == 200
    time.sleep(2.1)
    assert predict(app, token).status == 401


# --- N12, N13: where it points -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kid",
    ["../../keys.json", "/dev/null", "https://evil.example/keys", "' OR 1=1 --", "", "three", "One", "one\0", 1, None,
     [], {}, True, "one" * 1000],
    ids=repr,
)  # fmt: skip
def test_n12_the_id_of_a_key_is_looked_up_and_nothing_else(kid: object, app: App) -> None:
    assert predict(app, by_hand({**HEADER, "kid": kid}, claims())).status == 401


def test_a_token_without_an_id_is_of_the_only_key(tmp_path: Path, app: App) -> None:
    header = {"alg": "RS256", "typ": "JWT"}
    assert predict(app, by_hand(header, claims())).status == 401, "of two keys"
    (tmp_path / "keys.json").write_bytes(key_set(public(RSA, "one")))
    app._guard.look()  # type: ignore[union-attr]
    assert predict(app, by_hand(header, claims())).status == 200


@pytest.mark.parametrize(
    "more",
    [{"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/c"}, {"jwk": public(OTHER, "one")},
     {"x5c": ["MIIB"]}, {"crit": ["exp"]}, {"crit": ["unknown"], "unknown": 1}, {"crit": []}, {"crit": None},
     {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}],
    ids=lambda more: "-".join(more),
)  # fmt: skip
def test_n12_n13_what_names_keys_or_demands_is_refused(more: Mapping[str, Any], app: App) -> None:
    assert predict(app, by_hand({**HEADER, **more}, claims())).status == 401
    assert predict(app, by_hand({**HEADER, **more}, claims(), key=OTHER)).status == 401


@pytest.mark.parametrize(
    "text", ["a.b.c", "..", "." * 50, "e30.e30.", "e30.e30.e30", "a" * 8000, signed() + ".x", "ey.é.x"]
)
def test_what_is_no_token_is_refused(text: str, app: App) -> None:
    assert predict(app, text).status == 401


def test_nesting_costs_nothing(app: App) -> None:
    deep = b"[" * 1900 + b"]" * 1900
    for header, payload in ((HEADER, deep), (HEADER, b'{"iss":' + deep + b"}")):
        assert predict(app, by_hand(header, payload)).status == 401
    assert predict(app, f"{encoded(deep)}.{encoded(claims())}.x").status == 401


@given(st.binary(max_size=60), st.binary(max_size=60), st.binary(max_size=60))
@settings(deadline=None, max_examples=50)
def test_made_up_bytes_are_no_token(header: bytes, payload: bytes, signature: bytes) -> None:
    judge = _judge()
    text = f"{encoded(header)}.{encoded(payload)}.{encoded(signature)}"
    assert judge.caller(text.encode()) is None


def _judge() -> Tokens:
    found = Tokens((ISSUER,), Path("/nowhere"))
    found._sets[ISSUER.issuer][1]._take(key_set(public(RSA, "one")))
    return found


# --- the issuer's keys ---------------------------------------------------------------------------------------------


def test_only_keys_that_fit_are_taken() -> None:
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 - what must not be taken
    found = KeySet(ISSUER, Path())
    found._take(
        key_set(
            public(RSA, "one"),
            public(OTHER, "for encryption", use="enc"),
            public(OTHER, "for another algorithm", alg="RS512"),
            public(small, "short"),
            public(EC, "curve"),
            {"kty": "oct", "k": encoded(b"secret"), "kid": "shared", "alg": "RS256"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            public(OTHER, "one"),
        )
    )
    assert found._keys is not None
    assert list(found._keys) == ["one"]
    assert found._keys["one"].key.public_numbers() == RSA.public_key().public_numbers(), "the first of its id"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"keys": 7}', b'{"keys": [7]}', b"[" * 5000, b"x" * 300_000]
)
def test_what_is_no_key_set_leaves_the_keys_as_they_are(content: bytes, app: App, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(content)
    app._guard.look()  # type: ignore[union-attr]
    assert predict(app, signed()).status == 200


def test_a_key_that_was_taken_away_signs_no_more(app: App, tmp_path: Path) -> None:
    token = signed()
    assert predict(app, token).status == 200
    (tmp_path / "keys.json").write_bytes(key_set(public(OTHER, "two")))
    app._guard.look()  # type: ignore[union-attr]
    assert predict(app, token).status == 401, "also where it was found right before"


def test_without_keys_nobody_can_be_judged_yet(tmp_path: Path) -> None:
    app = with_issuer(tmp_path, ISSUER)
    found = predict(app, signed())
    assert (found.status, found.headers["retry-after"]) == (503, "1")
    header = (b"authorization", b"Bearer " + signed().encode())
    assert call(app, "GET", "/health/live", headers=(header,)).status == 200
    assert call(app, "GET", "/health/ready", headers=(header,)).json == {"ready": True, "problems": {}}


def test_what_was_found_right_is_not_judged_again(app: App) -> None:
    token = signed()
    predict(app, token)
    kept = app._guard._rules.tokens  # type: ignore[union-attr]
    assert kept is not None
    begun = time.perf_counter()
    for _ in range(1000):
        assert kept.caller(token.encode()) is not None
    assert time.perf_counter() - begun < 0.2
    for number in range(tokens.KEPT + 10):
        kept._kept[hashlib.sha256(b"%d" % number).digest()] = kept._kept[next(reversed(kept._kept))]
    predict(app, signed(sub="bob"))
    assert len(kept._kept) <= tokens.KEPT + 11


# --- what a stranger may cost, and what each caller may -------------------------------------------------------------


def forged(number: int) -> str:
    """It names the issuer, the algorithm and a key rightly: only its signature is not the issuer's."""
    head, body, _ = signed(sub=f"stranger {number}").split(".")
    return f"{head}.{body}.{encoded(number.to_bytes(256, 'big'))}"


def test_m3_strangers_get_only_so_many_signatures_checked(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    known, new = signed(), signed(sub="bob")
    assert predict(app, known).status == 200
    judged: list[object] = []
    monkeypatch.setattr(jwt.algorithms.RSAAlgorithm, "verify", lambda *given: bool(judged.append(given)))  # type: ignore[func-returns-value]
    found = [predict(app, forged(number)) for number in range(tokens.JUDGED + 200)]
    assert {one.status for one in found} == {401, 503}
    assert len(judged) < tokens.JUDGED + 200
    late = next(one for one in found if one.status == 503)
    assert (late.headers["retry-after"], late.json["error"]["code"]) == ("1", "server_busy")
    monkeypatch.undo()
    assert predict(app, known).status == 200, "who is known is not kept out by that"
    tried = predict(app, new)
    deadline = time.monotonic() + 5
    while tried.status != 200:
        assert tried.status == 503
        assert time.monotonic() < deadline
        time.sleep(0.02)
        tried = predict(app, new)


@pytest.mark.parametrize(
    "change", [{"exp": 1}, {"iss": "others"}, {"headers": {"kid": "three"}}, {"algorithm": "RS512"}, {}], ids=str
)
def test_m3_what_needs_no_look_at_its_signature_takes_nobodys_turn(change: dict[str, Any], app: App) -> None:
    """Of each kind twice as many as there are turns: they come back slower than this."""
    token = signed(**change) if change else "a.b.c"
    for _ in range(2 * tokens.JUDGED):
        assert predict(app, token).status == 401
    assert predict(app, signed()).status == 200


@pytest.mark.parametrize("path", ["/health/live", "/v2/health/live"])
def test_m3_whether_the_process_lives_is_told_without_a_look_at_the_token(
    path: str, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tokens, "caller", lambda *given: pytest.fail("it was judged"))
    header = (b"authorization", b"Bearer " + forged(1).encode())
    assert call(app, "GET", path, headers=(header,)).status == 200


def test_l9_each_caller_has_a_rate_whatever_token_it_comes_with(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(key_set(public(RSA, "one")))
    app = with_issuer(tmp_path, Issuer(**{**ISSUER.__dict__, "rate": 3.0}))
    found = [predict(app, signed(exp=int(time.time()) + 500 + number)) for number in range(5)]
    assert [one.status for one in found] == [200, 200, 200, 429, 429]
    assert found[-1].headers["retry-after"] == "1"
    assert "3 requests a second" in found[-1].json["error"]["allowed"]
    assert predict(app, signed(sub="bob")).status == 200, "of its own"


def test_l9_workers_share_a_callers_rate(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(key_set(public(RSA, "one")))
    judge = Tokens((Issuer(**{**ISSUER.__dict__, "rate": 8.0}),), tmp_path, workers=4)
    judge.look()
    caller = judge.caller(signed().encode())
    assert caller is not None
    assert caller.bucket is not None
    assert (caller.bucket.rate, caller.bucket.room) == (2.0, 2.0)
    for number in range(tokens.KEPT + 10):
        judge._bucket(f"jwt:{number}", 2.0)
    assert len(judge._buckets) == tokens.KEPT
    assert judge._bucket("jwt:9999999", 2.0) is judge._bucket("jwt:9999999", 2.0)


def test_l9_each_caller_has_a_size(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(key_set(public(RSA, "one")))
    small = with_issuer(tmp_path, Issuer(**{**ISSUER.__dict__, "body": 10}))
    assert predict(small, signed()).status == 413
    large = with_issuer(tmp_path, Issuer(**{**ISSUER.__dict__, "body": 10_000}))
    assert predict(large, signed()).status == 200


@pytest.mark.parametrize(
    "strange",
    [None, 7, "text", [], {}, {"kty": "RSA"}, {"kty": "RSA", "n": 5, "e": []}, {"kty": "RSA", "n": "!", "e": ""}],
)
def test_l10_what_is_no_key_does_not_spoil_the_others(strange: Any, app: App, tmp_path: Path) -> None:
    assert predict(app, signed()).status == 200
    new = ec.generate_private_key(ec.SECP256R1())
    content = {"keys": [strange, public(new, "ec"), strange, public(OTHER, "new")]}
    (tmp_path / "keys.json").write_bytes(json.dumps(content).encode())
    app._guard.look()  # type: ignore[union-attr]
    assert predict(app, signed(OTHER, headers={"kid": "new"})).status == 200
    assert predict(app, signed()).status == 401, "what was taken away is gone"


def test_no_subject_is_written_down(app: App, caplog: pytest.LogCaptureFixture) -> None:
    predict(app, signed(groups=["eyes"]))
    (line,) = [one.fields for one in caplog.records if one.message == "refused"]  # type: ignore[attr-defined]
    assert line["key"].startswith("jwt:")
    assert "anna" not in json.dumps(line)


# --- N14: keys that come from a URL --------------------------------------------------------------------------------


class Issuing:
    """A real HTTP server that answers as it is told, and counts."""

    def __init__(self) -> None:
        self.content = key_set(public(RSA, "one"))
        self.before: Callable[[http.server.BaseHTTPRequestHandler], None] = lambda handler: None
        self.asked = 0
        self.let_go = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.before(self)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(outer.content)

            def log_message(self, *given: object) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def issuer(self) -> Issuer:
        return Issuer(**{**ISSUER.__dict__, "keys": f"http://127.0.0.1:{self.server.server_address[1]}/keys?x=1"})


@pytest.fixture
def issuing() -> Iterator[Issuing]:
    found = Issuing()
    yield found
    found.let_go.set()
    found.server.shutdown()
    found.server.server_close()


def until(holds: Callable[[], bool], app: App, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        app._guard.look()  # type: ignore[union-attr]
        time.sleep(0.01)


def test_n14_keys_come_from_the_address_and_a_new_one_is_fetched_when_it_is_needed(
    issuing: Issuing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "AGAIN", 0.2)
    app = with_issuer(tmp_path, issuing.issuer)
    until(lambda: predict(app, signed()).status == 200, app)
    assert issuing.asked == 1
    issuing.content = key_set(public(RSA, "one"), public(OTHER, "two"))
    token = signed(OTHER, headers={"kid": "two"})
    assert predict(app, token).status == 401
    until(lambda: predict(app, token).status == 200, app)
    assert issuing.asked == 2


def test_n14_unknown_keys_cause_no_storm(issuing: Issuing, tmp_path: Path) -> None:
    app = with_issuer(tmp_path, issuing.issuer)
    until(lambda: predict(app, signed()).status == 200, app)
    for number in range(50):
        predict(app, signed(headers={"kid": f"unknown{number}"}))
        app._guard.look()  # type: ignore[union-attr]
    assert issuing.asked == 1


@pytest.mark.parametrize("way", ["hangs", "drips", "is huge", "redirects", "fails", "says no"])
def test_n14_while_keys_cannot_be_had_the_old_ones_hold_and_nothing_piles_up(
    way: str, issuing: Issuing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "REFRESH", 0.1)
    monkeypatch.setattr(tokens, "AGAIN", 0.1)
    monkeypatch.setattr(tokens, "SECONDS", 0.4)
    caplog.set_level(logging.ERROR)
    app = with_issuer(tmp_path, issuing.issuer)
    until(lambda: predict(app, signed()).status == 200, app)
    told: dict[str, Callable[[Any], None]] = {
        "hangs": lambda handler: _wait(issuing),
        "drips": lambda handler: _drip(handler, issuing),
        "is huge": lambda handler: None,
        "redirects": lambda handler: _head(handler, "302 Found", f"Location: {issuing.issuer.keys}"),
        "fails": lambda handler: handler.connection.close(),
        "says no": lambda handler: _head(handler, "500 No"),
    }
    issuing.content = b"{" + b" " * 400_000 if way == "is huge" else b""
    issuing.before = told[way]
    before, threads, begun = issuing.asked, threading.active_count(), time.monotonic()
    slowest = 0.0
    while time.monotonic() - begun < 1.2:
        app._guard.look()  # type: ignore[union-attr]
        asked = time.perf_counter()
        assert predict(app, signed()).status == 200
        slowest = max(slowest, time.perf_counter() - asked)
        time.sleep(0.01)
    assert 1 <= issuing.asked - before <= 14
    assert slowest < 0.3
    assert threading.active_count() - threads <= 6, "those of the server that hangs, and one of ours"
    assert "the keys of the issuer cannot be had" in caplog.text


def _wait(issuing: Issuing) -> None:
    issuing.let_go.wait(5)
    raise ConnectionError


def _drip(handler: Any, issuing: Issuing) -> None:
    handler.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n{")
    for _ in range(100):
        if issuing.let_go.wait(0.05):
            break
        handler.connection.sendall(b" ")
    raise ConnectionError


def _head(handler: Any, *lines: str) -> None:
    handler.connection.sendall(
        "\r\n".join([f"HTTP/1.1 {lines[0]}", *lines[1:], "Content-Length: 0", "", ""]).encode()
    )
    handler.connection.close()


def test_l11_an_issuer_that_drips_while_it_agrees_on_tls_is_given_up_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "AGAIN", 0.1)
    monkeypatch.setattr(tokens, "SECONDS", 0.4)
    caplog.set_level(logging.ERROR)
    asked, over = [], threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"\x16\x03\x03\x40\x00\x02")
            while not over.wait(0.05):
                connection.sendall(b"\0")

    def serve(door: socket.socket) -> None:
        with suppress(OSError):
            while True:
                asked.append(door.accept()[0])
                threading.Thread(target=drip, args=(asked[-1],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=serve, args=(door,), daemon=True).start()
        keys = f"https://127.0.0.1:{door.getsockname()[1]}/keys"
        app = with_issuer(tmp_path, Issuer(**{**ISSUER.__dict__, "keys": keys}))
        until(lambda: len(asked) > 1, app)
        over.set()
        door.shutdown(socket.SHUT_RDWR)
    assert "the keys of the issuer cannot be had" in caplog.text


@pytest.mark.parametrize("name", ["localhost", "elsewhere.example"])
def test_l11_keys_come_over_tls_from_who_has_the_certificate(
    name: str, issuing: Issuing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    cert, key = certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    issuing.server.socket = context.wrap_socket(issuing.server.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    keys = f"https://localhost:{issuing.server.server_address[1]}/keys"
    app = with_issuer(tmp_path, Issuer(**{**ISSUER.__dict__, "keys": keys}))
    if name == "localhost":
        until(lambda: predict(app, signed()).status == 200, app)
        return
    until(lambda: "SSLCertVerificationError" in caplog.text, app)
    assert issuing.asked == 0
    assert predict(app, signed()).status == 503
