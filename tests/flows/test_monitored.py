"""What the page of a model shows, put together from a workspace: the journal, the log, and the ledger."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import circles
from circles import Circle
from flows.outlines import outline
from fullcircle.errors import VersionNotFound
from fullcircle.flows.monitored import monitored, monitored_in, page
from fullcircle.flows.session import loaded, opened
from fullcircle.monitoring.journal import Journal
from fullcircle.monitoring.stretches import MOST
from fullcircle.settings import Settings
from fullcircle.tables import predictions
from fullcircle.tables.requests import Histogram, Line, RequestLog
from fullcircle.types.monitoring import Monitored
from fullcircle.types.prediction import Outcome

MINUTE = 60_000_000


@pytest.fixture(scope="module")
def own(circle: Circle, tmp_path_factory: pytest.TempPathFactory) -> Circle:
    """The circle's workspace as it is, copied: what is written to it stays here."""
    folder = tmp_path_factory.mktemp("monitored")
    shutil.copytree(str(circle.settings["workspace"]), folder / "workspace")
    # What signs for the circle's ledger is copied too: its checkpoints know nothing of what is written here.
    shutil.copytree(Path(circle.project).parents[1] / "config", folder / "config")
    return replace(circle, settings=circles.unbegun(folder))


@pytest.fixture(scope="module")
def shown(own: Circle) -> Monitored:
    return monitored(own.project, settings=own.settings)


def test_what_was_played_stands_by_its_name_with_its_rows_labels_and_evidence(shown: Monitored) -> None:
    assert [(each.name, each.rows, each.labelled) for each in shown.stretches] == [
        *(("as before", 100, 100), ("ten times too hot", 100, 100))
    ]
    assert dict(shown.stretches[1].verdicts) == {"flagged": 100}
    quiet, wrong = shown.stretches
    assert quiet.levels["drift"] < 1 <= wrong.levels["drift"]
    assert sum(shown.latest["heat"]) == 100
    assert (shown.model, shown.version, shown.budget, shown.window, shown.merged) == (
        "houses",
        1,
        "1 per year",
        "7d",
        1,
    )


def test_it_has_the_figures_of_columns_and_of_quality(shown: Monitored) -> None:
    last = {(each.name, each.group): each for each in shown.stretches[-1].measures}
    first = {(each.name, each.group): each for each in shown.stretches[0].measures}
    assert (last["js_distance", "heat"].value or 0) > 0.5 > (first["js_distance", "heat"].value or 0)
    assert (last["mean", "heat"].value or 0) > 150
    assert last["outside", "heat"].value == 1.0
    assert (last["mae", ""].value or 0) > (first["mae", ""].value or 0)
    assert last["label_coverage", ""].value == 1.0
    assert shown.reference.metric == "mae"


def test_the_open_alarms_come_first_and_say_what_moved(shown: Monitored) -> None:
    assert [each.state for each in shown.alarms] == ["open"] * len(shown.alarms)
    assert [each.severity for each in shown.alarms] == sorted(each.severity for each in shown.alarms)
    heat = next(each for alarm in shown.alarms for each in alarm.suspects if each.feature == "heat")
    assert heat.text.startswith("heat")


def test_decisions_and_what_is_assumed_are_told(shown: Monitored) -> None:
    assert [each.action for _, each in shown.decisions] == ["hold", "promote"]
    assert shown.decisions[0][0] > shown.decisions[1][0]
    assert any("cannot calibrate for dependence" in note.lower() for note in shown.notes)
    assert any("Nobody is told of alarms" in note for note in shown.notes)
    assert set(shown.tolerance.values()) == {0.0}


def test_the_page_is_written_whole_and_again_in_place(own: Circle) -> None:
    path = page(own.project, settings=own.settings)
    assert path == Path(str(own.settings["workspace"])) / "pages" / "houses-monitor.html"
    told = outline(path.read_text(encoding="utf-8")).words
    assert "ten times too hot" in told
    assert "fullcircle alarms ack houses" in told
    assert page(own.project, settings=own.settings) == path
    assert [each.name for each in path.parent.iterdir() if "monitor" in each.name] == ["houses-monitor.html"]


def test_what_was_worked_out_is_kept_and_the_same_the_next_time(own: Circle, shown: Monitored) -> None:
    assert (Path(str(own.settings["workspace"])) / "cache" / "houses-monitored.bin").stat().st_size > 0
    assert monitored(own.project, settings=own.settings).stretches == shown.stretches


def entries_every_minute(journal: Journal, source: Path, count: int) -> int:
    """The same batch of the circle again and again, a minute each, with a minute of nothing in the middle."""
    with Journal(source) as known:
        first = known.entries(1, judged=True)[0]
    start = first.start - first.start % MINUTE
    with journal.step():
        for place in range(count):
            at = start + place * MINUTE + (MINUTE if place >= count // 2 else 0)
            journal.keep(replace(first, id=0, name="", start=at, stop=at + MINUTE, late=place % 2))
        journal.empty(start + count // 2 * MINUTE, start + (count // 2 + 1) * MINUTE)
    return first.rows


def test_many_batches_are_put_together_and_none_is_lost(own: Circle, tmp_path: Path) -> None:
    source = Path(str(own.settings["workspace"])) / "monitoring" / "houses.db"
    with opened(own.settings) as session, Journal(tmp_path / "many.db") as journal:
        rows = entries_every_minute(journal, source, 450)
        found = monitored_in(session, loaded(own.project).project, journal=journal)
    assert len(found.stretches) <= MOST
    assert found.merged == 4
    assert sum(each.rows for each in found.stretches) == 450 * rows
    assert found.alarms == ()
    assert any(note.startswith("225 rows came after their batch was judged") for note in found.notes)


def test_requests_and_labels_that_came_late_are_in_the_stretch_in_which_they_belong(
    own: Circle, tmp_path: Path
) -> None:
    source = Path(str(own.settings["workspace"])) / "monitoring" / "houses.db"
    with opened(own.settings) as session, Journal(tmp_path / "traffic.db") as journal:
        entries_every_minute(journal, source, 2)
        log = session.workspace.predictions
        before = monitored_in(session, loaded(own.project).project, journal=journal)
        line = Line(
            since=before.stretches[-1].since,
            seconds=60.0,
            number=1,
            model="houses",
            version=1,
            requests={200: Histogram(buckets=[0, 0, 0, 5, *[0] * 15], seconds=0.004)},
        )
        assert RequestLog(log).add([line])
        ends = before.stretches[0].since, before.stretches[-1].until
        known = predictions.read_outcomes(log, "houses")
        rows = predictions.read(log, "houses", since=ends[0], until=ends[1], version=1)
        taken_back = next(row.id for row in rows if row.id in known)
        predictions.append_outcomes(log, "houses", [Outcome(prediction_id=taken_back, value=None)])
        after = monitored_in(session, loaded(own.project).project, journal=journal)
    told = {(each.name, each.group): each.value for each in after.stretches[-1].measures}
    assert (told["requests", ""], told["latency_p99", ""]) == (5.0, 0.001)
    assert not any(each.value for each in before.stretches[-1].measures if each.name == "requests")
    assert round(labels(before) - labels(after)) == 1


def labels(noun: Monitored) -> float:
    """How many labels have come, from the coverage of each stretch."""
    found = [each for stretch in noun.stretches for each in stretch.measures if each.name == "label_coverage"]
    return sum((each.value or 0.0) * each.n for each in found)


def test_without_a_journal_there_is_nothing_to_judge_yet(own: Circle, tmp_path: Path) -> None:
    with opened(own.settings) as session, Journal(tmp_path / "none.db") as journal:
        found = monitored_in(session, loaded(own.project).project, journal=journal)
    assert (found.stretches, found.alarms, found.latest) == ((), (), {})
    assert found.reference.rows > 0


def test_a_model_without_a_champion_has_no_page(own: Circle, tmp_path: Path) -> None:
    settings: Settings = circles.settings(tmp_path)
    with opened(settings):
        pass  # a workspace, and nothing in it
    with pytest.raises(VersionNotFound, match="no champion"):
        page(own.project, settings=settings)
