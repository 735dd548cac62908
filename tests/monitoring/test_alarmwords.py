"""What an alarm says: every kind, how sure, what to do; and no text of the data passes for a line of the message."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.monitoring.alarmwords import LONGEST, SHOWN, advice, body, sure, title, what
from fullcircle.types.monitoring import KINDS, Alarm, Kind, Suspect
from fullcircle.types.project import Monitor

ALARM = Alarm(
    id="a1b2",
    model="m",
    version=3,
    kind="drift",
    severity="ticket",
    state="open",
    since="2026-11-01T00:00:00.000000Z",
    opened="2026-11-08T00:00:00.000000Z",
    updated="2026-11-08T00:00:00.000000Z",
    text="it moved",
    sure="quite",
    advice="look",
)
# What str.splitlines takes for the end of a line, and what ends none.
BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
hostile = st.text(st.one_of(st.sampled_from(BREAKS + " \t<&>\"'`*_;:()"), st.characters(codec="utf-8")), max_size=300)
suspects_of = st.lists(
    st.builds(
        Suspect,
        feature=hostile,
        distance=st.just(0.1),
        evidence=st.just(2.0),
        certain=st.booleans(),
        text=hostile,
        guess=st.one_of(st.just(""), hostile),
    ),
    max_size=8,
)


def suspect(feature: str, *, certain: bool = True, text: str = "", guess: str = "") -> Suspect:
    return Suspect(feature=feature, distance=0.2, evidence=3.0, certain=certain, text=text, guess=guess)


def of(kind: Kind) -> Alarm:
    return replace(ALARM, kind=kind)


@pytest.mark.parametrize(
    ("kind", "begins"),
    [
        ("drift", "what comes in, or goes out, is not as the reference was"),
        ("risk", "the model is wrong by more than on the reference: the losses on rows with a known outcome grew"),
        ("estimate", "the model itself expects to be wrong by more than on the reference; this is an estimate"),
    ],
)
def test_each_kind_says_what_it_is(kind: Kind, begins: str) -> None:
    assert what(kind, []).startswith(begins)
    assert ";" not in what("drift", [])  # nobody is named where nobody is suspected
    assert what(kind, [suspect("bmi")]).endswith("; moved: bmi")


@pytest.mark.parametrize(
    ("suspects", "end"),
    [
        ([suspect("a", text="mean up")], "moved: a (mean up)"),
        ([suspect("a", text="mean up", guess="a looks multiplied by 10")], "moved: a (a looks multiplied by 10)"),
        ([suspect("a", certain=False)], "merely the likeliest: a"),
        ([suspect("b", certain=False), suspect("a")], "moved: a; merely the likeliest: b"),  # the sure ones first
        ([suspect(str(n)) for n in range(SHOWN)], "moved: 0, 1, 2, 3, 4"),
        ([suspect(str(n)) for n in range(SHOWN + 1)], "moved: 0, 1, 2, 3, 4 and 1 more"),
        ([suspect(str(n), certain=n < 6) for n in range(13)],
         "moved: 0, 1, 2, 3, 4 and 1 more; merely the likeliest: 6, 7, 8, 9, 10 and 2 more"),
        ([suspect("x" * 999)], "moved: " + "x" * LONGEST),
        ([suspect(" two\n words ", text="one\r\n\ttwo")], "moved: two words (one two)"),
    ],
)  # fmt: skip
def test_who_is_named(suspects: list[Suspect], end: str) -> None:
    assert what("drift", suspects).endswith(f"was; {end}")


@given(suspects_of, st.sampled_from(KINDS), st.sampled_from(["opened", "still", "resolved"]))
@settings(max_examples=30, deadline=None)
def test_no_name_of_a_column_makes_a_line_of_its_own(suspects: list[Suspect], kind: Kind, event: str) -> None:
    text, todo = what(kind, suspects), advice(kind, suspects, "m")
    assert len(text.splitlines()) == len(todo.splitlines()) == 1
    plain = body(of(kind), event, [])
    told = body(replace(of(kind), text=text, advice=todo, suspects=tuple(suspects)), event, [])
    assert [line.partition(":")[0] for line in told.splitlines()] == [
        line.partition(":")[0] for line in plain.splitlines()
    ]
    assert len(text) < 600 + 2 * SHOWN * 2 * (LONGEST + 5)


@pytest.mark.parametrize(
    ("budget", "kind", "span"),
    [
        ("1 per year", "drift", "2 years"),  # half of the budget: once in two years
        ("1 per year", "risk", "4 years"),
        ("1 per year", "estimate", "4 years"),
        ("2 per year", "drift", "a year"),
        ("4 per year", "risk", "a year"),
        ("4 per year", "drift", "183 days"),
        ("1 per day", "drift", "2 days"),
        ("1 per month", "drift", "60.9 days"),
        ("0.001 per year", "risk", "4e+03 years"),
        ("  3 per quarter ", "drift", "60.9 days"),
    ],
)
def test_how_sure_is_what_the_budget_says(budget: str, kind: Kind, span: str) -> None:
    told = sure(kind, Monitor(false_alerts=budget, confidence=0.9))
    assert f"at most once in {span} on average" in told
    assert f"(the budget is {budget.strip()} for all alarms, {'0.5' if kind == 'drift' else '0.25'} of it" in told
    assert f"of it for {kind})" in told
    assert told.endswith("with probability 0.9 over the draw of the reference")


@pytest.mark.parametrize(
    ("kind", "has", "lacks"),
    [
        ("drift", ["retrain", "tolerance"], ["rollback", "outcomes"]),
        ("risk", ["retrain on recent rows", "fullcircle rollback m"], ["tolerance", "get outcomes"]),
        ("estimate", ["get outcomes", "retrain on recent rows", "fullcircle rollback m"], ["tolerance"]),
    ],
)
def test_what_to_do_is_of_its_kind(kind: Kind, has: list[str], lacks: list[str]) -> None:
    told = advice(kind, [], "m")
    assert [word for word in has if word not in told] == []
    assert [word for word in lacks if word in told] == []
    assert "unit or a format" not in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_guess_is_asked_about_first_and_new_categories_are_seen_to(kind: Kind) -> None:
    known = [
        suspect("bmi", guess="bmi looks multiplied by 10", text="a new category"),
        suspect("city", text="2 categories that the reference never had"),
        suspect("age", text="mean up"),
    ]
    steps = advice(kind, known, "m").split("; ")
    assert steps[0] == "ask where bmi comes from whether a unit or a format changed there"
    assert steps[1] == "see whether the new categories of city belong in the contract"  # of bmi it is the unit
    assert steps[2:] == advice(kind, [], "m").split("; ")
    assert "age" not in "; ".join(steps[:2])


def test_advice_names_no_more_columns_than_can_be_read() -> None:
    told = advice("drift", [suspect(f"c{n}", guess="g") for n in range(40)], "m")
    assert "c4 comes from" in told
    assert "c5" not in told


@pytest.mark.parametrize(
    ("event", "severity", "begins"),
    [
        ("opened", "page", "[page] m version 3: "),
        ("opened", "ticket", "[ticket] m version 3: "),
        ("still", "page", "[page, still open] m version 3: "),
        ("resolved", "page", "[resolved] m version 3: "),  # how urgent it was is past
    ],
)
@pytest.mark.parametrize(
    ("kind", "ends"),
    [("drift", "drift"), ("risk", "the losses grew"), ("estimate", "the expected losses grew")],
)
def test_the_title(event: str, severity: str, begins: str, kind: Kind, ends: str) -> None:
    found = replace(of(kind), severity="page" if severity == "page" else "ticket")
    assert title(found, event) == begins + ends


def test_an_open_alarm_says_all_that_is_known() -> None:
    known = replace(ALARM, cost=1234.5, currency="EUR", batches=2, acknowledged_by="ann", link="https://x.example/p")
    other = replace(ALARM, id="c3", kind="risk")
    assert body(known, "opened", [other]).splitlines() == [
        "What: it moved.",
        f"Since: {ALARM.since}, seen {ALARM.opened}, in 2 batches.",
        "How sure: quite.",
        "What it probably costs: 1,234.50 EUR a day.",
        "What to do: look.",
        "Open beside it: c3 (the losses grew), which may be of the same cause.",
        "Acknowledge: fullcircle alarms ack PROJECT a1b2 --reason WHY",
        "Acknowledged by: ann.",
        "Page: https://x.example/p",
        "Alarm a1b2",
    ]


@pytest.mark.parametrize(
    ("cost", "currency", "told"),
    [
        (None, "EUR", None),  # nothing is known: nothing is said
        (0.0, "EUR", "0.00 EUR a day."),  # nothing is lost: that is said
        (7.0, "", "7.00 a day."),
        (-2.5, "USD", "-2.50 USD a day."),
        (1e9, "JPY", "1,000,000,000.00 JPY a day."),
    ],
)
def test_what_it_costs(cost: float | None, currency: str, told: str | None) -> None:
    found = [x for x in body(replace(ALARM, cost=cost, currency=currency), "opened", []).splitlines() if "costs" in x]
    assert found == ([] if told is None else [f"What it probably costs: {told}"])


def test_little_is_said_where_little_is_known() -> None:
    assert [line.partition(":")[0] for line in body(ALARM, "opened", []).splitlines()] == [
        *("What", "Since", "How sure", "What to do", "Acknowledge", "Alarm a1b2")
    ]
    assert "in 1 batch." in body(ALARM, "opened", [])


def test_one_that_ended_says_how_and_asks_for_nothing() -> None:
    ended = replace(ALARM, state="resolved", resolved="2026-11-20T00:00:00.000000Z", cost=3.0)
    told = body(ended, "resolved", [ALARM])
    assert told.startswith("It has ended by itself at 2026-11-20T00:00:00.000000Z: nothing is away")
    assert not [word for word in ("costs", "Acknowledge", "What to do", "beside") if word in told]
    taken = body(ended, "resolved", [], champion=4)
    assert taken.startswith("It has ended: version 3 is no longer the champion, version 4 is.")
    assert "by itself" not in taken
