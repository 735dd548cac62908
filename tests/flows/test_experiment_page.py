"""The page of an experiment: the verdict in words, its bounds as a picture, and what forbids to believe it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows import browsing
from flows.outlines import outline
from fullcircle.flows.experiment_words import between, days, notes_of, number, planned, sure, text_of, when
from fullcircle.flows.pages.experiment import answer, picture, render_experiment
from fullcircle.types.experiments import (
    Arm,
    Difference,
    Experiment,
    Guardrail,
    Look,
    Metric,
    MetricKind,
    Plan,
    Share,
    Verdict,
    Warrant,
)

HOSTILE = "</script><script>alert('x')</script>\"><img src=x onerror=alert(1)>"
SPACES = str.maketrans({"\u202f": " ", "−": "-"})
PLAN = Plan(
    model="bike-demand",
    metric=Metric(name="value_per_row", kind="mean", unit="EUR"),
    arms=(Arm(version=7, share=0.5), Arm(version=8, share=0.5)),
    effect=0.1,
    spread=1.0,
    guardrails=(Guardrail(name="rejected", kind="rate", limit=0.01),),
    rows=6012,
    likely_rows=3732,
    rows_a_day=1000.0,
    days=6.012,
    likely_days=3.732,
    assumed=("rows a day are those of less than one day",),
)
VERDICT = Verdict(
    version=8,
    standing="better",
    state="decided",
    difference=Difference(value=0.2, low=0.05, high=0.35, unit="EUR"),
    chance=0.01,
    a_day=Difference(value=200.0, low=50.0, high=350.0, unit="EUR"),
    arms=(
        Share(
            version=7, share=0.5, rows=2010, due=2000, labelled=1990, value=Difference(value=7.0, low=None, high=None)
        ),
        Share(version=8, share=0.5, rows=1990, due=1985, labelled=1980),
    ),
    trust=(
        Warrant(name="sample ratio", holds=True, chance=1.0, text="1,990 of 4,000 requests went to version 8"),
        Warrant(name="label coverage", holds=True, chance=0.6, text="99.5% of version 7, 99.7% of version 8"),
    ),
    guardrails=(Warrant(name="rejected", holds=True, chance=1.0, text="rejected: 3 of 1,990 rows, at most 1.00%"),),
)


def sample(**changes: Any) -> Experiment:
    """An experiment that was looked at for four days; ``changes`` of the verdict, the plan or itself."""
    looks = tuple(
        Look(
            at=f"2026-03-{2 + place // 12:02d}T{place % 12 * 2:02d}:00:00.000000Z",
            rows=83 * (place + 1),
            difference=Difference(
                value=0.2 + 0.3 / (place + 1),
                low=None if place < 3 else 0.2 - 1.1 / (place + 1) ** 0.5,
                high=None if place < 3 else 0.2 + 1.1 / (place + 1) ** 0.5,
                unit="EUR",
            ),
        )
        for place in range(48)
    )
    own = {name: changes.pop(name) for name in ("looks", "ended", "reason", "model", "notes") if name in changes}
    plan = replace(PLAN, **{name: changes.pop(name) for name in tuple(changes) if not hasattr(VERDICT, name)})
    found = Experiment(
        model="bike-demand",
        split="5f0c2d7a11aa",
        mode="split",
        plan=plan,
        digest="ab" * 32,
        started="2026-03-02T00:00:00.000000Z",
        at="2026-03-06T00:00:00.000000Z",
        verdict=replace(VERDICT, **changes),
        looks=looks,
    )
    found = replace(found, text=text_of(found), notes=notes_of(found))
    found = replace(found, **own)
    return found if "notes" in own or not own else replace(found, text=text_of(found))


def words(page: str) -> str:
    return " ".join(outline(page).words.translate(SPACES).split())


UNKNOWN = {"standing": "undecided", "state": "running", "rows_left": 1800, "days_left": 1.8}


def test_it_says_which_is_better_by_how_much_how_sure_and_when() -> None:
    told = words(render_experiment(sample()))
    for piece in (
        "bike-demand: version 8 beside version 7",
        "Version 8 is better than version 7 in value_per_row, where more is better: +0.2 EUR (+0.05 to +0.35).",
        "Of experiments in which nothing differs at most 5% ever say so, at however many looks.",
        "how sure 99% of experiments in which nothing differs never look like this, at any look",
        "+0.2 EUR 0.05 to 0.35 a row",
        "+200 EUR 50 to 350",
        "1,990 of 4,000 requests went to version 8",
        "rejected: 3 of 1,990 rows",
        "6,012 rows show a difference of 0.1 EUR with a chance of 80% at least",
        "6 days, or likely 3.7 days, at 1,000 rows a day",
        "Assumed in the plan: rows a day are those of less than one day.",
        "callers must not send X-Entity",
        "of rows that were asked together the first one counts",
    ):
        assert piece.lower() in told.lower(), piece
    assert "regret" not in told
    still = words(render_experiment(sample(**UNKNOWN)))
    assert "Not known yet" in still
    assert "It will likely know after about 1,800 more rows with a label: 1.8 days." in still


@pytest.mark.parametrize(
    ("changes", "tone", "word"),
    [
        ({}, "good", "Version 8 is better"),
        ({"standing": "worse"}, "bad", "Version 8 is worse"),
        ({"standing": "same"}, "info", "Version 8 is as good as version 7"),
        (UNKNOWN, "info", "Not known yet"),
        ({**UNKNOWN, "ended": "stopped"}, "info", "Not known"),
        ({"state": "broken"}, "bad", "Version 8 broke a guardrail"),
        ({"state": "untrusted", "standing": "undecided"}, "hold", "Not to be believed"),
    ],
)
def test_the_head_says_it_in_a_word(changes: dict[str, Any], tone: str, word: str) -> None:
    found = answer(sample(**changes))
    assert (found.tone, found.word) == (tone, word)
    assert word in words(render_experiment(sample(**changes)))


def test_what_does_not_hold_is_named_with_what_was_seen() -> None:
    broken = replace(VERDICT.trust[0], holds=False, chance=1e-5)
    told = words(render_experiment(sample(state="untrusted", standing="undecided", trust=(broken,))))
    assert "Nothing can be said" in told
    assert "does not hold" in told
    assert "1e-05" in told
    rail = replace(VERDICT.guardrails[0], holds=False)
    assert "rejected: 3 of 1,990 rows" in text_of(sample(state="broken", guardrails=(rail,)))


def test_the_picture_has_the_bounds_and_what_would_not_matter() -> None:
    drawn = picture(sample())
    assert drawn is not None
    (series,) = drawn.plot.series
    assert series.values[:3] == [None] * 3  # a value without bounds says nothing
    assert series.lows[3] == pytest.approx(0.2 - 0.55)
    assert drawn.plot.reference == (0.0, -0.1, 0.1)
    assert 'class="band a"' in drawn.drawn.svg
    assert 'class="usual"' in drawn.drawn.svg
    assert len(drawn.ticks) > 2
    assert picture(sample(looks=())) is None
    assert "There are no bounds yet" in words(render_experiment(sample(looks=())))


def over(seconds: float, lag: float = 0.0) -> Experiment:
    """One that was looked at evenly over so many seconds, begun in the evening, and ``lag`` after that."""
    begun = datetime(2026, 3, 2, 23, 41, 17, 380000, tzinfo=UTC)

    def after(passed: float) -> str:
        return (begun + timedelta(seconds=passed)).isoformat()

    found = sample()
    looks = tuple(
        replace(look, at=after(seconds * (place + 1) / len(found.looks))) for place, look in enumerate(found.looks)
    )
    return replace(found, looks=looks, started=after(0.0), at=after(seconds + lag))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (3, ["23:41:18", "23:41:19", "23:41:20"]),
        (40, ["23:41:20", "23:41:30", "23:41:40", "23:41:50"]),
        (90, ["23:41:30", "23:42:00", "23:42:30"]),
        (480, ["23:42", "23:44", "23:46", "23:48"]),
        (2400, ["23:45", "3 Mar", "00:15"]),
        (18_000, ["3 Mar", "01:00", "02:00", "03:00", "04:00"]),
        (4 * 86_400, ["3 Mar", "4 Mar", "5 Mar", "6 Mar"]),
        (120 * 86_400, ["16 Mar", "13 Apr", "11 May", "8 Jun"]),
    ],
)
def test_the_axis_can_be_read_however_long_it_ran(seconds: int, shown: list[str]) -> None:
    drawn = picture(over(seconds))
    assert drawn is not None
    assert [text for _, text in drawn.ticks] == shown
    page = render_experiment(over(seconds))
    assert all(f'%">{text}</span>' in page for (place, text) in drawn.ticks if place <= 0.97)


def test_the_picture_reaches_from_the_beginning_to_now() -> None:
    """Before the first look nothing was known, and after the last one nothing came."""
    drawn = picture(over(600, lag=600))
    assert drawn is not None
    (series,) = drawn.plot.series
    assert (series.values[0], series.values[-1]) == (None, None)
    assert len(series.values) == 50
    line = drawn.drawn.svg.split('class="line a" d="M')[1].split('"')[0].split()
    assert float(line[0]) == pytest.approx(1000 * 600 * 4 / 48 / 1200, abs=0.1)
    assert float(line[-2]) == pytest.approx(500.0, abs=0.1)


def test_labels_that_come_all_at_once_are_one_look() -> None:
    found = over(86_400, lag=3600)
    looks = tuple(replace(look, at=found.looks[-1].at) for look in found.looks)
    drawn = picture(replace(found, looks=looks))
    assert drawn is not None
    (series,) = drawn.plot.series
    last = looks[-1].difference
    assert (series.values, series.lows, series.highs) == (
        [None, last.value, None],
        [None, last.low, None],
        [None, last.high, None],
    )
    assert [text for _, text in drawn.ticks] == ["3 Mar", "06:00", "12:00", "18:00", "4 Mar"]
    assert 'class="whisker a"' in drawn.drawn.svg


def test_words_for_what_is_not_known() -> None:
    nothing = Difference(value=None, low=None, high=None)
    assert between(nothing) == "nothing is known yet"
    assert between(replace(nothing, value=1.0, unit="EUR")) == "+1 EUR, with no bounds yet"
    assert "Nobody can say" in when(sample(standing="undecided", state="running"))
    assert "how many come a day is not known" in when(sample(**{**UNKNOWN, "days_left": None}))
    assert "and the 3 days that labels take" in when(sample(**UNKNOWN, label_delay_days=3.0))
    assert "how long that takes nobody can say" in planned(replace(PLAN, days=None))
    spans = (0.0, 0.0008, 0.01, 0.04, 0.0416, 0.06, 0.5, 0.97, 0.99, 1.0, 1.02, 1.26, 9.97, 40.2, 1200.0)
    assert [days(each) for each in spans] == [
        "1 minute", "1 minute", "14 minutes", "58 minutes", "1 hour", "1 hour", "12 hours", "23 hours", "1 day",
        "1 day", "1 day", "1.3 days", "10 days", "40 days", "1,200 days",
    ]  # fmt: skip
    money = Difference(value=-367534.2, low=-10514319.0, high=9999.4, unit="EUR")
    assert between(money) == "-367,500 EUR (-10,510,000 to +9999)", "no powers of ten where money is meant"
    figures = (0.0, 0.01515, -1.2194, 9999.4, 9999.9, 10000.0, 123456.0, -7291.0, 3e20)
    assert [number(each) for each in figures] == [
        "0", "0.01515", "-1.219", "9999", "10,000", "10,000", "123,500", "-7291", "3e+20",
    ]  # fmt: skip
    assert "after about 1 more row with a label: 2 hours." in when(
        sample(**{**UNKNOWN, "rows_left": 1, "days_left": 0.1})
    )
    assert "get a value" not in planned(PLAN)
    assert "at 1,000 rows a day, of which 20% get a value." in planned(replace(PLAN, valued=0.2))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "nothing differs at most 5% ever say so"),
        ({"standing": "worse"}, "nothing differs at most 5% ever say so"),
        ({"standing": "same"}, "the difference is that large at most 5% ever say so"),
        (UNKNOWN, "nothing differs at most 5% ever find a difference"),
        ({"alpha": 0.001}, "nothing differs at most 0.1% ever say so"),
    ],
)
def test_how_sure_it_is_goes_by_what_is_said(changes: dict[str, Any], text: str) -> None:
    assert sure(sample(**changes)) == f"Of experiments in which {text}, at however many looks."


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"standing": "same", "chance": 0.97}, "95% of experiments with a difference that matters never say so"),
        ({"chance": 0.0123}, "98.7% of experiments in which nothing differs never look like this"),
        ({"chance": 7.5e-31}, "more than 99.9% of experiments in which nothing differs never look like this"),
        ({**UNKNOWN, "chance": 1.0}, "not yet it will likely know after"),
        ({**UNKNOWN, "rows_left": None, "chance": 0.3, "ended": "stopped"}, "nothing to be sure of"),
        ({"state": "untrusted", "standing": "undecided", "chance": 1e-9}, "nothing to be sure of"),
    ],
)
def test_a_large_figure_is_a_sure_one(changes: dict[str, Any], shown: str) -> None:
    told = words(render_experiment(sample(**changes)))
    assert f"how sure {shown}" in told
    assert "0.97" not in told


@pytest.mark.parametrize("state", [{}, {"standing": "same"}, UNKNOWN])
@pytest.mark.parametrize(("better", "way"), [("up", "more"), ("down", "less")])
def test_a_difference_is_told_with_the_way_that_is_good(state: dict[str, Any], better: Any, way: str) -> None:
    metric = Metric(name="mae", kind="mean", better=better)
    assert f"in mae, where {way} is better: " in text_of(sample(metric=metric, **state))


def test_of_one_that_is_known_and_runs_on_it_says_what_to_do() -> None:
    better, same = "fullcircle experiment stop PROJECT --promote.", "End it: fullcircle experiment stop PROJECT."
    assert text_of(sample()).endswith(f"Make it champion: {better}")
    for known in ({"standing": "same"}, {"standing": "worse"}, {"state": "broken"}):
        assert text_of(sample(**known)).endswith(same)
    for going in (UNKNOWN, {"ended": "promoted"}, {"ended": "stopped", "reason": "enough"}):
        assert "experiment stop" not in text_of(sample(**going))


@pytest.mark.parametrize(
    ("kind", "first", "limit"),
    [("mean", True, False), ("proportion", True, False), ("ratio", False, True), ("paired", False, True)],
)
def test_the_notes_say_which_rows_count_and_how_bounds_hold(kind: MetricKind, first: bool, limit: bool) -> None:
    notes = " ".join(notes_of(sample(metric=replace(PLAN.metric, kind=kind))))
    assert ("the first one counts" in notes) is first
    assert ("in the limit of many units" in notes) is limit


@pytest.mark.parametrize(
    ("entities", "loose", "said"),
    [
        (None, 0, ()),
        (900, 0, ("rows came of 900 entities so far (customer)",)),
        (
            2,
            3000,
            (
                "rows came of 2 entities so far (customer): by so few nothing is ever known",
                "3,000 of 4,000 rows had no value of customer: each of their requests was dealt anew",
            ),
        ),
    ],
)
def test_the_notes_count_entities_and_rows_without_one(
    entities: int | None, loose: int, said: tuple[str, ...]
) -> None:
    metric = replace(PLAN.metric, kind="ratio", entity=() if entities is None else ("customer",))
    found = sample(metric=metric, entities=entities, loose=loose)
    assert tuple(each for each in found.notes if "customer" in each) == said
    assert notes_of(replace(found, verdict=replace(found.verdict, arms=())))[-1].startswith("the bounds hold")


def test_learned_shares_and_their_regret_are_shown() -> None:
    regret = Difference(value=0.03, low=0.01, high=0.05, unit="EUR")
    told = words(render_experiment(sample(regret=regret, floor=0.1)))
    assert "Regret so far: +0.03 EUR (+0.01 to +0.05) a row" in told
    assert "each at least 10%" in told
    assert "version share now rows" in told, "rows of the shares before stand in the same line"
    assert "version share rows" in words(render_experiment(sample(regret=regret, floor=0.1, ended="stopped")))
    assert "version share rows" in words(render_experiment(sample()))


def test_hostile_text_is_shown_and_never_run() -> None:
    trust = (Warrant(name=HOSTILE, holds=True, chance=1.0, text=HOSTILE),)
    plan = {"metric": Metric(name=HOSTILE, kind="mean", unit=HOSTILE), "assumed": (HOSTILE,)}
    read = outline(render_experiment(sample(model=HOSTILE, reason=HOSTILE, trust=trust, **plan)))
    assert not {tag for tag, _ in read.tags} & {"img", "script"}
    assert "alert('x')" in read.words


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.chromium() as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (400, "dark")])
def test_a_browser_opens_it_in_silence(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    page = render_experiment(sample(regret=Difference(value=0.03, low=0.01, high=0.05, unit="EUR"), floor=0.1))
    assert browsing.opened(browser, tmp_path / "page.html", page, width=width, scheme=scheme) == []
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    field = browser.find_element("css selector", ".field svg")
    assert field.size["height"] > 150
