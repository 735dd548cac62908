"""Splits through the application's door: who gets which row, and what a version can do to callers."""

from __future__ import annotations

import asyncio
import json
import shutil
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
from fullcircle.runtimes.scorer import Enriched
from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.engine import Ask
from fullcircle.server.follower import View
from fullcircle.server.http import Limits
from fullcircle.server.meter import Meter
from fullcircle.server.minutes import Minutes
from fullcircle.server.routes import Beside, Route, Started, Way
from fullcircle.server.splitting import Assigner, Splitter
from fullcircle.tables import predictions as log
from fullcircle.tables.requests import RequestLog
from fullcircle.tables.requests import read as read_requests
from fullcircle.tables.trips import read
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
            opened = next(place for place, row in enumerate(rows) if row.propensity == 1.0)
            meant = [bucket(str(number)) < 5000 for number in range(24)]
            assert [row.assigned == 2 for row in rows[:opened]] == meant[:opened]
            assert meant[:opened].count(True) == breaker.failed + breaker.slow  # each of them was asked
            assert {row.propensity for row in rows[:opened]} == {0.5}
            assert {(row.propensity, row.assigned) for row in rows[opened:]} == {(1.0, 0)}  # of both arms
            assert True in meant[opened:]
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


def test_what_neither_version_would_answer_is_counted_apart(tmp_path: Path) -> None:
    """A client whose rows the champion rejects too is not the version's fault: the flow leaves them out."""

    async def played() -> None:
        async with split(tmp_path, "rejects", share=9999) as found:
            unseen = {**GOOD, "age": 18, "sex": "x"}  # both fall back
            given: list[dict[str, Any]] = [GOOD, {**GOOD, "age": 1}, {"bmi": 20}, unseen, {**GOOD, "age": 18}]
            for _ in range(3):
                answered = await post(found, given * 20)
                verdicts = [one["verdict"] for one in answered.json["predictions"]][:5]
                assert verdicts == ["rejected", "rejected", "rejected", "fallback", "ok"]
            counts = found.app.meter.snapshot().counts
            assert counts["neither\tm\t2"] == 3 * 20 * 3
            assert counts["verdicts\trejected\tm\t2"] == 3 * 20 * 3
            assert counts["verdicts\tfallback\tm\t2"] == 3 * 20
            assert "neither\tm\t1" not in counts
            requests = RequestLog(tmp_path / "predictions")
            Minutes(found.app.meter, requests).end()
            (kept,) = read_requests(tmp_path / "predictions", "m", [("2000-01-01", "2100-01-01")], 2)
            assert (kept.neither, kept.verdicts["rejected"]) == (180, 180)

    asyncio.run(played())


def test_what_is_answered_by_nobody_is_counted_nowhere(tmp_path: Path) -> None:
    """Rows that cannot be logged: else more would count that neither answers than the version left unanswered."""

    async def played() -> None:
        async with split(tmp_path, "rejects", share=9999) as found:
            shutil.rmtree(tmp_path / "predictions")
            (tmp_path / "predictions").write_bytes(b"no folder")
            assert (await post(found, [GOOD, {**GOOD, "age": 1}])).status == 503
            counts = found.app.meter.snapshot().counts
            assert not counts.get("neither\tm\t2", 0)
            assert not counts.get("verdicts\trejected\tm\t2", 0)

    asyncio.run(played())


def test_where_the_champion_looks_features_up_nobody_knows_what_it_would_answer(tmp_path: Path) -> None:
    async def played() -> None:
        async with split(tmp_path, "rejects", share=9999) as found:
            found.loaded.scorer.enrich = lambda rows: [Enriched(row) for row in rows]
            await post(found, [GOOD, {**GOOD, "age": 1}])
            assert "neither\tm\t2" not in found.app.meter.snapshot().counts

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
            answered = await post(found, [{**GOOD, "age": age} for age in range(20, 60)])
            assert answered.json["version"] == 1
            rows = logged(found)
            assert len(rows) == 40
            assert {(row.split, row.assigned, row.propensity) for row in rows} == {("s1", 0, 1.0)}
            models = await ask(found.app, "GET", "/models")
            assert models.json["models"][0]["split"]["others"] == [
                {"version": 2, "share": 0.9999, "shadow": False, "answers": False}
                | {"problem": "the bundle could not be read"}
            ]

    asyncio.run(played())


def test_a_row_is_marked_as_dealt_only_while_chance_decides(tmp_path: Path) -> None:
    """Not before the version is there nor once it is asked no more: then rows of both arms are marked alike."""

    async def played() -> None:
        async with split(tmp_path) as found:
            ages = [{**GOOD, "age": age} for age in range(20, 60)]
            there = found.route
            found.show(Route(way=found.way, champion=1, others=(Beside(variant=Variant(version=2, high=5000)),)))
            await post(found, ages)
            found.show(there)
            await post(found, ages)
            models = await ask(found.app, "GET", "/models")
            (told,) = models.json["models"][0]["split"]["others"]
            assert (told["answers"], told["problem"]) == (True, None)
            found.splitter.breaker(found.route).is_open = True
            await post(found, ages)
            models = await ask(found.app, "GET", "/models")
            (told,) = models.json["models"][0]["split"]["others"]
            assert (told["answers"], told["problem"]) == (
                False,
                "too many requests went wrong: the champion answers for it",
            )
            found.splitter.breaker(found.route).reason = "2 of its last 2 requests were too slow"
            models = await ask(found.app, "GET", "/models")
            (told,) = models.json["models"][0]["split"]["others"]
            assert told["problem"] == "2 of its last 2 requests were too slow: the champion answers for it"
            rows = logged(found)
            assert len(rows) == 120
            dealt = [row for row in rows if row.propensity != 1.0]
            assert len(dealt) == 40
            assert {(row.version, row.assigned, row.propensity) for row in dealt} == {(1, 0, 0.5), (2, 0, 0.5)}
            settled = [row for row in rows if row.propensity == 1.0]
            assert {(row.split, row.version, row.assigned) for row in settled} == {("s1", 1, 0)}

    asyncio.run(played())


def test_the_share_of_who_is_not_there_is_the_champions(tmp_path: Path) -> None:
    """A chance is that by which a row got where it was answered, whatever the file says of others."""

    async def played() -> None:
        async with split(tmp_path) as found:
            there = Beside(variant=Variant(version=2, high=2500), started=found.started)
            waits = Beside(variant=Variant(version=3, low=2500, high=9000))
            found.show(Route(way=found.way, champion=1, others=(there, waits)))
            await post(found, [{**GOOD, "age": age} for age in range(20, 60)])
            rows = logged(found)
            assert {(row.version, row.propensity, row.assigned) for row in rows} == {(1, 0.75, 0), (2, 0.25, 0)}

    asyncio.run(played())


@pytest.mark.parametrize("bmi", [25.5, None], ids=["clean", "imputed"])
def test_the_rows_of_a_request_are_one_in_the_log_in_both_arms(tmp_path: Path, bmi: float | None) -> None:
    """Whatever their number: by segment, time and latency experiments tell what was dealt together."""
    counts = [*([1] * 6), *([40] * 10), *([600] * 4), *([1500] * 4)]

    async def played() -> None:
        async with split(tmp_path, entity=(), unfelt=20.0) as found:
            meant = [2 if bucket(str(number)) < 5000 else 1 for number in range(len(counts))]
            answers = []
            for number, count in enumerate(counts):
                rows = [{**GOOD, "age": 18 + place % 80, "bmi": 30.0} for place in range(count)]
                rows[-1]["bmi"] = bmi
                answered = await post(found, rows, (b"x-entity", b"%d" % number))
                assert (answered.status, answered.json["version"]) == (200, meant[number])
                answers.append(answered.json["predictions"])
            by_id = {row.id: row for row in logged(found)}
            assert len(by_id) == sum(counts)
            units = set()
            for version, one in zip(meant, answers, strict=True):
                told = [by_id[row["id"]] for row in one]
                assert [row.value for row in told] == [row["prediction"] for row in one]
                plus = 1000 if version == 2 else 0
                assert [row.value for row in told[:-1]] == [48.0 + place % 80 + plus for place in range(len(one) - 1)]
                assert len({(row.id.partition("-")[0], row.time, row.latency) for row in told}) == 1
                units.add((told[0].id.partition("-")[0], told[0].time, told[0].latency))
            assert len(units) == len(counts)
            assert {*zip(meant, counts, strict=True)} >= {(by, count) for by in (1, 2) for count in (40, 600, 1500)}

    asyncio.run(played())


@pytest.mark.parametrize("bmi", [25.5, None], ids=["clean", "imputed"])
def test_the_rows_of_a_request_are_in_the_log_together_or_not_at_all(tmp_path: Path, bmi: float | None) -> None:
    """Also without a split: a caller who gets 503 has no rows there that would be there twice after another try."""
    one = champion()
    seen = View(loaded={"m": one}, wanted=frozenset({"m"}), file="")
    (tmp_path / "predictions").mkdir()
    app = App(lambda: seen, Desk(tmp_path / "predictions", most_bytes=150_000))
    body = json.dumps({"rows": [{**GOOD, "bmi": bmi}] * 2000}).encode()
    refused = asyncio.run(ask(app, "POST", "/predict/m", body, JSON_HEADER))
    assert (refused.status, refused.json["error"]["code"]) == (503, "server_busy")
    assert not list(log.read(tmp_path / "predictions", "m"))
    assert (
        asyncio.run(ask(app, "POST", "/predict/m", json.dumps({"rows": [GOOD]}).encode(), JSON_HEADER)).status == 200
    )


def test_too_many_rows_are_refused_before_a_part_of_them_is_answered(tmp_path: Path) -> None:
    """Each version's part alone would not be too many."""

    async def played() -> None:
        async with split(tmp_path) as found:
            refused = await post(found, [{**GOOD, "age": 18 + place % 80} for place in range(10_001)])
            assert (refused.status, refused.json["error"]["received"]) == (413, "10,001")
            assert not logged(found)

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
        asked: Any = "nobody"
        started = Started(loaded=champion(), child=asked)
        beside = Beside(variant=Variant(version=2, high=share), started=started)
        self.route = Route(way=Way(id="s1", salt="salt", entity=("age",)), champion=1, others=(beside,))
        self.loaded = champion()
