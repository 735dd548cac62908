"""Shadows: the answer is never theirs, and their log is complete or says what it lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from beside import Shadowed
from fullcircle.server.meter import Meter
from fullcircle.tables import predictions as log
from fullcircle.types.prediction import Prediction
from serving import GOOD, JSON_HEADER, Response, ask

PLENTY = 20.0


async def post(found: Shadowed, rows: list[dict[str, Any]]) -> Response:
    return await ask(found.app, "POST", "/predict/m", json.dumps({"rows": rows}).encode(), JSON_HEADER)


async def until(found: Shadowed, holds: Callable[[], bool], seconds: float = PLENTY) -> None:
    """Let the application mind its shadow until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came"
        found.app.follow()
        await asyncio.sleep(0.02)


def play(played: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        await played()
        await asyncio.sleep(0.05)  # for what was closed

    asyncio.run(whole())


def rows(folder: Path) -> list[Prediction]:
    return list(log.read(folder, "m")) if folder.exists() else []


def pairs(found: Shadowed) -> dict[str, Prediction]:
    return {row.of: row for row in rows(found.log)}


def test_every_row_has_its_copy_with_the_id_of_the_champions(tmp_path: Path) -> None:
    async def played() -> None:
        found = Shadowed(tmp_path)
        answers: list[Any] = []
        for age in range(20, 60):
            answered = await post(found, [{**GOOD, "age": age}, {**GOOD, "age": age, "bmi": None}, {"age": 1}])
            assert (answered.status, answered.json["version"]) == (200, 1)
            answers += answered.json["predictions"]
        await until(found, lambda: len(rows(found.log)) == 120)
        copies = pairs(found)
        assert set(copies) == {one["id"] for one in answers}
        for one in answers:
            copy = copies[one["id"]]
            assert (copy.model, copy.version, copy.bundle, copy.split) == ("m", 2, "c" * 64, "s1")
            assert copy.inputs is None
            assert copy.context is None
            if one["prediction"] is None:
                assert (copy.value, copy.verdict.status) == (None, "rejected")
            else:
                assert copy.value == one["prediction"] + 1000
        champions = rows(tmp_path / "predictions")
        assert len(champions) == 120
        assert {(row.version, row.split, row.propensity, row.of) for row in champions} == {(1, "s1", 1.0, "")}
        assert found.shadow.lost == log.read_lost(found.log, "m") == 0
        found.shadow.close()

    play(played)


@pytest.mark.parametrize("how", ["hangs", "dies", "raises", "garbage"])
def test_whatever_a_shadow_does_no_answer_changes_and_what_is_lost_is_told(tmp_path: Path, how: str) -> None:
    async def played() -> None:
        found = Shadowed(tmp_path, how, deadline=0.3, again=60.0)
        await until(found, lambda: found.shadow._transport is not None)
        given: list[str] = []
        for age in range(20, 50):
            answered = await post(found, [{**GOOD, "age": age}])
            (one,) = answered.json["predictions"]
            assert (answered.status, answered.json["version"], one["prediction"]) == (200, 1, age + 25.5)
            given.append(one["id"])
            found.app.follow()
        if how in ("hangs", "dies"):
            await until(found, lambda: found.shadow._process is None)
            for age in range(20, 30):
                given.append((await post(found, [{**GOOD, "age": age}])).json["predictions"][0]["id"])
            found.shadow.close()
            await until(found, lambda: log.read_lost(found.log, "m") == 40)
            assert not rows(found.log)
        else:
            await until(found, lambda: len(rows(found.log)) == 30)
            copies = pairs(found)
            assert set(copies) == set(given)
            assert {copy.verdict.problems[0].reason for copy in copies.values()} == {"model"}
            found.shadow.close()
        assert len(given) == len(rows(tmp_path / "predictions"))

    play(played)


def test_what_does_not_fit_into_the_queue_is_lost_and_counted(tmp_path: Path) -> None:
    async def played() -> None:
        found = Shadowed(tmp_path, "hangs", queue=20_000, deadline=PLENTY)
        for _ in range(200):
            assert (await post(found, [GOOD] * 50)).json["version"] == 1
            found.app.follow()
            await asyncio.sleep(0)
        lost = found.shadow.lost
        assert 0 < lost < 200 * 50
        await asyncio.sleep(1.1)
        found.shadow.close()
        await until(found, lambda: log.read_lost(found.log, "m") == 200 * 50)
        assert not rows(found.log)

    play(played)


def test_another_process_goes_on_where_one_died(tmp_path: Path) -> None:
    async def played() -> None:
        found = Shadowed(tmp_path, "dies at 13", again=0.05)
        first = [(await post(found, [GOOD])).json["predictions"][0]["id"] for _ in range(5)]
        await until(found, lambda: len(rows(found.log)) == 5)
        await post(found, [{**GOOD, "bmi": 13.0}])
        await until(found, lambda: found.shadow._process is None)
        await until(found, lambda: found.shadow._transport is not None)
        later = [(await post(found, [GOOD])).json["predictions"][0]["id"] for _ in range(5)]
        await until(found, lambda: len(rows(found.log)) == 10)
        assert set(pairs(found)) == {*first, *later}
        assert found.shadow.lost == 1
        found.shadow.close()

    play(played)


def test_what_was_given_is_logged_though_the_worker_is_gone(tmp_path: Path) -> None:
    async def played() -> None:
        found = Shadowed(tmp_path, "slow")
        await until(found, lambda: found.shadow._transport is not None)
        for _ in range(20):
            await post(found, [GOOD])
        await asyncio.sleep(0)
        found.shadow.close()
        await until(found, lambda: len(rows(found.log)) == 20)

    play(played)


def test_a_killed_shadow_is_seen_and_a_stopped_one_is_ended(tmp_path: Path) -> None:
    async def played() -> None:
        found = Shadowed(tmp_path, deadline=0.4, again=0.05)
        await until(found, lambda: found.shadow._transport is not None)
        os.kill(found.shadow._process.process.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        await post(found, [GOOD])
        await until(found, lambda: found.shadow.lost == 1)
        await until(found, lambda: found.shadow._transport is not None)
        await post(found, [GOOD])
        await until(found, lambda: len(rows(found.log)) == 1)
        found.shadow.close()

    play(played)


def test_a_meter_knows_nothing_of_shadows(tmp_path: Path) -> None:
    meter = Meter()
    assert not meter.snapshot().counts.get("verdicts\tok\tm\t2")
