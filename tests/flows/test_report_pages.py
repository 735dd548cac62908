"""The page of a report and of a comparison: what they say, that they load nothing, and that their charts answer."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import browsing
from flows.outlines import outline
from flows.sample_report import ABOUT, APPROVAL, HOSTILE, hostile_report, more, whole_report
from flows.sample_turn import bars
from fullcircle.errors import DataUnfit
from fullcircle.evaluation.comparing import compare_reports
from fullcircle.flows.pages import charts, live
from fullcircle.flows.pages.comparison import pictures, render_comparison
from fullcircle.flows.pages.report import decode_report, headline, render_report, schema
from fullcircle.types.comparison import Comparison
from fullcircle.types.monitoring import Decision
from fullcircle.types.report import FORMAT, Chart, Finding, GateVerdict, Measure, Report

ROOT = Path(__file__).resolve().parents[2]
MEND = "write what fullcircle.flows.pages.report.schema() returns to docs/report.schema.json"
LIVE_SECONDS = 30


@cache
def report_page() -> str:
    return render_report(whole_report(), name="loans v2", approvals=(APPROVAL,))


@cache
def compared() -> Comparison:
    second = whole_report(1)
    gain = Measure(name="log_loss", value=0.04, low=0.01, high=0.07, n=400, unit="nats", method="paired t")
    return compare_reports(
        whole_report(),
        replace(second, findings=second.findings[:-1], gates=second.gates[1:]),
        names=("loans v1", "loans v2"),
        improvement=(gain,),
    )


@cache
def comparison_page() -> str:
    return render_comparison(compared())


@cache
def hostile_pages() -> tuple[str, str]:
    report = hostile_report()
    both = compare_reports(report, report, names=(HOSTILE, f"{HOSTILE}2"), improvement=report.findings[0].measures)
    return render_report(
        report, approvals=(replace(APPROVAL, actor=HOSTILE, reason=HOSTILE, login=HOSTILE),)
    ), render_comparison(both)


PAGES = {"report": report_page, "comparison": comparison_page}


# --- JSON ---------------------------------------------------------------------------------------------


def test_the_schema_in_the_documentation_is_that_of_the_noun() -> None:
    # Where something was taken away or means something else, raise FORMAT in types/report.py; then MEND.
    assert (ROOT / "docs/report.schema.json").read_text(encoding="utf-8") == schema(), MEND


def test_a_report_is_the_same_after_its_json() -> None:
    for report in (whole_report(), Report(subject="bare")):
        assert decode_report(msgspec.json.encode(report)) == report
    nan = decode_report(msgspec.json.encode(hostile_report())).findings[0].measures[-1]
    assert (nan.value, nan.usable) == (None, False)


def test_a_report_of_this_format_stays_readable() -> None:
    # As this format was first written. It may never be changed: reports lie in ledgers for years.
    written = b"""{
        "subject": "bike-demand", "rows": 88, "format": 1, "notes": ["a"],
        "gates": [{"gate": "mae at most 60", "passed": true, "reason": "43"}],
        "about": {"task": "regression"},
        "findings": [{
            "check": "quality", "code": "E001", "title": "Quality", "severity": "good", "text": "Fine.",
            "table": [{"a": 1}],
            "charts": [{"title": "t", "spec": {}}],
            "measures": [{"name": "mae", "value": 43.4, "low": 37.9, "high": 48.8, "n": 88, "unit": "rides",
                "method": "t", "group": "", "better": "lower"}]
        }]
    }"""
    report = decode_report(written)
    assert report.passed
    measure = report.measure("mae")
    assert measure is not None
    assert (measure.value, measure.low, measure.high, measure.better) == (43.4, 37.9, 48.8, "lower")
    assert report.about is not None
    assert report.about.task == "regression"


def test_what_a_later_minor_version_adds_is_passed_over() -> None:
    assert decode_report(b'{"subject": "x", "mood": "sunny"}').subject == "x"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"{}",
        b'{"subject": 7}',
        b'{"subject": "x", "format": "1"}',
        b'{"subject": "x", "format": 0}',
        b'{"subject": "x", "gates": [{"gate": "g", "passed": "perhaps", "reason": ""}]}',
        b'{"subject": "\xff"}',
        b'{"subject": "x"',
        b"[" * 100_000,
    ],
)
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(DataUnfit, match="no report") as raised:
        decode_report(data)
    assert raised.value.next_step
    assert raised.value.allowed


def test_a_report_of_a_newer_format_is_refused_whatever_it_looks_like() -> None:
    with pytest.raises(DataUnfit, match="newer fullcircle") as raised:
        decode_report(msgspec.json.encode({"format": FORMAT + 1, "chapters": []}))
    assert raised.value.received == f"format {FORMAT + 1}"
    assert "upgrade" in (raised.value.next_step or "")


# --- what the page says -------------------------------------------------------------------------------


def test_it_says_everything_that_is_in_the_report() -> None:
    told, report = outline(report_page()).words, whole_report()
    expected = [report.subject, "loans v2", "Held", *report.notes, *ABOUT.features, "ada@bank", APPROVAL.reason]
    for gate in report.gates:
        expected += [gate.gate, gate.reason]
    for finding in report.findings:
        expected += [finding.title, finding.text, finding.code]
        expected += [measure.name for measure in finding.measures] + [measure.group for measure in finding.measures]
        expected += [str(name) for row in finding.table for name in row]
    expected += [ABOUT.purpose, ABOUT.limits, ABOUT.algorithm, ABOUT.source, ABOUT.snapshot, ABOUT.run, ABOUT.code]
    assert [each for each in expected if " ".join(each.split()) not in told] == []


def test_findings_come_in_the_order_of_their_codes_and_how_to_serve_it_right_after_the_gates() -> None:
    shuffled = replace(whole_report(), findings=tuple(reversed(whole_report().findings)))
    page = render_report(shuffled, interactive=False)
    codes = re.findall(r'<h3>.*? <span class="soft small">(E\d+)</span></h3>', page)
    assert codes[0] == "E011"
    assert codes[1:] == sorted(codes[1:])
    assert page.index('id="gates"') < page.index('id="serving"') < page.index('id="findings"')


def test_serious_findings_are_named_at_the_top() -> None:
    head = " ".join(re.sub("<[^>]*>", " ", report_page().split("<body>")[1].split("<main>")[0]).split())
    assert "1 finding to look at: When the input is wrong." in head
    assert "2 gates said no: accuracy at least 0.99" in head or "1 gate said no: accuracy at least 0.99" in head
    assert "log_loss" in head


@pytest.mark.parametrize(
    ("gates", "word", "tone"),
    [((), "Nothing proven", "hold"), ((True, True), "Passed", "good"), ((True, False), "Held", "bad")],
)
def test_the_decision_is_a_word_and_a_colour(gates: Sequence[bool], word: str, tone: str) -> None:
    verdicts = tuple(GateVerdict(gate=f"g{i}", passed=passed, reason="r") for i, passed in enumerate(gates))
    page = render_report(Report(subject="x", gates=verdicts), interactive=False)
    assert re.search(
        rf'id="decision"><span class="tag {tone} big"><span aria-hidden="true">.</span>{word}</span>', page
    )


def test_a_bare_report_says_what_nobody_stated() -> None:
    told = outline(render_report(Report(subject="x"), interactive=False)).words
    assert told.count("not stated") == 2
    assert "Nothing was proven" in told


def test_the_login_behind_an_approval_is_shown_where_it_is_known() -> None:
    for login, shown in (("anna@desk", True), ("", False)):
        page = render_report(whole_report(), approvals=[replace(APPROVAL, login=login)], interactive=False)
        assert ("(login anna@desk)" in outline(page).words) is shown


def test_decisions_and_approvals_are_shown() -> None:
    decision = Decision(action="hold", model="loans", version=3, reason="the champion is as good")
    report = Report(subject="x", gates=(GateVerdict(gate="g", passed=True, reason="r"),))
    told = outline(render_report(report, decisions=[decision], approvals=[APPROVAL], interactive=False)).words
    assert "Version 3" in told
    assert "The champion is as good." in told
    assert "ada@bank , 23 November 2026, 18:00 UTC: looked at with the risk team" in told


def quality(*measures: Measure, text: str = "") -> Report:
    finding = Finding(check="quality", code="E001", title="Q", severity="good", text=text, measures=measures)
    return Report(
        subject="x", findings=(finding,), gates=(GateVerdict(gate="rmse at most 3", passed=True, reason=""),)
    )


def test_the_main_metric_is_the_one_that_was_decided_on() -> None:
    mae, rmse, r2 = (Measure(name=name, value=1.0) for name in ("mae", "rmse", "r2"))
    rivals = [Measure(name=f"baseline_{name}", value=2.0) for name in ("mae", "rmse", "r2")]

    def main(report: Report, metric: str = "") -> str:
        found = headline(report, metric)
        assert found is not None
        return found.measure.name

    assert main(quality(mae, rmse, r2, *rivals, text="r2 is 1.")) == "r2"  # its text is about it
    assert main(quality(mae, rmse, r2, *rivals, text="On 9 rows.")) == "rmse"  # a gate is
    assert main(replace(quality(mae, rmse, r2, *rivals), gates=())) == "mae"
    assert main(quality(mae, rmse, r2, *rivals), "r2") == "r2"


def test_the_champion_stands_beside_the_model_where_there_is_one() -> None:
    own, trivial, champion = (Measure(name=f"{who}mae", value=9.0) for who in ("", "baseline_", "champion_"))
    over = [Measure(name=f"improvement_over_{who}", value=v) for who, v in (("baseline", 7.5), ("champion", 0.5))]
    alone, beside = headline(quality(own, trivial, over[0])), headline(quality(own, trivial, champion, *over))
    assert alone is not None
    assert beside is not None
    assert (alone.baseline, alone.champion, alone.gain) == (trivial, None, over[0])
    assert (beside.baseline, beside.champion, beside.gain) == (trivial, champion, over[1])
    told = outline(render_report(quality(own, trivial, champion, *over), interactive=False)).words
    assert "improvement 0.5 no interval over the champion" in told


def test_very_many_figures_are_cut_and_it_says_so() -> None:
    many = [Measure(name="mae", value=1.0, group=f"id={i}") for i in range(700)]
    page = render_report(quality(*many), interactive=False)
    assert page.count("id=") < 600
    assert "200 more figures: the report's JSON holds all of them." in outline(page).words


def test_there_is_no_headline_without_a_usable_figure() -> None:
    nan = quality(Measure(name="mae", value=None), Measure(name="baseline_mae", value=1.0))
    assert headline(nan) is None
    assert headline(Report(subject="x")) is None
    assert "Quality" not in render_report(Report(subject="x"), interactive=False)


# --- nothing reaches outside --------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_the_only_script_is_ours_and_its_policy_names_it_by_its_hash(name: str) -> None:
    page = PAGES[name]()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    ours = re.findall(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    assert len(ours) == 1
    digest = base64.b64encode(hashlib.sha256(ours[0].encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}';")
    assert "unsafe-eval" not in policy
    assert "unsafe-inline" not in policy.split("style-src")[0]
    kinds = [attributes.get("type") for tag, attributes in outline(page).tags if tag == "script"]
    assert set(kinds) == {"module", "application/json"}
    assert kinds.count("module") == 1


@pytest.mark.parametrize(
    "page", [report_page, comparison_page, lambda: hostile_pages()[0], lambda: hostile_pages()[1]]
)
def test_nothing_in_it_reaches_outside(page: Any) -> None:
    for tag, attributes in outline(page()).tags:
        assert tag not in {"iframe", "object", "embed", "base", "image", "img", "video", "audio", "form"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))


def test_without_a_script_there_is_none() -> None:
    page = render_report(whole_report(), interactive=False)
    assert "<script" not in page
    assert "script-src" not in page
    assert page.count("<svg") == len(specs(report_page()))
    assert len(page) < 400_000


@pytest.mark.parametrize("name", PAGES)
def test_headings_step_down_and_every_anchor_exists(name: str) -> None:
    read = outline(PAGES[name]())
    assert read.headings.count(1) == 1
    for above, below in zip(read.headings, read.headings[1:], strict=False):
        assert below <= above + 1
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in read.tags:
        for reference in ("href", "aria-labelledby"):
            target = (attributes.get(reference) or "").removeprefix("#")
            assert not target or target == "data:," or target in ids


def specs(page: str) -> list[Any]:
    return [
        json.loads(text) for text in re.findall(r'<script type="application/json" class="chart">(.*?)</script>', page)
    ]


def test_every_chart_is_drawn_and_brings_its_specification() -> None:
    drawn = [chart for finding in whole_report().findings for chart in finding.charts]
    assert len(specs(report_page())) == len(drawn) >= 8
    labels = [attributes.get("aria-label") for _, attributes in outline(report_page()).tags]
    assert all(f"Chart: {chart.title}" in labels for chart in drawn)
    assert "could not be drawn" not in report_page()
    assert len(report_page().encode()) < 2_500_000


def test_a_chart_that_cannot_be_drawn_brings_no_specification() -> None:
    finding = Finding(
        check="x",
        code="E900",
        title="T",
        severity="info",
        text="t.",
        charts=(Chart(title="c", spec={"mark": "nope"}),),
    )
    page = render_report(Report(subject="x", findings=(finding,)))
    assert specs(page) == []
    assert "could not be drawn" in page


@given(st.text(max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_specification_inside_a_page_is_the_same_json_and_ends_no_script(text: str) -> None:
    values = [{"name": text, "x": 1.0, "y": float("nan")}]
    inside = charts.inline(Chart(title="t", spec={"data": {"values": values}, "description": text + HOSTILE}))
    assert not re.search("[<>&]", inside)
    read = json.loads(inside)
    assert read["description"] == text + HOSTILE
    assert read["data"]["values"] == [{"name": text, "x": 1.0, "y": None}]


def test_a_specification_cannot_choose_how_it_is_embedded() -> None:
    spec = {
        "usermeta": {"embedOptions": {"ast": False}},
        "mark": "bar",
        "width": "container",
        "config": {"font": "x"},
    }
    read = json.loads(charts.inline(Chart(title="t", spec={**spec, "$schema": "https://example.org/v5.json"})))
    assert "usermeta" not in read
    assert "$schema" not in read
    assert read["config"]["font"] == "x"
    assert read["config"]["axis"] == charts.THEME["axis"]
    assert read["autosize"]["type"] == "fit-x"
    assert "usermeta" in spec  # what is shown is a copy


@given(st.text(max_size=60), st.sampled_from(["</script>", "</SCRIPT >", "<!--", "\r\n", "\r", "\u2028"]))
def test_a_script_ends_where_the_page_says(text: str, hard: str) -> None:
    found = live.inline(f"const a = '{text}{hard}'")
    lowered = found.code.lower()
    assert "</script" not in lowered
    assert "<!--" not in lowered
    assert "\r" not in found.code
    assert found.digest == "sha256-" + base64.b64encode(hashlib.sha256(found.code.encode()).digest()).decode()


# --- hostile text -------------------------------------------------------------------------------------


def test_hostile_text_is_shown_and_never_run() -> None:
    for page in hostile_pages():
        read = outline(page)
        assert [tag for tag, attributes in read.tags if tag == "script" and not attributes.get("type")] == []
        assert "img" not in [tag for tag, _ in read.tags]
        assert " ".join(HOSTILE.split()) in read.words


@settings(max_examples=8, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60))
def test_any_text_survives_escaping(text: str) -> None:
    bare = Report(subject=text, gates=(GateVerdict(gate=text, passed=True, reason=text),), notes=(text,))
    squeezed = "".join(text.split())
    for page in (
        render_report(bare, interactive=False),
        render_comparison(compare_reports(bare, bare), interactive=False),
    ):
        assert squeezed in "".join(outline(page).words.split())


# --- the comparison -----------------------------------------------------------------------------------


def test_a_comparison_shows_both_sides_of_everything() -> None:
    told, both = outline(comparison_page()).words, compared()
    for gate in both.gates:
        assert gate.gate in told
        assert gate.first_reason in told
        assert gate.second_reason in told
    for row in both.rows:
        assert row.name in told
        assert row.group in told
    for finding in both.findings:
        assert finding.first_text in told
        assert finding.second_text in told
    assert "not asked" in told  # the second was asked one gate fewer
    assert "not made" in told  # and went without the sheet
    assert "loans v2 is better beyond chance, on 400 rows that both answered" in told


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.1, 0.3, "better beyond"), (-0.3, -0.1, "worse beyond"), (-0.1, 0.1, "could be chance")],
)
def test_the_improvement_on_the_same_rows_is_said_in_words(low: float, high: float, said: str) -> None:
    gain = Measure(name="mae", value=(low + high) / 2, low=low, high=high, n=9)
    both = Comparison(first="a", second="b", first_passed=True, second_passed=False, improvement=(gain,))
    assert said in outline(render_comparison(both, interactive=False)).words


def test_better_and_worse_are_words_and_colours() -> None:
    def one(value: float) -> Report:
        figures = [Measure(name=n, value=v, low=v - 0.1, high=v + 0.1, better=b) for n, v, b in told(value)]
        return quality(*figures)

    def told(value: float) -> list[tuple[str, float, Any]]:
        return [("mae", value, "lower"), ("r2", value, "higher"), ("bias", 0.0, "zero"), ("share", value, "")]

    page = render_comparison(compare_reports(one(1.0), one(2.0)), interactive=False)
    tags = re.findall(r'scope="row">(\w+)<div><span class="tag (\w+)">.*?</span>([\w ]+)</span>', page)
    assert tags == [
        ("mae", "bad", "worse"),
        ("r2", "good", "better"),
        ("bias", "info", "same within doubt"),
        ("share", "unknown", "unknown"),
    ]


def test_pictures_are_of_the_quality_that_both_know() -> None:
    whole = [row.name for row in compared().rows if row.check == "quality" and not row.group]
    shown = [chart.title.split(",")[0] for chart in pictures(compared())]
    assert shown[0] == "log_loss"
    assert 2 <= len(shown) <= 6
    assert set(shown) <= set(whole)
    assert not [name for name in shown if name.startswith(("baseline_", "champion_"))]


def test_two_empty_reports_are_nothing_proven() -> None:
    told = outline(
        render_comparison(compare_reports(Report(subject="a"), Report(subject="b")), interactive=False)
    ).words
    assert "Neither was asked a gate" in told
    assert "Neither report holds a measure" in told


# --- in a browser -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.chromium() as opened:
        yield opened


def lively(browser: Any) -> None:
    """Wait until the script of the page has done its work."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, LIVE_SECONDS, 0.05).until(
        lambda b: b.execute_script("return document.documentElement.dataset.charts") == "live"
    )


def count(browser: Any, selector: str) -> int:
    return int(browser.execute_script("return document.querySelectorAll(arguments[0]).length", selector))


@pytest.mark.parametrize("name", PAGES)
def test_a_browser_opens_it_in_silence_and_every_chart_answers(browser: Any, tmp_path: Path, name: str) -> None:
    page = PAGES[name]()
    assert browsing.opened(browser, tmp_path / "page.html", page) == []
    lively(browser)
    assert count(browser, "figure .vega-embed svg") == count(browser, "figure") == len(specs(page))
    assert count(browser, "figure svg") == len(specs(page))  # the drawings have gone
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browsing.requests(browser) == []
    assert browser.get_log("browser") == []
    widths = browser.execute_script("return [...document.querySelectorAll('figure svg')].map(e => e.clientWidth)")
    assert min(widths) > 250


def test_a_figure_is_told_where_the_pointer_is(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    finding = replace(
        more()[2], charts=(bars(HOSTILE, [(HOSTILE, 2.5), ("plain", 1.0)], "SHAP"),), table=(), measures=()
    )
    browsing.opened(browser, tmp_path / "page.html", render_report(Report(subject="x", findings=(finding,))))
    lively(browser)
    bar = browser.find_element("css selector", ".vega-embed .mark-rect path")
    ActionChains(browser).move_to_element(bar).perform()
    tooltip = WebDriverWait(browser, 10, 0.05).until(
        lambda b: [e for e in b.find_elements("id", "vg-tooltip-element") if e.is_displayed()]
    )[0]
    assert "2.5" in tooltip.text
    assert "<script>alert" in tooltip.text
    assert count(browser, "img") == 0
    assert browser.get_log("browser") == []


def test_no_other_script_runs_in_it(browser: Any, tmp_path: Path) -> None:
    injected = report_page().replace("<main>", "<main><script>window.evil = 1</script><p onclick='evil = 1' id='p'>")
    browsing.opened(browser, tmp_path / "page.html", injected)
    lively(browser)
    browser.execute_script("document.getElementById('p').click()")
    late = "const s = document.createElement('script'); s.textContent = 'evil = 1'; document.body.append(s);"
    assert browser.execute_script(f"{late} return typeof window.evil") == "undefined"
    refused = browser.get_log("browser")
    assert len(refused) >= 2
    assert all("Content Security Policy" in entry["message"] for entry in refused)


def test_hostile_text_does_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    for page in hostile_pages():
        assert browsing.opened(browser, tmp_path / "hostile.html", page, width=390) == []
        lively(browser)
        assert browser.get_log("browser") == []
        assert count(browser, "img, script:not([type])") == 0
        assert "<script>" in browser.find_element("tag name", "h1").text
        assert count(browser, "figure") == count(browser, ".vega-embed svg") > 0
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390


def test_without_scripts_the_drawings_stay(browser: Any, tmp_path: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browsing.opened(browser, tmp_path / "page.html", report_page())
        drawn = browser.find_elements("css selector", "figure [role=img] svg")
        assert len(drawn) == len(specs(report_page()))
        assert all(svg.is_displayed() and svg.size["width"] > 200 for svg in drawn)
        assert browser.find_elements("css selector", ".vega-embed") == []
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_chart_that_fails_stays_a_drawing_and_the_others_answer(browser: Any, tmp_path: Path) -> None:
    page = report_page()
    first = re.search(r'(<script type="application/json" class="chart">)(.*?)(</script>)', page)
    assert first is not None
    broken = page.replace(first[0], f'{first[1]}{{"mark": "nope"}}{first[3]}', 1)
    browsing.opened(browser, tmp_path / "page.html", broken)
    lively(browser)
    assert count(browser, ".vega-embed svg") == len(specs(page)) - 1
    assert count(browser, "figure svg") == len(specs(page))
    assert count(browser, ".arriving") == 0
    assert any("stays as it was drawn" in entry["message"] for entry in browser.get_log("browser"))


@pytest.mark.parametrize("name", PAGES)
def test_it_fits_a_phone_and_charts_stay_on_light_paper_in_the_dark(browser: Any, tmp_path: Path, name: str) -> None:
    browsing.opened(browser, tmp_path / "page.html", PAGES[name](), width=360, scheme="dark")
    lively(browser)
    browser.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    right = "return [...document.querySelectorAll('figure svg')].map(e => e.getBoundingClientRect().right)"
    assert max(browser.execute_script(right)) <= 360
    paper = browser.execute_script("return getComputedStyle(document.querySelector('figure')).backgroundColor")
    assert min(int(part) for part in re.findall(r"\d+", paper)[:3]) > 230
    ink = browser.execute_script("return getComputedStyle(document.body).color")
    assert min(int(part) for part in re.findall(r"\d+", ink)[:3]) > 200


def test_charts_follow_when_the_window_becomes_narrow(browser: Any, tmp_path: Path) -> None:
    browsing.opened(browser, tmp_path / "page.html", report_page(), width=900)
    lively(browser)
    metrics = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    assert count(browser, ".vega-embed svg") == len(specs(report_page()))


@pytest.mark.parametrize("name", PAGES)
def test_all_of_it_is_printed(browser: Any, tmp_path: Path, name: str) -> None:
    browsing.opened(browser, tmp_path / "page.html", PAGES[name]())
    lively(browser)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = "details table, details li, figure svg, article p"
    left = "return [...document.querySelectorAll(arguments[0])].filter(e => !e.checkVisibility()).length"
    assert browser.execute_script(left, hidden) == 0
