"""The table of addresses: what is in it is answered, what is not is not; no word of a caller becomes a route."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.server import addresses
from fullcircle.server.addresses import ADDRESSES, Address
from fullcircle.types.access import ROLES
from serving import app, call

EVERY = pytest.mark.parametrize("address", ADDRESSES, ids=[each.template for each in ADDRESSES])
OPEN = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/ping", "/health"}
segments = st.text("abz{}./%;", max_size=6)


def filled(address: Address, name: str = "") -> str:
    """Its path, with one name everywhere, or with those of what is served here."""
    served = {"{model}": name or "m", "{version}": name or "1"}
    return "/".join(served.get(part, part) for part in address.parts)


@EVERY
def test_every_address_is_answered_by_its_method_alone(address: Address, tmp_path: Path) -> None:
    target = app(tmp_path)
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        found = call(target, method, filled(address))
        if address.takes(method):
            assert found.status in (200, 400, 409, 415), found.body  # a body, or a folder, would be needed
        else:
            assert found.status == 405
            assert found.headers["allow"] == address.methods


@EVERY
def test_an_address_says_what_it_is_for(address: Address) -> None:
    assert (address.verb is None) == (address.template in OPEN)
    assert address.verb is None or any(address.verb in verbs for verbs in ROLES.values())


def test_an_address_stands_in_the_table_once() -> None:
    assert len(addresses.TEMPLATES) == len(ADDRESSES)


@given(st.sampled_from(ADDRESSES), st.text("abc-_", min_size=1, max_size=8))
def test_a_path_is_found_with_its_names(address: Address, name: str) -> None:
    found = addresses.find(filled(address, name))
    assert found is not None
    assert found[0].template == address.template
    assert found[1] == (name,) * address.template.count("{")


@given(st.lists(segments, max_size=6).map("/".join))
def test_a_callers_words_never_become_a_route(path: str) -> None:
    assert addresses.template(path) in addresses.TEMPLATES | {addresses.OTHER}


@given(st.sampled_from(ADDRESSES), st.sampled_from(["/", "//", "/./", "/%2e/"]))
def test_another_spelling_is_another_address(address: Address, extra: str) -> None:
    found = addresses.find(extra + filled(address).lstrip("/"))
    assert found is None or (extra == "/" and found[0] is address)


def test_what_is_in_no_table_is_answered_by_nobody(tmp_path: Path) -> None:
    target = app(tmp_path)
    for path in ("/", "/admin", "/models/", "/Models", "//models", "/predict", "/v3", "/healthz", "/docs/x"):
        found = call(target, "GET", path)
        assert found.status == 404, path
        assert "/predict/{model}" in found.json["error"]["allowed"]
