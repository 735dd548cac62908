"""What a user declares: a project and its parts. Declaring reads no data and runs no code of the user's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from fullcircle.errors import ProjectInvalid
from fullcircle.types import declared, environments, overrides
from fullcircle.types.contract import POLICIES, Policy
from fullcircle.types.durations import duration, per_year
from fullcircle.types.features import FeatureView
from fullcircle.types.gates import Gate
from fullcircle.types.needs import Need, needs
from fullcircle.types.table import Table

Fit = Callable[..., Any]
_LARGEST_SEED = 2**32 - 1  # of numpy's and scikit-learn's generators
Scalar = str | int | float | bool | None
Approve = Literal["auto", "person"]
APPROVE = ("auto", "person")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Policies for rows that do not fit the contract, for all columns unless ``columns`` says otherwise.

    ``failed`` is what becomes of a row that the model itself cannot answer: with "fallback" the previous champion
    answers, or the constant prior.

    ``unknown`` is for a column that the model does not have. ``label_name`` and ``label_unit`` are how reports call
    the label. ``columns`` maps a column name to overrides: label, unit, type, private, hashed, nullable, low, high,
    usual_low, usual_high, categories, fill, how, missing, unseen, outside, wrong_type (docs/contract.md).
    """

    missing: Policy = "reject"
    unseen: Policy = "flag"
    outside: Policy = "flag"
    wrong_type: Policy = "reject"
    unknown: Literal["reject", "flag", "fallback"] = "reject"
    failed: Literal["reject", "fallback"] = "fallback"
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    label_name: str = ""
    label_unit: str = ""

    OVERRIDES = overrides.KEYS

    def __post_init__(self) -> None:
        for name in overrides.POLICY_KEYS:
            declared.one_of(f"inputs.{name}", getattr(self, name), POLICIES)
        declared.one_of("inputs.failed", self.failed, overrides.FAILED)
        if str(self.unknown) == "impute":
            _said("inputs.unknown", self.unknown, overrides.policy_for_unknown(self.unknown))
        declared.one_of("inputs.unknown", self.unknown, overrides.UNKNOWN)
        for name in ("label_name", "label_unit"):
            said = getattr(self, name)
            _said(f"inputs.{name}", said, "" if isinstance(said, str) else "text")
        declared.mapping("inputs.columns", self.columns)
        for column, given in self.columns.items():
            what = f"inputs.columns[{column!r}]"
            declared.mapping(what, given)
            for key, value in given.items():
                declared.one_of(f"a key of {what}", key, self.OVERRIDES)
                _said(f"{what}[{key!r}]", value, overrides.unfit(key, value))
            key, allowed = overrides.contradiction(given)
            _said(f"{what}[{key!r}]", given.get(key), allowed)


def _said(what: str, value: object, allowed: str) -> None:
    """Refuse a value where ``allowed`` says what it should have been."""
    if allowed:
        raise ProjectInvalid(
            f"{what} does not fit", received=repr(value), allowed=allowed, next_step="mend it in the project file"
        )


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """How production is watched: the alert budget over all features, the length of a batch, whom to tell.

    ``false_alerts`` is how many alarms a year may be raised though nothing changed, over everything that is watched
    and for as long as the model is; that holds with probability ``confidence`` over the draw of the reference.
    ``window`` is the length of a batch: evidence is judged when one is over. ``tolerance`` is drift that does no
    harm, as a Jensen-Shannon divergence in bits from the reference, for all columns or by column; a column with 1 is
    not watched. ``worse_by`` is how much the model's losses may grow over the reference's without a page, as a
    share of these. ``notify`` are addresses of Apprise, or alertmanager://HOST:PORT; an alarm is told there once it
    was on in M of the last N batches (``confirm="M of N"``), and told again after ``cooldown`` while it stays open
    and nobody acknowledged it.
    """

    false_alerts: str = "1 per year"
    window: str = "7d"
    confidence: float = 0.95
    tolerance: float | Mapping[str, float] = 0.0
    worse_by: float = 0.05
    notify: Sequence[str] = ()
    cooldown: str = "1d"
    confirm: str = "1 of 1"

    def __post_init__(self) -> None:
        per_year(self.false_alerts)
        if duration(self.window).total_seconds() < 60:
            raise ProjectInvalid(
                "a monitoring window is shorter than a minute",
                received=self.window,
                allowed="one minute or longer",
                next_step='write for example window="7d"',
            )
        duration(self.cooldown)
        self._check_numbers()
        self._check_addresses()
        self.confirmed_by  # noqa: B018  # says what is wrong with it

    def _check_numbers(self) -> None:
        between = isinstance(self.confidence, float) and 0.5 <= self.confidence < 1
        _said("monitor.confidence", self.confidence, "" if between else "a number from 0.5 to below 1, such as 0.95")
        tolerances = dict(self.tolerance) if isinstance(self.tolerance, Mapping) else {"": self.tolerance}
        for name, given in tolerances.items():
            fits = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given <= 1
            what = f"monitor.tolerance[{name!r}]" if name else "monitor.tolerance"
            _said(what, given, "" if fits else "bits of divergence, from 0 to 1 (1: not watched)")
        declared.number("monitor.worse_by", self.worse_by, 0.0)

    def _check_addresses(self) -> None:
        """Only the form, and without showing one: an address may hold a secret."""
        allowed = 'a list of addresses, each "env:NAME" or "SCHEME://...", such as ["env:ALARMS_SLACK"]'
        if isinstance(self.notify, str) or not isinstance(self.notify, Sequence):
            _said("monitor.notify", type(self.notify).__name__, allowed)
        for place, one in enumerate(self.notify, start=1):
            fits = isinstance(one, str) and re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*|[A-Za-z][\w+.-]*://\S.*", one)
            _said("monitor.notify", f"address {place}", "" if fits else allowed)

    @property
    def confirmed_by(self) -> tuple[int, int]:
        """In how many (M) of the last N batches an alarm was on before it is told."""
        match = re.fullmatch(r"\s*([0-9]{1,3})\s+of\s+([0-9]{1,3})\s*", str(self.confirm))
        found = (int(match[1]), int(match[2])) if match else (0, 0)
        fits = 1 <= found[0] <= found[1] <= 100
        _said("monitor.confirm", self.confirm, "" if fits else 'M of N, at most 100, such as "2 of 3"')
        return found

    @property
    def windows_per_year(self) -> float:
        """How many windows a year has."""
        return 365.25 * 86400.0 / duration(self.window).total_seconds()


TRIGGERS = ("harm", "drift")


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """When to retrain, on which rows, what it costs, and who approves.

    ``triggers`` are the alarms that ask for it: "harm" (losses grew) and "drift" (that is expected to cost more than
    ``cost``). ``schedule`` ("30d") also asks for it when the champion is so old, ``rows`` when so many new labelled
    rows came; "" and 0 for never. ``cooldown`` is the pause between two trainings. ``cost`` is what one costs, in the
    project's currency, and ``horizon`` how far ahead a gain is counted. ``learn_from`` ("365d") leaves out rows that
    are older, "" learns from all. ``source`` names a column that says who sent a row: no one source may give more
    than the ``share`` of the new rows. ``tolerance`` is how much worse a challenger may be than the champion on
    frozen rows, as a share of the champion's figure. ``approve="person"`` lets nothing be promoted unseen.
    """

    cooldown: str = "0s"
    approve: Approve = "auto"
    triggers: Sequence[str] = TRIGGERS
    schedule: str = ""
    rows: int = 0
    cost: float = 0.0
    horizon: str = "30d"
    learn_from: str = ""
    source: str = ""
    share: float = 0.2
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        duration(self.cooldown)
        duration(self.horizon)
        declared.one_of("retrain.approve", self.approve, APPROVE)
        object.__setattr__(self, "triggers", declared.columns("retrain.triggers", self.triggers))
        for name in self.triggers:
            declared.one_of("retrain.triggers", name, TRIGGERS)
        for name in ("schedule", "learn_from"):
            if getattr(self, name) and duration(getattr(self, name)).total_seconds() < 60:
                _said(f"retrain.{name}", getattr(self, name), 'a minute or longer, such as "30d"')
        whole = isinstance(self.rows, int) and not isinstance(self.rows, bool) and self.rows >= 0
        _said("retrain.rows", self.rows, "" if whole else "a whole number of rows, 0 for never")
        _said("retrain.source", self.source, "" if isinstance(self.source, str) else "the name of a column")
        object.__setattr__(self, "cost", declared.number("retrain.cost", self.cost, 0.0))
        object.__setattr__(self, "tolerance", declared.number("retrain.tolerance", self.tolerance, 0.0))
        share = declared.number("retrain.share", self.share, 0.0)
        _said("retrain.share", share, "" if 0 < share <= 1 else "a share of the new rows, above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How the answers will be asked for: what the decision sheet (batch, real time or both) is worked out from.

    ``requests_per_day`` rows a day; ``freshness`` how old an answer may be when it is used; ``latency`` how long
    whoever asks can wait; ``machine_hour`` what an hour of a machine like this costs, in the currency of the project.
    """

    requests_per_day: float
    freshness: str = "1d"
    latency: str = "1s"
    machine_hour: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "requests_per_day", declared.number("serving.requests_per_day", self.requests_per_day, 0.0)
        )
        object.__setattr__(self, "machine_hour", declared.number("serving.machine_hour", self.machine_hour, 0.0))
        duration(self.freshness)
        duration(self.latency)


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

    ``history`` are the rows that ``rehearse`` plays (a Table with a time; by default the project's data): what was
    asked, with the label that became known later. ``label_at`` names its column with the time when that was; without
    one a label comes ``label_delay`` after its row.

    ``protected`` names columns of the data (sex, age group, ...) between whose groups the report compares the model,
    features or not. ``checks`` names those to run, all by default. With ``approve="person"`` no version becomes
    champion before somebody approved it (``fullcircle approve``). ``purpose`` and ``limits`` are sentences for the
    model card: what the model is for, and where it must not be used. ``currency`` is that of every amount.

    ``requirements`` says which packages its bundle may take: the name of a file beside the project (pyproject.toml,
    requirements.txt, uv.lock), or lines such as "lightgbm>=4"; by default the first of these files that is there.
    ``python`` ("3.12") and ``platform`` (as uv calls it, "x86_64-manylinux_2_28") are those of the machine it will
    run on, by default this one's. ``requires`` is what it needs at run time beside its bundle (docs/doctor.md).
    ``allow_pickle`` consents to model files that run code when they are loaded (docs/models.md).
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
    history: Any = None
    label_at: str = ""
    inputs: Inputs = field(default_factory=Inputs)
    gates: Sequence[Gate] = ()
    monitor: Monitor = field(default_factory=Monitor)
    retrain: Retrain = field(default_factory=Retrain)
    arrivals: Mapping[str, Any] = field(default_factory=dict)
    test: float = 0.25
    seed: int = 0
    protected: Sequence[str] = ()
    serving: Serving | None = None
    checks: Sequence[str] = ()
    approve: Approve = "auto"
    currency: str = ""
    purpose: str = ""
    limits: str = ""
    requirements: str | Sequence[str] = ""
    python: str = ""
    platform: str = ""
    requires: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    allow_pickle: bool = False

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
        declared.name_of("label", self.label)
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
            declared.one_of(f"a feature of a project on the view {view.name!r}", name, given)

    def _check_types(self) -> None:
        for name in ("candidates", "params", "arrivals"):
            declared.mapping(name, getattr(self, name))
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
            declared.one_of("a column in inputs.columns", column, tuple(self.features))

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
        for name in ("protected", "checks"):
            object.__setattr__(self, name, declared.columns(name, getattr(self, name)))
        for name in ("currency", "purpose", "limits"):
            if not isinstance(getattr(self, name), str):
                declared.name_of(name, getattr(self, name))
        if self.serving is not None and not isinstance(self.serving, Serving):
            raise ProjectInvalid(
                "serving is of the wrong type",
                received=repr(self.serving),
                allowed="fc.Serving(requests_per_day=...)",
                next_step="see docs/evaluation.md",
            )
        declared.one_of("approve", self.approve, APPROVE)
        environments.check(self.requirements, self.python, self.platform, self.allow_pickle)
        needs(self.requires)
        if self.task is not None:
            declared.one_of("task", self.task, ("regression", "classification"))
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
    def groups(self) -> tuple[str, ...]:
        """The columns whose groups are compared: protected ones, and those that gates name."""
        return tuple(dict.fromkeys([*self.protected, *(name for gate in self.gates for name in gate.by)]))

    @property
    def needs(self) -> tuple[Need, ...]:
        """What it needs at run time beside its bundle."""
        return needs(self.requires)

    @property
    def fits(self) -> Mapping[str, Fit]:
        """The candidates by name; a single ``fit`` is the candidate "model"."""
        return dict(self.candidates) if self.fit is None else {"model": self.fit}
