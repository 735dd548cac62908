"""Experiments on a played clock: the plan, verdicts at any look, what forbids them, and how one ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import circles
from bundle_samples import CONTRACT, sample
from flows import logbooks
from flows.played_models import DAY, START, Played, played
from flows.trees import tree
from fullcircle.errors import FullcircleError, GateFailed, SettingInvalid, StateConflict, VersionNotFound
from fullcircle.flows import experiment, monitor, splitting, versions
from fullcircle.flows.experiment_plan import FLOOR, Wanted
from fullcircle.flows.experiment_words import planned
from fullcircle.flows.promote import promote_in
from fullcircle.flows.session import Session, loaded
from fullcircle.monitoring.grid import iso
from fullcircle.packaging.bundle import pack
from fullcircle.tables import predictions as log
from fullcircle.tables import trips
from fullcircle.types.contract import Contract
from fullcircle.types.contract import Verdict as RowVerdict
from fullcircle.types.experiments import Experiment, Plan, Verdict
from fullcircle.types.facts import Fact
from fullcircle.types.prediction import Outcome, Prediction

TEXT = tree(circles.UNTIMED).replace('fc.at_most("mae", 5),\n        fc.beats("champion"),', 'fc.at_most("mae", 3),')
TEXT = TEXT.replace('    arrivals={"as before"', '    currency="EUR",\n    arrivals={"as before"')
MINUTE = 60_000_000
WANTED = Wanted(
    metric="value_per_row",
    effect=0.3,
    share=0.5,
    alpha=0.05,
    power=0.8,
    guardrails=(),
    until="",
    entity=(),
    shadow=False,
    thompson=False,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Champion 1, a challenger 2 that passed, and 3 that did not; a week of the champion's rows with labels."""
    found = played(tmp_path_factory.mktemp("experiment"), TEXT)
    assert found.make() == 1
    assert found.make(promoted=False, max_depth="3") == 2
    assert found.make(promoted=False, min_samples_leaf="1000") == 3
    with found.session(7.0) as session:
        dealt(session, day=0.0, rows=700, minutes=14.4, of=None)
    return found


@pytest.fixture
def own(made: Played, tmp_path: Path) -> Played:
    """The same in a workspace of its own."""
    shutil.copytree(made.settings.workspace, tmp_path / "workspace")
    return replace(made, settings=circles.unbegun(tmp_path))


def dealt(
    session: Session,
    *,
    day: float,
    rows: int,
    of: str | None,
    gain: float = 0.0,
    share: float = 0.5,
    truly: float | None = None,
    seed: int = 0,
    minutes: float = 1.0,
    label: Callable[[int, bool], float | None] = lambda place, second: 0.0,
    rejects: Callable[[int, bool], bool] = lambda place, second: False,
    at_once: int = 1,
    customers: int = 0,
    known: bool = True,
    latency: float | None = None,
) -> None:
    """Rows under split ``of``: version 2's errors are ``gain`` smaller. A label comes so many days after its row."""
    rng = np.random.default_rng(seed)
    found, times, labels = [], [], []
    second = False
    assigned = rng.random(max(customers, 1)) < (share if truly is None else truly)
    for place in range(rows):
        customer = int(rng.integers(customers)) if customers else place % 50
        if customers:
            second = bool(assigned[customer])
        elif place % at_once == 0:
            second = of is not None and bool(rng.random() < (share if truly is None else truly))
        error = 2.0 + rng.exponential(1.0) - (gain if second else 0.0)
        truth = float(rng.normal(30, 5))
        rejected = rejects(place, second)
        found.append(
            Prediction(
                value=None if rejected else truth + error,
                verdict=RowVerdict(status="rejected" if rejected else "ok"),
                model="houses",
                version=2 if second else 1,
                inputs={"rooms": customer if known else None, "heat": 20.0, "area": "north"},
                split=of or "",
                propensity=None if of is None else (share if second else 1 - share),
                latency=latency,
            )
        )
        times.append(START + int(day * DAY) + round(place // at_once * minutes * MINUTE))
        late = label(place, second)
        labels.append(None if late is None else (truth, times[-1] + 1 + int(late * DAY)))
    home = session.workspace.predictions
    ids = logbooks.write(home / "houses", found, times)
    outcomes = [
        Outcome(prediction_id=id, value=told[0], time=iso(told[1]))
        for id, told in zip(ids, labels, strict=True)
        if told is not None
    ]
    log.append_outcomes(home, "houses", outcomes)


def registered(session: Session, changed: Callable[[Contract], Contract]) -> int:
    """Another version like the second one, that passed as that did, with a contract of its own."""
    like = versions.find(session, "houses", 2)
    contract = changed(versions.bundle(session, "houses", 2).contract)
    data = pack(sample(model="houses", contract=contract))
    blob = session.workspace.blobs.put(data)
    number = max(session.workspace.ledger.state().versions["houses"]) + 1
    session.record("bundle.built", model="houses", run=like.run, bundle=blob, bytes=len(data))
    session.record(
        "version.registered", model="houses", version=number, bundle=blob, run=like.run,
        snapshot=like.snapshot, proof=like.proof, report=like.report,
    )  # fmt: skip
    return number


def begin(session: Session, own: Played, **more: Any) -> Experiment:
    version = more.pop("version", 2)
    return experiment.start_in(session, loaded(own.project), replace(WANTED, **more), version)


def look(own: Played, day: float) -> Experiment:
    with own.session(day) as session:
        return experiment.status_in(session, loaded(own.project))


def facts(session: Session, kind: str) -> list[Fact]:
    return list(session.workspace.ledger.facts(kind))


class TestThePlan:
    def test_it_comes_from_the_log_and_is_kept_before_the_first_row(self, own: Played) -> None:
        with own.session(7.0) as session:
            found = begin(session, own)
            (fact,) = facts(session, "experiment.started")
            (split,) = facts(session, "split.started")
            assert split.seq < fact.seq
            assert (fact.body["split"], fact.body["version"], fact.body["metric"]) == (
                split.body["split"],
                2,
                "value_per_row",
            )
            plan = session.recall(fact.body["plan"], Plan)
            assert plan == found.plan
        # Amounts are 10 less an error of 2 and an exponential of mean 1, so their standard deviation is 1.
        assert plan.spread == pytest.approx(1.0, rel=0.15)
        assert plan.rows_a_day == pytest.approx(100, rel=0.01)
        # (3.035 + 0.842)^2 * 4 spread^2 / effect^2 by docs/experiments.md.
        assert plan.rows == pytest.approx(15.03 * 4 * plan.spread**2 / 0.09, rel=0.01)
        assert plan.days == pytest.approx(plan.rows / plan.rows_a_day, rel=1e-4)
        assert plan.likely_rows < plan.rows
        assert plan.assumed == ()
        assert [(arm.version, arm.share) for arm in plan.arms] == [(1, 0.5), (2, 0.5)]
        assert found.verdict.state == "running"
        assert "no row counts so far" in found.text
        assert found.verdict.rows_left == plan.likely_rows

    def test_without_history_it_says_what_is_assumed(self, own: Played) -> None:
        with own.session(60.0) as session:  # the rows are older than four weeks by then
            found = begin(session, own, metric="mae")
        assert found.plan.rows_a_day == 0
        assert (found.plan.days, found.verdict.days_left) == (None, None)
        assert any("the report of version 1" in each for each in found.plan.assumed)
        assert any("how many rows come a day" in each for each in found.notes)
        assert found.plan.valued == 1.0
        assert any("each row gets a label, as none of 0" in each for each in found.notes)
        assert "how many come a day is not known" in found.text

    def test_days_go_by_rows_that_get_a_label_and_money_by_all(self, own: Played) -> None:
        with own.session(7.0) as session:
            dealt(session, day=0.0, rows=700, minutes=14.4, of=None, seed=5, label=lambda place, second: None)
            plan = begin(session, own).plan
        assert plan.rows_a_day == pytest.approx(200, rel=0.01)
        assert plan.valued == pytest.approx(0.5, abs=0.001)
        assert plan.days == pytest.approx(plan.rows / 100 + plan.label_delay_days, rel=0.02)
        assert plan.likely_days == pytest.approx(plan.likely_rows / 100 + plan.label_delay_days, rel=0.02)
        assert "at 200 rows a day, of which 50% get a value" in planned(plan)

    def test_rows_that_had_not_their_time_do_not_tell_how_many_get_a_label(self, own: Played) -> None:
        """The last day's rows have none yet, by a label delay of three days; all of the others have one."""
        own.project.write_text(TEXT.replace('    currency="EUR",', '    currency="EUR",\n    label_delay="3d",'))
        try:
            with own.session(8.0) as session:
                dealt(session, day=7.0, rows=100, minutes=14.4, of=None, label=lambda place, second: None)
                plan = begin(session, own).plan
        finally:
            own.project.write_text(TEXT)
        assert plan.valued == 1.0
        assert plan.label_delay_days == 3
        assert plan.days == pytest.approx(plan.rows / plan.rows_a_day + 3)
        assert "get a value" not in planned(plan)

    def test_rows_of_a_request_are_counted_as_far_as_they_have_a_label(self, own: Played) -> None:
        """Requests of four rows, of which two get one: a unit is two rows that count, and the days are of those."""
        with own.session(40.0) as session:
            dealt(
                session, day=30.0, rows=4000, of=None, at_once=4, minutes=14.4, seed=5, latency=0.1,
                label=lambda place, second: 0.0 if place % 2 else None,
            )  # fmt: skip
            plan = begin(session, own).plan
        assert plan.metric.kind == "ratio"
        assert plan.rows_a_unit == pytest.approx(2.0)
        assert plan.valued == pytest.approx(0.5)
        # A unit's mean of two rows strays by 1 / sqrt(2); as many rows as if they came alone.
        assert plan.spread == pytest.approx(2**-0.5, rel=0.1)
        assert plan.days == pytest.approx(plan.rows / (plan.rows_a_day / 2) + plan.label_delay_days)

    @pytest.mark.parametrize(
        ("changes", "way", "refused"),
        [
            ({}, {}, False),
            ({"private": True}, {}, True),
            ({"private": True}, {"shadow": True}, False),
            ({"private": True, "hashed": True}, {}, False),
            ({"outside": "impute"}, {}, True),
            ({"unseen": "impute"}, {}, True),
            ({"wrong_type": "impute"}, {}, True),
            ({"missing": "impute"}, {}, False),
            ({"outside": "impute"}, {"shadow": True}, False),
        ],
    )
    def test_an_entity_is_refused_of_which_the_log_would_not_hold_what_came_by_either_version(
        self, own: Played, changes: dict[str, Any], way: dict[str, Any], refused: bool
    ) -> None:
        with own.session(7.0) as session:
            number = registered(session, lambda contract: replace(contract, columns=tuple(
                replace(each, **changes) if each.name == "rooms" else each for each in contract.columns
            )))  # fmt: skip
            if not refused:
                assert begin(session, own, version=number, entity=("rooms",), **way).plan.metric.entity == ("rooms",)
                return
            with pytest.raises(StateConflict, match="none can tell which belong together") as caught:
                begin(session, own, version=number, entity=("rooms",), **way)
            assert f"rooms, by the contract of version {number}" in str(caught.value)
            assert not session.workspace.ledger.state().splits

    @pytest.mark.parametrize(
        ("wanted", "text"),
        [
            ({"metric": "rmse"}, "no mean over rows"),
            ({"metric": "bias"}, "no mean over rows"),
            ({"effect": 0.0}, "least difference"),
            ({"alpha": 1.0}, "alpha"),
            ({"power": 0.0}, "power"),
            ({"share": 1.5}, "share"),
            ({"until": "yesterday"}, "until when"),
            ({"until": "2020-01-01"}, "until when"),
            ({"guardrails": ("rejected",)}, "no guardrail"),
            ({"guardrails": ("rejected<=0.1",)}, "no guardrail"),
            ({"guardrails": ("happiness<=1%",)}, "no guardrail"),
            ({"guardrails": ("mae<=10%",)}, "no guardrail"),
            ({"guardrails": ("rejected<=2x",), "shadow": True}, "no guardrail"),
            ({"guardrails": ("slower:soon<=2%",)}, "no guardrail"),
            ({"guardrails": ("failed<=1%",), "shadow": True}, "no guardrail"),
            ({"guardrails": ("label<=1",), "shadow": True}, "no guardrail"),
            ({"metric": "label", "shadow": True}, "the same for both versions"),
            ({"thompson": True, "shadow": True}, "deals every request anew"),
            ({"thompson": True, "entity": ("rooms",)}, "deals every request anew"),
            ({"thompson": True, "share": 0.05}, "deals every request anew"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_before_anything_begins(
        self, made: Played, wanted: dict[str, Any], text: str
    ) -> None:
        with made.session(7.0) as session:
            before = session.workspace.ledger.state().seq
            with pytest.raises(SettingInvalid, match=text):
                begin(session, made, **wanted)
            assert session.workspace.ledger.state().seq == before

    def test_who_may_not_answer_callers_may_be_tried_as_a_shadow_only(self, own: Played) -> None:
        with own.session(7.0) as session:
            with pytest.raises(GateFailed):
                begin(session, own, version=3)
            with pytest.raises(VersionNotFound):
                begin(session, own, version=9)
            with pytest.raises(StateConflict, match="never had an experiment"):
                experiment.status_in(session, loaded(own.project))
            begin(session, own, version=3, shadow=True)
            with pytest.raises(StateConflict, match="an experiment of houses runs already, with version 3") as caught:
                begin(session, own)
            assert "fullcircle experiment stop PROJECT" in (caught.value.next_step or "")


class TestVerdicts:
    def test_a_better_one_is_found_and_promoted_through_the_gates(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own, guardrails=("rejected<=5%", "mae<=0.5")).split
            dealt(session, day=7.0, rows=1400, of=split, gain=0.6)
            # A breaker was open: the champion answered for both arms, and the log says so by a chance of one.
            dealt(session, day=7.98, rows=20, of=split, share=0.0)
        found = look(own, 8.0)
        verdict = found.verdict
        assert (verdict.standing, verdict.state) == ("better", "decided"), found.text
        assert verdict.difference.low is not None
        assert verdict.difference.high is not None
        assert 0 < verdict.difference.low < 0.6 < verdict.difference.high
        assert verdict.chance < 0.05
        assert verdict.a_day is not None
        assert verdict.a_day.value == pytest.approx(verdict.difference.value * found.plan.rows_a_day)  # type: ignore[operator]
        assert verdict.a_day.unit == "EUR"
        assert all(each.holds for each in (*verdict.trust, *verdict.guardrails))
        assert (verdict.rows_left, verdict.days_left) == (None, None)
        assert [each.rows for each in verdict.arms] == [each.labelled for each in verdict.arms]
        assert sum(each.rows for each in verdict.arms) == 1400
        assert "Version 2 is better than version 1 in value_per_row" in found.text
        assert found.looks[-1].rows == 1400
        assert [each.rows for each in found.looks] == sorted({each.rows for each in found.looks})
        assert found.looks[-1].difference == verdict.difference
        with own.session(8.0) as session:
            ended = experiment.stop_in(session, loaded(own.project), promote=True, reason="enough")
            assert session.workspace.ledger.state().champions["houses"] == 2
            assert not session.workspace.ledger.state().splits
            (fact,) = facts(session, "experiment.stopped")
            assert (fact.body["action"], fact.body["split"]) == ("promoted", split)
            promoted = facts(session, "version.promoted")[-1]
            assert promoted.body["trigger"] == "experiment"
            assert split in promoted.body["reason"]
            assert "step" not in promoted.body  # that is a retraining's
            assert session.recall(fact.body["verdict"], Verdict) == verdict
            with pytest.raises(StateConflict, match="no experiment of houses runs"):
                experiment.stop_in(session, loaded(own.project), reason="again")
        assert (ended.ended, ended.verdict) == ("promoted", verdict)

    def test_nothing_that_differs_is_not_decided_at_any_look(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own).split
            dealt(session, day=7.0, rows=500, of=split)
        for day in (7.01, 7.1, 7.2, 7.36):
            verdict = look(own, day).verdict
            assert (verdict.standing, verdict.state) == ("undecided", "running")
            assert verdict.rows_left
        assert all(each.difference.low is None or each.difference.low < 0 for each in look(own, 8.0).looks)
        assert "It is not known yet" in look(own, 8.0).text
        with own.session(8.0) as session:
            before = session.workspace.ledger.state().seq
            with pytest.raises(StateConflict, match="did not win"):
                experiment.stop_in(session, loaded(own.project), promote=True, reason="I like it")
            assert session.workspace.ledger.state().seq == before
            ended = experiment.stop_in(session, loaded(own.project), reason="no time")
            assert (ended.ended, ended.reason) == ("stopped", "no time")
            assert session.workspace.ledger.state().champions["houses"] == 1
            assert facts(session, "split.ended")[-1].body["reason"] == "no time"
            # One may try again, and it is the new one that is looked at.
            assert begin(session, own).split != split
        assert look(own, 8.1).ended == ""

    def test_the_same_is_known_once_nothing_that_matters_is_left(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own, effect=0.5).split
            dealt(session, day=7.0, rows=1400, of=split)
        found = look(own, 9.0)
        assert (found.verdict.standing, found.verdict.state) == ("same", "decided")
        assert "as good as version 1" in found.text

    def test_a_metric_of_which_less_is_better_turns_the_words(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own, metric="mae", effect=0.5).split
            dealt(session, day=7.0, rows=900, of=split, gain=-0.9)
        found = look(own, 9.0)
        assert found.verdict.standing == "worse"
        assert found.verdict.difference.value == pytest.approx(0.9, abs=0.25)
        assert found.verdict.a_day is None
        assert found.plan.metric.better == "down"

    def test_rows_of_one_request_are_one_unit(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own).split
            dealt(session, day=7.0, rows=1200, of=split, gain=0.6, at_once=10)
        found = look(own, 9.0)
        (dealing, _) = found.verdict.trust
        assert dealing.holds
        assert "of 120 requests" in dealing.text
        alone = replace(found.verdict, chance=1.0)
        assert alone.difference.value == pytest.approx(0.6, abs=0.2)

    def test_rows_of_an_entity_are_one_unit(self, own: Played) -> None:
        with own.session(7.0) as session:
            begun = begin(session, own, entity=("rooms",))
            assert begun.plan.metric.kind == "ratio"
            dealt(session, day=7.0, rows=1500, of=begun.split, gain=0.8, customers=300)
        found = look(own, 9.0)
        assert "entities" in found.verdict.trust[0].text
        assert found.verdict.trust[0].holds
        assert found.verdict.standing == "better"

    def test_rows_without_an_entity_are_told_beside_those_that_have_one(self, own: Played) -> None:
        with own.session(7.0) as session:
            begun = begin(session, own, entity=("rooms",))
            assert not any("entities" in each for each in begun.notes if "assumed" not in each)
            dealt(session, day=7.0, rows=600, of=begun.split, customers=2)
        found = look(own, 9.0)
        assert (found.verdict.entities, found.verdict.loose) == (2, 0)
        assert "rows came of 2 entities so far (rooms): by so few nothing is ever known" in found.notes
        assert "Nobody can say when it will be known." in found.text
        with own.session(7.5) as session:
            dealt(session, day=7.5, rows=400, of=begun.split, customers=1, known=False, seed=3)
        found = look(own, 9.0)
        assert (found.verdict.entities, found.verdict.loose) == (2, 400)
        assert "400 of 1,000 rows had no value of rooms: each of their requests was dealt anew" in found.notes

    def test_labels_that_come_later_than_was_learned_are_told_and_counted(self, own: Played) -> None:
        """The week before had its labels at once; then they take half a day."""
        with own.session(7.0) as session:
            begun = begin(session, own)
            assert begun.plan.label_delay_days == pytest.approx(1 / 86_400)
            dealt(session, day=7.0, rows=1000, of=begun.split, gain=0.6, label=lambda place, second: 0.5)
        found = look(own, 9.0)
        assert found.verdict.standing == "better"
        _, labels = found.verdict.trust
        assert "1,000 of 1,000 values came after the 1 minute of the plan, too short a time" in labels.text
        assert "100.0% of version 1, 100.0% of version 2" in labels.text


class TestHarm:
    """A version that won by its rows, and did harm beside: nobody makes it champion by the experiment."""

    def won(self, own: Played) -> str:
        with own.session(7.0) as session:
            split = begin(session, own).split
            dealt(session, day=7.0, rows=1400, of=split, gain=0.6)
        assert look(own, 9.0).verdict.standing == "better"
        return split

    def refused(self, own: Played, text: str, day: float = 9.0) -> None:
        with own.session(day) as session:
            before = session.workspace.ledger.state().seq
            with pytest.raises(StateConflict, match=text):
                experiment.stop_in(session, loaded(own.project), promote=True, reason="it is better!")
            assert session.workspace.ledger.state().seq == before
            assert session.workspace.ledger.state().champions["houses"] == 1

    def test_whose_breaker_is_open_is_not_promoted(self, own: Played) -> None:
        split = self.won(own)
        with own.session(9.0) as session:
            trips.write(session.folder(trips.FOLDER), trips.Trip(split, 2, "it failed 40 of 90"))
        self.refused(own, "version 2 of houses was taken back, whatever it is better in: it failed 40 of 90")
        told = "version 2 does harm, and the next turn takes it back: it failed 40 of 90"
        assert look(own, 9.0).notes[0] == told
        with own.session(9.0) as session:
            splitting.turns_in(session, "houses")
            assert facts(session, "split.ended")[-1].body["action"] == "rolled_back"
        self.refused(own, "taken back.* it failed 40 of 90")
        with own.session(9.1) as session:
            experiment.turns_in(session, loaded(own.project))
            (fact,) = facts(session, "experiment.stopped")
            assert (fact.body["action"], fact.body["reason"]) == ("stopped", "its split ended: it failed 40 of 90")
        found = look(own, 9.2)
        assert not any("takes it back" in note for note in found.notes)
        assert found.text.endswith("It was stopped on 2026-03-10: its split ended: it failed 40 of 90.")

    def test_that_was_rolled_back_in_a_canary_since_is_not_promoted(self, own: Played) -> None:
        self.won(own)
        with own.session(9.0) as session:
            splitting.end_in(session, "houses", "a canary is to go on")
            canary = splitting.start_in(session, "houses", kind="canary", shares=("5%", "100%"), version=2)
            trips.write(session.folder(trips.FOLDER), trips.Trip(canary.id, 2, "it hung"))
            assert "rolled back, it hung" in splitting.turn_in(session, "houses")
            splitting.start_in(session, "houses", kind="shadow", version=3)
        self.refused(own, "taken back.* it hung")

    def test_what_was_before_it_and_what_others_did_does_not_count(self, own: Played) -> None:
        with own.session(6.0) as session:
            for version, kind, shares in ((2, "canary", ("5%", "100%")), (2, "split", ("50%",))):
                split = splitting.start_in(session, "houses", kind=kind, shares=shares, version=version)  # type: ignore[arg-type]
                trips.write(session.folder(trips.FOLDER), trips.Trip(split.id, 2, "it hung"))
                assert "rolled back" in splitting.turn_in(session, "houses")
        self.won(own)
        with own.session(9.0) as session:
            splitting.end_in(session, "houses", "enough seen")
            ended = experiment.stop_in(session, loaded(own.project), promote=True, reason="")
            assert ended.ended == "promoted"
            assert session.workspace.ledger.state().champions["houses"] == 2

    def test_one_that_answers_another_question_is_not_begun(self, own: Played) -> None:
        with own.session(7.0) as session:
            known = session.workspace.ledger.state().versions["houses"][2]
            other = replace(CONTRACT, task="classification", classes=("no", "yes"), prior="no")
            data = pack(sample(model="houses", contract=other))
            blob = session.workspace.blobs.put(data)
            session.record("bundle.built", model="houses", run=known.run, bundle=blob, bytes=len(data))
            session.record(
                "version.registered", model="houses", version=5, bundle=blob, run=known.run,
                snapshot=known.snapshot, proof=known.proof, report=known.report,
            )  # fmt: skip
            for way in ({}, {"shadow": True}):
                before = session.workspace.ledger.state().seq
                with pytest.raises(SettingInvalid, match="gives other answers than the champion"):
                    begin(session, own, version=5, **way)
                assert session.workspace.ledger.state().seq == before


class TestWhatForbidsAVerdict:
    def test_rows_that_were_not_dealt_as_planned(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own).split
            dealt(session, day=7.0, rows=1000, of=split, gain=1.0, truly=0.35)
        found = look(own, 9.0)
        dealing, _ = found.verdict.trust
        assert (found.verdict.state, found.verdict.standing) == ("untrusted", "undecided")
        assert not dealing.holds
        assert dealing.chance < 0.01
        assert "Nothing can be said" in found.text
        with own.session(9.0) as session, pytest.raises(StateConflict, match="did not win"):
            experiment.stop_in(session, loaded(own.project), promote=True, reason="it is better!")

    def test_labels_that_come_more_often_in_one_arm(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own).split
            dealt(
                session, day=7.0, rows=1000, of=split, gain=1.0,
                label=lambda place, second: None if second and place % 2 else 0.0,
            )  # fmt: skip
        dealing, labels = look(own, 9.0).verdict.trust
        assert dealing.holds
        assert not labels.holds
        assert "of version 2" in labels.text

    def test_rows_that_one_version_rejects_are_no_missing_chance(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own, guardrails=("rejected<=1%", "rejected<=2x")).split
            dealt(
                session, day=7.0, rows=1000, of=split, gain=1.0,
                rejects=lambda place, second: second and place % 3 == 0,
            )  # fmt: skip
        verdict = look(own, 9.0).verdict
        assert verdict.state == "untrusted"
        assert [each.holds for each in verdict.guardrails] == [False, False]
        with own.session(9.0) as session:
            assert "a guardrail broke: rejected" in experiment.turn_in(session, loaded(own.project))

    def test_a_broken_guardrail_ends_it_at_the_next_turn(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own, guardrails=("slower:200ms<=5%", "mae<=0.2")).split
            dealt(session, day=7.0, rows=800, of=split, gain=1.0, latency=0.3)
        found = look(own, 9.0)
        assert (found.verdict.state, found.verdict.standing) == ("broken", "better")
        slow, worse = found.verdict.guardrails
        assert (slow.holds, worse.holds) == (False, True)
        assert "broke a guardrail" in found.text
        with own.session(9.0) as session:
            assert "a guardrail broke: slower:200ms" in experiment.turn_in(session, loaded(own.project))
            assert experiment.turn_in(session, loaded(own.project)) == ""
            assert session.workspace.ledger.state().champions["houses"] == 1
            assert not session.workspace.ledger.state().splits
        assert look(own, 10.0).ended == "stopped"

    def test_a_margin_breaks_where_another_metric_gets_worse(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own, metric="label", effect=1.0, guardrails=("mae<=0.2", "value_per_row<=3")).split
            dealt(session, day=7.0, rows=900, of=split, gain=-1.5)
        mae, value = look(own, 9.0).verdict.guardrails
        assert (mae.name, mae.holds) == ("mae", False)
        assert value.holds

    def test_late_labels_count_for_their_own_rows_and_early_ones_do_not_count_alone(self, own: Played) -> None:
        def late(place: int, second: bool) -> float | None:
            """Bad rows of the challenger are known at once, all others after two days."""
            return 0.0 if place % 10 == 0 else 2.0

        text = TEXT.replace('    currency="EUR",', '    currency="EUR",\n    label_delay="3d",')
        own.project.write_text(text)
        try:
            with own.session(7.0) as session:
                begun = begin(session, own)
                assert begun.plan.label_delay_days == 3
                assert begun.plan.days == pytest.approx(begun.plan.rows / begun.plan.rows_a_day + 3)
                dealt(session, day=7.0, rows=1400, of=begun.split, gain=0.6, label=late)
            early = look(own, 9.9).verdict
            assert [each.due for each in early.arms] == [0, 0]
            assert [each.labelled for each in early.arms] == [0, 0]
            assert early.standing == "undecided"
            half = look(own, 10.5).verdict
            assert 600 < sum(each.due for each in half.arms) < 800
            assert sum(each.due for each in half.arms) == sum(each.labelled for each in half.arms)
            assert look(own, 11.0).verdict.standing == "better"
        finally:
            own.project.write_text(TEXT)


class TestShadows:
    def copied(self, own: Played, lost: Callable[[int], bool], rows: int = 600) -> Experiment:
        """Every row has a copy whose error is 0.3 smaller, but for the ``lost`` ones."""
        with own.session(7.0) as session:
            begun = begin(session, own, version=3, shadow=True, effect=0.2, guardrails=("rejected<=5%",))
            assert any("independently" in each for each in begun.plan.assumed)
            dealt(session, day=7.0, rows=rows, of=begun.split, share=0.0)
            known = [row for row in log.read(session.workspace.predictions, "houses") if row.split == begun.split]
            rng = np.random.default_rng(3)
            copies = [
                replace(row, id="", version=3, value=float(row.value) - 0.3 + rng.normal(0, 0.2), of=row.id)  # type: ignore[arg-type]
                for place, row in enumerate(known)
                if not lost(place)
            ]
            logbooks.write(
                session.workspace.root / splitting.SHADOWS / "houses", copies, [row.time for row in copies]
            )
        return look(own, 9.0)

    def test_pairs_tell_sooner_than_arms(self, own: Played) -> None:
        found = self.copied(own, lambda place: False)
        assert (found.mode, found.plan.metric.kind) == ("shadow", "paired")
        assert found.verdict.standing == "better", found.text
        assert found.verdict.difference.value == pytest.approx(0.3, abs=0.05)
        assert [each.name for each in found.verdict.trust] == ["copies", "label coverage"]
        with own.session(9.0) as session:
            before = session.workspace.ledger.state().seq
            # Who won in the shadow still has to pass its gates.
            with pytest.raises(GateFailed):
                experiment.stop_in(session, loaded(own.project), promote=True, reason="it won")
            assert session.workspace.ledger.state().seq == before
            assert session.workspace.ledger.state().splits["houses"].kind == "shadow"

    def test_a_log_with_holes_is_not_believed(self, own: Played) -> None:
        verdict = self.copied(own, lambda place: place % 20 == 7).verdict
        assert verdict.state == "untrusted"
        assert "30 of 600 rows have no copy" in verdict.trust[0].text


class TestTurns:
    def test_shares_are_learned_once_a_day_and_keep_a_floor(self, own: Played) -> None:
        source = loaded(own.project)
        with own.session(7.0) as session:
            begun = begin(session, own, thompson=True, effect=0.2)
            assert begun.plan.floor == FLOOR
            assert "version 2 still has the share that it began with, 50%" in begun.notes
            assert experiment.turn_in(session, source) == ""
            dealt(session, day=7.0, rows=400, of=begun.split, gain=1.0)
        with own.session(7.9) as session:
            assert experiment.turn_in(session, source) == ""
        with own.session(8.1) as session:
            assert "gets 90% from now on" in experiment.turn_in(session, source)
            assert experiment.turn_in(session, source) == ""
            (moved,) = facts(session, "split.moved")
            assert (moved.body["place"], moved.body["share"]) == (1, 9000)
            split = session.workspace.ledger.state().splits["houses"]
            assert split.variant.high == 9000
            served = json.loads(session.workspace.served.read_bytes())["models"]["houses"]
            assert served["others"][0]["high"] == 9000
            dealt(session, day=8.1, rows=400, of=begun.split, gain=1.0, share=0.9, seed=2)
        found = look(own, 9.0)
        assert found.verdict.trust[0].holds
        assert found.verdict.standing == "better"
        assert [round(each.share, 2) for each in found.verdict.arms] == [0.1, 0.9]
        told = "version 2 began with 50%; its share moved once, last on 2026-03-09 02:24 UTC, to 90%: "
        assert f"{told}the rows are those of all its shares" in found.notes
        # A half of the first 400 rows, and a tenth of the others, lost 1 EUR each.
        assert found.verdict.regret is not None
        assert found.verdict.regret.value == pytest.approx(0.3, abs=0.1)

    def test_shares_that_stay_are_not_asked_again_before_the_next_day(self, own: Played) -> None:
        source = loaded(own.project)
        with own.session(7.0) as session:
            begun = begin(session, own, thompson=True, effect=0.2, share=0.1)
            dealt(session, day=7.0, rows=600, of=begun.split, gain=-1.0, share=0.1)
        with own.session(8.1) as session:
            assert "keeps 10% from now on" in experiment.turn_in(session, source)
            dealt(session, day=8.1, rows=600, of=begun.split, gain=4.0, share=0.1, seed=2)
        with own.session(8.9) as session:
            assert experiment.turn_in(session, source) == "", "by now it would have more, but it is the same day"
            assert len(facts(session, "split.moved")) == 1
        with own.session(9.2) as session:
            assert "gets" in experiment.turn_in(session, source)
            assert [fact.body["place"] for fact in facts(session, "split.moved")] == [1, 2]
            # That it was kept on the first of these days was no move; an ended one tells its moves too.
            assert any("its share moved once, last on 2026-03-10 04:4" in note for note in look(own, 9.2).notes)
            splitting.end_in(session, "houses", "enough")
            assert any("its share moved once, last on 2026-03-10 04:4" in note for note in look(own, 9.2).notes)

    def test_shares_that_somebody_moved_or_ended_meanwhile_stay_theirs(self, own: Played) -> None:
        with own.session(7.0) as session, own.session(7.0) as other:
            begin(session, own, thompson=True, effect=0.2)
            split = session.workspace.ledger.state().splits["houses"]
            assert "gets 40%" in splitting.move_in(session, split, 4000)
            assert splitting.move_in(other, split, 6000) == ""
            splitting.end_in(session, "houses", "enough")
            assert splitting.move_in(other, split, 6000) == ""
            assert [fact.body["share"] for fact in facts(session, "split.moved")] == [4000]

    def test_a_promotion_that_was_cut_off_is_told_as_one(self, own: Played) -> None:
        source = loaded(own.project)
        with own.session(7.0) as session:
            begin(session, own)
            promote_in(session, "houses", 2, "by hand, or by a process that died then")
            experiment.turns_in(session, source)  # the split itself takes its turn first, as monitor does it
            splitting.turns_in(session, "houses")
            experiment.turns_in(session, source)
            (fact,) = facts(session, "experiment.stopped")
            assert fact.body["action"] == "promoted"
            assert facts(session, "split.ended")[-1].body["action"] == "promoted"

    def test_one_whose_split_was_ended_by_hand_gets_its_end_before_the_next_one_begins(self, own: Played) -> None:
        with own.session(7.0) as session:
            first = begin(session, own).split
            splitting.end_in(session, "houses", "somebody ended it")
            # Another split of the model came and went since: the reason is that of its own.
            splitting.start_in(session, "houses", kind="shadow", version=3)
            splitting.end_in(session, "houses", "seen enough")
            second = begin(session, own).split
            (fact,) = facts(session, "experiment.stopped")
            assert (fact.body["split"], fact.body["action"]) == (first, "stopped")
            assert fact.body["reason"] == "its split ended: somebody ended it"
            assert session.workspace.ledger.state().experiments["houses"].body["split"] == second
            with pytest.raises(StateConflict, match="runs already"):
                begin(session, own)
            assert len(facts(session, "experiment.stopped")) == 1, "the one that runs goes on"

    def test_what_keeps_monitoring_from_its_turn_keeps_no_version_that_does_harm(self, own: Played) -> None:
        with own.session(7.0) as session:
            split = begin(session, own).split
            trips.write(session.folder(trips.FOLDER), trips.Trip(split, 2, "it hung"))
            (session.folder("monitoring") / "houses.db").write_bytes(b"nothing that can be read" * 100)
        with own.session(7.1), pytest.raises(FullcircleError) as caught:
            monitor.monitor(own.project, settings=own.settings)
        assert "monitor" in str(caught.value)
        with own.session(7.2) as session:
            assert facts(session, "split.ended")[-1].body["reason"] == "it hung"
            assert facts(session, "experiment.stopped")[-1].body["reason"] == "its split ended: it hung"
            assert "others" not in json.loads(session.workspace.served.read_bytes())["models"]["houses"]

    def test_too_few_rows_teach_nothing(self, own: Played) -> None:
        with own.session(7.0) as session:
            begun = begin(session, own, thompson=True)
            dealt(session, day=7.0, rows=20, of=begun.split, gain=1.0)
        with own.session(9.0) as session:
            assert experiment.turn_in(session, loaded(own.project)) == ""
            assert not facts(session, "split.moved")

    def test_it_ends_when_its_time_is_over_and_when_its_split_does(self, own: Played) -> None:
        source = loaded(own.project)
        with own.session(7.0) as session:
            assert experiment.turn_in(session, source) == ""
            begun = begin(session, own, until="2d")
            assert begun.plan.until == iso(START + 9 * DAY)
        with own.session(8.9) as session:
            assert experiment.turn_in(session, source) == ""
        with own.session(9.1) as session:
            assert "its time is over" in experiment.turn_in(session, source)
            assert not session.workspace.ledger.state().splits
            begin(session, own)
            splitting.end_in(session, "houses", "somebody ended it")
            experiment.turns_in(session, source)
            assert facts(session, "experiment.stopped")[-1].body["reason"] == "its split ended: somebody ended it"
            assert [fact.body["action"] for fact in facts(session, "experiment.stopped")] == ["stopped", "stopped"]
