"""What a user declares: a project and its parts. Declaring reads no data and runs no code of the user's."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from fullcircle.errors import ProjectInvalid
from fullcircle.types.contract import POLICIES, Policy
from fullcircle.types.durations import byte_count, duration, per_year
from fullcircle.types.features import FeatureView
from fullcircle.types.table import Table

Fit = Callable[..., Any]
_LARGEST = sys.float_info.max
_LARGEST_SEED = 2**32 - 1  # of numpy's and scikit-learn's generators
Scalar = str | int | float | bool | None
GateKind = Literal["at_most", "at_least", "beats", "fair", "worth", "latency", "size"]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Policies for rows that do not fit the contract, for all columns unless ``columns`` says otherwise.

    ``columns`` maps a column name to overrides: label, unit, private, nullable, low, high, missing, unseen,
    outside, wrong_type.
    """

    missing: Policy = "reject"
    unseen: Policy = "flag"
    outside: Policy = "flag"
    wrong_type: Policy = "reject"
    unknown: Literal["reject", "flag"] = "reject"
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    OVERRIDES = (
        "label",
        "unit",
        "private",
        "nullable",
        "low",
        "high",
        "missing",
        "unseen",
        "outside",
        "wrong_type",
    )

    def __post_init__(self) -> None:
        for name in ("missing", "unseen", "outside", "wrong_type"):
            _one_of(f"inputs.{name}", getattr(self, name), POLICIES)
        _one_of("inputs.unknown", self.unknown, ("reject", "flag"))
        _mapping("inputs.columns", self.columns)
        for column, overrides in self.columns.items():
            _mapping(f"inputs.columns[{column!r}]", overrides)
            for key, value in overrides.items():
                _one_of(f"a key of inputs.columns[{column!r}]", key, self.OVERRIDES)
                if key in ("missing", "unseen", "outside", "wrong_type"):
                    _one_of(f"inputs.columns[{column!r}][{key!r}]", value, POLICIES)


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A condition for promotion. Made by at_most, at_least, beats, fair, worth, latency and size."""

    kind: GateKind
    metric: str = ""
    limit: float = 0.0
    by: str = ""
    per_row: Callable[[Any, Any], Any] | None = None
    text: str = ""


def at_most(metric: str, limit: float) -> Gate:
    """The metric on the test rows must not exceed ``limit``."""
    return Gate(
        kind="at_most",
        metric=_name("metric", metric),
        limit=_number("limit", limit),
        text=f"{metric} at most {limit:g}",
    )


def at_least(metric: str, limit: float) -> Gate:
    """The metric on the test rows must reach ``limit``."""
    return Gate(
        kind="at_least",
        metric=_name("metric", metric),
        limit=_number("limit", limit),
        text=f"{metric} at least {limit:g}",
    )


def beats(rival: str = "champion") -> Gate:
    """The main metric must be better than the champion's on the same rows, beyond chance (95 % interval).

    While there is no champion, the rival is the trivial baseline.
    """
    _one_of("the rival in beats(...)", rival, ("champion", "baseline"))
    return Gate(kind="beats", metric=rival, text=f"beats the {rival}")


def fair(by: str, metric: str, gap: float) -> Gate:
    """The metric may differ by at most ``gap`` between the groups of column ``by``."""
    return Gate(
        kind="fair",
        by=_name("by", by),
        metric=_name("metric", metric),
        limit=_number("gap", gap, 0.0),
        text=f"{metric} differs by at most {gap:g} between groups of {by}",
    )


def worth(per_row: Callable[[Any, Any], Any], at_least: float = 0.0) -> Gate:
    """``per_row(actual, predicted)`` (arrays in, array of money out) must earn on average this much a row."""
    if not callable(per_row):
        raise ProjectInvalid(
            "per_row in worth(...) is not a function",
            received=repr(per_row),
            allowed="a function of (actual, predicted)",
            next_step="pass the function itself",
        )
    return Gate(
        kind="worth",
        metric="value_per_row",
        limit=_number("at_least", at_least),
        per_row=per_row,
        text=f"worth at least {at_least:g} a row",
    )


def latency(p99: str) -> Gate:
    """99 of 100 single rows must be answered within this time, contract included, in process."""
    return Gate(
        kind="latency",
        metric="latency_p99_ms",
        limit=duration(p99).total_seconds() * 1000.0,
        text=f"latency p99 at most {p99}",
    )


def size(limit: str) -> Gate:
    """The model file must not be larger than this."""
    return Gate(kind="size", metric="model_bytes", limit=float(byte_count(limit)), text=f"size at most {limit}")


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """How production is watched: the alert budget over all features, the length of a window, whom to tell."""

    false_alerts: str = "1 per year"
    window: str = "7d"

    def __post_init__(self) -> None:
        per_year(self.false_alerts)
        if duration(self.window).total_seconds() < 60:
            raise ProjectInvalid(
                "a monitoring window is shorter than a minute",
                received=self.window,
                allowed="one minute or longer",
                next_step='write for example window="7d"',
            )

    @property
    def windows_per_year(self) -> float:
        """How many windows a year has."""
        return 365.25 * 86400.0 / duration(self.window).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """When and how to retrain: the pause between two promotions, and who approves ("auto" or "hand")."""

    cooldown: str = "0s"
    approve: Literal["auto", "hand"] = "auto"

    def __post_init__(self) -> None:
        duration(self.cooldown)
        _one_of("retrain.approve", self.approve, ("auto", "hand"))


@dataclass(frozen=True, kw_only=True)
class Project:
    """Everything fullcircle needs to know about one model.

    ``data`` is a Table (or what one is made of), or a FeatureView with labels: then ``features`` are by default all
    of the view's and the request columns, and whoever asks for a prediction sends keys and request columns only.
    ``fit(X, y, **params)`` takes a pandas DataFrame of ``features`` and a Series, and returns an object with
    ``predict`` (and ``predict_proba`` for classes). Instead of ``fit``, ``candidates`` names several; the best on a
    validation part of the training rows goes on. ``test`` is the share of rows kept for the report: the latest ones
    where the table has a time, else a seeded draw. ``arrivals`` names tables (or functions from the test rows to a
    frame) that ``run`` plays through the server as production traffic.
    """

    name: str
    data: Any
    label: str
    features: Sequence[str] = ()
    fit: Fit | None = None
    candidates: Mapping[str, Fit] = field(default_factory=dict)
    params: Mapping[str, Scalar] = field(default_factory=dict)
    task: Literal["regression", "classification"] | None = None
    label_delay: str = "0s"
    inputs: Inputs = field(default_factory=Inputs)
    gates: Sequence[Gate] = ()
    monitor: Monitor = field(default_factory=Monitor)
    retrain: Retrain = field(default_factory=Retrain)
    arrivals: Mapping[str, Any] = field(default_factory=dict)
    test: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", self.name):
            raise ProjectInvalid(
                "the project's name cannot be used",
                received=repr(self.name),
                allowed="1 to 63 of a-z, 0-9, - and _, beginning with a letter or digit",
                next_step='write for example name="bike-demand"',
            )
        if self.view is not None:
            self._check_view(self.view)
        elif not isinstance(self.data, Table):
            object.__setattr__(self, "data", Table(self.data))
        _name("label", self.label)
        self._check_types()
        self._check_features()
        self._check_fit()
        self._check_rest()

    @property
    def view(self) -> FeatureView | None:
        """The feature view that the project's rows come from, where it has one."""
        return self.data if isinstance(self.data, FeatureView) else None

    def _check_view(self, view: FeatureView) -> None:
        if view.labels is None or view.labels.time is None:
            raise ProjectInvalid(
                f"the view {view.name!r} has no labels with a time, so there is nothing to learn from",
                next_step='say labels=fc.Table(..., time="COLUMN") in the FeatureView',
            )
        given = (*view.names, *view.request)
        if not self.features:
            object.__setattr__(self, "features", given)
        for name in self.features if isinstance(self.features, Sequence) else ():
            _one_of(f"a feature of a project on the view {view.name!r}", name, given)

    def _check_types(self) -> None:
        for name in ("candidates", "params", "arrivals"):
            _mapping(name, getattr(self, name))
        for name, kind in (("inputs", Inputs), ("monitor", Monitor), ("retrain", Retrain)):
            if not isinstance(getattr(self, name), kind):
                raise ProjectInvalid(
                    f"{name} is of the wrong type",
                    received=repr(getattr(self, name)),
                    allowed=f"fc.{kind.__name__}(...)",
                    next_step="see the README's project",
                )

    def _check_features(self) -> None:
        unordered = isinstance(self.features, str | Set | Mapping) or not isinstance(self.features, Iterable)
        if not unordered:
            object.__setattr__(self, "features", tuple(self.features))
        if unordered or not all(isinstance(name, str) for name in self.features):
            raise ProjectInvalid(
                "features is not a list of column names",
                received=repr(self.features),
                allowed='["age", "income"]',
                next_step="list the columns the model may see",
            )
        twice = sorted({name for name in self.features if list(self.features).count(name) > 1})
        if not self.features or twice:
            raise ProjectInvalid(
                "features names a column twice" if twice else "features is empty",
                received=", ".join(twice) or "[]",
                allowed="each column once, at least one",
                next_step="mend the list in the project file",
            )
        if self.label in self.features:
            raise ProjectInvalid(
                "the label is among the features, so the model would be told the answer",
                received=self.label,
                next_step="take it out of features",
            )
        for column in self.inputs.columns:
            _one_of("a column in inputs.columns", column, tuple(self.features))

    def _check_fit(self) -> None:
        if (self.fit is None) == (not self.candidates):
            raise ProjectInvalid(
                "a project needs fit or candidates, and not both",
                allowed="fit=function, or candidates={name: function}",
                next_step="declare one of the two",
            )
        for name, fit in self.fits.items():
            if not callable(fit):
                raise ProjectInvalid(
                    f"the candidate {name!r} is not a function",
                    received=repr(fit),
                    allowed="a function fit(X, y) that returns the fitted model",
                    next_step="pass the function itself, without calling it",
                )
        for key, value in self.params.items():
            if not isinstance(value, str | int | float | bool | None):
                raise ProjectInvalid(
                    f"the parameter {key!r} is not a single value",
                    received=repr(value),
                    allowed="text, number, true or false, None",
                    next_step="build larger objects inside fit",
                )

    def _check_rest(self) -> None:
        if not isinstance(self.gates, Sequence):
            raise ProjectInvalid(
                "gates is not a list",
                received=repr(self.gates),
                allowed='[fc.at_most("mae", 40.0), fc.beats("champion")]',
                next_step="put the gates between [ and ]",
            )
        object.__setattr__(self, "gates", tuple(self.gates))
        for gate in self.gates:
            if not isinstance(gate, Gate):
                raise ProjectInvalid(
                    "there is an unknown gate",
                    received=repr(gate),
                    allowed="at_most, at_least, beats, fair, worth, latency, size",
                    next_step="make each gate with one of these functions",
                )
        if self.task is not None:
            _one_of("task", self.task, ("regression", "classification"))
        if isinstance(self.test, bool) or not isinstance(self.test, float) or not 0.05 <= self.test <= 0.5:
            raise ProjectInvalid(
                "test is not a share of the rows",
                received=repr(self.test),
                allowed="a number from 0.05 to 0.5",
                next_step="write for example test=0.25",
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed <= _LARGEST_SEED:
            raise ProjectInvalid(
                "seed is not a whole number that libraries take",
                received=repr(self.seed),
                allowed=f"0 to {_LARGEST_SEED}",
                next_step="write for example seed=0",
            )
        duration(self.label_delay)
        for name, arrival in self.arrivals.items():
            if not isinstance(arrival, Table) and not callable(arrival):
                raise ProjectInvalid(
                    f"the arrival {name!r} is neither a Table nor a function",
                    received=repr(arrival),
                    allowed="fc.Table(...), or a function of the test rows",
                    next_step="wrap the file in fc.Table",
                )

    @property
    def fits(self) -> Mapping[str, Fit]:
        """The candidates by name; a single ``fit`` is the candidate "model"."""
        return dict(self.candidates) if self.fit is None else {"model": self.fit}


def _one_of(what: str, received: object, allowed: Sequence[str]) -> None:
    if received not in allowed:
        raise ProjectInvalid(
            f"{what} is not one of the allowed values",
            received=repr(received),
            allowed=", ".join(allowed),
            next_step="mend the project file",
        )


def _name(what: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ProjectInvalid(
            f"{what} is not a name", received=repr(value), allowed="text", next_step="mend the project file"
        )
    return value


def _mapping(what: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise ProjectInvalid(
            f"{what} is not a mapping",
            received=repr(value),
            allowed="{name: value}",
            next_step="mend the project file",
        )


def _number(what: str, value: object, low: float = -math.inf) -> float:
    # The bounds say no to NaN, infinity, and integers that no float holds.
    fits = isinstance(value, int | float) and max(low, -_LARGEST) <= value <= _LARGEST
    if isinstance(value, bool) or not isinstance(value, int | float) or not fits:
        raise ProjectInvalid(
            f"{what} is not a usable number",
            received=repr(value),
            allowed="a finite number" + (f", at least {low:g}" if low > -math.inf else ""),
            next_step="mend the project file",
        )
    return float(value)
