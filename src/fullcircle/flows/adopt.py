"""Adopt: give a model that exists already a project, a contract, a report, golden rows, a bundle and a version."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fullcircle import registry
from fullcircle.development.checking import check_labels
from fullcircle.development.loading import load
from fullcircle.errors import ColumnMissing, DataUnfit, ModelRefused, ProjectInvalid
from fullcircle.exploration import adopting
from fullcircle.exploration.columns import look_at, task_of
from fullcircle.exploration.proposal import project_name
from fullcircle.flows import drafts, foreign, subjects
from fullcircle.flows.package import package_in
from fullcircle.flows.reconcile import reconcile
from fullcircle.flows.session import Session, opened
from fullcircle.flows.train import runtime_for, train_in
from fullcircle.settings import Settings
from fullcircle.tables import reading
from fullcircle.types.progress import Progress
from fullcircle.types.table import Table
from fullcircle.types.turn import Packaged, Trained

if TYPE_CHECKING:
    from collections.abc import Iterator

# Two ways of summing may differ in the last bits; more is another answer.
_CLOSE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """A model that was adopted. ``project`` is the file that was written, ``origin`` where the model came from.

    ``compared`` rows of the sample were answered through the contract and by the model itself, with the same
    answers; 0 where the model cannot be asked with the sample as it is. ``packaged`` is None where a gate said no.
    """

    model: str
    project: str
    origin: str
    kind: str
    task: Literal["regression", "classification"]
    features: tuple[str, ...]
    compared: int
    trained: Trained
    packaged: Packaged | None
    next_steps: tuple[str, ...]


def adopt(
    model: str | Path,
    *,
    data: str | Path,
    label: str,
    name: str | None = None,
    out: str | Path | None = None,
    test_share: float = 0.5,
    allow_pickle: bool = False,
    checks: Sequence[str] = (),
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Adoption:
    """Make a project around a model that was trained elsewhere, report on it, package it and register a version.

    ``model`` is an address of MLflow's (``models:/NAME/3``, ``models:/NAME@ALIAS``, ``runs:/RUN/PATH``), a file of
    skops, XGBoost (.json, .ubj), LightGBM (.txt) or ONNX, or a folder with an MLmodel. ``data`` is a table with the
    model's columns and ``label``; half of it (``test_share``) is for the report, the other for the contract. The
    folder ``out`` (by default named after the model) gets project.py, the model and the contract, and is gone again
    where there comes no report of it; ``allow_pickle`` allows a model that runs code when it is read. ``checks`` are
    those of the report, all by default. Nothing is promoted.

    Raises ModelRefused, ColumnMissing, DataUnfit and ProjectInvalid where the three do not fit each other, and the
    errors of training and packaging.
    """
    with opened(settings, progress) as session:
        reconcile(session)
        session.progress.step("adopt", str(model))
        frame = reading.read(Table(str(data)), folder=Path.cwd(), paths=session.settings.paths)
        with _fetched(session, str(model)) as place:
            found = foreign.read(place, consent=allow_pickle)
        wanted = name or _name(str(model))
        folder = Path(out) if out else Path(project_name(wanted))
        plan = _plan(found, frame, label=label, name=wanted, test=test_share, data=_data(data, folder))
        plan = replace(plan, checks=tuple(checks))
        home = _written(found, plan, folder, allow_pickle=allow_pickle)
        with _or_removed(home):
            source = load(home / "project.py")
            trained = train_in(session, source)
        draft = drafts.of_run(session, trained.run)
        compared = _same(session, draft, found.model, frame, folder)
        packaged = None
        if trained.report.passed:
            approve = source.project.approve
            packaged = package_in(session, source, draft, trained.report_digest, trained.report, approve=approve)
        return Adoption(
            model=source.project.name,
            project=str(folder / "project.py"),
            origin=str(model),
            kind=found.kind,
            task=plan.task,
            features=plan.features,
            compared=compared,
            trained=trained,
            packaged=packaged,
            next_steps=_next(source.project.name, folder, packaged),
        )


@contextmanager
def _fetched(session: Session, model: str) -> Iterator[Path]:
    """Where the model's files are: the path itself, or a folder that they were copied into from MLflow."""
    if not model.startswith(("models:/", "runs:/")):
        yield Path(model).expanduser()
        return
    with tempfile.TemporaryDirectory(prefix="fullcircle-adopt-", ignore_cleanup_errors=True) as scratch:
        yield session.tracking.download(model, Path(scratch))


def _plan(found: foreign.Read, frame: Any, *, label: str, name: str, test: float, data: str) -> adopting.Plan:
    """What to write, where model, table and label fit each other."""
    columns = [str(column) for column in frame.columns]
    if label not in columns:
        raise ColumnMissing(
            "the label is no column of the table",
            received=label,
            allowed=", ".join(columns[:20]),
            next_step="name the column with what the model predicts: --label COLUMN",
        )
    features = _features(found, columns, label)
    task = _task(found, frame[label], label)
    return adopting.Plan(
        name=project_name(name),
        origin=found.kind,
        data=data,
        label=label,
        task=task,
        features=features,
        gaps=tuple(column for column in features if frame[column].isna().any()),
        test=test,
        gate=adopting.gate(frame[label], task, probable=hasattr(found.model, "predict_proba")),
    )


def _task(found: foreign.Read, labels: Any, label: str) -> Literal["regression", "classification"]:
    """What the model does; where it does not tell, what the label suggests. Raises DataUnfit, ModelRefused."""
    model = found.model
    classes = getattr(model, "classes_", None)
    if isinstance(classes, list):
        raise ModelRefused(
            "the model answers several questions at once",
            received=f"{len(classes)} labels for each row",
            allowed="one answer for each row",
            next_step="adopt a model for each of them",
        )
    if classes is not None:
        _check_classes(classes, labels, label)
    task = found.task or ("classification" if classes is not None or hasattr(model, "predict_proba") else None)
    task = task or ("regression" if hasattr(model, "n_features_in_") else task_of(look_at(labels))[0])
    try:
        return check_labels(labels, label, task)
    except DataUnfit as error:
        raise DataUnfit(
            error.what,
            received=error.received,
            allowed=error.allowed,
            next_step="name the column with what the model predicts (--label COLUMN); leave rows without it out",
        ) from error


def _features(found: foreign.Read, columns: Sequence[str], label: str) -> tuple[str, ...]:
    """The columns that the model was trained on, in its order. Raises ColumnMissing, DataUnfit."""
    if not found.features:
        rest = tuple(column for column in columns if column != label)
        if found.width not in (None, len(rest)):
            raise DataUnfit(
                "the model does not name its columns, and the table has another number of them",
                received=f"{len(rest)} columns beside the label",
                allowed=f"{found.width}, in the order that the model was trained with",
                next_step="leave the others out of the table",
            )
        return rest
    missing = [column for column in found.features if column not in columns]
    if missing:
        raise ColumnMissing(
            f"the table lacks {len(missing)} of the {len(found.features)} columns that the model was trained on",
            received=", ".join(missing[:10]),
            allowed=", ".join(columns[:20]),
            next_step="give a table with the columns as the model knows them",
        )
    if label in found.features:
        raise ColumnMissing(
            "the label is a column that the model was trained on",
            received=label,
            allowed=", ".join(column for column in columns if column not in found.features) or "no other column",
            next_step="name the column with what the model predicts: --label COLUMN",
        )
    return found.features


def _check_classes(classes: Any, values: Any, label: str) -> None:
    known = {value.item() if hasattr(value, "item") else value for value in classes}
    seen = {value.item() if hasattr(value, "item") else value for value in values.dropna().unique()}
    if known != seen:
        raise DataUnfit(
            f"the classes in {label!r} are not those of the model",
            received=", ".join(sorted(map(repr, seen - known))[:10])
            or f"no row of {sorted(map(repr, known - seen))[0]}",
            allowed=", ".join(map(repr, sorted(known, key=str)[:10])),
            next_step="give a table in which every class occurs, with the labels that the model answers with",
        )


def _written(found: foreign.Read, plan: adopting.Plan, folder: Path, *, allow_pickle: bool) -> Path:
    """Write the project beside its model, as a whole or not at all. Returns the folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProjectInvalid(
            "there is something of this name already, and it is not overwritten",
            received=str(folder),
            next_step="choose another with --out, or remove it",
        )
    home = folder.absolute()
    runtime = runtime_for(found.model, home, allow_pickle=allow_pickle)
    library = registry.find("runtimes", runtime)()
    saved = library.save(found.model, home)
    if saved.code:
        raise ModelRefused(
            "the model has classes of your own, whose source would have to travel with it",
            received=", ".join(sorted(saved.code)),
            next_step="write a project whose fit returns the model: fullcircle init, then docs/models.md",
        )
    home.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".adopt-", dir=home.parent))
    try:
        (made / saved.file).write_bytes(saved.data)
        digest = hashlib.sha256(saved.data).hexdigest()
        told = replace(plan, file=saved.file, runtime=runtime, sha256=digest, pickled=saved.pickled)
        (made / "project.py").write_text(adopting.text(told), encoding="utf-8")
        made.chmod(0o755)
        os.replace(made, home)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return home


@contextmanager
def _or_removed(home: Path) -> Iterator[None]:
    """Remove what was written where it came to nothing: the next try would be refused because of it."""
    try:
        yield
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _same(session: Session, draft: drafts.Draft, model: Any, frame: Any, folder: Path) -> int:
    """On how many rows the model was asked both ways: itself with the table's columns, and through its contract.

    Raises DataUnfit where the answers differ: then it was trained on columns of other types.
    """
    import numpy as np

    asked = frame.head(5000)
    names = list(draft.contract.names)
    found = subjects.score(drafts.scorer(session, draft), asked)
    known = found.known
    try:
        direct = np.asarray(model.predict(asked[names])).reshape(len(asked))[known]
    except Exception as error:  # noqa: BLE001 - the model is foreign code
        told = f"{type(error).__name__}: {str(error)[:200]}"
        session.progress.note(f"the model cannot be asked with the table's own columns ({told}); not compared")
        return 0
    mine = found.values[known]
    if draft.contract.task == "regression":
        same = np.isclose(mine.astype(float), direct.astype(float), rtol=_CLOSE, atol=_CLOSE)
    else:
        same = np.array([a == b for a, b in zip(mine.tolist(), direct.tolist(), strict=True)], dtype=bool)
    if not same.all():
        raise DataUnfit(
            "through its contract the model answers differently than by itself, so the columns have other types than "
            "it was trained with",
            received=f"{int((~same).sum())} of {len(same)} rows, the first is row {int(np.flatnonzero(~same)[0])}",
            next_step=f"say the types in {folder / 'project.py'} (inputs, prepare), then: fullcircle run {folder}",
        )
    return len(same)


def _name(model: str) -> str:
    """What to call a model, after where it came from."""
    if model.startswith("models:/"):
        return model.removeprefix("models:/").strip("/").partition("@")[0].partition("/")[0]
    return Path(model).stem if not model.startswith("runs:/") else model.rstrip("/").rpartition("/")[2]


def _data(data: str | Path, folder: Path) -> str:
    """How the project names the table: a relative path from its folder, or what has a variable in it as it is."""
    text = str(data)
    return text if "${" in text else os.path.relpath(Path(text).expanduser().absolute(), folder.absolute())


def _next(model: str, folder: Path, packaged: Packaged | None) -> tuple[str, ...]:
    if packaged is None:
        return (
            f"look at the report, and at the gates in {folder / 'project.py'}",
            f"then: fullcircle train {folder}; fullcircle package {folder}",
        )
    return (
        f"fullcircle promote {model} --version {packaged.version}",
        f"fullcircle deploy {model}",
        f"look through {folder / 'project.py'}: gates, inputs, what the label is called",
    )
