"""The project's own classes travel as source, and never meet those of another bundle."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline

from fullcircle.errors import BundleInvalid, ModelRefused
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.runtimes.sklearn import SklearnRuntime
from model_rows import amounts, numbers

SCALED = """
    from sklearn.base import BaseEstimator, TransformerMixin

    from helping import factor


    class Scaled(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.times_ = factor()
            return self

        def transform(self, X):
            import helping
            return X * self.times_ + helping.SHIFT

        def __sklearn_is_fitted__(self):
            return True
"""
HELPING = "SHIFT = {shift}\n\n\ndef factor():\n    return {times}\n"

Project = Callable[..., Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Writes files into a folder and makes its modules importable; the last one made is in force."""

    def forget(names: Iterable[str] = ()) -> None:
        """Other tests may have left a module of such a name, and imported libraries must stay as they are."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None) or ""
            if name.partition(".")[0] in names or file.startswith(str(tmp_path)):
                del sys.modules[name]

    def make(name: str, **files: str) -> Path:
        folder = tmp_path / name
        forget({path.partition("/")[0] for path in files})
        for path, source in files.items():
            file = folder / (path + ".py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(source))
        monkeypatch.syspath_prepend(folder)
        importlib.invalidate_caches()
        return folder

    yield make
    forget()


def shipped(saved: SavedModel, folder: Path) -> Path:
    """The code folder as a bundle keeps it."""
    for module, source in saved.code.items():
        path = folder / (module.replace(".", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source)
    return folder


def model_with(module: str, name: str = "Scaled") -> Any:
    made = getattr(importlib.import_module(module), name)()
    return make_pipeline(made, Ridge()).fit(numbers(), amounts())


def test_a_class_is_shipped_with_the_modules_it_imports(project: Project, tmp_path: Path) -> None:
    folder = project("one", scaling=SCALED, helping=HELPING.format(shift=1, times=2), unrelated="x = 1")
    model = model_with("scaling")
    saved = SklearnRuntime().save(model, folder)
    assert set(saved.code) == {"scaling", "helping"}
    assert "scaling.Scaled" in saved.types
    assert saved.code["helping"] == (folder / "helping.py").read_bytes()
    loaded = SklearnRuntime().load(saved.data, types=saved.types, code=shipped(saved, tmp_path / "code"))
    assert np.array_equal(loaded.predict(numbers()), model.predict(numbers()))


def test_it_loads_where_the_project_is_not(project: Project, tmp_path: Path) -> None:
    folder = project("one", scaling=SCALED, helping=HELPING.format(shift=1, times=2))
    model = model_with("scaling")
    saved = SklearnRuntime().save(model, folder)
    code = shipped(saved, tmp_path / "code")
    (tmp_path / "model.skops").write_bytes(saved.data)
    script = (
        "import sys; from pathlib import Path; import pandas, json;"
        "from fullcircle.runtimes.sklearn import SklearnRuntime;"
        "model = SklearnRuntime().load(Path('model.skops').read_bytes(), code=Path(sys.argv[1]));"
        "X = pandas.DataFrame({'age': [50.0], 'bmi': [25.0], 'visits': [3]});"
        "print(json.dumps([model.predict(X).tolist(), 'scaling' in sys.modules, 'helping' in sys.modules]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(code)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    row = numbers().head(1).assign(age=50.0, bmi=25.0, visits=3)
    assert json.loads(ran.stdout) == [model.predict(row).tolist(), False, False]


def test_two_bundles_with_modules_of_the_same_names_do_not_meet(project: Project, tmp_path: Path) -> None:
    """A server swaps one for the other, and both answer as they were evaluated, lazy imports included."""
    made = []
    for number in (1, 2):
        folder = project(f"p{number}", scaling=SCALED, helping=HELPING.format(shift=number * 10, times=number))
        model = model_with("scaling")
        saved = SklearnRuntime().save(model, folder)
        made.append((saved, shipped(saved, tmp_path / f"code{number}"), model.predict(numbers())))
    assert made[0][0].code["scaling"] == made[1][0].code["scaling"]
    assert made[0][0].code["helping"] != made[1][0].code["helping"]
    loaded = [SklearnRuntime().load(saved.data, code=code) for saved, code, _ in made]
    for model, (_, _, expected) in zip(loaded, made, strict=True):
        assert np.array_equal(model.predict(numbers()), expected)
    shifts = [float(model[0].transform(np.zeros((1, 1)))[0, 0]) for model in loaded]
    assert shifts == [10.0, 20.0]
    assert type(loaded[0][0]) is not type(loaded[1][0])
    again = SklearnRuntime().load(made[0][0].data, code=made[0][1])
    assert type(again[0]) is type(loaded[0][0])


def test_packages_and_relative_imports_travel(project: Project, tmp_path: Path) -> None:
    folder = project(
        "one",
        **{
            "parts/__init__": "LEVEL = 3\n",
            "parts/scaling": """
            from sklearn.base import BaseEstimator, TransformerMixin

            import parts.numbers as figures
            from . import LEVEL
            from .numbers import TWO
            from parts import numbers


            class Scaled(TransformerMixin, BaseEstimator):
                def fit(self, X, y=None):
                    self.times_ = TWO * LEVEL * figures.TWO * numbers.TWO
                    return self

                def transform(self, X):
                    return X * self.times_
        """,
            "parts/numbers": "TWO = 2\n",
        },
    )
    model = model_with("parts.scaling")
    saved = SklearnRuntime().save(model, folder)
    assert set(saved.code) == {"parts.__init__", "parts.scaling", "parts.numbers"}
    loaded = SklearnRuntime().load(saved.data, code=shipped(saved, tmp_path / "code"))
    assert loaded[0].times_ == 24
    assert np.array_equal(loaded.predict(numbers()), model.predict(numbers()))


def test_a_plain_class_can_be_the_model(project: Project, tmp_path: Path) -> None:
    folder = project(
        "one",
        project="""
            import numpy as np

            class Mean:
                def __init__(self, value):
                    self.value = value

                def predict(self, X):
                    return np.full(len(X), self.value)
        """,
    )
    model = importlib.import_module("project").Mean(4.5)
    assert SklearnRuntime().accepts(model)
    saved = SklearnRuntime().save(model, folder)
    assert set(saved.code) == {"project"}
    loaded = SklearnRuntime().load(saved.data, code=shipped(saved, tmp_path / "code"))
    assert loaded.predict(numbers()).tolist() == [4.5] * len(numbers())


EFFECTS = {
    "call": "import numpy as np\nnp.seterr(all='ignore')\n",
    "environment": "import os\nos.environ['X'] = '1'\n",
    "loop": "for i in range(3):\n    pass\n",
    "inside-if": "import sys\nif sys.version_info:\n    sys.path.append('x')\n",
    "inside-try": "try:\n    import numpy\nexcept ImportError:\n    print('no')\n",
}


@pytest.mark.parametrize("case", sorted(EFFECTS))
def test_a_module_that_does_more_than_define_is_refused(project: Project, case: str, capsys: Any) -> None:
    folder = project("one", scaling=EFFECTS[case] + dedent(SCALED), helping=HELPING.format(shift=0, times=1))
    model = model_with("scaling")
    with pytest.raises(ModelRefused) as caught:
        SklearnRuntime().save(model, folder)
    assert "scaling.py, line" in str(caught.value.received)


def test_what_only_runs_as_a_script_is_no_effect(project: Project) -> None:
    tail = "\n\nif __name__ == '__main__':\n    print('run')\n"
    folder = project("one", scaling=dedent(SCALED) + tail, helping=HELPING.format(shift=0, times=1))
    assert "scaling" in SklearnRuntime().save(model_with("scaling"), folder).code


def test_a_class_inside_a_function_is_refused(project: Project) -> None:
    hidden = """
        from sklearn.base import BaseEstimator, TransformerMixin

        def make():
            class Scaled(TransformerMixin, BaseEstimator):
                def fit(self, X, y=None):
                    return self

                def transform(self, X):
                    return X
            return Scaled()
    """
    folder = project("one", scaling=hidden)
    model = model_with("scaling", "make")
    with pytest.raises(ModelRefused, match="cannot be imported again"):
        SklearnRuntime().save(model, folder)


def test_a_class_of_another_folder_is_not_the_projects_own(project: Project, tmp_path: Path) -> None:
    project("one", scaling=SCALED, helping=HELPING.format(shift=0, times=1))
    model = model_with("scaling")
    other = tmp_path / "other"
    other.mkdir()
    (other / "scaling.py").write_text("class Scaled: pass\n")
    with pytest.raises(ModelRefused, match="may not be packaged"):
        SklearnRuntime().save(model, other)


def test_code_is_not_run_unless_the_file_asks_for_it_and_is_sound(project: Project, tmp_path: Path) -> None:
    folder = project("one", scaling=SCALED, helping=HELPING.format(shift=0, times=1))
    saved = SklearnRuntime().save(model_with("scaling"), folder)
    code = tmp_path / "code"
    shipped(saved, code)
    owned = tmp_path / "owned"
    (code / "scaling.py").write_text(f"from pathlib import Path\nPath({str(owned)!r}).touch()\n")
    with pytest.raises(BundleInvalid):
        SklearnRuntime().load(saved.data, types=(*saved.types, "more.Types"), code=code)
    with pytest.raises(ModelRefused):
        SklearnRuntime().load(saved.data)
    assert not owned.exists()


@pytest.mark.parametrize("name", ["os", "sklearn", "numpy", "fullcircle"])
def test_shipped_modules_cannot_take_the_place_of_a_library(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text("raise SystemExit\n")
    with pytest.raises(BundleInvalid, match="name that is not allowed"):
        SklearnRuntime().load(b"", code=tmp_path)


def test_a_module_that_fails_leaves_nothing_behind(project: Project, tmp_path: Path) -> None:
    folder = project("one", scaling=SCALED, helping=HELPING.format(shift=0, times=1))
    saved = SklearnRuntime().save(model_with("scaling"), folder)
    code = shipped(saved, tmp_path / "code")
    (code / "helping.py").write_text("SHIFT = 1 / 0\n")
    before = {name for name in sys.modules if name.startswith("fullcircle_code_")}
    for _ in range(2):
        with pytest.raises(BundleInvalid, match="ZeroDivisionError"):
            SklearnRuntime().load(saved.data, code=code)
    left = {name for name in sys.modules if name.startswith("fullcircle_code_")} - before
    assert not any(name.endswith((".helping", ".scaling")) for name in left)
