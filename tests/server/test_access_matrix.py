"""Every address, by every method, for every role and for nobody: what is not allowed is refused and shows nothing."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from access_samples import ROLES, bearer, guarded, json_and, key_of, written
from fullcircle.server import addresses
from fullcircle.server.addresses import ADDRESSES, Address
from fullcircle.server.app import App
from fullcircle.server.callers import Caller, Cuts
from fullcircle.server.desk import Desk
from fullcircle.server.follower import View
from fullcircle.server.guard import Guard
from fullcircle.server.meter import labels
from fullcircle.types.access import ROLES as MAY
from fullcircle.types.access import VERBS, Verb
from serving import GOOD, JSON_HEADER, Response, app, call, loaded, view

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "PROPFIND", "get", "")
OPEN = {each.template for each in ADDRESSES if each.verb is None}
EVERY = pytest.mark.parametrize("address", ADDRESSES, ids=[f"{each.method} {each.template}" for each in ADDRESSES])
BODY = json.dumps({"rows": [GOOD]}).encode()
NAMED = {"{model}": "m", "{version}": "1"}
# What a server knows and a stranger must not hear: models, versions, bundles, columns, verdicts.
SECRETS = (b'"m"', b"bbbb", b"bmi", b"imputed", b"fullcircle_")


def filled(address: Address, model: str = "m") -> str:
    return "/".join(model if part == "{model}" else NAMED.get(part, part) for part in address.parts)


def refused(found: Response, *statuses: int) -> None:
    assert found.status in statuses, (found.status, found.body)
    assert not [secret for secret in SECRETS if secret in found.body], found.body
    assert len(found.headers["x-request-id"]) == 16


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> App:
    return guarded(tmp_path_factory.mktemp("matrix"), loaded("m"), loaded("secret"))


@EVERY
def test_without_a_key_only_what_is_open_answers(address: Address, target: App) -> None:
    for method in METHODS:
        for headers in (JSON_HEADER, (), (*JSON_HEADER, (b"authorization", b"Bearer x"))):
            target._guard._peers.clear()  # type: ignore[union-attr] # not what is tested here
            found = call(target, method, filled(address), BODY, headers)
            if address.template not in OPEN:
                refused(found, 401)
                assert found.headers["www-authenticate"] == 'Bearer realm="fullcircle"'
            elif address.takes(method):
                assert found.status == 200
                assert b"m" not in found.body.replace(b"problems", b"")
            else:
                refused(found, 405)


@EVERY
@pytest.mark.parametrize("role", MAY)
def test_each_role_may_do_what_its_verbs_say_and_nothing_else(address: Address, role: str, target: App) -> None:
    for method in METHODS:
        found = call(target, method, filled(address), BODY, json_and(role))
        allowed = address.verb is None or address.verb in MAY[role]  # type: ignore[index]
        if not allowed:
            refused(found, 403)
        elif not address.takes(method):
            assert found.status == 405
        else:
            assert found.status not in (401, 403, 429, 500), found.body


@pytest.mark.parametrize("verb", VERBS)
def test_a_key_may_be_narrowed_to_one_verb(verb: Verb, tmp_path: Path) -> None:
    asked = guarded(tmp_path, keys=(key_of("narrow", "engineer", verbs=(verb,)),))
    for address in ADDRESSES:
        found = call(asked, address.method, filled(address), BODY, json_and("narrow"))
        assert (found.status == 403) is (address.verb not in (None, verb)), address.template


def test_verbs_that_the_role_lacks_are_not_given_by_the_file(tmp_path: Path) -> None:
    asked = guarded(tmp_path, keys=(key_of("greedy", "viewer", verbs=("read", "predict", "manage")),))
    assert call(asked, "POST", "/predict/m", BODY, json_and("greedy")).status == 403


def test_every_handler_has_an_address_and_every_address_a_handler(target: App) -> None:
    assert set(target._handlers) == addresses.TEMPLATES


def test_every_verb_is_asked_for_somewhere_or_by_nobody() -> None:
    assert {each.verb for each in ADDRESSES} <= {None, *VERBS}
    assert {"/health/live", "/health/ready"} <= OPEN
    wide = {each.template for each in ADDRESSES if each.wide}
    assert "/metrics" in wide


@EVERY
def test_a_model_outside_the_keys_scope_is_as_one_that_is_not_there(address: Address, tmp_path: Path) -> None:
    asked = guarded(tmp_path, loaded("m"), loaded("secret"), keys=(key_of("scoped", "engineer", models=("m",)),))
    if address.model_place is None:
        return
    known, unknown = (call(asked, address.method, filled(address, name), BODY, json_and("scoped")) for name in
                      ("secret", "nobody"))  # fmt: skip
    assert known.status == unknown.status == 404
    assert known.body.replace(b"secret", b"nobody") == unknown.body
    assert b"secret" not in unknown.body


@EVERY
def test_no_list_names_a_model_outside_the_scope(address: Address, tmp_path: Path) -> None:
    asked = guarded(tmp_path, loaded("m"), loaded("secret"), keys=(key_of("scoped", "engineer", models=("m",)),))
    for body in (b"", b"{}", BODY, json.dumps({"model": "secret", "outcomes": [{"id": "x", "value": 1}]}).encode()):
        found = call(asked, address.method, filled(address), body, json_and("scoped"))
        assert b"secret" not in found.body.replace(b"received\":\"'secret'", b""), found.body
        assert found.status < 500 or found.status == 503


def test_whatever_a_view_holds_is_cut_to_the_scope() -> None:
    """Also what is added to it later: a name that stays is found here."""
    both: dict[str, Any] = {}
    for field in dataclasses.fields(View):
        empty = getattr(View(), field.name)
        both[field.name] = "" if isinstance(empty, str) else type(empty)({"m": 1, "secret": 2})
    cut = Cuts().seen(Caller("scoped", frozenset(), frozenset({"m"})), View(**both))
    assert "secret" not in repr(cut)
    for field in dataclasses.fields(View):
        assert field.name == "file" or list(getattr(cut, field.name)) == ["m"]


def test_m2_no_key_keeps_a_model_that_was_replaced(tmp_path: Path) -> None:
    """Nor does one that asked once and never again."""
    keys = [key_of(f"scoped{letter}", "scorer", models=("m", letter)) for letter in "abc"]
    guard = Guard(written(tmp_path, *keys))
    guard.look()
    held = [view(loaded("m"))]
    asked = App(lambda: held[0], Desk(tmp_path / "predictions"), guard=guard)
    asked.follow()
    first = weakref.ref(held[0].loaded["m"])
    for key in keys:
        assert call(asked, "GET", "/models", headers=bearer(key.name)).status == 200
    held[0] = view(loaded("m"))
    asked.follow()
    gc.collect()
    assert first() is None
    assert call(asked, "POST", "/predict/m", BODY, json_and("scopeda")).status == 200


@pytest.mark.parametrize(
    "address", [one for one in ADDRESSES if one.verb not in (None, "manage")], ids=lambda one: one.template
)
def test_no_address_keeps_a_model_that_was_replaced(address: Address, tmp_path: Path) -> None:
    """Nor words of it that were worked out once; and what is asked afterwards is the new one."""
    held = [view(loaded("m"))]
    asked = App(lambda: held[0], Desk(tmp_path / "predictions"))
    asked.follow()
    beside = app(tmp_path / "beside")
    tensors = json.loads(call(beside, "GET", "/v2/models/m").json["properties"]["example"])
    documents = {
        "infer": tensors,
        "index": {},
        "outcomes": {"model": "m", "outcomes": [{"id": "x-1", "value": 1.0}]},
        "invocations": {"dataframe_records": [GOOD]},
    }
    path = "/".join({"{model}": "m", "{version}": "1"}.get(part, part) for part in address.parts)
    name = next((name for name in documents if name in path), "")
    body = json.dumps(documents.get(name, {"rows": [GOOD]})).encode() if address.method == "POST" else b""
    assert call(asked, address.method, path, body).status in (200, 422)
    first = weakref.ref(held[0].loaded["m"])
    held[0] = view(loaded("m", 2))
    asked.follow()
    gc.collect()
    assert first() is None
    assert call(asked, "GET", "/v2/models/m").json["versions"] == ["2"]


def test_callers_of_the_same_models_share_what_they_see() -> None:
    seen, both = Cuts(), View(wanted=frozenset({"m", "secret"}))
    one, other = (Caller(name, frozenset(), frozenset({"m"})) for name in ("one", "other"))
    assert seen.seen(one, both) is seen.seen(other, both) is seen.seen(one, both)
    assert seen.seen(None, both) is seen.seen(Caller("all", frozenset()), both) is both
    later = View(wanted=frozenset({"m"}), file="later")
    assert seen.seen(one, later) == later, "and nothing of the view before"
    assert seen.seen(Caller("none", frozenset(), frozenset()), later).wanted == frozenset()


def test_outcomes_of_a_model_outside_the_scope_are_not_taken(tmp_path: Path) -> None:
    asked = guarded(tmp_path, loaded("m"), loaded("secret"), keys=(key_of("scoped", "scorer", models=("m",)),))
    found = [
        call(asked, "POST", "/outcomes", json.dumps({"model": name, "outcomes": []}).encode(), json_and("scoped"))
        for name in ("secret", "nobody")
    ]
    assert found[0].status == found[1].status
    assert found[0].body.replace(b"secret", b"nobody") == found[1].body


def test_what_shows_all_models_is_not_for_a_scoped_key(tmp_path: Path) -> None:
    asked = guarded(tmp_path, keys=(key_of("scoped", "viewer", models=("m",)), key_of("all", "viewer")))
    assert call(asked, "GET", "/metrics", headers=bearer("scoped")).status == 403
    assert call(asked, "GET", "/metrics", headers=bearer("all")).status == 200


def test_readiness_names_no_model_to_a_stranger(tmp_path: Path) -> None:
    asked = guarded(tmp_path, loaded("m"), keys=(ROLES["viewer"], key_of("scoped", "viewer", models=("m",))))
    assert call(asked, "GET", "/health/ready").json == {"ready": True, "problems": {}}
    asked.draining = True
    told = {name: call(asked, "GET", "/health/ready", headers=bearer(name)) for name in ("viewer", "scoped", "none")}
    assert {one.status for one in told.values()} == {503}
    assert told["viewer"].json["error"]["message"] == "the server is shutting down"
    assert {told[name].json["error"]["message"] for name in ("scoped", "none")} == {"the server is not ready"}


@pytest.mark.parametrize("path", ["/", "/admin", "/predict", "//predict/m", "/Predict/m", "/models/", "/v9"])
def test_what_is_no_address_is_refused_first_and_not_found_then(path: str, target: App) -> None:
    target._guard._peers.clear()  # type: ignore[union-attr]
    refused(call(target, "GET", path), 401)
    assert call(target, "GET", path, headers=bearer("viewer")).status == 404


def test_the_interface_says_how_a_key_is_sent(target: App) -> None:
    document = call(target, "GET", "/openapi.json", headers=bearer("viewer")).json
    validate(document)
    assert document["security"] == [{"bearer": []}, {"key": []}]
    assert document["components"]["securitySchemes"].keys() == {"bearer", "key"}
    for path, operations in document["paths"].items():
        found = addresses.find(path)
        assert found is not None, path
        assert all(("security" in one) is (found[0].verb is None) for one in operations.values()), path
    assert "security" not in call(app(Path("/nowhere")), "GET", "/openapi.json").json


def test_each_refusal_is_counted_by_its_reason(tmp_path: Path) -> None:
    asked = guarded(tmp_path, keys=(ROLES["viewer"], key_of("slow", "scorer", rate=0.001)))
    call(asked, "POST", "/predict/m", BODY)
    call(asked, "POST", "/predict/m", BODY, json_and("viewer"))
    for _ in range(3):
        call(asked, "POST", "/predict/m", BODY, json_and("slow"))
    counts = {
        labels(key)[1][0]: count for key, count in asked.meter.snapshot().counts.items() if key.startswith("refused")
    }
    assert counts == {"unauthorized": 1, "forbidden": 1, "rate": 2}
