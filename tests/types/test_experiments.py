"""The nouns of experiments: frozen, and they go through JSON and back."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import msgspec
import pytest

from fullcircle.types import experiments
from fullcircle.types.experiments import Arm, Difference, Guardrail, Metric, Plan, Share, Verdict, Warrant

PLAN = Plan(
    model="bike-demand",
    metric=Metric(name="worth", kind="mean", unit="EUR"),
    arms=(Arm(version=7, share=0.5), Arm(version=8, share=0.5)),
    effect=0.1,
    spread=1.0,
    guardrails=(Guardrail(name="failures", kind="times", limit=1.5),),
    rows=6012,
    likely_rows=3732,
    rows_a_day=1000.0,
    days=6.1,
    likely_days=3.8,
)
VERDICT = Verdict(
    version=8,
    standing="better",
    state="decided",
    difference=Difference(value=0.2, low=0.05, high=0.35, unit="EUR"),
    chance=0.01,
    arms=(Share(version=7, share=0.5, rows=10, due=8, labelled=7),),
    trust=(Warrant(name="shares", holds=True, chance=1.0, text="rows went as planned"),),
    rows_left=None,
)


@pytest.mark.parametrize("noun", [PLAN, VERDICT], ids=["plan", "verdict"])
def test_a_noun_goes_through_json_and_back(noun: object) -> None:
    assert msgspec.json.decode(msgspec.json.encode(noun), type=type(noun)) == noun


def test_a_plan_of_before_the_share_of_labels_was_kept_takes_every_row_for_labelled() -> None:
    written = msgspec.json.decode(msgspec.json.encode(dataclasses.replace(PLAN, valued=0.2)))
    assert written.pop("valued") == 0.2
    assert msgspec.json.decode(msgspec.json.encode(written), type=Plan) == PLAN
    assert PLAN.valued == 1.0


def test_nouns_are_frozen_and_take_names_only() -> None:
    nouns: list[Any] = [each for each in vars(experiments).values() if dataclasses.is_dataclass(each)]
    assert len(nouns) == 10
    for noun in nouns:
        assert noun.__dataclass_params__.frozen
        assert all(field.kw_only for field in dataclasses.fields(noun))
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAN.effect = 0.2  # type: ignore[misc]


def test_a_standing_is_one_of_four_words() -> None:
    assert set(get_args(experiments.Standing)) == {"better", "worse", "same", "undecided"}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(VERDICT).replace(b'"better"', b'"best"'), type=Verdict)
