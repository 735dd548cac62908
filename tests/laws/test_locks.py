"""Locks pin versions and hashes, and say nothing about where packages come from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from laws.sizes import ROOT

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def _pins(path: Path) -> dict[str, list[str]]:
    """Hashes by ``name==version``."""
    pins: dict[str, list[str]] = {}
    current = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([a-z0-9][a-z0-9.-]*)(?:\[[\w,-]+\])?==(\S+)", line):
            current = f"{found[1]}=={found[2]}"
            pins.setdefault(current, [])
        elif found := re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?", line):
            pins[current].append(found[1])
        else:
            raise AssertionError(f"{path.name}: {line!r} is neither a pin nor a hash")
    return pins


def test_there_are_locks() -> None:
    assert [path.name for path in LOCKS] == ["dev.txt", "uv.txt"]


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_versions_and_hashes_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"://|index|find-links|trusted-host|file:|@", text)
    pins = _pins(path)
    assert pins
    assert all(pins.values())


def test_uv_is_the_same_in_both() -> None:
    (uv,) = _pins(ROOT / "requirements/uv.txt")
    assert uv in _pins(ROOT / "requirements/dev.txt")


def test_every_requirement_of_ours_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    named += project["build-system"]["requires"]
    for extra in project["project"]["optional-dependencies"].values():
        named += extra
    pinned = {pin.partition("==")[0] for pin in _pins(ROOT / "requirements/dev.txt")}
    wanted = {re.split(r"[\[><=~!;\s]", text)[0].lower().replace("_", "-") for text in named}
    assert wanted - {"fullcircle"} <= pinned


def test_no_index_address_and_no_path_of_a_machine_is_written_down() -> None:
    # The texts that travel: what says how to install, and what people read.
    texts = [*ROOT.glob("*.toml"), *ROOT.glob("*.md"), ROOT / "Makefile", *(ROOT / ".ci").iterdir()]
    texts += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.py")]
    hosts = "|".join(("py" + "pi", "python" + "hosted", "deb" + "ian"))
    for path in texts:
        found = re.search(rf"https?://[\w.-]*({hosts})\.|/home/|/root/|/tmp/", path.read_text(encoding="utf-8"))
        assert found is None, f"{path.name}: {found and found[0]}"
