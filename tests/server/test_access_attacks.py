"""The attack list on access: each case by its number there (N authentication, S browsers, H framing).

What the list has about tokens of issuers (N10 to N14) is in test_tokens.py, about a certificate and the network in
test_access_process.py, about approval (N22, N23) in flows/test_access.py, about names (N24) there too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from access_samples import ROLES, bearer, guarded, json_and, key_of, token_of, written
from fullcircle.errors import MissingExtra, Unauthorized
from fullcircle.server import guard
from fullcircle.server.access import Access
from fullcircle.server.app import App
from fullcircle.server.guard import Guard, sent
from fullcircle.server.protocol import Bounds, Connection, Pulse
from fullcircle.tables import predictions as log
from fullcircle.types.access import Issuer
from serving import GOOD, JSON_HEADER, Response, call, loaded

BODY = json.dumps({"rows": [GOOD]}).encode()
TOKEN = token_of("scorer")


@pytest.fixture
def app(tmp_path: Path) -> App:
    return guarded(tmp_path)


def predict(target: App, *headers: tuple[bytes, bytes], body: bytes = BODY) -> Response:
    return call(target, "POST", "/predict/m", body, (*JSON_HEADER, *headers))


def forget(target: App) -> None:
    """The tries of the cases before count no more."""
    assert target._guard is not None
    target._guard._peers.clear()


def test_a_key_is_taken_in_either_header(app: App) -> None:
    for header in (
        (b"authorization", f"Bearer {TOKEN}".encode()),
        (b"authorization", f"bearer {TOKEN}".encode()),
        (b"authorization", f"BEARER   {TOKEN} ".encode()),
        (b"x-api-key", TOKEN.encode()),
        (b"x-api-key", f" {TOKEN}\t".encode()),
    ):
        assert predict(app, header).status == 200, header


# --- N16, N18: what is no key --------------------------------------------------------------------------------

NO_KEYS = {
    "N18 empty": b"",
    "N18 blank": b" ",
    "N18 one letter": b"a",
    "N18 a default": b"admin",
    "N18 the prefix": b"fc_",
    "N18 an id alone": TOKEN[:15].encode(),
    "N18 an empty secret": TOKEN[:16].encode(),
    "N16 the last letter wrong": TOKEN[:-1].encode() + b"!",
    "N16 the first letter of the secret wrong": TOKEN[:16].encode() + b"!" + TOKEN[17:].encode(),
    "N16 cut by one": TOKEN[:-1].encode(),
    "N16 one more": TOKEN.encode() + b"0",
    "N16 another's secret": TOKEN[:16].encode() + token_of("engineer")[16:].encode(),
    "N16 an id that is not there": b"fc_" + b"z" * 12 + TOKEN[15:].encode(),
    "N16 the digest in place of the secret": TOKEN[:16].encode() + ROLES["scorer"].digest[:43].encode(),
    "in upper case": TOKEN.upper().encode(),
    "NUL behind it": TOKEN.encode() + b"\0",
    "a line break": TOKEN.encode() + b"\r\nx: y",
    "bytes that are no text": b"\xff\xfe" * 29 + b"\xff",
    "very long": b"fc_" + b"a" * 100_000,
    "quoted": b'"' + TOKEN.encode() + b'"',
    "a list": TOKEN.encode() + b", " + TOKEN.encode(),
    "three parts": b"a.b.c",
    "SQL": b"' OR 1=1 --",
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_what_is_no_key_is_refused_in_the_one_way(name: str, app: App) -> None:
    for header in ((b"authorization", b"Bearer " + NO_KEYS[name]), (b"x-api-key", NO_KEYS[name])):
        found = predict(app, header)
        assert found.status == 401
        assert found.json["error"] == {
            "code": "unauthorized",
            "message": "a valid key is needed here",
            "allowed": "Authorization: Bearer KEY, once",
            "next": "ask for a key: fullcircle key create makes one",
        }


@pytest.mark.parametrize(
    "value",
    [TOKEN, f"Basic {TOKEN}", f"Token {TOKEN}", f"Bearer{TOKEN}", f"Digest Bearer {TOKEN}", f"Bearer,{TOKEN}"],
)
def test_another_scheme_is_no_key(value: str, app: App) -> None:
    assert predict(app, (b"authorization", value.encode())).status == 401


def test_two_keys_in_one_request_are_none(app: App) -> None:
    good, other = (b"authorization", f"Bearer {TOKEN}".encode()), (b"x-api-key", TOKEN.encode())
    for headers in ((good, good), (good, other), (other, other), (good, (b"authorization", b"Bearer x"))):
        assert predict(app, *headers).status == 401
        forget(app)


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"x-api-key", b"cookie"]), st.binary(max_size=80))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_nothing_that_is_made_up_gets_in(app: App, headers: list[tuple[bytes, bytes]]) -> None:
    forget(app)
    assert predict(app, *headers).status == 401


@given(st.binary(max_size=90))
def test_what_is_sent_is_taken_whole_or_not_at_all(value: bytes) -> None:
    found = sent({"headers": [(b"x-api-key", value)]})
    assert found in (None, value.strip(b" \t"))


def test_n16_a_wrong_secret_takes_as_long_wherever_it_is_wrong(app: App) -> None:
    """The comparison itself is constant in time; this sees that none of our own steps ends early."""
    assert app._guard is not None
    rules = app._guard._rules
    near, far, unknown = (
        {"headers": [(b"x-api-key", one)]} for one in (
            NO_KEYS["N16 the last letter wrong"], NO_KEYS["N16 the first letter of the secret wrong"],
            NO_KEYS["N16 an id that is not there"],
        )
    )  # fmt: skip

    def cost(scope: Any) -> float:
        times = []
        for _ in range(9):
            begun = time.perf_counter()
            for _ in range(300):
                app._guard._known(rules, scope)  # type: ignore[union-attr]
            times.append(time.perf_counter() - begun)
        return min(times)

    tries = [[cost(scope) for scope in (near, far, unknown)] for _ in range(3)]
    assert min(max(costs) / min(costs) for costs in tries) < 1.5, tries


# --- N4 to N9: whom a request is about -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        (b"x-forwarded-user", b"admin"), (b"x-forwarded-for", b"127.0.0.1"), (b"x-real-ip", b"127.0.0.1"),
        (b"x-original-url", b"/health/live"), (b"x-rewrite-url", b"/health/live"), (b"forwarded", b"for=127.0.0.1"),
        (b"x-http-method-override", b"GET"), (b"x-remote-user", b"engineer"), (b"cookie", b"key=" + TOKEN.encode()),
        (b"proxy-authorization", b"Bearer " + TOKEN.encode()), (b"x-forwarded-host", b"localhost"),
        (b"x-role", b"engineer"), (b"x-auth-request-user", b"me"),
    ],
    ids=lambda header: header[0].decode(),
)  # fmt: skip
def test_n9_what_a_caller_says_of_itself_is_believed_nowhere(header: tuple[bytes, bytes], app: App) -> None:
    assert predict(app, header).status == 401


def test_n7_the_method_is_the_one_that_was_sent(app: App) -> None:
    headers = ((b"x-http-method-override", b"POST"), *bearer("viewer"))
    assert call(app, "GET", "/predict/m", headers=headers).status == 403


@pytest.mark.parametrize(
    "path",
    ["//predict/m", "/./predict/m", "/PREDICT/m", "/predict//m", "/predict/./m", "/predict/m/", "/predict/%6d"],
)
def test_n8_another_spelling_gets_no_further_than_the_right_one(path: str, app: App) -> None:
    assert call(app, "POST", path, BODY).status == 401
    assert call(app, "POST", path, BODY, json_and("viewer")).status in (403, 404)
    assert call(app, "POST", path, BODY, json_and("scorer")).status == 404


def test_n8_open_addresses_lend_their_openness_to_no_other(app: App) -> None:
    for path in ("/health/live/../../predict/m", "/health/ready/x", "/health/live/", "/health/live?/predict/m",
                 "/health//live", "/HEALTH/live", "/health/live\0", "/health/live;x"):  # fmt: skip
        assert call(app, "POST", path, BODY).status == 401, path
        forget(app)


def test_n4_another_tenants_model_takes_as_long_as_none(tmp_path: Path) -> None:
    app = guarded(tmp_path, loaded("m"), loaded("secret"), keys=(key_of("scoped", "scorer", models=("m",)),))

    def cost(name: str) -> float:
        times = []
        for _ in range(40):
            begun = time.perf_counter()
            assert call(app, "POST", f"/predict/{name}", BODY, json_and("scoped")).status == 404
            times.append(time.perf_counter() - begun)
        return sorted(times)[10]

    tries = [[cost("secret"), cost("nobody")] for _ in range(3)]
    assert min(max(costs) / min(costs) for costs in tries) < 1.5, tries


def test_n5_the_model_of_the_body_is_checked_as_that_of_the_path(tmp_path: Path) -> None:
    app = guarded(tmp_path, loaded("m"), loaded("secret"), keys=(key_of("scoped", "scorer", models=("m",)),))
    given = json.dumps({"model": "secret", "rows": [GOOD]}).encode()
    assert call(app, "POST", "/predict/m", given, json_and("scoped")).status == 400
    sent = json.dumps({"model": "secret", "outcomes": [{"id": "x", "value": 1.0}]}).encode()
    assert call(app, "POST", "/outcomes", sent, json_and("scoped")).status == 404


# --- N15, N17, N20: keys that end, and tries that do not -------------------------------------------------------


def test_n15_n20_a_key_that_was_revoked_or_changed_is_so_at_the_next_request(tmp_path: Path) -> None:
    app = guarded(tmp_path, keys=(ROLES["scorer"], ROLES["engineer"]))
    assert predict(app, *bearer("scorer")).status == 200
    written(tmp_path, ROLES["engineer"])
    app._guard.look()  # type: ignore[union-attr]
    assert predict(app, *bearer("scorer")).status == 401
    assert predict(app, *bearer("engineer")).status == 200
    written(tmp_path, key_of("engineer", "viewer"))
    app._guard.look()  # type: ignore[union-attr]
    assert predict(app, *bearer("engineer")).status == 403


def test_a_key_ends_at_its_time(tmp_path: Path) -> None:
    old, new = ("2020-01-01T00:00:00+00:00", "2999-01-01T00:00:00+00:00")
    app = guarded(tmp_path, keys=(key_of("old", "scorer", expires=old), key_of("new", "scorer", expires=new)))
    assert predict(app, *bearer("old")).status == 401
    assert predict(app, *bearer("new")).status == 200


def test_n17_who_guesses_is_slowed_and_locks_nobody_out(app: App) -> None:
    statuses = [predict(app, (b"x-api-key", b"guess %d" % number)).status for number in range(60)]
    assert statuses[:20] == [401] * 20
    assert statuses.count(429) >= 35
    refused = predict(app, (b"x-api-key", TOKEN[:16].encode() + b"0" * 43))
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert predict(app, *bearer("scorer")).status == 200, "from the same peer, with a key that is valid"


def test_n17_tries_of_any_number_of_peers_take_no_more_memory(app: App, caplog: pytest.LogCaptureFixture) -> None:
    kept = app._guard
    assert kept is not None
    caplog.set_level(logging.CRITICAL)
    for number in range(guard.PEERS + 500):
        with pytest.raises(Exception, match="a valid key"):
            kept.check("/predict/m", {"headers": [], "client": (f"10.0.{number // 256}.{number % 256}", 1)})
    assert len(kept._peers) == guard.PEERS


def test_an_attack_does_not_fill_the_log(app: App, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(300):
        with pytest.raises(Exception, match="a valid key"):
            app._guard.check("/predict/m", {"headers": [], "client": (f"10.0.0.{number}", 1)})  # type: ignore[union-attr]
    assert 50 <= len([one for one in caplog.records if one.message == "refused"]) < 100


# --- what is written down ---------------------------------------------------------------------------------------


def test_no_log_and_no_answer_holds_a_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    target = guarded(tmp_path)
    watched: Any = Access(target)
    for headers in (bearer("scorer"), bearer("viewer"), ((b"x-api-key", b"fc_guessedguess_" + b"s" * 43),)):
        found = call(watched, "POST", "/predict/m", BODY, (*JSON_HEADER, *headers))
        for secret in (TOKEN[16:], token_of("viewer")[16:], "s" * 43, "guessedguess"):
            assert secret.encode() not in found.body
    lines = [getattr(one, "fields", {}) for one in caplog.records]
    written_down = json.dumps(lines) + caplog.text
    for secret in (TOKEN[16:], token_of("viewer")[16:], "s" * 43, "guessedguess"):
        assert secret not in written_down
    asked = [one for one in lines if "status" in one]
    assert [one.get("key") for one in asked] == [ROLES["scorer"].id, ROLES["viewer"].id, None]
    assert [("request" in one) for one in asked] == [False, True, True]
    refused = [one for one in lines if "reason" in one]
    assert [(one["reason"], one.get("key")) for one in refused] == [
        ("forbidden", ROLES["viewer"].id),
        ("unauthorized", None),
    ]
    assert {one["request"] for one in refused} == {one["request"] for one in asked if "request" in one}
    assert b"scorer" not in b"".join(
        path.read_bytes() for path in (tmp_path / "predictions").rglob("*") if path.is_file()
    )


def test_a_key_that_has_expired_is_told_apart_in_the_log_and_nowhere_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = guarded(tmp_path, keys=(key_of("old", "scorer", expires="2020-01-01T00:00:00+00:00"),))
    wrong = bearer("old")[0][1][:-1] + b"!"  # of the same id, and another secret
    found = [
        predict(target, *headers) for headers in (bearer("old"), bearer("unknown"), ((b"authorization", wrong),))
    ]
    assert [one.status for one in found] == [401, 401, 401]
    assert len({json.dumps(one.json) for one in found}) == 1
    lines = [one.fields for one in caplog.records if one.message == "refused"]  # type: ignore[attr-defined]
    assert [(one["reason"], one.get("key"), one.get("why")) for one in lines] == [
        ("unauthorized", key_of("old", "scorer").id, "expired"),
        ("unauthorized", None, None),
        ("unauthorized", None, None),
    ]
    assert all("peer" in one for one in lines)


def test_s10_refusals_have_the_headers_of_all_answers(app: App) -> None:
    for found in (predict(app), predict(app, *bearer("viewer")), predict(app, *bearer("scorer"))):
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["content-type"] == "application/json"
        assert not [name for name in found.headers if name.startswith("access-control-")]  # S11


def test_s8_s9_a_page_of_another_site_cannot_ask(app: App) -> None:
    """Nothing that a browser adds by itself is a key, and a preflight gets no leave."""
    origin = ((b"origin", b"https://evil.example"), (b"access-control-request-headers", b"authorization"))
    assert call(app, "OPTIONS", "/predict/m", headers=origin).status == 401
    assert call(app, "POST", "/predict/m", BODY, ((b"content-type", b"text/plain"), *origin)).status == 401
    found = call(app, "POST", "/predict/m", BODY, ((b"content-type", b"text/plain"), *bearer("scorer")))
    assert found.status == 415


def test_s7_the_name_is_asked_before_the_key(app: App) -> None:
    assert predict(app, (b"host", b"evil.example"), *bearer("scorer")).status == 421


# --- limits of a key ---------------------------------------------------------------------------------------------


def test_a_key_asks_no_more_often_than_it_may(tmp_path: Path) -> None:
    app = guarded(tmp_path, keys=(key_of("slow", "scorer", rate=5.0), key_of("free", "scorer")))
    found = [predict(app, *bearer("slow")) for _ in range(9)]
    assert [one.status for one in found][:5] == [200] * 5
    late = [one for one in found if one.status == 429]
    assert len(late) >= 3
    assert late[0].json["error"]["code"] == "rate_limited"
    assert late[0].json["error"]["allowed"] == "5 requests a second"
    assert int(late[0].headers["retry-after"]) == 1
    assert predict(app, *bearer("free")).status == 200
    time.sleep(0.45)
    assert predict(app, *bearer("slow")).status == 200


def test_refused_requests_count_too(tmp_path: Path) -> None:
    app = guarded(tmp_path, keys=(key_of("slow", "viewer", rate=0.1),))
    assert [predict(app, *bearer("slow")).status for _ in range(3)] == [403, 429, 429]


def test_h15_a_body_within_the_keys_limit_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    app = guarded(tmp_path, keys=(key_of("small", "scorer", body=len(BODY)),))
    size = (b"content-length", str(len(BODY)).encode())
    assert predict(app, *bearer("small"), size).status == 200
    for parts in (BODY + b" ", [BODY, b" "], [BODY[:9], BODY[9:] + b" ", b"more"]):
        found = call(app, "POST", "/predict/m", parts, json_and("small"))
        assert (found.status, found.json["error"]["allowed"]) == (413, f"at most {len(BODY)} bytes")
    for announced in (b"1" * 30, b"%d" % (len(BODY) + 1)):  # is refused before a byte of it is read
        found = predict(app, *bearer("small"), (b"content-length", announced))
        assert (found.status, found.json["error"]["message"]) == (413, "the body is larger than this key may send")


# --- H: over a connection ------------------------------------------------------------------------------------------


async def wire(target: Any, content: bytes) -> bytes:
    """All that comes back over one connection."""
    config = uvicorn.Config(target, lifespan="off", log_config=None, server_header=False, proxy_headers=False)
    config.load()
    make = partial(Connection, config, ServerState(), {}, bounds=Bounds(), pulse=Pulse(lambda status: None))
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
    writer.write(content)
    writer.write_eof()
    found = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    server.close()
    return found


def statuses(content: bytes) -> list[int]:
    return [int(part[:3]) for part in content.split(b"HTTP/1.1 ")[1:]]


def request(*headers: str, path: str = "/predict/m", body: bytes = BODY, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {size}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body


KEYED = f"Authorization: Bearer {TOKEN}"


def test_h_a_request_in_the_body_of_a_refused_one_is_not_read(app: App, tmp_path: Path) -> None:
    """The body of a request without a key is skipped by its length: what stands in it is nobody's request."""
    smuggled = request(KEYED)
    found = asyncio.run(wire(app, request(body=smuggled) + request(KEYED)))
    assert statuses(found) == [401, 200]
    assert len(list(log.read(tmp_path / "predictions", "m"))) == 1


def test_h_after_a_refusal_the_connection_can_be_used(app: App) -> None:
    found = asyncio.run(wire(app, request() + request(KEYED) + request() + request(KEYED)))
    assert statuses(found) == [401, 200, 401, 200]


def test_h_a_refusal_does_not_wait_for_the_body(app: App) -> None:
    found = asyncio.run(wire(app, request(length=50_000_000, body=b"x" * 1000)))
    assert statuses(found)[0] == 401


@pytest.mark.parametrize(
    "framing", [("Transfer-Encoding: chunked",), ("Content-Length: 5",), ("Transfer-Encoding: xchunked",)]
)
def test_h5_h6_two_lengths_are_refused_before_the_key_is_looked_at(framing: Sequence[str], app: App) -> None:
    found = asyncio.run(wire(app, request(KEYED, *framing) + request(KEYED)))
    assert statuses(found) == [400]


def test_h11_who_asks_before_sending_is_not_told_to_go_on(app: App) -> None:
    found = asyncio.run(wire(app, request("Expect: 100-continue", body=b"", length=100)))
    assert statuses(found)[0] == 401
    assert b"100 Continue" not in found


def test_h13_ten_thousand_requests_without_a_key_get_no_further(app: App, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    found = statuses(asyncio.run(wire(app, request() * 60)))
    assert set(found) <= {401, 429, 400}
    assert 429 in found


# --- the file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"required": "no"}', b'{"required": true, "keys": [{"id": 1}]}', b"\xff", b"[" * 10_000,
     b'{"required": true, "keys": [{"id": "a", "name": "a", "role": "root", "digest": ""}]}'],
)  # fmt: skip
def test_a_file_that_cannot_be_read_lets_nobody_in_and_throws_nobody_out(content: bytes, tmp_path: Path) -> None:
    (tmp_path / guard.FILE).write_bytes(content)
    fresh = Guard(tmp_path / guard.FILE)
    fresh.look()
    assert fresh.required
    with pytest.raises(Exception, match="a valid key"):
        fresh.check("/models", {"headers": []})
    app = guarded(tmp_path)
    (tmp_path / guard.FILE).write_bytes(content)
    app._guard.look()  # type: ignore[union-attr]
    assert predict(app, *bearer("scorer")).status == 200
    assert predict(app).status == 401


def test_an_open_server_is_closed_by_a_file_that_it_cannot_read(tmp_path: Path) -> None:
    kept = Guard(tmp_path / guard.FILE)
    kept.look()
    assert not kept.required
    (tmp_path / guard.FILE).write_bytes(b"{")
    kept.look()
    with pytest.raises(Exception, match="a valid key"):
        kept.check("/models", {"headers": []})


def test_a_file_is_read_again_when_it_may_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, ROLES["viewer"])
    kept = Guard(path)
    with monkeypatch.context() as closed:
        closed.setattr(Path, "read_bytes", lambda path: (_ for _ in ()).throw(PermissionError(13, "no")))
        kept.look()
    path.chmod(0o640)
    kept.look()
    assert kept.check("/models", {"headers": list(bearer("viewer"))}) is not None


def test_an_issuer_that_comes_later_and_cannot_be_judged_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Guard(written(tmp_path, required=False))
    kept.look()
    monkeypatch.setitem(sys.modules, "jwt", None)
    written(tmp_path, issuers=(Issuer(issuer="i", audience="a", algorithm="RS256", keys="k", claim="c", roles={}),))
    kept.look()
    with pytest.raises(Exception, match="a valid key"):
        kept.check("/models", {"headers": []})
    with pytest.raises(MissingExtra):
        Guard(tmp_path / guard.FILE).look()


def test_where_tokens_cannot_be_judged_keys_are_followed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    issuers = (Issuer(issuer="i", audience="a", algorithm="RS256", keys="k", claim="c", roles={}),)
    kept = Guard(written(tmp_path, ROLES["viewer"]))
    kept.look()
    monkeypatch.setitem(sys.modules, "jwt", None)
    written(tmp_path, ROLES["viewer"], ROLES["scorer"], issuers=issuers)
    kept.look()
    assert "no tokens are taken" in caplog.text
    for role in ("viewer", "scorer"):
        assert kept.check("/models", {"headers": list(bearer(role))}) is not None
    written(tmp_path, ROLES["scorer"], issuers=issuers)
    kept.look()
    with pytest.raises(Unauthorized):
        kept.check("/models", {"headers": list(bearer("viewer"))})
    assert kept.check("/models", {"headers": list(bearer("scorer"))}) is not None


def test_a_file_that_is_gone_opens_nothing(tmp_path: Path) -> None:
    app = guarded(tmp_path)
    (tmp_path / guard.FILE).unlink()
    app._guard.look()  # type: ignore[union-attr]
    assert predict(app).status == 401
    assert predict(app, *bearer("scorer")).status == 200


def test_where_there_never_was_a_key_anybody_may_ask_and_beyond_loopback_nobody(tmp_path: Path) -> None:
    near, far = Guard(tmp_path / guard.FILE), Guard(tmp_path / guard.FILE, needed=True)
    assert near.required, "before the first look"
    for one in (near, far):
        one.look()
    assert near.check("/models", {"headers": []}) is None
    with pytest.raises(Exception, match="a valid key"):
        far.check("/models", {"headers": []})
    written(tmp_path, required=False)
    for one in (near, far):
        one.look()
    assert (near.required, far.required) == (False, True)
    written(tmp_path, ROLES["viewer"])
    near.look()
    with pytest.raises(Exception, match="a valid key"):
        near.check("/models", {"headers": []})


def test_after_the_last_key_nobody_gets_in(tmp_path: Path) -> None:
    app = guarded(tmp_path, keys=())
    assert predict(app).status == 401
    assert call(app, "GET", "/health/live").status == 200
