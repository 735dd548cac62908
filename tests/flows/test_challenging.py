"""Champion and challenger side by side: levels, sums and differences, checked against what plain arithmetic says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from flows.looping import PROJECT, Life, houses, life
from fullcircle.flows import challenging, learning, regretting, standing, subjects, versions
from fullcircle.monitoring.journal import Journal
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.loop import Step, Trigger
from fullcircle.types.monitoring import Decision

PAID = PROJECT.replace(
    'gates=[fc.at_most("mae", 20)]',
    'gates=[fc.at_most("mae", 20), fc.worth(per_row=value, at_least=-100)], currency="EUR"',
).replace(
    "project = fc.Project(",
    "def value(actual, predicted):\n    return 10 - abs(actual - predicted)\n\n\nproject = fc.Project(",
)


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Three days as before and three on which houses cost 6 more; what an answer is worth is said in euro."""
    with life(tmp_path_factory.mktemp("paid"), "triggers=(), cost=50", PAID) as found:
        for day in range(6):
            found.day(houses(day, shift=6.0 if day >= 3 else 0.0), turn=False)
        yield found


@pytest.fixture
def champion(paid: Life) -> learning.Champion:
    return learning.champion_of(paid.session, paid.source.project, paid.champion)


@pytest.fixture
def journal(paid: Life) -> Iterator[Journal]:
    with standing.at_work(paid.session, "houses") as found:
        yield found


def _errors(champion: learning.Champion, frame: pd.DataFrame) -> np.ndarray:
    missed: np.ndarray = np.abs(frame.cost.to_numpy() - subjects.score(champion.scorer, frame).values)
    return missed


def test_money_is_missed_against_the_right_answers(champion: learning.Champion) -> None:
    frame = houses(50)
    scored = subjects.score(champion.scorer, frame)
    missed, earned = champion.missed(frame, scored), champion.earned(frame, scored)
    assert missed is not None
    assert earned is not None
    errors = _errors(champion, frame)[scored.known]
    np.testing.assert_allclose(missed[scored.known], errors)
    np.testing.assert_allclose(earned[scored.known], 10 - errors)


def test_losses_are_the_monitors(champion: learning.Champion) -> None:
    frame = houses(51)
    scored = subjects.score(champion.scorer, frame)
    found = champion.losses(frame, scored)
    scale = champion.loss.scale
    expected = np.minimum(1.0, _errors(champion, frame) / scale)
    np.testing.assert_allclose(found[scored.known], expected[scored.known])
    assert np.isnan(found[~scored.known]).all()


def test_traffic_is_counted_by_the_journal(champion: learning.Champion, journal: Journal) -> None:
    found = challenging.traffic(champion, journal)
    assert (found.unit, found.money) == ("EUR", True)
    assert found.rows_a_day == pytest.approx(100, rel=0.01)


def test_what_is_expected_grows_with_what_was_lost(champion: learning.Champion, journal: Journal) -> None:
    said = []
    for shift in (0.0, 6.0):
        frame = houses(60, rows=200, shift=shift)
        said.append(challenging.expected(champion, journal, frame, subjects.score(champion.scorer, frame), None))
    before, after = said
    assert before is not None
    assert after is not None
    assert after.per_row > 4.0 > abs(before.per_row)
    assert after.cost == 50
    assert after.rows == pytest.approx(3000, rel=0.01)
    assert after.net == pytest.approx(after.per_row * after.rows - after.cost - after.risk)
    assert not after.measured


def test_the_levels_of_batches_are_those_of_their_rows(champion: learning.Champion, journal: Journal) -> None:
    found = challenging.batches_of(champion, journal)
    assert len(found) == 6
    losses = champion.losses(houses(0))
    assert found[0].rows == pytest.approx(np.isfinite(losses).sum(), abs=3)
    assert found[0].mean == pytest.approx(np.nanmean(losses), rel=0.1)
    assert all(late.mean > 2 * found[0].mean for late in found[3:])


def test_a_model_beside_itself_gains_nothing(champion: learning.Champion, journal: Journal) -> None:
    frame = houses(70, rows=120)
    answered = subjects.score(champion.scorer, frame)
    found = challenging.compared(champion, champion.scorer, journal, frame, answered, champion.frozen())
    assert [(each.on, each.difference, each.passed) for each in found.differences] == [
        ("fresh", 0.0, True),
        ("frozen", 0.0, True),
    ]
    assert found.moved.text == "", "it is asked only where frozen rows get worse answers"
    assert found.worth is None or found.worth.gain == 0.0


def test_the_difference_is_that_of_the_metric(champion: learning.Champion, journal: Journal) -> None:
    worse = Scorer(champion.contract, _Higher(champion.scorer.model))
    frame = houses(71, rows=120)
    answered = subjects.score(champion.scorer, frame)
    found = challenging.compared(champion, worse, journal, frame, answered, None)
    given = subjects.score(worse, frame)
    both = answered.known & given.known
    own, other = (np.abs(frame.cost.to_numpy() - each.values)[both].mean() for each in (answered, given))
    assert found.fresh is not None
    assert found.fresh.difference == pytest.approx(own - other)
    assert found.fresh.low <= found.fresh.difference <= found.fresh.high
    assert not found.fresh.passed
    assert found.frozen is None
    assert found.worth is not None
    assert found.worth.per_row == pytest.approx(own - other)


class _Higher:
    """A model that says 3 more than another."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def predict(self, X: object) -> np.ndarray:
        return np.asarray(self._inner.predict(X)) + 3.0  # type: ignore[attr-defined]


def test_the_anchor_is_the_first_and_then_what_was_let_through(paid: Life, champion: learning.Champion) -> None:
    frozen = champion.frozen()
    assert frozen is not None
    assert challenging.anchor_of(champion, frozen) == 1
    later = replace(frozen, first=9)
    assert challenging.anchor_of(champion, later) == 9, "nothing on the way says otherwise"
    made = Decision(action="promote", model="houses", version=1, reason="x")
    changed = Step(at="", decision=made, trigger=Trigger(cause="harm", reason="x"), changed=True)
    paid.session.record(
        "decision.taken", model="houses", action="promote", version=1, reason="x", step=paid.session.keep(changed)
    )
    assert challenging.anchor_of(champion, later) == 1


# --- the version before, beside the champion --------------------------------------------------------------------


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Version 2 came by itself on rows that cost 6 more; the day after was counted."""
    with life(tmp_path_factory.mktemp("followed")) as found:
        for day in range(12):
            found.day(houses(day, shift=6.0))
            if found.champion > 1:
                break
        found.day(houses(40, shift=6.0))
        yield found


def test_each_labelled_row_tells_once(followed: Life) -> None:
    pair = regretting.pair_of(followed.session, "houses")
    assert pair is not None
    with standing.at_work(followed.session, "houses") as journal:
        found = regretting.known(journal, pair)
    frame = houses(40, shift=6.0)
    champion = learning.champion_of(followed.session, followed.source.project, pair[0])
    before = versions.kept_scorer(followed.session, "houses", pair[1])
    own = champion.losses(frame)
    other = champion.losses(frame, subjects.score(before, frame), before.contract)
    told = np.isfinite(own) & np.isfinite(other)
    assert found.rows == told.sum()
    assert found.total == pytest.approx((own - other)[told].sum())
    assert found.total < 0, "the champion is better"
    assert not found.worse()
    followed.turn()
    with standing.at_work(followed.session, "houses") as journal:
        assert regretting.known(journal, pair) == found, "a turn without labels tells nothing new"


def test_a_version_that_cannot_answer_stops_no_monitoring(followed: Life) -> None:
    pair = regretting.pair_of(followed.session, "houses")
    assert pair is not None
    digest = followed.session.workspace.ledger.state().versions["houses"][pair[1]].bundle
    (path,) = [each for each in followed.session.workspace.root.glob("blobs/**/*") if each.name.endswith(digest[4:])]
    content = path.read_bytes()
    followed.session.scorers.clear()
    path.chmod(0o644)
    path.write_bytes(content[:-20])
    try:
        step = followed.day(houses(41, shift=6.0))
    finally:
        path.write_bytes(content)
    assert step.decision is None or step.decision.action != "rollback"
    assert followed.champion == pair[0]
    followed.session.scorers.clear()
