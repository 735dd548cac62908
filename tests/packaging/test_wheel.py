from __future__ import annotations

import csv
import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64encode
from importlib.metadata import distribution, version
from pathlib import Path

import pytest

from fullcircle import errors
from fullcircle.packaging import wheel as wheels

PACKAGE = Path(errors.__file__).parent
INFO = {"METADATA": b"Metadata-Version: 2.4\nName: my-package\nVersion: 1.2\n"}


def read(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "somewhere" / "my_package"
    (folder / "pages" / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "py.typed").write_text("")
    (folder / "pages" / "deep" / "page.html").write_text("<p>")
    (folder / "b.py").write_text("b = 1\n")
    return folder


def test_our_wheel_has_our_name_and_every_source_file() -> None:
    filename, data = wheels.wheel()
    files = read(data)
    assert filename == f"fullcircle-{version('fullcircle')}-py3-none-any.whl"
    for path in PACKAGE.rglob("*.py"):
        assert f"fullcircle/{path.relative_to(PACKAGE).as_posix()}" in files
    assert "fullcircle/py.typed" in files
    assert not [name for name in files if "__pycache__" in name or name.endswith((".pyc", ".pth"))]


def test_every_file_under_version_control_is_content() -> None:
    """A new kind of page or table must be added to SUFFIXES, or it would not travel."""
    git = shutil.which("git")
    tracked = subprocess.run(
        [git or "git", "ls-files", "-z", "."], cwd=PACKAGE, capture_output=True, check=False
    ).stdout.decode()
    if not tracked:
        pytest.skip("the package does not lie in a git clone")
    present = {name for name in tracked.split("\0") if name and (PACKAGE / name).is_file()}
    assert present <= set(wheels.sources(PACKAGE))


def test_our_wheel_is_the_same_every_time() -> None:
    assert wheels.sources(PACKAGE) == wheels.sources(PACKAGE)
    code = (
        "import hashlib; from fullcircle.packaging.wheel import wheel; print(hashlib.sha256(wheel()[1]).hexdigest())"
    )
    ran = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "TZ": zone},
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Kathmandu"))
    ]
    assert ran[0] == ran[1]


def test_the_record_covers_every_file() -> None:
    files = read(wheels.wheel()[1])
    (record,) = [name for name in files if name.endswith(".dist-info/RECORD")]
    rows = {name: (digest, size) for name, digest, size in csv.reader(io.StringIO(files[record].decode()))}
    assert set(rows) == set(files)
    assert rows.pop(record) == ("", "")
    for name, (digest, size) in rows.items():
        expected = urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
        assert (digest, size) == (f"sha256={expected}", str(len(files[name])))


def test_metadata_and_entry_points_are_the_installed_ones() -> None:
    files = read(wheels.wheel()[1])
    info = f"fullcircle-{version('fullcircle')}.dist-info"
    installed = distribution("fullcircle")
    for name in ("METADATA", "entry_points.txt"):
        text = installed.read_text(name)
        assert text is not None
        assert files[f"{info}/{name}"] == text.encode()
    assert b"Tag: py3-none-any" in files[f"{info}/WHEEL"]


def test_only_content_changes_the_bytes(package: Path, tmp_path: Path) -> None:
    filename, data = wheels.build(package, name="my-package", version="1.2", info=INFO)
    assert filename == "my_package-1.2-py3-none-any.whl"
    moved = tmp_path / "elsewhere" / "my_package"
    shutil.copytree(package, moved)
    (moved / "__pycache__").mkdir()
    (moved / "__pycache__" / "b.cpython-311.pyc").write_bytes(b"1")
    (moved / "__pycache__" / "b.py").write_bytes(b"1")
    (moved / ".hidden.py").write_text("")
    (moved / "b.py~").write_text("")
    (moved / "compiled.so").write_bytes(b"1")
    (moved / "folder.py").mkdir()
    (moved / "b.py").touch()
    assert wheels.build(moved, name="my-package", version="1.2", info=INFO) == (filename, data)
    (moved / "b.py").write_text("b = 2\n")
    assert wheels.build(moved, name="my-package", version="1.2", info=INFO)[1] != data


def test_pages_travel(package: Path) -> None:
    files = read(wheels.build(package, name="my-package", version="1.2", info=INFO)[1])
    assert files["my_package/pages/deep/page.html"] == b"<p>"
