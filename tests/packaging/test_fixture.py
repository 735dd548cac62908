"""A bundle of format 1 as it was written in the release that finished the format. It is never made again.

The model is a small histogram gradient boosting in compiled form; the wheel is an empty one, the hashes of the other
packages are made up.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fullcircle.packaging import loading
from fullcircle.packaging.bundle import open_bundle, pack

V1 = Path(__file__).parent / "fixtures" / "v1.zip"
DIGEST = "b0b26b94efeead0d17a835954a3c4380e29c155fb4285351425cb19504999bdb"
DATA = V1.read_bytes()


def test_it_is_the_one_that_was_kept() -> None:
    assert hashlib.sha256(DATA).hexdigest() == DIGEST
    assert len(DATA) < 60_000


def test_it_opens_and_has_its_digest() -> None:
    found = open_bundle(DATA, digest=DIGEST)
    assert found.digest == DIGEST
    assert pack(found) == DATA
    assert (found.manifest.format, found.manifest.model, found.manifest.runtime) == (1, "kept-for-ever", "sklearn")
    assert (found.manifest.python, found.manifest.pickled, found.certificate.form) == ("3.11", False, "trees")
    assert [name for name, _ in found.manifest.files] == [
        "code/scaling.py",
        "contract.json",
        "form.json",
        "form.npz",
        "golden.json",
        "lock-compiled.txt",
        "lock.txt",
        "model.skops",
        "profile.json",
        "requires.json",
        "wheels/fullcircle-0.1.0-py3-none-any.whl",
    ]


def test_it_says_what_it_said() -> None:
    found = open_bundle(DATA)
    assert list(found.contract.names) == ["n0", "n1", "k", "b"]
    assert (found.contract.task, len(found.golden), found.profile.metric_value) == ("regression", 8, 1.5)
    assert [(need.name, need.kind, need.at, need.optional) for need in found.needs] == [
        ("warehouse", "database", "env:WAREHOUSE_URL", False),
        ("rates", "file", "rates.csv", True),
    ]
    assert found.compiled_lock is not None
    assert "scikit-learn" in found.lock
    assert "scikit-learn" not in found.compiled_lock


def test_it_gives_its_answers(tmp_path: Path) -> None:
    found = open_bundle(DATA)
    replayed = loading.replay(found, loading.scorer(found, tmp_path))
    assert (replayed.rows, replayed.same_bits, replayed.differences) == (8, True, ())


def test_its_fitted_model_gives_them_too_where_its_library_is_the_one_it_was_made_with(tmp_path: Path) -> None:
    found = open_bundle(DATA)
    if metadata.version("scikit-learn") != dict(found.certificate.versions)["scikit-learn"]:
        pytest.skip("another scikit-learn than the fixture's")
    loaded = loading.scorer(found, tmp_path)
    assert loaded.model is None
    from fullcircle.runtimes.scorer import Scorer

    replayed = loading.replay(found, Scorer(found.contract, loading.native(found, tmp_path)))
    assert replayed.same_bits


def test_ordinary_tools_read_it_and_tell_its_digest(tmp_path: Path) -> None:
    """With nothing of ours: what docs/bundle.md says of files, order and hashes can be checked by anybody."""
    code = (
        "import hashlib, json, sys, zipfile; opened = zipfile.ZipFile(sys.argv[1])\n"
        "told = json.loads(opened.read('manifest.json'))\n"
        "assert opened.namelist() == ['manifest.json', *sorted(name for name, _ in told['files'])]\n"
        "assert all(hashlib.sha256(opened.read(name)).hexdigest() == digest for name, digest in told['files'])\n"
        "print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())"
    )
    ran = subprocess.run([sys.executable, "-I", "-S", "-c", code, V1], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == DIGEST


def test_every_file_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
    for name in open_bundle(DATA).files:
        told = {"model": "model.<ext>", "wheels": "wheels/<file>.whl", "code": "code/<path>.py"}
        first = name.replace(".", "/", 1).partition("/")[0]
        assert f"`{told.get(first, name)}`" in page
    for field in json.loads(DATA[DATA.index(b"{") : DATA.index(b"}") + 1]):
        assert f"| `{field}` |" in page
