"""Alarms from the journal to those who are told: listed, taken on, delivered, tried again, and kept open."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import circles
from fullcircle.cli.commands import app
from fullcircle.errors import (
    AlarmNotFound,
    FactInvalid,
    ProjectInvalid,
    SettingInvalid,
    StateConflict,
    VersionNotFound,
)
from fullcircle.flows.alarms import acknowledge, deliver_in, list_alarms, try_addresses
from fullcircle.flows.doctor import doctor
from fullcircle.flows.session import Session, opened
from fullcircle.ledger.folder import locked
from fullcircle.monitoring import channels
from fullcircle.monitoring.alarms import Followed, follow
from fullcircle.monitoring.grid import micros
from fullcircle.monitoring.journal import Journal
from fullcircle.settings import Settings
from fullcircle.types.monitoring import Evidence, Suspect
from fullcircle.types.project import Monitor
from receivers import free_port, webhook

MINUTE = 60_000_000
PROJECT = """
import fullcircle as fc

def fit(X, y):
    raise RuntimeError("nothing is fitted here")

project = fc.Project(
    name="houses", data="none.csv", label="y", features=["a"], fit=fit,
    monitor=fc.Monitor(notify=NOTIFY),
)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[tuple[Session, Journal, Settings]]:
    """A workspace that knows a model, and the model's journal, without any training."""
    settings = circles.settings(tmp_path)
    digest = "0" * 64
    with opened(settings) as session:
        session.record(
            "version.registered",
            model="houses", version=1, run="r", bundle=digest, report=digest, snapshot=digest, proof=digest,
        )  # fmt: skip
        with Journal(session.folder("monitoring") / "houses.db") as journal:
            yield session, journal, settings


def raise_alarm(journal: Journal, monitor: Monitor, day: int, *, fired: bool, away: bool = True) -> Followed:
    suspects = (Suspect(feature="bmi", distance=0.3, evidence=9.0, text="the mean rose"),) if away else ()
    evidence = Evidence(kind="drift", level=9.0, threshold=7.0, fired=fired, suspects=suspects)
    at = f"2025-03-{day:02}T00:00:00.000000Z"
    found = follow(journal.alarms(), [evidence], at=at, model="houses", version=1, monitor=monitor)
    with journal.step():
        journal.raise_alarms(found.alarms)
        for message in found.messages:
            journal.queue(monitor.notify, message)
    return found


def test_what_was_raised_is_told_once_everywhere(home: tuple[Session, Journal, Settings]) -> None:
    session, journal, _ = home
    with webhook() as one, webhook() as two:
        monitor = Monitor(notify=[f"webhook://127.0.0.1:{each.server_port}/in" for each in (one, two)])
        raise_alarm(journal, monitor, 3, fired=True)
        assert deliver_in(session, journal, "houses", monitor=monitor) == ()
        assert deliver_in(session, journal, "houses", monitor=monitor) == ()
        assert [len(each.got) for each in (one, two)] == [1, 1]
        raise_alarm(journal, monitor, 4, fired=False, away=False)
        assert deliver_in(session, journal, "houses", monitor=monitor) == ()
        assert deliver_in(session, journal, "houses", monitor=monitor) == ()
        for each in (one, two):
            assert [got["event"] for got in each.got] == ["raised", "resolved"]
            assert {got["alarm"]["id"] for got in each.got} == {"houses-1-drift-1"}
    assert journal.undelivered() == 0


def test_a_receiver_that_is_down_and_comes_back_gets_everything_once_and_in_order(
    home: tuple[Session, Journal, Settings],
) -> None:
    session, journal, _ = home
    port, now = free_port(), 1_000_000_000_000_000
    with webhook() as up:
        down = f"webhook://127.0.0.1:{port}/token"
        monitor = Monitor(notify=[down, f"webhook://127.0.0.1:{up.server_port}"])
        raise_alarm(journal, monitor, 3, fired=True)
        (told,) = deliver_in(session, journal, "houses", monitor=monitor, now=now)
        assert f"webhook://127.0.0.1:{port}: nobody took it" in told
        assert "token" not in told
        assert len(up.got) == 1  # the other one was not held up
        raise_alarm(journal, monitor, 4, fired=False, away=False)
        # The newer message waits behind the older one, which is put off.
        assert deliver_in(session, journal, "houses", monitor=monitor, now=now + MINUTE // 2) == ()
        assert len(up.got) == 2
        with webhook(port) as back:
            assert deliver_in(session, journal, "houses", monitor=monitor, now=now + MINUTE // 2) == ()
            assert back.got == []
            assert deliver_in(session, journal, "houses", monitor=monitor, now=now + MINUTE) == ()
            assert [got["event"] for got in back.got] == ["raised", "resolved"]
            assert deliver_in(session, journal, "houses", monitor=monitor, now=now + 99 * MINUTE) == ()
            assert len(back.got) == 2
        assert len(up.got) == 2
    assert journal.undelivered() == 0


def test_it_is_tried_again_ever_more_seldom_but_at_least_every_hour(home: tuple[Session, Journal, Settings]) -> None:
    session, journal, _ = home
    monitor = Monitor(notify=[f"webhook://127.0.0.1:{free_port()}"])
    raise_alarm(journal, monitor, 3, fired=True)
    now, pauses = 1_000_000_000_000_000, []
    for _ in range(9):
        deliver_in(session, journal, "houses", now=now)
        pause = next(minutes for minutes in range(100) if journal.due(now + minutes * MINUTE))
        pauses.append(pause)
        now += pause * MINUTE
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_message_that_is_always_refused_lets_the_others_by(home: tuple[Session, Journal, Settings]) -> None:
    session, journal, _ = home
    now = 1_000_000_000_000_000
    with webhook() as here:
        monitor = Monitor(notify=[f"webhook://127.0.0.1:{here.server_port}"])
        raise_alarm(journal, monitor, 3, fired=True)
        here.status = 400
        for hour in range(6):
            deliver_in(session, journal, "houses", now=now + hour * 60 * MINUTE)
        raise_alarm(journal, monitor, 4, fired=False, away=False)
        here.status = 200
        assert len(journal.due(now)) == 1  # the other is put off
        assert deliver_in(session, journal, "houses", now=now + 300 * MINUTE + MINUTE) == ()
        assert [got["event"] for got in here.got] == ["resolved"]
        assert journal.undelivered() == 1
        deliver_in(session, journal, "houses", now=now + 9999 * MINUTE)
        assert journal.undelivered() == 0


def test_what_waits_for_an_address_that_was_removed_is_dropped_and_told(
    home: tuple[Session, Journal, Settings],
) -> None:
    session, journal, _ = home
    now, gone = 1_000_000_000_000_000, f"webhook://127.0.0.1:{free_port()}/token"
    with webhook() as here:
        kept = f"webhook://127.0.0.1:{here.server_port}"
        raise_alarm(journal, Monitor(notify=[gone, kept]), 3, fired=True)
        deliver_in(session, journal, "houses", monitor=Monitor(notify=[gone, kept]), now=now)
        here.status = 503
        raise_alarm(journal, Monitor(notify=[gone, kept]), 4, fired=False, away=False)
        deliver_in(session, journal, "houses", now=now + 60 * MINUTE)  # nobody knows what the project names: it waits
        assert journal.undelivered() == 3
        left = Monitor(notify=[kept])
        (told,) = deliver_in(session, journal, "houses", monitor=left, now=now + 60 * MINUTE)
        assert (
            told == f"alarms were not told at {channels.masked(gone)}, which the project no longer names: 2 dropped"
        )
        assert "token" not in told
        (fact,) = [fact for fact in session.workspace.ledger.facts() if fact.kind == "alarm.untold"]
        assert (fact.body["alarm"], fact.body["messages"]) == ("houses-1-drift-1", 2)
        assert fact.body["address"] == channels.masked(gone)
        assert [each.address for each in journal.due(2**62)] == [kept]  # what another address waits for stays
        here.status = 200
        assert deliver_in(session, journal, "houses", monitor=left, now=now + 999 * MINUTE) == ()
        assert [got["event"] for got in here.got] == ["raised", "resolved"]
        assert len([fact for fact in session.workspace.ledger.facts() if fact.kind == "alarm.untold"]) == 1


def test_two_senders_at_once_send_once(home: tuple[Session, Journal, Settings]) -> None:
    session, journal, _ = home
    with webhook() as here:
        monitor = Monitor(notify=[f"webhook://127.0.0.1:{here.server_port}"])
        raise_alarm(journal, monitor, 3, fired=True)
        with locked(session.folder("monitoring") / "houses.sending.lock", 0.0):
            assert deliver_in(session, journal, "houses") == ()
        assert here.got == []
        deliver_in(session, journal, "houses")
        assert len(here.got) == 1


SENDER = """
import sys
from fullcircle.flows.alarms import deliver_in
from fullcircle.flows.session import opened
from fullcircle.monitoring.journal import Journal
from fullcircle.settings import load
with opened(load({"workspace": sys.argv[1]})) as session:
    with Journal(session.folder("monitoring") / "houses.db") as journal:
        deliver_in(session, journal, "houses")
"""


def test_a_process_killed_before_it_noted_the_sending_sends_the_same_message_again(
    home: tuple[Session, Journal, Settings],
) -> None:
    session, journal, settings = home
    with webhook() as here:
        raise_alarm(journal, Monitor(notify=[f"webhook://127.0.0.1:{here.server_port}"]), 3, fired=True)
        here.stuck.set()
        process = subprocess.Popen([sys.executable, "-c", SENDER, str(settings.workspace)])
        try:
            assert len(here.wait(1)) == 1
        finally:
            process.kill()
            process.wait()
        assert journal.undelivered() == 1
        here.stuck.clear()
        deliver_in(session, journal, "houses")
        assert [got["id"] for got in here.got] == [here.got[0]["id"]] * 2
    assert journal.undelivered() == 0


def test_open_alarms_are_held_open_where_they_would_be_forgotten(home: tuple[Session, Journal, Settings]) -> None:
    session, journal, settings = home
    now = micros("2025-03-05T00:00:00.000000Z")
    assert now is not None
    with webhook() as here:
        monitor = Monitor(notify=[f"alertmanager://127.0.0.1:{here.server_port}/am"])
        raise_alarm(journal, monitor, 3, fired=True)
        deliver_in(session, journal, "houses", monitor=monitor, now=now)
        deliver_in(session, journal, "houses", monitor=monitor, now=now)
        deliver_in(session, journal, "houses", monitor=monitor, now=now + MINUTE // 2)
        assert len(here.got) == 2
        # Also one that somebody took on: it goes on all the same.
        acknowledge("houses", "houses-1-drift-1", reason="known", settings=settings)
        deliver_in(session, journal, "houses", monitor=monitor, now=now + 2 * MINUTE)
        assert len(here.got) == 3
        assert here.paths == ["/am/api/v2/alerts"] * 3
        labels = [alert["labels"] for (alert,) in here.got]
        assert labels[0] == labels[1] == labels[2]  # or Alertmanager takes them for several alerts
        assert labels[0] == {
            "alertname": "FullcircleDrift",
            "alarm": "houses-1-drift-1",
            "model": "houses",
            "version": "1",
            "kind": "drift",
            "severity": "ticket",
        }
        raise_alarm(journal, monitor, 6, fired=False, away=False)
        deliver_in(session, journal, "houses", monitor=monitor, now=now + 9 * MINUTE)
        deliver_in(session, journal, "houses", monitor=monitor, now=now + 19 * MINUTE)
        assert len(here.got) == 4
        assert here.got[3][0]["endsAt"] == "2025-03-06T00:00:00.000000Z"


def test_alarms_are_listed_and_taken_on_once(home: tuple[Session, Journal, Settings]) -> None:
    session, journal, settings = home
    assert list_alarms("houses", settings=settings).alarms == ()
    monitor = Monitor(notify=["webhook://127.0.0.1:1"])
    raise_alarm(journal, monitor, 3, fired=True)
    found = list_alarms("houses", settings=settings)
    assert [(each.id, each.state) for each in found.alarms] == [("houses-1-drift-1", "open")]
    assert found.waiting == 1
    taken = acknowledge("houses", "houses-1-drift-1", reason="a new unit, known", settings=settings)
    assert (taken.state, taken.acknowledged_by) == ("acknowledged", session.workspace.ledger.actor)
    assert acknowledge("houses", "houses-1-drift-1", reason="again", settings=settings) == taken
    facts = [fact for fact in session.workspace.ledger.facts() if fact.kind == "alarm.acknowledged"]
    assert [fact.body["reason"] for fact in facts] == ["a new unit, known"]
    assert facts[0].body["alarm"] == "houses-1-drift-1"
    raise_alarm(journal, monitor, 5, fired=False, away=False)
    assert list_alarms("houses", settings=settings).alarms == ()
    assert [each.state for each in list_alarms("houses", resolved=True, settings=settings).alarms] == ["resolved"]
    with pytest.raises(StateConflict):
        acknowledge("houses", "houses-1-drift-1", reason="late", settings=settings)


def test_what_is_not_there_cannot_be_taken_on(home: tuple[Session, Journal, Settings]) -> None:
    _, journal, settings = home
    raise_alarm(journal, Monitor(), 3, fired=True)
    with pytest.raises(AlarmNotFound) as caught:
        acknowledge("houses", "houses-1-drift-9", reason="why", settings=settings)
    assert caught.value.allowed == "houses-1-drift-1"
    with pytest.raises(VersionNotFound):
        list_alarms(circles.write_project(journal.path.parent / "other", unheard([])), settings=settings)
    # A reason that the ledger cannot hold changes nothing.
    with pytest.raises(FactInvalid):
        acknowledge("houses", "houses-1-drift-1", reason="x" * 501, settings=settings)
    assert journal.alarms()[0].state == "open"
    assert journal.facts() == []


def unheard(notify: list[str]) -> str:
    return PROJECT.replace("NOTIFY", repr(notify)).replace('"houses"', '"unheard"')


def test_a_model_that_was_never_monitored_has_no_alarms(tmp_path: Path) -> None:
    settings, digest = circles.settings(tmp_path), "0" * 64
    with opened(settings) as session:
        session.record(
            "version.registered",
            model="houses", version=1, run="r", bundle=digest, report=digest, snapshot=digest, proof=digest,
        )  # fmt: skip
    assert list_alarms("houses", settings=settings).alarms == ()
    with pytest.raises(AlarmNotFound):
        acknowledge("houses", "houses-1-drift-1", reason="why", settings=settings)
    assert not (settings.workspace / "monitoring" / "houses.db").exists()


def test_every_address_gets_a_test_message_and_what_became_of_it_is_said(tmp_path: Path) -> None:
    with webhook() as here:
        up, down = f"webhook://127.0.0.1:{here.server_port}/in", f"webhook://127.0.0.1:{free_port()}/token"
        project = circles.write_project(tmp_path / "p", PROJECT.replace("NOTIFY", repr([up, down])))
        found = try_addresses(project)
        assert [got["event"] for got in here.got] == ["test"]
        assert not found.well
        assert [bool(each.problem) for each in found.addresses] == [False, True]
        said = CliRunner().invoke(app, ["alarms", "test", str(project)])
        assert said.exit_code == 1
        assert "it arrived" in said.output
        assert "token" not in said.output
    with pytest.raises(SettingInvalid):
        try_addresses(circles.write_project(tmp_path / "q", PROJECT.replace("NOTIFY", "[]")))


def test_the_commands_say_it_in_words_and_as_json(home: tuple[Session, Journal, Settings]) -> None:
    _, journal, settings = home

    def asked(*words: str, code: int = 0) -> str:
        found = CliRunner().invoke(app, ["alarms", *words, "--workspace", str(settings.workspace)])
        assert found.exit_code == code, found.output
        return found.output

    assert "no alarm is open" in asked("list", "houses")
    raise_alarm(journal, Monitor(), 3, fired=True)
    text = " ".join(asked("list", "houses").split())
    assert "houses: 1 alarm ticket houses-1-drift-1 open, since" in text
    assert "bmi (the mean rose)" in text
    listed: dict[str, Any] = json.loads(asked("list", "houses", "--json"))
    assert [each["id"] for each in listed["alarms"]] == ["houses-1-drift-1"]
    assert "acknowledged by" in asked("ack", "houses", "houses-1-drift-1", "--reason", "known")
    error = json.loads(asked("ack", "houses", "nothing", "--reason", "x", "--json", code=2))["error"]
    assert error["code"] == "alarm_not_found"


@pytest.mark.parametrize(
    "notify", ["slack://secret", ["secret"], ["env:"], ["env:A B"], [3], ["://secret"], ["a://"]]
)
def test_what_is_no_address_is_refused_when_the_project_is_loaded_and_not_shown(notify: Any) -> None:
    with pytest.raises(ProjectInvalid) as caught:
        Monitor(notify=notify)
    assert "secret" not in str(caught.value)


def test_doctor_looks_at_the_addresses_and_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLCIRCLE_TEST_HOOK", "webhook://here/token")
    notify = [
        "alertmanager://am:9093",
        "env:FULLCIRCLE_TEST_HOOK",
        "env:FULLCIRCLE_TEST_NOT_SET",
        "unheard://s3cret",
        "mailto://ann:s3cret@example.org",
    ]
    project = circles.write_project(tmp_path / "p", PROJECT.replace("NOTIFY", repr(notify)))
    found = doctor(project, settings=circles.unbegun(tmp_path / "none"))
    lines = {each.name: each for each in found.checks if each.name.startswith("alarms to ")}
    assert {name: each.status for name, each in lines.items()} == {
        "alarms to alertmanager://am:9093": "ok",
        "alarms to env:FULLCIRCLE_TEST_HOOK": "ok",
        "alarms to env:FULLCIRCLE_TEST_NOT_SET": "warn",
        "alarms to unheard://...": "warn",
        "alarms to mailto://example.org": "warn",
    }
    assert "s3cret" not in str(lines)
    assert lines["alarms to mailto://example.org"].next_step == (
        'put it into an environment variable: notify=["env:NAME"]'
    )
