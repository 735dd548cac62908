"""Models in ONNX: the same answers as before, and nothing read but the one file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from fullcircle import registry
from fullcircle.errors import BundleInvalid, FullcircleError, ModelRefused, PredictionInvalid
from fullcircle.runtimes import onnxfile
from fullcircle.runtimes.onnx import CLASSES, OnnxRuntime, answering, opened
from fullcircle.runtimes.runtime import Runtime
from fullcircle.testing.runtimes import RuntimeSuite

GENERATOR = np.random.default_rng(0)
ROWS = pd.DataFrame(GENERATOR.normal(size=(60, 3)), columns=["a", "b", "c"])
CLASS = (ROWS["a"] + ROWS["b"] > 0).astype(int)
TEXTS = ROWS.assign(c=np.where(ROWS["c"] > 0, "up", "down"))
FLOAT = TensorProto.FLOAT


def exported(model: Any, kind: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return to_onnx(
            model, initial_types=[("X", kind([None, 3]))], options={id(model): options} if options else None
        )


def said(proto: Any, classes: str = "[0, 1]") -> Any:
    helper.set_model_props(proto, {CLASSES: classes})
    return proto


def ridge() -> Any:
    return exported(Ridge().fit(ROWS, ROWS["a"] * 2), DoubleTensorType)


def forest() -> Any:
    return exported(RandomForestClassifier(5, random_state=0).fit(ROWS, CLASS), FloatTensorType)


def network() -> Any:
    model = MLPClassifier(hidden_layer_sizes=(4,), max_iter=300, tol=0.01, random_state=0).fit(ROWS, CLASS)
    return said(exported(model, DoubleTensorType, zipmap=False))


def columns() -> Any:
    steps = [("texts", OneHotEncoder(), ["c"]), ("numbers", "passthrough", ["a", "b"])]
    model = make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(TEXTS, CLASS)
    kinds = [(name, StringTensorType([None, 1]) if name == "c" else FloatTensorType([None, 1])) for name in "abc"]
    return to_onnx(model, initial_types=kinds)


MODELS: dict[str, Callable[[], Any]] = {"ridge": ridge, "forest": forest, "network": network, "columns": columns}


class TestOnnxRuntime(RuntimeSuite):
    @pytest.fixture
    def runtime(self) -> Runtime:
        found: Runtime = registry.find("runtimes", "onnx")()
        return found

    @pytest.fixture(params=sorted(MODELS))
    def name(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def model(self, name: str) -> Any:
        return answering(MODELS[name]())

    @pytest.fixture
    def rows(self, name: str) -> Any:
        return TEXTS if name == "columns" else ROWS


def test_it_answers_as_the_model_that_was_exported() -> None:
    fitted = Ridge().fit(ROWS, ROWS["a"] * 2)
    np.testing.assert_allclose(answering(ridge()).predict(ROWS), fitted.predict(ROWS), rtol=1e-12)
    forested = RandomForestClassifier(5, random_state=0).fit(ROWS, CLASS)
    loaded = answering(forest())
    assert loaded.classes_.tolist() == [0, 1]
    np.testing.assert_allclose(loaded.predict_proba(ROWS), forested.predict_proba(ROWS), atol=1e-6)
    assert not hasattr(answering(ridge()), "predict_proba")


def test_bytes_are_taken_and_a_session_is_refused_in_words() -> None:
    data = ridge().SerializeToString()
    assert answering(data).data == data
    made = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with pytest.raises(ModelRefused, match="does not give back its model") as caught:
        answering(made)
    assert "ModelProto" in str(caught.value)
    assert answering("a model of another library") == "a model of another library"


def test_a_missing_value_is_answered_or_refused_by_the_type_of_the_input() -> None:
    holed = ROWS.head(2).copy()
    holed.iloc[0, 0] = np.nan
    assert np.isnan(answering(ridge()).predict(holed)[0])
    texts = TEXTS.head(2).copy()
    texts.loc[0, "c"] = None
    with pytest.raises(PredictionInvalid, match="input c"):
        answering(columns()).predict(texts)
    with pytest.raises(PredictionInvalid, match="same names"):
        answering(columns()).predict(TEXTS.rename(columns={"a": "z"}))


def test_classes_that_nobody_says_are_asked_for() -> None:
    model = MLPClassifier(hidden_layer_sizes=(2,), max_iter=300, tol=0.1, random_state=0).fit(ROWS, CLASS)
    with pytest.raises(ModelRefused, match="which classes") as caught:
        answering(exported(model, DoubleTensorType, zipmap=False))
    assert CLASSES in str(caught.value)
    with pytest.raises(ModelRefused, match="no list of labels"):
        answering(said(exported(model, DoubleTensorType, zipmap=False), "no, yes"))
    with pytest.raises(PredictionInvalid, match="number of probabilities"):
        answering(said(exported(model, DoubleTensorType, zipmap=False), "[0, 1, 2]")).predict_proba(ROWS)


# --- what may not be in a file ---------------------------------------------------------------------------


def outside() -> Any:
    """A tensor whose numbers lie in another file."""
    tensor = helper.make_tensor("w", FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="junk/../../secret")
    return tensor


def quiet() -> Any:
    """The same, without saying that it lies elsewhere."""
    tensor = helper.make_tensor("w", FLOAT, [1], [1.0])
    tensor.external_data.add(key="location", value="secret")
    return tensor


def inner(tensor: Any) -> Any:
    out = helper.make_tensor_value_info("v", FLOAT, [1])
    return helper.make_graph([helper.make_node("Identity", ["w"], ["v"])], "inner", [], [out], [tensor])


def model_of(*nodes: Any, initializers: Any = (), sparse: Any = (), functions: Any = ()) -> Any:
    box = helper.make_tensor_value_info("x", FLOAT, [None, 1])
    out = helper.make_tensor_value_info("y", FLOAT, [None, 1])
    made = helper.make_graph(
        [*nodes, helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [box],
        [out],
        list(initializers),
        sparse_initializer=list(sparse),
    )
    return helper.make_model(made, functions=list(functions))


def in_sparse(tensor: Any) -> Any:
    return helper.make_sparse_tensor(tensor, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [3])


def holding(**attributes: Any) -> Any:
    return model_of(helper.make_node("Constant", [], ["w"], **attributes))


def branched(tensor: Any) -> Any:
    inside = inner(tensor)
    return model_of(helper.make_node("If", ["x"], ["z"], then_branch=inside, else_branch=inside))


def deep(tensor: Any) -> Any:
    graph = inner(tensor)
    for _ in range(3):
        out = helper.make_tensor_value_info("v", FLOAT, [1])
        node = helper.make_node("If", ["x"], ["v"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([node], "middle", [], [out])
    return model_of(helper.make_node("If", ["x"], ["z"], then_branch=graph, else_branch=graph))


def functional() -> Any:
    body = [helper.make_node("Constant", [], ["v"], value=outside())]
    function = helper.make_function("own", "f", [], ["v"], body, [helper.make_opsetid("", 18)])
    return model_of(functions=[function])


def trained() -> Any:
    proto = model_of()
    proto.training_info.add().algorithm.CopyFrom(inner(outside()))
    return proto


HIDING: dict[str, Callable[[], Any]] = {
    "initializer": lambda: model_of(initializers=[outside()]),
    "initializer, unsaid": lambda: model_of(initializers=[quiet()]),
    "sparse initializer": lambda: model_of(sparse=[in_sparse(outside())]),
    "attribute": lambda: holding(value=outside()),
    "list in an attribute": lambda: holding(values=[outside()]),
    "sparse attribute": lambda: holding(sparse_value=in_sparse(outside())),
    "branch": lambda: branched(outside()),
    "branch, unsaid": lambda: branched(quiet()),
    "branch of a branch": lambda: deep(outside()),
    "function": functional,
    "training graph": trained,
}


@pytest.mark.parametrize("place", sorted(HIDING))
def test_another_file_is_refused_wherever_it_hides(place: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    data = HIDING[place]().SerializeToString()
    for ask in (opened, OnnxRuntime().load):
        with pytest.raises(ModelRefused) as caught:
            ask(data)
        assert "may not be used" in str(caught.value)


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("PythonOp", ["x"], ["z"], domain="com.microsoft"),
        helper.make_node("EPContext", ["x"], ["z"], domain="com.microsoft"),
        helper.make_node("Add", ["x", "x"], ["z"], domain="com.example"),
        helper.make_node("Loop", ["x"], ["z"], body=inner(helper.make_tensor("w", FLOAT, [1], [1.0]))),
        helper.make_node("RandomNormal", [], ["z"], shape=[1]),
        helper.make_node("ImageDecoder", ["x"], ["z"]),
        helper.make_node("TreeEnsemble", ["x"], ["z"]),
    ],
    ids=lambda node: f"{node.domain}-{node.op_type}",
)
def test_operations_that_are_not_on_the_list_are_refused_by_name(node: Any) -> None:
    with pytest.raises(ModelRefused) as caught:
        opened(model_of(node).SerializeToString())
    assert node.op_type in str(caught.value)


def test_a_node_that_names_its_operation_twice_is_refused() -> None:
    """Which of the two counts would be for each reader to say."""
    twice = helper.make_node("Identity", ["x"], ["z"]).SerializeToString() + b"\x22\x08PythonOp"
    proto = model_of()
    graph = proto.graph.SerializeToString() + b"\x0a" + bytes([len(twice)]) + twice
    proto.ClearField("graph")
    assert len(graph) < 128
    with pytest.raises(BundleInvalid, match="one name"):
        opened(proto.SerializeToString() + b"\x3a" + bytes([len(graph)]) + graph)


def test_graphs_in_graphs_end_somewhere() -> None:
    graph = inner(helper.make_tensor("w", FLOAT, [1], [1.0]))
    for _ in range(20):
        node = helper.make_node("If", ["x"], ["v"], then_branch=graph)
        graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("v", FLOAT, [1])])
    with pytest.raises(BundleInvalid, match="deep"):
        opened(helper.make_model(graph).SerializeToString())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damage_is_refused_or_changes_nothing_else(data: st.DataObject) -> None:
    """One byte of a file, anything: an error of ours or a model, and never another error."""
    whole = bytearray(FOREST)
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        onnxfile.audit(bytes(whole))
    except FullcircleError:
        return


FOREST = forest().SerializeToString()


def test_what_is_read_of_a_file_is_what_is_in_it() -> None:
    proto = forest()
    found = onnxfile.audit(proto.SerializeToString())
    domains = {(node.domain or "ai.onnx", node.op_type) for node in proto.graph.node}
    assert set(found.operations) == {f"{domain}:{name}" for domain, name in domains}
    assert found.labels == ((0, 1), (0, 1))
    assert onnx.load_from_string(proto.SerializeToString()) == proto


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda proto: proto.graph.output.pop(), "which classes|output"),
        (lambda proto: proto.graph.input[0].type.tensor_type.shape.dim.add(), "input|refuses"),
    ],
)
def test_inputs_and_outputs_of_other_kinds_are_refused(change: Any, word: str) -> None:
    proto = network()
    change(proto)
    if "classes" in word:  # labels alone are a model too
        assert not hasattr(opened(proto.SerializeToString()), "predict_proba")
        return
    with pytest.raises(FullcircleError, match=word):
        opened(proto.SerializeToString())
