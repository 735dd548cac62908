"""The rows of an experiment as arrays: who answered, by which chance, what it was worth, and when that was known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullcircle.errors import SettingInvalid
from fullcircle.evaluation import earning, metrics
from fullcircle.flows.lots import held
from fullcircle.flows.quality import VALUE
from fullcircle.flows.replayed_counts import array
from fullcircle.flows.session import Session
from fullcircle.flows.splitting import SHADOWS
from fullcircle.monitoring.grid import micros
from fullcircle.monitoring.quality import fits
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Contract, Value
from fullcircle.types.durations import duration
from fullcircle.types.experiments import Guardrail, Metric
from fullcircle.types.prediction import Outcome, Prediction
from fullcircle.types.project import Project
from fullcircle.types.splits import Split

Floats = NDArray[np.float64]
LABEL = "label"
FAILED = "failed"
EVENTS = ("rejected", "fallback", FAILED)
SLOWER = "slower:"
_STRETCH = 2_000
# One value a row, from answers and what happened.
PerRow = Callable[[Sequence[Prediction], Sequence[Value]], Floats]


@dataclass(frozen=True, kw_only=True)
class Exposed:
    """n rows in the order of the log, each array (n,).

    ``at`` and ``arrived`` are seconds since 1970: of the answer, and of the label of a row that has a value (NaN:
    none yet). ``second`` says whether the row was dealt to the challenger, whoever answered it then, ``share`` with
    which chance. ``unit`` numbers what hangs together: an entity, else a request. ``values`` are by metric, of a
    shadow the challenger's less the champion's; NaN where there is none. ``events`` are by guardrail, of a shadow
    those of its copies. ``lost`` are rows that a shadow has no copy of, ``uneven`` those of which only one of the two
    has a value, ``loose`` those that belong to their request as they have no value of the entity.
    """

    at: Floats
    arrived: Floats
    second: NDArray[np.bool_]
    share: Floats
    unit: NDArray[np.intp]
    values: Mapping[str, Floats]
    events: Mapping[str, NDArray[np.bool_]]
    lost: NDArray[np.bool_]
    uneven: NDArray[np.bool_]
    loose: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.at)


class Measuring:
    """How rows of a model are measured: by the project's worth gate, by metrics of single rows, by the label."""

    def __init__(self, project: Project, contract: Contract) -> None:
        """For the answers of versions with this task and these classes."""
        self._project, self.contract = project, contract
        self._gate = next((gate for gate in project.gates if gate.kind == "worth"), None)

    @property
    def names(self) -> tuple[str, ...]:
        """What rows can be measured by, the most telling first: money, then the main metric."""
        task = self.contract.task
        main = metrics.main_metric(task, self._project.gates)
        known = dict.fromkeys([main.name, *(each.name for each in metrics.of_task(task))])
        single = [each for each in known if _single(metrics.find(each, task))]
        money = [] if self._gate is None else [VALUE]
        plain = task == "regression" or len(self.contract.classes) == 2
        return (*money, *single, *([LABEL] if plain else []))

    def metric(self, name: str) -> Metric:
        """The metric of this name; "" is the first. Raises SettingInvalid."""
        names = self.names
        if name and name not in names:
            raise SettingInvalid(
                "an experiment cannot be decided by this: it is no mean over rows that one can want more or less of",
                received=name,
                allowed=", ".join(names),
                next_step="choose one with --metric",
            )
        name = name or names[0]
        task = self.contract.task
        if name == VALUE:
            return Metric(name=name, kind="mean", unit=self._project.currency)
        if name == LABEL:
            kind = "mean" if task == "regression" else "proportion"
            return Metric(name=name, kind=kind, unit=self.contract.label_unit)  # type: ignore[arg-type]
        found = metrics.find(name, task)
        unit = self.contract.label_unit if found.unit == "label" else ""
        return Metric(
            name=name,
            kind="proportion" if name == "accuracy" else "mean",
            better="up" if found.better == "higher" else "down",
            unit=unit,
        )

    def per_row(self, name: str) -> PerRow:
        """One value a row by the metric of this name."""
        contract, gate = self.contract, self._gate
        if name == LABEL:
            positive = contract.classes[-1] if contract.classes else None
            return lambda rows, labels: _numbers(labels, positive)
        if name == VALUE and gate is not None:
            earn = earning.earn_of(gate, model=self._project.name, task=contract.task, classes=contract.classes)
            return lambda rows, labels: np.asarray(
                earn(array(contract, labels), array(contract, [row.value for row in rows])), dtype=float
            )
        judge = metrics.find(name, contract.task).per_row
        names = [str(each) for each in contract.classes]

        def measured(rows: Sequence[Prediction], labels: Sequence[Value]) -> Floats:
            shares = None
            if names:
                given = [row.probabilities or {} for row in rows]
                shares = np.array([[each.get(name, math.nan) for name in names] for each in given], dtype=float)
            predicted = array(contract, [row.value for row in rows])
            answered = metrics.answers(contract.task, array(contract, labels), predicted, shares, contract.classes)
            return np.asarray(judge(answered), dtype=float)  # type: ignore[misc]

        return measured


def _numbers(labels: Sequence[Value], positive: Value) -> Floats:
    """Labels as numbers; of two classes whether it is the positive one."""
    if positive is None:
        return np.array(labels, dtype=np.float64)
    return np.array([each == positive for each in labels], dtype=np.float64)


def _single(metric: metrics.Metric) -> bool:
    return metric.per_row is not None and metric.better in ("higher", "lower")


def of_split(
    session: Session, measuring: Measuring, split: Split, metric: Metric, guardrails: Sequence[Guardrail]
) -> Exposed:
    """The rows that were asked under a split, and that could go either way: not those of an open breaker."""
    folder, live = session.workspace.predictions, split.kind != "shadow"
    rows = (
        row
        for row in log.read(folder, split.model, since=split.started)
        if row.split == split.id and (not live or (row.propensity is not None and 0.0 < row.propensity < 1.0))
    )
    copies: dict[str, Prediction] | None = None
    if split.kind == "shadow":
        copied = log.read(session.workspace.root / SHADOWS, split.model)
        copies = {row.of: replace(row, inputs=None, lookup=None) for row in copied if row.split == split.id}
    outcomes = log.read_outcomes(folder, split.model)
    return gathered(
        rows, outcomes, measuring, names_of(metric, guardrails), split.version, metric.entity, copies, guardrails
    )


def names_of(metric: Metric, guardrails: Sequence[Guardrail]) -> tuple[str, ...]:
    """The metrics that are measured, the main one first."""
    return tuple(dict.fromkeys([metric.name, *(each.name for each in guardrails if each.kind == "margin")]))


def gathered(
    rows: Iterable[Prediction],
    outcomes: Mapping[str, Outcome],
    measuring: Measuring,
    names: Sequence[str],
    version: int = 0,
    entity: Sequence[str] = (),
    copies: Mapping[str, Prediction] | None = None,
    guardrails: Sequence[Guardrail] = (),
) -> Exposed:
    """Rows as arrays, of which ``version`` is the second arm; ``copies`` are a shadow's by the champion's id."""
    judges = {name: measuring.per_row(name) for name in names}
    units: dict[Any, int] = {}
    events = {each.name: _event(each.name) for each in guardrails if each.kind != "margin"}
    found: dict[str, list[Any]] = {
        name: [] for name in ("at", "arrived", "second", "share", "unit", "lost", "uneven", "loose")
    }
    seen: dict[str, list[bool]] = {name: [] for name in events}
    values: dict[str, list[Floats]] = {name: [] for name in names}
    for stretch in _stretches(rows):
        pairs = [(row, row if copies is None else copies.get(row.id)) for row in stretch]
        labels = [_label(row, outcomes.get(row.id), measuring.contract) for row in stretch]
        usable = [
            place
            for place, (row, told) in enumerate(pairs)
            if row.value is not None and told is not None and told.value is not None and labels[place] is not None
        ]
        made, uneven = _values(judges, pairs, labels, usable, copies is not None)
        for name, each in made.items():
            values[name].append(each)
        arrived = np.full(len(stretch), math.nan)
        for place in np.flatnonzero(np.isfinite(made[names[0]])):
            arrived[place] = _seconds(outcomes[stretch[place].id].time)
        found["arrived"] += arrived.tolist()
        found["uneven"] += uneven.tolist()
        for row, told in pairs:
            dealt = (row.assigned or row.version) == version
            chance = math.nan if row.propensity is None else row.propensity
            found["at"].append(_seconds(row.time))
            found["second"].append(dealt)
            found["share"].append(round(chance if dealt else 1.0 - chance, 4))  # of 10,000 buckets
            of = _entity(row, entity)
            found["unit"].append(units.setdefault(of or _request(row), len(units)))
            found["loose"].append(bool(entity) and of is None)
            found["lost"].append(told is None)
            for name, happened in events.items():
                seen[name].append(told is not None and happened(told))
    return Exposed(
        at=np.array(found["at"], dtype=float),
        arrived=np.array(found["arrived"], dtype=float),
        second=np.array(found["second"], dtype=bool),
        share=np.array(found["share"], dtype=float),
        unit=np.array(found["unit"], dtype=np.intp),
        values={name: np.concatenate([np.zeros(0), *parts]) for name, parts in values.items()},
        events={name: np.array(each, dtype=bool) for name, each in seen.items()},
        lost=np.array(found["lost"], dtype=bool),
        uneven=np.array(found["uneven"], dtype=bool),
        loose=np.array(found["loose"], dtype=bool),
    )


def _values(
    judges: Mapping[str, PerRow],
    pairs: Sequence[tuple[Prediction, Prediction | None]],
    labels: Sequence[Value],
    usable: Sequence[int],
    paired: bool,
) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """The values by metric, NaN where it gives no number; and of which pairs the first metric knows only one."""
    actual = [labels[place] for place in usable]
    uneven = np.array([told is not None and (row.value is None) != (told.value is None) for row, told in pairs])
    found: dict[str, Floats] = {}
    for name, judge in judges.items():
        values = np.full(len(pairs), math.nan)
        if usable:
            values[usable] = _finite(judge([pairs[place][1] or pairs[place][0] for place in usable], actual))
        if usable and paired:
            champion = _finite(judge([pairs[place][0] for place in usable], actual))
            if not found:
                uneven[usable] |= np.isnan(values[usable]) != np.isnan(champion)
            values[usable] -= champion
        found[name] = values
    return found, uneven


def _finite(values: Floats) -> Floats:
    """What is no number, such as a metric of probabilities where a fallback has none, is no value."""
    return np.asarray(np.where(np.isfinite(values), values, math.nan))


def _label(row: Prediction, outcome: Outcome | None, contract: Contract) -> Value:
    """The label of a row, None where there is none that the model could have given."""
    if outcome is None or row.erased or not fits(outcome.value, contract):
        return None
    return outcome.value


def _entity(row: Prediction, entity: Sequence[str]) -> tuple[Any, ...] | None:
    """The entity that the row belongs to, None where it has no value of it.

    Where a value was put in, the log has that and not what the row was dealt by.
    """
    filled = {each.column for each in row.verdict.problems if each.action == "impute"}
    values = tuple(None if column in filled else held(row, column) for column in entity)
    return values if values and all(each is not None for each in values) else None


def _request(row: Prediction) -> tuple[Any, ...]:
    """The request that the row came in: rows of one are dealt together."""
    return row.id.partition("-")[0], row.time, row.latency


def _event(name: str) -> Callable[[Prediction], bool]:
    """Whether a row is one of those that a guardrail counts."""
    if name == FAILED:
        return lambda row: row.assigned != 0
    if name.startswith(SLOWER):
        limit = duration(name.removeprefix(SLOWER)).total_seconds()
        return lambda row: row.latency is not None and row.latency > limit
    return lambda row: row.verdict.status == name


def _seconds(time: str) -> float:
    found = micros(time)
    return math.nan if found is None else found / 1e6


def _stretches(rows: Iterable[Prediction]) -> Iterator[list[Prediction]]:
    source = iter(rows)
    while stretch := list(islice(source, _STRETCH)):
        yield stretch
