"""The page of a replay: which answers would have differed, for whom, and what they would have earned."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows import browsing
from flows.outlines import outline
from flows.sample_rehearsal import difference, replayed, worth
from fullcircle.flows.pages.replayed import answer, render_replayed
from fullcircle.types.loop import Changed

HOSTILE = "</script><script>alert('x')</script>\"><img src=x onerror=alert(1)>"
SPACES = str.maketrans({"\u202f": " ", "−": "-"})


def words(page: str) -> str:
    return " ".join(outline(page).words.translate(SPACES).split())


def test_it_says_what_would_have_differed_for_whom_and_what_that_costs() -> None:
    told = words(render_replayed(replayed(left_out=(("their values were erased", 12),))))
    for piece in (
        "lender, version 3",
        "instead of versions 4, 5",
        "It would have earned less",
        "Of 12 400 rows that were answered again, 980 (7.9 %) would have got another answer.",
        "1 781 EUR less than what was answered (-2.4 a row, 95 %: -2.59 to -2.21)",
        "region = south 9.57 %",
        "rejected ok 80",
        "01JD0000000000000000000001 repaid default",
        "12 rows were not answered again: their values were erased.",
    ):
        assert piece in told


@pytest.mark.parametrize(
    ("ends", "word", "tone"),
    [
        ((0.1, 0.5), "It would have earned more", "good"),
        ((-0.5, -0.1), "It would have earned less", "bad"),
        ((-0.1, 0.5), "No difference beyond chance", "info"),
        ((math.nan, math.nan), "No difference beyond chance", "info"),
    ],
)
def test_money_speaks_where_it_is_known(ends: tuple[float, float], word: str, tone: str) -> None:
    found = answer(replayed(worth=replace(worth(0.2, measured=True), low=ends[0], high=ends[1])))
    assert (found.word, found.tone) == (word, tone)


def test_without_money_the_metric_speaks_and_without_labels_nobody_knows() -> None:
    better = difference(0.02, metric="roc_auc", champion=0.80, challenger=0.82, low=0.01, high=0.03, rows=900)
    found = answer(replayed(worth=None, differences=(better,)))
    assert found.word == "It would have been better"
    assert "On 900 labelled rows Roc auc would have been 0.82; it was 0.8." in found.sentence
    silent = replayed(worth=None, differences=(), labelled=0)
    assert answer(silent).word == "Other answers, nobody knows which were better"
    assert "Better or worse" not in words(render_replayed(silent))


def test_a_version_against_itself_makes_no_difference() -> None:
    same = replayed(changed=0, verdicts=(("ok", "ok", 12400),), examples=())
    assert answer(same).word == "No difference"
    assert answer(replace(same, verdicts=(("flagged", "ok", 2),))).word != "No difference"


def test_no_rows() -> None:
    nothing = replayed(rows=0, labelled=0, changed=0, groups=(), verdicts=(), differences=(), examples=(), worth=None)
    assert "Nothing was replayed" in words(render_replayed(nothing))


def test_numbers_say_by_how_much_they_differ() -> None:
    sizes = {"bits": 40.0, "median": 1.5, "p95": 9.25, "largest": 88.0, "mean": -0.5, "tolerance": 0.01, "share": 1.0}
    told = words(render_replayed(replayed(sizes=sizes)))
    assert "counts as another answer more than 1 % of the greater apart" in told
    assert "on average, with its sign -0.5" in told
    assert "more than 2.5 apart" in words(render_replayed(replayed(sizes={"tolerance": 2.5, "share": 0.0})))


def test_more_groups_than_can_be_read_are_counted() -> None:
    many = tuple(
        Changed(column="city", value=f"c{place}", rows=9, changed=1, before=None, after=None) for place in range(250)
    )
    told = words(render_replayed(replayed(groups=many)))
    assert "And 50 more groups" in told
    assert "answer then" not in told  # no group has a mean answer


def test_hostile_text_is_shown_and_never_run() -> None:
    group = Changed(column=HOSTILE, value=HOSTILE, rows=9, changed=1, before=None, after=None)
    hostile = replayed(
        model=HOSTILE,
        groups=(group,),
        notes=(HOSTILE,),
        examples=((HOSTILE,) * 3,),
        verdicts=((HOSTILE, HOSTILE, 1),),
    )
    read = outline(render_replayed(hostile))
    assert not {tag for tag, _ in read.tags} & {"img", "script"}
    assert "alert('x')" in read.words


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.chromium() as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (400, "dark")])
def test_a_browser_opens_it_in_silence(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    page = render_replayed(replayed())
    assert browsing.opened(browser, tmp_path / "page.html", page, width=width, scheme=scheme) == []
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
