"""A trained model before it is packaged: everything its run needs to be evaluated, packaged or reopened later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fullcircle.errors import RunNotFound
from fullcircle.features import definitions
from fullcircle.features.functions import requirements
from fullcircle.flows import data
from fullcircle.flows.session import Session
from fullcircle.packaging.loading import restore
from fullcircle.runtimes import libraries
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables.keys import row_keys
from fullcircle.types.contract import Contract
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.environments import Wanted


@dataclass(frozen=True, kw_only=True)
class Draft:
    """References (digests of blobs) and small facts about one trained model.

    ``test`` is the blob of the test mask (one byte a row of the snapshot), ``source`` that of the project's own
    files, ``code`` maps the module names of shipped classes to blobs. ``view`` is the blob of the definition of the
    project's feature view, ``definition`` its digest; "" where it has none. ``algorithm`` is the type of the model,
    ``seed`` the project's. ``requirements`` are the distributions that the saved model asks for beside those of its
    runtime, ``wanted`` what the project says of its packages, ``pickled`` whether loading the model runs code and
    somebody consented. ``environment`` maps each distribution that was loaded while it was trained to its version,
    ``machine`` is what beside packages decides on bits; both as ``development.environment`` has them. ``adopted``
    says that the model was trained elsewhere: which rows it has learned is not known.
    """

    model: str
    run: str
    snapshot: str
    test: str
    source: str
    code_version: str
    project_file: str
    candidate: str
    params: Mapping[str, Any]
    runtime: str
    model_file: str
    model_blob: str
    types: tuple[str, ...]
    code: Mapping[str, str]
    contract: Contract
    metric: str
    view: str = ""
    definition: str = ""
    algorithm: str = ""
    seed: int = 0
    requirements: tuple[str, ...] = ()
    pickled: bool = False
    wanted: Wanted = field(default_factory=Wanted)
    environment: Mapping[str, str] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    adopted: bool = False


def of_run(session: Session, run: str) -> Draft:
    """The draft of the run whose id begins with ``run``."""
    runs = session.workspace.ledger.state().runs
    matches = [name for name in runs if name.startswith(run)] if len(run) >= 4 else []
    if len(matches) != 1:
        raise RunNotFound(
            "no finished run has this id" if not matches else "several runs begin with this id",
            received=repr(run),
            allowed=", ".join(name[:12] for name in list(runs)[-10:]) or "none yet",
            next_step="see: fullcircle runs PROJECT",
        )
    return session.recall(str(runs[matches[0]]["draft"]), Draft)


def latest(session: Session, model: str) -> Draft:
    """The draft of the model's most recent finished run."""
    mine = [run for run, body in session.workspace.ledger.state().runs.items() if body["model"] == model]
    if not mine:
        raise RunNotFound(
            f"{model} has no finished run yet",
            received=model,
            next_step="train it first: fullcircle train PROJECT",
        )
    return of_run(session, mine[-1])


def saved_model(session: Session, draft: Draft) -> SavedModel:
    """The model file of a draft, with the source of the project's own classes in it and what that imports."""
    blobs = session.workspace.blobs
    code = {module: blobs.get(digest) for module, digest in draft.code.items()}
    return SavedModel(
        data=blobs.get(draft.model_blob),
        file=draft.model_file,
        types=draft.types,
        code=code,
        requirements=tuple(sorted({*draft.requirements, *libraries.needed(code), *needed(view_of(session, draft))})),
        pickled=draft.pickled,
    )


def view_of(session: Session, draft: Draft) -> ViewSpec | None:
    """The definition of the feature view that a draft was made from."""
    return definitions.decode(session.workspace.blobs.get(draft.view)) if draft.view else None


def needed(view: ViewSpec | None) -> tuple[str, ...]:
    """The distributions that the on-demand functions of a view import: they are called where no model may be."""
    return libraries.needed(requirements(view.functions), beside_model=False) if view is not None else ()


def scorer(session: Session, draft: Draft) -> Scorer:
    """A scorer of the model as it was saved: what is evaluated is what will be packaged."""
    model = restore(draft.runtime, saved_model(session, draft), session.folder("code"), allow_pickle=draft.pickled)
    return Scorer(draft.contract, model)


def rows(session: Session, draft: Draft) -> tuple[Any, Any]:
    """The rows that a draft was made from, and the mask of those that were kept for its report."""
    import numpy as np

    test = np.frombuffer(session.workspace.blobs.get(draft.test), dtype="uint8").astype(bool)
    return data.frame_of(session, draft.snapshot), test


def learned(session: Session, draft: Draft, frame: Any) -> Any:
    """Which rows of ``frame`` the model of a draft was trained on, by their content in the columns both have."""
    import numpy as np

    base, test = rows(session, draft)
    common = [name for name in base.columns if name in frame.columns]
    return np.isin(row_keys(frame[common]), row_keys(base[~test][common]))


def source_files(session: Session, draft: Draft) -> dict[str, bytes]:
    """The project's own files as they were when the run was made."""
    packed = msgspec.json.decode(session.workspace.blobs.get(draft.source), type=dict[str, bytes])
    return dict(packed)
