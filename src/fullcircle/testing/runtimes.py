"""The conformance suite of runtimes: subclass it with fixtures for the runtime, models, rows and the folder.

class TestMine(RuntimeSuite):
    @pytest.fixture
    def runtime(self) -> Runtime: ...

    @pytest.fixture(params=[...])
    def model(self, request) -> Any: ...   # fitted, to be asked with ``rows``

    @pytest.fixture
    def rows(self) -> Any: ...
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fullcircle.errors import BundleInvalid, FullcircleError, ModelRefused
from fullcircle.runtimes.runtime import Runtime


class Unwelcome:
    """A model of no framework: what a runtime has to refuse, by its name."""


class RuntimeSuite:
    """What every runtime has to do: the same answers back, the same bytes each time, and no damage accepted."""

    @pytest.fixture
    def runtime(self) -> Runtime:
        """The runtime under test."""
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> Any:
        """A fitted model of the framework."""
        raise NotImplementedError

    @pytest.fixture
    def rows(self) -> Any:
        """Rows that the model can be asked with."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """The project's folder; empty unless the models have classes of their own."""
        return tmp_path

    def test_it_has_a_name_and_accepts_its_models(self, runtime: Runtime, model: Any) -> None:
        """The name stands in manifests."""
        assert runtime.name
        assert runtime.accepts(model)
        assert not runtime.accepts(Unwelcome())

    def test_a_loaded_model_answers_with_the_same_bits(
        self, runtime: Runtime, model: Any, rows: Any, folder: Path
    ) -> None:
        """Values and probabilities alike."""
        loaded = runtime.load(runtime.save(model, folder).data)
        for question in ("predict", "predict_proba"):
            if hasattr(model, question):
                expected = np.asarray(getattr(model, question)(rows.copy()))
                answered = np.asarray(getattr(loaded, question)(rows.copy()))
                assert answered.dtype == expected.dtype
                assert np.array_equal(answered, expected)

    def test_the_same_model_gives_the_same_bytes(self, runtime: Runtime, model: Any, folder: Path) -> None:
        """A bundle's digest depends on nothing but its content."""
        first = runtime.save(model, folder)
        assert runtime.save(model, folder) == first
        assert runtime.save(runtime.load(first.data), folder).data == first.data

    def test_the_types_are_listed_and_checked(self, runtime: Runtime, model: Any, folder: Path) -> None:
        """What the manifest lists is what the file holds, no more and no less."""
        saved = runtime.save(model, folder)
        assert saved.types == tuple(sorted(saved.types)) == runtime.check(model, folder)
        assert saved.types
        runtime.load(saved.data, types=saved.types)
        with pytest.raises(BundleInvalid):
            runtime.load(saved.data, types=(*saved.types, "another.Type"))
        with pytest.raises(BundleInvalid):
            runtime.load(saved.data, types=saved.types[1:])

    def test_a_truncated_file_is_refused(self, runtime: Runtime, model: Any, folder: Path) -> None:
        """Half a model is no model."""
        data = runtime.save(model, folder).data
        for length in (0, 1, len(data) // 10, len(data) // 2, len(data) - 100, len(data) - 1):
            with pytest.raises(FullcircleError):
                runtime.load(data[:length])

    def test_a_pickle_is_refused_unopened(self, runtime: Runtime) -> None:
        """Under any name."""
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(FullcircleError):
                runtime.load(pickle.dumps({"model": [1.0, 2.0]}, protocol=protocol))

    def test_a_foreign_object_is_refused_by_name(self, runtime: Runtime, folder: Path) -> None:
        """Before any bundle is made."""
        with pytest.raises(ModelRefused) as caught:
            runtime.save(Unwelcome(), folder)
        assert "Unwelcome" in str(caught.value)

    def test_it_describes_the_model_in_one_line(self, runtime: Runtime, model: Any) -> None:
        """For reports and pages."""
        text = runtime.describe(model)
        assert text
        assert "\n" not in text
