"""Prometheus' rules for one project: what is recorded of its server and its monitor, and when somebody is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fullcircle.development.loading import LoadedProject
from fullcircle.flows.session import loaded
from fullcircle.tables.requests import SECONDS
from fullcircle.types.durations import duration
from fullcircle.types.project import Project

FAILED = 0.01
"""The share of requests that may fail on our side (5xx) before somebody is called."""
BUSY, QUEUE = 0.9, 0.8
_LATEST = 3  # windows without a run of the monitor after which it counts as stopped
_MISSED = 86_400  # seconds for which a monitor whose figures are gone as a whole is still missed
_SERVER = "http_server_request_duration_seconds"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules of a model: ``text`` is the file, in YAML; ``latency`` the limit in seconds that it asks for."""

    model: str
    latency: float
    text: str


def rules(project: str | Path | LoadedProject) -> Rules:
    """The rules for a project, with its own thresholds.

    Of latency: that of ``fc.latency(p99=...)``, else of ``serving.latency``, else one second.
    """
    found = loaded(project).project
    seconds = _latency(found)
    groups = [
        (f"fullcircle-{found.name}-recorded", [*_recorded(found.name)]),
        (f"fullcircle-{found.name}-alerts", [*_alerts(found, seconds)]),
    ]
    lines = [f"# Rules for Prometheus: the model {found.name}. Check with: promtool check rules FILE", "groups:"]
    for name, entries in groups:
        lines += [f"- name: {json.dumps(name)}", "  rules:"]
        for entry in entries:
            lines += _shown(entry)
    return Rules(model=found.name, latency=seconds, text="\n".join(lines) + "\n")


def _latency(project: Project) -> float:
    gates = [gate.limit / 1000 for gate in project.gates if gate.kind == "latency"]
    if gates:
        return float(min(gates))
    return 1.0 if project.serving is None else duration(project.serving.latency).total_seconds()


def _recorded(model: str) -> Iterator[dict[str, object]]:
    own = f'http_route="/predict/{{model}}",model="{model}"'
    every = f"sum by (model) (rate({_SERVER}_count{{{own}}}[5m]))"
    ours = f'sum by (model) (rate({_SERVER}_count{{{own},http_response_status_code=~"5.."}}[5m]))'
    callers = f'sum by (model) (rate({_SERVER}_count{{{own},http_response_status_code=~"4.."}}[5m]))'
    busy = f'sum by (model) (rate(fullcircle_model_busy_seconds_total{{model="{model}"}}[5m]))'
    workers = f'sum by (model) (fullcircle_model_workers{{model="{model}"}})'
    for name, expression in (
        ("model:fullcircle_requests:rate5m", every),
        ("model:fullcircle_requests_failed:ratio5m", f"({ours} or 0 * {every}) / ({every} > 0)"),
        ("model:fullcircle_requests_refused_caller:ratio5m", f"({callers} or 0 * {every}) / ({every} > 0)"),
        (
            "model:fullcircle_latency_mean_seconds:rate5m",
            f"sum by (model) (rate({_SERVER}_sum{{{own}}}[5m])) / ({every} > 0)",
        ),
        (
            "model:fullcircle_latency_p99_seconds:rate5m",
            f"histogram_quantile(0.99, sum by (le, model) (rate({_SERVER}_bucket{{{own}}}[5m])))",
        ),
        ("model:fullcircle_busy:ratio5m", f"{busy} / {workers}"),
    ):
        yield {"record": name, "expr": expression, "labels": {"model": model}}


def _alerts(project: Project, seconds: float) -> Iterator[dict[str, object]]:
    model = project.name
    own = f'{{model="{model}"}}'
    late = int(_LATEST * duration(project.monitor.window).total_seconds())
    queue = (
        f"sum by (instance, job) (fullcircle_requests_waiting{own})"
        " / sum by (instance, job) (fullcircle_requests_bound)"
    )
    ran = f"max by (model) (last_over_time(fullcircle_monitor_timestamp_seconds{own}[{late + _MISSED}s]))"
    slow, told = "p99_seconds", f"1 % of the requests to {model} take"
    if seconds >= SECONDS[-1]:  # the histogram cannot tell a percentile beyond its last bound
        slow, told = "mean_seconds", f"the requests to {model} take on average"
    lost = f"sum by (model, version) (increase(fullcircle_prediction_log_lost_rows_total{own}[15m])) > 0"
    absent = f"absent(fullcircle_model_workers{own}) or sum by (model) (fullcircle_model_workers{own}) == 0"
    for name, expression, lasting, severity, summary in (
        ("Failing", f"model:fullcircle_requests_failed:ratio5m{own} > {FAILED:g}", "2m", "page",
         f"more than {100 * FAILED:g} % of the requests to {model} fail on the server's side"),
        ("Slow", f"model:fullcircle_latency_{slow}:rate5m{own} > {seconds:g}", "5m", "page",
         f"{told} longer than {seconds:g} s"),
        ("Busy", f"model:fullcircle_busy:ratio5m{own} > {BUSY:g}", "10m", "ticket",
         f"the model {model} computes more than {100 * BUSY:g} % of the time: more workers are needed"),
        ("QueueFull", f"{queue} > {QUEUE:g}", "1m", "page",
         f"the queue of {model} is more than {100 * QUEUE:g} % full"),
        ("NotReady", absent, "2m", "page", f"no worker answers for {model}"),
        ("LogLost", lost, "0s", "ticket", f"rows of {model} were answered and not written to the prediction log"),
        ("AlarmOpen", f'sum by (model, severity, kind) (fullcircle_alarms_open{own}) > 0', "0s",
         "{{ $labels.severity }}", f"the monitor of {model} has an open alarm"),
        ("MonitorStopped", f"time() - {ran} > {late}", "5m", "ticket",
         f"the monitor of {model} has not run for {_LATEST} windows"),
    ):  # fmt: skip
        yield {
            "alert": f"Fullcircle{name}",
            "expr": expression,
            "for": lasting,
            "labels": {"model": model, "severity": severity},
            "annotations": {"summary": summary},
        }


def _shown(entry: dict[str, object]) -> list[str]:
    """One rule. JSON's text is YAML's in double quotes."""
    lines: list[str] = []
    for name, value in entry.items():
        head = "  - " if not lines else "    "
        if isinstance(value, dict):
            lines.append(f"{head}{name}:")
            lines += [f"      {key}: {json.dumps(said)}" for key, said in value.items()]
        else:
            lines.append(f"{head}{name}: {json.dumps(value)}")
    return lines
