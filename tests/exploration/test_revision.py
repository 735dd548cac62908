"""The git commit of a folder: known, changed, or none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fullcircle.exploration.revision import commit

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def _git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    said = subprocess.run(["git", "-C", str(folder), *who, *words], capture_output=True, text=True, check=True)
    return said.stdout.strip()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "project.py").write_text("x = 1\n", encoding="utf-8")
    (folder / "notes.txt").write_text("first\n", encoding="utf-8")
    _git(folder, "init", "-q")
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "first")
    return folder


@needs_git
def test_the_commit_of_a_clean_folder(work: Path) -> None:
    head = _git(work, "rev-parse", "HEAD")
    assert commit(work) == commit(work / "models") == head
    (work / "models" / "new.txt").write_text("not added\n", encoding="utf-8")
    assert commit(work) == head, "files that git does not know are no change"


@needs_git
def test_a_change_counts_where_it_was_made(work: Path) -> None:
    head = _git(work, "rev-parse", "HEAD")
    (work / "notes.txt").write_text("second\n", encoding="utf-8")
    assert commit(work) == f"{head}-dirty"
    assert commit(work / "models") == head, "the model's own folder is as it was"


@needs_git
def test_a_folder_outside_git_or_before_the_first_commit_has_none(tmp_path: Path) -> None:
    assert commit(tmp_path) is None
    _git(tmp_path, "init", "-q")
    assert commit(tmp_path) is None
    assert commit(tmp_path / "nowhere") is None


def test_without_git_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) is None


@pytest.mark.parametrize("script", ["#!/no/such/interpreter\n", "#!/bin/sh\nexit 128\n"])
def test_a_git_that_does_not_work_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    program = tmp_path / "git"
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert commit(tmp_path) is None
