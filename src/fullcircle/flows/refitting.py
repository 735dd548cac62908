"""The child of a reproduction: it fits a version again from what is laid out for it, and tells how that answers.

``python -I -m fullcircle.flows.refitting FOLDER`` reads what ``lay_out`` wrote into the folder and writes
``found.json`` beside it. What differs is told, not judged: that is the parent's.
"""

from __future__ import annotations

import hashlib
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from fullcircle import registry
from fullcircle.development import training
from fullcircle.development.adopted import Adopted
from fullcircle.development.checking import check_data
from fullcircle.development.environment import environment, machine
from fullcircle.development.loading import LoadedProject, load
from fullcircle.errors import FullcircleError
from fullcircle.evaluation import metrics
from fullcircle.flows.drafts import Draft
from fullcircle.flows.evaluate import measured
from fullcircle.flows.material import Material, learned
from fullcircle.packaging import loading
from fullcircle.packaging.bundle import Bundle, open_bundle, pack
from fullcircle.runtimes.contracts import rows_of
from fullcircle.runtimes.forms.certificate import CANDIDATES
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables import snapshots
from fullcircle.types.contract import Contract
from fullcircle.types.reproduction import Refitted
from fullcircle.types.turn import Snapshot

FOUND = "found.json"


@dataclass(frozen=True, kw_only=True)
class Materials:
    """All that a version was made of: the draft of its run, its rows, which of them are test rows, source, bundle."""

    draft: Draft
    rows: bytes
    test: bytes
    source: Mapping[str, bytes]
    bundle: Bundle


def lay_out(materials: Materials, folder: Path) -> None:
    """Write what the child needs into a folder of its own."""
    (folder / "draft.json").write_bytes(msgspec.json.encode(materials.draft))
    (folder / "rows.parquet").write_bytes(materials.rows)
    (folder / "test.bytes").write_bytes(materials.test)
    (folder / "bundle.zip").write_bytes(pack(materials.bundle))
    for name, content in materials.source.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def refit(folder: Path) -> Refitted:
    """Fit again what is laid out in ``folder``, and compare it with the stored model."""
    import numpy as np

    draft = msgspec.json.decode((folder / "draft.json").read_bytes(), type=Draft)
    bundle = open_bundle((folder / "bundle.zip").read_bytes())
    found = Refitted(machine=machine())
    try:
        with _stored(found, bundle, draft) as (found, stored):
            source = load(folder / "project" / draft.project_file)
            source = replace(source, project=replace(source.project, params=dict(draft.params)))
            found = replace(found, code=source.code)
            _put_back(source, draft, bundle)
            test = np.frombuffer((folder / "test.bytes").read_bytes(), dtype="uint8").astype(bool)
            material = _material(source, draft, snapshots.decode((folder / "rows.parquet").read_bytes()), test)
            with source.active():
                found = _refitted(found, source, material, draft, bundle, stored)
    except (FullcircleError, MemoryError) as error:
        found = replace(found, failed=str(error) or type(error).__name__)
    return replace(found, environment=environment(folder))


def _put_back(source: LoadedProject, draft: Draft, bundle: Bundle) -> None:
    """The model file of an adopted version, where its project reads it: it is no source, but in the bundle."""
    fit = source.project.fits.get(draft.candidate)
    if isinstance(fit, Adopted) and fit.path.resolve().is_relative_to(source.folder):
        fit.path.parent.mkdir(parents=True, exist_ok=True)
        fit.path.write_bytes(bundle.saved.data)


@contextmanager
def _stored(found: Refitted, bundle: Bundle, draft: Draft) -> Iterator[tuple[Refitted, Scorer]]:
    """The stored model, and how it answers the golden rows here: what is fitted now is not yet in it."""
    with tempfile.TemporaryDirectory(prefix="fullcircle-code-") as code:
        stored = loading.scorer(bundle, Path(code), allow_pickle=draft.pickled)
        if stored.model is None:
            stored.model = loading.native(bundle, Path(code), allow_pickle=draft.pickled)
        seen = loading.replay(bundle, stored)
        yield replace(found, stored_same=seen.same_bits, stored_difference=_finite(seen.largest_difference)), stored


def _material(source: LoadedProject, draft: Draft, frame: Any, test: Any) -> Material:
    task = check_data(frame, source.project)
    contract = learned(source.project, frame[~test], task).contract
    known = Snapshot(digest=draft.snapshot, rows=len(frame), columns=len(frame.columns), source="")
    return Material(frame, test, known, task, contract)


def _refitted(
    found: Refitted, source: LoadedProject, material: Material, draft: Draft, bundle: Bundle, stored: Scorer
) -> Refitted:
    _tried(source, material)
    model, saved = _fitted(source, material, draft)
    contract = material.contract
    if material.task == "classification":
        contract = replace(contract, classes=training.classes(model, contract))
    found = replace(
        found,
        contract=_differing(draft.contract, contract),
        model=_sha256(saved.data),
        steady=None
        if _sha256(saved.data) == draft.model_blob
        else _fitted(source, material, draft)[1].data == saved.data,
    )
    with tempfile.TemporaryDirectory(prefix="fullcircle-code-") as code:
        restored = loading.restore(draft.runtime, saved, Path(code), allow_pickle=draft.pickled)
        scorer = Scorer(bundle.contract, restored, form=_form(bundle, restored))
        seen = loading.replay(bundle, scorer)
        rows = rows_of(material.frame[material.test], bundle.contract)
        before, now = stored.score(rows), scorer.score(rows)
        metric = next(each for each in metrics.METRICS if each.name == draft.metric)
        was, became = (
            measured(source, material, each, material.test, metric).value for each in (stored.model, restored)
        )
    return replace(
        found,
        golden_rows=seen.rows,
        golden_same=seen.same_bits,
        golden_difference=_finite(seen.largest_difference),
        differences=seen.differences,
        rows=len(rows),
        other_rows=sum(_bits(a) != _bits(b) for a, b in zip(before, now, strict=True)),
        metric_stored=was,
        metric_now=became,
    )


def _tried(source: LoadedProject, material: Material) -> None:
    """Fit on a few rows first, as training does: a generator that ``fit`` draws from is then as far as it was."""
    project = source.project
    X, y = material.part(~material.test, project.label)
    for fit in project.fits.values():
        training.trial(fit, X, y, project.params, task=material.task, seed=project.seed)


def _fitted(source: LoadedProject, material: Material, draft: Draft) -> tuple[Any, SavedModel]:
    project = source.project
    X, y = material.part(~material.test, project.label)
    fit = project.fits[draft.candidate]
    model = training.fit(fit, X, y, project.params, contract=material.contract, task=material.task)
    return model, registry.find("runtimes", draft.runtime)().save(model, source.folder)


def _form(bundle: Bundle, model: Any) -> Any:
    """The form that answers for the bundle, made of another model; None for the model as it was fitted."""
    make = CANDIDATES.get(bundle.certificate.form)
    return None if make is None else make(bundle.contract, model).form


def _differing(before: Contract, now: Contract) -> tuple[str, ...]:
    """The names of columns, and of other parts of a contract, that are not the same."""
    old, new = ({column.name: column for column in each.columns} for each in (before, now))
    names = [
        name for name in {**old, **new} if msgspec.json.encode(old.get(name)) != msgspec.json.encode(new.get(name))
    ]
    rest = [msgspec.json.encode(replace(each, columns=())) for each in (before, now)]
    return (*names, *(() if rest[0] == rest[1] else ("what is said of all columns",)))


def _bits(prediction: Any) -> bytes:
    return msgspec.json.encode((prediction.value, prediction.probabilities, prediction.verdict))


def _finite(difference: float) -> float | None:
    return difference if math.isfinite(difference) else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def main(arguments: Sequence[str]) -> int:
    """Fit again what is laid out in the folder ``arguments[0]``."""
    folder = Path(arguments[0])
    (folder / FOUND).write_bytes(msgspec.json.encode(refit(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
