"""A model that stands in the place of fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest
from sklearn.linear_model import Ridge

import fullcircle as fc
from fullcircle.development.adopted import Adopted, adopted
from fullcircle.errors import BundleInvalid, ModelRefused, PluginUnknown
from fullcircle.runtimes.pickled import PickledRuntime
from fullcircle.runtimes.sklearn import SklearnRuntime

ROWS = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [0.0, 1.0, 0.0]})
LABELS = pd.Series([1.0, 3.0, 4.5])


def fitted() -> Ridge:
    return Ridge().fit(ROWS, LABELS)


def placed(folder: Path, data: bytes, runtime: str = "sklearn", *, allow_pickle: bool = False) -> Adopted:
    (folder / "model.skops").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return Adopted(folder / "project.py", "model.skops", runtime=runtime, sha256=digest, allow_pickle=allow_pickle)


def test_it_gives_the_model_whatever_rows_it_gets(tmp_path: Path) -> None:
    fit = placed(tmp_path, SklearnRuntime().save(fitted(), tmp_path).data)
    for rows, labels in ((ROWS, LABELS), (ROWS.iloc[:1], LABELS.iloc[:1]), (None, None)):
        assert fit(rows, labels).predict(ROWS).tolist() == fitted().predict(ROWS).tolist()


def test_it_is_found_beside_the_project_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = placed(tmp_path, SklearnRuntime().save(fitted(), tmp_path).data)
    monkeypatch.chdir("/")
    assert fit(ROWS, LABELS).predict(ROWS).tolist() == fitted().predict(ROWS).tolist()


def test_another_file_in_its_place_or_none_is_refused(tmp_path: Path) -> None:
    fit = placed(tmp_path, SklearnRuntime().save(fitted(), tmp_path).data)
    other = Ridge(alpha=9.0).fit(ROWS, LABELS)
    fit.path.write_bytes(SklearnRuntime().save(other, tmp_path).data)
    with pytest.raises(ModelRefused, match="another model"):
        fit(ROWS, LABELS)
    fit.path.unlink()
    with pytest.raises(ModelRefused, match="is not there") as caught:
        fit(ROWS, LABELS)
    assert "fullcircle adopt" in str(caught.value.next_step)


def test_a_pickle_is_only_read_with_consent(tmp_path: Path) -> None:
    data = PickledRuntime().save(fitted(), tmp_path).data
    with pytest.raises(ModelRefused, match="nobody consented"):
        placed(tmp_path, data, "pickled")(ROWS, LABELS)
    model = placed(tmp_path, data, "pickled", allow_pickle=True)(ROWS, LABELS)
    assert model.predict(ROWS).tolist() == fitted().predict(ROWS).tolist()


def test_what_the_runtime_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleInvalid):
        placed(tmp_path, b"no model")(ROWS, LABELS)
    with pytest.raises(PluginUnknown):
        placed(tmp_path, b"", "nowhere")(ROWS, LABELS)


def test_a_project_knows_that_it_was_adopted(tmp_path: Path) -> None:
    fit = placed(tmp_path, b"")
    named = {"name": "houses", "data": ROWS.assign(y=LABELS), "label": "y", "features": ["a", "b"]}
    assert adopted(fc.Project(**named, fit=fit))
    assert adopted(fc.Project(**named, candidates={"old": fit, "new": lambda X, y: fitted()}))
    assert not adopted(fc.Project(**named, fit=lambda X, y: fitted()))
