from __future__ import annotations

import io
import sys
import sysconfig
import zipfile
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from bundle_samples import WHEEL
from fullcircle.packaging import surroundings, versions
from fullcircle.packaging.wheel import build

METADATA = b"Metadata-Version: 2.4\nName: tiny\nVersion: 1.0\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return unpacked(tmp_path)


def unpacked(place: Path) -> Path:
    """A site-packages with one package in it, unpacked from a real wheel by another zip reader than ours."""
    source = place / "tiny"
    source.mkdir()
    (source / "__init__.py").write_text("x = 1\n")
    (source / "more.py").write_text("y = 2\n")
    _, data = build(source, name="tiny", version="1.0", info={"METADATA": METADATA})
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        opened.extractall(place / "site-packages")
    return place / "site-packages"


def test_an_untouched_site_has_nothing_to_tell(site: Path) -> None:
    assert surroundings.tampered(site) == []
    (site / "tiny" / "__pycache__").mkdir()
    (site / "tiny" / "__pycache__" / "more.cpython-311.pyc").write_bytes(b"")
    (site / "_virtualenv.pth").write_text("")
    assert surroundings.tampered(site) == []


def test_an_edited_file_is_named(site: Path) -> None:
    (site / "tiny" / "more.py").write_text("y = 3\n")
    assert surroundings.tampered(site) == ["tiny/more.py of tiny was altered after it was installed"]


def test_a_removed_file_is_named(site: Path) -> None:
    (site / "tiny" / "more.py").unlink()
    assert surroundings.tampered(site) == ["tiny/more.py of tiny is missing"]


@pytest.mark.parametrize("name", ["sitecustomize.py", "evil.pth", "numpy.py", "elsewhere"])
def test_what_nobody_brought_is_named(site: Path, name: str) -> None:
    (site / name).write_text("")
    assert surroundings.tampered(site) == [f"{name} was added to the environment by nobody in the lock"]


ADDED = ["tiny/numpy.py", "tiny/more.so", "tiny/more.pyc", "tiny/deep/x.py", "deep/x.py", "tiny-1.0.dist-info/x", "x"]


@given(st.sets(st.sampled_from(ADDED)))
def test_what_was_put_among_a_packages_files_is_named(names: set[str]) -> None:
    """A compiled module beside one of Python is imported first, and no file that was there has changed."""
    with TemporaryDirectory() as name:
        site = unpacked(Path(name))
        for each in names:
            path = site / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        told = {each.removesuffix("/x.py") if each.endswith("deep/x.py") else each for each in names}
        expected = [f"{each} was added to the environment by nobody in the lock" for each in sorted(told)]
        assert surroundings.tampered(site) == expected


def test_a_folder_that_became_a_link_is_named(site: Path, tmp_path: Path) -> None:
    (site / "tiny").rename(tmp_path / "moved")
    (site / "tiny").symlink_to(tmp_path / "moved")
    assert surroundings.tampered(site) == ["tiny was added to the environment by nobody in the lock"]
    (tmp_path / "moved" / "more.py").unlink()
    assert "tiny/more.py of tiny is missing" in surroundings.tampered(site)


def test_this_environment_and_pythons_library_are_no_strangers() -> None:
    inside = [sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), f"{sys.prefix}/lib/x/y.py"]
    inside += [path for path in sys.path if path.endswith(("lib-dynload", ".zip"))]
    assert surroundings.strangers(inside) == []


def test_other_folders_are_strangers(tmp_path: Path) -> None:
    others = [str(tmp_path), f"{sysconfig.get_path('stdlib')}/site-packages", f"{sys.prefix}-other/x", "relative.py"]
    told = surroundings.strangers(others)
    assert [text.split()[0] for text in told] == others
    assert len(surroundings.strangers(others, allowed=[tmp_path])) == 3


def test_a_link_out_of_the_environment_is_a_stranger(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "out").symlink_to("/etc")
    assert surroundings.strangers([f"{tmp_path}/home/out/hosts"], allowed=[tmp_path / "home"])


def test_a_forbidden_folder_is_a_stranger_even_inside() -> None:
    folder = sysconfig.get_path("purelib")
    assert surroundings.strangers([folder], forbidden=[Path(folder)])


def test_what_is_installed_is_compared_with_the_lock() -> None:
    assert surroundings.misfits({"a": "1.0", "b": "2"}, {"a": "1.0", "b": "2"}) == []
    assert surroundings.misfits({"a": "1.0"}, {"a": "1.1"}) == ["a 1.1 is installed, the lock says 1.0"]
    assert surroundings.misfits({"a": "1.0"}, {}) == ["a 1.0 is in the lock and not installed"]
    assert surroundings.misfits({}, {"a": "1.0"}) == ["a 1.0 is installed and not in the lock"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.0rc1", "1.0.rc.1"),
        ("2024.1", "2024.01"),
        ("1.0a1", "1.0-alpha1"),
        ("v1.0", "1.0"),
        ("1.0+cpu", "1.0+CPU"),
        ("1.0", "1.0.0"),
        ("1.0-1", "1.0.post1"),
        ("0!1", "1"),
        ("1.0+a.1", "1.0+a-1"),
    ],
)
def test_one_version_in_two_spellings_is_one(one: str, other: str) -> None:
    assert surroundings.misfits({"a": one}, {"a": other}) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.0", "1.0rc1"),
        ("1.0", "1.0+cpu"),
        ("1!2", "1.2"),
        ("1.0+1", "1.0.1"),
        ("1.0.dev1", "1.0.post1"),
        ("1", "10"),
    ],
)
def test_other_versions_are_told_apart(one: str, other: str) -> None:
    assert surroundings.misfits({"a": one}, {"a": other}) == [f"a {other} is installed, the lock says {one}"]


@pytest.mark.parametrize(
    ("pinned", "version", "expected"),
    [
        ("2.1", "2.1.0+cpu", True),
        ("2.1.0", "2.1.0+cu118", True),
        ("2.1.0+cpu", "2.1.0+cpu", True),
        ("2.1.0+CPU", "2.1+cpu", True),
        ("2.1.0+cpu", "2.1.0", False),
        ("2.1.0+cpu", "2.1.0+cu118", False),
        ("2.1.0", "2.1.1+cpu", False),
        ("2.1.0", "2.1.0.post1", False),
    ],
)
def test_a_pin_lets_any_build_of_its_version_through_unless_it_names_one(
    pinned: str, version: str, expected: bool
) -> None:
    """As https://packaging.python.org/specifications/version-specifiers/ has it, and its own library too."""
    assert versions.allowed(pinned, version) == expected
    assert SpecifierSet(f"=={pinned}").contains(version, prereleases=True) == expected


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_other_numbers_are_other_versions(one: list[int], other: list[int]) -> None:
    """But for zeros at the end, which say nothing: 1 is 1.0."""
    texts = [".".join(map(str, numbers)) for numbers in (one, other)]
    length = max(len(one), len(other))
    padded = [numbers + [0] * (length - len(numbers)) for numbers in (one, other)]
    assert (surroundings.misfits({"a": texts[0]}, {"a": texts[1]}) == []) == (padded[0] == padded[1])


def test_what_this_interpreter_sees_is_listed() -> None:
    found = surroundings.installed()
    assert found["scikit-learn"] == version("scikit-learn")
    assert list(found) == sorted(found)
    assert surroundings.__file__ in surroundings.loaded_files()
    assert WHEEL[0] not in found
