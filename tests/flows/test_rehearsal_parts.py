"""The parts of a rehearsal: history in pieces, tries, answers in bulk, figures and sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import serving
from flows import histories
from fullcircle.errors import ColumnMissing, DataUnfit, ProjectInvalid, SettingInvalid
from fullcircle.evaluation import metrics
from fullcircle.flows import rehearse as flow
from fullcircle.flows.rehearsal import answering, history, policies, scoring, verdict
from fullcircle.flows.rehearsal.answering import Answers
from fullcircle.flows.rehearsal.history import NEVER, Rows, spans
from fullcircle.flows.session import loaded, opened
from fullcircle.monitoring.grid import micros
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables.predictions import SegmentRows
from fullcircle.types.loop import Played, Policy, Told

DAY = 86_400_000_000


def timed(times: list[int], arrivals: list[int] | None = None) -> Rows:
    frame = pd.DataFrame({"x": np.arange(len(times), dtype=float), "y": np.arange(len(times))})
    return Rows(frame, np.array(times), np.array(times if arrivals is None else arrivals))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=40).map(sorted),
    st.integers(1, 9),
    st.tuples(st.integers(-5, 65), st.integers(-5, 65)).map(sorted),
)
def test_a_stretch_is_the_same_however_history_is_cut(
    tmp_path_factory: pytest.TempPathFactory, times: list[int], piece: int, stretch: list[int]
) -> None:
    written = history.written(timed(times), tmp_path_factory.mktemp("h"), piece=piece)
    start, stop = stretch
    found = [value for rows in written.between(start, stop) for value in rows.frame["x"]]
    assert found == [place for place, at in enumerate(times) if start <= at < stop]
    assert written.rows == len(times)
    assert history.opened(written.folder) == written


def test_another_value_or_arrival_is_another_history(tmp_path: Path) -> None:
    digests = {
        history.written(rows, tmp_path / str(number)).digest
        for number, rows in enumerate(
            [
                timed([1, 2, 3]),
                timed([1, 2, 4]),
                timed([1, 2, 3], [1, 2, NEVER]),
                Rows(timed([1, 2, 3]).frame.assign(x=[0.0, 1.0, 5.0]), np.array([1, 2, 3]), np.array([1, 2, 3])),
            ]
        )
    }
    assert len(digests) == 4
    assert history.written(timed([1, 2, 3]), tmp_path / "again").digest in digests


def test_memory_holds_pieces_and_not_years(tmp_path: Path) -> None:
    history._read.cache_clear()
    rows = timed(list(range(40_000)))
    written = history.written(rows, tmp_path / "years", piece=1_000)
    held, most = [], history._read.cache_info().maxsize
    assert most is not None
    for start in range(0, 40_000, 500):
        parts = [len(part.times) for part in written.between(start, start + 500)]
        assert sum(parts) == 500
        held.append(history._read.cache_info().currsize)
    assert max(held) <= most < 40_000 // 1_000 // 4


def test_spans_are_the_batches_on_the_clock() -> None:
    since = micros("2024-02-21T12:00:00") or 0
    found = spans(since, since + 10 * DAY, 7 * DAY)
    assert found == [
        (since, micros("2024-02-26T00:00:00")),
        (micros("2024-02-26T00:00:00"), micros("2024-03-04T00:00:00")),
    ]
    assert spans(since, since, DAY) == []


def test_it_begins_after_a_third_when_enough_is_known() -> None:
    rows = timed([day * DAY for day in range(90)])
    third = history.start_of(rows, 7 * DAY, 20)
    assert (rows.arrivals <= third).sum() >= 20
    assert 30 * DAY - 7 * DAY < third <= 30 * DAY
    later = history.start_of(rows, 7 * DAY, 60)
    assert (rows.arrivals <= later).sum() >= 60
    assert later < 80 * DAY
    with pytest.raises(DataUnfit, match="too short"):
        history.start_of(rows, 7 * DAY, 90)


def read(tmp_path: Path, frame: pd.DataFrame, text: str = histories.PROJECT) -> tuple[Rows, list[str]]:
    source = loaded(histories.project(tmp_path / "p", frame, text))
    with opened(histories.settings(tmp_path)) as session:
        notes: list[str] = []
        session.progress = type("Heard", (), {"note": lambda _, text: notes.append(text), "step": lambda *_: None})()
        return history.read(session, source), notes


def test_rows_are_in_order_of_time_and_labels_come_when_they_came(tmp_path: Path) -> None:
    frame = histories.rows(weeks=3).sample(frac=1, random_state=1)
    frame.loc[frame.index[0], "measured_at"] = frame["asked_at"].iloc[0] - pd.Timedelta("1h")
    rows, notes = read(tmp_path, frame)
    ordered = frame.sort_values("asked_at", kind="stable")
    assert rows.frame["minutes"].tolist() == ordered["minutes"].tolist()
    assert "measured_at" not in rows.frame.columns
    assert (rows.arrivals == NEVER).tolist() == ordered["measured_at"].isna().tolist()
    assert (rows.arrivals >= rows.times).all()
    assert any("1 labels came before their row" in note for note in notes)


def test_without_a_column_labels_come_after_the_delay(tmp_path: Path) -> None:
    text = histories.PROJECT.replace('label_at="measured_at"', 'label_delay="36h"')
    frame = histories.rows(weeks=2).assign(minutes=lambda rows: rows["minutes"].where(rows.index % 7 > 0))
    rows, _ = read(tmp_path, frame, text)
    known = rows.arrivals != NEVER
    assert known.tolist() == frame["minutes"].notna().tolist()
    assert set((rows.arrivals - rows.times)[known]) == {36 * 3_600_000_000}


def test_a_history_without_time_or_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProjectInvalid, match="no time"):
        read(tmp_path / "a", histories.rows(weeks=2), histories.PROJECT.replace(', time="asked_at"', ""))
    with pytest.raises(ColumnMissing, match="measured_at"):
        read(tmp_path / "b", histories.rows(weeks=2).drop(columns="measured_at"))


def test_who_learned_first_knows_no_category_and_no_label_of_later(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical(["a", "b", "a", "c"]),
            "y": pd.array([1, 0, None, 1], dtype="Int64"),
        }
    )
    written = history.written(
        Rows(frame, np.array([1, 2, 3, 4]), np.array([2, 9, NEVER, 5])), tmp_path / "h", piece=2
    )
    assert history.known_by(written, 5, "y")["kind"].tolist() == ["a", "c"]
    known = history.known_by(written, 4, "y")
    assert known["kind"].tolist() == ["a"]
    assert known["kind"].cat.categories.tolist() == ["a"]
    assert str(known["y"].dtype) == "int64"
    with pytest.raises(DataUnfit):
        history.known_by(written, 1, "y")


def kettles(tmp_path: Path, text: str = histories.PROJECT) -> Any:
    return loaded(histories.project(tmp_path / "k", histories.rows(weeks=1), text))


def test_policies_are_the_three_and_each_try_once(tmp_path: Path) -> None:
    found = policies.policies(['monitor.false_alerts="4 per year"', "test=0.2", "test=0.2"])
    assert [each.name for each in found] == [
        "shipped",
        "never",
        "schedule 30d",
        "monitor.false_alerts=4 per year",
        "test=0.2",
    ]
    source = kettles(tmp_path)
    never, calendar = (policies.changed(source, each.changes).project.retrain for each in found[1:3])
    assert (tuple(never.triggers), never.schedule, never.rows) == ((), "", 0)
    assert (tuple(calendar.triggers), calendar.schedule) == ((), "30d")
    assert policies.changed(source, found[3].changes).project.monitor.false_alerts == "4 per year"
    assert policies.changed(source, {"test": "0.2"}).project.test == 0.2
    assert policies.changed(source, {"params.max_depth": "3"}).project.params == {"max_depth": 3}
    assert policies.changed(source, {"retrain.triggers": "harm"}).project.retrain.triggers == ("harm",)
    assert policies.changed(source, {"retrain.rows": "500"}).project.retrain.rows == 500
    assert policies.changed(source, {"monitor.tolerance": "0.1"}).project.monitor.tolerance == 0.1


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("monitor.windows", "1d", "monitor.window"),
        ("monitor.notify", "json://x", "monitor.window"),
        ("retrain.approve", "person", "retrain.schedule"),
        ("gates", "", "test"),
        ("params.depth", "3", "params.max_depth"),
        ("candidates", "x", "test"),
        ("monitor.window", "soon", "such as"),
        ("monitor.window", "1s", "one minute"),
        ("retrain.rows", "many", "whole number"),
        ("retrain.cost", "-1", ""),
        ("test", "0.9", "0.05 to 0.5"),
        ("test", "half", "a number"),
    ],
)
def test_a_wrong_try_says_what_is_allowed(tmp_path: Path, key: str, value: str, allowed: str) -> None:
    with pytest.raises(SettingInvalid) as caught:
        policies.changed(kettles(tmp_path), {key: value})
    assert caught.value.received in (key, value)
    assert allowed in str(caught.value.allowed)
    with pytest.raises(SettingInvalid, match="cannot be read"):
        policies.policies([key])


def test_candidates_and_any_parameter_can_be_tried(tmp_path: Path) -> None:
    text = histories.PROJECT.replace("fit=fit,", 'candidates={"a": fit, "b": fit, "c": fit},')
    source = kettles(tmp_path, text)
    assert list(policies.changed(source, {"candidates": "c, a"}).project.candidates) == ["c", "a"]
    with pytest.raises(SettingInvalid, match="cannot be tried"):
        policies.changed(source, {"candidates": "z"})
    source = kettles(tmp_path / "any", histories.PROJECT.replace("*, max_depth=6", "max_depth=6, **others"))
    assert "params.*" in policies.names(source)
    assert policies.changed(source, {"params.criterion": "absolute_error"}).project.params == {
        "criterion": "absolute_error"
    }


def people(count: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "age": rng.integers(10, 90, count).astype(float),
            "bmi": rng.uniform(5, 70, count).round(2),
            "sex": pd.Categorical(rng.choice(["f", "m", "x"], count)),
        }
    )
    frame.loc[::9, "bmi"] = np.nan
    return frame


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_answers_in_bulk_are_those_row_by_row(tmp_path: Path, task: str) -> None:
    model: Any = serving.Sum() if task == "regression" else serving.Coin()
    contract = serving.contract() if task == "regression" else serving.classes()
    scorer = Scorer(contract, model, name="m", version=3, bundle="b" * 64)
    frame = people()
    times = np.arange(len(frame)) * 1_000_000 + (micros("2024-01-01T00:00:00") or 0)
    answering.write(tmp_path, "0" * 16, scorer, Rows(frame, times, times), key=b"k" * 32)
    logged = list(SegmentRows(tmp_path / "m", "0" * 16))
    expected = scorer.score(rows_of(frame, contract))
    assert [row.value for row in logged] == [row.value for row in expected]
    assert [row.verdict for row in logged] == [row.verdict for row in expected]
    assert [row.probabilities for row in logged] == [row.probabilities for row in expected]
    assert [micros(row.time) for row in logged] == times.tolist()
    assert [row.id for row in logged] == answering.ids(tmp_path, "m", "0" * 16)
    assert {row.version for row in logged} == {3}
    assert all("sex" not in (row.inputs or {}) for row in logged)  # private
    assert len({row.verdict.status for row in logged}) >= 4
    again = answering.asked(scorer, frame, contract.classes)
    told = answering.of_predictions(contract, expected, contract.classes, len(frame))
    np.testing.assert_array_equal(again.values, told.values)
    if told.shares is not None:
        np.testing.assert_array_equal(again.shares, told.shares)


def how(tmp_path: Path, text: str = histories.PROJECT) -> scoring.Measuring:
    return scoring.Measuring(kettles(tmp_path, text).project, "regression", (), metrics.find("mae", "regression"))


def test_figures_of_windows_add_up_to_those_of_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sums, truth, told = scoring.Sums(how(tmp_path)), rng.normal(size=90), rng.normal(size=90)
    told[::10] = np.nan
    known = rng.random(90) < 0.8
    for part in (slice(0, 30), slice(30, 40), slice(40, 90)):
        sums.add(truth[part].astype(object), known[part], Answers(told[part], None))
    use = known & ~np.isnan(told)
    assert sums.metric == pytest.approx(np.abs(truth - told)[use].mean())
    assert sums.value == pytest.approx((10 - np.abs(truth - told)[use]).sum() / known.sum())
    assert (sums.rows, sums.labelled) == (90, known.sum())
    empty = scoring.Sums(how(tmp_path / "b"))
    assert empty.add(np.array([], dtype=object), np.zeros(0, dtype=bool), Answers(np.zeros(0), None)) == (
        0,
        None,
        None,
    )
    assert empty.metric is None
    assert empty.value is None


def policy(
    name: str, metric: float | None, *, trained: int = 0, promoted: int = 0, told: tuple[Told, ...] = ()
) -> Policy:
    changes = {} if name in ("shipped", "hindsight") else {"retrain.schedule": "x"}
    earned = None if metric is None else 1000 - metric
    window = Played(since="a", until="b", rows=1, labelled=1, version=1, metric=metric)
    return Policy(
        name=name,
        changes=changes,
        windows=(window,),
        metric=metric,
        earned=earned,
        trained=trained,
        promoted=promoted,
        told=told,
    )


def test_the_verdict_says_plainly_where_shipped_fell_behind_and_why(tmp_path: Path) -> None:
    measuring = how(tmp_path)
    held = Told(at="2024-01-01T00:00:00Z", kind="hold", text="held: not worth it")
    said = " ".join(
        verdict.sentences(
            [
                policy("shipped", 5.0, trained=2, told=(held,)),
                policy("never", 6.0),
                policy("schedule 30d", 4.0, trained=9, promoted=3),
                policy("hindsight", 3.0),
                policy("retrain.rows=9", 4.5, trained=1),
            ],
            measuring,
            "EUR",
        )
    )
    assert "better than never retraining: mae 5, 995 EUR against mae 6, 994 EUR" in said
    assert "worse than retraining every 30 days" in said
    assert "held: not worth it" in said
    assert "retrained twice, the calendar 9 times" in said
    assert "retrain.rows=9 did better: mae 4.5, 996 EUR, with 1 training." in said
    same = verdict.sentences(
        [policy("shipped", 5.0), policy("never", 5.0), policy("schedule 30d", 5.001)], measuring, ""
    )
    assert sum("as well as" in sentence for sentence in same) == 2
    none = verdict.sentences(
        [policy("shipped", None), policy("never", None), policy("schedule 30d", None)], measuring, ""
    )
    assert "No label ever came" in none[0]


def test_what_cannot_be_rehearsed_is_refused_before_anything_is_played(tmp_path: Path) -> None:
    file = histories.project(tmp_path / "p", histories.rows(weeks=3))
    settings_of = histories.settings(tmp_path)
    with pytest.raises(DataUnfit, match="too short"):
        flow.rehearse(file, settings=settings_of, workers=0)
    with pytest.raises(DataUnfit, match="nothing to rehearse"):
        flow.rehearse(file, settings=settings_of, workers=0, since="2025-01-01")
    with pytest.raises(DataUnfit, match="no label was known"):
        flow.rehearse(file, settings=settings_of, workers=0, since="2023-01-01")
    with pytest.raises(SettingInvalid, match="nothing of this name"):
        flow.rehearse(file, settings=settings_of, workers=0, tries=["monitor.widow=1d"])
    assert [path.name for path in (settings_of.workspace / "rehearsals").glob("*")] == []
