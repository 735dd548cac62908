"""Alarms over real sockets: webhooks, mail through Apprise, what a channel that does not work says, and secrets."""

from __future__ import annotations

import io
import logging
import threading
import time
from dataclasses import replace

import pytest

from fullcircle.monitoring import alarmwords, channels
from fullcircle.monitoring.alarms import Message, trial
from fullcircle.monitoring.channels import deliver, masked, unfit
from fullcircle.monitoring.sending import STUBBORN, Letter, send
from fullcircle.types.monitoring import Alarm
from receivers import free_port, mailbox, webhook

MESSAGE = trial("houses", "2025-03-03T00:00:00.000000Z")
ALARM = Alarm(
    id="m-1-risk-1", model="m", version=1, kind="risk", severity="page", state="acknowledged", since="s", opened="o",
    updated="u", text="t", sure="s", advice="a", acknowledged_by="ann", cost=1.0, currency="EUR", link="l",
)  # fmt: skip


def letter(number: int, failures: int = 0) -> Letter:
    return (
        number,
        Message(id=f"m{number}", event="raised", at=MESSAGE.at, severity="page", title="t", text="x"),
        failures,
    )


def test_a_webhook_gets_the_whole_message() -> None:
    with webhook() as here:
        assert deliver(f"webhook://ann:p%40ss@127.0.0.1:{here.server_port}/in?x=1", MESSAGE) == ""
    (got,) = here.got
    assert (got["id"], got["event"], got["title"]) == (MESSAGE.id, "test", MESSAGE.title)
    assert here.paths == ["/in?x=1"]
    assert here.headers[0]["Authorization"] == "Basic YW5uOnBAc3M="


def test_apprises_own_webhook_gets_title_and_text() -> None:
    with webhook() as here:
        assert deliver(f"json://127.0.0.1:{here.server_port}/", MESSAGE) == ""
    (got,) = here.got
    assert got["title"] == MESSAGE.title
    assert MESSAGE.id in got["message"]
    assert got["type"] == "info"


def test_mail_arrives_as_plain_text() -> None:
    with mailbox() as here:
        address = f"mailto://127.0.0.1:{here.server_address[1]}?from=fc@example.org&to=ann@example.org&mode=insecure"
        assert unfit(address) == ""
        assert deliver(address, MESSAGE) == ""
    (mail,) = here.got
    assert mail["Subject"] == MESSAGE.title
    assert "ann@example.org" in mail["To"]
    body = mail.get_body(("plain",))
    assert body is not None
    assert MESSAGE.text.splitlines()[0] in body.get_content()
    assert MESSAGE.id in body.get_content()


@pytest.mark.parametrize("scheme", ["webhook", "alertmanager", "json"])
def test_nobody_there_is_said_and_not_raised(scheme: str) -> None:
    said = deliver(f"{scheme}://ann:secret@127.0.0.1:{free_port()}/token", MESSAGE)
    assert said
    assert "secret" not in said
    assert "token" not in said


def test_a_receiver_that_refuses_has_not_got_it() -> None:
    with webhook() as here:
        here.status = 503
        assert deliver(f"webhook://127.0.0.1:{here.server_port}", MESSAGE) == "it was answered with status 503"
        here.status = 302
        assert deliver(f"webhook://127.0.0.1:{here.server_port}", MESSAGE) == "it was answered with status 302"
    assert here.got == []


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("nobody", "scheme://"),
        ("webhook://", "webhook://HOST:PORT/PATH"),
        ("alertmanager://host:99999", "alertmanager://HOST:PORT/PATH"),
        ("webhook://host/a\nb", "webhook://HOST:PORT/PATH"),
        ("unheard://of", "Apprise knows no such address"),
        ("slack://", "Apprise knows no such address"),
        ("env:FULLCIRCLE_TEST_NOWHERE", "FULLCIRCLE_TEST_NOWHERE is not set"),
    ],
)
def test_an_address_that_cannot_work_is_known_before_anything_is_sent(address: str, why: str) -> None:
    assert why in unfit(address)
    assert why in deliver(address, MESSAGE)


def test_addresses_that_can_work_are_fit() -> None:
    token = "T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"  # a form, and nobody's token
    for address in (f"slack://{token}", "mailto://ann:pw@example.org", "alertmanagers://am.example.org/prefix"):
        assert unfit(address) == ""


def test_an_address_in_the_environment_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    with webhook() as here:
        monkeypatch.setenv("FULLCIRCLE_TEST_HOOK", f"webhook://127.0.0.1:{here.server_port}/token")
        assert deliver("env:FULLCIRCLE_TEST_HOOK", MESSAGE) == ""
        assert masked("env:FULLCIRCLE_TEST_HOOK") == "env:FULLCIRCLE_TEST_HOOK"
    assert len(here.got) == 1


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("slack://TokenA/TokenB/TokenC", "slack://..."),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", "discord://..."),
        ("mailto://ann:secret@example.org?to=bob", "mailto://example.org"),
        ("webhooks://ann:secret@[::1]:8443/token?k=secret", "webhooks://[::1]:8443"),
        ("alertmanager://am:9093/x", "alertmanager://am:9093"),
        ("webhook://host:secret/", "webhook://..."),
        ("webhook://ann:p/w@host/", "webhook://..."),
        ("secret", "an address without a scheme"),
    ],
)
def test_nothing_secret_of_an_address_is_shown(address: str, shown: str) -> None:
    assert masked(address) == shown


def test_a_channel_writes_nothing_in_any_log(capfd: pytest.CaptureFixture[str]) -> None:
    # pytest's own fixture listens to loggers that hand nothing on, too: this is what a program would set up.
    text, log = io.StringIO(), logging.getLogger()
    handler, before = logging.StreamHandler(text), log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    try:
        with webhook() as here:
            assert deliver(f"json://ann:secret@127.0.0.1:{here.server_port}/token", MESSAGE) == ""
            assert here.paths == ["/token"]
        deliver(f"json://ann:secret@127.0.0.1:{free_port()}/token", MESSAGE)
        unfit("slack://secret")
        unfit("unheard://secret")
        assert text.getvalue() == ""
        for name in ("apprise", "urllib3.connectionpool"):  # what others have to say with these is heard
            logging.getLogger(name).warning("%s goes on", name)
        assert text.getvalue() == "apprise goes on\nurllib3.connectionpool goes on\n"
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
    assert capfd.readouterr() == ("", "")


HOSTILE = "@everyone <!channel> <users/all> [here](http://evil.example) <b>bmi</b> a_b & *c*"


def test_no_name_of_a_column_calls_anybody_or_hides_a_link() -> None:
    message = replace(MESSAGE, title=f"[test] {HOSTILE}", text=f"What: {HOSTILE}")
    with webhook() as here, mailbox() as post:
        address = f"mailto://127.0.0.1:{post.server_address[1]}?from=fc@example.org&to=ann@example.org&mode=insecure"
        assert deliver(address, message) == ""
        assert deliver(f"json://127.0.0.1:{here.server_port}/", message) == ""
        assert deliver(f"webhook://127.0.0.1:{here.server_port}/", message) == ""
    chat, whole = here.got
    (mail,) = post.got
    html = mail.get_body(("html",))
    for found in (chat["title"], chat["message"], html.get_content() if html else "", mail["Subject"]):
        assert not [sign for sign in ("@everyone", "<!", "<users", "](", "<b>bmi") if sign in found]
    assert HOSTILE in chat["message"].replace("\u200b", "")  # what people see is what it is
    assert whole["text"] == message.text  # a program gets it as it is
    assert list(mail).count("Subject") == 1


def test_what_a_user_wrote_is_one_line_of_a_message() -> None:
    breaks = "x\r\nBcc: all@example.org\x00\x1b[31m\u202e\u2028y"
    alarm = replace(
        ALARM, id=breaks, model=breaks, since=breaks, opened=breaks, text=breaks, sure=breaks, advice=breaks,
        acknowledged_by=breaks, currency=breaks, link=breaks,
    )  # fmt: skip
    for event in ("raised", "still", "resolved"):
        told = alarmwords.body(alarm, event, [alarm])
        plain = alarmwords.body(ALARM, event, [ALARM])
        assert len(told.splitlines()) == len(plain.splitlines())
        assert all(letter.isprintable() for line in told.split("\n") for letter in line)
        title = alarmwords.title(alarm, event)
        assert title.isprintable()
        with mailbox() as post:
            address = f"mailto://127.0.0.1:{post.server_address[1]}?from=fc@x.org&to=ann@x.org&mode=insecure"
            assert deliver(address, replace(MESSAGE, title=title, text=told)) == ""
        (mail,) = post.got
        assert mail["Bcc"] is None
        assert "Bcc" in mail["Subject"]


def test_each_address_gets_its_messages_in_order_and_none_behind_one_that_failed() -> None:
    down = f"webhook://127.0.0.1:{free_port()}"
    with webhook() as here:
        up = f"webhook://127.0.0.1:{here.server_port}"
        told = list(send({down: [letter(1), letter(2)], up: [letter(3), letter(4)]}, seconds=20))
    assert [(address, number) for address, number, why in told if why] == [(down, 1)]
    assert [number for address, number, why in told if not why] == [3, 4]
    assert [got["id"] for got in here.got] == ["m3", "m4"]


def test_a_message_that_nobody_takes_does_not_hold_up_the_others_for_ever() -> None:
    down = f"webhook://127.0.0.1:{free_port()}"
    told = list(send({down: [letter(1, STUBBORN), letter(2)]}, seconds=20))
    assert [number for _, number, _ in told] == [1, 2]


def test_a_receiver_that_hangs_holds_up_nobody_beyond_the_limit() -> None:
    with webhook() as here, webhook() as slow:
        slow.stuck.set()
        slow.hang = 3.0
        hung, up = (f"webhook://127.0.0.1:{each.server_port}" for each in (slow, here))
        before, begun = set(threading.enumerate()), time.monotonic()
        told = list(send({hung: [letter(1), letter(2)], up: [letter(3)]}, seconds=0.5))
        assert time.monotonic() - begun < 2.5
        assert (hung, 1, "no answer within 0.5 seconds") in told
        assert [number for address, number, _ in told if address == hung] == [1]
        # What is left behind comes to its end, and sends nothing more.
        for thread in set(threading.enumerate()) - before:
            thread.join(20)
        assert len(slow.got) == 1


def test_nothing_to_send_is_nothing() -> None:
    before = threading.active_count()
    assert list(send({}, seconds=1.0)) == []
    assert threading.active_count() == before


def test_alertmanagers_are_those_that_forget() -> None:
    assert channels.standing("alertmanagers://am")
    assert not channels.standing("webhook://alertmanager://")


@pytest.mark.parametrize(
    ("address", "does"),
    [
        ("env:NAME", False),
        ("alertmanager://am:9093", False),
        ("webhook://host/path", False),
        ("webhook://ann:pw@host/path", True),
        ("slack://token", True),
        ("mailto://ann:pw@host", True),
    ],
)
def test_a_secret_may_travel_with_the_project(address: str, does: bool) -> None:
    assert channels.travels(address) is does
