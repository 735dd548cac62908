"""What a retraining learns from: which rows are new, which are too old, and what a row of the log is made into."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from flows.looping import DAY, PROJECT, START, Life, houses, life
from fullcircle.flows import data, drafts, learning, package, promote, train
from fullcircle.monitoring.grid import iso
from fullcircle.tables import predictions as log
from fullcircle.types.prediction import Outcome

TIMED = PROJECT.replace('fc.Table("houses.csv")', 'fc.Table("houses.csv", time="at", prepare=timed)').replace(
    "project = fc.Project(",
    """def timed(rows):
    import pandas as pd

    return rows.assign(at=pd.date_range("2026-01-01", periods=len(rows), freq="h"))


project = fc.Project(""",
)


def _champion(found: Life) -> learning.Champion:
    return learning.champion_of(found.session, found.source.project, found.champion)


def test_rows_without_a_time_get_that_of_their_prediction(tmp_path: Path) -> None:
    with life(tmp_path, "triggers=()", TIMED) as found:
        found.day(houses(1, rows=5), turn=False)
        champion = _champion(found)
        new = learning.new_rows(champion, champion.frozen())
        assert list(new.frame.columns) == list(champion.made_from[0].columns)
        assert new.frame["at"].dtype == champion.made_from[0]["at"].dtype
        assert [iso(START + 60_000_000 * place)[:19] for place in range(5)] == [
            str(each)[:19].replace(" ", "T") for each in new.frame["at"]
        ]


def test_rows_that_are_too_old_are_left_out(tmp_path: Path) -> None:
    with life(tmp_path, 'triggers=(), learn_from="3d"', TIMED) as found:
        for day in range(6):
            found.day(houses(day, rows=10), turn=False)
        champion = _champion(found)
        frozen = champion.frozen()
        new = learning.new_rows(champion, frozen)
        assert len(new.frame) + new.rejected == 28, "those of the last three days, which end two minutes past"
        assert len(learning.base_of(champion, frozen)) == 0, "all of the first rows are a year old"


def test_what_a_grown_snapshot_left_out_stays_out_and_late_labels_are_new(tmp_path: Path) -> None:
    with life(tmp_path, "triggers=()") as found:
        before = houses(1, rows=80)
        found.day(before.head(70), turn=False)
        late = found.answer(before.tail(10), START + DAY, labels=False)
        champion = _champion(found)
        frozen = champion.frozen()
        known = learning.new_rows(champion, frozen)
        assert len(known.frame) + known.rejected == 70
        # A challenger from 60 of them; the others were kept apart.
        grown = pd.concat([learning.base_of(champion, frozen), known.frame.head(60)], ignore_index=True)
        snapshot = data.store(found.session, "houses", grown, "labelled predictions", champion.draft.snapshot)
        test = [place >= len(grown) - 30 for place in range(len(grown))]
        trained = train.train_in(found.session, found.source, snapshot=snapshot, test=pd.Series(test).to_numpy())
        draft = drafts.of_run(found.session, trained.run)
        made = package.package_in(
            found.session, found.source, draft, trained.report_digest, trained.report, approve="auto"
        )
        promote.promote_in(found.session, "houses", made.version, "by hand")
        champion = _champion(found)
        again = champion.frozen()
        assert again is not None
        assert again.first == 1, "of the first version of the line"
        assert len(learning.new_rows(champion, again).frame) == 0
        found.day(None, turn=False)
        pairs = zip(late, before.cost.tail(10), strict=True)
        outcomes = [Outcome(prediction_id=id, value=float(value)) for id, value in pairs]
        log.append_outcomes(found.session.workspace.predictions, "houses", outcomes)
        new = learning.new_rows(champion, again)
        assert len(new.frame) + new.rejected == 10


def test_a_source_is_read_from_the_row(tmp_path: Path) -> None:
    text = PROJECT.replace(
        'features=["rooms", "heat", "area"]', 'features=["rooms", "heat", "area"], protected=["agent"]'
    )
    with life(tmp_path, 'triggers=(), source="agent"', text.replace('protected=["agent"]', "seed=0")) as found:
        assert "agent" in _champion(found).contract.context
        found.day(houses(1, rows=20).assign(agent=["one", "two"] * 10), turn=False)
        champion = _champion(found)
        new = learning.new_rows(champion, champion.frozen())
        assert new.source.tolist() == ["one", "two"] * 10
        assert "agent" not in new.frame.columns, "the first snapshot does not have it"
