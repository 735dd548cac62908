"""What an image comes to, told from what is installed."""

from __future__ import annotations

import sysconfig
import zlib
from importlib.metadata import distribution, version
from pathlib import Path

import msgspec
import numpy as np

from fullcircle.deployment import sizes

SITE = Path(sysconfig.get_path("purelib"))
HASH = f"--hash=sha256:{'a' * 64}"


def lock(*names: str) -> str:
    return "".join(f"{name}=={version(name)} \\\n    {HASH}\n" for name in names)


def package(site: Path, name: str, files: dict[str, bytes]) -> None:
    """What an installer leaves of a package."""
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    names = [*files, f"{name}/__pycache__/gone.cpython-311.pyc", f"{info.name}/METADATA"]
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in names))


def test_a_large_file_is_told_from_samples_within_a_few_percent(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    large = bytes(rng.integers(0, 24, 6_000_000, dtype=np.uint8))
    source = b"x = 1\n" * 500
    package(tmp_path, "thing", {"thing/lib.so": large, "thing/__init__.py": source, "thing/__pycache__/x.pyc": large})
    found = sizes.estimate(f"thing==1.0 {HASH}\n", 1000, tmp_path)
    metadata = len(zlib.compress((tmp_path / "thing-1.0.dist-info/METADATA").read_bytes(), 6))
    exact = len(zlib.compress(large, 6)) + 3.1 * len(zlib.compress(source, 6)) + metadata
    assert abs(found.packages - exact) < 0.03 * exact
    assert found.total == found.base + found.packages + 1000
    assert (found.own, found.unknown) == (1000, ())


def test_what_is_not_installed_in_that_version_is_named_and_not_counted() -> None:
    found = sizes.estimate(f"numpy==0.0.1 {HASH}\nno-such-thing==3 {HASH}\n" + lock("msgspec"), 0, SITE)
    assert found.unknown == ("no-such-thing==3", "numpy==0.0.1")
    assert found.packages == sizes.compressed(distribution("msgspec")) > 100_000
    assert "without 2 packages that are not installed here: no-such-thing==3" in found.told()


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    cache = tmp_path / "sizes.json"
    first = sizes.estimate(lock("typer", "msgspec"), 5, SITE, cache)
    known = msgspec.json.decode(cache.read_bytes(), type=dict[str, int])
    assert sum(known.values()) == first.packages
    cache.write_bytes(msgspec.json.encode(dict.fromkeys(known, 7)))
    assert sizes.estimate(lock("typer", "msgspec"), 5, SITE, cache).packages == 14
    assert sizes.estimate(lock("typer", "msgspec"), 5, tmp_path / "none", cache).packages == 14
    cache.write_bytes(b"{")
    assert sizes.estimate(lock("typer", "msgspec"), 5, SITE, cache).packages == first.packages
    assert sizes.estimate(lock("typer"), 5, SITE, tmp_path / "no" / "folder").packages > 0


def test_the_wheels_beside_a_lock_are_counted_too() -> None:
    text = f"./wheels/fullcircle-0.1.0-py3-none-any.whl {HASH}\nscikit_learn==1.0 {HASH}\n"
    assert sizes.pinned(text) == ("fullcircle==0.1.0", "scikit-learn==1.0")


def test_it_is_told_in_megabytes() -> None:
    told = sizes.Estimate(base=45_000_000, packages=101_234_567, own=456_789).told()
    assert told == (
        "about 147 MB compressed (packages 101 MB, model and attestations 0.5 MB, base image 45 MB assumed)"
    )
