"""OpenTelemetry over a loopback collector that decodes what it gets: counts, mean duration, failures."""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fullcircle.server import telemetry
from fullcircle.server.meter import SECONDS, Meter
from sample_models import ROWS, archive, serve

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")

DURATION = "http.server.request.duration"
LEVEL = "http.server.active_requests"


class Collector:
    """An OTLP/HTTP receiver on loopback. ``status`` is what it answers."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.headers: list[Mapping[str, str]] = []
        self.status = 200
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
                    ExportMetricsServiceRequest,
                    ExportMetricsServiceResponse,
                )

                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                status = outer.status
                if status == 200 and self.path == "/v1/metrics":
                    outer.requests.append(ExportMetricsServiceRequest.FromString(body))
                    outer.headers.append(dict(self.headers))
                answer = ExportMetricsServiceResponse().SerializeToString()
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                outer.asked += 1

            def log_message(self, format: str, *args: Any) -> None:
                del format, args

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def until(self, count: int, seconds: float = 20) -> None:
        _wait(lambda: len(self.requests) >= count, seconds)

    def once_more(self) -> None:
        """Wait for the next sending, taken or not."""
        before = self.asked
        _wait(lambda: self.asked > before, 20)

    def points(self, name: str, request: int = -1) -> list[tuple[dict[str, Any], Any]]:
        """The data points of a metric in one sending, each with its attributes."""
        return points(self.requests[request], name)


def _wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def points(request: Any, name: str) -> list[tuple[dict[str, Any], Any]]:
    return [
        ({one.key: getattr(one.value, one.value.WhichOneof("value")) for one in point.attributes}, point)
        for resource in request.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    ]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    found = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "40")
    yield found
    found.close()


@contextmanager
def started(meter: Meter) -> Iterator[None]:
    stop = telemetry.start(meter)
    try:
        yield
    finally:
        stop()


def filled() -> Meter:
    found = Meter()
    found.swapped("m", 3)
    found.answered("m", 3, {"ok": 2, "imputed": 1}, 3, [0.01, 0.03])
    found.answered("m", 3, {"rejected": 1}, 1, [], [0.002])
    found.refused("overload", seconds=0.0005)
    found.observed("/models", 200, 0.001)
    found.observed("/nowhere", 404, 0.001)
    found.failed("m", 3)
    return found


def test_the_collector_gets_count_mean_duration_and_failures(collector: Collector) -> None:
    with started(filled()):
        collector.until(1)
    found = {(given.get("http.route"), given["http.response.status_code"]): (given, point)
             for given, point in collector.points(DURATION)}  # fmt: skip
    assert found.keys() == {
        *(("/predict/{model}", status) for status in (200, 422, 503)),
        *(("/models", 200), (None, 404)),
    }
    given, point = found["/predict/{model}", 200]
    assert (point.count, point.sum) == (2, pytest.approx(0.04))
    assert list(point.explicit_bounds) == list(SECONDS)
    assert sum(point.bucket_counts) == 2
    assert len(point.bucket_counts) == len(SECONDS) + 1
    assert not point.HasField("min")
    assert given == {
        "http.request.method": "POST",
        "http.route": "/predict/{model}",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "model": "m",
        "version": "3",
    }
    assert found["/predict/{model}", 503][0]["error.type"] == "503"
    assert "model" not in found["/predict/{model}", 503][0]
    assert found[None, 404][0]["http.request.method"] == "_OTHER"
    verdicts = {given["verdict"]: point.as_int for given, point in collector.points("fullcircle.verdicts")}
    assert verdicts == {"ok": 2, "imputed": 1, "flagged": 0, "fallback": 0, "rejected": 1}
    (refused,) = collector.points("fullcircle.requests.refused")
    assert (refused[0], refused[1].as_int) == ({"reason": "overload"}, 1)
    (failed,) = collector.points("fullcircle.model.failed")
    assert failed[1].as_int == 1
    (resource,) = [one.resource for one in collector.requests[-1].resource_metrics]
    names = {one.key: one.value.string_value for one in resource.attributes}
    assert names["service.name"] == "fullcircle"
    assert names["service.instance.id"]


def test_totals_are_sent_again_and_a_last_time_at_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = filled()
    with started(meter):
        collector.until(2)
    first, last = collector.points(DURATION, 0), collector.points(DURATION)
    assert [point.count for _, point in first] == [point.count for _, point in last]
    assert len({point.start_time_unix_nano for _, point in (*first, *last)}) == 1
    # With an interval that never comes, only the end sends.
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "80000000")
    sent = len(collector.requests)
    with started(meter):
        meter.answered("m", 3, {"ok": 1}, 1, [0.01])
    assert len(collector.requests) == sent + 1
    assert max(point.count for _, point in collector.points(DURATION)) == 3


def test_differences_add_up_to_the_totals_though_the_collector_was_away(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "10")
    meter = Meter()
    with started(meter):
        for number in range(1, 6):
            collector.status = 400 if number == 3 else 200
            meter.answered("m", 1, {"ok": number}, number, [0.5] * number)
            collector.once_more()
        collector.status = 200
    total = sum(
        point.as_int
        for request in collector.requests
        for given, point in points(request, "fullcircle.verdicts")
        if given["verdict"] == "ok"
    )
    assert total == 15
    requests = [point for request in collector.requests for _, point in points(request, DURATION)]
    # What did not change is not sent. A look in the middle of counting may see a request and not yet its seconds.
    assert all(point.count or point.sum for point in requests)
    assert sum(point.count for point in requests) == 15
    assert sum(point.sum for point in requests) == pytest.approx(7.5)
    assert len(collector.requests) > 2
    # On a machine with other work nothing may be counted between two sendings: a level is in each of them.
    level = [point for request in collector.requests for _, point in points(request, LEVEL)]
    spans = [{(point.start_time_unix_nano, point.time_unix_nano) for point in given} for given in (requests, level)]
    one_after_another = sorted(spans[1])
    assert spans[0] <= spans[1]
    assert len(one_after_another) == len(collector.requests)
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(one_after_another))


def test_a_deployed_server_is_given_the_standard_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fullcircle.deployment.target import Service
    from fullcircle.deployment.targets.local import LocalTarget
    from fullcircle.errors import ServerFailed

    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nenv >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setenv("NOT_OTEL_SECRET", "hunter2")
    folders = {name: tmp_path / name for name in ("served", "predictions", "code", "state")}
    with pytest.raises(ServerFailed):
        LocalTarget().apply(Service(python=program, port=0, **folders))  # type: ignore[arg-type]
    told = (tmp_path / "state" / "server.log").read_text()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318" in told
    assert "hunter2" not in told


def test_the_standard_variables_are_kept_to(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "claims")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.instance.id=a")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    with started(filled()):
        collector.until(1)
    (resource,) = [one.resource for one in collector.requests[0].resource_metrics]
    names = {one.key: one.value.string_value for one in resource.attributes}
    assert names["service.name"] == "claims"
    assert names["deployment.environment.name"] == "test"
    assert names["service.instance.id"] == "a"
    headers = {name.lower(): value for name, value in collector.headers[0].items()}
    assert headers["authorization"] == "Bearer x"
    assert headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": "x"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_METRICS_EXPORTER": "none"}, ""),
        ({"OTEL_METRICS_EXPORTER": "console"}, "console is not known here"),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf"),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "often"}, "not a number of milliseconds"),
        ({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "nan"}, "not a number of milliseconds"),
    ],
)
def test_where_it_is_off_nothing_is_started_and_the_reason_is_told(
    given: dict[str, str], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = threading.active_count()
    telemetry.start(Meter(), given)()
    assert threading.active_count() == before
    assert told in caplog.text
    assert bool(caplog.records) == bool(told)


def test_without_the_extra_serving_goes_on_and_the_log_says_what_to_install() -> None:
    program = """
import logging, sys
sys.modules["opentelemetry"] = None
from fullcircle.server import telemetry
from fullcircle.server.meter import Meter
logging.basicConfig()
telemetry.start(Meter(), {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert "pip install 'fullcircle[otel]'" in done.stderr


def test_it_is_imported_only_when_it_is_asked_for() -> None:
    program = """
import sys
from fullcircle.server import telemetry
from fullcircle.server.meter import Meter
telemetry.start(Meter(), {})()
assert not [name for name in sys.modules if name.startswith(("opentelemetry", "prometheus_client", "google"))]
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_a_collector_that_is_not_there_does_not_hold_up_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://name:secret@127.0.0.1:9")
    monkeypatch.setattr(telemetry, "_LONGEST", 0.3)
    stop = telemetry.start(filled())
    time.sleep(0.1)
    begun = time.monotonic()
    stop()
    assert time.monotonic() - begun < 2
    assert "secret" not in caplog.text


@pytest.mark.parametrize("address", ["http://127.0.0.1:port", "http://[::1", "nonsense", "ftp://127.0.0.1"])
def test_an_address_that_is_none_does_not_stop_a_worker(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setattr(telemetry, "_LONGEST", 30.0)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "80000000")
    caplog.set_level("INFO")
    with started(filled()):
        pass
    assert caplog.records


def test_a_real_server_tells_the_collector_what_it_did(tmp_path: Path, collector: Collector) -> None:
    serve(tmp_path / "served.json", {"m": (1, archive(1))})
    flags = ["--served", "served.json", "--predictions", "predictions", "--code-cache", "code", "--port", "0"]
    with (tmp_path / "errors.log").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "fullcircle.server", *flags],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=tmp_path,
            env={**os.environ, "OTEL_METRIC_EXPORT_INTERVAL": "200", "OMP_NUM_THREADS": "1"},
        )
    assert process.stdout is not None
    try:
        url = json.loads(process.stdout.readline())["listening"]
        connection = http.client.HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=30)
        deadline = time.monotonic() + 60
        while get(connection, "GET", "/health/ready") != 200:
            assert time.monotonic() < deadline, (tmp_path / "errors.log").read_text()
            time.sleep(0.05)
        begun = time.perf_counter()
        for _ in range(20):
            assert get(connection, "POST", "/predict/m", {"rows": ROWS[:2]}) == 200
        spent = time.perf_counter() - begun
        for _ in range(3):
            assert get(connection, "POST", "/predict/m", {"rows": [{"age": "old"}]}) == 422
        assert get(connection, "POST", "/predict/m", {"no": "rows"}) == 400
        connection.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)
        process.stdout.close()
    # Each worker sends its own figures; its last sending has its totals.
    last: dict[str, Any] = {}
    for request in collector.requests:
        (resource,) = request.resource_metrics
        names = {one.key: one.value.string_value for one in resource.resource.attributes}
        last[names["service.instance.id"]] = request
    count: dict[int, int] = {}
    seconds = 0.0
    for request in last.values():
        for given, point in points(request, DURATION):
            if given.get("http.route") == "/predict/{model}":
                status = given["http.response.status_code"]
                count[status] = count.get(status, 0) + point.count
                seconds += point.sum if status == 200 else 0.0
    assert count == {200: 20, 422: 3, 400: 1}, (tmp_path / "errors.log").read_text()
    failed = sum(number for status, number in count.items() if status >= 400)
    assert failed == 4
    assert 0 < seconds / count[200] <= spent / 20


def get(connection: http.client.HTTPConnection, method: str, path: str, body: Any = None) -> int:
    content = None if body is None else json.dumps(body)
    connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
    response = connection.getresponse()
    response.read()
    return response.status
