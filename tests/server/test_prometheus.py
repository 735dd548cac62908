"""The page /metrics: read back by the library's own parser, and judged by Prometheus' own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics

from fullcircle.server.meter import REASONS, ROUTES, SECONDS, Meter, merged
from fullcircle.server.prometheus import COUNTERS, GAUGES, HISTOGRAMS, page
from fullcircle.server.telemetry import document
from fullcircle.types.contract import STATUSES
from laws.sizes import ROOT
from serving import GOOD, app, call, post


def filled() -> Meter:
    found = Meter()
    for version in (1, 2):
        found.swapped("m", version)
        found.answered("m", version, {"ok": 3, "imputed": 1}, 4, [0.0004, 0.3], [11.0])
    found.observed("/models", 200, 0.0002)
    found.refused("overload", seconds=0.0001)
    found.breaker("m", True)
    found.needs({("warehouse", "database"): True, ("token", "secret"): False})
    found.failed("m", 2)
    found.lost("m", 2, 9)
    found.in_flight = 3
    found.queued("m", 2)
    found.queued("other", 1)
    found.queued("other", -1)
    return found


def text(found: Meter) -> str:
    return page(merged([found.snapshot()]))[0].decode()


def values(found: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(found)
        for sample in family.samples
    }


def test_the_figures_come_back_as_they_were_counted() -> None:
    read = values(text(filled()))
    name = "http_server_request_duration_seconds"
    answered = (("http_response_status_code", "200"), ("http_route", "/predict/{model}"))
    own = (*answered, ("model", "m"), ("version", "2"))
    assert read[f"{name}_count", own] == 2
    assert read[f"{name}_sum", own] == pytest.approx(0.3004)
    buckets = {float(dict(key)["le"]): value for (which, key), value in read.items() if which == f"{name}_bucket"
               and set(own) <= set(key)}  # fmt: skip
    assert sorted(buckets) == [*SECONDS, float("inf")]
    assert (buckets[0.0002], buckets[0.0005], buckets[0.25], buckets[0.5], buckets[float("inf")]) == (0, 1, 1, 2, 2)
    model = (("model", "m"), ("version", "2"))
    assert read["fullcircle_rows_total", (("model", "m"), ("verdict", "imputed"), ("version", "2"))] == 1
    assert read["fullcircle_batch_rows_sum", model] == 4
    assert read["fullcircle_model_failed_rows_total", model] == 1
    assert read["fullcircle_prediction_log_lost_rows_total", model] == 9
    assert read["fullcircle_model_workers", model] == 1
    assert read["fullcircle_requests_refused_total", (("reason", "overload"),)] == 1
    assert read["fullcircle_model_swaps_total", (("model", "m"),)] == 1
    assert read["fullcircle_model_breaker_open", (("model", "m"),)] == 1
    assert read["fullcircle_need_unmet", (("kind", "database"), ("need", "warehouse"))] == 1
    assert read["fullcircle_need_unmet", (("kind", "secret"), ("need", "token"))] == 0
    assert read["fullcircle_requests_in_flight", ()] == 3
    assert read["fullcircle_requests_waiting", (("model", "m"),)] == 2
    assert ("fullcircle_requests_waiting", (("model", "other"),)) not in read  # nobody serves it any more
    assert read["fullcircle_workers", ()] == 1
    assert read["process_resident_memory_bytes", ()] > 5_000_000
    assert read["process_open_fds", ()] >= 3
    assert read["process_cpu_seconds_total", ()] > 0


def test_every_name_has_help_and_a_type_and_labels_are_bounded() -> None:
    families = {family.name: family for family in parser.text_string_to_metric_families(text(filled()))}
    named = {one[0] for table in (HISTOGRAMS, COUNTERS, GAUGES) for one in table.values()}
    assert families.keys() == named | {"fullcircle_build_info"}
    assert all(family.documentation and family.type != "unknown" for family in families.values())
    seen: dict[str, set[str]] = {}
    for family in families.values():
        for sample in family.samples:
            for name, value in sample.labels.items():
                seen.setdefault(name, set()).add(value)
    assert seen["http_route"] <= ROUTES | {"other"}
    assert seen["verdict"] == set(STATUSES)
    assert seen["model"] == {"m", ""}


def test_a_model_name_of_any_kind_is_escaped() -> None:
    found = Meter()
    found.answered('a"b\\c\nd', 1, {"ok": 1}, 1, [0.1])
    assert any(("model", 'a"b\\c\nd') in key for _, key in values(text(found)))


def test_what_was_asked_is_seen_over_the_route(tmp_path: Path) -> None:
    target = app(tmp_path)
    assert post(target, "/predict/m", {"rows": [GOOD, {**GOOD, "bmi": None}]}).status == 200
    assert post(target, "/predict/m", {"rows": [{"age": 7}]}).status == 422
    assert post(target, "/predict/m", {"no": "rows"}).status == 400
    found = call(target, "GET", "/metrics")
    assert found.headers["content-type"].startswith("text/plain; version=")
    read = values(found.body.decode())
    own = (("model", "m"), ("version", "1"))
    keys = {verdict: tuple(sorted((*own, ("verdict", verdict)))) for verdict in STATUSES}
    verdicts = {verdict: read["fullcircle_rows_total", key] for verdict, key in keys.items()}
    assert verdicts == {"ok": 1, "imputed": 1, "flagged": 0, "fallback": 0, "rejected": 1}
    seen = {key: value for (name, key), value in read.items() if name.endswith("duration_seconds_count")}
    predicted = [(dict(key), value) for key, value in seen.items() if ("http_route", "/predict/{model}") in key]
    counts = {given["http_response_status_code"]: value for given, value in predicted}
    assert counts == {"200": 1, "422": 1, "400": 1}
    assert read["fullcircle_requests_refused_total", (("reason", "invalid"),)] == 1


def test_openmetrics_is_given_to_who_asks_for_it() -> None:
    body, kind = page(merged([filled().snapshot()]), "application/openmetrics-text; version=1.0.0")
    assert kind.startswith(b"application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert list(openmetrics.text_string_to_metric_families(body.decode()))  # type: ignore[no-untyped-call]
    for accept in ("", "*/*", "text/html", "\xff\x00;;q=,"):
        assert page(merged([filled().snapshot()]), accept)[1].startswith(b"text/plain; version=")


def test_the_page_of_the_docs_lists_every_figure_and_no_other() -> None:
    page_text = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|( `([\w.]+)`)?", page_text, re.MULTILINE)
    counters = {f"{one[0]}_total" for one in COUNTERS.values()}
    names = {one[0] for table in (HISTOGRAMS, GAUGES) for one in table.values()}
    assert {row[0] for row in rows} == counters | names | {"fullcircle_build_info"}
    pytest.importorskip("opentelemetry.sdk.metrics.export", reason="the extra otel is not installed")
    sent = document(filled().snapshot(), None, (1, 2), None).resource_metrics[0].scope_metrics[0].metrics
    assert {row[2] for row in rows if row[2]} == {metric.name for metric in sent}
    told = re.findall(r"[a-z_]+", re.findall(r"refused as a whole: (.*), \.\.\.", page_text)[0])
    assert set(told) <= REASONS.keys()


def test_prometheus_own_tool_finds_nothing_to_say() -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("no promtool on PATH: it is in Debian's package prometheus")
    for found in (Meter(), filled()):
        done = subprocess.run(
            [program, "check", "metrics"], input=text(found), capture_output=True, text=True, check=False, timeout=30
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
