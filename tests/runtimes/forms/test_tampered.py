"""Forms that lie in one corner only, and files of forms that were made to mislead, to flood or to stall."""

from __future__ import annotations

import io
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn import ensemble, linear_model

from bundle_samples import sample as bundled
from form_samples import Matrix, Sample, columns, contract, drawn, fitted
from fullcircle.errors import BundleInvalid
from fullcircle.packaging import loading
from fullcircle.packaging.bundle import Bundle, open_bundle, pack
from fullcircle.runtimes.forms import certificate, growing, probes, stored, weighing
from fullcircle.runtimes.forms.certificate import CANDIDATES, Candidate, Chosen, choose
from fullcircle.runtimes.forms.preparing import Chains
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Column, Contract
from fullcircle.types.form import Certificate, FormName

Lie = Callable[[Matrix, Matrix, Matrix], Any]
KINDS = (
    *columns(numbers=2, whole=True),
    Column(name="c", kind="category", nullable=True, categories=("a", "b", "rare")),
    Column(name="d", kind="category", categories=("p", "q"), unseen="flag"),
)
N0, N1, K, B, C, D = range(6)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model and its trees differ by a factor of a hundred: a few calls tell which is faster."""
    monkeypatch.setattr(certificate, "_SECONDS", 0.0)


@cache
def model() -> Sample:
    """A small model whose rows never have the rare category."""
    about = contract(2, KINDS)
    found = fitted(
        lambda: ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype"),
        about,
        count=150,
    )
    return replace(found, rows=found.rows[found.rows[:, C] != 2.0])


class Told:
    """A form that answers as the true one does, but for what a lie makes of it."""

    name = "trees"
    probable = True

    def __init__(self, form: Any, lie: Lie) -> None:
        self.form = form
        self.lie = lie

    def ask(self, matrix: Matrix) -> Any:
        answers, chances = self.form.ask(matrix)
        return self.lie(matrix, answers, chances)


def chosen(lie: Lie, tolerance: float = 0.0) -> Chosen:
    def make(about: Contract, fitted_model: Any) -> Candidate:
        true = CANDIDATES["trees"](about, fitted_model)
        return replace(true, form=Told(true.form, lie), tolerance=tolerance)

    return choose(model().contract, model().model, model().values, candidates={"told": make})


def where(which: Callable[[Matrix], Any]) -> Lie:
    """The last bit of the chances is wrong on these rows."""

    def lie(matrix: Matrix, answers: Matrix, chances: Matrix) -> Any:
        return answers, np.where(which(matrix)[:, None], np.nextafter(chances, 2.0), chances)

    return lie


def refusing(which: Callable[[Matrix], Any]) -> Lie:
    """There is no answer on these rows."""

    def lie(matrix: Matrix, answers: Matrix, chances: Matrix) -> Any:
        return answers, np.where(which(matrix)[:, None], np.nan, chances)

    return lie


def alone(matrix: Matrix) -> Matrix:
    return np.full(len(matrix), len(matrix) == 1)


LIES: dict[str, Lie] = {
    "a category that no row has": where(lambda m: m[:, C] == 2.0),
    "the other category of two": where(lambda m: m[:, D] == 1.0),
    "a missing category": where(lambda m: np.isnan(m[:, C])),
    "an unseen category": where(lambda m: np.isnan(m[:, D])),
    "a missing number": where(lambda m: np.isnan(m[:, N1])),
    "all is missing that may be": where(lambda m: np.isnan(m[:, [N0, N1, C, D]]).all(axis=1)),
    "at the lower bound": where(lambda m: m[:, N0] == -3.0),
    "at the upper bound": where(lambda m: m[:, N1] == 3.0),
    "above what anybody sends": where(lambda m: m[:, N0] > 1e8),
    "below what anybody sends": where(lambda m: m[:, N1] < -1e8),
    "a zero with a sign": where(lambda m: np.signbit(m[:, N0]) & (m[:, N0] == 0.0)),
    "the first whole number": where(lambda m: m[:, K] == 0.0),
    "whole numbers outside": where(lambda m: m[:, K] > 9.0),
    "false": where(lambda m: m[:, B] == 0.0),
    "true": where(lambda m: m[:, B] == 1.0),
    "no answer to a category that no row has": refusing(lambda m: m[:, C] == 2.0),
    "no answer to large numbers": refusing(lambda m: np.abs(m[:, N0]) > 1e12),
    "no answer where all is missing": refusing(lambda m: np.isnan(m[:, [N0, N1, C, D]]).all(axis=1)),
    "a row alone": where(alone),
    "no answer to a row alone": refusing(alone),
    "the other class for a row alone": lambda m, a, c: (1 - a if len(m) == 1 else a, c),
    "many rows": where(lambda m: np.full(len(m), len(m) > 100)),
    "the first row of many": where(lambda m: np.arange(len(m)) == 0),
    "the last row of many": where(lambda m: np.arange(len(m)) == max(len(m) - 1, 1)),
    "the chances of the other class": lambda m, a, c: (a, c[:, ::-1]),
    "no chances": lambda m, a, c: (a, None),
    "chances of one class": lambda m, a, c: (a, c[:, :1]),
    "an answer too few": lambda m, a, c: (a[:-1], c[:-1]),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_in_one_corner_is_found(name: str) -> None:
    found = chosen(LIES[name])
    assert found.certificate.form == "frame", name
    assert found.data is None
    assert found.form.name == "frame"
    assert dict(found.certificate.refused).keys() == {"told"}
    assert dict(found.certificate.refused)["told"] != "it is not faster"


def test_a_form_that_tells_the_truth_is_chosen() -> None:
    """So that the refusals above are those of the lies."""
    found = chosen(lambda matrix, answers, chances: (answers, chances))
    assert (found.certificate.form, found.certificate.same_bits) == ("trees", True)
    near = chosen(where(lambda m: m[:, N0] > 0), tolerance=1e-12)
    assert (near.certificate.form, near.certificate.same_bits) == ("trees", False)
    assert 0.0 < near.certificate.largest_difference < 1e-15
    far = chosen(lambda m, a, c: (a, c + 1e-11), tolerance=1e-12)
    assert "differ" in dict(far.certificate.refused)["told"]


def test_a_form_that_changes_its_mind_is_found() -> None:
    """What a form remembers of earlier calls shows as soon as a row is asked again."""
    asked = []

    def later(matrix: Matrix, answers: Matrix, chances: Matrix) -> Any:
        asked.append(len(matrix))
        return answers, chances if len(asked) == 1 else np.nextafter(chances, 2.0)

    assert chosen(later).certificate.form == "frame"
    assert len(asked) >= 2


def test_as_many_rows_are_asked_alone_on_any_machine() -> None:
    sizes: list[int] = []

    def count(matrix: Matrix, answers: Matrix, chances: Matrix) -> Any:
        sizes.append(len(matrix))
        return answers, chances

    assert chosen(count).certificate.form == "trees"
    compared = [size for size in sizes if size not in (1, 64)]
    assert len(compared) == 3  # the rows as they are, those at limits, those that lack values
    first = [min(certificate._ALONE, size) for size in compared]
    before_timing = sizes[: sizes.index(compared[-1]) + 1 + first[-1]]
    assert before_timing.count(1) == sum(first)


@pytest.mark.parametrize("width", [1, 4, 60])
def test_limits_of_many_columns_are_few_in_all(width: int) -> None:
    about = contract(0, columns(numbers=width, missing=False))
    values = np.arange(2000.0)
    at = probes._fair([2000] * width)
    assert at == min(probes.MOST_LIMITS, at)
    assert len(probes._spread(values, at)) * width <= probes.MOST_IN_ALL
    rows = drawn(about, 10, 0)
    found = probes.boundary(about, rows, {place: probes._spread(values, at) for place in range(width)}, 0)
    assert len(found) <= 12 * probes.MOST_IN_ALL + 20 * width
    assert found[:, width - 1].max() >= 1999.0


def test_columns_with_few_limits_keep_them_all() -> None:
    most = probes._fair([5, 20, 50_000, 50_000])
    assert most == probes.MOST_LIMITS
    most = probes._fair([5, 20, *[50_000] * 10])
    assert 20 < most < probes.MOST_LIMITS
    assert 25 + 10 * most > 0.8 * probes.MOST_IN_ALL
    assert probes._fair([]) == probes.MOST_LIMITS
    assert probes._fair([9] * 10_000) == 1


def test_wide_forests_after_a_scaler_are_probed_in_a_moment() -> None:
    about = contract(0, columns(numbers=40, missing=False))
    rows = drawn(about, 200, 0)
    wide = len(about.columns)
    forest = replace(
        growing.grow(model().contract, model().model)[1],
        feature=np.tile(np.arange(wide), 400),
        threshold=np.random.default_rng(0).normal(size=wide * 400),
    )
    made = weighing.weigh(about, linear_model.Ridge().fit(rows, rows[:, 0]))[0]
    shift, scale = np.linspace(-1.0, 1.0, wide), np.linspace(1.0, 2.0, wide)
    scaled = replace(
        made,
        chains=Chains(
            sources=np.arange(wide),
            operations=np.array([1, 2]),
            values=np.array([shift, scale]),
            marks=np.ones((2, wide), dtype=bool),
        ),
    )
    begun = time.process_time()
    found = probes.limits(scaled, forest)
    assert time.process_time() - begun < 3.0
    assert sum(map(len, found.values())) <= probes.MOST_IN_ALL
    assert set(found) == set(range(wide))
    for place in (0, wide - 1):  # each is where the scaled value passes a split
        splits = np.sort(forest.threshold[forest.feature == place])
        back = np.sort(np.unique((found[place] - shift[place]) / scale[place]))
        nearest = np.abs(splits[:, None] - back[None, :]).min(axis=0)
        assert nearest.max() < 1e-12


# Files


@cache
def of(kind: str, seed: int) -> tuple[Sample, bytes]:
    """Models of one shape that were fitted on other rows."""
    about = contract(2, columns(numbers=2, missing=False))
    if kind == "linear":
        found = fitted(linear_model.LogisticRegression, about, seed=seed)
        return found, stored.linear(*weighing.weigh(about, found.model))
    found = fitted(lambda: ensemble.GradientBoostingClassifier(n_estimators=3, max_depth=1), about, seed=seed)
    return found, stored.trees(*growing.grow(about, found.model))


def bundle_of(kind: FormName, golden_from: int, compiled: bytes) -> Bundle:
    """A bundle of golden rows that one form answered, holding what may be another."""
    found, data = of(kind, golden_from)
    rows = found.values[:12]
    answers = Scorer(found.contract, None, form=stored.opened(data, found.contract)).score(rows)
    return bundled(
        contract=found.contract,
        golden=list(zip(rows, answers, strict=True)),
        certificate=Certificate(form=kind),
        compiled=compiled,
    )


@pytest.mark.parametrize("kind", ["trees", "linear"])
def test_golden_rows_find_a_form_of_another_model(kind: FormName, tmp_path: Path) -> None:
    own = bundle_of(kind, 1, of(kind, 1)[1])
    again = open_bundle(pack(own))
    assert loading.replay(again, loading.scorer(again, tmp_path)).same_bits
    other = bundle_of(kind, 1, of(kind, 2)[1])  # the same shapes: nothing in the file itself is wrong
    found = loading.replay(other, loading.scorer(other, tmp_path))
    assert not found.same_bits
    assert found.largest_difference > 1e-9
    assert found.differences


@pytest.mark.parametrize("kind", ["trees", "linear"])
def test_golden_rows_find_one_bit(kind: FormName, tmp_path: Path) -> None:
    files = unpacked(of(kind, 1)[1])
    name = {"trees": "node.value.npy", "linear": "weights.npy"}[kind]
    files[name] = saved(np.load(io.BytesIO(files[name])) * (1 + 4e-16))
    found = bundle_of(kind, 1, repacked(files))
    replay = loading.replay(found, loading.scorer(found, tmp_path))
    assert not replay.same_bits
    assert 0.0 < replay.largest_difference < 1e-12


def test_a_certificate_of_the_other_form_is_refused(tmp_path: Path) -> None:
    for kind, other in (("trees", "linear"), ("linear", "trees")):
        bundle = bundle_of(kind, 1, of(other, 1)[1])  # type: ignore[arg-type]
        with pytest.raises(BundleInvalid, match="another form") as caught:
            loading.scorer(bundle, tmp_path)
        assert (caught.value.received, caught.value.allowed) == (other, kind)


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repacked(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def saved(value: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, value, allow_pickle=False)
    return out.getvalue()


def with_words(kind: str, **fields: Any) -> bytes:
    files = unpacked(of(kind, 1)[1])
    files["words.json"] = msgspec.json.encode(msgspec.json.decode(files["words.json"]) | fields)
    return repacked(files)


def overlapping() -> bytes:
    """A central directory that says of each entry that it is as long as the file."""
    data = bytearray(of("trees", 1)[1])
    size = len(data).to_bytes(4, "little")
    place = data.find(b"PK\x01\x02")
    while place >= 0:
        data[place + 20 : place + 28] = size + size
        place = data.find(b"PK\x01\x02", place + 1)
    return bytes(data)


def many_operations() -> bytes:
    files = unpacked(of("linear", 1)[1])
    wide = len(np.load(io.BytesIO(files["chain.sources.npy"])))
    files["chain.operations.npy"] = saved(np.full(5000, 3, dtype=np.uint8))
    files["chain.values.npy"] = saved(np.ones((5000, wide)))
    files["chain.marks.npy"] = saved(np.ones((5000, wide), dtype=bool))
    return repacked(files)


def many_features() -> bytes:
    files = unpacked(of("trees", 1)[1])
    count = 200_000
    files["chain.sources.npy"] = saved(np.zeros(count, dtype=np.int32))
    files["chain.values.npy"] = saved(np.zeros((0, count)))
    files["chain.marks.npy"] = saved(np.zeros((0, count), dtype=bool))
    files["feature.chain.npy"] = saved(np.arange(count, dtype=np.int32))
    files["feature.entry.npy"] = saved(np.full(count, -1, dtype=np.int32))
    files["feature.first.npy"] = saved(np.zeros(count + 1, dtype=np.int32))
    return repacked(files)


def many_scores() -> bytes:
    """One-leaf trees: small in the file, 33 slots of values each in memory."""
    count, files = 600_000, unpacked(of("trees", 1)[1])
    for name in ("feature", "category"):
        files[f"node.{name}.npy"] = saved(np.full(count, -1, dtype=np.int32))
    for name in ("left", "right"):
        files[f"node.{name}.npy"] = saved(np.zeros(count, dtype=np.int32))
    files["node.threshold.npy"] = saved(np.zeros(count))
    files["node.missing_left.npy"] = saved(np.zeros(count, dtype=bool))
    files["node.value.npy"] = saved(np.zeros((count, 1)))
    files["tree.starts.npy"] = saved(np.arange(count + 1, dtype=np.int32))
    return repacked(files)


BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "entries over each other": ("trees", overlapping, "its size"),
    "operations without end": ("linear", many_operations, "number of its operations"),
    "features without end": ("trees", many_features, "number of its features"),
    "trees without end": ("trees", many_scores, "size of its tables"),
    "trees without chances": ("trees", lambda: with_words("trees", link="none"), "how it decides"),
    "divided by a part": ("trees", lambda: with_words("trees", divisor=0.5), "its divisor"),
    "divided by too much": ("trees", lambda: with_words("trees", divisor=1e999), "cannot be read"),
    "a decision of another task": ("linear", lambda: with_words("linear", decision="value", link="exp"), "decides"),
    "a link of more classes": ("linear", lambda: with_words("linear", link="softmax_by_row"), "how it decides"),
    "no decision": ("linear", lambda: with_words("linear", decision="", link=""), "how it decides"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_floods_or_stalls_is_refused_at_once(name: str) -> None:
    kind, make, why = BOMBS[name]
    data = make()
    begun = time.process_time()
    with pytest.raises(BundleInvalid, match="compiled form") as caught:
        stored.opened(data, of(kind, 1)[0].contract)
    assert time.process_time() - begun < 2.0
    assert why in str(caught.value)


def test_a_file_of_more_nodes_than_are_packaged_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found, data = of("trees", 1)
    nodes = len(np.load(io.BytesIO(unpacked(data)["node.feature.npy"])))
    monkeypatch.setattr(stored, "MOST_NODES", nodes)
    assert stored.opened(data, found.contract).name == "trees"
    monkeypatch.setattr(stored, "MOST_NODES", nodes - 1)
    with pytest.raises(BundleInvalid, match="number of its nodes"):
        stored.opened(data, found.contract)


def test_a_damaged_form_hides_no_row() -> None:
    """Numbers that overflow in a form that passed its checks are no answer, never a wrong one."""
    found, data = of("linear", 1)
    files = unpacked(data)
    files["weights.npy"] = saved(np.array([[1e308, -1e308]]))
    form = stored.opened(repacked(files), found.contract)
    rows = np.array([[2.0, 2.0], [0.0, 0.0], [math.nan, 0.0]])
    block = Scorer(found.contract, None, form=form).block(rows)
    assert set(block.failed) == {0, 2}
    assert block.chances is not None
    assert np.isfinite(block.chances[1]).all()
