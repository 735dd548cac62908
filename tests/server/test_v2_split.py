"""Other protocols where a split runs: rows go to the same versions as in the native form, and are logged alike."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from beside import Split
from fullcircle.server.splitting import Assigner
from fullcircle.tables import predictions as log
from serving import JSON_HEADER, Response, ask

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


async def post(found: Split, path: str, document: Any) -> Response:
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
