"""Rules for Prometheus: the project's own thresholds, and a real Prometheus that loads them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fullcircle.flows.rules import rules

PROJECT = """
import fullcircle as fc

def fit(X, y):
    raise RuntimeError("nothing is fitted for rules")

project = fc.Project(name="m", data="none.csv", label="y", features=["a"], fit=fit{more})
"""


def project(folder: Path, more: str = "") -> Path:
    path = folder / "project.py"
    path.write_text(PROJECT.replace("{more}", more))
    return path


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ("", 1.0),
        (', serving=fc.Serving(requests_per_day=10, latency="20s")', 20.0),
        (', serving=fc.Serving(requests_per_day=10, latency="20s"), gates=[fc.latency(p99="5ms")]', 0.005),
    ],
)
def test_the_limit_is_the_projects_own(tmp_path: Path, more: str, seconds: float) -> None:
    found = rules(project(tmp_path, more))
    assert found.latency == seconds
    assert f'rate5m{{model=\\"m\\"}} > {seconds:g}"' in found.text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_each_rule_fires_where_it_should_and_nowhere_else(tmp_path: Path) -> None:
    gates = ', gates=[fc.latency(p99="100ms")], monitor=fc.Monitor(window="1h")'
    (tmp_path / "rules.yml").write_text(rules(project(tmp_path, gates)).text)
    cases = [case for name, cases in CASES.items() for case in told(name, cases)]
    assert {f"Fullcircle{name}" for name in CASES} == set(NAMES.findall((tmp_path / "rules.yml").read_text()))
    found = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": cases}
    (tmp_path / "test.yml").write_text(json.dumps(found))  # JSON is YAML
    tested = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def told(name: str, cases: Any) -> Iterator[dict[str, Any]]:
    """promtool's tests of one rule: series with which it fires in that minute, and with which it does not."""
    labels, summary, minute, firing, *quiet = cases
    for series, fires in [*((each, True) for each in firing), *((each, False) for each in quiet)]:
        alert = {"exp_labels": {"model": "m", **labels}, "exp_annotations": {"summary": summary}}
        yield {
            "interval": "1m",
            "input_series": [{"series": which, "values": values} for which, values in series.items()],
            "alert_rule_test": [
                {
                    "eval_time": f"{minute}m",
                    "alertname": f"Fullcircle{name}",
                    "exp_alerts": [alert] if fires else [],
                }
            ],
        }


def requests(status: str, model: str = "m", what: str = "count", more: str = "") -> str:
    name = f"http_server_request_duration_seconds_{what}"
    return f'{name}{{http_route="/predict/{{model}}",model="{model}",http_response_status_code="{status}"{more}}}'


def slow(below: str, above: str) -> dict[str, str]:
    """Requests that took up to 0.1 s, and those that took between 0.1 and 0.25."""
    bounds = {"0.05": "0x30", "0.1": below, "0.25": above, "+Inf": above}
    return {requests("200", what="bucket", more=f',le="{le}"'): values for le, values in bounds.items()}


WORKERS = 'fullcircle_model_workers{model="m",version="1"}'
BUSY_FOR = 'fullcircle_model_busy_seconds_total{model="m",version="1"}'
LOST = 'fullcircle_prediction_log_lost_rows_total{model="m",version="1"}'
RAN = 'fullcircle_monitor_timestamp_seconds{model="m",version="1"}'
HERE = 'instance="a",job="j"'
BOUND = f"fullcircle_requests_bound{{{HERE}}}"
NAMES = re.compile(r'alert: "(\w+)"')


def waiting(model: str) -> str:
    return f'fullcircle_requests_waiting{{model="{model}",{HERE}}}'


CASES: dict[str, Any] = {
    "Failing": (
        {"severity": "page"}, "more than 1 % of the requests to m fail on the server's side", 20,
        [{requests("200"): "0+60x30", requests("503"): "0x10 0+60x20"}],
        {requests("200"): "0+6000x30", requests("503"): "0x10 0+6x20"},  # 1 in 1000
        {requests("200"): "0+60x30", requests("422"): "0+60x30"},  # the caller's
        {requests("503", "other"): "0+60x30"},
        {requests("503"): "0+60x5 300x25"},  # it is over
    ),
    "Slow": (
        {"severity": "page"}, "1 % of the requests to m take longer than 0.1 s", 20,
        [slow("0+95x30", "0+100x30")],
        slow("0+995x30", "0+1000x30"),  # 5 in 1000
        slow("0x30", "0+100x8 800x22"),  # it is over
    ),
    "Busy": (
        {"severity": "ticket"}, "the model m computes more than 90 % of the time: more workers are needed", 25,
        [{WORKERS: "2x30", BUSY_FOR: "0+114x30"}],
        {WORKERS: "2x30", BUSY_FOR: "0+100x30"},
        {WORKERS: "4x30", BUSY_FOR: "0+114x30"},
        {WORKERS: "2x30", BUSY_FOR: "0x18 0+114x12"},  # not long enough
    ),
    "QueueFull": (
        {"severity": "page", "instance": "a", "job": "j"}, "the queue of m is more than 80 % full", 10,
        [{waiting("m"): "900x30", BOUND: "1024x30"}],
        {waiting("m"): "800x30", BOUND: "1024x30"},
        {waiting("m"): "500x30", waiting("other"): "500x30", BOUND: "1024x30"},  # each has a bound of its own
        {waiting("m"): "0x9 900x1 0x20", BOUND: "1024x30"},
    ),
    "NotReady": (
        {"severity": "page"}, "no worker answers for m", 10,
        [{WORKERS.replace('"m"', '"other"'): "2x30"}, {WORKERS: "2x5 stale"}, {WORKERS: "2x5 0x20"}],
        {WORKERS: "2x30"},
        {WORKERS: "2x7 _x2 2x20"},
    ),
    "LogLost": (
        {"severity": "ticket", "version": "1"}, "rows of m were answered and not written to the prediction log", 10,
        [{LOST: "0x8 3x20"}, {LOST: "0x8 3x20", LOST.replace("}", ",instance=\"b\"}"): "0x8 3x20"}],
        {LOST: "3x30"},  # long ago
        {LOST: "0x30"},
        {LOST.replace('"m"', '"other"'): "0+3x30"},
    ),
    "AlarmOpen": (
        {"severity": "page", "kind": "risk"}, "the monitor of m has an open alarm", 10,
        [{'fullcircle_alarms_open{model="m",severity="page",kind="risk"}': "0x5 1x20",
          'fullcircle_alarms_open{model="m",severity="ticket",kind="drift"}': "0x30"}],
        {'fullcircle_alarms_open{model="m",severity="page",kind="risk"}': "1x5 0x20"},
    ),
    "MonitorStopped": (
        {"severity": "ticket"}, "the monitor of m has not run for 3 windows", 300,
        [{RAN: "0+60x60 3600x300"}, {RAN: "0+60x60 _x300"}],  # it stands still, or is gone with its machine
        {RAN: "0+60x400"},
        {RAN: "0+60x200 12000x300"},  # less than three windows ago
        {"up": "1x400"},  # nobody writes its figures
    ),
}  # fmt: skip
