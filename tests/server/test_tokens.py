"""Tokens of an issuer: what is right gets in, and every known trick does not (N10 to N14 of the attack list)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from access_samples import guarded, written
from fullcircle.server import tokens
from fullcircle.server.app import App
from fullcircle.server.tokens import KeySet, Tokens
from fullcircle.types.access import Issuer
from serving import GOOD, JSON_HEADER, Response, call

RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ISSUER = Issuer(
    issuer="https://id.example", audience="models", algorithm="RS256", keys="keys.json", claim="groups",
    roles={"ml": "engineer", "apps": "scorer", "eyes": "viewer"},
)  # fmt: skip


def public(key: Any, kid: str, **more: str) -> dict[str, Any]:
    kind = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    algorithm: Any = next((found for one, found in kind.items() if isinstance(key, one)), OKPAlgorithm)
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole: dict[str, Any] = {
        "iss": "https://id.example",
        "aud": "models",
        "sub": "anna@example.org",
        "groups": ["apps", "other"],
    }
    whole |= {"exp": now + 600, "nbf": now - 5}
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def signed(key: Any = RSA, algorithm: str = "RS256", headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": "one", **(headers or {})})


def encoded(part: object) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def by_hand(header: Mapping[str, Any], payload: object, signature: bytes | None = None, key: Any = RSA) -> str:
    """A token that no library would make; signed rightly (RS256) where no signature is given."""
    text = f"{encoded(dict(header))}.{encoded(payload)}"
    made = RSAAlgorithm(RSAAlgorithm.SHA256).sign(text.encode(), key) if signature is None else signature
    return f"{text}.{encoded(made)}"


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
