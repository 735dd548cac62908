"""A real Alertmanager takes alarms, sends them on where its routes say, and learns that they have ended."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fullcircle.monitoring.alarms import Message, decode, follow, standing, trial
from fullcircle.monitoring.channels import deliver
from fullcircle.types.monitoring import Alarm, Evidence, Suspect
from fullcircle.types.project import Monitor
from receivers import Webhook, free_port, webhook

PROGRAM = next((found for name in ("prometheus-alertmanager", "alertmanager") if (found := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="Alertmanager is not installed (Debian: prometheus-alertmanager)"
)
MONITOR = Monitor(window="1d")
CONFIG = """
route:
  receiver: tickets
  group_by: [model]
  group_wait: 50ms
  group_interval: 1s
  repeat_interval: 1h
  routes:
    - matchers: ['severity="page"']
      receiver: pages
      group_by: [model]
receivers:
  - name: tickets
    webhook_configs: [{url: "http://127.0.0.1:PORT/tickets", send_resolved: true}]
  - name: pages
    webhook_configs: [{url: "http://127.0.0.1:PORT/pages", send_resolved: true}]
"""


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    with webhook() as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, hook: Webhook) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    (folder / "config.yml").write_text(CONFIG.replace("PORT", str(hook.server_port)))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(PROGRAM),
                f"--config.file={folder / 'config.yml'}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_ready(port, process, folder / "log")
        yield f"alertmanager://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def wait_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.05)
    pytest.fail(log.read_text())


def asked(address: str) -> dict[str, dict[str, Any]]:
    url = address.replace("alertmanager", "http") + "/api/v2/alerts"
    with urllib.request.urlopen(url, timeout=5) as found:  # noqa: S310
        return {each["labels"]["alarm"]: each for each in json.load(found)}


def story(model: str, kind: Any, events: list[bool]) -> tuple[list[Message], Alarm]:
    alarms: tuple[Alarm, ...] = ()
    messages: list[Message] = []
    for day, on in enumerate(events, start=3):
        suspects = (Suspect(feature="bmi", distance=0.3, evidence=9.0),) if on else ()
        evidence = Evidence(kind=kind, level=9.0, threshold=7.0, fired=on, suspects=suspects)
        at = f"2025-03-{day:02}T00:00:00.000000Z"
        found = follow(alarms, [evidence], at=at, model=model, version=1, monitor=MONITOR, link="https://here/p")
        alarms = found.alarms
        messages += [decode(text) for text in found.messages]
    return messages, alarms[0]


def sent_on(hook: Webhook, model: str, status: str) -> Any:
    """What Alertmanager's webhook said of a model with this status: path and alert."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for path, got in zip(hook.paths, hook.got, strict=False):
            for alert in got["alerts"]:
                if alert["labels"]["model"] == model and alert["status"] == status:
                    return path, alert
        hook.wait(len(hook.got) + 1, 0.5)
    pytest.fail(f"nothing came of {model}, {status}: {hook.got}")


def test_an_alarm_goes_through_and_ends(address: str, hook: Webhook) -> None:
    (raised, resolved), alarm = story("harm", "risk", [True, False])
    assert deliver(address, raised) == ""
    assert deliver(address, raised) == ""  # twice is once: it has the same labels
    path, alert = sent_on(hook, "harm", "firing")
    assert path == "/pages"
    assert alert["labels"]["alertname"] == "FullcircleRisk"
    assert alert["annotations"]["summary"] == raised.title
    assert alert["annotations"]["description"] == raised.text
    assert alert["generatorURL"] == "https://here/p"
    assert list(asked(address)) == [alarm.id]
    assert deliver(address, resolved) == ""
    path, alert = sent_on(hook, "harm", "resolved")
    assert path == "/pages"
    assert alert["labels"]["alarm"] == alarm.id
    assert alarm.id not in asked(address)


def test_a_ticket_goes_where_tickets_go_and_is_held_open(address: str, hook: Webhook) -> None:
    (raised,), alarm = story("moved", "drift", [True])
    assert deliver(address, raised) == ""
    path, _ = sent_on(hook, "moved", "firing")
    assert path == "/tickets"
    before = asked(address)[alarm.id]
    assert deliver(address, standing(alarm, MONITOR, "2025-03-09T00:00:00.000000Z")) == ""
    after = asked(address)[alarm.id]
    assert after["endsAt"] > before["endsAt"]
    assert after["startsAt"] == before["startsAt"]
    assert after["fingerprint"] == before["fingerprint"]


def test_an_alarm_of_rows_whose_clock_was_ahead_is_taken_and_ends(address: str, hook: Webhook) -> None:
    (raised, resolved), alarm = story("ahead", "risk", [True, False])
    later = {"opened": "2999-03-03T00:00:00.000000Z"}
    assert deliver(address, replace(raised, at="2999-03-03T00:00:00.000000Z", alarm={**raised.alarm, **later})) == ""
    sent_on(hook, "ahead", "firing")
    ended = replace(resolved, at="2999-03-04T00:00:00.000000Z", alarm={**resolved.alarm, **later})
    assert deliver(address, ended) == ""
    sent_on(hook, "ahead", "resolved")
    assert alarm.id not in asked(address)


def test_a_test_message_comes_out_at_the_other_end(address: str, hook: Webhook) -> None:
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    assert deliver(address, trial("tried", at)) == ""
    path, alert = sent_on(hook, "tried", "firing")
    assert path == "/tickets"
    assert (alert["labels"]["alertname"], alert["labels"]["severity"]) == ("FullcircleTest", "test")
