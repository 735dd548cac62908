"""Imports while a project is active: its own folder first, libraries as they are, nothing left behind."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fullcircle.development import sources
from fullcircle.development.modules import active, is_library
from fullcircle.errors import ProjectInvalid


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    modules, path, finders = dict(sys.modules), list(sys.path), list(sys.meta_path)
    yield
    assert sys.path == path
    assert sys.meta_path == finders
    sys.modules.clear()
    sys.modules.update(modules)


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def _value(name: str) -> object:
    return importlib.import_module(name).VALUE


def test_what_was_imported_is_remembered_and_only_that(tmp_path: Path) -> None:
    folder = _write(tmp_path, helper_a="import json\nVALUE = 1\n", helper_b="VALUE = 2\n")
    found: dict[str, ModuleType] = {}
    with active(folder, found):
        assert _value("helper_a") == 1
    assert set(found) == {"helper_a"}
    with active(folder, found):
        assert sys.modules["helper_a"] is found["helper_a"]
        assert _value("helper_b") == 2
    assert set(found) == {"helper_a", "helper_b"}


def test_a_folder_without_init_is_a_package_too(tmp_path: Path) -> None:
    folder = _write(tmp_path, parts__in__engine="VALUE = 'own'\n")
    with active(folder, {}):
        assert _value("parts.engine") == "own"


def test_a_package_of_another_project_is_not_ours(tmp_path: Path) -> None:
    one = _write(tmp_path / "one", pack__in____init__="", pack__in__inner="VALUE = 1\n")
    two = _write(tmp_path / "two", pack__in____init__="", pack__in__other="VALUE = 2\n")
    with active(one, {}):
        assert _value("pack.inner") == 1
    with active(two, {}):
        assert _value("pack.other") == 2
        with pytest.raises(ModuleNotFoundError):
            _value("pack.inner")


def test_the_name_of_a_project_folder_may_begin_like_another(tmp_path: Path) -> None:
    short = _write(tmp_path / "bikes", helper_c="VALUE = 'short'\n")
    long = _write(tmp_path / "bikes2", helper_d="VALUE = 'long'\n")
    found: dict[str, ModuleType] = {}
    with active(long, found):
        assert _value("helper_d") == "long"
    others: dict[str, ModuleType] = {}
    with active(short, others):
        assert _value("helper_c") == "short"
    assert (set(found), set(others)) == ({"helper_d"}, {"helper_c"}), "bikes2 lies not in bikes"


@pytest.mark.parametrize("name", ["msgspec", "pandas", "os", "fullcircle"])
def test_a_file_named_like_a_library_does_not_take_its_place(name: str, tmp_path: Path) -> None:
    library = importlib.import_module(name)
    folder = _write(tmp_path, **{name: "broken = True\n"})
    with active(folder, {}):
        assert importlib.import_module(name) is library
    assert sys.modules[name] is library


def test_what_a_project_adds_to_a_package_of_several_folders_is_read_anew(tmp_path: Path) -> None:
    assert importlib.import_module("google.protobuf")  # installed, in a package without a file of its own
    folder = _write(tmp_path, google__in__mine="VALUE = 1\n")
    with active(folder, {}):
        assert _value("google.mine") == 1
    _write(tmp_path, google__in__mine="VALUE = 2\n")
    with active(folder, {}):
        assert _value("google.mine") == 2


def test_a_data_folder_named_like_a_module_that_is_loaded_is_no_reason_to_forget_it(tmp_path: Path) -> None:
    elsewhere = _write(tmp_path / "elsewhere", helper_e="VALUE = 'elsewhere'\n")
    with active(elsewhere, {}):
        first = importlib.import_module("helper_e")
    here = _write(tmp_path / "here", helper_f="VALUE = 'here'\n")
    (here / "helper_e").write_text("a file without an ending", encoding="utf-8")
    with active(here, {}):
        assert sys.modules["helper_e"] is first


def test_a_module_that_changed_its_own_search_leaves_no_trace(tmp_path: Path) -> None:
    folder = _write(
        tmp_path,
        helper_g="import sys\nsys.path.pop(0)\nsys.meta_path.pop(0)\nVALUE = 1\n",
    )
    with active(folder, {}):
        assert _value("helper_g") == 1
    # The fixture looks at sys.path and sys.meta_path.


def test_an_exception_within_ends_it_all_the_same(tmp_path: Path) -> None:
    folder = _write(tmp_path, helper_h="VALUE = 1\n")
    with pytest.raises(KeyError), active(folder, {}):
        raise KeyError(_value("helper_h"))
    assert str(folder) not in sys.path


@pytest.mark.parametrize("name", ["json", "os", "fullcircle", "__main__", "pandas", "sklearn", "numpy"])
def test_libraries_are_known_by_name(name: str) -> None:
    assert is_library(name)


@pytest.mark.parametrize("name", ["project", "features_of_mine", "my_model"])
def test_the_users_own_names_are_none(name: str) -> None:
    assert not is_library(name)


class TestSources:
    @pytest.mark.parametrize(
        "folder", ["tests", "test", ".git", ".venv", "__pycache__", "venv", "env", "node_modules"]
    )
    def test_what_is_not_the_projects_own_is_left_out(self, folder: str, tmp_path: Path) -> None:
        _write(tmp_path, project="x = 1\n", **{f"{folder}__in__other": "y = 2\n", f"lib__in__{folder}__in__z": ""})
        assert list(sources.collect(tmp_path)) == ["project.py"]

    def test_an_environment_is_known_by_its_mark(self, tmp_path: Path) -> None:
        _write(tmp_path, project="", python3__in__site="x = 1\n")
        assert list(sources.collect(tmp_path)) == ["project.py", "python3/site.py"]
        (tmp_path / "python3" / "pyvenv.cfg").touch()
        assert list(sources.collect(tmp_path)) == ["project.py"]

    def test_paths_are_sorted_and_contents_whole(self, tmp_path: Path) -> None:
        _write(tmp_path, b="2\n", a="1\n", pack__in__c="3\n")
        (tmp_path / ".hidden.py").write_text("4\n", encoding="utf-8")
        (tmp_path / "notes.txt").write_text("5\n", encoding="utf-8")
        assert sources.collect(tmp_path) == {"a.py": b"1\n", "b.py": b"2\n", "pack/c.py": b"3\n"}

    @pytest.mark.parametrize(("files", "fits"), [(3, True), (4, False)])
    def test_files_are_counted(self, files: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "MOST_FILES", 3)
        _write(tmp_path, **{f"m{number}": "" for number in range(files)})
        if fits:
            assert len(sources.collect(tmp_path)) == files
        else:
            with pytest.raises(ProjectInvalid, match="more than one project's source") as caught:
                sources.collect(tmp_path)
            assert "more than 3 files" in (caught.value.received or "")
            assert str(tmp_path) in (caught.value.received or "")

    @pytest.mark.parametrize(("size", "fits"), [(10, True), (11, False)])
    def test_bytes_are_counted(self, size: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sources, "MOST_BYTES", 10)
        _write(tmp_path, a="#" * 5, b="#" * (size - 5))
        if fits:
            assert len(sources.collect(tmp_path)) == 2
        else:
            with pytest.raises(ProjectInvalid, match="more than one project's source"):
                sources.collect(tmp_path)

    @pytest.mark.parametrize(("folders", "fits"), [(2, True), (3, False)])
    def test_folders_are_counted(
        self, folders: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A project file in a home folder must not walk all of it.
        monkeypatch.setattr(sources, "MOST_FOLDERS", 3)
        for number in range(folders):
            (tmp_path / f"f{number}").mkdir()
        if fits:
            assert sources.collect(tmp_path) == {}
        else:
            with pytest.raises(ProjectInvalid) as caught:
                sources.collect(tmp_path)
            assert "more than 3 folders" in (caught.value.received or "")
