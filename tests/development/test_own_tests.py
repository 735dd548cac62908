"""The project's own pytest files: which are its own, what their results are, and that none outlives its time."""

from __future__ import annotations

import importlib.util
import os
import textwrap
import time
from pathlib import Path

import pytest

from fullcircle.development import own_tests
from fullcircle.development.loading import LoadedProject, load
from fullcircle.errors import MissingExtra
from fullcircle.types.tests import CaseResult

PROJECT = """
import fullcircle as fc

def fit(X, y):
    return None

project = fc.Project(name="houses", data=fc.Table("houses.csv"), label="cost", features=["rooms"], fit=fit)
"""
MIXED = """
import os
import pytest
import project

def test_fine():
    assert project.project.name == "houses"

def test_wrong():
    amount = 41
    assert amount == 42, "the secret is 41"

@pytest.fixture
def broken():
    raise RuntimeError("nothing to open")

def test_cannot_start(broken):
    pass

@pytest.mark.skip(reason="next year")
def test_later():
    pass

@pytest.mark.xfail(reason="known", strict=True)
def test_known():
    assert False

class TestMore:
    @pytest.mark.parametrize("n", [1, 2])
    def test_many(self, n):
        assert n > 0
        assert not os.environ.get("PYTEST_ADDOPTS")
"""


# Pytest starts in half a second without these, and in two with them.
QUICK = "[pytest]\naddopts = -p no:hypothesispytest -p no:anyio -p no:xdist\n"


def project(folder: Path, *, file: str = "project.py", quick: bool = True, **tests: str) -> LoadedProject:
    folder.mkdir(parents=True, exist_ok=True)
    if quick:
        (folder / "pytest.ini").write_text(QUICK)
    (folder / file).write_text(PROJECT)
    for name, text in tests.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return load(folder / file)


def run(
    source: LoadedProject, scratch: Path, *, timeout: float = 60.0, private: bool = False
) -> dict[str, CaseResult]:
    scratch.mkdir()
    results = own_tests.run(source, scratch / "none", scratch, timeout=timeout, private=private)
    return {result.name: result for result in results}


class TestWhichFiles:
    def test_a_folder_with_a_project_has_all_beside_it(self, tmp_path: Path) -> None:
        source = project(tmp_path, test_b="", test_a="", other="", a_test="")
        (tmp_path / "tests").mkdir()
        (tmp_path / "tests" / "test_c.py").write_text("")
        (tmp_path / "test_folder.py").mkdir()
        assert [path.name for path in own_tests.files(source)] == ["test_a.py", "test_b.py"]

    def test_a_project_among_others_has_what_is_named_after_it(self, tmp_path: Path) -> None:
        source = project(
            tmp_path, file="houses.py", test_houses="", test_houses_more="", test_houses2="", test_flats="", test_="",
        )  # fmt: skip
        assert [path.name for path in own_tests.files(source)] == ["test_houses.py", "test_houses_more.py"]

    def test_none_is_nothing_to_run(self, tmp_path: Path) -> None:
        assert run(project(tmp_path / "p"), tmp_path / "s") == {}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, CaseResult]]:
    folder = tmp_path_factory.mktemp("mixed")
    source = project(folder / "p", quick=False, test_houses=MIXED)
    # Neither the options of the process around nor the configuration of a folder above may count.
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", "--collect-only")
        return folder / "p", run(source, folder / "s")


class TestResults:
    def test_each_test_has_its_own(self, mixed: tuple[Path, dict[str, CaseResult]]) -> None:
        assert {name: case.status for name, case in mixed[1].items()} == {
            "test_houses::test_fine": "passed",
            "test_houses::test_wrong": "failed",
            "test_houses::test_cannot_start": "failed",
            "test_houses::test_later": "skipped",
            "test_houses::test_known": "skipped",
            "test_houses.TestMore::test_many[1]": "passed",
            "test_houses.TestMore::test_many[2]": "passed",
        }
        assert {case.kind for case in mixed[1].values()} == {"project"}

    def test_failures_say_why(self, mixed: tuple[Path, dict[str, CaseResult]]) -> None:
        assert mixed[1]["test_houses::test_wrong"].text == "AssertionError: the secret is 41"
        assert "nothing to open" in mixed[1]["test_houses::test_cannot_start"].text
        assert mixed[1]["test_houses::test_later"].text == "next year"

    def test_nothing_is_left_in_the_project(self, mixed: tuple[Path, dict[str, CaseResult]]) -> None:
        assert sorted(path.name for path in mixed[0].iterdir()) == ["project.py", "test_houses.py"]

    def test_private_columns_keep_messages_back_and_the_projects_own_configuration_counts(
        self, tmp_path: Path
    ) -> None:
        source = project(tmp_path / "p", test_houses="def check_wrong(): assert 0, 'the secret is 41'")
        (tmp_path / "p" / "pytest.ini").write_text(QUICK + "python_functions = check_*\n")
        (case,) = run(source, tmp_path / "s", private=True).values()
        assert case.status == "failed"
        assert "41" not in case.text
        assert case.text.startswith("AssertionError; the message is not shown")


class TestBadEnds:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("x = 1", "no test that pytest finds"),
            ("import os\ndef test_gone(): os._exit(0)", "exit code 0"),
            ("import no_such_library", "no_such_library"),
        ],
        ids=["no tests", "gone in the middle", "cannot be imported"],
    )
    def test_what_did_not_run_to_its_end_failed(self, tmp_path: Path, text: str, said: str) -> None:
        results = run(project(tmp_path / "p", test_houses=text), tmp_path / "s")
        assert [case.status for case in results.values()] == ["failed"]
        assert said in " ".join(case.text + case.name for case in results.values())

    def test_tests_that_hang_are_ended_with_all_that_they_started(self, tmp_path: Path) -> None:
        pid = tmp_path / "pid"
        text = f"""
            import subprocess, sys, time

            def test_hangs():
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                open({str(pid)!r}, "w").write(str(child.pid))
                time.sleep(600)
        """
        started = time.monotonic()
        results = run(project(tmp_path / "p", test_houses=text), tmp_path / "s", timeout=3.0)
        assert time.monotonic() - started < 30
        assert "did not end within" in results["the project's own tests"].text
        if pid.exists():  # the machine was fast enough to reach the test
            _wait_for_end(int(pid.read_text()))

    def test_without_pytest_it_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = project(tmp_path / "p", test_houses="def test_fine(): pass")
        real = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pytest" else real(name))
        with pytest.raises(MissingExtra, match="pip install pytest"):
            run(source, tmp_path / "s")


def _wait_for_end(pid: int) -> None:
    """A killed orphan is a zombie until it is reaped; it must not run on."""
    for _ in range(100):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("the child of a stopped test goes on")
