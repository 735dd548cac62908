"""MLflow's models as the folder that MLflow wrote."""

from __future__ import annotations

import importlib.util
import io
import shutil
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge

from fullcircle import registry
from fullcircle.errors import BundleInvalid, ModelRefused, PredictionInvalid
from fullcircle.exploration.connection import load_mlflow
from fullcircle.runtimes import pyfunc
from fullcircle.runtimes.pyfunc import PyfuncModel, PyfuncRuntime, of_folder, packed, unpacked
from fullcircle.runtimes.runtime import Runtime
from fullcircle.testing.runtimes import RuntimeSuite

ROWS = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0.5, -1.0, 2.0, 0.0]})


@pytest.fixture(scope="module")
def folder_of_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as MLflow writes it, with the sklearn flavor."""
    load_mlflow()
    home = tmp_path_factory.mktemp("mlflow") / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about its type hints and about pickles
        import mlflow.sklearn

        mlflow.sklearn.save_model(
            Ridge().fit(ROWS, [0.0, 1.0, 1.0, 0.0]),
            str(home),
            pip_requirements=["scikit-learn", "mlflow"],
            serialization_format="pickle",
        )
    return home


class TestPyfuncRuntime(RuntimeSuite):
    @pytest.fixture
    def runtime(self) -> Runtime:
        found: Runtime = registry.find("runtimes", "pyfunc")()
        return found

    @pytest.fixture
    def model(self, folder_of_mlflow: Path) -> Any:
        return of_folder(folder_of_mlflow)

    @pytest.fixture
    def rows(self) -> Any:
        return ROWS


def test_its_requirements_are_the_models_own(folder_of_mlflow: Path) -> None:
    saved = PyfuncRuntime().save(of_folder(folder_of_mlflow), folder_of_mlflow)
    assert saved.requirements == ("mlflow-skinny", "scikit-learn")
    assert saved.pickled
    assert "MLmodel" in saved.types


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt",
        "--extra-index-url http://example.invalid",
        "-e .",
        "numpy @ http://example.invalid/numpy.whl",
        "../numpy",
        "git+ssh://example.invalid/x",
        "numpy; import os",
        "numpy\x00",
        "no-such-distribution==1.0",
    ],
)
def test_a_hostile_line_of_requirements_is_refused(line: str) -> None:
    if line == "numpy; import os":  # what follows is a marker, and is dropped: the name alone is used
        assert pyfunc.requirements(line.encode()) == ("numpy",)
        return
    with pytest.raises(ModelRefused):
        pyfunc.requirements(f"numpy\n{line}\n".encode())


def test_comments_and_versions_are_read() -> None:
    text = b"# what it needs\nnumpy>=1.2,<99  # numbers\n\nScikit_Learn==1.0\nmlflow==3.1\n"
    assert pyfunc.requirements(text) == ("mlflow-skinny", "numpy", "scikit-learn")


def test_links_and_strange_names_do_not_travel(folder_of_mlflow: Path, tmp_path: Path) -> None:
    home = tmp_path / "copy"
    shutil.copytree(folder_of_mlflow, home)
    (home / "__pycache__").mkdir()
    (home / "__pycache__" / "x.pyc").write_bytes(b"code")
    assert packed(home) == packed(folder_of_mlflow)
    (home / "secret").symlink_to("/etc/hostname")
    with pytest.raises(ModelRefused, match="travel"):
        packed(home)
    (home / "secret").unlink()
    (home / "a\nb").write_text("x")
    with pytest.raises(ModelRefused, match="travel"):
        packed(home)
    with pytest.raises(ModelRefused, match="no model of MLflow"):
        packed(tmp_path)


def archived(*names: str, mode: int = 0o644) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("MLmodel", b"flavors: {}")
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            archive.writestr(entry, b"x")
    return stream.getvalue()


ESCAPES = [
    "../escape",
    "/abs",
    "a/../../b",
    "a\\b",
    "C:x",
    "a//b",
    "MLmodel/x",
    "é",
    " ",
    ".",
    "..",
    "...",
    "a/.",
    "a/..",
]


@pytest.mark.parametrize("name", [*ESCAPES, "a/", "a\n", "~/x", "a/.b/c", "a" * 300, "/".join(["a"] * 30)])
def test_an_archive_that_reaches_out_is_refused(name: str) -> None:
    with pytest.raises(BundleInvalid, match=r"^the model file is damaged: a file|holds no|no archive"):
        unpacked(archived(name))
    assert set(unpacked(archived("a/b", "c", ".git", "a/.d"))) == {"MLmodel", "a/b", "c", ".git", "a/.d"}


@pytest.mark.parametrize("names", [("a", "a/b"), ("a", "a/b/c"), ("a/b", "a/b/c/d"), ("MLmodel/a/b",)])
def test_a_file_in_the_place_of_a_folder_is_refused_before_one_is_written(names: tuple[str, ...]) -> None:
    with pytest.raises(BundleInvalid, match="in the place of a folder"):
        unpacked(archived(*names))


def test_links_and_twins_in_an_archive_are_refused() -> None:
    with pytest.raises(BundleInvalid, match="form that cannot be"):
        unpacked(archived("a", mode=0o120777))
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = archived("a", "a")
    with pytest.raises(BundleInvalid, match="form that cannot be"):
        unpacked(twice)


def test_nothing_is_left_of_a_model_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(BundleInvalid, match="MLflow could not load"):
        PyfuncRuntime().load(archived("a/b"))
    monkeypatch.setattr(pyfunc, "_loaded", lambda home: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        PyfuncRuntime().load(archived("a/b"))
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_bomb_is_refused_unread() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("MLmodel", b"0" * 10_000_000)
    with pytest.raises(BundleInvalid, match="too large"):
        unpacked(stream.getvalue())


class Answers:
    """A pyfunc that answers with what it was given."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def predict(self, frame: Any) -> Any:
        return self.found


@pytest.mark.parametrize(
    "found",
    [
        [1, 2],
        np.array([[1], [2]]),
        pd.Series([1, 2]),
        pd.DataFrame({"x": [1, 2]}),
        pd.DataFrame({"predict": [1, 2], "p0": [0.1, 0.2]}),
    ],
)
def test_one_answer_for_a_row_in_any_form(found: Any) -> None:
    assert PyfuncModel(b"", Answers(found)).predict(ROWS).tolist() == [1, 2]


def test_several_columns_of_answers_are_refused() -> None:
    with pytest.raises(PredictionInvalid, match="several columns"):
        PyfuncModel(b"", Answers(pd.DataFrame({"x": [1], "y": [2]}))).predict(ROWS)


def test_a_pyfunc_that_was_not_logged_names_the_way(folder_of_mlflow: Path) -> None:
    loaded = load_mlflow().pyfunc.load_model(str(folder_of_mlflow), suppress_warnings=True)
    loaded.metadata.model_id = loaded.metadata.run_id = None
    with pytest.raises(ModelRefused, match="found again") as caught:
        pyfunc.answering(loaded)
    assert "of_folder" in str(caught.value)
    assert pyfunc.answering("anything else") == "anything else"


@pytest.mark.skipif(
    importlib.util.find_spec("h2o") is None or shutil.which("java") is None,
    reason="H2O needs the package h2o (266 MB, not among our dependencies) and Java; see docs/models.md for what was "
    "tried by hand",
)
def test_a_model_of_h2o_gives_the_same_answers(tmp_path: Path) -> None:
    import mlflow.h2o

    h2o, estimators = importlib.import_module("h2o"), importlib.import_module("h2o.estimators")

    h2o.init(ip="127.0.0.1", nthreads=1, max_mem_size="500m", bind_to_localhost=True)
    try:
        frame = h2o.H2OFrame(ROWS.assign(y=[0.0, 1.0, 1.0, 0.0]))
        model = estimators.H2OGradientBoostingEstimator(ntrees=3, min_rows=1, seed=1)
        model.train(x=["a", "b"], y="y", training_frame=frame)
        mlflow.h2o.save_model(model, str(tmp_path / "model"))
        loaded = of_folder(tmp_path / "model")
        saved = PyfuncRuntime().save(loaded, tmp_path)
        again = PyfuncRuntime().load(saved.data, types=saved.types)
        assert again.predict(ROWS).tolist() == loaded.predict(ROWS).tolist()
    finally:
        h2o.cluster().shutdown()
