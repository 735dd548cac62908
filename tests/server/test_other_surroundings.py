"""A server that is not the environment a bundle is for: refused, or told why its answers differ."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from bundle_samples import PROFILE, WHEEL, lock_of
from fullcircle.errors import BundleInvalid
from fullcircle.packaging.bundle import build, pack
from fullcircle.packaging.lock import running
from fullcircle.runtimes.forms.certificate import choose
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.server.follower import Entry
from fullcircle.server.opening import Opener
from fullcircle.types.contract import Column, Contract

CONTRACT = Contract(columns=(Column(name="a", kind="number"),), label="y", task="regression", prior=0.0)
ROWS = [{"a": float(place)} for place in range(8)]


def opened(folder: Path, *, shift: float = 0.0, python: str | None = None, numpy: str | None = None) -> Scorer:
    """What a server makes of a bundle whose answers were ``shift`` more where it was packaged."""
    inputs = np.array([[row["a"]] for row in ROWS])
    model = LinearRegression().fit(inputs, inputs[:, 0] * 2)
    chosen = choose(CONTRACT, model, ROWS)
    golden = [
        (row, replace(answer, value=float(answer.value) + shift))  # type: ignore[arg-type]
        for row, answer in zip(ROWS, Scorer(CONTRACT, model, form=chosen.form).score(ROWS), strict=True)
    ]
    lock = lock_of(WHEEL).replace("numpy==2.4.6", f"numpy=={numpy or np.__version__}")
    bundle = build(
        model="m", runtime="sklearn", saved=SklearnRuntime().save(model, folder), contract=CONTRACT, golden=golden,
        profile=PROFILE, lock=lock, wheel=WHEEL, python=python, certificate=chosen.certificate, compiled=chosen.data,
    )  # fmt: skip
    data = pack(bundle)
    (folder / "m.zip").write_bytes(data)
    entry = Entry(version=1, bundle=hashlib.sha256(data).hexdigest(), path="m.zip")
    return Opener(folder / "code")(folder / "m.zip", "m", entry)


def test_a_bundle_for_another_python_is_refused_though_its_golden_rows_agree(tmp_path: Path) -> None:
    assert opened(tmp_path, python=running()).score(ROWS)[1].value == pytest.approx(2.0)
    with pytest.raises(BundleInvalid, match=rf"this is Python {running()}, and the bundle is for 3\.99") as caught:
        opened(tmp_path, python="3.99")
    assert "its own environment" in str(caught.value.next_step)


def test_other_answers_are_told_with_the_library_that_differs(tmp_path: Path) -> None:
    opened(tmp_path, numpy="1.0")
    with pytest.raises(BundleInvalid, match="answers its golden rows differently here") as caught:
        opened(tmp_path, shift=0.5, numpy="1.0")
    assert f"numpy {np.__version__} is installed, the lock says 1.0" in str(caught.value.received)


def test_other_answers_in_the_locks_own_packages_are_told_with_the_processor(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid, match="answers its golden rows differently here") as caught:
        opened(tmp_path, shift=0.5)
    told = str(caught.value.received)
    assert "a difference of 0.5" in told
    assert "Python and packages are those of the lock; the CPU here is" in told
