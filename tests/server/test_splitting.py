"""Splits through the application's door: who gets which row, and what a version can do to callers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beside import Split, champion
from fullcircle.server.breaker import read
from fullcircle.server.desk import Desk
from fullcircle.server.engine import Ask
from fullcircle.server.follower import View
from fullcircle.server.http import Limits
from fullcircle.server.meter import Meter
from fullcircle.server.routes import Beside, Route, Started, Way
from fullcircle.server.splitting import Assigner, Splitter
from fullcircle.tables import predictions as log
from fullcircle.types.prediction import Prediction
from fullcircle.types.splits import BUCKETS, Variant
from serving import GOOD, JSON_HEADER, Response, ask

SCALARS = st.one_of(st.text(max_size=20), st.integers(), st.floats(allow_nan=False), st.booleans())


@asynccontextmanager
async def split(folder: Path, how: str = "well", **more: Any) -> AsyncIterator[Split]:
    found = Split(folder, how, **more)
    try:
        yield found
    finally:
        found.close()
        while not found.child.idle:
            await asyncio.sleep(0.01)


async def post(found: Split, rows: list[dict[str, Any]], *headers: tuple[bytes, bytes]) -> Response:
    body = json.dumps({"rows": rows}).encode()
    return await ask(found.app, "POST", "/predict/m", body, (*JSON_HEADER, *headers))


def logged(found: Split) -> list[Prediction]:
    return list(log.read(found.folder / "predictions", "m"))


def bucket(*values: object, salt: str = "salt") -> int:
    return Assigner(salt).bucket(values)


class TestAssignment:
    @given(values=st.lists(SCALARS, min_size=1, max_size=4), salt=st.text(max_size=10))
    def test_the_same_entity_has_the_same_bucket_for_ever(self, values: list[object], salt: str) -> None:
        first = bucket(*values, salt=salt)
        assert 0 <= first < BUCKETS
        assert bucket(*values, salt=salt) == first

    @given(values=st.lists(SCALARS, min_size=1, max_size=3), shares=st.lists(st.integers(0, BUCKETS), min_size=2))
    def test_a_ramp_only_adds_entities(self, values: list[object], shares: list[int]) -> None:
        place = bucket(*values)
        has = [place < share for share in sorted(shares)]
        assert has == sorted(has)  # once it has the version, it keeps it

    @given(parts=st.lists(st.text(max_size=5), min_size=2, max_size=3, unique=True))
    def test_values_do_not_run_together(self, parts: list[str]) -> None:
        together = "".join(parts)
        if parts[0] != together:
            assert Assigner("s").bucket(parts) != Assigner("s").bucket((together,)) or len(parts) == 1

    def test_a_number_is_its_text_and_a_salt_deals_anew(self) -> None:
        assert bucket(7) == bucket(7.0) == bucket("7")
        assert bucket(7) != bucket(7.5)
        here, there = (
            [Assigner(salt).bucket((number,)) for number in range(2000)] for salt in ("one split", "another")
        )
        assert sum(a == b for a, b in zip(here, there, strict=True)) < 10

    def test_another_process_deals_the_same(self) -> None:
        program = (
            "from fullcircle.server.splitting import Assigner\n"
            "print([Assigner('salt').bucket((n, 'x')) for n in range(50)])"
        )
        told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        assert json.loads(told) == [bucket(number, "x") for number in range(50)]

    def test_the_shares_are_what_they_say(self) -> None:
        # 100,000 entities: a share of 5 % lies within 5 standard errors, 0.0034, but once in three million.
        count = sum(bucket(f"customer {number}") < 500 for number in range(100_000))
        assert abs(count / 100_000 - 0.05) < 5 * (0.05 * 0.95 / 100_000) ** 0.5
        tens = [0] * 10
        for number in range(100_000):
            tens[bucket(number) // 1000] += 1
        assert max(tens) - min(tens) < 1000


def test_rows_of_one_request_go_to_their_versions_in_order(tmp_path: Path) -> None:
    async def played() -> tuple[Response, list[Prediction]]:
        async with split(tmp_path) as found:
            return await post(found, [{**GOOD, "age": age} for age in range(20, 60)]), logged(found)

    answered, rows = asyncio.run(played())
    assert answered.status == 200
    given_by = [2 if bucket(age) < 5000 else 1 for age in range(20, 60)]
    assert set(given_by) == {1, 2}
    answers = answered.json["predictions"]
    assert [one["version"] for one in answers] == given_by
    assert [one["prediction"] for one in answers] == [
        age + 25.5 + (1000 if by == 2 else 0) for age, by in zip(range(20, 60), given_by, strict=True)
    ]
    by_id = {row.id: row for row in rows}
    assert len(by_id) == 40
    for one, version in zip(answers, given_by, strict=True):
        row = by_id[one["id"]]
        assert (row.version, row.value, row.split, row.propensity) == (version, one["prediction"], "s1", 0.5)
        assert (row.assigned, row.of, row.bundle) == (0, "", ("b" if version == 1 else "c") * 64)


def test_a_request_of_one_version_says_so_once_and_stays_with_it(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path) as found:
            for age in range(20, 50):
                version = 2 if bucket(age) < 5000 else 1
                for _ in range(2):
                    answered = await post(found, [{**GOOD, "age": age}, {**GOOD, "age": age, "bmi": 30}])
                    assert answered.json["version"] == version
                    assert [list(one) for one in answered.json["predictions"]] == [
                        ["id", "prediction", "verdict", "problems"]
                    ] * 2

    asyncio.run(played())


def test_a_ramp_moves_rows_one_way_only(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path, share=500) as found:
            had: set[int] = set()
            for share in (500, 2500, 9000):
                found.share(share)
                answered = await post(found, [{**GOOD, "age": age} for age in range(18, 100)])
                rows = answered.json["predictions"]
                has = {age for age, one in zip(range(18, 100), rows, strict=True) if one.get("version") == 2}
                assert had <= has
                assert {row.propensity for row in logged(found)} >= {share / BUCKETS}
                had = has
            assert had

    asyncio.run(played())


def test_without_columns_the_header_decides_and_without_it_chance(tmp_path: Path) -> None:
    async def played() -> tuple[list[int], list[int]]:
        async with split(tmp_path, entity=()) as found:
            named = [
                (await post(found, [GOOD], (b"x-entity", b"customer %d" % number))).json["version"]
                for number in range(30)
                for _ in range(2)
            ]
            return named, [(await post(found, [GOOD] * 3)).json["version"] for _ in range(60)]

    named, by_chance = asyncio.run(played())
    assert named == [2 if bucket(f"customer {number}") < 5000 else 1 for number in range(30) for _ in range(2)]
    assert 10 < by_chance.count(2) < 50  # 60 throws of a coin: beyond once in ten million


def test_a_row_without_its_entity_goes_by_the_header(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path, entity=("bmi",)) as found:
            for number in range(20):
                rows = [{**GOOD, "bmi": None}, {**GOOD, "bmi": 30 + number}]
                answered = await post(found, rows, (b"x-entity", b"c%d" % number))
                head = answered.json["version"]
                given_by = [one.get("version", head) for one in answered.json["predictions"]]
                assert given_by == [2 if bucket(each) < 5000 else 1 for each in (f"c{number}", 30 + number)]

    asyncio.run(played())


def test_rows_that_need_a_second_look_are_assigned_all_the_same(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path) as found:
            rows: list[dict[str, Any]] = [
                {"age": 30},
                {**GOOD, "age": 31.0},
                {**GOOD, "age": 17},
                {**GOOD, "colour": 1},
                {**GOOD, "age": [1]},
            ]
            answered = await post(found, rows)
            assert answered.status == 200
            assert len(answered.json["predictions"]) == 5
            refused = await post(found, [{}])
            assert refused.status == 422
            nothing = await ask(found.app, "POST", "/predict/m", b'{"rows": []}', JSON_HEADER)
            assert nothing.json["error"]["code"] == "request_invalid"
            whole = {row.id for row in logged(found)}
            assert {one["id"] for one in answered.json["predictions"]} <= whole

    asyncio.run(played())


@pytest.mark.parametrize("how", ["raises", "garbage", "dies", "hangs", "slow"])
def test_whatever_a_version_does_callers_get_the_champions_answer(tmp_path: Path, how: str) -> None:
    """The very request that failed is answered by the champion; after two or three it is asked no more."""

    async def played() -> None:
        late = how in ("hangs", "slow")
        async with split(tmp_path, how, unfelt=0.02 if late else 0.2, entity=(), deadline=1.0) as found:
            for number in range(24):
                answered = await post(found, [GOOD], (b"x-entity", b"%d" % number))
                assert (answered.status, answered.json["version"]) == (200, 1)
                assert answered.json["predictions"][0]["prediction"] == 65.5
            breaker = found.splitter.breaker(found.route)
            assert breaker.is_open
            assert breaker.failed <= 3
            assert breaker.slow <= 15  # slow ones of a second count as one
            trip = read(found.folder / "splits", "s1")
            assert trip is not None
            assert (trip.version, trip.bad) == (2, breaker.failed + breaker.slow)
            rows = logged(found)
            assert len(rows) == 24
            assert {row.version for row in rows} == {1}
            meant = [bucket(str(number)) < 5000 for number in range(24)]
            assert [row.assigned == 2 for row in rows] == meant
            found.child.close()

    asyncio.run(played())


def test_a_version_that_rejects_everything_is_counted_and_not_taken_for_broken(tmp_path: Path) -> None:
    """Its verdicts are its answers: what they say of it is for the flow to judge, by what is counted here."""

    async def played() -> None:
        async with split(tmp_path, "rejects", share=9999) as found:
            for _ in range(20):
                answered = await post(found, [GOOD, GOOD])
                assert (answered.status, answered.json["version"]) == (422, 2)
            assert not found.splitter.breaker(found.route).is_open
            counts = found.app.meter.snapshot().counts
            assert counts["verdicts\trejected\tm\t2"] == 40
            assert counts.get("verdicts\tok\tm\t1", 0) == 0

    asyncio.run(played())


def test_a_restart_does_not_forget_an_open_breaker_and_others_see_it(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path, "raises", share=9999) as one, split(tmp_path, "well", share=9999) as other:
            assert (await post(other, [GOOD])).json["version"] == 2
            for _ in range(4):
                await post(one, [GOOD])
            other.app.follow()
            assert (await post(other, [GOOD])).json["version"] == 1
        async with split(tmp_path, "well", share=9999) as again:
            assert (await post(again, [GOOD])).json["version"] == 1

    asyncio.run(played())


def test_what_the_champion_cannot_answer_either_is_not_the_versions_fault(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path, "raises", share=9999) as found:

            def broken(frame: Any) -> Any:
                raise ValueError("not me either")

            found.loaded.scorer.form.ask = lambda matrix: broken(matrix)  # type: ignore[method-assign]
            for _ in range(10):
                answered = await post(found, [GOOD])
                assert answered.json["predictions"][0]["problems"][0]["reason"] == "model"
            assert not found.splitter.breaker(found.route).is_open

    asyncio.run(played())


def test_what_is_not_loaded_yet_or_cannot_be_leaves_all_to_the_champion(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path) as found:
            waits = Beside(variant=Variant(version=2, high=9999), problem="the bundle could not be read")
            found.show(Route(way=found.way, champion=1, others=(waits,)))
            answered = await post(found, [GOOD])
            assert answered.json["version"] == 1
            (row,) = logged(found)
            assert (row.assigned, row.propensity) == (2, 0.9999)
            models = await ask(found.app, "GET", "/models")
            assert models.json["models"][0]["split"]["others"] == [
                {"version": 2, "share": 0.9999, "shadow": False, "answers": False}
                | {"problem": "the bundle could not be read"}
            ]

    asyncio.run(played())


def test_a_route_of_another_champion_counts_no_more(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path, share=9999) as found:
            started = Started(loaded=found.started.loaded, child=found.child)
            beside = Beside(variant=Variant(version=2, high=9999), started=started)
            found.show(Route(way=found.way, champion=7, others=(beside,)))
            assert (await post(found, [GOOD])).json["version"] == 1
            assert [row.split for row in logged(found)] == [""]

    asyncio.run(played())


def test_an_end_closes_the_process(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path, share=9999) as found:
            found.app.follow()
            assert (await post(found, [GOOD])).json["version"] == 2
            found.view = View(loaded={"m": found.loaded}, wanted=frozenset({"m"}), file="")
            found.app.follow()
            assert (await post(found, [GOOD])).json["version"] == 1
            with pytest.raises(Exception, match="out of service"):
                await found.child.predict(Ask(json.dumps({"rows": [GOOD]}).encode()))

    asyncio.run(played())


@settings(max_examples=25, deadline=None)
@given(ages=st.lists(st.integers(18, 99), min_size=1, max_size=12), share=st.integers(1, BUCKETS - 1))
def test_who_is_chosen_is_what_the_bucket_says(ages: list[int], share: int) -> None:
    found = _Bare(share)
    asked = Ask(b"", None, [{**GOOD, "age": age} for age in ages])
    chosen = found.splitter.chosen(found.route, found.loaded, asked, ())
    each = chosen if isinstance(chosen, list) else [chosen] * len(ages)
    assert [one is not None for one in each] == [bucket(age) < share for age in ages]


class _Bare:
    """A splitter and a route, without processes."""

    def __init__(self, share: int) -> None:
        self.splitter = Splitter(Desk(Path("nowhere")), Limits(), Meter())
        beside = Beside(variant=Variant(version=2, high=share))
        self.route = Route(way=Way(id="s1", salt="salt", entity=("age",)), champion=1, others=(beside,))
        self.loaded = champion()
