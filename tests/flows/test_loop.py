"""The loop on a played clock: what asks for a retraining, what holds it, what it promotes, and what it takes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from flows import looping
from flows.looping import PROJECT, Life, houses, life
from fullcircle.errors import WorkspaceBusy
from fullcircle.flows import loop, standing
from fullcircle.flows.promote import approve
from fullcircle.flows.retrain import retrain_in
from fullcircle.ledger.folder import locked
from fullcircle.monitoring.journal import Journal
from fullcircle.retraining.regret import Regret
from fullcircle.types.gates import Gate
from fullcircle.types.loop import Step, Trigger
from fullcircle.types.monitoring import Decision

HAND = Trigger(cause="hand", reason="asked for by hand")


def _by_hand(found: Life) -> Step:
    with standing.at_work(found.session, "houses") as journal:
        made = retrain_in(found.session, found.source, HAND, journal)
    assert made.step is not None
    assert made.step.decision == made.decision
    return made.step


def _action(step: Step) -> str:
    return "" if step.decision is None else step.decision.action


def _reason(step: Step) -> str:
    assert step.decision is not None
    return step.decision.reason


# --- a concept that moves ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Two days as before, then every house costs 6 more, for good."""
    with life(tmp_path_factory.mktemp("moved")) as found:
        for day in range(10):
            found.day(houses(day, shift=6.0 if day >= 2 else 0.0))
        yield found


def test_quiet_days_leave_no_fact(moved: Life) -> None:
    assert [each.decision for each in moved.steps[:2]] == [None, None]
    assert [each.labelled for each in moved.steps[:2]] == [100, 200]
    first = moved.facts("decision.taken")[1]
    assert first.time.startswith("2027-01-21"), "the first decision is that of the third day"


def test_harm_asks_and_a_lasting_change_is_promoted(moved: Life) -> None:
    (made,) = [each for each in moved.steps if _action(each) == "promote"]
    assert made.trigger is not None
    assert made.trigger.cause == "harm"
    assert {each.on: each.passed for each in made.differences} == {"fresh": True, "frozen": False}
    assert made.changed, "worse on the frozen rows is excused only where the concept has moved"
    assert made.expected is not None
    assert made.expected.net > 0
    assert made.measured is not None
    assert made.measured.gain > 0
    assert made.learned >= 400
    assert moved.champion == made.decision.version  # type: ignore[union-attr]


def test_an_alarm_that_stays_open_is_no_storm(moved: Life) -> None:
    tries = [each for each in moved.steps if each.decision is not None]
    assert len(tries) <= 4, "of eight days with an open alarm"
    counted = [each.labelled for each in tries]
    assert all(later >= 1.25 * before for before, later in pairwise(counted))


def test_facts_tell_cause_and_step_and_no_data(moved: Life) -> None:
    told = [fact for fact in moved.facts("decision.taken") if fact.body.get("trigger")]
    assert told
    for fact in told:
        step = moved.session.recall(str(fact.body["step"]), Step)
        assert step.trigger is not None
        assert step.trigger.cause == fact.body["trigger"]
        assert step.decision is not None
        assert step.decision.action == fact.body["action"]
        assert "of the rows are" not in fact.body["reason"], "what an alarm says of a column quotes the data"
        assert not {"north", "south", "west"} & set(fact.body["reason"].replace("'", " ").split())
    (crowned,) = [fact for fact in moved.facts("version.promoted") if fact.body.get("trigger")]
    assert moved.session.workspace.ledger.state().crowned["houses"] == crowned


def test_the_frozen_rows_are_never_learned_from(moved: Life) -> None:
    from fullcircle.flows import drafts, learning
    from fullcircle.tables import snapshots

    champion = learning.champion_of(moved.session, moved.source.project, moved.champion)
    frozen = champion.frozen()
    assert frozen is not None
    assert (frozen.first, len(frozen.frame)) == (1, 100)
    frame, test = drafts.rows(moved.session, champion.draft)
    assert not set(snapshots.row_keys(frame).tolist()) & set(snapshots.row_keys(frozen.frame).tolist())
    assert test.sum() >= 30
    assert not test[:300].any(), "the fresh rows are the latest"


def test_a_played_past_is_what_the_facts_say(moved: Life) -> None:
    times = [fact.time for fact in moved.facts("decision.taken")]
    assert times == sorted(times)
    assert all(time.startswith("2027-") for time in times)


# --- what asks --------------------------------------------------------------------------------------------


def test_the_calendar_asks_and_waits_for_its_day(tmp_path: Path) -> None:
    with life(tmp_path, 'triggers=(), schedule="3d"') as found:
        steps = [found.day(houses(day)) for day in range(7)]
        asked = [place for place, each in enumerate(steps) if each.decision is not None]
        assert asked == [2, 5]
        assert {each.trigger.cause for each in steps if each.trigger is not None} == {"schedule"}


def test_rows_ask(tmp_path: Path) -> None:
    with life(tmp_path, "triggers=(), rows=250") as found:
        steps = [found.day(houses(day)) for day in range(3)]
        assert [each.decision is not None for each in steps] == [False, False, True]
        assert steps[2].trigger is not None
        assert steps[2].trigger.cause == "rows"


def test_without_triggers_nothing_asks(tmp_path: Path) -> None:
    with life(tmp_path, "triggers=()") as found:
        assert [found.day(houses(day, shift=9.0)).decision for day in range(4)] == [None] * 4


# --- what holds -------------------------------------------------------------------------------------------


def test_no_labels_and_too_few_are_held(tmp_path: Path) -> None:
    with life(tmp_path) as found:
        found.day(houses(1), labels=False)
        assert "there are no new labelled rows to learn from" in _reason(_by_hand(found))
        found.day(houses(2, rows=59), turn=False)
        held = _by_hand(found)
        assert "there are only 59 new labelled rows, and 60 are needed" in _reason(held)
        assert held.learned == 0
        assert found.champion == 1


def test_suspicious_rows_are_held_with_their_reason(tmp_path: Path) -> None:
    with life(tmp_path) as found:
        for day in range(3):
            rows = houses(day)
            found.day(rows.assign(cost=rows.cost.sample(frac=1.0, random_state=day).to_numpy()), turn=False)
        held = _by_hand(found)
        assert _action(held) == "hold"
        assert "look wrong at random" in _reason(held)
        assert held.learned == 0
        assert found.champion == 1
        fact = found.facts("decision.taken")[-1]
        assert fact.body["step"]
        assert found.session.recall(fact.body["step"], Step) == held


def test_a_cooldown_holds_and_is_told_once(tmp_path: Path) -> None:
    with life(tmp_path, 'cooldown="20d", rows=100, triggers=()') as found:
        steps = [found.day(houses(day)) for day in range(4)]
        assert [_action(each) for each in steps] == ["hold"] * 4
        assert all("the project's cooldown is 20d" in _reason(each) for each in steps)
        told = [fact for fact in found.facts("decision.taken") if fact.body.get("trigger")]
        assert len(told) == 1, "not a fact at every turn"
        assert "step" not in told[0].body, "nothing was tried"
        with standing.at_work(found.session, "houses") as journal:
            assert standing.standing_of(found.session, "houses", journal).tried == ""


def test_a_cooldown_does_not_hold_who_asks_by_hand(tmp_path: Path) -> None:
    with life(tmp_path, 'cooldown="20d", triggers=()') as found:
        found.day(houses(1))
        assert "cooldown" not in _reason(_by_hand(found))


GROUPED = PROJECT.replace(
    'gates=[fc.at_most("mae", 20)]',
    'gates=[fc.at_most("mae", 20), fc.fair(by="area", metric="mae", gap=5)]',
).replace('checks=["quality"]', 'checks=["quality", "fairness"]')


def test_a_gate_that_is_bound_to_hold_is_asked_before_the_training(tmp_path: Path) -> None:
    """25 fresh rows in a hundred come from three areas: none of them has 30."""
    with life(tmp_path, "triggers=(), rows=100", GROUPED) as found:
        runs = len(found.facts("run.finished"))
        held = found.day(houses(1))
        assert "more labelled rows are needed for the gate 'mae differs by at most 5 between groups of area'" in (
            _reason(held)
        )
        assert held.awaited > held.labelled == 100
        assert not {"north", "south", "west"} & set(found.facts("decision.taken")[-1].body["reason"].split("=")[1:])
        with standing.at_work(found.session, "houses") as journal:
            now = standing.standing_of(found.session, "houses", journal)
        assert (now.tried, now.answered, now.awaited) == ("", (), held.awaited), "nothing was tried"
        steps = [found.day(houses(day)) for day in range(2, 7)]
        assert len(found.facts("run.finished")) == runs + 1, "trained as soon as the rows had come"
        assert 300 <= next(each.labelled for each in steps if each.learned) <= 500
        assert all(each.awaited <= 2 * each.labelled for each in (held, *steps)), "the gates may be others by then"


def test_alarms_wait_until_chance_would_let_a_model_as_good_as_the_champion_was_pass(tmp_path: Path) -> None:
    with life(tmp_path, "", PROJECT.replace('"mae", 20', '"mae", 1.2')) as found:
        trained = len(found.facts("run.finished"))
        steps = [found.day(houses(day, shift=6.0)) for day in range(6)]
        held = next(each for each in steps if each.decision is not None)
        assert "chance would hold a model as good as the champion was in its report" in _reason(held)
        assert held.learned == 0
        assert held.awaited
        assert len(found.facts("run.finished")) > trained or steps[-1].labelled < held.awaited
        assert "chance" not in _reason(_by_hand(found)), "a person is not told to wait for that"


def test_a_try_is_remembered(tmp_path: Path) -> None:
    with life(tmp_path, "triggers=()") as found:
        found.day(houses(1))
        _by_hand(found)
        with standing.at_work(found.session, "houses") as journal:
            now = standing.standing_of(found.session, "houses", journal)
        last = found.facts("decision.taken")[-1]
        if last.body["action"] == "hold":
            assert (now.tried, now.tried_rows) == (last.time, 100)
        else:
            assert (now.version, now.tried) == (2, "")


def test_a_person_is_asked_where_the_project_says_so(tmp_path: Path) -> None:
    with life(tmp_path, 'rows=700, triggers=(), approve="person"') as found:
        for day in range(7):
            found.day(houses(day))
        last = found.steps[-1]
        assert _action(last) == "hold"
        assert "waiting for approval" in _reason(last)
        state = found.session.workspace.ledger.state()
        assert state.waits("houses", 2)
        assert found.champion == 1


def test_gates_hold_and_what_they_found_is_not_in_the_fact(tmp_path: Path) -> None:
    text = PROJECT.replace('fc.at_most("mae", 20)', 'fc.at_most("mae", 0.01)')
    with life(tmp_path / "a") as found:
        for day in range(2):
            found.day(houses(day), turn=False)
        strict = replace(found.source.project, gates=_gates(tmp_path, text))
        found.source = replace(found.source, project=strict)
        held = _by_hand(found)
        assert "held: by its gates: mae at most 0.01: mae is" in _reason(held)
        assert found.facts("decision.taken")[-1].body["reason"].endswith("held: by its gates: mae at most 0.01")


def _gates(folder: Path, text: str) -> tuple[Gate, ...]:
    from fullcircle.flows.session import loaded

    return tuple(loaded(looping.write(folder / "strict", "", text)).project.gates)


# --- going back -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def back(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Version 2 comes by itself on rows that cost 6 more; then everything is as it was before."""
    with life(tmp_path_factory.mktemp("back")) as found:
        day = 0
        while found.champion == 1 and day < 12:
            found.day(houses(day, shift=6.0))
            day += 1
        promoted = found.champion
        assert promoted > 1
        while found.champion == promoted and day < 24:
            found.day(houses(day))
            day += 1
        yield found


def test_realised_harm_is_taken_back(back: Life) -> None:
    assert back.champion == 1
    last = back.steps[-1]
    assert _action(last) == "rollback"
    assert last.trigger is not None
    assert last.trigger.cause == "harm"
    assert "than version 1 on" in _reason(last)
    (gone,) = back.facts("version.rolled_back")
    assert gone.body["trigger"] == "harm"
    assert back.session.recall(gone.body["step"], Step) == last


def test_it_does_not_come_again_by_itself(back: Life) -> None:
    taken = next(fact.body["version"] for fact in back.facts("version.promoted") if fact.body.get("trigger"))
    days = [back.day(houses(100 + day)) for day in range(3)]
    assert "rollback" not in map(_action, days)
    assert back.champion != taken
    with standing.at_work(back.session, "houses") as journal:
        now = standing.standing_of(back.session, "houses", journal)
    assert now.tried, "going back counts as a try: the same is not made again at once"


def test_a_persons_choice_is_not_taken_back(tmp_path: Path) -> None:
    with life(tmp_path, 'rows=100, triggers=(), approve="person"') as found:
        for day in range(3):
            found.day(houses(day, shift=6.0))
        settings = found.session.settings
        (waits, *_) = [n for n in (2, 3) if found.session.workspace.ledger.state().waits("houses", n)]
        approve("houses", version=waits, reason="seen", settings=settings)
        from fullcircle.flows.promote import promote_in

        if found.session.workspace.ledger.state().champions["houses"] == 1:
            promote_in(found.session, "houses", waits, "by hand")
        assert found.champion == waits
        assert not standing.by_itself(found.session, "houses")
        with Journal(found.session.folder("monitoring") / "houses.db") as journal:
            assert journal.get("regret") is None


# --- crashes, two at once, old facts ------------------------------------------------------------------------


def test_what_a_promotion_left_undone_is_caught_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fact of the promotion is written, and then nothing more: the next turn does the rest, once."""
    with life(tmp_path, "triggers=(), rows=700") as found:
        for day in range(6):
            found.day(houses(day))
        step = replace(found.steps[-1], decision=Decision(action="promote", model="houses", version=1, reason="x"))
        digest = found.session.keep(step)
        found.session.record(
            "version.promoted", model="houses", version=1, previous=1, reason="x", trigger="rows", step=digest
        )
        before = len(found.facts("decision.taken"))
        found.turn()
        added = found.facts("decision.taken")[before:]
        assert added[0].body["step"] == digest
        assert added[0].body["action"] == "promote"
        found.turn()
        assert [fact.body.get("step") for fact in found.facts("decision.taken")].count(digest) == 1


def test_two_at_once_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with life(tmp_path) as found:
        found.day(houses(1))
        monkeypatch.setattr(standing, "PATIENCE", 0.1)
        path = found.session.folder("monitoring") / "houses.loop.lock"
        with locked(path, 1.0), pytest.raises(WorkspaceBusy):
            loop.turn_in(found.session, found.source)
        assert loop.turn_in(found.session, found.source).decision is None


def test_old_facts_are_read_as_they_are(tmp_path: Path) -> None:
    """Decisions of before the loop have neither cause nor step: they are no tries."""
    with life(tmp_path, "triggers=(), rows=100") as found:
        found.session.record("decision.taken", model="houses", action="hold", version=1, reason="as it was")
        found.day(houses(1), turn=False)
        with standing.at_work(found.session, "houses") as journal:
            now = standing.standing_of(found.session, "houses", journal)
        assert (now.tried, now.answered, now.labelled) == ("", (), 100)
        assert loop.turn_in(found.session, found.source).decision is not None


def test_the_regret_of_another_champion_is_not_taken_over(tmp_path: Path) -> None:
    from fullcircle.flows import regretting

    with life(tmp_path) as found, standing.at_work(found.session, "houses") as journal:
        assert regretting.pair_of(found.session, "houses") is None
        with journal.step():
            journal.put(
                regretting.KEY, '{"champion":7,"before":6,"since":1,"state":{"rows":9,"total":9,"squares":9}}'
            )
        assert regretting.known(journal, (2, 1, 5)) == Regret()
        assert regretting.known(journal, (7, 6, 1)).rows == 9
        assert regretting.worse(found.session, journal, "houses") is None
