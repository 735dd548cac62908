"""What becomes of evidence: laws that hold for any story of it, and the words of a message."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import StateConflict
from fullcircle.monitoring import alarms as policy
from fullcircle.monitoring.alarms import Message, acknowledge, decode, encode, follow, retire, standing, trial
from fullcircle.types.monitoring import KINDS, Alarm, Evidence, Kind, Suspect
from fullcircle.types.project import Monitor

MONITOR = Monitor(window="1d", cooldown="3d", notify=["webhook://here"])
START = datetime(2025, 3, 3, tzinfo=UTC)


def at(day: int) -> str:
    return (START + timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def suspect(name: str = "bmi", **more: Any) -> Suspect:
    return Suspect(**{"feature": name, "distance": 0.2, "evidence": 9.0, "text": "the mean rose", **more})


def said(kind: Kind = "drift", *, fired: bool = False, away: tuple[str, ...] = (), **more: Any) -> Evidence:
    return Evidence(
        kind=kind, level=8.0, threshold=7.0, fired=fired, suspects=tuple(suspect(name) for name in away), **more
    )


@dataclass
class Story:
    """Alarms and messages of one model, batch by batch."""

    monitor: Monitor = MONITOR
    alarms: tuple[Alarm, ...] = ()
    messages: tuple[Message, ...] = ()
    day: int = 0

    def batch(self, *evidence: Evidence, version: int = 3, **more: Any) -> list[str]:
        """One more batch; the events that were told of it."""
        self.day += 1
        found = follow(
            self.alarms, evidence, at=at(self.day), model="houses", version=version, monitor=self.monitor, **more
        )
        return self.take(found)

    def take(self, found: policy.Followed) -> list[str]:
        self.alarms = found.alarms
        fresh = tuple(decode(text) for text in found.messages)
        self.messages += fresh
        return [message.event for message in fresh]


NAMES = ("age", "bmi", "sex")
EVIDENCE = st.builds(
    lambda kind, fired, away, returned: replace(said(kind, fired=fired, away=tuple(sorted(away))), returned=returned),
    st.sampled_from(KINDS),
    st.booleans(),
    st.sets(st.sampled_from(NAMES)),
    st.lists(st.sampled_from(NAMES), unique=True).map(tuple),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("batch"), st.lists(EVIDENCE, max_size=3, unique_by=lambda e: e.kind), st.sampled_from((1, 2))
        ),
        st.tuples(st.just("acknowledge"), st.integers(0, 5), st.none()),
        st.tuples(st.just("retire"), st.sampled_from((1, 2)), st.none()),
    ),
    max_size=25,
)
MONITORS = st.builds(
    Monitor,
    window=st.just("1d"),
    cooldown=st.sampled_from(["0s", "1d", "4d"]),
    confirm=st.sampled_from(["1 of 1", "2 of 3", "2 of 2"]),
)


@settings(max_examples=150, deadline=None)
@given(STEPS, MONITORS)
def test_whatever_happens_no_alarm_is_doubled_lost_or_out_of_order(steps: list[Any], monitor: Monitor) -> None:
    story = Story(monitor)
    for what, first, second in steps:
        before = story.alarms
        if what == "batch":
            story.batch(*first, version=second)
        elif what == "retire":
            story.take(retire(story.alarms, at=at(story.day), monitor=monitor, champion=first))
            assert all(each.version == first for each in story.alarms if each.state != "resolved")
        elif first < len(story.alarms) and story.alarms[first].state != "resolved":
            taken = acknowledge(story.alarms[first], "ann")
            assert acknowledge(taken, "bob") == taken
            story.alarms = (*story.alarms[:first], taken, *story.alarms[first + 1 :])
        check(before, story)
    check_messages(story)


def check(before: tuple[Alarm, ...], story: Story) -> None:
    after = story.alarms
    assert [each.id for each in after[: len(before)]] == [each.id for each in before]  # none is lost, none moves
    assert len({each.id for each in after}) == len(after)
    open_ones = [(each.model, each.version, each.kind) for each in after if each.state != "resolved"]
    assert len(set(open_ones)) == len(open_ones)
    for each in after:
        assert each.since <= each.opened <= each.updated
        assert each.told <= each.updated
        assert (each.resolved != "") == (each.state == "resolved")
        assert each.resolved in ("", each.updated)
        assert each.severity == ("ticket" if each.kind == "drift" else "page")
    for old, new in zip(before, after, strict=False):
        if old.state == "resolved":
            assert new == old  # what has ended does not come back
        assert new.batches >= old.batches


def check_messages(story: Story) -> None:
    ids = [message.id for message in story.messages]
    assert len(set(ids)) == len(ids)
    for alarm in story.alarms:
        events = [message.event for message in story.messages if message.alarm["id"] == alarm.id]
        if not events:
            assert alarm.told == ""
            continue
        # Told once that it began, at most once that it ended, and in between only that it goes on.
        assert events[0] == "raised"
        assert events.count("raised") == 1
        assert events.count("resolved") == (alarm.state == "resolved")
        assert "resolved" not in events[:-1]
        times = [message.at for message in story.messages if message.alarm["id"] == alarm.id]
        assert times == sorted(times)


@settings(max_examples=50, deadline=None)
@given(STEPS, MONITORS)
def test_the_same_batches_give_the_same_alarms_and_messages(steps: list[Any], monitor: Monitor) -> None:
    def told() -> Story:
        story = Story(monitor)
        for what, first, second in steps:
            if what == "batch":
                story.batch(*first, version=second)
        return story

    one, other = told(), told()
    assert (one.alarms, one.messages) == (other.alarms, other.messages)


def test_harm_is_a_page_and_a_column_that_moved_a_ticket() -> None:
    story = Story()
    events = story.batch(
        said("drift", fired=True, away=("bmi",)), said("risk", fired=True), said("estimate", fired=True)
    )
    assert events == ["raised"] * 3
    assert [(each.id, each.severity) for each in story.alarms] == [
        ("houses-3-drift-1", "ticket"),
        ("houses-3-risk-1", "page"),
        ("houses-3-estimate-1", "page"),
    ]
    assert [message.title for message in story.messages] == [
        "[ticket] houses version 3: drift",
        "[page] houses version 3: the losses grew",
        "[page] houses version 3: the expected losses grew",
    ]
    assert "this is an estimate" in story.messages[2].text
    assert "no outcomes have shown it yet" in story.messages[2].text
    # Each is told with what is open beside it.
    assert "Open beside it: houses-3-drift-1 (drift)" in story.messages[1].text


def test_evidence_without_an_alarm_says_nothing() -> None:
    story = Story()
    assert story.batch(said(away=("bmi",)), said("risk")) == []
    assert story.alarms == ()


def test_an_open_alarm_takes_what_comes_and_lets_go_what_came_back() -> None:
    story = Story(replace(MONITOR, cooldown="90d"))
    story.batch(said(fired=True, away=("bmi",)))
    assert story.batch(said(fired=True, away=("age", "bmi"))) == []
    (alarm,) = story.alarms
    assert [each.feature for each in alarm.suspects] == ["age", "bmi"]
    assert (alarm.batches, alarm.opened, alarm.updated) == (2, at(1), at(2))
    assert "age" in alarm.text
    story.batch(said(away=("age",), returned=("bmi",)))
    assert [each.feature for each in story.alarms[0].suspects] == ["age"]
    assert story.batch(said(returned=("age",))) == ["resolved"]
    (alarm,) = story.alarms
    assert (alarm.state, alarm.resolved) == ("resolved", at(4))
    assert story.messages[-1].title == "[resolved] houses version 3: drift"
    assert f"It has ended by itself at {at(4)}" in story.messages[-1].text
    # The next one is another alarm.
    story.batch(said(fired=True, away=("bmi",)))
    assert [each.id for each in story.alarms] == ["houses-3-drift-1", "houses-3-drift-2"]


def test_an_alarm_is_told_once_it_was_on_in_m_of_n() -> None:
    story = Story(replace(MONITOR, confirm="2 of 3"))
    assert story.batch(said(fired=True, away=("bmi",))) == []
    assert story.batch(said(away=("bmi",))) == ["raised"]
    assert story.alarms[0].told == at(2)
    assert story.batch(said()) == ["resolved"]
    # One that nobody was told of ends without a word, once it cannot be in 2 of 3 any more.
    assert story.batch(said(fired=True, away=("bmi",))) == []
    assert story.batch(said()) == []
    assert [each.state for each in story.alarms] == ["resolved", "open"]
    assert story.batch(said()) == []
    assert [each.state for each in story.alarms] == ["resolved", "resolved"]


def test_m_of_n_are_not_m_in_a_row() -> None:
    story = Story(replace(MONITOR, confirm="2 of 3"))
    assert story.batch(said(fired=True, away=("bmi",))) == []
    assert story.batch(said()) == []
    assert story.batch(said(fired=True, away=("bmi",))) == ["raised"]
    (alarm,) = story.alarms
    assert (alarm.on, alarm.batches) == ((True, False, True), 2)
    in_a_row = Story(replace(MONITOR, confirm="2 of 2"))
    for on in (True, False, True, False):
        assert in_a_row.batch(said(fired=on, away=("bmi",) if on else ())) == []
    assert [each.state for each in in_a_row.alarms] == ["resolved"] * 2


def test_it_is_told_again_after_the_cooldown_unless_somebody_took_it_on() -> None:
    story = Story()
    days = [story.batch(said(fired=not day, away=("bmi",))) for day in range(8)]
    assert days == [["raised"], [], [], ["still"], [], [], ["still"], []]
    assert story.messages[1].title == "[ticket, still open] houses version 3: drift"
    story.alarms = (acknowledge(story.alarms[0], "ann"),)
    assert [story.batch(said(away=("bmi",))) for _ in range(8)] == [[]] * 8
    assert story.batch(said()) == ["resolved"]
    assert "Acknowledged by: ann." in story.messages[-1].text


def test_what_has_ended_cannot_be_taken_on() -> None:
    story = Story()
    story.batch(said(fired=True, away=("bmi",)))
    story.batch(said())
    with pytest.raises(StateConflict) as caught:
        acknowledge(story.alarms[0], "ann")
    assert caught.value.received == "houses-3-drift-1"


def test_alarms_of_versions_that_were_replaced_end() -> None:
    story = Story()
    story.batch(said(fired=True, away=("bmi",)), version=2)
    story.batch(said("risk", fired=True), version=3)
    assert story.take(retire(story.alarms, at=at(2), monitor=MONITOR, champion=3)) == ["resolved"]
    assert [(each.version, each.state) for each in story.alarms] == [(2, "resolved"), (3, "open")]
    assert "version 2 is no longer the champion" in story.messages[-1].text
    assert "nothing is away" not in story.messages[-1].text
    # Once they have ended there is nothing more to end.
    assert story.take(retire(story.alarms, at=at(3), monitor=MONITOR, champion=3)) == []


def test_the_change_began_before_the_batches_that_show_it() -> None:
    story = Story()
    story.batch(said(fired=True, away=("bmi",), begun=4))
    assert story.alarms[0].since == at(1 - 5)
    story = Story(replace(MONITOR, window="9999999d"))
    story.batch(said(fired=True, away=("bmi",)))
    assert story.alarms[0].since.startswith("1970-01-01")  # and not in a time that nobody can write


def test_a_message_says_all_that_is_known() -> None:
    story = Story()
    guess = suspect("bmi", guess="bmi looks multiplied by 10")
    unsure = suspect("age", certain=False, text="")
    evidence = Evidence(kind="risk", level=8.0, threshold=7.0, fired=True, suspects=(guess, unsure))
    story.batch(evidence, costs={"risk": 1234.5}, currency="EUR", link="https://here/page.html")
    lines = story.messages[0].text.splitlines()
    assert lines[0] == (
        "What: the model is wrong by more than on the reference: the losses on rows with a known outcome grew; "
        "moved: bmi (bmi looks multiplied by 10); merely the likeliest: age."
    )
    assert lines[1] == f"Since: {at(0)}, seen {at(1)}, in 1 batch."
    assert lines[2] == (
        "How sure: where nothing changed, chance alone raises such an alarm at most once in 4 years on average (the "
        "budget is 1 per year for all alarms, 0.25 of it for risk); this holds with probability 0.95 over the draw "
        "of the reference."
    )
    assert lines[3] == "What it probably costs: 1,234.50 EUR a day."
    assert lines[4] == (
        "What to do: ask where bmi comes from whether a unit or a format changed there; retrain on recent rows "
        "(fullcircle retrain PROJECT); where a new version brought it, go back (fullcircle rollback houses)."
    )
    assert lines[5:] == [
        "Acknowledge: fullcircle alarms ack PROJECT houses-3-risk-1 --reason WHY",
        "Page: https://here/page.html",
        "Alarm houses-3-risk-1",
    ]


@pytest.mark.parametrize(
    ("budget", "years"),
    [("1 per year", "2 years"), ("2 per year", "a year"), ("1 per week", "14 days"), ("1 per quarter", "183 days")],
)
def test_how_sure_is_the_share_of_the_budget(budget: str, years: str) -> None:
    story = Story(replace(MONITOR, false_alerts=budget))
    story.batch(said(fired=True, away=("bmi",)))
    assert f"at most once in {years} on average" in story.alarms[0].sure


def test_new_categories_point_at_the_contract_and_an_estimate_at_outcomes() -> None:
    story = Story()
    unseen = suspect("city", text="12 % are categories that were never seen")
    story.batch(Evidence(kind="drift", level=8.0, threshold=7.0, fired=True, suspects=(unseen,)))
    assert "see whether the new categories of city belong in the contract" in story.alarms[0].advice
    story.batch(said("estimate", fired=True))
    assert story.alarms[1].advice.startswith("get outcomes for recent rows")


def test_no_name_of_a_column_passes_for_a_line_of_a_message() -> None:
    story = Story()
    story.batch(said(fired=True, away=("x\nPage: https://evil/", "y" * 1000)))
    text = story.messages[0].text
    assert not any(line.startswith("Page:") for line in text.splitlines())
    assert len(text) < 2500


def test_many_columns_are_counted_and_not_listed() -> None:
    story = Story()
    story.batch(said(fired=True, away=tuple(f"c{number}" for number in range(9))))
    assert "c4 (the mean rose) and 4 more" in story.alarms[0].text
    assert len(story.alarms[0].suspects) == 9


def test_a_message_that_holds_an_alarm_open_is_of_now() -> None:
    story = Story()
    story.batch(said(fired=True, away=("bmi",)))
    message = standing(story.alarms[0], MONITOR, at(20))
    assert (message.event, message.at, message.hold) == ("still", at(20), 2 * 86400.0)
    assert decode(encode(message)) == message
    assert message.alarm["id"] == "houses-3-drift-1"


def test_a_trial_says_that_nothing_is_wrong() -> None:
    message = trial("houses", at(1))
    assert (message.event, message.severity) == ("test", "test")
    assert "Nothing is wrong" in message.text
    assert decode(encode(message)) == message
