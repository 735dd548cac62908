"""What cannot work is refused before any training, with what was received and what to do; nothing is registered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import circles
from fullcircle.cli import app
from fullcircle.errors import WorkspaceUnusable
from fullcircle.flows.session import opened

GOOD = circles.UNTIMED
REFUSED_BY_CHANGING: dict[str, tuple[str, str, str]] = {
    "label among the features": ('label="cost"', 'label="rooms"', "project_invalid"),
    "label not in the data": ('label="cost"', 'label="price"', "column_missing"),
    "feature not in the data": ('"area"],', '"garden"],', "column_missing"),
    "feature twice": ('"area"],', '"heat"],', "project_invalid"),
    "no features": ('["rooms", "heat", "area"]', "[]", "project_invalid"),
    "features as text": ('["rooms", "heat", "area"]', '"rooms"', "project_invalid"),
    "missing file": ('"houses.csv"', '"cottages.csv"', "table_not_found"),
    "unknown gate": ('fc.at_most("mae", 5)', '"mae below 5"', "project_invalid"),
    "unknown metric": ('fc.at_most("mae", 5)', 'fc.at_most("accuracy", 5)', "project_invalid"),
    "limit is no number": ('fc.at_most("mae", 5)', 'fc.at_most("mae", "5")', "project_invalid"),
    "groups by nothing": ('by="area"', 'by="suburb"', "column_missing"),
    "fit called": ("fit=fit", "fit=5", "project_invalid"),
    "no fit": ("fit=fit,", "", "project_invalid"),
    "bad name": ('name="houses"', 'name="Big Houses!"', "project_invalid"),
    "latency without unit": ('fc.at_most("mae", 5)', 'fc.latency(p99="fast")', "project_invalid"),
    "syntax error": ("project = fc.Project(", "project = = fc.Project(", "project_invalid"),
    "no project": ("project = fc.Project(", "projects = [", "project_invalid"),
    "raises while loading": ("project = fc", "1 / 0\nproject = fc", "project_invalid"),
    "fit raises": ("return Hist", 'raise KeyError("no rooms")\n    return Hist', "fit_failed"),
    "fit returns nothing": (").fit(X, y)", ").fit(X, y) and None", "fit_failed"),
    "fit returns a function": (").fit(X, y)", ").fit(X, y).predict", "fit_failed"),
    "fit takes no such parameter": ("fit=fit,", 'fit=fit, params={"max_iter": 3, "depth": 1},', "fit_failed"),
    "unknown policy": ("fit=fit,", 'fit=fit, inputs=fc.Inputs(missing="guess"),', "project_invalid"),
    "test share as a percentage": ("fit=fit,", "fit=fit, test=25,", "project_invalid"),
}
DATA: dict[str, tuple[str | bytes, str]] = {
    "empty file": ("", "table_unreadable"),
    "header only": ("rooms,heat,area,cost\n", "data_unfit"),
    "broken row": (circles.houses(rows=50) + "1,2,north,3,4,5\n" + circles.houses(rows=2), "table_unreadable"),
    "short row": (circles.houses(rows=50) + "1,2\n", "table_unreadable"),
    "mixed types": (circles.houses(rows=50).replace("\n", "\nmany,20.1,north,3\n", 1), "table_unreadable"),
    "duplicate header": (circles.houses(rows=50).replace("heat", "rooms", 1), "table_unreadable"),
    "not text": (b"\xff\xfe\x00\x01" * 100, "table_unreadable"),
    "too few rows": (circles.houses(rows=5), "data_unfit"),
    "constant label": ("rooms,heat,area,cost\n" + "1,2.5,north,3\n" * 30, "data_unfit"),
    "label missing": (circles.houses(rows=50) + "3,20.5,north,\n", "data_unfit"),
}


def _run(project: Path, *flags: str) -> tuple[int, dict[str, str], str]:
    folder = project.parent.parent
    circles.begun(folder / "workspace")
    settings = ["--workspace", str(folder / "workspace"), "--port", "0", "--stop", "--json", *flags]
    result = CliRunner().invoke(app, ["run", str(project), *settings])
    error = json.loads(result.stdout)["error"] if result.stdout.startswith('{"error"') else {}
    return result.exit_code, error, result.output


def _nothing_is_registered(folder: Path) -> bool:
    try:
        with opened(circles.settings(folder), create=False) as session:
            state = session.workspace.ledger.state()
            return not (state.versions or state.champions or state.runs)
    except WorkspaceUnusable:
        return True  # nothing was recorded at all


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", REFUSED_BY_CHANGING)
def test_a_project_that_cannot_work_is_refused(case: str, tmp_path: Path) -> None:
    before, after, code = REFUSED_BY_CHANGING[case]
    assert before in GOOD
    project = circles.write_project(tmp_path / "houses", GOOD.replace(before, after))
    exit_code, error, output = _run(project)
    assert (exit_code, error.get("code")) == (2, code), output
    assert error["message"]
    assert error.get("next"), "every refusal says what to do"
    assert _nothing_is_registered(tmp_path)


@pytest.mark.parametrize("case", DATA)
def test_data_that_cannot_be_learned_from_is_refused(case: str, tmp_path: Path) -> None:
    content, code = DATA[case]
    project = circles.write_project(tmp_path / "houses")
    data = project.parent / "houses.csv"
    data.write_bytes(content if isinstance(content, bytes) else content.encode())
    exit_code, error, output = _run(project)
    assert (exit_code, error.get("code")) == (2, code), output
    assert _nothing_is_registered(tmp_path)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("float('nan') + X['heat'].to_numpy()", "prediction_invalid"),
        ("X['heat'].to_numpy()[:-1]", "prediction_invalid"),
        ("X[['heat', 'rooms']].to_numpy()", "prediction_invalid"),
    ],
    ids=["NaN", "wrong length", "two columns"],
)
def test_a_model_that_answers_nonsense_is_refused(answer: str, code: str, tmp_path: Path) -> None:
    text = GOOD.replace(
        "def fit(X, y, **params):",
        f"class Odd(HistGradientBoostingRegressor):\n    def predict(self, X):\n        return {answer}\n\n\n"
        "def fit(X, y, **params):\n    return Odd().fit(X[['heat', 'rooms']], y)\n\n\ndef unused(X, y, **params):",
    )
    exit_code, error, output = _run(circles.write_project(tmp_path / "houses", text))
    assert (exit_code, error.get("code")) == (2, code), output
    assert _nothing_is_registered(tmp_path)


def test_a_type_that_may_not_be_packaged_is_refused_before_training(tmp_path: Path) -> None:
    text = GOOD.replace(
        "def fit(X, y, **params):",
        "def fit(X, y, **params):\n"
        "    assert len(X) <= 200, 'the real training began'\n"
        "    from sklearn.pipeline import make_pipeline\n"
        "    from sklearn.preprocessing import FunctionTransformer\n"
        "    chosen = FunctionTransformer(lambda rows: rows[['heat', 'rooms']])\n"
        "    return make_pipeline(chosen, HistGradientBoostingRegressor()).fit(X, y)\n\n\n"
        "def unused(X, y, **params):",
    )
    exit_code, error, output = _run(circles.write_project(tmp_path / "houses", text))
    assert (exit_code, error.get("code")) == (2, "model_refused"), output
    assert "lambda" in output
    assert _nothing_is_registered(tmp_path)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace('label="cost"', 'label="cost", task="classification"')
    data = "rooms,heat,area,cost\n" + "".join(f"{i % 8},2{i % 7}.5,north,yes\n" for i in range(60))
    exit_code, error, output = _run(circles.write_project(tmp_path / "houses", text, data))
    assert (exit_code, error.get("code")) == (2, "data_unfit"), output


def test_gates_that_say_no_end_with_exit_code_1_and_a_page(tmp_path: Path) -> None:
    project = circles.write_project(tmp_path / "houses", circles.PLAIN.replace('"mae", 5', '"mae", 0.01'))
    exit_code, _, output = _run(project)
    assert exit_code == 1
    turn = json.loads(output)
    assert turn["decision"]["action"] == "hold"
    assert "mae at most 0.01" in turn["decision"]["reason"]
    assert turn["champion"] is None
    assert "mae at most 0.01" in Path(turn["page"]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "nowhere.py"],
        ["why", "no-such-id"],
        ["promote", "nobody"],
        ["score", "nobody", "rows.csv", "--out", "answers.csv"],
        ["status", "--workspace", "project.py"],
        ["init", "nothing.csv"],
        ["run", "project.py", "--set", "depth"],
        ["run", "project.py", "--port", "99999"],
        ["snapshots", "restore", "abcd", "--out", "rows.xlsx"],
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_exit_code_2_and_one_json_object(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "project.py").write_text("not python (")
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 2
    assert set(json.loads(result.stdout)["error"]) >= {"code", "message"}


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    from fullcircle.flows.train import train

    project = circles.write_project(tmp_path / "houses", circles.PLAIN)
    settings = circles.settings(tmp_path)
    plain = train(project, settings=settings)
    data = project.parent / "houses.csv"
    data.write_bytes(b"\xef\xbb\xbf" + data.read_bytes().replace(b"\n", b"\r\n"))
    assert train(project, settings=settings).snapshot == plain.snapshot
