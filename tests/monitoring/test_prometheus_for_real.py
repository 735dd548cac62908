"""The whole way: a real Prometheus with our rules scrapes a real server and a monitor's figures, something goes
wrong in each, and a real Alertmanager hears of both.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from circles import write_project
from fullcircle.deployment import client
from fullcircle.flows.rules import rules
from fullcircle.monitoring import exposition
from fullcircle.types.monitoring import Alarm, Monitored, Profile
from monitoring.test_alertmanager import PROGRAM, wait_ready
from receivers import free_port
from sample_models import ROWS, archive, serve
from server.test_process import Server

PROMETHEUS = shutil.which("prometheus")
pytestmark = [
    pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed (Debian: prometheus)"),
    pytest.mark.skipif(PROGRAM is None, reason="Alertmanager is not installed (Debian: prometheus-alertmanager)"),
]
PROJECT = """
import fullcircle as fc

def fit(X, y):
    raise RuntimeError("nothing is fitted for rules")

project = fc.Project(name="m", data="none.csv", label="y", features=["a"], fit=fit)
"""
CONFIG = """
global: {scrape_interval: 300ms, scrape_timeout: 300ms, evaluation_interval: 300ms}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ["127.0.0.1:ALERTS"]}]}]}
scrape_configs:
- {job_name: fullcircle, static_configs: [{targets: ["127.0.0.1:SERVER"]}]}
- {job_name: node, metrics_path: /m.prom, static_configs: [{targets: ["127.0.0.1:FILES"]}]}
"""
RESPONDING = "route: {receiver: none}\nreceivers: [{name: none}]\n"


class _Files(SimpleHTTPRequestHandler):
    """Hands on the text file as it is, as the node exporter's collector does."""

    extensions_map = {".prom": "text/plain; version=0.0.4"}  # noqa: RUF012 - it is the library's

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


@contextmanager
def files(folder: Path) -> Iterator[int]:
    """A port on loopback where the files of a folder are."""
    handler = functools.partial(_Files, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield found.server_port
        found.shutdown()
        thread.join()


@contextmanager
def program(folder: Path, port: int, *command: str) -> Iterator[None]:
    """A process that is ready, in a folder of its own, and is ended by its id."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        wait_ready(port, process, folder / "log")
        yield
    finally:
        process.terminate()
        process.wait(20)


def monitored(*alarms: Alarm) -> Monitored:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Monitored(
        model="m", version=1, at=at, budget="1 per year", reference=Profile(features=(), rows=9), alarms=alarms
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path, int, int]]:
    """A server that may lose log rows, a monitor's figures, the ports of Prometheus and Alertmanager."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("served", "figures", "alerts", "prometheus")}
    exposition.write(folders["figures"] / "m.prom", [monitored()])
    (folders["alerts"] / "config.yml").write_text(RESPONDING)
    (folders["prometheus"] / "rules.yml").write_text(rules(write_project(folders["served"] / "p", PROJECT)).text)
    alerts, port = free_port(), free_port()
    with ExitStack() as held:
        serve(folders["served"] / "served.json", {"m": (1, archive(1, compiled=True))})
        server = Server(folders["served"], "--log-bytes", "1", "--log-full", "count")
        held.callback(server.end)
        shown = held.enter_context(files(folders["figures"]))
        config = (
            CONFIG.replace("ALERTS", str(alerts)).replace("SERVER", str(server.port)).replace("FILES", str(shown))
        )
        (folders["prometheus"] / "config.yml").write_text(config)
        held.enter_context(
            program(
                folders["alerts"], alerts, str(PROGRAM), "--config.file=config.yml", "--storage.path=data",
                f"--web.listen-address=127.0.0.1:{alerts}", "--cluster.listen-address=",
            )
        )  # fmt: skip
        held.enter_context(
            program(
                folders["prometheus"], port, str(PROMETHEUS), "--config.file=config.yml",
                "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}",
            )
        )  # fmt: skip
        yield server, folders["figures"] / "m.prom", port, alerts


def asked(port: int, path: str, **words: str) -> Any:
    url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(words)}"
    with urllib.request.urlopen(url, timeout=10) as found:
        return json.load(found)


def value(port: int, expression: str) -> float | None:
    found = asked(port, "/api/v1/query", query=expression)["data"]["result"]
    return float(found[0]["value"][1]) if found else None


def until(true: Any, what: str) -> Any:
    deadline = time.monotonic() + 30
    while not (found := true()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def heard(alerts: int) -> dict[str, Any]:
    """What Alertmanager has been told, by the name of the alert."""
    return {each["labels"]["alertname"]: each for each in asked(alerts, "/api/v2/alerts")}


def test_what_goes_wrong_is_scraped_judged_and_told(watched: tuple[Server, Path, int, int]) -> None:
    server, figures, port, alerts = watched
    lost = 'fullcircle_prediction_log_lost_rows_total{model="m"}'
    until(lambda: value(port, lost) == 0.0 and value(port, "fullcircle_alarms_open") == 0.0, "nothing was scraped")
    groups = asked(port, "/api/v1/rules")["data"]["groups"]
    assert {group["name"]: len(group["rules"]) for group in groups} == {
        "fullcircle-m-recorded": 6,
        "fullcircle-m-alerts": 8,
    }
    until(lambda: all(each.get("health") == "ok" for each in shown(port)), "no rule was judged")
    until(
        lambda: {each["state"] for each in shown(port) if each["type"] == "alerting"} == {"inactive"},
        "something is wrong though nothing is",
    )
    assert heard(alerts) == {}

    assert len(client.predict(server.url, "m", ROWS[:3])) == 3
    asks = 'http_server_request_duration_seconds_count{http_route="/predict/{model}"}'
    until(lambda: value(port, asks) == 1.0, "the first request is not seen")  # a series that is new has no rate yet
    assert len(client.predict(server.url, "m", ROWS[:3])) == 3
    drift = Alarm(
        id="m-1-drift-1", model="m", version=1, kind="drift", severity="ticket", state="open", since="",
        opened="", updated="", text="", sure="", advice="", told="2026-01-01T00:00:00Z",
    )  # fmt: skip
    exposition.write(figures, [monitored(drift)])

    found = until(lambda: len(heard(alerts)) > 1 and heard(alerts), "no alert came")
    assert found.keys() == {"FullcircleLogLost", "FullcircleAlarmOpen"}
    assert found["FullcircleLogLost"]["labels"] | {"version": "1"} == {
        "alertname": "FullcircleLogLost", "model": "m", "version": "1", "severity": "ticket",
    }  # fmt: skip
    assert found["FullcircleAlarmOpen"]["labels"].items() >= {"severity": "ticket", "kind": "drift"}.items()
    assert found["FullcircleAlarmOpen"]["annotations"] == {"summary": "the monitor of m has an open alarm"}
    until(lambda: value(port, lost) == 6.0, "not all lost rows are seen")
    until(lambda: (value(port, "model:fullcircle_requests:rate5m") or 0) > 0, "no rate was recorded")
    assert value(port, "model:fullcircle_requests_failed:ratio5m") == 0.0
    assert 0 < (value(port, "model:fullcircle_latency_p99_seconds:rate5m") or 0) < 10


def test_a_server_that_is_gone_is_missed(watched: tuple[Server, Path, int, int]) -> None:
    server, figures, port, alerts = watched
    server.process.kill()
    exposition.write(figures, [monitored()])
    states = until(
        lambda: (
            (found := {each["name"]: each["state"] for each in shown(port) if each["type"] == "alerting"})[
                "FullcircleNotReady"
            ]
            != "inactive"
            and found["FullcircleAlarmOpen"] == "inactive"
            and found
        ),
        "nobody misses it",
    )
    assert states["FullcircleNotReady"] == "pending"  # it fires after two minutes of that
    assert "FullcircleNotReady" not in heard(alerts)


def shown(port: int) -> list[dict[str, Any]]:
    """All rules, as Prometheus says how they are."""
    return [rule for group in asked(port, "/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
