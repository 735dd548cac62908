"""Models as files of other libraries: read to the same answers, and nothing of them is run without consent."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline

from fullcircle import registry
from fullcircle.development.cases import comparing
from fullcircle.errors import FullcircleError, ModelRefused
from fullcircle.flows import foreign
from fullcircle.flows.train import runtime_for


def table() -> tuple[Any, dict[str, Any]]:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(120, 3)), columns=["a", "b", "c"])
    score = 2 * rows["a"] + rows["b"]
    return rows, {"number": score, "two": (score > 0).astype(int), "three": np.digitize(score, [-1, 1])}


def same(found: foreign.Read, fitted: Any, rows: Any, folder: Path) -> str:
    """That a model that was read, saved and loaded answers with the same bits; the name of its runtime."""
    name = runtime_for(found.model, folder)
    runtime = registry.find("runtimes", name)()
    back = runtime.load(runtime.save(found.model, folder).data)
    assert back.predict(rows).tolist() == fitted.predict(rows).tolist()
    if hasattr(fitted, "predict_proba"):
        assert back.predict_proba(rows).tolist() == fitted.predict_proba(rows).tolist()
    return name


@pytest.mark.parametrize("suffix", ["json", "ubj"])
@pytest.mark.parametrize("label", ["number", "two", "three"])
def test_an_xgboost_file_is_read_whether_a_model_or_a_booster_wrote_it(
    tmp_path: Path, label: str, suffix: str
) -> None:
    xgboost = pytest.importorskip("xgboost")
    rows, labels = table()
    kind = xgboost.XGBRegressor if label == "number" else xgboost.XGBClassifier
    fitted = kind(n_estimators=3, n_jobs=1).fit(rows, labels[label])
    path = tmp_path / f"model.{suffix}"
    for writer in (fitted, fitted.get_booster()):
        writer.save_model(path)
        found = foreign.read(path, consent=False)
        assert (found.features, found.width) == (("a", "b", "c"), 3)
        assert same(found, fitted, rows, tmp_path) == "xgboost"


@pytest.mark.parametrize("label", ["number", "two", "three"])
def test_a_lightgbm_file_is_read(tmp_path: Path, label: str) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rows, labels = table()
    kind = lightgbm.LGBMRegressor if label == "number" else lightgbm.LGBMClassifier
    fitted = kind(n_estimators=3, n_jobs=1, verbose=-1).fit(rows, labels[label])
    fitted.booster_.save_model(tmp_path / "model.txt")
    found = foreign.read(tmp_path / "model.txt", consent=False)
    assert found.features == ("a", "b", "c")
    assert same(found, fitted, rows, tmp_path) == "lightgbm"


def test_a_booster_of_an_array_does_not_name_its_columns(tmp_path: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    rows, labels = table()
    fitted = lightgbm.LGBMRegressor(n_estimators=2, n_jobs=1, verbose=-1).fit(rows.to_numpy(), labels["number"])
    fitted.booster_.save_model(tmp_path / "model.txt")
    found = foreign.read(tmp_path / "model.txt", consent=False)
    assert (found.features, found.width) == ((), 3)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("label", ["number", "two"])
def test_an_onnx_file_tells_its_columns_and_its_task(tmp_path: Path, label: str, named: bool) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType

    rows, labels = table()
    fitted = (Ridge() if label == "number" else LogisticRegression()).fit(rows, labels[label])
    inputs = [(name, FloatTensorType([None, 1])) for name in "abc"] if named else [("X", FloatTensorType([None, 3]))]
    if named:
        fitted = make_pipeline(ColumnTransformer([("all", "passthrough", ["a", "b", "c"])]), fitted).fit(
            rows, labels[label]
        )
    made = skl2onnx.to_onnx(fitted, initial_types=inputs, options={"zipmap": False} if label == "two" else None)
    (tmp_path / "model.onnx").write_bytes(made.SerializeToString())
    found = foreign.read(tmp_path / "model.onnx", consent=False)
    assert (found.features, found.width) == (("a", "b", "c") if named else (), 3)
    assert found.task == ("regression" if label == "number" else "classification")
    assert comparing.allowed(found.model) == comparing.SINGLE
    np.testing.assert_allclose(found.model.predict(rows), fitted.predict(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["model.json", "model.ubj", "model.txt", "model.skops", "model.onnx"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\x00" * 64, b'{"learner": {"attributes": {}}}'])
def test_what_is_no_model_is_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FullcircleError):
        foreign.read(tmp_path / name, consent=False)


def test_a_ubj_file_that_is_damaged_anywhere_is_refused_or_read_whole(tmp_path: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    rows, labels = table()
    path = tmp_path / "model.ubj"
    xgboost.XGBRegressor(n_estimators=1, max_depth=2, n_jobs=1).fit(rows, labels["number"]).save_model(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for place in rng.integers(0, len(whole), 120).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        for data in (bytes(damaged), whole[:place]):
            path.write_bytes(data)
            try:
                foreign.read(path, consent=False)  # a number that another bit made may be as sound as before
            except FullcircleError:
                refused += 1
    assert refused > 150


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_not_touched_without_consent(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(ModelRefused, match="runs code") as caught:
        foreign.read(tmp_path / "model.pkl", consent=False)
    assert "--allow-pickle" in str(caught.value.next_step)
    assert not mark.exists()
    with pytest.raises(ModelRefused, match="no model"):
        foreign.read(tmp_path / "model.pkl", consent=True)
    assert mark.exists()


def test_a_pickle_with_consent_is_kept_without_one_where_that_can_be(tmp_path: Path) -> None:
    rows, labels = table()
    fitted = Ridge().fit(rows, labels["number"])
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fitted))
    found = foreign.read(tmp_path / "model.pkl", consent=True)
    assert found.features == ("a", "b", "c")
    assert same(found, fitted, rows, tmp_path) == "sklearn"


def mlmodel(folder: Path, **about: Any) -> Path:
    (folder / "MLmodel").write_text(yaml.safe_dump(about))
    return folder


def test_mlflows_folder_is_read_by_its_own_flavor_and_a_pickle_in_it_needs_consent(tmp_path: Path) -> None:
    rows, labels = table()
    fitted = Ridge().fit(rows, labels["number"])
    mark = tmp_path / "mark"
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Bomb(mark)))
    flavors = {"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}}
    with pytest.raises(ModelRefused, match="runs code"):
        foreign.read(mlmodel(tmp_path, flavors=flavors), consent=False)
    assert not mark.exists()
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(fitted))
    found = foreign.read(tmp_path, consent=True)
    assert found.kind == "MLflow's sklearn: pickle"
    assert same(found, fitted, rows, tmp_path) == "sklearn"


@pytest.mark.parametrize("flavor", ["xgboost", "lightgbm"])
def test_mlflows_booster_is_read_without_its_pyfunc_and_its_signature_names_the_columns(
    tmp_path: Path, flavor: str
) -> None:
    rows, labels = table()
    if flavor == "xgboost":
        xgboost = pytest.importorskip("xgboost")
        fitted: Any = xgboost.XGBRegressor(n_estimators=2, n_jobs=1).fit(rows.to_numpy(), labels["number"])
        fitted.save_model(tmp_path / "model.ubj")
        told = {"data": "model.ubj", "model_class": "nobody.imports.this"}
    else:
        lightgbm = pytest.importorskip("lightgbm")
        fitted = lightgbm.LGBMRegressor(n_estimators=2, n_jobs=1, verbose=-1).fit(rows.to_numpy(), labels["number"])
        fitted.booster_.save_model(tmp_path / "model.lgb")
        told = {"data": "model.lgb"}
    inputs = json.dumps([{"name": name, "type": "double"} for name in "abc"])
    flavors = {flavor: told, "python_function": {"loader_module": "nobody.imports.this"}}
    found = foreign.read(mlmodel(tmp_path, flavors=flavors, signature={"inputs": inputs}), consent=False)
    assert found.kind.startswith(f"MLflow's {flavor}")
    assert (found.features, found.width) == (("a", "b", "c"), 3)
    assert found.model.predict(rows).tolist() == fitted.predict(rows.to_numpy()).tolist()


LOADER = """
from pathlib import Path


def _load_pyfunc(path):
    return Factor(Path(path))


class Factor:
    def __init__(self, path):
        self.path = path

    def predict(self, frame):
        return frame[["a"]] * float(self.path.read_text())
"""


@pytest.mark.parametrize("kind", ["LGBMRegressor", "LGBMClassifier"])
def test_a_booster_as_mlflow_logs_it_today_is_read_with_consent_and_kept_without_a_pickle(
    tmp_path: Path, kind: str
) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    import skops.io

    rows, labels = table()
    label = np.where(labels["two"] == 1, "yes", "no") if kind == "LGBMClassifier" else labels["number"]
    fitted = getattr(lightgbm, kind)(n_estimators=2, n_jobs=1, verbose=-1).fit(rows, label)
    skops.io.dump(fitted, tmp_path / "model.skops")
    flavors = {"lightgbm": {"data": "model.skops", "serialization_format": "skops"}}
    with pytest.raises(ModelRefused, match="may not be packaged") as caught:
        foreign.read(mlmodel(tmp_path, flavors=flavors), consent=False)
    assert "--allow-pickle" in str(caught.value.next_step)
    found = foreign.read(tmp_path, consent=True)
    assert found.features == ("a", "b", "c")
    assert same(found, fitted, rows, tmp_path) == "lightgbm"
    (tmp_path / "model.skops").write_bytes((tmp_path / "model.skops").read_bytes()[:-40])
    with pytest.raises(FullcircleError):
        foreign.read(tmp_path, consent=True)


@pytest.mark.filterwarnings("ignore::UserWarning")  # what MLflow says of itself when more of it is imported
def test_a_pyfunc_with_consent_reads_its_files_after_the_folder_it_came_in_is_gone(tmp_path: Path) -> None:
    rows, _ = table()
    home = tmp_path / "model"
    (home / "code").mkdir(parents=True)
    (home / "code" / "lazy_factor_loader.py").write_text(LOADER)
    (home / "factor.txt").write_text("2.5")
    loader = {"loader_module": "lazy_factor_loader", "code": "code", "data": "factor.txt"}
    found = foreign.read(mlmodel(home, flavors={"python_function": loader}), consent=True)
    shutil.rmtree(home)
    assert found.kind == "pyfunc of MLflow (python_function)"
    np.testing.assert_array_equal(found.model.predict(rows), rows["a"] * 2.5)


@pytest.mark.parametrize("file", ["../outside.skops", "/etc/hostname", "missing.skops"])
def test_a_folder_that_names_a_file_elsewhere_is_refused(tmp_path: Path, file: str) -> None:
    home = tmp_path / "model"
    home.mkdir()
    (tmp_path / "outside.skops").write_bytes(b"")
    with pytest.raises(ModelRefused, match="not in its folder"):
        foreign.read(mlmodel(home, flavors={"sklearn": {"pickled_model": file}}), consent=False)


def test_another_pyfunc_is_not_loaded_without_consent(tmp_path: Path) -> None:
    loader = {"loader_module": "bomb", "code": "code"}
    with pytest.raises(ModelRefused, match="runs code"):
        foreign.read(mlmodel(tmp_path, flavors={"python_function": loader}), consent=False)
    with pytest.raises(ModelRefused, match="cannot ask"):
        foreign.read(mlmodel(tmp_path, flavors={"spark": {}}), consent=False)


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "flavors: 3", "flavors: {sklearn: 3}"])
def test_an_mlmodel_that_says_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(ModelRefused):
        foreign.read(tmp_path, consent=False)
    (tmp_path / "MLmodel").unlink()
    with pytest.raises(ModelRefused, match="no model of MLflow"):
        foreign.read(tmp_path, consent=False)
