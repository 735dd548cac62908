"""``fullcircle test``: what a person reads, what a script parses, the exit code."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from typer.testing import CliRunner, Result

import circles
from fullcircle.cli import app, testing_text, text
from fullcircle.types.bundle import Proof
from fullcircle.types.tests import CaseResult, Tested, counted
from fullcircle.types.turn import Packaged

PROJECT = """
import fullcircle as fc
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def fit(X, y):
    return make_pipeline(StandardScaler(), LinearRegression()).fit(X, y)


project = fc.Project(
    name="houses",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "heat"],
    fit=fit,
    gates=[fc.at_most("mae", 5)],
    inputs=fc.Inputs(columns={"heat": {"private": True}}),
    checks=["quality"],
)
"""
OWN = """
def test_heat_costs(scorer, rows):
    cold, hot = scorer.score([{**rows[0], "heat": 15.0}, {**rows[0], "heat": 25.0}])
    assert hot.value > cold.value

def test_the_other_way(scorer, rows):
    assert rows[0]["heat"] < 0, f"it was {rows[0]['heat']}"
"""
CASES = (
    CaseResult(name="x: null", kind="contract", status="passed"),
    CaseResult(name="x: 1e308", kind="contract", status="noted", text="the model refused it"),
    CaseResult(
        name="x: true",
        kind="contract",
        status="failed",
        text="the verdict is ok, and the contract declares rejected",
        row={"age": "40", "bmi": "(private)", "x": "true", **{f"c{n}": "1" for n in range(9)}},
        expected="rejected (wrong_type)",
        got="ok",
    ),
    CaseResult(name="25 golden rows answered again", kind="golden", status="passed", text="the same bits"),
    CaseResult(name="rows one at a time", kind="metamorphic", status="passed", text="the same bits"),
    CaseResult(name="test_a::test_later", kind="project", status="skipped", text="[bold]later[/bold]"),
)


def shown(renderable: RenderableType, width: int = 100) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def made_of(*cases: CaseResult) -> Tested:
    return Tested(
        model="m",
        run="a" * 32,
        passed=all(case.status != "failed" for case in cases),
        counts=counted(cases),
        cases=cases,
        seconds=0.51,
        notes=("the project has no test files of its own beside it",),
    )


class TestWhatAPersonReads:
    def test_failures_come_first_with_their_row(self) -> None:
        lines = shown(testing_text.tested(made_of(*CASES))).splitlines()
        assert lines[0] == "1 failed"
        assert lines[1] == "FAILED x: true: the verdict is ok, and the contract declares rejected"
        assert lines[2] == "  expected rejected (wrong_type), got ok"
        assert lines[3].startswith("  row: x=true, age=40, bmi=(private), ")
        assert "and 4 more columns" in lines[3] + lines[4]

    def test_each_kind_has_a_line_and_the_sum_stands_last(self) -> None:
        lines = shown(testing_text.tested(made_of(*CASES))).splitlines()
        rows = {
            line[:30].strip(): line[30:].split() for line in lines if line.startswith(("rows made", "golden", "what"))
        }
        assert rows["rows made from the contract"] == ["1", "1", "0", "1"]
        assert rows["golden rows"] == ["1", "0", "0", "0"]
        assert "noted: x: 1e308: the model refused it" in lines
        assert "equal answers: the same bits, every one" in lines
        assert "the project has no test files of its own beside it" in lines
        assert lines[-1] == "tests: 3 passed, 1 noted, 1 skipped, 1 failed in 0.5 s"

    def test_it_says_where_only_a_tolerance_held(self) -> None:
        near = replace(CASES[4], text="2e-16 apart at most, relative; 1e-09 is allowed")
        assert "equal answers: 2e-16 apart at most" in shown(testing_text.tested(made_of(CASES[0], near)))

    def test_many_failures_are_counted(self) -> None:
        many = [replace(CASES[2], name=f"x: {n}") for n in range(50)]
        many += [replace(CASES[1], name=f"y: {n}") for n in range(9)]
        found = shown(testing_text.tested(made_of(*many)))
        assert found.count("FAILED") == 20
        assert "... and 30 more: --json has all" in found
        assert "... and 4 more noted" in found

    def test_a_packaged_version_says_how_its_tests_went(self) -> None:
        proof = Proof(
            bundle="b",
            python="3.11",
            platform="linux",
            packages=(),
            golden_rows=25,
            same_bits=True,
            largest_difference=0.0,
            environment="e",
            seconds=1.0,
        )
        packaged = Packaged(
            model="m", version=1, run="r", bundle="b" * 64, size_bytes=10, files=(), proof=proof,
            tests={"passed": 143, "noted": 2},
        )  # fmt: skip
        assert "tests: 143 passed, 2 noted" in shown(text.packaged(packaged)).splitlines()
        assert "tests" not in shown(text.packaged(replace(packaged, tests={})))


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("testing")
    project = circles.write_project(folder / "houses", PROJECT)
    circles.begun(folder / "workspace")
    result = _invoke("train", project, "--workspace", folder / "workspace", "--json")
    assert result.exit_code == 0, result.output
    return project, folder / "workspace"


def test_a_model_that_passes_ends_with_0_and_tells_of_its_steps(trained: tuple[Path, Path]) -> None:
    project, workspace = trained
    result = _invoke("test", project, "--workspace", workspace)
    assert result.exit_code == 0, result.output
    assert "test: rows made from the contract" in result.stderr
    assert "the project has no test files of its own" in result.stdout
    assert "what must not change an answer" in result.stdout


def test_a_script_gets_every_case_and_a_failure_is_1(trained: tuple[Path, Path]) -> None:
    project, workspace = trained
    own = project.parent / "test_houses.py"
    own.write_text(OWN)
    try:
        result = _invoke("test", project, "--workspace", workspace, "--json")
    finally:
        own.unlink()
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    assert (found["passed"], found["counts"]["failed"], found["version"]) == (False, 1, None)
    wrong = [case for case in found["cases"] if case["status"] == "failed"]
    assert [case["name"] for case in wrong] == ["test_houses::test_the_other_way"]
    assert "it was" not in wrong[0]["text"], "the column is private"
    assert sum(case["kind"] == "contract" for case in found["cases"]) > 30


def test_wrong_use_is_2(trained: tuple[Path, Path]) -> None:
    project, workspace = trained
    for arguments in (
        ("test", project, "--run", "nothing"),
        ("test", project, "--version", "7"),
        ("test", project, "--run", "abcd", "--version", "1"),
        ("test", project, "--timeout", "0"),
        ("test", project.parent / "nothing.py"),
    ):
        result = _invoke(*arguments, "--workspace", workspace)
        assert result.exit_code == 2, result.output
