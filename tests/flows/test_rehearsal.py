"""A rehearsal plays history without knowing the future, the same each time, also after it was killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from flows import histories, rehearsed
from flows.forked import Forked
from fullcircle.errors import GateFailed, RehearsalFailed
from fullcircle.flows import rehearse as flow
from fullcircle.flows.counting import GRACE
from fullcircle.flows.rehearsal import crew, worker
from fullcircle.flows.rehearsal.place import Place
from fullcircle.flows.rehearsal.running import Job, Result, run
from fullcircle.monitoring.grid import iso, micros
from fullcircle.types.loop import Policy, Rehearsal

TURN = pd.Timestamp("2024-05-06")  # after a hold and a promotion, before another of both
END = micros("2025-01-01T00:00:00") or 0


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Place]:
    """The project as it is, played to the end without a stop, from history in other pieces."""
    return rehearsed.played(tmp_path_factory.mktemp("shipped"), histories.rows())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """All policies and a try, one after the other in this process."""
    folder = tmp_path_factory.mktemp("whole")
    file = histories.project(folder / "project", histories.rows())
    return flow.rehearse(
        file,
        since=rehearsed.SINCE,
        until=rehearsed.UNTIL,
        tries=["retrain.triggers=harm"],
        workers=0,
        settings=histories.settings(folder),
    )


def named(found: Rehearsal, name: str) -> Policy:
    return next(policy for policy in found.policies if policy.name == name)


def test_the_loop_is_told_beside_never_the_calendar_and_hindsight(whole: Rehearsal) -> None:
    names = [policy.name for policy in whole.policies]
    assert names == ["shipped", "never", "schedule 30d", "hindsight", "retrain.triggers=harm"]
    loop, never, calendar, hindsight, harm = whole.policies
    assert (whole.metric, whole.higher_is_better, whole.currency) == ("mae", False, "EUR")
    assert never.trained == never.promoted == 0
    assert {window.version for window in never.windows} == {1}
    assert loop.promoted >= 1
    assert loop.trained >= loop.promoted
    assert loop.alarms >= 2
    assert calendar.trained == 3
    assert {each.step.trigger.cause for each in calendar.told if each.step and each.step.trigger} == {"schedule"}
    assert {each.step.trigger.cause for each in harm.told if each.step and each.step.trigger} <= {"harm"}
    assert loop.metric is not None
    assert never.metric is not None
    assert loop.metric < never.metric
    assert all(len(policy.windows) == len(loop.windows) for policy in whole.policies)
    assert "better than never retraining" in whole.verdict[0]
    assert whole.rows == sum(window.rows for window in loop.windows) > 900
    assert whole.first == 404
    for one in whole.policies:
        assert one.metric is not None
        assert hindsight.metric is not None
        assert one.earned is not None
        assert hindsight.value is not None
        assert one.value is not None
        assert hindsight.value >= one.value
        assert one.earned == pytest.approx(one.value * whole.rows)


def test_hindsight_chooses_the_best_version_that_was_there(whole: Rehearsal) -> None:
    others = [policy for policy in whole.policies if policy.name != "hindsight"]
    for place, window in enumerate(named(whole, "hindsight").windows):
        assert window.value is not None
        assert all(window.value >= (policy.windows[place].value or 0.0) - 1e-9 for policy in others)
    assert named(whole, "hindsight").windows[0].version == 1


def test_the_story_is_in_order_and_has_its_sums(whole: Rehearsal) -> None:
    told = named(whole, "shipped").told
    assert [each.at for each in told] == sorted(each.at for each in told)
    assert told[0].kind == "start"
    promotions = [each for each in told if each.kind == "promote"]
    assert promotions[0].step is not None
    assert promotions[0].step.differences
    assert promotions[0].step.measured is not None
    raised = [each for each in told if each.kind == "alarm"]
    assert all(each.alarm is not None and each.alarm.state == "open" and not each.alarm.link for each in raised)
    assert all(each.alarm is not None and each.alarm.resolved for each in told if each.kind == "resolved")


def test_alone_and_among_others_it_comes_to_the_same_bits(whole: Rehearsal, shipped: tuple[Result, Place]) -> None:
    assert rehearsed.content(named(whole, "shipped")) == rehearsed.content(shipped[0].policy)


def segments(place: Place, until: int) -> dict[str, bytes]:
    """What was answered before a moment, byte for byte."""
    home = place.predictions / "kettles"
    found = {}
    for path in sorted(home.glob("*.jsonl")):
        if path.name != "outcomes.jsonl":
            lines = [line for line in path.read_bytes().splitlines() if json.loads(line)["time"] < iso(until)]
            found[path.stem] = b"\n".join(lines)
    return {name: content for name, content in found.items() if content}


def outcomes(place: Place, until: int) -> bytes:
    path = place.predictions / "kettles" / "outcomes.jsonl"
    return b"\n".join(line for line in path.read_bytes().splitlines() if json.loads(line)["time"] < iso(until))


def before(found: Policy, moment: int) -> list[Any]:
    return [each for each in found.told if (micros(each.at) or 0) <= moment]


def corrupted(frame: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Everything that was not known at ``moment`` is another thing: rows, values, labels and when they come."""
    rng = np.random.default_rng(9)
    later = frame["asked_at"] >= moment
    unknown = ~(frame["measured_at"] < moment)
    found = frame.copy()
    found.loc[later, "litres"] = 0.2 + 1.8 * rng.random(int(later.sum()))
    found.loc[later, "degrees"] = 30 - found.loc[later, "degrees"]
    found.loc[unknown, "minutes"] = rng.uniform(-50, 50, int(unknown.sum()))
    came = unknown & found["measured_at"].notna()
    found.loc[came, "measured_at"] = moment + pd.to_timedelta(rng.uniform(0, 30, int(came.sum())), unit="D").floor(
        "ms"
    )
    return found[~(later & (rng.random(len(found)) < 0.3))]


def test_nothing_is_seen_of_the_future(shipped: tuple[Result, Place], tmp_path: Path) -> None:
    moment = TURN + pd.Timedelta(microseconds=GRACE)
    at = micros(str(moment)) or 0
    result, place = rehearsed.played(tmp_path, corrupted(histories.rows(), moment))
    assert before(result.policy, at) == before(shipped[0].policy, at)
    assert {"hold", "promote", "alarm"} <= {each.kind for each in before(result.policy, at)}
    answered = segments(place, at)
    assert answered == segments(shipped[1], at)
    assert sum(len(content.splitlines()) for content in answered.values()) > 600
    assert outcomes(place, at) == outcomes(shipped[1], at)
    assert result.policy.told != shipped[0].policy.told  # what comes after is another story


def test_late_and_other_labels_change_later_decisions_only(shipped: tuple[Result, Place], tmp_path: Path) -> None:
    frame = histories.rows()
    late = frame["measured_at"].between("2024-04-10", "2024-04-28")
    wrong = frame["measured_at"].between("2024-05-08", "2024-05-20")
    frame.loc[late, "measured_at"] += pd.Timedelta("20D")
    frame.loc[wrong, "minutes"] += 40
    result, place = rehearsed.played(tmp_path, frame)
    first = micros("2024-04-10T00:00:00") or 0
    assert before(result.policy, first) == before(shipped[0].policy, first)
    assert before(result.policy, first)
    assert outcomes(place, first) == outcomes(shipped[1], first)
    assert segments(place, micros("2024-04-29T00:00:00") or 0) == segments(
        shipped[1], micros("2024-04-29T00:00:00") or 0
    )
    assert result.policy.told != shipped[0].policy.told


def test_one_label_that_comes_late_counts_where_it_comes(shipped: tuple[Result, Place], tmp_path: Path) -> None:
    """The first decision that could know it goes by one row less, and the one after it came by one row more."""
    frame = histories.rows()
    (one, *_) = frame.index[frame["measured_at"].between("2024-04-10", "2024-04-12")]
    due = micros(str(frame.loc[one, "measured_at"])) or 0
    frame.loc[one, "measured_at"] = pd.Timestamp("2024-05-02")
    result, _ = rehearsed.played(tmp_path, frame, until="2024-05-20T00:00:00")
    assert rehearsed.plain(before(result.policy, due)) == rehearsed.plain(before(shipped[0].policy, due))
    ours, theirs = (
        {each.at[:10]: each.step for each in found.told if each.step is not None}
        for found in (result.policy, shipped[0].policy)
    )
    assert ours["2024-04-08"] == theirs["2024-04-08"]
    assert ours["2024-04-29"].labelled == theirs["2024-04-29"].labelled - 1
    assert ours["2024-04-29"].differences != theirs["2024-04-29"].differences
    assert ours["2024-05-20"].labelled == theirs["2024-05-20"].labelled + 1


def started(job: Job) -> Forked:
    return Forked(worker.main, said=msgspec.json.encode(job).decode() + "\n")


def lines(process: Forked) -> Iterator[Any]:
    for line in process.stdout:
        yield json.loads(line)


def test_killed_at_any_moment_it_goes_on_and_ends_the_same(shipped: tuple[Result, Place], tmp_path: Path) -> None:
    made, _ = rehearsed.job(tmp_path, histories.rows(), every=0.0)
    reached = []
    for turns, pause in ((0, 0.0), (5, 0.05), (3, 0.3)):  # in the first window, in a turn, in a retraining
        process = started(made)
        for seen, said in enumerate(lines(process)):
            assert "done" in said, said
            reached.append(said["done"])
            if seen == turns:
                break
        time.sleep(pause)
        process.kill()
        process.communicate()
    assert reached[-1] > reached[0]
    process = started(made)
    *told, last = lines(process)
    assert process.wait() == 0
    process.communicate()
    assert told[0]["done"] > 0  # not from the beginning
    result = msgspec.convert(last["result"], Result)
    assert rehearsed.content(result.policy) == rehearsed.content(shipped[0].policy)
    assert segments(rehearsed.place(made), END) == segments(shipped[1], END)


DYING = """
import os
from pathlib import Path


def dies(place):
    deaths = Path("deaths").read_text().split() if Path("deaths").exists() else []
    if deaths and deaths[0] == place:
        Path("deaths").write_text(" ".join(deaths[1:]))
        os.kill(os.getpid(), 9)


dies("beginning")
""" + histories.PROJECT.replace(
    "    return", """    if len(X) > 400:
        dies("training")
    return""", 1
)  # fmt: skip


def test_a_worker_that_dies_in_a_training_is_replaced_once(
    shipped: tuple[Result, Place], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made, _ = rehearsed.job(tmp_path, histories.rows(), text=DYING, until="2024-05-06T00:00:00", every=0.0)
    (tmp_path / "deaths").write_text("beginning beginning")
    with pytest.raises(RehearsalFailed, match="died twice"):
        crew.together([made], 1, lambda *_: None)
    (tmp_path / "deaths").write_text("training")
    (found,) = crew.together([made], 1, lambda *_: None)
    kinds = [each.kind for each in found.policy.told]
    assert "promote" in kinds
    same = [each.kind for each in before(shipped[0].policy, micros(found.policy.told[-1].at) or 0)]
    assert kinds == same


def test_a_first_version_that_its_gates_hold_is_an_error_that_says_which(tmp_path: Path) -> None:
    made, source = rehearsed.job(
        tmp_path, histories.rows(), text=histories.PROJECT.replace('"mae", 6', '"mae", 0.01')
    )
    with pytest.raises(GateFailed, match="first version") as caught:
        run(made, source)
    assert "mae at most 0.01" in str(caught.value.received)
    assert "--since" in str(caught.value.next_step)
    with pytest.raises(GateFailed, match="first version"):
        crew.together([made], 1, lambda *_: None)


def test_files_that_change_are_told(tmp_path: Path) -> None:
    made, _ = rehearsed.job(tmp_path, histories.rows())
    process = started(replace(made, code="another"))
    (said,) = lines(process)
    process.communicate()
    assert said["error"]["class"] == "RehearsalFailed"
    assert "files changed" in said["error"]["what"]


def test_a_result_that_is_there_is_taken_up(shipped: tuple[Result, Place], tmp_path: Path) -> None:
    made, source = rehearsed.job(tmp_path, histories.rows())
    place = rehearsed.place(made)
    place.folder.mkdir(parents=True)
    place.result.write_bytes(shipped[1].result.read_bytes())
    assert run(made, source) == shipped[0]
    assert not place.workspace.exists()
