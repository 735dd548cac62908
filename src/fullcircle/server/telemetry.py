"""OpenTelemetry, where its standard variables ask for it: what a worker counted is sent on by OTLP over HTTP.

Needs the extra ``otel``, which is imported only then. Nothing is recorded while a request is answered: once in an
interval a thread reads the meter and sends its figures. Each worker sends its own, as a service instance of its own.

    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT   where to; switches it on
    OTEL_METRICS_EXPORTER              otlp switches it on, none off
    OTEL_METRIC_EXPORT_INTERVAL        milliseconds between two sendings, 60000 by default
    OTEL_SDK_DISABLED                  true switches it off
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE   cumulative (default) or delta
    OTEL_EXPORTER_OTLP_HEADERS, ..._TIMEOUT, ..._COMPRESSION, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES   as usual
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fullcircle.server.meter import ROWS, SECONDS, Meter, Snapshot, labels
from fullcircle.server.prometheus import release

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import Metric, MetricsData

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HERE = "http://localhost:4318"  # where the specification says a collector listens
_LONGEST = 3.0  # seconds that the last sending may hold up the end of the process
_MODEL = ("model", "version")
_REQUEST = ("http.route", "http.response.status_code", *_MODEL)
_logger = logging.getLogger(__name__)

# By name in a snapshot: name, unit, what it is, attributes; for histograms their bounds.
_HISTOGRAMS: dict[str, tuple[str, str, str, tuple[str, ...], Sequence[float]]] = {
    "requests": ("http.server.request.duration", "s", "Duration of HTTP server requests.", _REQUEST, SECONDS),
    "batches": ("fullcircle.batch.rows", "{row}", "Rows of one call of the model.", _MODEL, ROWS),
}
_COUNTERS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "verdicts": ("fullcircle.verdicts", "{row}", "Rows by what became of them.", ("verdict", *_MODEL)),
    "failed": ("fullcircle.model.failed", "{row}", "Rows that the model itself could not answer.", _MODEL),
    "lost": ("fullcircle.prediction_log.lost", "{row}", "Rows not written to the prediction log.", _MODEL),
    "busy": ("fullcircle.model.busy", "s", "Seconds in which the model computed.", _MODEL),
    "refused": ("fullcircle.requests.refused", "{request}", "Requests refused as a whole.", ("reason",)),
    "swaps": ("fullcircle.model.swaps", "{swap}", "Changes of version.", ("model",)),
    "cpu": ("process.cpu.time", "s", "Processor time of the worker.", ()),
}
_LEVELS: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "in_flight": ("http.server.active_requests", "{request}", "Requests not answered yet.", ()),
    "rss": ("process.memory.usage", "By", "Resident memory of the worker.", ()),
    "files": ("process.unix.file_descriptor.count", "{file_descriptor}", "Open file descriptors.", ()),
}
_GAUGES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "queue": ("fullcircle.requests.waiting", "{request}", "Requests that are with the model.", ("model",)),
    "bound": ("fullcircle.requests.bound", "{request}", "Requests that may be with one model at a time.", ()),
    "breaker": ("fullcircle.model.breaker.open", "1", "1 while the model is not asked, as it failed.", ("model",)),
    "unmet": ("fullcircle.need.unmet", "1", "1 while a need of a model is not met.", ("need", "kind")),
    "current": ("fullcircle.model.current", "1", "1 for the version that answers for the model.", _MODEL),
}


def start(meter: Meter, environment: Mapping[str, str] | None = None) -> Callable[[], None]:
    """Send what ``meter`` counts, if the environment asks for it. Returns what to call at the end.

    Says in the log what it does. Where it was asked for and cannot be done, that is a warning: serving goes on.
    """
    given = os.environ if environment is None else environment
    if not _asked(given):
        return _nothing
    protocol = next((given[name] for name in _PROTOCOLS if given.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        _logger.warning("no metrics are sent: the protocol %.40s is not spoken here, only http/protobuf", protocol)
        return _nothing
    try:
        interval = float(given.get("OTEL_METRIC_EXPORT_INTERVAL") or 60_000) / 1000
    except ValueError:
        interval = 0.0
    if not 0.01 <= interval <= 86_400:
        _logger.warning("no metrics are sent: OTEL_METRIC_EXPORT_INTERVAL is not a number of milliseconds")
        return _nothing
    delta = given.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "").strip().lower() == "delta"
    place = _shown(next((given[name] for name in _ENDPOINTS if given.get(name)), _HERE))
    sender = _Sender(meter, interval, place, delta=delta)
    sender.begin()
    return sender.stop


def _shown(url: str) -> str:
    """An address without what may be secret in it."""
    try:
        found = urlsplit(url)
        return f"{found.hostname}:{found.port or ''}"
    except ValueError:
        return "an address that cannot be read"


def _asked(given: Mapping[str, str]) -> bool:
    if given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    wanted = [name.strip().lower() for name in given.get("OTEL_METRICS_EXPORTER", "").split(",") if name.strip()]
    if not wanted:
        return any(given.get(name) for name in _ENDPOINTS)
    if strange := [name for name in wanted if name not in ("otlp", "none")]:
        _logger.warning("OTEL_METRICS_EXPORTER: %.60s is not known here, only otlp and none", ", ".join(strange))
    return "otlp" in wanted


def _nothing() -> None:
    return


class _Sender:
    """The thread that imports what is needed, and sends."""

    def __init__(self, meter: Meter, interval: float, place: str, *, delta: bool) -> None:
        self._meter, self._interval, self._place, self._delta = meter, interval, place, delta
        self._exporter: Any = None
        self._resource: Any = None
        self._sent = Snapshot()
        self._since = time.time_ns()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fullcircle-telemetry", daemon=True)

    def begin(self) -> None:
        """Send again and again."""
        self._thread.start()

    def stop(self) -> None:
        """Send a last time. An endpoint that does not answer is left after a few seconds."""
        self._stopping.set()
        self._thread.join(_LONGEST)
        if self._exporter is not None:
            self._exporter.shutdown()

    def _run(self) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

            self._exporter, self._resource = OTLPMetricExporter(), _resource()
        except ImportError:
            _logger.warning("no metrics are sent: install the extra otel (pip install 'fullcircle[otel]')")
            return
        except Exception:  # a variable that the library cannot read: a worker goes on without it
            _logger.exception("no metrics are sent: the exporter could not be made")
            return
        _logger.info("metrics are sent to %s every %g seconds", self._place, self._interval)
        more = True
        while more:
            more = not self._stopping.wait(self._interval)
            self._send()

    def _send(self) -> None:
        from opentelemetry.sdk.metrics.export import MetricExportResult

        found, now = self._meter.snapshot(), time.time_ns()
        data = document(found, self._sent if self._delta else None, (self._since, now), self._resource)
        try:
            done = self._exporter.export(data) is MetricExportResult.SUCCESS
        except Exception:  # the endpoint and the library are foreign; a worker goes on without them
            _logger.exception("the metrics could not be sent")
            return
        if done and self._delta:
            # What was not taken is sent again, with the next interval.
            self._sent, self._since = found, now


def _resource() -> Any:
    """Who sends: what the standard variables say, and our own words for what they leave open."""
    from opentelemetry.sdk.resources import Resource

    given = Resource.create()
    known = given.attributes
    own = {"service.version": release(), "service.instance.id": str(uuid.uuid4())}
    missing = {name: value for name, value in own.items() if name not in known}
    if str(known.get("service.name", "unknown_service")).startswith("unknown_service"):
        missing["service.name"] = "fullcircle"
    return given.merge(Resource(missing))


def document(found: Snapshot, before: Snapshot | None, times: tuple[int, int], resource: Any) -> MetricsData:
    """A snapshot in OpenTelemetry's data model: totals, or where ``before`` is given what came since then.

    Of differences those are left out that are none, as a backend may count each point it gets. ``times`` are when the
    counting began and now, in Unix nanoseconds.
    """
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    every = (*_histograms(found, before, times), *_numbers(found, before, times))
    metrics = [metric for metric in every if metric.data.data_points]
    scope = ScopeMetrics(InstrumentationScope("fullcircle", release()), metrics, schema_url="")
    return MetricsData([ResourceMetrics(resource, [scope], schema_url="")])


def _histograms(found: Snapshot, before: Snapshot | None, times: tuple[int, int]) -> Iterator[Metric]:
    from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, Metric

    for name, (metric, unit, told, names, bounds) in _HISTOGRAMS.items():
        points = []
        for key, values in found.histograms.items():
            if labels(key)[0] == name:
                earlier = (before and before.histograms.get(key)) or [0.0] * len(values)
                *counts, total = [new - old for new, old in zip(values, earlier, strict=True)]
                whole = [int(count) for count in counts]
                if before and not sum(whole):
                    continue
                none: Any = None  # the smallest and the largest are not known: the field is left out
                points.append(
                    HistogramDataPoint(
                        _attributes(key, names), *times, sum(whole), total, whole, list(bounds), none, none
                    )
                )
        yield Metric(metric, told, unit, Histogram(points, _temporality(before)))


def _numbers(found: Snapshot, before: Snapshot | None, times: tuple[int, int]) -> Iterator[Metric]:
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Metric, NumberDataPoint, Sum

    def points(
        name: str, names: tuple[str, ...], figures: Mapping[str, float], earlier: Mapping[str, float] | None
    ) -> list[NumberDataPoint]:
        known = {} if earlier is None else earlier
        return [
            NumberDataPoint(_attributes(key, names), *times, value - known.get(key, 0))
            for key, value in figures.items()
            if labels(key)[0] == name and (earlier is None or value != known.get(key, 0))
        ]

    gone = None if before is None else before.counts
    for name, (metric, unit, told, names) in _COUNTERS.items():
        counted = Sum(points(name, names, found.counts, gone), _temporality(before), is_monotonic=True)
        yield Metric(metric, told, unit, counted)
    for name, (metric, unit, told, names) in _LEVELS.items():
        level = Sum(points(name, names, found.gauges, None), AggregationTemporality.CUMULATIVE, is_monotonic=False)
        yield Metric(metric, told, unit, level)
    for name, (metric, unit, told, names) in _GAUGES.items():
        yield Metric(metric, told, unit, Gauge(points(name, names, found.gauges, None)))


def _temporality(before: Snapshot | None) -> Any:
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    return AggregationTemporality.CUMULATIVE if before is None else AggregationTemporality.DELTA


def _attributes(key: str, names: tuple[str, ...]) -> dict[str, str | int]:
    """The labels as attributes; what is empty is left out. Requests get what the semantic conventions ask for.

    https://opentelemetry.io/docs/specs/semconv/http/http-metrics/
    """
    found: dict[str, str | int] = {name: value for name, value in zip(names, labels(key)[1], strict=True) if value}
    if names is _REQUEST:
        route, status = str(found["http.route"]), int(found["http.response.status_code"])
        found["http.response.status_code"] = status
        found["url.scheme"] = "http"
        found["http.request.method"] = _method(route)
        if route == "other":
            del found["http.route"]
        if status >= 500:
            found["error.type"] = str(status)
    return found


def _method(route: str) -> str:
    if route == "other":
        return "_OTHER"
    return "POST" if route.startswith(("/predict", "/explain", "/outcomes")) else "GET"
