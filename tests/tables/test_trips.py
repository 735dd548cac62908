"""The files of breakers that opened: the first one stays, and what cannot be read opens it all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from fullcircle.tables.trips import Trip, path_of, read, write


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "splits"
    assert read(folder, "s") is None
    trip = Trip("s", 7, "it raised", 4, 2)
    write(folder, trip)
    assert read(folder, "s") == trip
    assert read(folder, "another") is None
    assert [path.name for path in folder.iterdir()] == ["s.json"]


def test_who_was_faster_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path, Trip("s", 7, "first"))
    write(tmp_path, Trip("s", 7, "second"))
    found = read(tmp_path, "s")
    assert found is not None
    assert found.reason == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["s.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"split": "s"}', '{"split": 1, "version": 2, "reason": "x"}'])
def test_a_file_that_cannot_be_read_counts_as_open(tmp_path: Path, content: str) -> None:
    path_of(tmp_path, "s").write_text(content)
    found = read(tmp_path, "s")
    assert found is not None
    assert "cannot be read" in found.reason
    write(tmp_path, Trip("s", 7, "it raised"))
    assert path_of(tmp_path, "s").read_text() == content


def test_where_it_cannot_be_written_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        write(tmp_path / "file" / "splits", Trip("s", 7, "it raised"))


def test_one_that_says_more_is_read(tmp_path: Path) -> None:
    path_of(tmp_path, "s").write_text('{"split": "s", "version": 2, "reason": "x", "later": [1]}')
    assert read(tmp_path, "s") == Trip("s", 2, "x")
