"""A folder that we made: whole or not at all, and never anybody else's file."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.deployment import folder
from fullcircle.errors import TargetRefused

ABOUT = {"model": "m", "version": "1"}
FIRST = folder.recorded({"a.txt": b"1", "wheels/w.whl": b"w"}, ABOUT)
SECOND = folder.recorded({"a.txt": b"2", "b/c.txt": b"c"}, {**ABOUT, "version": "2"})


def found(place: Path) -> dict[str, bytes]:
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_it_is_made_changed_and_deleted(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "place"
    folder.write(place, FIRST)
    assert found(place) == FIRST
    record = folder.recall(place)
    assert record is not None
    assert (record.whole, record.about, folder.altered(place, record)) == (True, ABOUT, ())
    folder.write(place, FIRST)
    folder.write(place, SECOND)
    assert found(place) == SECOND, "what the first had and the second has not is gone"
    assert folder.delete(place) == ()
    assert not place.exists()
    assert folder.delete(place) == ()
    assert [path.name for path in tmp_path.joinpath("deep").iterdir()] == []


def test_everyone_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        folder.write(tmp_path / "place", FIRST)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "place").rglob("*")}
    assert modes == {folder.RECORD: 0o644, "a.txt": 0o644, "wheels": 0o755, "w.whl": 0o644}
    assert stat.S_IMODE((tmp_path / "place").stat().st_mode) == 0o755


def test_what_a_person_changed_is_neither_replaced_nor_deleted(tmp_path: Path) -> None:
    place = tmp_path / "place"
    folder.write(place, FIRST)
    (place / "a.txt").write_bytes(b"mine")
    with pytest.raises(TargetRefused, match=r"changed by hand") as caught:
        folder.write(place, SECOND)
    assert caught.value.received == "a.txt"
    assert (place / "a.txt").read_bytes() == b"mine"
    assert (place / "wheels" / "w.whl").exists()
    assert folder.delete(place) == ("a.txt",)
    assert found(place) == {"a.txt": b"mine"}


def test_a_file_of_somebody_else_is_neither_replaced_nor_deleted(tmp_path: Path) -> None:
    place = tmp_path / "place"
    folder.write(place, FIRST)
    (place / "b").mkdir()
    (place / "b" / "c.txt").write_bytes(b"mine")
    with pytest.raises(TargetRefused, match=r"changed by hand"):
        folder.write(place, SECOND)
    assert folder.delete(place) == ("b",)
    assert found(place) == {"b/c.txt": b"mine"}


def test_a_folder_that_we_did_not_write_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("mine")
    with pytest.raises(TargetRefused, match="did not write"):
        folder.write(tmp_path, FIRST)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TargetRefused, match="did not write"):
        folder.write(tmp_path / "file", FIRST)
    with pytest.raises(TargetRefused, match="cannot be written"):
        folder.write(tmp_path / "file" / "below", FIRST)


def test_what_was_interrupted_is_made_by_the_next_call(tmp_path: Path) -> None:
    place = tmp_path / "place"
    folder.write(place, FIRST)
    halfway = folder.Record(whole=False, about=ABOUT, files={**_files(FIRST), **_files(SECOND)})
    (place / folder.RECORD).write_bytes(msgspec.json.encode(halfway))
    (place / "a.txt").write_bytes(b"2")
    folder.write(place, SECOND)
    assert found(place) == SECOND


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(b"1")  # with the very bytes that we wrote
    place = tmp_path / "place"
    folder.write(place, FIRST)
    (place / "a.txt").unlink()
    (place / "a.txt").symlink_to(target)
    record = folder.recall(place)
    assert record is not None
    assert folder.altered(place, record) == ("a.txt",)
    assert folder.delete(place) == ("a.txt",)
    assert target.read_bytes() == b"1"


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "", "a//b", "./a", "a\0b"])
def test_a_record_that_names_a_path_outside_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "outside").write_bytes(b"")
    forged = folder.Record(whole=True, about={}, files={name: "0" * 64})
    (tmp_path / "place" / folder.RECORD).write_bytes(msgspec.json.encode(forged))
    assert folder.recall(tmp_path / "place") is None
    assert folder.delete(tmp_path / "place") == ()
    assert (tmp_path / "outside").exists()


@given(st.binary(max_size=200))
def test_any_bytes_in_the_place_of_a_record_are_no_record(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    place = tmp_path_factory.getbasetemp() / "any-record"
    place.mkdir(exist_ok=True)
    (place / folder.RECORD).write_bytes(raw)
    assert folder.recall(place) is None


def _files(files: dict[str, bytes]) -> dict[str, str]:
    return msgspec.json.decode(files[folder.RECORD], type=folder.Record).files
