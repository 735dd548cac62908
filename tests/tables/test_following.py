"""Following the log: every row once, in both forms of a segment, whatever is torn, erased or still being written."""

from __future__ import annotations

from pathlib import Path

import pytest

from fullcircle.tables import following
from fullcircle.tables.compaction import prepare, publish
from fullcircle.tables.outcomes import append_outcomes, erase_outcomes
from fullcircle.tables.predictions import PredictionLog, SegmentRows
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Outcome, Prediction


def _rows(n: int, first: int = 0) -> list[Prediction]:
    sound = Verdict(status="ok")
    return [Prediction(value=float(first + place), verdict=sound, model="m", version=1) for place in range(n)]


def _logged(folder: Path, n: int) -> list[Prediction]:
    with PredictionLog(folder, fsync="never") as log:
        return list(log.append(_rows(n)))


def _values(home: Path, name: str, place: int = 0) -> tuple[list[object], int]:
    found: list[object] = []
    for part in following.after(home, name, place) or ():
        found += [row.value for row in part.rows]
        place = part.place
    return found, place


def _pack(home: Path, name: str) -> None:
    rows = SegmentRows(home, name)
    prepare(home, name, rows)
    publish(home, name)


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_each_row_comes_once_however_the_parts_fall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(following, "CHUNK", size)
    done = _logged(tmp_path, 10)
    name = done[0].id.split("-")[0]
    values, place = _values(tmp_path / "m", name)
    assert values == [float(each) for each in range(10)]
    assert _values(tmp_path / "m", name, place) == ([], place)
    assert _values(tmp_path / "m", name, int(done[7].id.split("-")[1]))[0] == [7.0, 8.0, 9.0]


def test_a_place_means_the_same_after_compaction(tmp_path: Path) -> None:
    done = _logged(tmp_path, 6)
    name, places = done[0].id.split("-")[0], [int(each.id.split("-")[1]) for each in done]
    _pack(tmp_path / "m", name)
    for begun, place in enumerate(places):
        assert _values(tmp_path / "m", name, place)[0] == [float(each) for each in range(begun, 6)]
    last = list(following.after(tmp_path / "m", name, places[3]) or ())[-1]
    assert last.whole
    assert _values(tmp_path / "m", name, last.place)[0] == []


def test_a_line_without_an_end_waits_and_rubbish_is_passed_over(tmp_path: Path) -> None:
    done = _logged(tmp_path, 2)
    name = done[0].id.split("-")[0]
    path = tmp_path / "m" / f"{name}.jsonl"
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"\xff{torn\n" + whole[:20])
    values, place = _values(tmp_path / "m", name)
    assert values == [0.0, 1.0]
    assert place == len(whole) + 7
    with path.open("ab") as file:
        file.write(whole.splitlines(keepends=True)[0][20:])
    assert _values(tmp_path / "m", name, place)[0] == [0.0], "it is read when its end has come"


def test_a_segment_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert following.after(tmp_path, "0" * 16) is None


def test_rows_are_found_by_id_in_both_forms_and_strangers_are_not(tmp_path: Path) -> None:
    one, two = _logged(tmp_path, 4), _logged(tmp_path, 4)
    _pack(tmp_path / "m", one[0].id.split("-")[0])
    wanted = [one[3].id, one[1].id, two[2].id, two[0].id]
    strangers = ["", "nobody", f"{two[0].id}1", f"{'0' * 16}-0", f"{two[0].id.split('-')[0]}-999999"]
    found = [row.id for row in following.of_ids(tmp_path / "m", wanted + strangers)]
    assert sorted(found) == sorted(wanted)


def test_outcomes_are_read_from_a_place_and_erased_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "CHUNK", 2)
    path = tmp_path / "m" / "outcomes.jsonl"
    assert list(following.outcomes_after(path)) == []
    append_outcomes(tmp_path, "m", [Outcome(prediction_id=f"p-{place}", value=place) for place in range(5)])
    parts = list(following.outcomes_after(path))
    assert [[each.value for each in part] for part, _ in parts] == [[0, 1], [2, 3], [4]]
    assert [each.value for part, _ in following.outcomes_after(path, parts[0][1]) for each in part] == [2, 3, 4]
    assert erase_outcomes(tmp_path / "m", {"p-3"}) == 1
    assert [each.value for part, _ in following.outcomes_after(path, parts[0][1]) for each in part] == [2, 4]
    assert path.stat().st_size == parts[-1][1], "places stay as they are"
    with path.open("ab") as file:
        file.write(b'{"torn": 1}\n{"pred')
    (last,) = following.outcomes_after(path, parts[-1][1])
    assert last == ((), parts[-1][1] + 12)


@pytest.mark.parametrize(("text", "place"), [("0123456789abcdef-17", ("0123456789abcdef", 17)), ("p-1", None)])
def test_an_id_says_where_its_row_is(text: str, place: tuple[str, int] | None) -> None:
    assert following.place_of(text) == place
