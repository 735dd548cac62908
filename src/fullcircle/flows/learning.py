"""What a retraining learns from: the labelled rows of the log since, beside those that the champion was made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.flows import drafts, quality, subjects, versions
from fullcircle.flows.session import Session
from fullcircle.monitoring import losses
from fullcircle.monitoring import quality as labels
from fullcircle.monitoring.grid import iso, length, now
from fullcircle.packaging.bundle import Bundle
from fullcircle.retraining.quarantine import Rows
from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables import predictions as log
from fullcircle.tables import snapshots
from fullcircle.types.contract import Contract
from fullcircle.types.durations import duration
from fullcircle.types.monitoring import Loss
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.project import Project

Array = NDArray[Any]


@dataclass
class Champion:
    """The champion as a challenger meets it: its scorer, what it was made from, and how wrong it is on a row."""

    session: Session
    project: Project
    version: int
    draft: drafts.Draft
    bundle: Bundle

    @cached_property
    def scorer(self) -> Scorer:
        """Answers as the champion does."""
        return versions.kept_scorer(self.session, self.project.name, self.version)

    @cached_property
    def made_from(self) -> tuple[Any, Any]:
        """All rows of its snapshot, and the mask (n,) of those that it was judged by and did not learn from."""
        return drafts.rows(self.session, self.draft)

    @cached_property
    def about(self) -> quality.About:
        """How it is measured."""
        return quality.about(self.session, self.bundle, self.project, self.version)

    @cached_property
    def loss(self) -> Loss:
        """What it is wrong by on a row; of a bundle that does not say so, as its test rows have it."""
        if self.bundle.profile.loss is not None:
            return self.bundle.profile.loss
        frame, test = self.made_from
        scored = subjects.score(self.scorer, frame[test])
        actual = frame[test][self.project.label].to_numpy()
        return losses.fit(self.contract, actual, scored.values, scored.probabilities)

    @property
    def contract(self) -> Contract:
        """Its contract."""
        return self.bundle.contract

    @cached_property
    def reference(self) -> Array:
        """Its losses on the rows that it was judged by (n,)."""
        frame, test = self.made_from
        return self.losses(frame[test])

    def losses(self, frame: Any, scored: subjects.Scored | None = None, contract: Contract | None = None) -> Array:
        """The losses (n,) in [0, 1] of answers on labelled rows; NaN for rows without an answer.

        ``scored`` are the answers of a model with that ``contract``, by default the champion's own.
        """
        scored = scored or subjects.score(self.scorer, frame)
        shares = subjects.in_order(contract or self.contract, scored.probabilities, self.contract.classes)
        actual = frame[self.project.label].to_numpy()
        found = losses.realised(self.loss, self.contract, scored.values, shares, actual)
        return np.where(scored.known, found, np.nan)

    def earned(self, frame: Any, scored: subjects.Scored) -> Array | None:
        """What answers earned on labelled rows (n,), NaN without one; None where no gate says what one is worth."""
        gate = self.about.gate
        if gate is None:
            return None
        found = np.full(len(frame), np.nan)
        actual = frame[self.project.label].to_numpy()[scored.known]
        if len(actual):
            found[scored.known] = quality.pay(self.about, gate)(actual, scored.values[scored.known])
        return found

    def missed(self, frame: Any, scored: subjects.Scored) -> Array | None:
        """How much less answers earned on labelled rows (n,) than the right ones would have; None as ``earned``."""
        gate, earned = self.about.gate, self.earned(frame, scored)
        if gate is None or earned is None:
            return None
        actual = frame[self.project.label].to_numpy()
        return np.asarray(quality.pay(self.about, gate)(actual, actual) - earned) if len(actual) else earned

    def frozen(self) -> Frozen | None:
        """The test rows of the first version of the line; None where that version, or its rows, are gone."""
        state = self.session.workspace.ledger.state()
        root = self.draft.snapshot
        while root in state.snapshots and state.snapshots[root].parent:
            root = str(state.snapshots[root].parent)
        for number, known in sorted(state.versions[self.project.name].items()):
            if known.snapshot == root and root not in state.deleted:
                frame, test = drafts.rows(self.session, drafts.of_run(self.session, known.run))
                return Frozen(first=number, frame=frame[test].reset_index(drop=True))
        return None


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """Rows that no version ever learns from: those that the ``first`` version of the line was judged by."""

    first: int
    frame: Any


def champion_of(session: Session, project: Project, version: int) -> Champion:
    """The champion of a project. Raises VersionNotFound."""
    return Champion(
        session=session,
        project=project,
        version=version,
        draft=drafts.of_run(session, versions.find(session, project.name, version).run),
        bundle=versions.bundle(session, project.name, version),
    )


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """Labelled rows of the log that the champion's snapshot does not hold, in order of time.

    ``source`` (n,) says who sent them, None where the project names no such column. ``ids`` (n,) are those of their
    predictions, and ``released`` (n,) says which of them a person released from quarantine. ``rejected`` labelled
    rows were left out because the contract flagged, filled or rejected them, ``unusable`` ones because no model of
    this kind could have answered their label.
    """

    frame: Any
    source: Any
    ids: Array
    released: Array
    rejected: int
    unusable: int


def base_of(champion: Champion, frozen: Frozen | None) -> Any:
    """The rows of the champion's snapshot that a challenger learns from: no frozen ones, none that are too old."""
    frame, _ = champion.made_from
    keep = _young(champion.project, frame)
    if frozen is not None:
        common = [name for name in frame.columns if name in frozen.frame.columns]
        keep = keep & ~np.isin(snapshots.row_keys(frame[common]), snapshots.row_keys(frozen.frame[common]))
    return frame[keep].reset_index(drop=True)


def new_rows(champion: Champion, frozen: Frozen | None) -> Fresh:
    """The labelled rows of the log that neither the champion's snapshot nor the frozen rows hold, oldest first.

    Where the champion's snapshot grew from the log, what it left out of the labels known by then stays out, but for
    what a person released.
    """
    project, folder = champion.project, champion.session.workspace.predictions
    base, _ = champion.made_from
    outcomes = log.read_outcomes(folder, project.name)
    snapshot = champion.session.workspace.ledger.state().snapshots[champion.draft.snapshot]
    seen = snapshot.created if snapshot.parent else ""
    released = released_ids(champion.session, project.name)
    labelled = [
        (row, outcomes[row.id].value)
        for row in log.read(folder, project.name, since=_since(project))
        if row.id in outcomes and outcomes[row.id].value is not None
        if row.id in released or not _seen(outcomes[row.id], seen)
    ]
    usable = [pair for pair in labelled if labels.fits(pair[1], champion.contract)]
    clean = [pair for pair in usable if pair[0].verdict.status == "ok"]
    frame = _as_rows(clean, project, base)
    found = np.zeros(len(frame), dtype=bool)
    if len(frame):
        known = [snapshots.row_keys(base[frame.columns])]
        if frozen is not None:
            known.append(snapshots.row_keys(frozen.frame[frame.columns]))
        found = ~np.isin(snapshots.row_keys(frame), np.concatenate(known))
    name = project.retrain.source
    said = [(one.inputs or {}).get(name, (one.context or {}).get(name)) for one, _ in clean]
    ids = np.array([one.id for one, _ in clean], dtype=object)[found]
    return Fresh(
        frame=frame[found].reset_index(drop=True),
        source=np.array(said, dtype=object)[found] if name else None,
        ids=ids,
        released=np.array([each in released for each in ids], dtype=bool),
        rejected=len(usable) - len(clean),
        unusable=len(labelled) - len(usable),
    )


def released_ids(session: Session, model: str) -> frozenset[str]:
    """The predictions whose rows a person released from quarantine."""
    facts = (fact for fact in session.workspace.ledger.state().releases if fact.body["model"] == model)
    return frozenset(id for fact in facts for id in session.recall(str(fact.body["rows"]), tuple[str, ...]))


def _seen(outcome: Outcome, seen: str) -> bool:
    """Whether a label had come when the snapshot was made."""
    return bool(outcome.time) and outcome.time < seen


def known_rows(champion: Champion) -> Rows:
    """What the champion was made from, as quarantine looks at it: its losses are those of rows it did not learn."""
    frame, test = champion.made_from
    losses_of = np.full(len(frame), np.nan)
    losses_of[test] = champion.reference
    return rows_of(champion, frame, losses_of, _sources(champion.project, frame))


def rows_of(champion: Champion, frame: Any, losses_of: Array, source: Any) -> Rows:
    """Labelled rows as quarantine looks at them."""
    return Rows(
        features=frame[list(champion.project.features)],
        label=frame[champion.project.label].to_numpy(),
        loss=losses_of,
        source=source,
        task=champion.contract.task,
    )


def _sources(project: Project, frame: Any) -> Any:
    name = project.retrain.source
    return frame[name].to_numpy(dtype=object) if name and name in frame.columns else None


def _since(project: Project) -> str:
    """Rows of the log before this time are too old to learn from; "" where none are."""
    return iso(now() - length(project.retrain.learn_from)) if project.retrain.learn_from else ""


def _young(project: Project, frame: Any) -> Array:
    import pandas as pd

    name = project.data.time
    if not (project.retrain.learn_from and name and name in frame.columns):
        return np.ones(len(frame), dtype=bool)
    times = pd.to_datetime(frame[name], utc=True)
    oldest = pd.Timestamp(now(), unit="us", tz="UTC") - duration(project.retrain.learn_from)
    return np.asarray(times >= oldest)


def _as_rows(labelled: Iterable[tuple[Prediction, Any]], project: Project, base: Any) -> Any:
    """Predictions and labels as a frame with the columns and types of ``base`` that they can fill."""
    import pandas as pd

    time = project.data.time
    rows = [
        {**({time: one.time} if time else {}), **(one.inputs or {}), **(one.context or {}), project.label: value}
        for one, value in labelled
    ]
    columns = [name for name in base.columns if rows and any(name in row for row in rows)]
    frame = pd.DataFrame(rows, columns=columns or [project.label])
    for name in columns:
        kind = base[name].dtype
        if str(kind).startswith("datetime64"):
            frame[name] = _times(frame[name], kind)
        elif frame[name].isna().any() and str(kind).startswith(("int", "bool")):
            continue
        elif str(kind).startswith("int") and any(not _whole(value) for value in frame[name]):
            frame[name] = frame[name].astype("float64")
        else:
            frame[name] = frame[name].astype(kind)
    return frame if columns else frame.iloc[0:0]


def _times(values: Any, kind: Any) -> Any:
    """Times in the type of a column: with its zone, or in UTC where it has none."""
    import pandas as pd

    found = pd.to_datetime(values, utc=True, format="ISO8601")
    return (found if getattr(kind, "tz", None) is not None else found.dt.tz_localize(None)).astype(kind)


def _whole(value: Any) -> bool:
    """Whether a column of integers can hold the value as it is."""
    return isinstance(value, str | bool) or (-(2**63) <= value < 2**63 and value == int(value))
