from __future__ import annotations

import math
import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_info, threadpool_limits

from bundle_samples import SAVED, sample
from fullcircle.errors import BundleInvalid, ModelRefused, PluginUnknown
from fullcircle.packaging import loading, machine
from fullcircle.packaging.bundle import Bundle, GoldenRow, open_bundle, pack
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Prediction
from model_samples import classifier, regressor

OK = Verdict(status="ok")


def answering(bundle: Bundle, change: Any) -> Any:
    """A scorer of a bundle whose predictions are changed on their way out."""

    class Changed:
        def score(self, rows: Any) -> tuple[Prediction, ...]:
            return tuple(change(each) for each in loading.scorer(bundle, Path("unused")).score(rows))

    return Changed()


@pytest.mark.parametrize("kind", [regressor, classifier])
def test_a_bundle_answers_as_it_was_recorded(kind: Any, tmp_path: Path) -> None:
    bundle = open_bundle(pack(kind()))
    scorer = loading.scorer(bundle, tmp_path, version=3)
    loading.check_golden(bundle, scorer, next_step="")
    found = loading.replay(bundle, scorer)
    assert (found.rows, found.same_bits, found.differences) == (len(bundle.golden), True, ())
    (answer,) = scorer.score([bundle.golden[0].row])
    assert (answer.model, answer.version, answer.bundle) == (bundle.manifest.model, 3, bundle.digest)


def test_a_caller_may_name_the_bundle_otherwise(tmp_path: Path) -> None:
    bundle = regressor()
    (answer,) = loading.scorer(bundle, tmp_path, digest="of the blob").score([bundle.golden[0].row])
    assert answer.bundle == "of the blob"


def test_the_smallest_change_of_an_answer_is_seen() -> None:
    bundle = regressor()
    found = loading.replay(bundle, answering(bundle, lambda p: replace(p, value=math.nextafter(p.value, math.inf))))
    assert 0.0 < found.largest_difference < 1e-10
    assert not found.same_bits
    assert "golden row 1: answer" in found.differences[0]
    assert len(found.differences) <= 5


def test_a_change_of_a_probability_is_seen() -> None:
    bundle = classifier()

    def nudged(p: Prediction) -> Prediction:
        assert p.probabilities is not None
        return replace(p, probabilities={name: chance + 0.25 for name, chance in p.probabilities.items()})

    found = loading.replay(bundle, answering(bundle, nudged))
    assert found.largest_difference == pytest.approx(0.25)
    assert "probabilities" in found.differences[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: replace(p, value="other"),
        lambda p: replace(p, value=None),
        lambda p: replace(p, probabilities=None),
        lambda p: replace(p, probabilities=dict(reversed(list(p.probabilities.items())))),
        lambda p: replace(p, inputs={}),
        lambda p: replace(p, inputs=p.inputs | {"age": float(p.inputs["age"])}),
        lambda p: replace(p, verdict=Verdict(status="flagged")),
    ],
)
def test_a_change_of_anything_else_is_infinite(change: Any) -> None:
    bundle = classifier()
    assert loading.replay(bundle, answering(bundle, change)).largest_difference == math.inf
    with pytest.raises(BundleInvalid, match="golden rows differently") as caught:
        loading.check_golden(bundle, answering(bundle, change), next_step="use its own environment")
    assert "a difference of inf; golden row 1" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        (lambda value: math.nextafter(value, math.inf), True),
        (lambda value: value + 1e-10, True),
        (lambda value: value + 1e-4, False),
        (lambda value: math.nan, False),
        (lambda value: math.inf, False),
    ],
)
def test_server_and_mlflow_allow_what_another_cpu_may_change_and_no_more(change: Any, taken: bool) -> None:
    bundle = regressor()
    changed = answering(bundle, lambda p: replace(p, value=change(p.value)))
    if taken:
        loading.check_golden(bundle, changed, next_step="")
        return
    with pytest.raises(BundleInvalid, match="golden rows differently") as caught:
        loading.check_golden(bundle, changed, next_step="use its own environment")
    told = str(caught.value)
    assert "golden row 1: answer" in told
    assert "Python and packages are those of the lock; the CPU here is" in told, "what may be why"
    assert "use its own environment" in told


@given(a=st.floats(allow_nan=False), b=st.floats(allow_nan=False))
def test_only_the_same_bits_are_no_difference(a: float, b: float) -> None:
    distance = loading._distance(a, b)
    assert (distance == 0.0) == (a.hex() == b.hex())
    assert distance == loading._distance(b, a)


def test_zeros_of_different_sign_are_not_the_same_bits() -> None:
    assert 0.0 < loading._distance(0.0, -0.0) < 1e-300
    assert loading._distance(math.nan, 1.0) == math.inf
    assert loading._distance(1, 1.0) == math.inf
    assert loading._distance(True, 1) == math.inf


def test_no_value_of_a_row_is_told() -> None:
    golden = GoldenRow(row={"name": "Ada"}, value=1.0, verdict=OK, inputs={"name": "Ada"})
    for found in (Prediction(value=2.0, verdict=OK, inputs={"name": "Eve"}), Prediction(value=2.0, verdict=OK)):
        assert "Ada" not in loading._told(golden, found)


@pytest.mark.parametrize("inside", [lambda forest: forest, lambda forest: make_pipeline(StandardScaler(), forest)])
def test_a_forest_that_was_fitted_with_threads_gives_the_same_bits_each_time(inside: Any, tmp_path: Path) -> None:
    """Its threads add the trees in whatever order they finish: no call would give the bits that a proof asks for."""
    inputs = np.random.default_rng(0).normal(size=(300, 4))
    model = inside(RandomForestRegressor(80, n_jobs=2, random_state=0)).fit(inputs, inputs @ [3.0, 0.1, -7.0, 1e-3])
    saved = SklearnRuntime().save(model, tmp_path)
    loaded = [loading.restore("sklearn", saved, tmp_path) for _ in range(2)]
    forests = [each if isinstance(each, RandomForestRegressor) else each[-1] for each in loaded]
    assert [each.n_jobs for each in forests] == [1, 1]
    assert len({each.predict(inputs).tobytes() for each in loaded * 3}) == 1
    np.testing.assert_allclose(loaded[0].predict(inputs), model.predict(inputs), rtol=1e-12)


def test_golden_rows_are_asked_in_one_thread_and_the_threads_are_put_back() -> None:
    """Sums that are split over threads round differently: with another number of them a build had another digest."""
    bundle, seen = regressor(), list[int]()
    scorer = loading.scorer(bundle, Path("unused"))

    def counts() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info()]

    class Asking:
        def score(self, rows: Any) -> tuple[Prediction, ...]:
            seen.extend(counts())
            return scorer.score(rows)

    asking: Any = Asking()
    with threadpool_limits(limits=2):
        before = counts()
        loading.replay(bundle, asking)
        assert 2 in before
        assert counts() == before
        with pytest.raises(ZeroDivisionError):
            loading.replay(bundle, answering(bundle, lambda p: 1 / 0))
        assert counts() == before
    assert set(seen) == {1}


def test_a_sum_that_threads_would_split_has_the_bits_of_one() -> None:
    """What ``one_thread`` is for: the product of a large layer, as a network has it."""
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(25, 3000)), rng.normal(size=(3000, 40))
    found = set()
    for count in (1, 2, 3):
        with threadpool_limits(limits=count), machine.one_thread():
            found.add((one @ other).tobytes())
    assert len(found) == 1


def test_an_unknown_runtime_is_told(tmp_path: Path) -> None:
    with pytest.raises(PluginUnknown, match="runtimes"):
        loading.scorer(sample(runtime="absent"), tmp_path)


def test_bytes_that_are_no_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises((BundleInvalid, ModelRefused)):
        loading.scorer(sample(saved=replace(SAVED, code={})), tmp_path)


def test_types_that_the_manifest_does_not_list_are_refused(tmp_path: Path) -> None:
    bundle = regressor()
    lying = replace(bundle, manifest=replace(bundle.manifest, types=bundle.manifest.types[1:]))
    with pytest.raises((BundleInvalid, ModelRefused)):
        loading.scorer(open_bundle(pack(lying)), tmp_path)


# --- shipped source -----------------------------------------------------------------------------------


def test_source_is_written_once_and_reused(tmp_path: Path) -> None:
    home = loading.source(SAVED.code, tmp_path)
    found = {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*.py")}
    assert found == {"scaling.py": b"x = 1\n", "features/__init__.py": b"", "features/hours.py": b"y = 2\n"}
    before = (home / "scaling.py").stat().st_ino
    assert loading.source(dict(reversed(list(SAVED.code.items()))), tmp_path) == home
    assert (home / "scaling.py").stat().st_ino == before
    assert loading.source({"scaling": b"x = 2\n"}, tmp_path) != home
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".part")]


def spoil_edit(home: Path) -> None:
    (home / "scaling.py").write_bytes(b"evil")


def spoil_extra(home: Path) -> None:
    (home / "numpy.py").write_bytes(b"evil")


def spoil_bytecode(home: Path) -> None:
    (home / "__pycache__").mkdir()
    (home / "__pycache__" / "scaling.cpython-311.pyc").write_bytes(b"evil")


def spoil_missing(home: Path) -> None:
    (home / "scaling.py").unlink()


def spoil_link(home: Path) -> None:
    other = home.parent / "other.py"
    other.write_bytes((home / "scaling.py").read_bytes())
    (home / "scaling.py").unlink()
    (home / "scaling.py").symlink_to(other)


def spoil_folder(home: Path) -> None:
    moved = home.with_name("moved")
    home.rename(moved)
    home.symlink_to(moved)


@pytest.mark.parametrize("spoil", [spoil_edit, spoil_extra, spoil_bytecode, spoil_missing, spoil_link, spoil_folder])
def test_what_was_left_on_disk_is_not_trusted(spoil: Any, tmp_path: Path) -> None:
    home = loading.source(SAVED.code, tmp_path)
    spoil(home)
    assert loading.source(SAVED.code, tmp_path) == home
    assert not home.is_symlink()
    found = {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert found == {"scaling.py": b"x = 1\n", "features/__init__.py": b"", "features/hours.py": b"y = 2\n"}
    assert not (home / "scaling.py").is_symlink()


def test_many_at_once_write_one_source(tmp_path: Path) -> None:
    homes: list[Path] = []
    threads = [threading.Thread(target=lambda: homes.append(loading.source(SAVED.code, tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(homes) == 8
    assert len(set(homes)) == 1
    assert os.listdir(tmp_path) == [homes[0].name]


def test_a_shipped_class_answers_from_the_bundle(tmp_path: Path) -> None:
    """The class comes from the bundle's source, not from the module of the same name in this process."""
    project = tmp_path / "project"
    project.mkdir()
    bundle = open_bundle(pack(regressor(project=project)))
    assert bundle.manifest.code == ("doubling_sample",)
    assert "doubling_sample" not in sys.modules
    scorer = loading.scorer(bundle, tmp_path / "code")
    assert loading.replay(bundle, scorer).same_bits
