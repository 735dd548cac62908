"""The demo: its world, and the true story of its troubles, played in this process at once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

import circles
from fullcircle.cli import demo as command
from fullcircle.cli import demo_view
from fullcircle.deployment import client
from fullcircle.errors import ServerFailed
from fullcircle.flows.demo import play
from fullcircle.flows.demo.play import Happened, Scene, Shown
from fullcircle.flows.demo.world import BEGIN, WEEK, Troubles, World
from fullcircle.flows.log_state import show as log_shown
from fullcircle.flows.replay import replay

STORY = World(per_week=250, troubles=Troubles(cents=1, solar=None, drift=None))


class Heard:
    """A stage that remembers."""

    def __init__(self) -> None:
        self.scenes = 0
        self.told: list[Happened] = []

    def show(self, scene: Scene) -> None:
        self.scenes += 1

    def tell(self, happened: Happened) -> None:
        self.told.append(happened)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shown, Heard, Path]:
    """Four weeks, in the second of which amounts come in cents."""
    folder, heard = tmp_path_factory.mktemp("demo") / "played", Heard()
    settings = circles.unbegun(folder)
    found = play.demo(folder, settings=settings, stage=heard, minutes=0, weeks=4, world=STORY, server=False)
    return found, heard, folder


def test_it_plays_every_week_and_counts_what_it_did(shown: tuple[Shown, Heard, Path]) -> None:
    found, heard, folder = shown
    assert (found.weeks, found.rows) == (4, 1000)
    known = [one for week in range(4) for one in STORY.week(week) if one.known <= BEGIN + 4 * WEEK]
    assert found.labels == len(known)
    assert heard.scenes > 4 * 7
    assert tuple(heard.told) == found.happened[: len(heard.told)]
    logged = log_shown(settings=circles.unbegun(folder))
    assert "1000" in msgspec.json.encode(logged).decode(), "every answer is in the log"


def test_the_unit_bug_is_named_and_nothing_is_learned_from_it(shown: tuple[Shown, Heard, Path]) -> None:
    found, _, _ = shown
    said = [each.text for each in found.happened if each.kind == "alarm"]
    assert any("moved: amount (amount" in text for text in said), "the column that is wrong comes first"
    first = next(each.at for each in found.happened if each.kind == "alarm")
    assert BEGIN + 2 * WEEK <= first < BEGIN + 3 * WEEK, "at the end of the week in which it came"
    assert found.champion == 1
    assert all(step.decision is not None and step.decision.action == "hold" for step in found.steps)


def test_what_it_tells_are_the_words_of_the_objects(shown: tuple[Shown, Heard, Path]) -> None:
    found, _, _ = shown
    texts = {alarm.text for alarm in found.alarms}
    for each in found.happened:
        if each.kind in ("alarm", "resolved"):
            assert any(each.text.endswith(text) for text in texts)
        if each.kind == "hold":
            assert any(each.text == play.step_text(step) for step in found.steps)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Shown) == found


def test_its_workspace_can_be_looked_into_afterwards(shown: tuple[Shown, Heard, Path]) -> None:
    found, _, folder = shown
    again = replay(found.project, version=1, settings=circles.unbegun(folder))
    assert (again.rows, again.changed, again.sizes["bits"]) == (1000, 0, 0)


def test_a_real_server_answers_by_the_played_clock_and_ends_with_the_demo(tmp_path: Path) -> None:
    folder, heard = tmp_path / "played", Heard()
    found = play.demo(folder, settings=circles.unbegun(folder), stage=heard, minutes=0, weeks=2, world=STORY)
    assert (found.rows, found.champion) == (500, 1)
    assert found.labels > 50
    where = heard.told[0].text.rpartition(" ")[2]
    assert where.startswith("http://127.0.0.1:")
    with pytest.raises(ServerFailed, match="nothing answers"):
        client.models(where)
    outcomes = (folder / "workspace" / "predictions" / "lender" / "outcomes.jsonl").read_bytes().splitlines()
    times = [msgspec.json.decode(line)["time"] for line in outcomes]
    assert len(times) == found.labels
    assert all("2025-01-13" <= time <= "2025-01-21" for time in times), "labels came when they were played"


def test_the_server_ends_whatever_ends_the_demo(tmp_path: Path) -> None:
    folder = tmp_path / "played"

    class Enough(Heard):
        def show(self, scene: Scene) -> None:
            self.url = scene.url
            if scene.rows:
                raise KeyboardInterrupt

    heard = Enough()
    with pytest.raises(KeyboardInterrupt):
        play.demo(folder, settings=circles.unbegun(folder), stage=heard, minutes=0, weeks=2, world=STORY)
    assert heard.url.startswith("http://")
    assert not client.ready(heard.url)


def test_the_world_is_that_of_its_seed_and_its_troubles_come_when_they_should() -> None:
    world = World(per_week=300)
    assert [*world.week(3)] == [*World(per_week=300).week(3)]
    assert [*world.week(3)] != [*World(per_week=300, seed=8).week(3)]
    means = [sum(one.row["amount"] for one in world.week(week)) / 300 for week in (5, 6, 7)]
    assert means[1] > 50 * max(means[0], means[2])
    purposes = [Counter(one.row["purpose"] for one in world.week(week)) for week in (9, 10)]
    assert purposes[0]["solar"] == 0
    assert 30 < purposes[1]["solar"] < 90
    calm = World(per_week=300, troubles=Troubles(cents=None, solar=None, drift=None))
    assert [*calm.week(12)] != [*world.week(12)], "solar is there"
    assert [one.defaulted for one in calm.week(12)] == [one.defaulted for one in world.week(12)], (
        "and changes nothing"
    )
    assert [one.defaulted for one in calm.week(21)] != [one.defaulted for one in world.week(21)]
    for one in world.week(0):
        assert BEGIN <= one.at < BEGIN + WEEK
        assert one.at + WEEK <= one.known <= one.at + 2 * WEEK


def test_every_trouble_is_announced_in_its_week() -> None:
    told = {week: Troubles().told(week) for week in range(30)}
    assert [week for week, text in told.items() if text] == [6, 7, 10, 13]
    assert not any(Troubles(cents=None, solar=None, drift=None).told(week) for week in range(30))


def test_a_demo_never_plays_into_a_folder_that_is_there(tmp_path: Path) -> None:
    assert play.new_folder(tmp_path) == tmp_path / "fullcircle-demo"
    (tmp_path / "fullcircle-demo").mkdir()
    assert play.new_folder(tmp_path) == tmp_path / "fullcircle-demo-2"


@pytest.mark.parametrize("height", [10, 24, 60])
def test_the_view_holds_what_is_known_in_any_terminal(shown: tuple[Shown, Heard, Path], height: int) -> None:
    found, _, _ = shown
    scene = Scene(
        week=3,
        weeks=5,
        at=BEGIN + 3 * WEEK,
        champion=1,
        rows=750,
        labels=200,
        waiting=550,
        url="http://127.0.0.1:1",
        verdicts=Counter(ok=700, flagged=50),
        answered_by=Counter({1: 750}),
        alarms=found.alarms[:1],
        happened=list(found.happened),
    )
    text = _drawn(demo_view.picture(scene, height))
    for words in ("week 3/5", "version 1", "750 answers", "flagged 50", "550 are not known yet", "2025-01-27"):
        assert words in text
    assert found.alarms[0].id in text
    assert found.happened[-1].kind in text
    assert "no alarm is open" in _drawn(demo_view.picture(Scene()))


def test_lines_tell_when_and_what(shown: tuple[Shown, Heard, Path], capsys: pytest.CaptureFixture[str]) -> None:
    found, _, _ = shown
    lines = demo_view.Lines()
    for each in found.happened:
        lines.tell(each)
    out = capsys.readouterr().out.splitlines()
    assert len(out) == len(found.happened)
    assert out[0].startswith("2025-01-06 began ")
    told = _drawn(command.shown(found))
    assert "4 weeks, 1,000 answers" in told
    assert "fullcircle replay" in told


def _drawn(thing: object) -> str:
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=160, highlight=False)
    console.print(thing)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()
