"""A form in a bundle: found again, proven by the golden rows, and serving without scikit-learn."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bundle_samples import archived, canonical, contents, manifest, sample
from form_samples import Sample, columns, contract, fitted
from fullcircle.errors import BundleInvalid
from fullcircle.packaging import loading
from fullcircle.packaging.bundle import Bundle, open_bundle, pack
from fullcircle.runtimes.forms.certificate import choose
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.types.form import Certificate

COLD = """
import sys
from pathlib import Path
from fullcircle.packaging.bundle import open_bundle
from fullcircle.packaging.loading import replay, scorer
bundle = open_bundle(Path(sys.argv[1]).read_bytes())
found = replay(bundle, scorer(bundle, Path(sys.argv[2])))
loaded = sorted({"sklearn", "scipy", "pandas", "joblib", "skops", "pyarrow"} & set(sys.modules))
print(found.rows, found.same_bits, loaded)
"""


@cache
def made(kind: str) -> tuple[Sample, Bundle]:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB

    make: Any = {
        "trees": lambda: HistGradientBoostingClassifier(max_iter=4),
        "linear": LogisticRegression,
        "array": GaussianNB,
    }[kind]
    found = fitted(make, contract(2, columns(missing=kind == "trees", whole=True)), count=200)
    chosen = choose(found.contract, found.model, found.values)
    assert chosen.certificate.form == kind
    rows = found.values[:20]
    answers = Scorer(found.contract, found.model, form=chosen.form).score(rows)
    return found, sample(
        contract=found.contract,
        saved=SklearnRuntime().save(found.model, Path(__file__).parent),
        golden=list(zip(rows, answers, strict=True)),
        certificate=chosen.certificate,
        compiled=chosen.data,
    )


@pytest.mark.parametrize("kind", ["trees", "linear", "array"])
def test_a_bundle_answers_in_its_form(kind: str, tmp_path: Path) -> None:
    found, bundle = made(kind)
    again = open_bundle(pack(bundle))
    scorer = loading.scorer(again, tmp_path)
    assert scorer.form.name == again.certificate.form == kind
    assert loading.replay(again, scorer).same_bits
    assert (scorer.model is None) == (kind != "array")
    native = loading.native(again, tmp_path)
    assert native.predict(found.native._encoder.frame(found.rows)).tolist() == [
        found.contract.classes[place] for place in scorer.form.ask(found.rows)[0].tolist()
    ]


def test_a_bundle_without_a_form_is_asked_with_a_frame() -> None:
    bundle = sample()
    assert bundle.certificate == Certificate()
    assert "form.json" not in bundle.files
    assert loading.form(bundle, object()) is None


@pytest.mark.parametrize("kind", ["trees", "linear"])
def test_a_compiled_form_answers_without_scikit_learn(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(pack(made(kind)[1]))
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", COLD, path, tmp_path], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "20 True []"


def forged(bundle: Bundle, **changes: bytes | None) -> bytes:
    """An archive with other files, and a manifest that vouches for them."""
    import hashlib

    files = dict(bundle.files)
    for name, content in changes.items():
        if content is None:
            del files[name.replace("_", ".")]
        else:
            files[name.replace("_", ".")] = content
    listed = [[name, hashlib.sha256(files[name]).hexdigest()] for name in sorted(files)]
    head = manifest(bundle) | {"files": listed}
    return archived({"manifest.json": canonical(head), **{name: files[name] for name in sorted(files)}})


def test_form_and_certificate_belong_together(tmp_path: Path) -> None:
    trees, linear = made("trees")[1], made("linear")[1]
    assert open_bundle(forged(trees)).certificate.form == "trees"
    without = json.dumps({"form": "frame"}).encode()
    for damage in ({"form_npz": None}, {"form_json": without}, {"form_json": None}, {"form_json": b'{"form":"x"}'}):
        with pytest.raises(BundleInvalid):
            open_bundle(forged(trees, **damage))
    swapped = open_bundle(forged(linear, form_json=trees.files["form.json"]))
    with pytest.raises(BundleInvalid, match="another form"):
        loading.scorer(swapped, tmp_path)
    damaged = open_bundle(forged(trees, form_npz=b"no form"))
    with pytest.raises(BundleInvalid, match="compiled form"):
        loading.scorer(damaged, tmp_path)
    assert contents(trees).keys() >= {"form.json", "form.npz"}


def test_an_array_form_of_a_model_that_cannot_be_asked_so_is_refused(tmp_path: Path) -> None:
    bundle = made("array")[1]
    about = replace(bundle.contract, columns=(*bundle.contract.columns, *columns(numbers=0, categories=(2,))))
    with pytest.raises(BundleInvalid, match="not all columns are numbers"):
        loading.form(sample(contract=about, certificate=bundle.certificate), object())
