"""Loading a project file: real files, real imports."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from fullcircle.development import sources
from fullcircle.development.loading import LoadedProject, load
from fullcircle.errors import MissingExtra, ProjectInvalid, ProjectNotFound

PROJECT = """
import fullcircle as fc

def fit(X, y):
    return None

project = fc.Project(name="{name}", data="data.csv", label="y", features=["x"], fit=fit)
"""


@pytest.fixture(autouse=True)
def _clean_imports(tmp_path: Path) -> Iterator[None]:
    modules, path, finders = dict(sys.modules), list(sys.path), list(sys.meta_path)
    yield
    assert sys.path == path
    assert sys.meta_path == finders
    for name in set(sys.modules) - set(modules):
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    return folder


def _project(name: str = "one", before: str = "") -> str:
    return textwrap.dedent(before) + PROJECT.format(name=name)


class TestFinding:
    def test_a_folder_and_its_file_are_the_same_project(self, tmp_path: Path) -> None:
        _write(tmp_path / "p", project=_project())
        by_folder, by_file = load(tmp_path / "p"), load(str(tmp_path / "p" / "project.py"))
        assert by_folder.project.name == by_file.project.name == "one"
        assert by_folder.code == by_file.code
        assert (by_folder.folder, by_folder.file) == (tmp_path / "p", "project.py")

    def test_a_file_may_have_any_name(self, tmp_path: Path) -> None:
        _write(tmp_path, **{"my-rides 2": _project()})
        assert load(tmp_path / "my-rides 2.py").file == "my-rides 2.py"

    def test_a_relative_path_is_made_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _write(tmp_path / "p", project=_project())
        monkeypatch.chdir(tmp_path)
        assert load("p").folder == tmp_path / "p"

    def test_nothing_there(self, tmp_path: Path) -> None:
        with pytest.raises(ProjectNotFound, match="no such project") as caught:
            load(tmp_path / "absent")
        assert caught.value.exit_code == 2

    def test_a_folder_without_a_project_names_what_it_has(self, tmp_path: Path) -> None:
        _write(tmp_path, rides=_project())
        with pytest.raises(ProjectNotFound, match=r"no project\.py") as caught:
            load(tmp_path)
        assert "rides.py" in str(caught.value.allowed)

    def test_a_data_file_points_to_init(self, tmp_path: Path) -> None:
        (tmp_path / "hour.csv").write_text("a,b\n")
        with pytest.raises(ProjectNotFound, match="not a project file") as caught:
            load(tmp_path / "hour.csv")
        assert "fullcircle init hour.csv" in str(caught.value.next_step)

    @pytest.mark.parametrize("name", ["json", "sklearn", "fullcircle", "__main__", "v1.2"])
    def test_the_name_of_a_library_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / f"{name}.py").write_text(_project())
        with pytest.raises(ProjectInvalid, match="name of a library"):
            load(tmp_path / f"{name}.py")
        assert sys.modules["json"].__name__ == "json"


class TestMistakes:
    def _error(self, tmp_path: Path, text: str, **others: str) -> ProjectInvalid:
        _write(tmp_path, project=text, **others)
        with pytest.raises(ProjectInvalid) as caught:
            load(tmp_path)
        assert caught.value.next_step
        return caught.value

    def test_a_syntax_error_shows_its_line(self, tmp_path: Path) -> None:
        error = self._error(tmp_path, "x = 1\ndef fit(X, y:\n    pass\n")
        assert "not valid Python" in error.what
        assert error.received == "project.py, line 2: def fit(X, y:"

    def test_a_syntax_error_in_a_sibling_shows_the_sibling(self, tmp_path: Path) -> None:
        error = self._error(tmp_path, "import ways", ways="\n\nx = = 1\n")
        assert error.received == "ways.py, line 3: x = = 1"

    def test_an_exception_shows_the_users_line(self, tmp_path: Path) -> None:
        error = self._error(tmp_path, "import json\n\njson.loads('{')\n")
        assert "JSONDecodeError" in error.what
        assert error.received == "project.py, line 3: json.loads('{')"

    def test_an_exception_in_a_sibling_shows_the_siblings_line(self, tmp_path: Path) -> None:
        error = self._error(tmp_path, "import ways\nways.go()\n", ways="def go():\n    return {}['a']\n")
        assert error.received == "ways.py, line 2: return {}['a']"

    def test_a_missing_module_says_what_to_install(self, tmp_path: Path) -> None:
        error = self._error(tmp_path, "import surely_not_installed\n")
        assert "install surely_not_installed" in str(error.next_step)

    def test_leaving_the_interpreter_is_an_error_too(self, tmp_path: Path) -> None:
        assert "SystemExit" in self._error(tmp_path, "raise SystemExit(3)\n").what

    def test_control_c_is_not_swallowed(self, tmp_path: Path) -> None:
        _write(tmp_path, project="raise KeyboardInterrupt\n")
        with pytest.raises(KeyboardInterrupt):
            load(tmp_path)

    def test_no_project(self, tmp_path: Path) -> None:
        error = self._error(tmp_path, "x = 1\n")
        assert "declares no project" in error.what
        assert "fc.Project(" in str(error.allowed)

    def test_two_projects(self, tmp_path: Path) -> None:
        error = self._error(tmp_path, _project("one") + "\nsecond = fc.Project(**{**vars(project), 'name': 'two'})\n")
        assert "more than one project" in error.what
        assert error.received == "project, second"

    def test_one_project_under_two_names_is_one(self, tmp_path: Path) -> None:
        _write(tmp_path, project=_project() + "\nmodel = project\n")
        assert load(tmp_path).project.name == "one"

    def test_a_declaration_that_cannot_work_passes_through(self, tmp_path: Path) -> None:
        error = self._error(tmp_path, _project("Not A Name"))
        assert error.what == "the project's name cannot be used"
        assert error.received == "'Not A Name'"
        assert any("project.py, line 7" in note for note in error.__notes__)

    def test_our_other_errors_pass_through(self, tmp_path: Path) -> None:
        text = "from fullcircle.errors import MissingExtra\nraise MissingExtra('no xgboost')\n"
        _write(tmp_path, project=text)
        with pytest.raises(MissingExtra, match="no xgboost"):
            load(tmp_path)

    @pytest.mark.parametrize("content", [b"x = '\x00'", b"\xff\xfe = 1", b"# -*- coding: klingon -*-\n"])
    def test_what_is_not_text_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "project.py").write_bytes(content)
        with pytest.raises(ProjectInvalid, match="not valid Python"):
            load(tmp_path)

    def test_the_next_project_loads_after_a_failure(self, tmp_path: Path) -> None:
        self._error(tmp_path / "bad", "import helper\n1 / 0\n", helper="who = 'bad'")
        _write(tmp_path / "good", project=_project(before="from helper import who\n"), helper="who = 'good'")
        load(tmp_path / "good")
        assert sys.modules["helper"].who == "good"


class TestImports:
    def _pair(self, tmp_path: Path) -> tuple[LoadedProject, LoadedProject]:
        """Two projects whose files and helpers have the same names, and import late."""
        for name in ("one", "two"):
            before = """
                import helper
                import pack.inner

                def who():
                    import late
                    from pack import inner
                    return helper.NAME, inner.NAME, late.NAME
            """
            own = f"NAME = {name!r}\n"
            _write(
                tmp_path / name,
                project=_project(name, before=before),
                helper=own,
                late=own,
                pack__in__inner=own,
                pack__in____init__="",
            )
        return load(tmp_path / "one"), load(tmp_path / "two")

    def test_two_projects_do_not_mix(self, tmp_path: Path) -> None:
        one, two = self._pair(tmp_path)
        for _ in range(2):
            for source in (one, two):
                own = source.project.name
                with source.active():
                    who = sys.modules["project"].who
                    assert who() == (own, own, own)
                    assert sys.modules["project"].project is source.project

    def test_what_was_imported_late_stays_the_same_module(self, tmp_path: Path) -> None:
        one, two = self._pair(tmp_path)
        with one.active():
            import late  # type: ignore[import-not-found]

            first = late
        with two.active():
            sys.modules["project"].who()
        with one.active():
            import late

            assert late is first

    def test_its_classes_stay_importable_afterwards(self, tmp_path: Path) -> None:
        one, _two = self._pair(tmp_path)
        with one.active():
            pass
        assert sys.modules["project"].project is one.project
        assert sys.modules["helper"].NAME == "one"

    def test_an_edit_is_seen_at_once(self, tmp_path: Path) -> None:
        """Same size, same second: a bytecode cache would not notice."""
        for value in ("1", "2", "3"):
            _write(tmp_path, project=_project(before="from helper import X\n"), helper=f"X = {value}\n")
            load(tmp_path)
            assert int(value) == sys.modules["project"].X
        assert not list(tmp_path.rglob("__pycache__"))

    def test_libraries_are_left_alone(self, tmp_path: Path) -> None:
        import json

        _write(tmp_path, project=_project(before="import json\n"), json="broken = True\n")
        load(tmp_path)
        assert sys.modules["json"] is json

    def test_an_exception_inside_leaves_no_trace(self, tmp_path: Path) -> None:
        _write(tmp_path, project=_project())
        source = load(tmp_path)
        with pytest.raises(ZeroDivisionError), source.active():
            _ = 1 / 0


class TestSource:
    def test_it_is_the_projects_own_python(self, tmp_path: Path) -> None:
        _write(
            tmp_path,
            project=_project(),
            helper="a = 1\n",
            pack__in__deep="b = 2\n",
            tests__in__test_it="c = 3\n",
            work__in__code__in__laid_out="f = 6\n",
            **{".hidden__in__x": "d = 4\n", "env1__in__lib__in__y": "e = 5\n"},
        )
        (tmp_path / "work" / "workspace.json").write_text('{"format": 1}')
        (tmp_path / "env1" / "pyvenv.cfg").write_text("home = /usr\n")
        (tmp_path / "data.csv").write_text("x,y\n")
        source = load(tmp_path).source
        assert list(source) == ["helper.py", "pack/deep.py", "project.py"]
        assert source["helper.py"] == b"a = 1\n"

    def test_the_digest_follows_names_and_content(self, tmp_path: Path) -> None:
        _write(tmp_path, project=_project(), helper="a = 1\n")
        first = load(tmp_path).code
        assert load(tmp_path).code == first
        (tmp_path / "helper.py").write_text("a = 2\n")
        second = load(tmp_path).code
        (tmp_path / "helper.py").rename(tmp_path / "other.py")
        third = load(tmp_path).code
        assert len({first, second, third}) == 3
        assert all(len(code) == 64 and code == code.lower() for code in (first, second, third))

    def test_moving_a_border_between_files_changes_the_digest(self) -> None:
        assert sources.digest({"a.py": b"xb.py", "c.py": b""}) != sources.digest({"a.py": b"x", "b.pyc.py": b""})
        assert sources.digest({"a": b"1", "b": b"2"}) == sources.digest({"b": b"2", "a": b"1"})

    def test_the_order_of_files_on_disk_does_not_matter(self, tmp_path: Path) -> None:
        _write(tmp_path / "p", project=_project(), a="1", b="2")
        _write(tmp_path / "q", b="2", a="1", project=_project())
        assert load(tmp_path / "p").code == load(tmp_path / "q").code

    def test_too_many_files_are_refused(self, tmp_path: Path) -> None:
        _write(tmp_path, project=_project(), **{f"m{number}": "" for number in range(sources.MOST_FILES)})
        with pytest.raises(ProjectInvalid, match="more than one project's source") as caught:
            load(tmp_path)
        assert "folder of its own" in str(caught.value.next_step)

    def test_too_many_bytes_are_refused(self, tmp_path: Path) -> None:
        _write(tmp_path, project=_project(), big="# " + "x" * sources.MOST_BYTES)
        with pytest.raises(ProjectInvalid, match="more than one project's source"):
            load(tmp_path)

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        _write(tmp_path, project=_project())
        (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
        with pytest.raises(ProjectInvalid, match="cannot be read") as caught:
            load(tmp_path)
        assert "gone.py" in str(caught.value.received)
