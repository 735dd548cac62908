"""Keys as facts: created, listed, revoked, followed by a real server; and approval by a key of somebody else."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import circles
from certificates import certificate
from fullcircle.deployment import client, keeper
from fullcircle.deployment.client import Door
from fullcircle.errors import (
    ApprovalMissing,
    ApprovalRefused,
    KeyNotFound,
    MissingExtra,
    RateLimited,
    ServerFailed,
    SettingInvalid,
    StateConflict,
    Unauthorized,
)
from fullcircle.flows import access, admission, deploy, issuers, serve
from fullcircle.flows.package import package
from fullcircle.flows.promote import approve, promote, rollback
from fullcircle.flows.reconcile import write_served
from fullcircle.flows.session import opened
from fullcircle.flows.status import status
from fullcircle.flows.variables import variables_of
from fullcircle.settings import Settings
from fullcircle.types.access import ROLES, parted
from fullcircle.types.facts import Fact
from token_samples import OTHER, RSA, key_set, public, signed

GOOD = {"rooms": 3, "heat": 20.0, "area": "north"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return circles.settings(tmp_path, actor="ada")


def other(settings: Settings, **changes: str) -> Settings:
    return replace(settings, values={**settings.values, **changes})


def facts(settings: Settings, kind: str) -> list[Fact]:
    with opened(settings) as session:
        return list(session.workspace.ledger.facts(kind))


def file(settings: Settings) -> Mapping[str, Any]:
    found: Mapping[str, Any] = json.loads((settings.workspace / "access.json").read_text())
    return found


def test_a_key_is_a_fact_and_its_secret_is_in_no_file(settings: Settings) -> None:
    made = access.create(
        "web.shop", role="scorer", models=("houses", "loans", "houses"), verbs=("predict", "label"), expires="30d",
        rate="600/m", body="100kB", settings=settings,
    )  # fmt: skip
    parts = parted(made.token.encode())
    assert parts is not None
    assert (parts[0].decode(), len(parts[1])) == (made.key.id, 43)
    assert made.first
    (fact,) = facts(settings, "key.created")
    assert fact.actor == made.key.by == "ada"
    assert {name: fact.body[name] for name in ("id", "name", "role", "models", "verbs", "rate", "body")} == {
        "id": made.key.id, "name": "web.shop", "role": "scorer", "models": "houses,loans", "verbs": "predict,label",
        "rate": 10.0, "body": 100_000,
    }  # fmt: skip
    ends = datetime.fromisoformat(made.key.expires) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < ends <= timedelta(days=30)
    assert access.list_keys(settings=settings) == (made.key,)
    for path in settings.workspace.rglob("*"):
        if path.is_file():
            assert parts[1] not in path.read_bytes(), path
    assert (settings.workspace / "access.json").stat().st_mode & 0o077 == 0
    assert parts[1].decode() not in repr(made.key)


def test_no_two_keys_are_alike(settings: Settings) -> None:
    made = [access.create(f"key{number}", role="viewer", settings=settings) for number in range(5)]
    assert len({one.token for one in made}) == len({one.token[16:] for one in made}) == 5
    assert [one.first for one in made] == [True, False, False, False, False]


def test_servers_are_told_of_what_is_not_revoked_and_ask_for_good(settings: Settings) -> None:
    with opened(settings) as session:
        write_served(session)
        assert not admission.file(session).exists(), "nobody is asked, and no file says so"
    first, second = (access.create(name, role="viewer", settings=settings) for name in ("a", "b"))
    assert [key["id"] for key in file(settings)["keys"]] == [first.key.id, second.key.id]
    assert access.revoke("a", reason="lost", settings=settings).problem == "revoked"
    assert [key["id"] for key in file(settings)["keys"]] == [second.key.id]
    access.revoke(second.key.id, settings=settings)
    assert file(settings) == {"required": True, "keys": [], "issuers": []}
    assert [fact.body["reason"] for fact in facts(settings, "key.revoked")] == ["lost", "revoked by hand"]
    assert [one.problem for one in access.list_keys(settings=settings)] == ["revoked", "revoked"]
    for gone in ("a", first.key.id, "nobody", ""):
        with pytest.raises(KeyNotFound) as caught:
            access.revoke(gone, settings=settings)
        assert caught.value.allowed == "none"
    again = access.create("a", role="viewer", settings=settings).key
    assert again.id != first.key.id, "the name is free again"
    with pytest.raises(KeyNotFound) as caught:
        access.revoke("nobody", settings=settings)
    assert caught.value.allowed == f"{again.id} (a)", "either of the two may be said"


def test_a_key_of_a_later_fullcircle_opens_nothing_and_spoils_nothing(settings: Settings) -> None:
    made = access.create("a", role="viewer", settings=settings)
    with opened(settings) as session:
        session.record("key.created", id="x" * 12, name="x", digest="0" * 64, role="auditor")
        session.record("key.created", id="y" * 12, name="y", digest="0" * 64, role="viewer", verbs="read,audit")
        write_served(session)
    assert [key["id"] for key in file(settings)["keys"]] == [made.key.id]
    assert [one.role for one in access.list_keys(settings=settings)] == ["viewer", "auditor", "viewer"]


def test_a_revocation_by_another_member_arrives_with_the_next_look(settings: Settings, tmp_path: Path) -> None:
    ours = other(settings, ledger=f"sqlite:///{tmp_path / 'ledger.db'}")
    theirs = other(ours, workspace=str(tmp_path / "theirs"))
    circles.begun(tmp_path / "theirs")
    made = access.create("shared", role="scorer", settings=ours)
    with opened(theirs) as session:
        assert serve._caught_up(session, "") == ""
        assert [key["id"] for key in file(theirs)["keys"]] == [made.key.id]
        access.revoke("shared", settings=ours)
        assert serve._caught_up(session, "") == ""
        assert file(theirs)["keys"] == []
    assert serve.FOLLOW_SECONDS + 0.2 < 2.0


# --- what cannot be (N6, N18, N24) -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "ä", "а", "a\n", "-a", ".a", "a" * 64, "a/b", "a;b", "\x1b[31m", "a\0"]
)
def test_a_name_is_plain(name: str, settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match="the name of a key"):
        access.create(name, role="viewer", settings=settings)


def test_n24_names_that_look_alike_are_the_same(settings: Settings) -> None:
    access.create("Shop", role="viewer", settings=settings)
    for name in ("Shop", "shop", "SHOP"):
        with pytest.raises(StateConflict, match="a key of this name"):
            access.create(name, role="viewer", settings=settings)


@pytest.mark.parametrize("role", ["", "admin", "root", "Viewer", "viewer,engineer"])
def test_there_are_four_roles(role: str, settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match="the role"):
        access.create("a", role=role, settings=settings)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("verb", ["read", "predict", "manage", "all", ""])
def test_a_key_gets_no_verb_that_its_role_lacks(role: str, verb: str, settings: Settings) -> None:
    if verb in ROLES[role]:  # type: ignore[index]
        assert access.create("a", role=role, verbs=(verb,), settings=settings).key.verbs == (verb,)
        return
    with pytest.raises(SettingInvalid, match="the verb"):
        access.create("a", role=role, verbs=(verb,), settings=settings)


@pytest.mark.parametrize(
    ("field", "value"),
    [("expires", "soon"), ("expires", "0d"), ("expires", "2020-01-01"),
     ("expires", "0001-01-01T00:00+14:00"), ("expires", "9999-12-31T23:59-14:00"),
     ("expires", "99999999w"), ("expires", "-1d"),
     ("rate", "100"), ("rate", "0/s"), ("rate", "-1/s"), ("rate", "1/d"), ("rate", "1e9/s"), ("rate", "nan/s"),
     ("body", "0B"), ("body", "1"), ("body", "lots"), ("models", ("A",)), ("models", ("a,b",)), ("models", ("",)),
     ("models", tuple(f"model-{number}" for number in range(100)))],
)  # fmt: skip
def test_limits_that_mean_nothing_are_refused(field: str, value: Any, settings: Settings) -> None:
    with pytest.raises(SettingInvalid, match="cannot be used"):
        access.create("a", role="scorer", settings=settings, **{field: value})
    assert not (settings.workspace / "access.json").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2999-01-31", "2999-01-31T00:00:00+00:00"), ("2999-01-31T12:00+02:00", "2999-01-31T10:00:00+00:00")],
)
def test_an_expiry_is_a_moment_in_utc(text: str, expected: str, settings: Settings) -> None:
    assert access.create("a", role="viewer", expires=text, settings=settings).key.expires == expected


@given(st.text(max_size=80))
def test_what_is_no_token_is_nobodys(text: str) -> None:
    assert admission.right(text, ()) is None


def test_beyond_loopback_keys_and_tls_come_first(settings: Settings) -> None:
    far = other(settings, host="0.0.0.0")  # noqa: S104
    with opened(far) as session, pytest.raises(SettingInvalid, match="this workspace has none"):
        admission.check_reach(session)
    access.create("a", role="viewer", settings=settings)
    for changes, refused in (({}, True), ({"without_tls": "yes"}, False), ({"tls_cert": "c", "tls_key": "k"}, False)):
        with opened(other(far, **changes)) as session:
            if refused:
                with pytest.raises(SettingInvalid, match="has no certificate"):
                    admission.check_reach(session)
            else:
                admission.check_reach(session)


# --- a project whose versions a person approves, and its server ---------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Settings]]:
    """Ada trained version 1, and it waits."""
    found = circles.copy(tmp_path_factory, circles.WAITING, tmp_path_factory.mktemp("access"))
    assert found.turn.decision.action == "hold"
    settings = other(found.settings, actor="ada")
    yield found.project, settings
    deploy.remove("houses", settings=settings)


def other_login() -> pwd.struct_passwd:
    """Another user of this machine."""
    return next(one for one in pwd.getpwall() if one.pw_uid != os.getuid())


class TestApprover:
    """In order: each test goes on where the one before ended."""

    def test_n22_where_there_is_an_approver_nobody_else_approves(
        self, trained: tuple[Path, Settings], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, settings = trained
        bob = other(settings, actor="bob")
        keys = {
            "right": access.create("bob", role="approver", settings=settings).token,
            "of this model": access.create("eve", role="approver", models=("houses",), settings=settings).token,
            "of another model": access.create("eva", role="approver", models=("loans",), settings=settings).token,
            "engineer": access.create("eng", role="engineer", settings=settings).token,
            "revoked": access.create("old", role="approver", settings=settings).token,
        }
        access.revoke("old", settings=settings)
        monkeypatch.delenv("FULLCIRCLE_KEY", raising=False)
        with opened(settings) as session:
            _, keys["over"] = admission.record(session, "late", "approver", expires="2020-01-01T00:00:00+00:00")
        own = {one.name: one.id for one in access.list_keys(settings=settings)}
        for wrong, told in {
            "": "no key: the variable FULLCIRCLE_KEY is empty or not set",
            "x": "a text that is no key: one is fc_ID_SECRET",
            keys["right"][:-1] + "!": "a key that this workspace does not know",
            keys["of another model"]: f"key {own['eva']} of eva, which is for other models than houses: loans",
            keys["engineer"]: f"key {own['eng']} of eng, which is of role engineer",
            keys["revoked"]: f"key {own['old']} of old, which was revoked",
            keys["over"]: f"key {own['late']} of late, which expired at 2020-01-01T00:00:00",
        }.items():
            with pytest.raises(ApprovalRefused, match="only an approver") as caught:
                approve("houses", reason="read it", key=wrong, settings=bob)
            assert caught.value.received == told
        with pytest.raises(ApprovalRefused, match="only an approver") as caught:
            approve("houses", reason="read it", settings=bob)
        assert caught.value.received == "no key: the variable FULLCIRCLE_KEY is empty or not set"
        me, somebody = pwd.getpwuid(os.getuid()).pw_name, other_login()
        for known in ("right", "of this model"):
            with pytest.raises(ApprovalRefused, match="who trained a version") as caught:
                approve("houses", reason="read it", key=keys[known], settings=settings)
            assert (caught.value.exit_code, caught.value.received) == (1, f"ada, {me}")
            with pytest.raises(ApprovalRefused, match="who trained a version") as caught:
                approve("houses", reason="read it", key=keys[known], settings=bob)
            assert caught.value.received == me, "M5: an actor is a setting, a login is not"
        monkeypatch.setattr(os, "getuid", lambda: somebody.pw_uid)
        for named in ("ada", me):
            with pytest.raises(ApprovalRefused, match="who trained a version") as caught:
                approve("houses", reason="read it", key=keys["right"], settings=other(settings, actor=named))
            assert caught.value.received == named
        with pytest.raises(ApprovalMissing):
            promote("houses", settings=bob)
        assert facts(settings, "version.approved") == []
        monkeypatch.setenv("FULLCIRCLE_KEY", f" {keys['right']}\n")
        done = approve("houses", reason="read it", settings=bob)
        (fact,) = facts(settings, "version.approved")
        assert done.key == fact.body["key"] == parted(keys["right"].encode())[0].decode()  # type: ignore[index]
        assert (fact.actor, fact.body["login"].partition("@")[0]) == ("bob", somebody.pw_name)
        assert keys["right"][16:] not in json.dumps(dict(fact.body))
        assert promote("houses", settings=bob).action == "promote"

    def test_our_own_commands_get_in_and_nobody_else_does(self, trained: tuple[Path, Settings]) -> None:
        _, settings = trained
        made = deploy.deploy("houses", settings=settings)
        with pytest.raises(Unauthorized):
            client.predict(made.url, "houses", [GOOD])
        (model,) = status(settings=settings).models
        assert (model.url, status(settings=settings).notes) == (made.url, ())
        assert deploy.status("houses", settings=settings).ready
        (own,) = [one for one in access.list_keys(settings=settings) if one.name.startswith("workspace-")]
        assert own.role == "scorer"
        token = (settings.workspace / admission.OWN).read_text().strip()
        assert (settings.workspace / admission.OWN).stat().st_mode & 0o077 == 0
        assert client.predict(made.url, "houses", [GOOD], door=Door(token=token))[0].version == 1
        told = (settings.workspace / "deployments" / "houses" / keeper.TOLD).read_text()
        assert "--access" in told
        assert token[16:] not in told
        assert deploy.deploy("houses", settings=settings).url == made.url, "the same server, and no further key"
        assert len([one for one in access.list_keys(settings=settings) if one.name.startswith("workspace-")]) == 1

    def test_n15_a_revoked_key_is_dead_within_two_seconds(self, trained: tuple[Path, Settings]) -> None:
        _, settings = trained
        url = deploy.status("houses", settings=settings).url
        made = access.create("passing", role="scorer", settings=settings)
        door = Door(token=made.token)
        deadline = time.monotonic() + 2
        while True:
            try:
                client.predict(url, "houses", [GOOD], door=door)
                break
            except (Unauthorized, RateLimited):
                assert time.monotonic() < deadline
                time.sleep(0.05)
        access.revoke("passing", settings=settings)
        begun = time.monotonic()
        answered = True
        while answered:
            try:
                client.predict(url, "houses", [GOOD], door=door)
            except (Unauthorized, RateLimited):
                answered = False
            assert time.monotonic() - begun < 2

    def test_without_its_own_key_a_command_says_so_and_deploy_makes_another(
        self, trained: tuple[Path, Settings]
    ) -> None:
        _, settings = trained
        url = deploy.status("houses", settings=settings).url
        (own,) = [one for one in access.list_keys(settings=settings) if one.name.startswith("workspace-")]
        access.revoke(own.id, settings=settings)
        time.sleep(0.5)
        found = deploy.status("houses", settings=settings)
        assert "it does not say which versions answer: the workspace has no valid key" in found.problem
        assert (found.ready, found.versions) == (True, ()), "it answers, whoever may ask it"
        assert "deploy again, which makes one" in status(settings=settings).notes[0]
        assert deploy.deploy("houses", settings=settings).url == url
        assert deploy.status("houses", settings=settings).ready

    def test_serve_asks_too_and_takes_up_what_others_wrote_to_the_ledger(
        self, trained: tuple[Path, Settings]
    ) -> None:
        _, settings = trained
        made = access.create("member", role="viewer", settings=settings)
        line = [sys.executable, "-m", "fullcircle", "serve", "--port", "0", "--workspace", str(settings.workspace)]
        environment = {**os.environ, "FULLCIRCLE_CONFIG": settings["config"], "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
            try:
                assert process.stdout is not None
                url = json.loads(process.stdout.readline())["listening"]
                with pytest.raises(Unauthorized):
                    client.models(url)
                assert client.models(url, door=Door(token=made.token)) is not None
                with opened(settings) as session:  # as another member's command does, which writes no file here
                    session.record("key.revoked", id=made.key.id, name="member", reason="lost")
                begun = time.monotonic()
                with suppress(Unauthorized, RateLimited):
                    while client.models(url, door=Door(token=made.token)) is not None:
                        assert time.monotonic() - begun < 2
                        time.sleep(0.02)
            finally:
                process.terminate()
                assert process.wait(30) == 0

    def test_beyond_loopback_deploy_refuses_first(self, trained: tuple[Path, Settings]) -> None:
        _, settings = trained
        with pytest.raises(SettingInvalid, match="has no certificate"):
            deploy.deploy("houses", settings=other(settings, host="0.0.0.0"))  # noqa: S104
        with pytest.raises((SettingInvalid, ServerFailed), match="certificate"):
            deploy.deploy("houses", settings=other(settings, tls_cert="/no/c.pem", tls_key="/no/k.pem"))
        assert deploy.status("houses", settings=settings).ready

    def test_beyond_loopback_it_answers_with_keys_and_tls(self, trained: tuple[Path, Settings]) -> None:
        project, settings = trained
        cert, key = certificate(project.parent, "models.example")
        far = other(settings, host="0.0.0.0", tls_cert=str(cert), tls_key=str(key))  # noqa: S104
        made = deploy.deploy("houses", settings=far)
        assert made.url.startswith("https://127.0.0.1:")
        assert deploy.status("houses", settings=far).ready
        assert status(settings=far).notes == ()
        token = (settings.workspace / admission.OWN).read_text().strip()
        with pytest.raises(ServerFailed, match="CERTIFICATE_VERIFY_FAILED"):
            client.predict(made.url, "houses", [GOOD], door=Door(token=token))
        (answer,) = client.predict(made.url, "houses", [GOOD], door=Door(token=token, certificate=cert))
        assert answer.version == 1

    def test_tokens_are_judged_in_the_environment_of_a_bundle_that_was_packaged_since(
        self, trained: tuple[Path, Settings]
    ) -> None:
        project, settings = trained
        keys = project.parent / "keys.json"
        keys.write_bytes(key_set(public(RSA, "one")))
        added = issuers.add(
            "https://id.example", audience="models", keys=str(keys), claim="groups", roles=("apps=scorer",),
            settings=settings,
        )  # fmt: skip
        assert (added.first, added.unable) == (False, ("houses version 1",))
        with pytest.raises(MissingExtra, match="houses version 1 cannot check the tokens") as refused:
            deploy.deploy("houses", settings=settings)
        assert refused.value.received == "packaged without cryptography and pyjwt, before the issuer was added"
        for elsewhere in (deploy.deploy, deploy.plan):
            with pytest.raises(MissingExtra, match="houses version 1 cannot check the tokens"):
                elsewhere("houses", to="container", settings=settings)
        made = package(project, settings=settings)
        with opened(settings) as session:
            session.record("version.promoted", model="houses", version=made.version, reason="planted by the test")
            write_served(session)
        assert deploy.plan("houses", to="container", settings=settings).version == made.version
        url = deploy.deploy("houses", settings=settings).url
        (answer,) = client.predict(url, "houses", [GOOD], door=Door(token=signed()))
        assert answer.version == made.version
        with pytest.raises(Unauthorized):
            client.predict(url, "houses", [GOOD], door=Door(token=signed(OTHER)))
        with pytest.raises(MissingExtra, match="houses version 1 cannot check the tokens"):
            rollback(project, version=1, reason="to see", settings=settings)
        assert deploy.status("houses", settings=settings).ready, "nothing has changed"
        issuers.remove("https://id.example", settings=settings)
        assert deploy.deploy("houses", settings=settings).url == url, "without an issuer any environment will do"


def test_another_process_finds_the_same_files(settings: Settings) -> None:
    told = variables_of(other(settings, tls_cert="c.pem", tls_key="/k.pem"))
    assert told["FULLCIRCLE_TLS_CERT"] == str(settings.folder / "c.pem")
    assert told["FULLCIRCLE_TLS_KEY"] == "/k.pem"
