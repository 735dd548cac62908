"""The page of a turn: what it says, what it escapes, and that a browser opens it in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import browsing
from flows.outlines import outline
from flows.sample_turn import alarm, bars, trained, whole_turn, window
from fullcircle.flows.pages import charts, render, words
from fullcircle.types.monitoring import Decision
from fullcircle.types.report import Chart, Finding, GateVerdict, Measure, Report
from fullcircle.types.turn import Turn

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> " + "長い名前𝔘" * 40


@pytest.fixture(scope="module")
def page() -> str:
    return render(whole_turn())


def test_it_tells_the_whole_story(page: str) -> None:
    told = outline(page).words
    turn = whole_turn()
    assert "diabetes" in told
    assert "Promoted version 1" in told
    assert "beats the champion: improvement 0.8" in told  # why the retraining was held
    for gate in turn.trained.report.gates:
        assert gate.gate in told
        assert gate.reason in told
    for stage in turn.stages:
        assert stage.name in told
    for finding in turn.trained.report.findings:
        assert finding.title in told
        assert finding.text in told
    for probe in turn.probes:
        assert probe.title in told
        assert probe.prediction.verdict.problems[0].text in told
    for each in turn.windows:
        assert each.name in told
    assert alarm().text in told
    assert "25 golden rows answered with exactly the same bits" in told
    for step in turn.next_steps:
        assert step in told


def test_nothing_in_it_reaches_outside(page: str) -> None:
    for tag, attributes in outline(page).tags:
        assert tag not in {"script", "iframe", "object", "embed", "base", "image", "img", "video", "audio", "form"}
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,"))
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style
    assert "default-src 'none'" in page


def test_headings_step_down_one_at_a_time_and_every_anchor_exists(page: str) -> None:
    read = outline(page)
    assert read.headings.count(1) == 1
    for above, below in zip(read.headings, read.headings[1:], strict=False):
        assert below <= above + 1
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in read.tags:
        for name in ("href", "aria-labelledby"):
            target = (attributes.get(name) or "").removeprefix("#")
            assert not target or target == "data:," or target in ids
        for reference in re.findall(r"url\(#([^)]+)\)", attributes.get("clip-path") or ""):
            assert reference in ids


def test_every_chart_is_drawn_and_has_a_name(page: str) -> None:
    turn = whole_turn()
    assert turn.retrained is not None
    assert turn.retrained.trained is not None
    names = [attributes.get("aria-label") for _, attributes in outline(page).tags if attributes.get("role") == "img"]
    drawn = [f.charts for f in turn.trained.report.findings] + [
        f.charts for each in turn.windows for f in each.report.findings
    ]
    for chart in [chart for group in drawn for chart in group]:
        assert f"Chart: {chart.title}" in names
    assert "could not be drawn" not in page
    assert page.count("<svg") == len(names)  # the ring and the charts


def hostile_turn() -> Turn:
    """A turn in which every text that a user or a client chooses is hostile."""
    turn = whole_turn()
    finding = Finding(
        check="quality",
        code="E001",
        title=HOSTILE,
        severity="bad",
        text=HOSTILE,
        measures=(Measure(name=HOSTILE, value=float("nan"), group=HOSTILE, method=HOSTILE, unit=HOSTILE),),
        charts=(bars(HOSTILE, [(HOSTILE, 1.0), ("b", 2.0)], HOSTILE),),
        table=({HOSTILE: HOSTILE}, {"other": None}),
    )
    report = Report(
        subject=HOSTILE,
        findings=(finding,),
        gates=(GateVerdict(gate=HOSTILE, passed=False, reason=HOSTILE),),
        notes=(HOSTILE,),
    )
    return replace(
        turn,
        model=HOSTILE,
        stages=(replace(turn.stages[0], name=HOSTILE, text=HOSTILE),),
        trained=replace(turn.trained, report=report, params={HOSTILE: HOSTILE}, split=HOSTILE),
        decision=replace(turn.decision, reason=HOSTILE),
        windows=(replace(window(HOSTILE, (replace(alarm(HOSTILE), text=HOSTILE),)), report=report),),
        next_steps=(HOSTILE,),
    )


def test_hostile_text_is_shown_and_never_run() -> None:
    page = render(hostile_turn())
    read = outline(page)
    assert not [tag for tag, _ in read.tags if tag in ("script", "img")]
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert "alert('x')" in read.words
    assert "長い名前𝔘" in read.words


@settings(max_examples=15, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60))
def test_any_text_survives_escaping(text: str) -> None:
    turn = whole_turn()
    bare = Report(subject="x", gates=(GateVerdict(gate=text, passed=True, reason="r"),))
    page = render(
        replace(turn, windows=(), retrained=None, probes=(), trained=replace(turn.trained, report=bare), stages=())
    )
    assert "".join(text.split()) in "".join(outline(page).words.split())


@pytest.mark.parametrize(
    ("action", "word", "tone"),
    [("promote", "Promoted", "good"), ("hold", "Held", "hold"), ("rollback", "Rolled back", "bad")],
)
def test_a_decision_is_coloured_and_worded(action: Any, word: str, tone: str) -> None:
    decision = Decision(action=action, model="diabetes", version=3, reason="because of figures")
    page = render(replace(whole_turn(), decision=decision, retrained=None))
    (tag,) = re.findall(
        r'<div class="verdict" id="decision"><span class="tag (\w+) big">.*?</span>(.*?)</span>', page
    )
    assert tag == (tone, word)
    assert "Because of figures." in page


def test_a_turn_that_was_held_says_what_was_not_reached() -> None:
    held = Decision(action="hold", model="diabetes", version=None, reason="held by its gates: mae at most 55")
    turn = Turn(
        model="diabetes",
        started="2026-11-23T18:00:00.000000Z",
        seconds=4.0,
        stages=(),
        trained=trained("0f" * 16, beaten=False),
        decision=held,
    )
    read = outline(render(turn))
    assert "no version was made" in read.words
    assert read.words.count("Not reached") == 2
    assert "no champion" in read.words
    assert "5 of 6 passed" in read.words
    reached = next(a["aria-label"] for tag, a in read.tags if tag == "svg" and a.get("class") == "ring")
    assert reached == "Phases reached: explore, evaluate, develop"


def test_no_gates_prove_nothing() -> None:
    turn = whole_turn()
    bare = replace(turn, trained=replace(turn.trained, report=Report(subject="x")))
    assert "Nothing was proven" in render(bare)


@pytest.mark.parametrize(
    "spec",
    [
        {"mark": "nope"},
        {},
        {
            "data": {"values": [{"u": "http://127.0.0.1:9/x.png"}]},
            "mark": "image",
            "encoding": {"url": {"field": "u"}},
        },
        {
            "data": {"values": [{"a": 1, "u": "javascript:alert(1)"}]},
            "mark": "bar",
            "encoding": {"x": {"field": "a", "type": "quantitative"}, "href": {"field": "u"}},
        },
    ],
    ids=["unknown mark", "empty", "image from outside", "link that runs code"],
)
def test_a_chart_that_cannot_be_drawn_or_reaches_outside_is_left_out(spec: dict[str, Any]) -> None:
    assert charts.svg(Chart(title="t", spec=spec), "c1") is None


def test_a_chart_fetches_nothing() -> None:
    spec = {"data": {"url": "http://127.0.0.1:9/rows.json"}, "mark": "bar", "encoding": {"x": {"field": "a"}}}
    drawn = charts.svg(Chart(title="t", spec=spec), "c1")
    assert drawn is None or "127.0.0.1" not in drawn


def test_a_broken_chart_does_not_take_the_next_one_along() -> None:
    link: dict[str, Any] = {"field": "u"}
    broken = {"data": {"values": [{"u": "x"}]}, "mark": "bar", "encoding": {"href": link}}
    assert charts.svg(Chart(title="t", spec=broken), "c1") is None
    assert charts.svg(bars("sound", [("a", 1.0)], "x"), "c2") is not None


def test_ids_inside_charts_do_not_meet() -> None:
    spec = {
        "data": {"values": [{"a": 1}, {"a": 2}]},
        "mark": {"type": "point", "clip": True},
        "encoding": {"x": {"field": "a", "type": "quantitative"}},
    }
    one, two = (charts.svg(Chart(title="t", spec=spec), key) for key in ("c1", "c2"))
    assert one is not None
    assert two is not None
    found = [set(re.findall(r'\bid="([^"]+)"', drawn)) for drawn in (one, two)]
    assert found[0]
    assert not found[0] & found[1]
    assert set(re.findall(r"url\(#([^)]+)\)", one)) <= found[0]


def test_a_specification_wins_over_the_theme() -> None:
    spec = {
        "config": {"bar": {"color": "#123456"}},
        "data": {"values": [{"a": 1}]},
        "mark": "bar",
        "encoding": {"x": {"field": "a", "type": "quantitative"}},
    }
    drawn = charts.svg(Chart(title="t", spec=spec), "c1")
    assert drawn is not None
    assert "#123456" in drawn


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (0, "0"),
        (17379, "17\u202f379"),
        (0.0, "0"),
        (43.4321, "43.43"),
        (-1.5, "−1.5"),
        (0.00012, "0.00012"),
        (3.1e-48, "3.1\u202f×\u202f10⁻⁴⁸"),
        (12345.6, "12\u202f346"),
        (float("nan"), "not a number"),
        (float("inf"), "infinite"),
        ("text", "text"),
    ],
)
def test_figures(value: object, text: str) -> None:
    assert words.figure(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-6, max_value=1e12))
def test_a_figure_is_near_its_value(value: float) -> None:
    shown = float(words.figure(value).replace(words.THIN, "").replace("−", "-"))
    assert shown == pytest.approx(value, rel=0.06)


def test_times_sizes_and_lengths() -> None:
    assert words.when("2026-11-23T18:00:00.000000Z") == "23 November 2026, 18:00 UTC"
    assert words.when("2026-11-23T19:00:00+01:00") == "23 November 2026, 18:00 UTC"
    assert words.when("yesterday") == "yesterday"
    day = "2026-11-23T18:00:00Z"
    assert words.stretch(day, "2026-11-23T19:30:00Z") == "23 November 2026, 18:00 to 19:30 UTC"
    assert words.stretch(day, day) == "23 November 2026, 18:00 UTC"
    assert words.stretch(day, "2026-11-24T18:00:00Z").endswith("to 24 November 2026, 18:00 UTC")
    assert [words.size(n) for n in (12, 112_034, 1_204_233, 3 * 10**9)] == [
        "12\u202fB",
        "112\u202fkB",
        "1.2\u202fMB",
        "3\u202fGB",
    ]
    assert [words.seconds(s) for s in (0.04, 9.96, 59.6, 185.0)] == [
        "0.0\u202fs",
        "10\u202fs",
        "1\u202fmin 0\u202fs",
        "3\u202fmin 5\u202fs",
    ]
    assert words.plural(1, "row") == "1 row"
    assert words.interval(1.0, None) == "–"


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_text_colour_keeps_its_contrast_in_light_and_dark() -> None:
    # WCAG 2.1, success criterion 1.4.3: at least 4.5 to 1.
    style = files("fullcircle.flows.pages").joinpath("templates/style.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\n *\}", style, re.DOTALL)[:2]
    for scheme in (light, dark):
        colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        pairs = [(text, ground) for text in ("ink", "soft", "accent") for ground in ("page", "card")]
        pairs += [(tone, f"{tone}-bg") for tone in ("good", "hold", "bad", "info")] + [("ink", "bad-bg")]
        for text, ground in pairs:
            a, b = sorted((_luminance(colour[text]), _luminance(colour[ground])))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (text, ground)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.chromium() as opened:
        yield opened


def _opened(browser: Any, path: Path, turn: Turn, *, width: int = 1200, scheme: str = "light") -> list[str]:
    """Open the page of a turn and return the addresses it asked for beside its own."""
    return browsing.opened(browser, path, render(turn), width=width, scheme=scheme)


def test_a_browser_opens_it_in_silence(browser: Any, tmp_path: Path) -> None:
    assert _opened(browser, tmp_path / "page.html", whole_turn()) == []
    assert browser.get_log("browser") == []
    decision = browser.find_element("id", "decision")
    assert decision.is_displayed()
    assert "Promoted" in decision.text
    gates = browser.find_element("id", "gates").text
    for gate in whole_turn().trained.report.gates:
        assert gate.gate in gates
        assert gate.reason in gates
    assert all(svg.size["width"] > 50 for svg in browser.find_elements("css selector", "figure svg"))


def test_hostile_text_does_nothing_in_a_browser(browser: Any, tmp_path: Path) -> None:
    assert _opened(browser, tmp_path / "hostile.html", hostile_turn(), width=390) == []
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.querySelectorAll('script, img').length") == 0
    assert browser.find_element("tag name", "h1").text.startswith("<script>")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1200])
def test_it_fits_the_width_and_charts_stay_on_light_paper(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    for turn in (whole_turn(), hostile_turn()):
        _opened(browser, tmp_path / "page.html", turn, width=width, scheme=scheme)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    paper = browser.execute_script("return getComputedStyle(document.querySelector('figure')).backgroundColor")
    assert min(int(part) for part in re.findall(r"\d+", paper)[:3]) > 230
    ink = browser.execute_script("return getComputedStyle(document.body).color")
    assert (min(int(part) for part in re.findall(r"\d+", ink)[:3]) > 200) == (scheme == "dark")


def test_all_of_it_is_printed(browser: Any, tmp_path: Path) -> None:
    _opened(browser, tmp_path / "page.html", whole_turn())
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = browser.execute_script(
        "return [...document.querySelectorAll('details table, details li')].filter(e => !e.checkVisibility()).length"
    )
    assert hidden == 0
