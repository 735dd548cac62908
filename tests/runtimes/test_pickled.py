"""The last resort: what it holds is known before it is opened, and it opens nothing else."""

from __future__ import annotations

import contextlib
import importlib
import io
import pickle
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge

from fullcircle import registry
from fullcircle.errors import BundleInvalid, FullcircleError, ModelRefused
from fullcircle.runtimes import pickled
from fullcircle.runtimes.pickled import PickledRuntime
from fullcircle.runtimes.runtime import Runtime
from fullcircle.testing.runtimes import RuntimeSuite

ROWS = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0.5, -1.0, 2.0, 0.0]})
NOWHERE = Path("no-such-project-folder")
OWN = """
import statistics


class Middle:
    def __init__(self, share):
        self.share = share

    def predict(self, frame):
        return [statistics.mean(row) * float(self.share) for row in frame.to_numpy().tolist()]
"""


class TestPickledRuntime(RuntimeSuite):
    @pytest.fixture
    def runtime(self) -> Runtime:
        found: Runtime = registry.find("runtimes", "pickled")()
        return found

    @pytest.fixture(params=["ridge", "logistic"])
    def model(self, request: pytest.FixtureRequest) -> Any:
        model = Ridge() if request.param == "ridge" else LogisticRegression()
        return model.fit(ROWS, [0, 1, 1, 0])

    @pytest.fixture
    def rows(self) -> Any:
        return ROWS


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "middles.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield importlib.import_module("middles").Middle(Fraction(1, 2))
    sys.modules.pop("middles", None)


def test_classes_of_the_project_travel_as_source(own: Any, tmp_path: Path) -> None:
    runtime = PickledRuntime()
    saved = runtime.save(own, tmp_path)
    assert saved.pickled
    assert saved.types == ("fractions:Fraction", "middles:Middle")
    assert list(saved.code) == ["middles"]
    code = tmp_path / "elsewhere"
    code.mkdir()
    (code / "middles.py").write_bytes(saved.code["middles"])
    del sys.modules["middles"]
    loaded = runtime.load(saved.data, types=saved.types, code=code)
    assert loaded.predict(ROWS) == own.predict(ROWS)
    assert "middles" not in sys.modules
    with pytest.raises(BundleInvalid):
        runtime.load(saved.data, types=("fractions:Fraction",), code=code)


def test_it_asks_for_the_libraries_of_what_it_holds() -> None:
    assert PickledRuntime().save(Ridge().fit(ROWS, [0, 1, 1, 0]), NOWHERE).requirements == ("scikit-learn",)


@pytest.mark.parametrize("broken", [lambda frame: frame, partial(lambda frame: frame)])
def test_what_cannot_be_imported_again_is_refused_by_name(broken: Any) -> None:
    model = Ridge().fit(ROWS, [0, 1, 1, 0])
    model.hidden = broken
    with pytest.raises(ModelRefused, match="cannot be pickled") as caught:
        PickledRuntime().save(model, NOWHERE)
    assert "Ridge" in str(caught.value)


def test_a_class_of_main_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Local:
        def predict(self, frame: Any) -> Any:
            return frame

    with pytest.raises(ModelRefused):
        PickledRuntime().save(Local(), NOWHERE)
    Local.__module__, Local.__qualname__ = "__main__", "Local"
    monkeypatch.setattr(sys.modules["__main__"], "Local", Local, raising=False)
    with pytest.raises(ModelRefused, match="__main__"):
        PickledRuntime().save(Local(), NOWHERE)


HEAD = b"\x80\x05"
NAMES = b"\x8c\x02os\x94\x8c\x06system\x94"
MADE_UP = {
    "dup": HEAD + NAMES + b"20\x93.",
    "popped": HEAD + NAMES + b"N0\x93.",
    "from a tuple": HEAD + NAMES + b"\x86N\x93.",
    "from the memo": HEAD + NAMES + b"h\x07h\x08\x93.",
    "by GLOBAL": HEAD + b"cos\nsystem\n.",
    "by INST": HEAD + b"(ios\nsystem\n.",
    "by extension": HEAD + b"\x82\x01.",
    "by put": HEAD + b"\x8c\x02osq\x00\x8c\x06systemq\x01h\x00h\x01\x93.",
    "of an older protocol": b"\x80\x04" + NAMES + b"\x93.",
    "twice": HEAD + b"N." + HEAD + NAMES + b"\x93.",
    "empty": b"",
}


@pytest.mark.parametrize("case", sorted(MADE_UP))
def test_a_name_that_is_made_up_is_found(case: str) -> None:
    with pytest.raises(BundleInvalid):
        pickled.names(MADE_UP[case])


def test_names_are_read_without_being_run() -> None:
    assert pickled.names(HEAD + NAMES + b"\x93.") == ("os:system",)
    assert pickled.names(HEAD + NAMES + b"00h\x00h\x01\x93.") == ("os:system",)
    with pytest.raises(BundleInvalid):
        PickledRuntime().load(HEAD + NAMES + b"\x93.", types=["sklearn.linear_model._ridge:Ridge"])


class Asked(pickle.Unpickler):
    """Notes what it is asked for, and gives nothing."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.asked: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.asked.add(f"{module}:{name}")
        raise KeyError(name)


@given(st.binary(max_size=40))
def test_whatever_a_file_asks_for_was_known_before(tail: bytes) -> None:
    data = HEAD + NAMES + tail + b"."
    try:
        known = pickled.names(data)
    except FullcircleError:
        return
    reader = Asked(io.BytesIO(data))
    with contextlib.suppress(Exception):  # any damage is fine here
        reader.load()
    assert reader.asked <= set(known)
