"""A bundle as MLflow loads it: from a folder with an MLmodel, by the loader that is named there."""

from __future__ import annotations

import dataclasses
import gc
import json
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import Ridge

import model_samples
from bundle_samples import PROFILE, WHEEL, lock_of
from fullcircle.errors import BundleInvalid, DataUnfit, ModelRefused
from fullcircle.exploration import flavor
from fullcircle.flows import flavor as flow
from fullcircle.packaging import pyfunc
from fullcircle.packaging.bundle import Bundle, build, pack
from fullcircle.packaging.loading import scorer
from fullcircle.runtimes.contracts import to_frame
from fullcircle.runtimes.pickled import PickledRuntime
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Column, Contract


@pytest.fixture(scope="module")
def regressor() -> Bundle:
    return model_samples.regressor()


@pytest.fixture(scope="module")
def classifier() -> Bundle:
    return model_samples.classifier()


def laid_out(bundle: Bundle, folder: Path) -> Path:
    for name, content in flow.files(bundle, pack(bundle), digest=bundle.digest, run="r").items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def mlflow_pyfunc() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's imports warn of themselves
        import mlflow.pyfunc
    return mlflow.pyfunc


def test_mlflow_loads_the_folder_and_answers_as_the_scorer_does(regressor: Bundle, tmp_path: Path) -> None:
    rows = model_samples.rows(30, seed=3)
    rows[2]["age"] = None
    rows[3]["age"] = 30.9
    rows[4]["colour"] = "pink"
    rows[5]["age"] = "old"
    model = mlflow_pyfunc().load_model(str(laid_out(regressor, tmp_path)))
    frame = pd.DataFrame(rows, index=range(100, 130)).assign(another=1)
    found = model.predict(frame)
    expected = scorer(regressor, tmp_path / "code").score(rows)
    assert list(found.index) == list(frame.index)
    assert [None if np.isnan(value) else value for value in found["prediction"]] == [one.value for one in expected]
    assert list(found["verdict"]) == [one.verdict.status for one in expected]
    assert found.loc[103, "problems"] == "age: expected a whole number, got a number: 30.9"
    assert found.loc[104, "problems"] == "colour: 'pink' is none of the 3 known categories"
    bare = model.predict(frame, params={"verdicts": False})
    np.testing.assert_array_equal(bare, found["prediction"].to_numpy())
    signature = model.metadata.signature
    assert signature.inputs.required_input_names() == ["age", "colour"]
    assert model.metadata.metadata["fullcircle.columns"] == {"age": "integer", "size": "number", "colour": "category"}
    assert list(model.input_example.columns) == ["age", "size", "colour"]
    assert len(model.predict(model.input_example)) == 5


def test_classes_come_with_their_probabilities(classifier: Bundle, tmp_path: Path) -> None:
    rows = [{name: row[name] for name in ("age", "colour")} for row in model_samples.rows(9, seed=5)]
    rows[1]["age"] = None
    (tmp_path / "bundle.zip").write_bytes(pack(classifier))
    model = pyfunc._load_pyfunc(str(tmp_path / "bundle.zip"), {"allow_pickle": False})
    found = model.predict(pd.DataFrame(rows))
    expected = scorer(classifier, tmp_path / "code").score(rows)
    labels = [str(label) for label in classifier.contract.classes]
    assert list(found.columns)[3:] == [f"probability_{label}" for label in labels]
    for place, one in enumerate(expected):
        if one.probabilities is None:
            assert found.iloc[place, 3:].isna().all()
            assert pd.isna(found["prediction"][place])
        else:
            assert tuple(found.iloc[place, 3:]) == tuple(one.probabilities.values())
            assert found["prediction"][place] == one.value


def test_rows_may_be_given_in_several_forms(regressor: Bundle) -> None:
    model = pyfunc.Answering(regressor)
    rows = model_samples.rows(4)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    expected = list(model.predict(pd.DataFrame(rows))["prediction"])
    assert list(model.predict(rows)["prediction"]) == expected
    assert list(model.predict(columns)["prediction"]) == expected
    arrays = {name: np.array(values, dtype=object) for name, values in columns.items()}
    assert list(model.predict(arrays)["prediction"]) == expected
    assert list(model.predict(rows[0])["prediction"]) == expected[:1]
    assert len(model.predict([])) == 0
    with pytest.raises(DataUnfit, match="no rows"):
        model.predict(np.zeros((3, 3)))


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[["colour", "size", "age"]],
        lambda frame: frame.astype({"colour": "category"}),
        lambda frame: frame.astype({"colour": "string", "age": "Int64", "size": "Float64"}),
        lambda frame: frame.astype({"age": "int8"}),
        lambda frame: frame.astype({"age": float}),
        lambda frame: frame.astype(object),
        lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    ],
    ids=["order", "category", "nullable", "small", "float", "object", "arrow"],
)
def test_a_frame_may_hold_the_same_values_in_other_types_and_another_order(regressor: Bundle, change: Any) -> None:
    frame = pd.DataFrame(model_samples.rows(20, seed=4))
    model = pyfunc.Answering(regressor)
    pd.testing.assert_frame_equal(model.predict(change(frame.copy())), model.predict(frame))


def test_a_time_in_the_place_of_a_number_is_rejected_in_its_row_and_no_rows_give_no_answers(
    regressor: Bundle, classifier: Bundle
) -> None:
    frame = pd.DataFrame(model_samples.rows(3)).astype(object)
    frame.loc[1, "age"] = pd.Timestamp("2024-02-29")
    found = pyfunc.Answering(regressor).predict(frame)
    assert list(found["verdict"] == "rejected") == [False, True, False]
    assert "2024-02-29" in found.loc[1, "problems"]
    for bundle in (regressor, classifier):
        none = pyfunc.Answering(bundle).predict(frame.head(0))
        assert len(none) == 0
        assert list(none.columns)[:3] == ["prediction", "verdict", "problems"]


def test_threads_may_share_it(regressor: Bundle) -> None:
    model = pyfunc.Answering(regressor)
    frames = [pd.DataFrame(model_samples.rows(10, seed=seed)) for seed in range(16)]
    expected = [model.predict(frame) for frame in frames]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(model.predict, frames * 4), expected * 4, strict=True):
            pd.testing.assert_frame_equal(found, wanted)


def test_a_bundle_that_answers_otherwise_than_it_did_is_not_loaded(regressor: Bundle) -> None:
    golden = json.loads(regressor.files["golden.json"])
    golden[0]["value"] += 1.0
    forged = dataclasses.replace(regressor, files={**regressor.files, "golden.json": json.dumps(golden).encode()})
    with pytest.raises(BundleInvalid, match="golden rows differently") as caught:
        pyfunc.Answering(forged)
    assert "golden row 1" in str(caught.value.received)


def test_a_model_that_runs_code_is_loaded_with_consent_only(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"age": place, "size": float(place)} for place in range(20)]
    contract = Contract(columns=model_samples.COLUMNS[:2], label="y", task="regression", prior=1.0)
    asked = [{name: row[name] for name in ("age", "size")} for row in rows]
    fitted = Ridge().fit(to_frame(contract, asked), [float(place) for place in range(20)])
    bundle = build(
        model="pickle",
        runtime="pickled",
        saved=PickledRuntime().save(fitted, tmp_path),
        contract=contract,
        golden=list(zip(asked, Scorer(contract, fitted).score(asked), strict=True)),
        profile=PROFILE,
        lock=lock_of(WHEEL),
        wheel=WHEEL,
    )
    home = laid_out(bundle, tmp_path / "model")
    load = mlflow_pyfunc().load_model
    with pytest.raises(ModelRefused, match="nobody consented"):
        load(str(home))
    with pytest.raises(ModelRefused, match="nobody consented"):
        load(str(home), model_config={"allow_pickle": "yes"})
    model = load(str(home), model_config={"allow_pickle": True})
    expected = scorer(bundle, tmp_path / "code", allow_pickle=True).score(asked)
    assert list(model.predict(pd.DataFrame(asked))["prediction"]) == [one.value for one in expected]


def test_a_damaged_archive_is_not_loaded(regressor: Bundle, tmp_path: Path) -> None:
    data = bytearray(pack(regressor))
    data[len(data) // 2] ^= 1
    (tmp_path / "bundle.zip").write_bytes(bytes(data))
    with pytest.raises(BundleInvalid):
        pyfunc._load_pyfunc(str(tmp_path / "bundle.zip"))


def test_code_of_the_project_is_laid_out_and_removed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    model = pyfunc.Answering(model_samples.regressor(project=tmp_path))
    assert list(scratch.rglob("*.py"))
    assert len(model.predict(model_samples.rows(3))) == 3
    del model
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_the_requirements_are_those_of_the_lock_and_the_wheel_that_lies_there(
    regressor: Bundle, tmp_path: Path
) -> None:
    home = laid_out(regressor, tmp_path)
    lines = (home / "requirements.txt").read_text().splitlines()
    (wheel,) = [line for line in lines if line.startswith("./")]
    assert (home / wheel).read_bytes() == regressor.files["wheels/fullcircle-0.1.0-py3-none-any.whl"]
    assert "numpy==2.4.6" in lines
    assert any(line.startswith("mlflow-skinny==") for line in lines)
    assert not any(line.startswith("fullcircle==") or "--hash" in line for line in lines)
    about = yaml.safe_load((home / "MLmodel").read_text())
    assert about["flavors"]["python_function"]["loader_module"] == pyfunc.__name__ == flavor.LOADER
    environment = yaml.safe_load((home / "python_env.yaml").read_text())
    assert environment["dependencies"] == ["-r requirements.txt"]


@pytest.mark.parametrize(
    "name",
    ["größe (cm)", "a: b", "'\"", "\\", "\x7f", "\x85", "\u2028", "\ufeff", "🚲", "- x", "yes", "null", "{}", "#"],
)
def test_whatever_a_column_is_called_mlflow_reads_the_same(name: str) -> None:
    contract = Contract(columns=(Column(name=name, kind="number"),), label=name, task="regression")
    made = flavor.files(
        b"",
        digest="d" * 64,
        contract=contract,
        rows=[{name: 1.0}],
        pins={"mlflow-skinny": "3.17.2"},
        wheel=("w.whl", b""),
        python="3.11",
        run="r",
    )
    about = yaml.safe_load(made["MLmodel"])
    assert json.loads(about["signature"]["inputs"])[0]["name"] == name
    assert about["metadata"]["fullcircle.label"] == name
    assert about["metadata"]["fullcircle.columns"] == {name: "number"}
    assert json.loads(made["input_example.json"]) == {"columns": [name], "data": [[1.0]]}
    assert made["requirements.txt"] == b"mlflow-skinny==3.17.2\n./wheels/w.whl\n"


def test_what_may_be_missing_is_optional_in_the_signature() -> None:
    columns = (
        Column(name="needed", kind="number"),
        Column(name="nullable", kind="number", nullable=True),
        Column(name="filled", kind="number", missing="impute", fill=0.0),
    )
    contract = Contract(columns=columns, label="y", task="classification", classes=("no", "yes"))
    made = flavor.files(
        b"", digest="", contract=contract, rows=[], pins={}, wheel=("w.whl", b""), python="3.11", run=""
    )
    signature = yaml.safe_load(made["MLmodel"])["signature"]
    assert {one["name"]: one["required"] for one in json.loads(signature["inputs"])} == {
        "needed": True,
        "nullable": False,
        "filled": False,
    }
    assert [one["name"] for one in json.loads(signature["outputs"])][3:] == ["probability_no", "probability_yes"]
