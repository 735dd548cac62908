"""Other protocols where a split runs: rows go to the same versions as in the native form, and are logged alike."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from beside import Shadowed, Split
from fullcircle.server.splitting import Assigner
from fullcircle.tables import predictions as log
from server.test_shadowing import until
from serving import JSON_HEADER, Response, app, ask

AGES = list(range(20, 50))


def owners() -> list[int]:
    return [2 if Assigner("salt").bucket((age,)) < 5000 else 1 for age in AGES]


def expected(ages: list[int]) -> list[float]:
    by = dict(zip(AGES, owners(), strict=True))
    return [age + 25.5 + (1000 if by[age] == 2 else 0) for age in ages]


def v2(ages: list[int]) -> dict[str, Any]:
    columns = {"age": ("INT64", ages), "bmi": ("FP64", [25.5] * len(ages)), "sex": ("BYTES", ["f"] * len(ages))}
    return {
        "inputs": [
            {"name": name, "shape": [len(ages)], "datatype": kind, "data": data}
            for name, (kind, data) in columns.items()
        ]
    }


async def post(found: Split | Shadowed, path: str, document: Any) -> Response:
    return await ask(found.app, "POST", path, json.dumps(document).encode(), JSON_HEADER)


def test_rows_of_one_request_go_to_their_versions_in_order(tmp_path: Path) -> None:
    async def played() -> tuple[Response, Response]:
        found = Split(tmp_path)
        try:
            first = await post(found, "/v2/models/m/infer", v2(AGES))
            data = [[age, 25.5, "f"] for age in AGES]
            return first, await post(found, "/invocations", {"instances": data})
        finally:
            found.close()

    first, second = asyncio.run(played())
    assert first.status == second.status == 200, (first.body, second.body)
    outputs = {one["name"]: one["data"] for one in first.json["outputs"]}
    assert set(owners()) == {1, 2}
    assert outputs["prediction"] == second.json["predictions"] == expected(AGES)
    logged = {one.id: one for one in log.read(tmp_path / "predictions", "m")}
    assert [logged[number].version for number in outputs["id"]] == owners()
    assert {one.split for one in logged.values()} == {"s1"}


def test_a_request_of_one_version_names_it(tmp_path: Path) -> None:
    async def played() -> None:
        found = Split(tmp_path)
        try:
            for age, owner in list(zip(AGES, owners(), strict=True))[:10]:
                answered = await post(found, "/v2/models/m/infer", v2([age]))
                assert answered.json["model_version"] == str(owner)
                assert answered.json["outputs"][0]["data"] == expected([age])
        finally:
            found.close()

    asyncio.run(played())


@pytest.mark.parametrize("named", ["address", "body", "both"])
def test_a_version_that_is_named_answers_alone(tmp_path: Path, named: str) -> None:
    """Whatever split runs: no other one may answer, and such rows tell an experiment nothing."""
    path = "/v2/models/m/infer" if named == "body" else "/v2/models/m/versions/1/infer"
    more = {} if named == "address" else {"model_name": "m", "model_version": "1"}

    async def played() -> None:
        found = Split(tmp_path)
        try:
            answered = await post(found, path, {**v2(AGES), **more})
            assert answered.status == 200, answered.body
            assert answered.json["model_version"] == "1"
            (data,) = [one["data"] for one in answered.json["outputs"] if one["name"] == "prediction"]
            assert data == [age + 25.5 for age in AGES]
            for age in AGES[:10]:
                alone = await post(found, path, {**v2([age]), **more})
                assert (alone.json["model_version"], alone.json["outputs"][0]["data"]) == ("1", [age + 25.5])
            rows = list(log.read(tmp_path / "predictions", "m"))
            assert len(rows) == len(AGES) + 10
            assert {(row.version, row.split, row.propensity, row.assigned) for row in rows} == {(1, "s1", 1.0, 0)}
            free = await post(found, "/v2/models/m/infer", {**v2(AGES), "model_name": "m"})
            (data,) = [one["data"] for one in free.json["outputs"] if one["name"] == "prediction"]
            assert data == expected(AGES)  # a name alone pins nothing
        finally:
            found.close()

    asyncio.run(played())


def test_the_version_that_is_tried_cannot_be_named(tmp_path: Path) -> None:
    async def played() -> None:
        found = Split(tmp_path)
        try:
            other = await post(found, "/v2/models/m/versions/2/infer", v2(AGES))
            assert (other.status, other.json.keys()) == (404, {"error"})
            in_body = await post(found, "/v2/models/m/infer", {**v2(AGES), "model_version": "2"})
            assert (in_body.status, in_body.json.keys()) == (400, {"error"})
            assert not list(log.read(tmp_path / "predictions", "m"))
        finally:
            found.close()

    asyncio.run(played())


@pytest.mark.parametrize("path", ["/v2/models/m/infer", "/v2/models/m/versions/1/infer", "/invocations"])
def test_a_shadow_has_a_copy_of_every_row(tmp_path: Path, path: str) -> None:
    """Tensors and tables reach it as rows: those that are clean, those that are not, and the rejected ones."""

    async def played() -> None:
        found = Shadowed(tmp_path)
        for age in AGES:
            ages = [age, age + 1, 1]  # the last one is rejected
            document = {"instances": [[one, 25.5, "f"] for one in ages]} if path == "/invocations" else v2(ages)
            answered = await post(found, path, document)
            assert answered.status == 200, answered.body
        refused = await post(found, path, {"instances": [[1, 25.5, "f"]]} if path == "/invocations" else v2([1]))
        assert refused.status in (400, 422), refused.body
        champions = {row.id: row for row in log.read(tmp_path / "predictions", "m")}
        assert len(champions) == 3 * len(AGES) + 1
        assert {(row.version, row.split, row.propensity) for row in champions.values()} == {(1, "s1", 1.0)}
        await until(found, lambda: len(list(log.read(found.log, "m"))) == len(champions))
        copies = {row.of: row for row in log.read(found.log, "m")}
        assert copies.keys() == champions.keys()
        for number, row in champions.items():
            copy = copies[number]
            assert (copy.version, copy.verdict.status) == (2, row.verdict.status)
            assert copy.value == (None if row.value is None else float(row.value) + 1000)
        assert found.shadow.lost == 0
        found.shadow.close()
        await asyncio.sleep(0.05)

    asyncio.run(played())


def test_a_binary_answer_where_a_shadow_runs_is_what_it_is_without_one(tmp_path: Path) -> None:
    """The answer is read on the way for the copy, and written anew in the form that was asked for."""
    wanted = {**v2(AGES), "outputs": [{"name": "prediction", "parameters": {"binary_data": True}}]}

    async def played() -> tuple[Response, Response]:
        found = Shadowed(tmp_path)
        given = await post(found, "/v2/models/m/infer", wanted)
        await until(found, lambda: len(list(log.read(found.log, "m"))) == len(AGES))
        found.shadow.close()
        alone = await ask(app(tmp_path / "alone"), "POST", "/v2/models/m/infer", json.dumps(wanted).encode())
        await asyncio.sleep(0.05)
        return given, alone

    (tmp_path / "alone").mkdir()
    given, alone = asyncio.run(played())
    assert given.status == alone.status == 200
    size = 8 * len(AGES)
    assert given.body[-size:] == alone.body[-size:]
    assert struct.unpack(f"<{len(AGES)}d", given.body[-size:]) == tuple(age + 25.5 for age in AGES)
    assert given.headers["inference-header-content-length"] == str(len(given.body) - size)
