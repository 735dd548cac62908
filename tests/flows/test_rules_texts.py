"""The text of the rules for Prometheus: whole YAML, the project's own limits, and no name that could break out."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fullcircle.errors import FullcircleError
from fullcircle.flows.rules import BUSY, FAILED, QUEUE, Rules, rules
from fullcircle.tables.requests import SECONDS

PROJECT = """
import fullcircle as fc

def fit(X, y):
    raise RuntimeError("nothing is fitted for rules")

project = fc.Project(name=NAME, data="none.csv", label="y", features=["a"], fit=fit, MORE)
"""
LIMITS = [
    ("", 1.0),
    ('serving=fc.Serving(requests_per_day=1, latency="1500ms")', 1.5),
    ('gates=[fc.latency(p99="250ms"), fc.latency(p99="40ms"), fc.latency(p99="2s")]', 0.04),  # the strictest
    (
        'gates=[fc.size("1MB")], serving=fc.Serving(requests_per_day=1, latency="2m")',
        120.0,
    ),  # a gate of something else
    (
        'gates=[fc.latency(p99="30s")], serving=fc.Serving(requests_per_day=1, latency="1s")',
        30.0,
    ),  # a gate comes first
]


def made(folder: Path, more: str = "", name: str = "m") -> Rules:
    path = folder / "project.py"
    path.write_text(PROJECT.replace("NAME", json.dumps(name)).replace("MORE", more))
    return rules(path)


def entries(found: Rules) -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(found.text)["groups"]
    assert [group["name"] for group in groups] == [
        f"fullcircle-{found.model}-{part}" for part in ("recorded", "alerts")
    ]
    return {entry.get("alert") or entry["record"]: entry for group in groups for entry in group["rules"]}


@pytest.mark.parametrize(("more", "seconds"), LIMITS)
def test_the_strictest_limit_of_latency_is_asked_for_and_told(tmp_path: Path, more: str, seconds: float) -> None:
    found = made(tmp_path, more)
    slow = entries(found)["FullcircleSlow"]
    assert found.latency == pytest.approx(seconds)
    assert float(slow["expr"].rpartition("> ")[2]) == pytest.approx(seconds)
    known = seconds < SECONDS[-1]  # a histogram can tell no percentile beyond its last bound
    assert ("_p99_" in slow["expr"], "_mean_" in slow["expr"]) == (known, not known)
    whose = "1 % of the requests to m take" if known else "the requests to m take on average"
    assert slow["annotations"]["summary"] == f"{whose} longer than {seconds:g} s"


@pytest.mark.parametrize(("window", "seconds"), [("7d", 1_814_400), ("1h", 10_800), ("90s", 270), ("4w", 7_257_600)])
def test_the_monitor_counts_as_stopped_after_three_of_its_windows(tmp_path: Path, window: str, seconds: int) -> None:
    stopped = entries(made(tmp_path, f'monitor=fc.Monitor(window="{window}")'))["FullcircleMonitorStopped"]
    assert stopped["expr"].endswith(f"> {seconds}")


def test_every_rule_is_of_this_model_alone_and_says_whom_to_call(tmp_path: Path) -> None:
    found = entries(made(tmp_path, name="bike-demand_2"))
    recorded = {name for name, entry in found.items() if "record" in entry}
    for entry in found.values():
        assert entry["labels"]["model"] == "bike-demand_2"
        assert 'model="bike-demand_2"' in entry["expr"]
        if "alert" in entry:
            assert entry["labels"]["severity"] in ("page", "ticket", "{{ $labels.severity }}")
            assert "bike-demand_2" in entry["annotations"]["summary"]
            asked = [word for word in entry["expr"].replace("{", " ").split() if word.startswith("model:")]
            assert set(asked) <= recorded  # what is asked for is recorded
    assert len(found) == 14


def test_the_limits_that_are_ours_are_in_the_rules_and_in_their_words(tmp_path: Path) -> None:
    found = entries(made(tmp_path))
    for name, limit in (("Failing", FAILED), ("Busy", BUSY), ("QueueFull", QUEUE)):
        entry = found[f"Fullcircle{name}"]
        assert float(entry["expr"].rpartition("> ")[2]) == limit
        assert f"{100 * limit:g} %" in entry["annotations"]["summary"]
    assert found["FullcircleAlarmOpen"]["labels"]["severity"] == "{{ $labels.severity }}"


@pytest.mark.parametrize("name", ['m"} or vector(1)', "m\n- name: x", "m{{ $value }}", "M", "", "m'", "m\\"])
def test_a_name_that_could_break_out_is_no_name_of_a_project(tmp_path: Path, name: str) -> None:
    with pytest.raises(FullcircleError, match="name"):
        made(tmp_path, name=name)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_takes_the_rules_of_all_these_projects_at_once(tmp_path: Path) -> None:
    written = []
    for place, (more, _) in enumerate(LIMITS):
        written.append(tmp_path / f"{place}.yml")
        written[-1].write_text(made(tmp_path, more, name=f"m-{place}").text)
    done = subprocess.run(
        ["promtool", "check", "rules", *map(str, written)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("14 rules found") == len(LIMITS)
