"""A model that is in MLflow already gets a project, a bundle and a version, and answers there as before."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

import circles
from fullcircle.cli import text
from fullcircle.development import contract_file
from fullcircle.errors import ColumnMissing, DataUnfit, ModelRefused, PredictionInvalid, ProjectInvalid
from fullcircle.exploration.tracking import Tracking
from fullcircle.flows import parting, reproduce
from fullcircle.flows.adopt import Adoption, adopt
from fullcircle.flows.promote import promote
from fullcircle.flows.refitting import lay_out, refit
from fullcircle.flows.retrain import retrain
from fullcircle.flows.score import score
from fullcircle.flows.session import opened
from fullcircle.settings import Settings

FEATURES = ["heat", "rooms", "area"]


@dataclass(frozen=True)
class Adopting:
    """A workspace with a model that was adopted from MLflow and made champion."""

    folder: Path
    settings: Settings
    found: Adoption
    model: Any
    frame: Any


def fitted(frame: Any) -> Any:
    hot = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["area"]), remainder="passthrough")
    return make_pipeline(hot, Ridge()).fit(frame[FEATURES], frame["cost"])


def mlflow_of(uri: str) -> Any:
    """MLflow's own client at a database, which is made where it is not there; its imports warn of themselves."""
    Tracking(uri).leaderboard("any")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        import mlflow.sklearn
    mlflow.set_tracking_uri(uri)
    return mlflow


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("adopted")
    frame = pd.read_csv(io.StringIO(circles.houses()))
    frame.assign(unrelated=1).to_parquet(folder / "sample.parquet")
    model = fitted(frame)
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)  # MLflow sets it too, and does not always take it back
        mlflow = mlflow_of(uri)
        experiment = mlflow.create_experiment("raw", artifact_location=(folder / "raw").as_uri())
        with warnings.catch_warnings(), mlflow.start_run(experiment_id=experiment):
            warnings.simplefilter("ignore")
            mlflow.sklearn.log_model(
                model,
                name="model",
                serialization_format="skops",
                registered_model_name="Raw Houses",
                pip_requirements=["scikit-learn"],
            )
        mlflow.MlflowClient().set_registered_model_alias("Raw Houses", "live", "1")
        settings = circles.settings(folder, mlflow=uri)
        found = adopt(
            "models:/Raw Houses@live",
            data=folder / "sample.parquet",
            label="cost",
            name="houses",
            out=folder / "houses",
            checks=["quality", "leakage"],  # the others take seconds, and have tests of their own
            settings=settings,
        )
        promote("houses", version=1, settings=settings)
        yield Adopting(folder, settings, found, model, frame)
        mlflow.set_tracking_uri(None)


def test_it_has_a_project_a_contract_a_report_and_a_proven_version(adopted: Adopting) -> None:
    found = adopted.found
    assert (found.model, found.task, found.features) == ("houses", "regression", tuple(FEATURES))
    assert found.compared == len(adopted.frame)
    assert found.packaged is not None
    assert found.packaged.version == 1
    assert found.packaged.proof.same_bits
    assert found.packaged.proof.golden_rows > 10
    assert sorted(path.name for path in Path(found.project).parent.iterdir()) == [
        "contract.toml",
        "model.skops",
        "project.py",
    ]
    said = contract_file.path_of(Path(found.project).parent, "project.py").read_text()
    assert all(f"[columns.{name}]" in said or name in said for name in FEATURES)
    assert found.next_steps[0] == "fullcircle promote houses --version 1"


def test_the_report_says_that_nobody_knows_what_it_has_learned(adopted: Adopting) -> None:
    report = adopted.found.trained.report
    assert report.passed
    assert any("trained elsewhere" in note for note in report.notes)
    assert any("leakage was not checked" in note for note in report.notes)
    assert "leakage" not in {finding.check for finding in report.findings}
    assert report.about is not None
    assert report.about.train_rows == 0
    assert adopted.found.trained.train_rows == 0
    assert adopted.found.trained.test_rows == len(adopted.frame) // 2
    console = Console(width=200)
    with console.capture() as shown:
        console.print(text.trained(adopted.found.trained))
    assert "trained elsewhere, 200 rows to test" in shown.get()
    page = Path(adopted.found.trained.report_page).read_text()
    assert "the model had not seen" not in page
    assert "what the model learned from is not known" in page


def test_it_is_built_again_from_the_model_in_its_bundle(adopted: Adopting, tmp_path: Path) -> None:
    with opened(adopted.settings) as session:
        materials = reproduce._materials(session, "houses", 1)
    assert "model.skops" not in materials.source
    lay_out(materials, tmp_path)
    made = parting.judged(materials.draft, refit(tmp_path), version=1, clean=True)
    assert (made.same, made.parted) == (True, "")
    assert {each.part: each.same for each in made.compared}["model"]


def test_mlflow_loads_the_version_and_answers_with_the_same_bits_as_a_batch(
    adopted: Adopting, tmp_path: Path
) -> None:
    mlflow = mlflow_of(adopted.settings["mlflow"])
    rows = adopted.frame[FEATURES].astype(object)
    rows.loc[3, "heat"] = None
    rows.loc[4, "area"] = "nowhere"
    rows.loc[5, "rooms"] = 2.5
    rows.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    score("houses", tmp_path / "rows.jsonl", tmp_path / "out.jsonl", workers=1, settings=adopted.settings)
    batch = pd.read_json(tmp_path / "out.jsonl", lines=True, precise_float=True).set_index("row")
    loaded = mlflow.pyfunc.load_model("models:/houses@champion")
    answers = loaded.predict(rows)
    assert list(answers.columns) == ["prediction", "verdict", "problems"]
    answered = answers[answers["verdict"] != "rejected"]
    assert list(answered.index) == list(batch.index)
    assert [x.hex() for x in answered["prediction"]] == [x.hex() for x in batch["prediction"]]
    assert list(answered["verdict"]) == list(batch["verdict"])
    assert list(answers.index[answers["verdict"] == "rejected"]) == [3, 5]
    assert answers["prediction"].isna().sum() == 2
    assert answers.loc[4, "verdict"] == "flagged"
    np.testing.assert_allclose(
        loaded.predict(adopted.frame[FEATURES], params={"verdicts": False}),
        adopted.model.predict(adopted.frame[FEATURES]),
        rtol=1e-12,
    )
    assert list(loaded.input_example.columns) == FEATURES


def test_another_process_with_mlflow_alone_gives_the_same_bits(adopted: Adopting) -> None:
    adopted.frame[FEATURES].head(5).to_parquet(adopted.folder / "five.parquet")
    code = (
        "import sys, mlflow.pyfunc, pandas\n"
        "model = mlflow.pyfunc.load_model('models:/houses/1')\n"
        "print(*[x.hex() for x in model.predict(pandas.read_parquet(sys.argv[1]))['prediction']])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, adopted.folder / "five.parquet"],
        env={"MLFLOW_TRACKING_URI": str(adopted.settings["mlflow"]), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    mlflow = mlflow_of(adopted.settings["mlflow"])
    here = mlflow.pyfunc.load_model("models:/houses/1").predict(adopted.frame[FEATURES].head(5))
    assert done.stdout.split() == [x.hex() for x in here["prediction"]]


def test_it_is_not_trained_again(adopted: Adopting) -> None:
    held = retrain(adopted.found.project, settings=adopted.settings)
    assert held.decision.action == "hold"
    assert held.trained is None
    assert "trained elsewhere" in held.decision.reason
    assert "write fit" in held.decision.reason


def test_another_model_in_its_place_is_noticed(adopted: Adopting, tmp_path: Path) -> None:
    from fullcircle.development.loading import load

    source = Path(adopted.found.project).parent
    for name in ("project.py", "model.skops"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    fit = load(tmp_path).project.fits["model"]
    assert type(fit(None, None)).__name__ == "Pipeline"
    (tmp_path / "model.skops").write_bytes(b"another")
    with pytest.raises(ModelRefused, match="another model"):
        fit(None, None)
    (tmp_path / "model.skops").unlink()
    with pytest.raises(ModelRefused, match="not there"):
        fit(None, None)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sample and models as files, for what is refused before anything is trained."""
    import skops.io

    folder = tmp_path_factory.mktemp("given")
    frame = pd.read_csv(io.StringIO(circles.houses(rows=60)))
    frame["dear"] = np.where(frame["cost"] > frame["cost"].median(), "yes", "no")
    frame["gaps"] = frame["cost"].where(frame.index > 3)
    frame["flat"] = 1.0
    frame.to_parquet(folder / "sample.parquet")
    skops.io.dump(fitted(frame), folder / "houses.skops")
    both = DecisionTreeClassifier(max_depth=1).fit(frame[["rooms", "heat"]], frame[["dear", "area"]])
    skops.io.dump(both, folder / "both.skops")
    wide = Ridge().fit(frame[["rooms", "heat"]], frame[["cost", "heat"]])
    skops.io.dump(wide, folder / "wide.skops")
    classes = LogisticRegression(max_iter=1000).fit(frame[["rooms", "heat"]], frame["dear"].map({"no": 0, "yes": 1}))
    skops.io.dump(classes, folder / "classes.skops")
    bare = Ridge().fit(frame[["rooms", "heat"]].to_numpy(), frame["cost"])
    skops.io.dump(bare, folder / "bare.skops")
    (folder / "strange.bin").write_bytes(b"?")
    return folder


@pytest.mark.parametrize(
    ("model", "columns", "label", "error", "words"),
    [
        ("houses.skops", ["rooms", "area", "cost"], "cost", ColumnMissing, "lacks 1 of the 3 columns"),
        ("houses.skops", ["rooms", "heat", "area"], "cost", ColumnMissing, "label is no column"),
        (
            "houses.skops",
            ["rooms", "heat", "area", "cost"],
            "heat",
            ColumnMissing,
            "label is a column that the model",
        ),
        ("classes.skops", ["rooms", "heat", "dear"], "dear", DataUnfit, "not those of the model"),
        ("bare.skops", ["rooms", "heat", "area", "cost"], "cost", DataUnfit, "another number"),
        ("bare.skops", ["rooms", "heat", "dear"], "dear", DataUnfit, "does not fit the task"),
        ("bare.skops", ["rooms", "heat", "gaps"], "gaps", DataUnfit, "missing in some rows"),
        ("bare.skops", ["rooms", "heat", "flat"], "flat", DataUnfit, "same value in every row"),
        ("both.skops", ["rooms", "heat", "dear"], "dear", ModelRefused, "several questions"),
        ("wide.skops", ["rooms", "heat", "cost"], "cost", PredictionInvalid, "another shape"),
        ("strange.bin", ["rooms", "cost"], "cost", ModelRefused, "kind of this model cannot be told"),
        ("nowhere.skops", ["rooms", "cost"], "cost", ModelRefused, "no such model"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    given: Path, tmp_path: Path, model: str, columns: list[str], label: str, error: type[Exception], words: str
) -> None:
    pd.read_parquet(given / "sample.parquet")[columns].to_csv(tmp_path / "sample.csv", index=False)
    with pytest.raises(error, match=words):
        adopt(
            given / model,
            data=tmp_path / "sample.csv",
            label=label,
            out=tmp_path / "out",
            settings=circles.settings(tmp_path),
        )
    assert not (tmp_path / "out").exists()


def test_what_was_written_is_gone_again_where_the_table_is_too_small(given: Path, tmp_path: Path) -> None:
    pd.read_parquet(given / "sample.parquet").head(12).to_csv(tmp_path / "sample.csv", index=False)
    settings = circles.settings(tmp_path)
    for name in ("sample.csv", "sample.csv"):  # and again: nothing of before is in the way
        with pytest.raises(DataUnfit, match="too few rows"):
            adopt(
                given / "houses.skops",
                data=tmp_path / name,
                label="cost",
                out=tmp_path / "out",
                settings=settings,
            )
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".adopt*"))


def test_a_folder_that_is_there_is_not_overwritten(given: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ProjectInvalid, match="not overwritten"):
        adopt(
            given / "houses.skops",
            data=given / "sample.parquet",
            label="cost",
            out=tmp_path / "out",
            settings=circles.settings(tmp_path),
        )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
