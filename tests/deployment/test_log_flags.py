"""What a server is told of its log: nothing that an older bundle's server would not understand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fullcircle.deployment.target import LOG_BYTES, LOG_FSYNC, LOG_FULL, Service, log_flags
from fullcircle.settings import load

DEFAULTS = (LOG_BYTES, LOG_FULL, LOG_FSYNC)


def test_the_defaults_need_no_words(tmp_path: Path) -> None:
    settings = load(folder=tmp_path)
    assert (settings.log_bytes, settings["log_full"], settings["log_fsync"]) == DEFAULTS
    service = Service(python=tmp_path, served=tmp_path, predictions=tmp_path, code=tmp_path, state=tmp_path)
    assert (service.log_bytes, service.log_full, service.log_fsync) == DEFAULTS
    assert log_flags(*DEFAULTS, None) == []


@pytest.mark.parametrize(
    ("told", "flags"),
    [
        ((2_000_000, LOG_FULL, LOG_FSYNC), ["--log-bytes", "2000000"]),
        ((LOG_BYTES, "count", LOG_FSYNC), ["--log-full", "count"]),
        ((LOG_BYTES, LOG_FULL, "always"), ["--log-fsync", "always"]),
    ],
)
def test_what_differs_is_told(told: tuple[int, str, str], flags: list[str]) -> None:
    assert log_flags(*told, None) == flags


def test_the_key_is_a_file_by_its_whole_path() -> None:
    flag, path = log_flags(*DEFAULTS, Path("log.key"))
    assert flag == "--log-key"
    assert Path(path).is_absolute()
