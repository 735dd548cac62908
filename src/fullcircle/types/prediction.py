"""Predictions, and the labels that come later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fullcircle.types.contract import Value, Verdict


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answered row.

    ``value`` is the predicted number or class, None when the row was rejected. ``probabilities`` maps each
    class (as a string) to its probability, None for regression. ``inputs`` are the values the model saw, after
    imputation. ``context`` are the values of the contract's context columns that the row brought along. ``id`` is ""
    until it was logged, ``time`` is UTC, ISO 8601. ``lookup`` says how features were looked up: the view and its
    definition, at which nanosecond, the values as they were served, the states of those that were not present, and
    what the caller passed or functions took of the request. ``latency`` are the seconds from the request's arrival to
    the log. ``answered_by`` tells who gave the answer of a fallback: "previous" (the champion before) or "prior".
    ``split`` names the split (see ``types.splits``) that the row was asked under, ``propensity`` the chance by which
    it was assigned as it was; ``assigned`` is the version that it was assigned to where the champion had to answer,
    else 0. ``of`` is, for a shadow's answer, the id of the prediction that the champion gave to the same row.
    ``erased`` is "" but for a row whose values were erased from the log: then the mark of the fact that says so.
    """

    value: Value
    verdict: Verdict
    probabilities: Mapping[str, float] | None = None
    id: str = ""
    time: str = ""
    model: str = ""
    version: int = 0
    bundle: str = ""
    inputs: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    lookup: Mapping[str, Any] | None = None
    latency: float | None = None
    answered_by: str = ""
    erased: str = ""
    split: str = ""
    propensity: float | None = None
    assigned: int = 0
    of: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A label that came later. Of several for one prediction the one that was received last counts, by ``time``.

    It names its prediction by ``prediction_id``, or by ``key`` and ``at``: then it belongs to the model's latest
    answered prediction at or before ``at`` (UTC, ISO 8601) whose inputs, context or lookup hold these values, and
    which is not older than ``within`` ("30d"; "" is any age). ``time`` is when it was received, "" until it was.
    """

    value: Value
    prediction_id: str = ""
    time: str = ""
    key: Mapping[str, Value] | None = None
    at: str = ""
    within: str = ""
