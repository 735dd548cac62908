"""Files of any size: the answers of the server, whatever the form, the pieces and the processes."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import batch_models
from batch_models import model
from fullcircle.deployment import scoring
from fullcircle.deployment.batch import Scored
from fullcircle.deployment.queries import Query
from fullcircle.deployment.sources import Source, file_source
from fullcircle.errors import DataUnfit, ScoringFailed, TableUnreadable
from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables import predictions as log
from serving import Coin, Sum, app, loaded, post

COLUMNS = ("patient", "age", "bmi", "sex", "ward")
ROWS: list[dict[str, Any]] = [
    {
        "patient": f"p{number}",
        "age": 3 if number % 5 == 2 else 30 + number % 60,
        "bmi": None if number % 7 == 3 else (61.5 if number % 11 == 0 else 20 + number / 3),
        "sex": "x" if number % 13 == 5 else "fm"[number % 2],
        "ward": "north" if number % 2 else "south",
    }
    for number in range(200)
]


def write(path: Path, rows: Sequence[dict[str, Any]] = ROWS) -> Path:
    frame = pd.DataFrame(rows, columns=pd.Index(COLUMNS))
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=64)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a result, missing values left out; numbers as numbers in every form."""
    if path.suffix == ".parquet":
        found = pq.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        found = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""]).to_dict("records")
    numbers = ("row", "prediction", "age", "bmi", "probability_no", "probability_yes")
    for row in found:
        row |= {name: float(row[name]) for name in numbers if _number(row.get(name))}
    return [{name: value for name, value in row.items() if value is not None and value == value} for row in found]


def _number(value: Any) -> bool:
    try:
        return float(value) == float(value)
    except (TypeError, ValueError):
        return False


def run(folder: Path, source: Source, out: str, kind: str = "sum", **more: Any) -> Scored:
    made = model(folder / "log", kind, **more.pop("arguments", {}))
    return scoring.score_source(made, source, folder / out, **more)


def online(rows: Sequence[dict[str, Any]], folder: Path, kind: str = "sum") -> list[dict[str, Any]]:
    """What the server answers to the same rows, without what it has no column for."""
    scorer = Scorer(batch_models.contract_of(kind), Coin() if kind == "coin" else Sum())
    known = [{name: row[name] for name in row if name != "patient"} for row in rows]
    found: list[dict[str, Any]] = post(app(folder, loaded(scorer=scorer)), "/predict/m", {"rows": known}).json[
        "predictions"
    ]
    return found


def same_as_online(folder: Path, out: str, rows: Sequence[dict[str, Any]], kind: str = "sum") -> None:
    """Every row is in one of the files, once, in order, with the answer, the verdict and the words of the server."""
    path = folder / out
    rejects = path.with_name(f"{path.stem}.quarantine{path.suffix}")
    good, bad = read(path), read(rejects) if rejects.exists() else []
    expected = online(rows, folder / "online", kind)
    assert [int(row["row"]) for row in good] == [n for n, one in enumerate(expected) if one["verdict"] != "rejected"]
    assert [int(row["row"]) for row in bad] == [n for n, one in enumerate(expected) if one["verdict"] == "rejected"]
    for row in (*good, *bad):
        one = expected[int(row["row"])]
        assert row["verdict"] == one["verdict"]
        assert row.get("prediction") == one["prediction"]
        assert row.get("problems", "") == "; ".join(f"{p['column']}: {p['text']}" for p in one["problems"])
        chances = {name[12:]: value for name, value in row.items() if name.startswith("probability_")}
        assert chances == (one.get("probabilities") or {})
        assert row.get("patient") == rows[int(row["row"])].get("patient")


@pytest.mark.parametrize(("source", "out"), [*itertools.product(["csv", "parquet", "jsonl"], repeat=2)])
def test_every_form_into_every_form_is_what_the_server_answers(tmp_path: Path, source: str, out: str) -> None:
    kind = "coin" if out == "csv" else "sum"
    found = run(tmp_path, file_source(write(tmp_path / f"in.{source}")), f"out.{out}", kind, stretch=64)
    same_as_online(tmp_path, f"out.{out}", ROWS, kind)
    rows = [*read(tmp_path / f"out.{out}"), *read(tmp_path / f"out.quarantine.{out}")]
    for row in rows:
        one = log.find(tmp_path / "log", row["prediction_id"])
        assert (one.value, one.verdict.status) == (row.get("prediction"), row["verdict"])
        assert one.context == {"ward": row["ward"]}
        if one.verdict.status == "ok":
            assert one.inputs == {name: row[name] for name in ("age", "bmi")}  # sex is private
    assert len({row["prediction_id"] for row in rows}) == len(rows) == found.rows == 200
    assert sum(found.verdicts.values()) == 200
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"in.{source}", "log", "online", f"out.{out}", f"out.quarantine.{out}"]
    )


CELLS = {
    "age": st.integers(0, 120) | st.none() | st.sampled_from([18, 100, 2**60]),
    "bmi": st.floats(5, 70) | st.none() | st.integers(8, 62).map(float),
    "sex": st.sampled_from(["f", "m", "x", None]),
    "ward": st.sampled_from(["north", None]),
}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.fixed_dictionaries(CELLS), min_size=1, max_size=9),
    st.integers(1, 10),
    st.sampled_from(["csv", "parquet", "jsonl"]),
)
def test_drawn_rows_are_answered_as_online_however_they_are_cut(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], stretch: int, form: str
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    path = folder / f"in.{form}"
    if form == "csv":
        lines = [
            ",".join("" if value is None else str(value) for value in (row[name] for name in CELLS)) for row in rows
        ]
        path.write_text("\n".join([",".join(CELLS), *lines]) + "\n", encoding="utf-8")
    elif form == "parquet":
        pq.write_table(pa.table({name: [row[name] for row in rows] for name in CELLS}), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run(folder, file_source(path), "out.jsonl", stretch=stretch)
    same_as_online(folder, "out.jsonl", rows)


def test_a_query_is_scored_like_a_file(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "rows.db") as database:
        database.execute("create table rows (patient text, age integer, bmi real, sex text, ward text)")
        database.executemany("insert into rows values (?, ?, ?, ?, ?)", [tuple(row.values()) for row in ROWS])
    database.close()
    source = Query("SELECT * FROM rows ORDER BY rowid", f"sqlite:///{tmp_path / 'rows.db'}")
    assert run(tmp_path, source, "out.parquet", stretch=30).rows == 200
    same_as_online(tmp_path, "out.parquet", ROWS)


def test_several_processes_answer_the_same(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []

    class Heard:
        def step(self, name: str, detail: str = "") -> None: ...
        def note(self, text: str) -> None: ...
        def advance(self, done: int, total: int) -> None:
            heard.append((done, total))

    source = file_source(write(tmp_path / "in.csv"))
    found = run(tmp_path, source, "out.csv", workers=2, stretch=23, progress=Heard())
    same_as_online(tmp_path, "out.csv", ROWS)
    assert found.rows == 200
    assert heard[-1] == (200, 200)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert len(list((tmp_path / "log" / "m").glob("*.jsonl"))) == 2, "each process has a segment of its own"


def test_a_row_that_the_model_cannot_answer_is_rejected_alone(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "bmi": 20.0 + (number == 3) * -7.0} for number in range(9)]
    run(tmp_path, file_source(write(tmp_path / "in.parquet", rows)), "out.jsonl", "strict", stretch=4)
    (bad,) = read(tmp_path / "out.quarantine.jsonl")
    assert (bad["row"], bad["verdict"]) == (3, "rejected")
    assert "ValueError" in bad["problems"]
    assert len(read(tmp_path / "out.jsonl")) == 8


def test_a_process_that_dies_is_tried_once_more(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "bmi": 42.0 if number == 17 else 20.0} for number in range(40)]
    source = file_source(write(tmp_path / "in.parquet", rows))
    arguments = {"counter": str(tmp_path / "deaths"), "times": 1}
    found = run(tmp_path, source, "out.jsonl", "deadly", workers=2, stretch=8, arguments=arguments)
    assert (found.rows, (tmp_path / "deaths").read_bytes()) == (40, b"xx")
    assert [row["row"] for row in read(tmp_path / "out.jsonl")] == list(range(40))


def test_a_process_that_dies_twice_names_the_rows_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "bmi": 42.0 if number == 17 else 20.0} for number in range(40)]
    source = file_source(write(tmp_path / "in.parquet", rows))
    arguments = {"counter": str(tmp_path / "deaths"), "times": 2}
    with pytest.raises(ScoringFailed, match="rows 16 to 23") as caught:
        run(tmp_path, source, "out.jsonl", "deadly", workers=2, stretch=8, arguments=arguments)
    assert "SIGKILL" in str(caught.value.received)
    assert not (tmp_path / "out.jsonl").exists()
    found = run(tmp_path, source, "out.jsonl", "deadly", workers=1, stretch=8, arguments=arguments)
    assert found.rows == 40, "what was answered is kept, and the rest is made"


def test_what_a_worker_raises_is_told_by_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("\n".join([json.dumps(ROWS[0])] * 60 + ['{"age": 1, "age": 2}']), encoding="utf-8")
    for workers in (1, 2):
        with pytest.raises(TableUnreadable, match="line 61: a key occurs twice"):
            run(tmp_path, file_source(path), "out.jsonl", workers=workers, stretch=10)
    made = scoring.Model(
        contract=batch_models.contract_of("sum"),
        origin={},
        opener="batch_models:broken",
        arguments={"log": str(tmp_path / "log")},
    )
    with pytest.raises(ScoringFailed, match="a worker process failed") as caught:
        scoring.score_source(
            made, file_source(write(tmp_path / "b.csv")), tmp_path / "b.jsonl", workers=2, stretch=10
        )
    assert "it cannot be opened" in str(caught.value.received)


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_no_rows_and_names_that_are_taken_are_refused(tmp_path: Path, form: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataUnfit, match="no rows"):
        run(tmp_path, file_source(write(tmp_path / "in" / f"none.{form}", [])), "out.csv")
    path = tmp_path / "in" / f"taken.{form}"
    frame = pd.DataFrame([{"age": 40, "verdict": "mine"}])
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path)
    else:
        path.write_text(frame.to_json(orient="records", lines=True), encoding="utf-8")
    with pytest.raises(DataUnfit, match="result column") as caught:
        run(tmp_path, file_source(path), "out.csv")
    assert caught.value.received == "verdict"
    with pytest.raises(TableUnreadable, match="cannot be told"):
        run(tmp_path, file_source(path), "out.xlsx")
    assert os.listdir(tmp_path) == ["in"]


def test_json_rows_of_different_keys_need_a_form_that_has_them(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    rows = [{"age": 40, "bmi": 20.5, "sex": "f"}] * 1200 + [{"age": 40, "bmi": 20.5, "sex": "f", "note": {"a": [1]}}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(TableUnreadable, match="has a key that the first rows do not have") as caught:
        run(tmp_path, file_source(path), "out.csv")
    assert caught.value.received == "note"
    run(tmp_path, file_source(path), "out.jsonl")
    assert read(tmp_path / "out.jsonl")[-1]["note"] == {"a": [1]}
    assert "note" not in read(tmp_path / "out.jsonl")[0]


def test_a_csv_is_carried_as_it_is_written(tmp_path: Path) -> None:
    texts = ["007", "NA", "1.50", "", "a, b", 'q"', "line\nend", "ä"]
    lines = [f'40,20.5,f,"{text.replace(chr(34), chr(34) * 2)}"' for text in texts]
    (tmp_path / "in.csv").write_text("age,bmi,sex,note\n" + "\n".join(lines), encoding="utf-8")
    for form in ("csv", "parquet", "jsonl"):
        run(tmp_path, file_source(tmp_path / "in.csv"), f"out.{form}", stretch=3)
    assert pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)["note"].tolist() == texts
    assert pq.read_table(tmp_path / "out.parquet")["note"].to_pylist() == texts
    assert [json.loads(line)["note"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == texts


def test_columns_of_every_type_are_carried_along(tmp_path: Path) -> None:
    table = pa.table(
        {
            "age": [40, 41],
            "bmi": [20.5, float("nan")],
            "sex": pa.array(["f", "m"]).dictionary_encode(),
            "at": pa.array([pd.Timestamp("2026-01-01 06:00"), None]),
            "exact": pa.array([1767247200000000001, None], pa.timestamp("ns")),
            "day": pa.array([pd.Timestamp("2026-01-01").date(), None]),
            "list": [[1, 2], None],
            "whole": [2**60 + 1, None],
            "half": pa.array([0.5, None], pa.float32()),
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    for form in ("csv", "parquet", "jsonl"):
        run(tmp_path, file_source(tmp_path / "in.parquet"), f"out.{form}")
    kept = pq.read_table(tmp_path / "out.parquet")
    assert kept.schema.field("at").type == table.schema.field("at").type
    assert kept["whole"].to_pylist() == [2**60 + 1, None]
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert (first["at"], first["list"], first["whole"]) == ("2026-01-01T06:00:00", [1, 2], 2**60 + 1)
    shown = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False).iloc[0]
    assert shown[["at", "day", "list", "whole", "half", "sex"]].tolist() == [
        "2026-01-01 06:00:00",
        "2026-01-01",
        "[1,2]",
        str(2**60 + 1),
        "0.5",
        "f",
    ]
    assert shown["exact"].endswith(".000000001")
