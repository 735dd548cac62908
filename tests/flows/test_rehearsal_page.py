"""The page of a rehearsal: what it says, at any size and without figures, and that a browser reads it in silence."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import browsing
from flows.outlines import outline
from flows.sample_rehearsal import alarm, held, policy, promoted, raised, rehearsal, rolled_back, utc, worth
from fullcircle.flows.pages.played import POINTS, Timeline, points, segments
from fullcircle.flows.pages.rehearsal import best, headline, render_rehearsal
from fullcircle.flows.pages.story import entries, lanes
from fullcircle.flows.pages.sums import receipt
from fullcircle.types.loop import Played, Policy, Rehearsal, Told

HOSTILE = "</script><script>alert('x')</script>\"><img src=x onerror=alert(1)> \u202eשלום 🚲"
SPACES = str.maketrans({"\u202f": " ", "−": "-"})


def words(page: str) -> str:
    return " ".join(outline(page).words.translate(SPACES).split())


@pytest.fixture(scope="module")
def page() -> str:
    return render_rehearsal(rehearsal(tries=2))


def earning(**amounts: float | None) -> Rehearsal:
    """A rehearsal whose policies earned these amounts."""
    names = {"shipped": "shipped", "never": "never", "calendar": "schedule 30d", "hindsight": "hindsight"}
    own = [policy(names[key], [40.0, 40.0], earned=value) for key, value in amounts.items()]
    return rehearsal(policies=tuple(own))


class TestHead:
    """What it comes to, in words."""

    def test_it_says_what_the_loop_earned_beside_the_other_ways(self) -> None:
        found = headline(earning(shipped=1200.0, never=300.0, calendar=1150.0, hindsight=1500.0))
        assert found.tone == "good"
        assert found.word == "At least as good as never retraining and retraining every 30d"
        assert found.sentence.translate(SPACES) == (
            "The loop would have earned 1 200 EUR: 900 EUR more than never retraining, 50 EUR more than retraining "
            "every 30d and 300 EUR less than hindsight."
        )

    def test_what_did_better_is_named(self) -> None:
        found = headline(earning(shipped=100.0, never=300.0, calendar=100.0))
        assert (found.tone, found.word) == ("hold", "Never retraining would have done better")
        assert "the same as retraining every 30d" in found.sentence

    def test_what_is_nearer_than_half_a_percent_is_as_good(self) -> None:
        assert headline(earning(shipped=1000.0, never=1004.0)).tone == "good"
        assert headline(earning(shipped=1000.0, never=1010.0)).tone == "hold"

    def test_nothing_earned_is_not_unknown(self) -> None:
        assert headline(earning(shipped=-5.0, never=0.0)).tone == "hold"
        assert headline(earning(shipped=5.0, never=0.0)).tone == "good"

    @pytest.mark.parametrize(("higher", "word"), [(True, "worse"), (False, "better")])
    def test_without_money_the_metric_speaks_in_its_own_direction(self, higher: bool, word: str) -> None:
        own = tuple(policy(name, [level] * 2, money=False) for name, level in (("shipped", 40.0), ("never", 60.0)))
        found = headline(rehearsal(policies=own, higher_is_better=higher, money=False))
        assert found.sentence == f"The loop would have reached mae 40: 20 {word} than never retraining."
        assert found.tone == ("hold" if higher else "good")

    def test_the_best_are_marked_and_hindsight_is_none_of_them(self) -> None:
        whole = earning(shipped=1.0, never=1.0, calendar=0.0, hindsight=9.0)
        assert best(whole)["earned"] == {"shipped", "never"}

    def test_verdict_and_notes_are_told(self, page: str) -> None:
        for told in (*rehearsal().verdict, *rehearsal().notes):
            assert told in words(page)


class TestAtAnySize:
    """Nothing played, one window, very many, no money, no labels."""

    @pytest.mark.parametrize("money", [True, False])
    @pytest.mark.parametrize("count", [0, 1, 2, 730])
    def test_it_can_always_be_read(self, count: int, money: bool) -> None:
        whole = rehearsal(count=count, days=1.0, money=money)
        page = render_rehearsal(whole, interactive=False)
        told = words(page)
        assert not [path for path in re.findall(r' d="([^"]*)"', page) if "nan" in path or "inf" in path]
        assert ("Earned beyond never retraining, added up" in told) is (money and count > 0)
        assert ("Better than never retraining, so far" in told) is (not money and count > 0)
        assert ("No window was played" in told) is (count == 0)
        assert len(page.encode()) < 400_000

    def test_twelve_tries_have_a_line_and_a_picture_each(self) -> None:
        whole = rehearsal(count=730, days=1.0, tries=12)
        page = render_rehearsal(whole)
        told = words(page)
        assert len(page.encode()) < 900_000
        for each in whole.policies[4:]:
            assert told.count(each.name) >= 2
        assert "retrain.schedule = 84d" in told

    def test_without_labels_it_says_so_and_tells_the_story(self) -> None:
        told = words(render_rehearsal(rehearsal(labels=False, money=False, verdict=()), interactive=False))
        assert "Nothing could be measured" in told
        assert "No label came, so the metric of no window is known" in told
        assert "looks multiplied by 41" in told

    def test_no_policy_at_all(self) -> None:
        told = words(render_rehearsal(rehearsal(policies=()), interactive=False))
        assert "Nothing was played" in told

    def test_a_rehearsal_without_the_projects_own_settings(self) -> None:
        whole = rehearsal(tries=1)
        told = words(render_rehearsal(replace(whole, policies=whole.policies[1:]), interactive=False))
        assert "were not among those that were played" in told


class TestStory:
    """What happened, when, why, and on which sums."""

    def test_each_step_can_be_opened_and_shows_its_sums(self, page: str) -> None:
        read = outline(page)
        told = words(page)
        assert sum(tag == "details" for tag, _ in read.tags) >= 5
        for piece in (
            "Temp looks multiplied by 41",
            "168 rows where temp is 9.8 to 39.4: looks multiplied by 41",
            "The losses of the champion grew by 0.05 since 12 September.",
            "0.62 a row (95 %: 0.43 to 0.81) × 720 rows",
            "left in 30d +393.4 EUR",
            "1 480 new ones, 1 466 of them learned from or judged by",
            "that excuses worse answers on frozen rows",
            "412 fresh mae",
            "Back to version 2",
        ):
            assert piece in told

    def test_the_end_of_an_alarm_stands_at_its_beginning(self) -> None:
        first = alarm(1, 10, 20)
        own = Policy(
            name="shipped",
            told=(
                Told(at=utc(10), kind="alarm", text="x", alarm=replace(first, resolved="", state="open")),
                Told(at=utc(20), kind="resolved", text="x", alarm=first),
                Told(at=utc(30), kind="resolved", text="of before", alarm=alarm(9, 0, 30)),
            ),
        )
        found = entries(own, "p0")
        assert [(each.word, each.until) for each in found] == [("Page", "21 August 2011"), ("Resolved", "")]

    def test_receipts_add_up(self) -> None:
        lines = {line.what: line.amount.translate(SPACES) for line in receipt(worth(0.62, measured=True)).lines}
        assert lines == {
            "better answers": "+446.4",
            "training": "-50",
            "risk of being worse": "-3",
            "left in 30d": "+393.4 EUR",
        }

    def test_what_nobody_knows_is_unknown_not_zero(self) -> None:
        found = receipt(worth(math.nan, measured=False))
        assert found.tone == ""
        assert [line.amount for line in found.lines][::3] == ["unknown", "unknown"]
        assert "interval unknown" in found.lines[0].how

    def test_what_is_nothing_beside_the_rest_is_nothing(self) -> None:
        lines = receipt(worth(29.73, measured=True, risk=3.7e-13, cost=0.0)).lines
        assert [line.amount for line in lines[1:3]] == ["0", "0"]

    def test_a_line_says_what_was_decided_and_leaves_why_and_the_rest_to_the_step(self) -> None:
        told = held(9)
        assert told.step is not None
        assert told.step.trigger is not None
        reason = f"drift: {told.step.trigger.reason}; since 2011-08-29T00:00:00.000000Z {'word ' * 60}"
        (entry,) = entries(policy("shipped", [1.0], told=(replace(told, text=reason),)), "p0")
        assert entry.whole.startswith("Since 29 Aug 2011 word word")
        assert entry.said.endswith(" word…")
        assert len(entry.said) <= 220
        told_words = words(render_rehearsal(rehearsal(policies=(policy("shipped", [1.0], told=(entry.told,)),))))
        assert entry.whole in told_words

    def test_a_long_story_is_cut_and_says_so(self) -> None:
        many = tuple(held(0.5 * place) for place in range(450))
        whole = rehearsal()
        page = render_rehearsal(replace(whole, policies=(replace(whole.policies[0], told=many), *whole.policies[1:])))
        assert "And 50 more entries" in words(page)
        assert page.count('<li class="hold"') == 400

    def test_every_mark_leads_to_its_entry(self, page: str) -> None:
        read = outline(page)
        ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)

    def test_marks_that_would_lie_on_each_other_are_one_and_count(self) -> None:
        own = policy("shipped", [1.0] * 74, told=tuple(held(100 + place) for place in range(9)))
        (lane,) = lanes(entries(own, "p0"), Timeline(rehearsal()))
        (mark,) = lane.marks
        assert (lane.name, mark.sign, mark.id) == ("held", "9", "p0-0")
        assert mark.tip.endswith("and 3 more")

    def test_lanes_are_those_that_occur(self) -> None:
        told = (raised(alarm(1, 5)), promoted(9, 2), rolled_back(30))
        found = lanes(entries(policy("shipped", [1.0] * 74, told=told), "p0"), Timeline(rehearsal()))
        assert [lane.name for lane in found] == ["alarms", "promoted", "taken back"]
        (spanned,) = found[0].spans
        assert spanned[0] + spanned[1] == pytest.approx(1.0)  # never resolved: open until the end


class TestPoints:
    """Windows as points of one axis."""

    def test_there_are_never_too_many_and_figures_are_weighted_by_labelled_rows(self) -> None:
        whole = rehearsal(count=730, days=1.0)
        axis = Timeline(whole)
        assert axis.axis is not None
        assert len(axis.names) <= POINTS
        assert axis.merged == 7
        two = (
            Played(since=utc(0), until=utc(1), rows=9, labelled=1, version=1, metric=10.0),
            Played(since=utc(1), until=utc(2), rows=9, labelled=3, version=1, metric=2.0),
        )
        assert points(Policy(name="x", windows=two), axis.axis).metric[:2] == (4.0, None)

    def test_longer_windows_of_another_policy_cover_their_points(self) -> None:
        timeline = Timeline(rehearsal(count=8))
        assert timeline.axis is not None
        found = points(policy("x", [10.0, 20.0], days=28.0), timeline.axis)
        assert found.metric == (10.0,) * 4 + (20.0,) * 4

    def test_money_adds_up_less_the_trainings_when_they_were(self) -> None:
        timeline = Timeline(rehearsal(count=8))
        assert timeline.axis is not None
        told = (promoted(20, 2), held(30))
        found = points(policy("x", [100.0] * 8, told=told, trained=1), timeline.axis)
        assert found.earned[:3] == pytest.approx((168.0, 336.0, 504.0 - 50.0))
        assert found.earned[-1] == pytest.approx(8 * 168 - 50.0)  # what was held before training cost nothing

    def test_versions_that_answered_one_after_the_other(self) -> None:
        found = segments(rehearsal().policies[0], Timeline(rehearsal()))
        assert [version for *_, version in found] == [1, 2, 3]
        assert found[0][0] == 0.0
        assert found[-1][1] == pytest.approx(1.0)


def test_which_way_is_better_is_told_once_and_is_no_unit() -> None:
    assert words(render_rehearsal(rehearsal(), interactive=False)).count("Less is better.") == 1
    assert "More is better." in words(render_rehearsal(rehearsal(higher_is_better=True), interactive=False))


class TestMarkup:
    """Text of a user's stays text."""

    def test_headings_step_down(self, page: str) -> None:
        headings = outline(page).headings
        assert headings.count(1) == 1
        for above, below in pairwise(headings):
            assert below <= above + 1

    def test_without_a_script_nothing_is_lost(self, page: str) -> None:
        still = render_rehearsal(rehearsal(tries=2), interactive=False)
        assert not [tag for tag, _ in outline(still).tags if tag == "script"]
        assert "left in 30d +393.4 EUR" in words(still)
        assert 'title="19 September 2011: version 2 promoted' in still

    @settings(max_examples=5, deadline=None)
    @given(st.one_of(st.just(HOSTILE), st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)))
    def test_any_text_stays_text(self, text: str) -> None:
        step = held(9).step
        assert step is not None
        assert step.trigger is not None
        apart = tuple(replace(each, reason=text, column=text, value=text) for each in step.quarantine)
        sums = worth(1.0, measured=False, text=text, unit=text, horizon=text)
        own = replace(step, trigger=replace(step.trigger, reason=text), quarantine=apart, expected=sums)
        told = (Told(at=utc(9), kind="hold", text=text, step=own), raised(alarm(1, 3, id=text, text=text)))
        whole = rehearsal(model=text, metric=text, currency=text, verdict=(text,), notes=(text,))
        first = replace(whole.policies[0], told=told)
        tried = replace(whole.policies[1], name=text, changes={text: text}, told=told)
        read = outline(render_rehearsal(replace(whole, policies=(first, tried))))
        assert not {tag for tag, _ in read.tags} & {"img", "iframe", "object", "embed", "form"}
        assert sum(tag == "script" for tag, _ in read.tags) == 2
        assert not [key for _, attributes in read.tags for key in attributes if key.startswith("on")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.chromium() as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (400, "dark")])
def test_a_browser_reads_it_by_keyboard(browser: Any, tmp_path: Path, page: str, width: int, scheme: str) -> None:
    assert browsing.opened(browser, tmp_path / "page.html", page, width=width, scheme=scheme) == []
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_script("for (const d of document.querySelectorAll('details')) d.open = false")
    tip = "return document.getElementById('tip').textContent"
    browser.find_element("css selector", "#over-time [data-plot]").send_keys("\ue012")  # the left arrow
    assert "Never retraining" in browser.execute_script(tip)
    browser.execute_script("document.querySelector('#over-time .lane .mk.good').focus()")
    assert "Measured: +393.4 EUR in 30d" in browser.execute_script(tip).replace("\u202f", " ")
    mark = browser.execute_script("return document.activeElement")
    mark.send_keys("\ue007")  # Enter
    opened = "return [...document.querySelectorAll('.story details[open]')].map(e => e.textContent)"
    (told,) = browser.execute_script(opened)
    assert "version 2 takes over" in told
    assert browsing.requests(browser) == []
