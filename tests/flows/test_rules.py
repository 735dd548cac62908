"""Rules for Prometheus: the project's own thresholds, and a real Prometheus that loads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

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
def test_promtool_takes_the_rules_and_they_fire_where_they_should(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rules(project(tmp_path)).text)
    checked = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "14 rules found" in checked.stdout
    (tmp_path / "test.yml").write_text(TEST.replace("COUNT{", "http_server_request_duration_seconds_count{"))
    tested = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


TEST = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
- interval: 1m
  input_series:
  - series: 'COUNT{http_route="/predict/{model}",model="m",http_response_status_code="200"}'
    values: '0+60x30'
  - series: 'COUNT{http_route="/predict/{model}",model="m",http_response_status_code="503"}'
    values: '0x10 0+60x20'
  - series: 'fullcircle_alarms_open{model="m",severity="page",kind="risk"}'
    values: '0x10 1x20'
  - series: 'fullcircle_model_workers{model="m",version="1"}'
    values: '2x30'
  alert_rule_test:
  - {eval_time: 9m, alertname: FullcircleFailing}
  - {eval_time: 9m, alertname: FullcircleAlarmOpen}
  - {eval_time: 20m, alertname: FullcircleNotReady}
  - eval_time: 20m
    alertname: FullcircleFailing
    exp_alerts:
    - exp_labels: {model: m, severity: page}
      exp_annotations: {summary: "more than 1 % of the requests to m fail on the server's side"}
  - eval_time: 20m
    alertname: FullcircleAlarmOpen
    exp_alerts:
    - exp_labels: {model: m, severity: page, kind: risk}
      exp_annotations: {summary: "the monitor of m has an open alarm"}
"""
