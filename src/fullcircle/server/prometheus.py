"""The page ``/metrics`` in Prometheus' text format, made when it is asked for.

Names follow Prometheus' conventions (base units, ``_total`` for counters), and OpenTelemetry's semantic conventions
for HTTP where those have a name. Labels are bounded: routes, statuses, reasons and verdicts are fixed lists, models
and versions are those of served.json.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fullcircle.server.meter import ROWS, SECONDS, Snapshot, labels

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_MODEL = ("model", "version")
_REQUEST = ("http_route", "http_response_status_code", *_MODEL)
HISTOGRAMS: dict[str, tuple[str, str, tuple[str, ...], Sequence[float]]] = {
    "requests": (
        "http_server_request_duration_seconds",
        "Seconds from a request's arrival to its answer; model and version only where one was asked.",
        _REQUEST,
        SECONDS,
    ),
    "batches": ("fullcircle_batch_rows", "Rows of one call of the model.", _MODEL, ROWS),
}
"""By name in a snapshot: the metric's name, its help, its labels, and the upper bounds of its buckets."""
COUNTERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "verdicts": ("fullcircle_rows", "Rows by what became of them.", ("verdict", *_MODEL)),
    "failed": ("fullcircle_model_failed_rows", "Rows that the model itself could not answer.", _MODEL),
    "lost": ("fullcircle_prediction_log_lost_rows", "Rows answered and not written to the prediction log.", _MODEL),
    "busy": ("fullcircle_model_busy_seconds", "Seconds in which the model computed.", _MODEL),
    "refused": ("fullcircle_requests_refused", "Requests that were refused as a whole, by the reason.", ("reason",)),
    "swaps": ("fullcircle_model_swaps", "Changes of version, summed over the workers.", ("model",)),
    "cpu": ("process_cpu_seconds", "Processor time of all workers.", ()),
}
"""By name in a snapshot: the metric's name without ``_total``, its help, its labels."""
GAUGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "in_flight": ("fullcircle_requests_in_flight", "Requests taken and not answered yet.", ()),
    "queue": ("fullcircle_requests_waiting", "Requests that wait for the model, or are with it.", ("model",)),
    "bound": ("fullcircle_requests_bound", "Requests that may be with one model at a time, over the workers.", ()),
    "current": ("fullcircle_model_workers", "Workers in which this version answers for the model.", _MODEL),
    "breaker": ("fullcircle_model_breaker_open", "Workers that do not ask the model, as it failed.", ("model",)),
    "unmet": ("fullcircle_need_unmet", "Workers that find a need of a model not met.", ("need", "kind")),
    "workers": ("fullcircle_workers", "Workers that count.", ()),
    "rss": ("process_resident_memory_bytes", "Resident memory of all workers.", ()),
    "files": ("process_open_fds", "Open file descriptors of all workers.", ()),
    "start": ("process_start_time_seconds", "When the oldest worker started, in Unix seconds.", ()),
}
"""By name in a snapshot: the metric's name, its help, its labels."""


def page(found: Snapshot, accept: str = "") -> tuple[bytes, bytes]:
    """The page and its content type. ``accept`` is the request's header: OpenMetrics is given where it is asked for.

    The first call imports the library (some ten milliseconds): do not make it on the event loop.
    """
    from prometheus_client.exposition import choose_encoder

    encode, kind = choose_encoder(accept)
    return encode(_Collected(found)), kind.encode("ascii")


class _Collected:
    """What the library's encoders expect of a registry: metrics on request."""

    def __init__(self, found: Snapshot) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """The metrics of the snapshot."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        found = self._found
        for name, (metric, told, names, bounds) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(metric, told, labels=names)
            for values, numbers in _of(name, found.histograms):
                histogram.add_metric(values, _cumulated(numbers, bounds), numbers[-1])
            yield histogram
        for family, table, figures in (
            (CounterMetricFamily, COUNTERS, found.counts),
            (GaugeMetricFamily, GAUGES, found.gauges),
        ):
            for name, (metric, told, names) in table.items():
                one = family(metric, told, labels=names)
                for values, number in _of(name, figures):
                    one.add_metric(values, number)
                yield one
        built = GaugeMetricFamily("fullcircle_build_info", "The software; always 1.", labels=("version", "python"))
        built.add_metric((release(), platform.python_version()), 1)
        yield built


def release() -> str:
    """The version of this software, "unknown" where it is not installed as a package."""
    try:
        return version("fullcircle")
    except PackageNotFoundError:
        return "unknown"


def _of(name: str, figures: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, number in figures.items():
        found, values = labels(key)
        if found == name:
            yield values, number


def _cumulated(numbers: Sequence[float], bounds: Sequence[float]) -> list[tuple[str, float]]:
    total = 0.0
    found = []
    for bound, count in zip((*map(str, map(float, bounds)), "+Inf"), numbers, strict=False):
        total += count
        found.append((bound, total))
    return found
