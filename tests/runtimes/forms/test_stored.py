from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from form_samples import Sample, columns, contract, fitted, same_bits
from fullcircle.errors import BundleInvalid
from fullcircle.runtimes.forms import growing, stored, weighing
from fullcircle.types.contract import Contract

Files = dict[str, bytes]


@cache
def forest() -> Sample:
    from sklearn.ensemble import HistGradientBoostingClassifier

    about = contract(2, columns(numbers=2, whole=True, categories=(4,)))
    return fitted(lambda: HistGradientBoostingClassifier(max_iter=4, min_samples_leaf=3), about, count=200)


@cache
def packed(kind: str) -> bytes:
    if kind == "trees":
        return stored.trees(*growing.grow(forest().contract, forest().model))
    return stored.linear(*weighing.weigh(linear().contract, linear().model))


@cache
def linear() -> Sample:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return fitted(lambda: make_pipeline(StandardScaler(), LogisticRegression()), contract(3, columns(missing=False)))


def about(kind: str) -> Contract:
    return (forest() if kind == "trees" else linear()).contract


def unpacked(data: bytes) -> Files:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repacked(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def array(content: bytes) -> Any:
    return np.load(io.BytesIO(content), allow_pickle=False)


def saved(value: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, value, allow_pickle=True)
    return out.getvalue()


def changed(kind: str, name: str, change: Callable[[Any], Any]) -> bytes:
    files = unpacked(packed(kind))
    value = array(files[f"{name}.npy"]).copy()
    altered = change(value)
    files[f"{name}.npy"] = saved(value if altered is None else altered)
    return repacked(files)


def words(kind: str, **fields: Any) -> bytes:
    files = unpacked(packed(kind))
    files["words.json"] = msgspec.json.encode(msgspec.json.decode(files["words.json"]) | fields)
    return repacked(files)


def put(place: Any, value: Any) -> Callable[[Any], None]:
    def change(found: Any) -> None:
        found[place] = value

    return change


@pytest.mark.parametrize("kind", ["trees", "linear"])
def test_a_file_gives_the_form_back(kind: str) -> None:
    sample = forest() if kind == "trees" else linear()
    form = stored.opened(packed(kind), sample.contract)
    again = stored.opened(packed(kind), sample.contract)
    assert form.name == kind
    assert same_bits(form.ask(sample.rows)[1], again.ask(sample.rows)[1])
    assert np.array_equal(form.ask(sample.rows)[0], sample.native.ask(sample.rows)[0])
    packed.cache_clear()
    assert packed(kind) == packed(kind)


def inner() -> int:
    """A node that splits."""
    return int(np.flatnonzero(array(unpacked(packed("trees"))["node.feature.npy"]) >= 0)[1])


DAMAGE: dict[str, Callable[[], bytes]] = {
    "child out of range": lambda: changed("trees", "node.left", put(inner(), 10**6)),
    "negative child": lambda: changed("trees", "node.right", put(inner(), -1)),
    "cycle": lambda: changed("trees", "node.left", put(inner(), 0)),
    "child in another tree": lambda: changed("trees", "node.left", lambda v: put(0, len(v) - 1)(v)),
    "child of two": lambda: changed(
        "trees", "node.left", put(inner(), array(unpacked(packed("trees"))["node.right.npy"])[inner()])
    ),
    "feature out of range": lambda: changed("trees", "node.feature", put(inner(), 99)),
    "feature below -1": lambda: changed("trees", "node.feature", put(inner(), -2)),
    "threshold NaN": lambda: changed("trees", "node.threshold", put(inner(), np.nan)),
    "leaf infinite": lambda: changed("trees", "node.value", put(-1, np.inf)),
    "values of another length": lambda: changed("trees", "node.value", lambda v: v[:-1]),
    "trees out of order": lambda: changed("trees", "tree.starts", lambda v: v[::-1].copy()),
    "no tree": lambda: changed("trees", "tree.starts", lambda v: v[:1]),
    "too many trees for the scores": lambda: changed("trees", "tree.start", lambda v: np.zeros(3)),
    "category out of range": lambda: changed("trees", "node.category", put(inner(), 5000)),
    "category at a number": lambda: changed("trees", "node.category", put(slice(None), 0)),
    "members of another width": lambda: changed("trees", "node.members", lambda v: v[:, :10]),
    "source out of range": lambda: changed("trees", "chain.sources", put(0, 77)),
    "feature chained twice": lambda: changed("trees", "feature.chain", put(0, 1)),
    "entry out of range": lambda: changed("trees", "feature.entry", put(-1, 9)),
    "entry for a number": lambda: changed("trees", "feature.entry", put(slice(None), 0)),
    "keys out of order": lambda: changed("trees", "table.keys", put(0, 3.5)),
    "keys without an end": lambda: changed("trees", "table.keys", put(-1, 1e300)),
    "starts beyond the keys": lambda: changed("trees", "table.starts", put(-1, 50)),
    "values of no bin": lambda: changed("trees", "feature.first", put(-1, 1)),
    "refusals of another length": lambda: changed("trees", "table.refused", lambda v: v[:-1]),
    "another width": lambda: changed("trees", "width", put(0, 3)),
    "floats of 32 bits": lambda: changed("trees", "node.threshold", lambda v: v.astype(np.float32)),
    "a column too many": lambda: changed("trees", "node.threshold", lambda v: v.reshape(-1, 1)),
    "objects": lambda: changed("trees", "node.threshold", lambda v: v.astype(object)),
    "divided by nothing": lambda: words("trees", divisor=0.0),
    "unknown form": lambda: words("trees", form="forest"),
    "unknown field": lambda: words("trees", code="import os"),
    "another decision": lambda: words("trees", decision="value"),
    "a link of another decision": lambda: words("trees", link="softmax"),
    "too few scores": lambda: words("trees", decision="largest", link="softmax"),
    "weights NaN": lambda: changed("linear", "weights", put((0, 0), np.nan)),
    "weights of another shape": lambda: changed("linear", "weights", lambda v: v[:, :-1]),
    "an intercept too few": lambda: changed("linear", "intercept", lambda v: v[:-1]),
    "unknown operation": lambda: changed("linear", "chain.operations", put(0, 200)),
    "numbers of no operation": lambda: changed("linear", "chain.values", lambda v: v[:-1]),
    "no zip": lambda: b"PK\x03\x04 not really",
    "empty": lambda: b"",
    "compressed": lambda: repacked(unpacked(packed("linear")), zipfile.ZIP_DEFLATED),
    "a file too many": lambda: repacked(unpacked(packed("linear")) | {"x.npy": saved(np.zeros(1))}),
    "a file too few": lambda: repacked(dict(list(unpacked(packed("linear")).items())[:-1])),
    "cut short": lambda: packed("trees")[: len(packed("trees")) // 2],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_refused(name: str) -> None:
    data = DAMAGE[name]()
    kinds = ("trees", "linear")
    for kind in kinds:
        with pytest.raises(BundleInvalid, match="compiled form") as caught:
            stored.opened(data, about(kind))
        assert "fullcircle package" in str(caught.value.next_step)


def header(shape: str, rest: bytes = b"") -> bytes:
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': " + shape + ", }"
    padded = text + " " * (63 - (len(text) + 10) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode() + rest


@pytest.mark.parametrize("shape", ["(100000000000,)", "(-1,)", "(2**62,)", "(1000000, 1000000, 1000000)", "('x',)"])
def test_an_array_that_claims_more_than_there_is_costs_nothing(shape: str) -> None:
    files = unpacked(packed("trees")) | {"node.threshold.npy": header(shape, b"\0" * 64)}
    with pytest.raises(BundleInvalid):
        stored.opened(repacked(files), about("trees"))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["trees", "linear"]))
def test_any_altered_array_is_refused_or_answers(data: st.DataObject, kind: str) -> None:
    """Never a hang, a foreign error or an index that was followed: the bundle's digests are a second guard."""
    files = unpacked(packed(kind))
    name = data.draw(st.sampled_from(sorted(files)))
    content = bytearray(files[name])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    sample = forest() if kind == "trees" else linear()
    try:
        form = stored.opened(repacked(files | {name: bytes(content)}), sample.contract)
    except BundleInvalid:
        return
    with np.errstate(all="ignore"):
        answers, chances = form.ask(sample.rows[:5])
    assert answers.shape == (5,)
    assert chances is not None
    assert chances.shape == (5, len(sample.contract.classes))


def test_another_contract_is_refused() -> None:
    with pytest.raises(BundleInvalid):
        stored.opened(packed("trees"), contract(0, columns(numbers=2, whole=True, categories=(4,))))
    with pytest.raises(BundleInvalid):
        stored.opened(packed("trees"), contract(3, columns(numbers=2, whole=True, categories=(4,))))


def test_large_trees_are_kept_too() -> None:
    from sklearn.ensemble import RandomForestClassifier

    sample = fitted(lambda: RandomForestClassifier(3, random_state=0), contract(3, columns()), count=300)
    data = stored.trees(*growing.grow(sample.contract, sample.model))
    form = stored.opened(data, sample.contract)
    assert same_bits(form.ask(sample.rows)[1], sample.native.ask(sample.rows)[1])
