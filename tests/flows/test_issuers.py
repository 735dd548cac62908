"""Issuers of tokens as facts: added, listed, removed; and that nothing else opens what they closed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import circles
from flows.test_doctor import answering, champion, proof_in
from fullcircle.errors import SettingInvalid, StateConflict
from fullcircle.flows import access, admission, issuers, serve
from fullcircle.flows.reconcile import write_served
from fullcircle.flows.session import opened
from fullcircle.flows.status import status
from fullcircle.settings import Settings
from fullcircle.types.access import ALGORITHMS, ROLES, Issuer
from fullcircle.types.facts import Fact
from needed import dead
from sample_models import archive

WHOLE: Mapping[str, Any] = {"audience": "us", "keys": "https://i/keys", "roles": ("a=viewer",)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return circles.settings(tmp_path, actor="ada")


def other(settings: Settings, **changes: str) -> Settings:
    return replace(settings, values={**settings.values, **changes})


def add(settings: Settings, issuer: str = "https://i", **changes: Any) -> issuers.IssuerState:
    return issuers.add(issuer, **{**WHOLE, **changes}, settings=settings)


def file(settings: Settings) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((settings.workspace / "access.json").read_text())
    return found


def facts(settings: Settings, kind: str) -> list[Fact]:
    with opened(settings) as session:
        return list(session.workspace.ledger.facts(kind))


def test_an_issuer_is_a_fact_and_servers_are_told(settings: Settings) -> None:
    made = add(settings, roles=("ml-team=engineer", "a=b=scorer"), claim="realm.roles", rate="600/m", body="1MB")
    expected = Issuer(
        issuer="https://i", audience="us", algorithm="RS256", keys="https://i/keys", claim="realm.roles",
        roles={"ml-team": "engineer", "a=b": "scorer"}, rate=10.0, body=1_000_000,
    )  # fmt: skip
    assert (made.issuer, made.by, made.first) == (expected, "ada", True)
    assert issuers.list_issuers(settings=settings) == (replace(made, first=False),)
    (told,) = file(settings)["issuers"]
    assert Issuer(**told) == expected
    (fact,) = facts(settings, "issuer.added")
    assert (fact.actor, fact.body["roles"]) == ("ada", "ml-team=engineer,a=b=scorer")


def test_what_is_said_last_of_an_issuer_counts(settings: Settings) -> None:
    add(settings, rate="1/s")
    again = add(settings, roles=("a=scorer",))
    add(settings, "https://j", algorithm="ES256")
    assert not again.first
    assert [(one["issuer"], one["roles"], one["rate"]) for one in file(settings)["issuers"]] == [
        ("https://i", {"a": "scorer"}, 0.0),
        ("https://j", {"a": "viewer"}, 0.0),
    ]


def test_a_server_whose_bundle_is_lost_keeps_no_issuer_out(settings: Settings) -> None:
    """What was taken is told as taken, and of whom nobody knows whether it can check tokens that it may not."""
    with opened(settings) as session:
        champion(session, archive(1, "houses", compiled=True), proof=session.keep(proof_in("one")))
        answering(session, os.getpid(), f"http://127.0.0.1:{dead()}")
        session.workspace.blobs.delete(session.workspace.ledger.state().versions["houses"][1].bundle)
    made = add(settings)
    assert (made.first, made.unable) == (True, ("houses version 1",))
    assert [one["issuer"] for one in file(settings)["issuers"]] == ["https://i"]


def test_one_that_is_removed_is_taken_no_more_and_servers_go_on_asking(settings: Settings) -> None:
    add(settings)
    assert issuers.remove("https://i", reason="moved", settings=settings).issuer.issuer == "https://i"
    assert file(settings) == {"required": True, "keys": [], "issuers": []}
    assert issuers.list_issuers(settings=settings) == ()
    assert [fact.body["reason"] for fact in facts(settings, "issuer.removed")] == ["moved"]
    for gone in ("https://i", "https://nobody", ""):
        with pytest.raises(StateConflict, match="no token of such an issuer"):
            issuers.remove(gone, settings=settings)
    assert not add(settings).first, "it may come back, and servers asked all the time"
    assert len(file(settings)["issuers"]) == 1


def test_g1_no_command_without_settings_opens_what_an_issuer_closed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(settings)
    before = file(settings)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    bare = replace(settings, folder=elsewhere)
    status(settings=bare)
    with opened(bare) as session:
        write_served(session)
        assert admission.required(session)
        assert serve._caught_up(session, "") == ""
    assert file(settings) == before


def test_g1_a_command_that_looks_into_another_ledger_opens_nothing(settings: Settings, tmp_path: Path) -> None:
    """The workspace is the same, the setting ``ledger`` was forgotten: nobody is let in rather than everybody."""
    circles.begun(settings.workspace)
    shared = other(settings, ledger=f"sqlite:///{tmp_path / 'shared.db'}")
    add(shared)
    access.create("a", role="viewer", settings=shared)
    before = file(settings)
    with opened(settings) as session:
        assert not session.workspace.ledger.state().keys, "another ledger"
        write_served(session)
        assert admission.required(session)
        with pytest.raises(SettingInvalid, match="has no certificate"):
            admission.check_reach(_far(session))
    assert file(settings) == {"required": True, "keys": [], "issuers": []}
    with opened(shared) as session:
        write_served(session)
    assert file(settings) == before


def _far(session: Any) -> Any:
    return replace(session, settings=other(session.settings, host="0.0.0.0"))  # noqa: S104


def test_a_damaged_file_is_written_anew_and_stays_closed(settings: Settings) -> None:
    add(settings)
    before = file(settings)
    for content in (b"", b"{", b'{"required": false}', b"\xff"):
        (settings.workspace / "access.json").write_bytes(content)
        with opened(settings) as session:
            write_served(session)
        assert file(settings) == before


def test_an_issuer_is_enough_beyond_loopback(settings: Settings) -> None:
    far = other(settings, host="0.0.0.0", without_tls="yes")  # noqa: S104
    with opened(far) as session, pytest.raises(SettingInvalid, match="this workspace has none"):
        admission.check_reach(session)
    add(settings)
    with opened(far) as session:
        admission.check_reach(session)


def test_a_key_and_an_issuer_close_a_workspace_once(settings: Settings) -> None:
    assert add(settings).first
    assert not access.create("a", role="viewer", settings=settings).first


def test_a_file_of_keys_is_named_from_where_the_settings_are(settings: Settings, tmp_path: Path) -> None:
    add(settings, keys="keys.json")
    assert file(settings)["issuers"][0]["keys"] == str(settings.folder / "keys.json")
    add(settings, keys=str(tmp_path / "a.json"))
    assert file(settings)["issuers"][0]["keys"] == str(tmp_path / "a.json")


def test_one_of_a_later_fullcircle_opens_nothing_and_spoils_nothing(settings: Settings) -> None:
    add(settings)
    with opened(settings) as session:
        body: dict[str, Any] = {"audience": "a", "keys": "k", "claim": "c"}
        session.record("issuer.added", issuer="x", algorithm="ML-DSA", roles="a=viewer", **body)
        session.record("issuer.added", issuer="y", algorithm="RS256", roles="a=viewer,b=auditor", **body)
        write_served(session)
    assert [(one["issuer"], one["roles"]) for one in file(settings)["issuers"]] == [
        ("https://i", {"a": "viewer"}),
        ("y", {"a": "viewer"}),
    ]
    assert len(issuers.list_issuers(settings=settings)) == 3


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS1", "", "rs256", "RS256,HS256"])
def test_a_shared_secret_and_none_sign_no_token(algorithm: str, settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match="the algorithm"):
        add(settings, algorithm=algorithm)
    assert not (settings.workspace / "access.json").exists()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_a_private_key_signs_is_taken(algorithm: str, settings: Settings) -> None:
    assert add(settings, algorithm=algorithm).issuer.algorithm == algorithm


@pytest.mark.parametrize(
    "keys",
    ["http://keys.example.org/", "ftp://example.org/", "https://", "https://me@example.org/", "http://10.0.0.1",
     "https://[::1", "://", "file:///etc/passwd"],
)  # fmt: skip
def test_keys_of_an_issuer_come_from_nobody_else(keys: str, settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match="the place of the keys"):
        add(settings, keys=keys)


@pytest.mark.parametrize(
    "roles",
    [(), ("a",), ("a=",), ("=viewer",), ("a=root",), ("a=viewer", "a=engineer"), ("a=Viewer",), ("a,b=viewer",)],
)
def test_roles_that_cannot_be_read_are_refused(roles: tuple[str, ...], settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match="role"):
        add(settings, roles=roles)


@pytest.mark.parametrize(
    "changes",
    [{"issuer": ""}, {"audience": ""}, {"keys": ""}, {"claim": ""}, {"issuer": "x" * 501}, {"issuer": "a\0"},
     {"roles": tuple(f"group-{number}=viewer" for number in range(100))}, {"rate": "many"}, {"body": "0B"},
     {"audience": "\ud800"}],
)  # fmt: skip
def test_an_issuer_is_described_wholly_or_not_at_all(changes: Mapping[str, Any], settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match="cannot be used"):
        add(settings, **changes)
    assert not (settings.workspace / "access.json").exists()
    with pytest.raises(SettingInvalid, match="the reason"):
        issuers.remove("https://i", reason="x" * 501, settings=settings)


GROUPS = st.text(st.characters(exclude_characters=",\0", exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.dictionaries(GROUPS.map(str.strip).filter(bool), st.sampled_from(sorted(ROLES)), min_size=1, max_size=4))
def test_whatever_groups_are_called_their_roles_come_back(roles: dict[str, Any]) -> None:
    text = issuers._roles([f"{group}={role}" for group, role in roles.items()])
    body = {"issuer": "i", "audience": "a", "algorithm": "RS256", "keys": "k", "claim": "c", "roles": text}
    fact = Fact(seq=1, time="", actor="", kind="issuer.added", body=body, previous="", hash="")
    assert admission.issuer_of(fact).roles == roles
