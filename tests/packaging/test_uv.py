from __future__ import annotations

from pathlib import Path

import pytest

from fullcircle.errors import LockFailed
from fullcircle.packaging import uv

NETWORK = "error: Failed to fetch: https://me:secret@host/simple/x/\n  cause: tcp connect error"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in uv's place: writes how it was called, then does what ``behaviour`` says."""
    path = tmp_path / "uv"
    path.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nenv > {tmp_path}/env\n. {tmp_path}/behaviour\n')
    path.chmod(0o755)
    return path


def behave(program: Path, script: str) -> None:
    (program.parent / "behaviour").write_text(script)


def calls(program: Path) -> list[str]:
    return (program.parent / "calls").read_text().splitlines()


def test_the_installed_uv_is_found() -> None:
    assert uv.find().is_file()


def test_without_a_network_the_cache_is_tried(program: Path, tmp_path: Path) -> None:
    behave(program, f'case "$*" in *--offline*) exit 0;; *) echo "{NETWORK}" >&2; exit 2;; esac')
    uv.run(["pip", "compile"], what="locking", folder=tmp_path, uv=program)
    online, offline = calls(program)
    assert "--offline" not in online
    assert offline == f"{online} --offline"


def test_what_is_exact_is_taken_from_the_cache_and_else_from_the_network(program: Path, tmp_path: Path) -> None:
    behave(program, "exit 0")
    uv.run(["pip", "sync"], what="installing", folder=tmp_path, exact=True, uv=program)
    assert [line.endswith(" --offline") for line in calls(program)] == [True]
    behave(program, 'case "$*" in *--offline*) exit 1;; *) exit 0;; esac')
    uv.run(["pip", "sync"], what="installing", folder=tmp_path, exact=True, uv=program)
    assert [line.endswith(" --offline") for line in calls(program)] == [True, True, False]
    behave(program, 'echo "Hash mismatch"; exit 1')
    with pytest.raises(LockFailed, match="Hash mismatch"):
        uv.run(["pip", "sync"], what="installing", folder=tmp_path, exact=True, uv=program)


def test_when_both_fail_the_words_are_those_about_the_network(program: Path, tmp_path: Path) -> None:
    behave(program, f'case "$*" in *--offline*) echo "not in the cache"; exit 1;; *) echo "{NETWORK}"; exit 2;; esac')
    with pytest.raises(LockFailed, match=r"locking failed[\s\S]*tcp connect error") as caught:
        uv.run(["pip"], what="locking", folder=tmp_path, uv=program)
    assert "connection" in str(caught.value.next_step)
    assert "secret" not in str(caught.value)


def test_another_failure_is_not_tried_again(program: Path, tmp_path: Path) -> None:
    behave(program, 'echo "No solution found"; exit 1')
    with pytest.raises(LockFailed, match="No solution found"):
        uv.run(["pip"], what="locking", folder=tmp_path, uv=program)
    assert len(calls(program)) == 1


def test_offline_is_only_offline(program: Path, tmp_path: Path) -> None:
    behave(program, "echo 'x was not found in the cache, the network was disabled'; exit 1")
    with pytest.raises(LockFailed) as caught:
        uv.run(["pip"], what="locking", folder=tmp_path, offline=True, uv=program)
    (only,) = calls(program)
    assert "--offline" in only
    assert "cache" in str(caught.value.next_step)


def test_only_the_last_lines_are_shown(program: Path, tmp_path: Path) -> None:
    behave(program, "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done; exit 1")
    with pytest.raises(LockFailed) as caught:
        uv.run(["pip"], what="locking", folder=tmp_path, uv=program)
    assert "line 199" in str(caught.value)
    assert "line 100" not in str(caught.value)


def test_silence_is_told_by_its_exit_code(program: Path, tmp_path: Path) -> None:
    behave(program, "exit 7")
    with pytest.raises(LockFailed, match="exit code 7"):
        uv.run(["pip"], what="locking", folder=tmp_path, uv=program)


def test_a_program_that_cannot_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(LockFailed, match="could not be started"):
        uv.run(["pip"], what="locking", folder=tmp_path, uv=tmp_path / "nothing")


def test_variables_of_another_environment_stay_out(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in uv.FOREIGN:
        monkeypatch.setenv(name, "/somewhere/else")
    monkeypatch.setenv("UV_CACHE_DIR", "/the/users/own")
    behave(program, "exit 0")
    uv.run(["pip"], what="locking", folder=tmp_path, uv=program)
    seen = (tmp_path / "env").read_text()
    assert "/somewhere/else" not in seen
    assert "UV_CACHE_DIR=/the/users/own" in seen
