"""Models in ONNX: the same answers as before, and nothing read but the one file."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from functools import cache
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
from fullcircle.runtimes import onnx as onnx_runtime
from fullcircle.runtimes import onnxfile
from fullcircle.runtimes.onnx import CLASSES, OnnxRuntime, answering, feed, opened
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


@cache
def written(name: str) -> bytes:
    """Converting one takes far longer than anything that is tried with it."""
    return bytes(MODELS[name]().SerializeToString())


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
        return answering(written(name))

    @pytest.fixture
    def rows(self, name: str) -> Any:
        return TEXTS if name == "columns" else ROWS


def test_it_answers_as_the_model_that_was_exported() -> None:
    fitted = Ridge().fit(ROWS, ROWS["a"] * 2)
    np.testing.assert_allclose(answering(written("ridge")).predict(ROWS), fitted.predict(ROWS), rtol=1e-12)
    forested = RandomForestClassifier(5, random_state=0).fit(ROWS, CLASS)
    loaded = answering(written("forest"))
    assert loaded.classes_.tolist() == [0, 1]
    np.testing.assert_allclose(loaded.predict_proba(ROWS), forested.predict_proba(ROWS), atol=1e-6)
    assert not hasattr(answering(written("ridge")), "predict_proba")


def test_bytes_are_taken_and_a_session_is_refused_in_words() -> None:
    data = written("ridge")
    assert answering(onnx.load_from_string(data)).predict(ROWS).shape == (60,)
    assert answering(data).data == data
    made = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    with pytest.raises(ModelRefused, match="does not give back its model") as caught:
        answering(made)
    assert "ModelProto" in str(caught.value)
    assert answering("a model of another library") == "a model of another library"


def test_a_missing_value_is_answered_or_refused_by_the_type_of_the_input() -> None:
    holed = ROWS.head(2).copy()
    holed.iloc[0, 0] = np.nan
    assert np.isnan(answering(written("ridge")).predict(holed)[0])
    texts = TEXTS.head(2).copy()
    texts.loc[0, "c"] = None
    with pytest.raises(PredictionInvalid, match="input c"):
        answering(written("columns")).predict(texts)
    with pytest.raises(PredictionInvalid, match="same names"):
        answering(written("columns")).predict(TEXTS.rename(columns={"a": "z"}))


def test_classes_that_nobody_says_are_asked_for() -> None:
    proto = onnx.load_from_string(written("network"))
    with pytest.raises(PredictionInvalid, match="number of probabilities"):
        answering(said(proto, "[0, 1, 2]")).predict_proba(ROWS)
    assert answering(said(proto, '["no", "yes"]')).classes_.tolist() == ["no", "yes"]
    for classes in (
        "no, yes",
        "[]",
        "[0, 0]",
        '[0, "0"]',
        "[0.5, 1.5]",
        "[true, false]",
        "{}",
        "[[0], [1]]",
        "[" * 9999,
    ):
        with pytest.raises(ModelRefused, match="no list of labels"):
            answering(said(proto, classes))
    del proto.metadata_props[:]
    with pytest.raises(ModelRefused, match="which classes") as caught:
        answering(proto)
    assert CLASSES in str(caught.value)


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
    whole = bytearray(written("forest"))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        onnxfile.audit(bytes(whole))
    except FullcircleError:
        return


def test_what_is_read_of_a_file_is_what_is_in_it() -> None:
    proto = onnx.load_from_string(written("forest"))
    found = onnxfile.audit(written("forest"))
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
    proto = onnx.load_from_string(written("network"))
    change(proto)
    if "classes" in word:  # labels alone are a model too
        assert not hasattr(opened(proto.SerializeToString()), "predict_proba")
        return
    with pytest.raises(FullcircleError, match=word):
        opened(proto.SerializeToString())


# --- what a small file can ask for -----------------------------------------------------------------------


def asking(*nodes: Any, **whole: list[int]) -> bytes:
    """A model of these nodes from x to y, with lists of whole numbers by their names."""
    tensors = [helper.make_tensor(name, TensorProto.INT64, [len(values)], values) for name, values in whole.items()]
    box, out = (helper.make_tensor_value_info(name, FLOAT, [None, 1] if name == "x" else None) for name in "xy")
    graph = helper.make_graph(list(nodes), "g", [box], [out], tensors)
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString())


def doubled(times: int) -> list[Any]:
    names = ["x", *(f"d{number}" for number in range(times - 1)), "y"]
    return [
        helper.make_node("Concat", [before, before], [after], axis=1) for before, after in itertools.pairwise(names)
    ]


HUGE: dict[str, Callable[[], bytes]] = {
    "tiled": lambda: asking(helper.make_node("Tile", ["x", "n"], ["y"]), n=[1, 2**40]),
    "expanded": lambda: asking(helper.make_node("Expand", ["x", "n"], ["y"]), n=[1, 2**33]),
    "zeros": lambda: asking(helper.make_node("ConstantOfShape", ["n"], ["y"]), n=[2**33]),
    "padded": lambda: asking(helper.make_node("Pad", ["x", "n"], ["y"]), n=[0, 0, 0, 2**33]),
    "doubled": lambda: asking(*doubled(60)),
}


@pytest.fixture
def little() -> Iterator[int]:
    """Little memory for all models in ONNX, in bytes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(onnx_runtime, "MOST_MEMORY", 2**28)
        yield 2**28
    onnx_runtime._bounded.cache_clear()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("name", sorted(HUGE))
def test_an_answer_has_no_more_memory_than_it_may_have(name: str, little: int) -> None:
    """Some hundred bytes, which would have taken all memory of the server that only tries its golden rows."""
    data = HUGE[name]()
    assert len(data) < 3000
    model = opened(data)
    before = resident()
    for _ in range(3):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            model.predict(ROWS[["a"]].head(1))
    assert resident() - before < little / 2  # and none of it is kept
    assert answering(written("ridge")).predict(ROWS).shape == (60,)


def test_another_number_of_answers_than_rows_is_refused() -> None:
    model = opened(asking(*doubled(1)))
    with pytest.raises(PredictionInvalid, match="number of values") as caught:
        model.predict(ROWS[["a"]])
    assert "60 rows" in str(caught.value)


def test_a_file_in_the_format_of_onnx_runtime_is_refused() -> None:
    """The session would have read it by that format's rules, and what was judged would have been another model."""
    data = written("ridge")
    decoy = b"\x12\x08xxORTMxx"  # the name of its producer, which protocol buffers let stand first
    for file in (decoy + data, b"\x18\0\0\0ORTM" + data):
        with pytest.raises(FullcircleError, match="format of ONNX Runtime"):
            opened(file)
    assert opened(b"\x12\x08xxxORTMx" + data).predict(ROWS).shape == (60,)


def test_a_loop_in_a_branch_is_refused() -> None:
    """One over the rows is what skl2onnx writes for neighbours; loops in loops take as long as they like."""
    body = inner(helper.make_tensor("w", FLOAT, [1], [1.0]))
    loop = helper.make_node("Scan", ["x"], ["v"], body=body, num_scan_inputs=1)
    onnxfile.audit(model_of(loop).SerializeToString())
    out = helper.make_tensor_value_info("v", FLOAT, [1])
    around = helper.make_graph([loop], "around", [], [out])
    for node in (
        helper.make_node("If", ["x"], ["z"], then_branch=around, else_branch=around),
        helper.make_node("Scan", ["x"], ["z"], body=around, num_scan_inputs=1),
    ):
        with pytest.raises(ModelRefused, match="a loop"):
            opened(model_of(node).SerializeToString())


def test_sparse_tensors_are_refused_by_name() -> None:
    dense = helper.make_tensor("w", FLOAT, [1], [1.0])
    for proto in (model_of(sparse=[in_sparse(dense)]), holding(sparse_value=in_sparse(dense))):
        with pytest.raises(ModelRefused, match="sparse tensor"):
            opened(proto.SerializeToString())


# --- from a frame to tensors -----------------------------------------------------------------------------

F, D, I8, I4, B, S = (f"tensor({name})" for name in ("float", "double", "int64", "int32", "bool", "string"))


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        (D, [1, 2], [1.0, 2.0]),
        (D, [True, False], [1.0, 0.0]),
        (D, [None, 1.5], [math.nan, 1.5]),
        (F, [0.1], [float(np.float32(0.1))]),
        (F, [math.inf, -math.inf], [math.inf, -math.inf]),
        (I8, [2**53 + 1], [2**53 + 1]),
        (I8, [2.0], [2]),
        (I8, [True], [1]),
        (I4, [-(2**31)], [-(2**31)]),
        (B, [1.0, 0.0], [True, False]),
        (S, ["a", "b"], ["a", "b"]),
        (S, pd.Categorical(["b", "a"]), ["b", "a"]),
    ],
)
def test_values_that_a_tensor_can_hold_are_held_as_they_are(kind: str, values: Any, found: list[Any]) -> None:
    fed = feed([("a", kind, [None, 1])], pd.DataFrame({"a": values}))["a"]
    assert fed.shape == (len(found), 1)
    np.testing.assert_array_equal(fed.ravel(), found)
    assert kind == S or fed.dtype.name in kind.replace("float)", "float32)").replace("double", "float64")


@pytest.mark.parametrize(
    ("kind", "values", "word"),
    [
        (D, ["x"], "text"),
        (D, pd.Categorical(["a"]), "text"),
        (D, pd.to_datetime(["2020-01-01", None]), "a time"),
        (S, pd.to_datetime(["2020-01-01"]), "a time"),
        (F, [1e39], "too large"),
        (I8, [1.5], "fraction"),
        (I8, [math.nan], "missing"),
        (I8, [1e30], "too large"),
        (I4, [2**31], "too large"),
        (I4, [2**53 + 1], "too large"),
        (B, [2], "too large"),
        (S, ["a", None], "missing"),
        (S, [1.5, math.nan], "missing"),
        (S, pd.Categorical(["a", None]), "missing"),
    ],
)
def test_values_that_a_tensor_cannot_hold_are_refused_in_words(kind: str, values: Any, word: str) -> None:
    with pytest.raises(PredictionInvalid, match="input a of the ONNX model") as caught:
        feed([("a", kind, [None, 1])], pd.DataFrame({"a": values}))
    assert word in str(caught.value)
