"""The ONNX form: chosen only where a project asks for it and its answers are equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

import bundle_samples
from fullcircle.errors import BundleInvalid, FullcircleError
from fullcircle.packaging.bundle import COMPILED, COMPILED_ONNX, build, open_bundle, pack
from fullcircle.packaging.loading import replay
from fullcircle.packaging.loading import scorer as scorer_of
from fullcircle.runtimes.forms import onnx as form
from fullcircle.runtimes.forms.certificate import CANDIDATES, WITH_ONNX, candidates_of, choose, kept
from fullcircle.runtimes.forms.onnx import OnnxForm, converted
from fullcircle.runtimes.forms.steps import NotCompiled
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Column, Contract

GENERATOR = np.random.default_rng(5)
FRAME = pd.DataFrame(GENERATOR.normal(size=(200, 3)), columns=["a", "b", "c"])
TARGET = FRAME["a"] * 2 + np.sin(FRAME["b"])
LABELS = np.where(TARGET > 1, "high", np.where(TARGET < -1, "low", "middle"))
ROWS = FRAME.head(80).to_dict("records")
COLUMNS = tuple(
    Column(name=name, kind="number", missing="impute", fill=0.0, low=-5.0, high=5.0) for name in FRAME.columns
)
NUMBER = Contract(columns=COLUMNS, label="y", task="regression")
CLASS = Contract(columns=COLUMNS, label="y", task="classification", classes=("high", "low", "middle"))
ONLY = {"onnx": WITH_ONNX["onnx"]}


def regressor() -> Any:
    model = make_pipeline(
        StandardScaler(), MLPRegressor(hidden_layer_sizes=(5,), max_iter=400, tol=0.01, random_state=0)
    )
    return model.fit(FRAME, TARGET)


def classifier(model: Any = None) -> Any:
    return (
        MLPClassifier(hidden_layer_sizes=(5,), max_iter=400, tol=0.01, random_state=0) if model is None else model
    ).fit(FRAME, LABELS)


@pytest.mark.parametrize(("contract", "make"), [(NUMBER, regressor), (CLASS, classifier)])
def test_a_network_is_answered_as_it_was_fitted(contract: Contract, make: Any) -> None:
    model = make()
    chosen = choose(contract, model, ROWS, candidates=WITH_ONNX)
    assert chosen.certificate.form == "onnx", chosen.certificate.refused
    assert chosen.certificate.rows > 80
    assert chosen.data is not None
    ours = Scorer(contract, None, form=OnnxForm(contract, chosen.data)).score(ROWS)
    theirs = Scorer(contract, model).score(ROWS)
    if contract is NUMBER:
        found, expected = ([float(str(one.value)) for one in some] for some in (ours, theirs))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    else:
        assert [one.value for one in ours] == [one.value for one in theirs]
    assert chosen.data == converted(contract, model)


def test_columns_that_are_chosen_by_name_have_an_input_each() -> None:
    steps = ColumnTransformer([("scaled", StandardScaler(), ["c", "a"]), ("plain", "passthrough", ["b"])])
    model = make_pipeline(steps, MLPRegressor(hidden_layer_sizes=(4,), max_iter=400, tol=0.01, random_state=0)).fit(
        FRAME, TARGET
    )
    assert choose(NUMBER, model, ROWS, candidates=ONLY).certificate.form == "onnx"


@pytest.mark.parametrize("model", [SVC(), RandomForestClassifier(9, random_state=0)])
def test_what_is_not_equal_or_cannot_be_is_refused(model: Any) -> None:
    certificate = choose(CLASS, classifier(model), ROWS, candidates=ONLY).certificate
    assert certificate.form == "frame"
    assert [name for name, _ in certificate.refused] == ["onnx"]


def test_what_skl2onnx_does_not_know_is_not_compiled() -> None:
    model = make_pipeline(FunctionTransformer(np.tan), Ridge()).fit(FRAME, TARGET)
    with pytest.raises(NotCompiled):
        converted(NUMBER, model)
    texts = Contract(columns=(Column(name="a", kind="category", categories=("x",)),), label="y", task="regression")
    with pytest.raises(NotCompiled, match="numbers"):
        form.converted(texts, model)


def test_only_a_project_that_names_onnxruntime_is_asked_about_it() -> None:
    assert candidates_of(["numpy>=2", "skl2onnx"]) is CANDIDATES
    assert candidates_of(["numpy>=2", "ONNXRuntime>=1.23"]) is WITH_ONNX
    assert "onnx" not in CANDIDATES


def test_a_form_for_another_contract_is_refused() -> None:
    data = converted(NUMBER, regressor())
    with pytest.raises(FullcircleError):
        OnnxForm(CLASS, data)
    with pytest.raises(FullcircleError):
        OnnxForm(NUMBER, data[: len(data) // 2])


def test_a_bundle_keeps_it_in_a_file_of_its_own_and_answers_with_it_alone(tmp_path: Path) -> None:
    chosen = choose(NUMBER, regressor(), ROWS, candidates=ONLY)
    asked = Scorer(NUMBER, None, form=chosen.form).score(ROWS[:5])
    parts: dict[str, Any] = {
        "model": "network",
        "runtime": "sklearn",
        "saved": bundle_samples.SAVED,
        "contract": NUMBER,
        "golden": list(zip(ROWS[:5], asked, strict=True)),
        "profile": bundle_samples.PROFILE,
        "lock": bundle_samples.lock_of(bundle_samples.WHEEL),
        "wheel": bundle_samples.WHEEL,
        "compiled": chosen.data,
    }
    bundle = build(**parts, certificate=kept(chosen.certificate, ["onnxruntime"]))
    assert COMPILED_ONNX in bundle.files
    assert COMPILED not in bundle.files
    scorer = scorer_of(open_bundle(pack(bundle)), tmp_path)
    assert scorer.model is None
    assert replay(bundle, scorer).same_bits
    with pytest.raises(BundleInvalid, match="do not agree"):
        build(**parts, certificate=replace(chosen.certificate, form="array"))
