"""The page of a model in production: what it says, what it escapes, and that a browser opens it in silence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows import browsing
from flows.outlines import outline
from flows.sample_monitored import harm, quiet, reference, story, wide
from fullcircle.flows.pages.columns import CARDS
from fullcircle.flows.pages.monitored import render_monitored, span
from fullcircle.flows.pages.ticks import time_ticks, value_ticks

HOSTILE = "</script><script>alert('x')</script>\"><img src=x onerror=alert(1)> \u202eשלום 🚲"


@pytest.fixture(scope="module")
def page() -> str:
    return render_monitored(story())


def test_it_says_what_is_wrong_since_when_and_what_to_do(page: str) -> None:
    told = outline(page).words
    for words in (
        "1 page and 1 ticket open",
        harm().text,
        harm().sure[1:],
        "probably 2\u202f350 EUR a day",
        "seen by ada",
    ):
        assert " ".join(words.split()) in " ".join(told.split())
    assert told.index(harm().id) < told.index("bike-demand-2-drift-1")  # open ones first, resolved ones below
    assert "cooldown of 7d is not over" in told.lower().replace("\u202f", " ")
    for note in story().notes:
        assert note in told


def test_a_quiet_model_is_healthy_and_one_without_traffic_says_what_to_do() -> None:
    assert "Healthy" in outline(render_monitored(quiet(), interactive=False)).words
    nothing = render_monitored(story(stretches=(), alarms=(), decisions=(), latest={}), interactive=False)
    assert "Nothing to judge yet" in outline(nothing).words
    assert "when a batch (7d of it) is over, run: fullcircle monitor PROJECT" in outline(nothing).words
    assert "9 columns will be watched: temp, hum, windspeed" in outline(nothing).words
    assert "no figure yet" not in outline(nothing).words


def test_hostile_text_is_shown_and_never_run() -> None:
    features = (replace(reference().features[4], name=HOSTILE, categories=(HOSTILE, "a", "b", "c")),)
    suspect = replace(harm().suspects[0], feature=HOSTILE, text=HOSTILE, guess=HOSTILE)
    alarm = replace(harm(), text=HOSTILE, advice=HOSTILE, sure=HOSTILE, suspects=(suspect,))
    counted = {HOSTILE: story().latest["weathersit"]}
    hostile = story(model=HOSTILE, reference=replace(reference(), features=features), latest=counted, alarms=(alarm,))
    read = outline(render_monitored(replace(hostile, notes=(HOSTILE,))))
    assert sorted(a.get("type") or "" for tag, a in read.tags if tag == "script") == ["application/json", "module"]
    assert "img" not in [tag for tag, _ in read.tags]
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    assert "alert('x')" in read.words


def test_a_thousand_columns_make_a_page_of_bounded_size() -> None:
    page = render_monitored(wide(1000))
    assert page.count('class="card column"') == CARDS
    assert page.count("<tr data-name=") == 1000 - CARDS
    assert len(page.encode()) < 2_500_000


def test_headings_step_down_and_every_anchor_exists(page: str) -> None:
    read = outline(page)
    assert read.headings.count(1) == 1
    for above, below in zip(read.headings, read.headings[1:], strict=False):
        assert below <= above + 1
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_spans_and_ticks() -> None:
    assert span("2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z") == "23 to 29 Nov 2026"
    assert span("2026-11-23T14:00:00Z", "2026-11-23T15:00:00Z") == "23 Nov 2026, 14:00 to 15:00"
    assert value_ticks(0.0, 0.9, 4) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert [text for _, text in time_ticks(0.0, 86400.0, 4)] == ["1 Jan", "06:00", "12:00", "18:00", "2 Jan"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.chromium() as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_a_browser_opens_it_in_silence_and_finds_columns(
    browser: Any, tmp_path: Path, page: str, width: int, scheme: str
) -> None:
    assert browsing.opened(browser, tmp_path / "page.html", page, width=width, scheme=scheme) == []
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    shown = (
        "const f = document.getElementById('find'); f.value = arguments[0]; f.dispatchEvent(new Event('input'));"
        "return [...document.querySelectorAll('[data-name]')].filter(e => !e.hidden).map(e => e.dataset.name)"
    )
    assert browser.execute_script(shown, "TEMP") == ["temp"]
    assert len(browser.execute_script(shown, "")) == len(reference().features)
    axes = browser.find_element("css selector", "#evidence [data-plot]")
    axes.send_keys("\ue012")  # the left arrow
    assert "realised harm" in browser.execute_script("return document.getElementById('tip').textContent")
