"""A class of the project that needs a library: the bundle's environment has it, at the version here."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest

import circles
from fullcircle.errors import LockFailed, ModelRefused
from fullcircle.flows import drafts
from fullcircle.flows.package import build, latest_report
from fullcircle.flows.runs import runs
from fullcircle.flows.session import opened
from fullcircle.flows.train import train
from fullcircle.packaging.lock import pins
from fullcircle.types.definitions import FunctionSpec, ViewSpec
from fullcircle.types.environments import Wanted

PROJECT = """
import fullcircle as fc
from scaling import Scaled
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline


def fit(X, y):
    return make_pipeline(Scaled(), Ridge()).fit(X, y)


project = fc.Project(
    name="houses",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "heat"],
    fit=fit,
    checks=["quality"],
    gates=[fc.at_most("mae", 5)],
)
"""
SCALING = """
import jinja2
from sklearn.base import BaseEstimator, TransformerMixin


class Scaled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.times_ = float(jinja2.Template("{{ 1 + 1 }}").render())
        return self

    def transform(self, X):
        return X * self.times_

    def __sklearn_is_fitted__(self):
        return True
"""


def test_what_a_shipped_module_imports_is_in_the_bundles_lock(tmp_path: Path) -> None:
    project = circles.write_project(tmp_path / "houses", PROJECT)
    (project.parent / "scaling.py").write_text(SCALING)
    settings = circles.settings(tmp_path)
    trained = train(project, settings=settings)
    with opened(settings) as session:
        bundle = build(session, drafts.of_run(session, trained.run), latest_report(session, trained.run)[1])
        assert bundle.manifest.code == ("scaling",)
        assert pins(bundle.lock)["jinja2"] == version("jinja2")
        said = Wanted(source="uv.lock", lines=("rich>=1", "pytest<1", "Jinja2<1 ; python_version > '3'"))
        draft, report = drafts.of_run(session, trained.run), latest_report(session, trained.run)[1]
        with pytest.raises(LockFailed) as caught:
            build(session, replace(draft, wanted=said), report)
    told = f"the model was trained with jinja2 {version('jinja2')}, and uv.lock says Jinja2<1 ; python_version > '3'"
    assert caught.value.what == told
    assert "pytest" not in str(caught.value), "no business of the model's"


def test_a_version_that_contradicts_what_is_loaded_is_refused_before_training(tmp_path: Path) -> None:
    """Whether the project file says it or a file beside it; nothing is trained, nothing recorded."""
    settings = circles.settings(tmp_path)
    plain = PROJECT.replace("from scaling import Scaled\n", "").replace("Scaled(), ", "")
    project = circles.write_project(tmp_path / "houses", plain)
    (project.parent / "requirements.txt").write_text(f"numpy=={version('numpy')}\nmsgspec==0.1  # old\n")
    with pytest.raises(LockFailed, match=r"and requirements\.txt says msgspec==0\.1"):
        train(project, settings=settings)
    project.write_text(plain.replace('label="cost",', 'label="cost", requirements=["scikit-learn==0.1"],'))
    with pytest.raises(LockFailed, match=r"and the project file says scikit-learn==0\.1"):
        train(project, settings=settings)
    assert list(runs("houses", settings=settings)) == []


@pytest.mark.parametrize(
    ("imports", "expected"),
    [
        ((), ()),
        (("math", "json"), ()),
        (("scipy.stats as st", "pandas as pd", "jinja2", "math"), ("Jinja2", "pandas", "scipy")),
    ],
)
def test_what_a_views_functions_import_is_needed_by_every_form(
    imports: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    function = FunctionSpec(name="f", source="", inputs=("a",), returns="float", imports=imports)
    view = ViewSpec(name="v", time="at", tables=(), features=(), functions=(function,), order=("f",), keys={})
    assert drafts.needed(view) == expected
    assert drafts.needed(None) == ()


def test_a_module_that_only_this_machine_has_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = circles.write_project(tmp_path / "houses", PROJECT)
    (project.parent / "scaling.py").write_text(SCALING.replace("import jinja2", "import jinja2\nimport lying_around"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lying_around.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    settings = circles.settings(tmp_path)
    with pytest.raises(ModelRefused, match="lying_around"):
        train(project, settings=settings)
    assert list(runs("houses", settings=settings)) == []
