"""A split as its facts have it: one line each, so lists are written as text."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from fullcircle.types.facts import Fact
from fullcircle.types.splits import LEAST, Split, Step


def body(split: Split) -> dict[str, Any]:
    """What the fact says by which the split begins."""
    return {
        "model": split.model,
        "split": split.id,
        "mode": split.kind,
        "champion": split.champion,
        "version": split.version,
        "salt": split.salt,
        "entity": json.dumps(split.entity),
        "steps": json.dumps([step.share for step in split.steps]),
        "bake": max((step.bake for step in split.steps), default=0.0),
        "least": split.least,
    }


def started(fact: Fact) -> Split:
    """The split that a fact begins."""
    said = fact.body
    bake = float(said.get("bake") or 0.0)
    return Split(
        id=said["split"],
        model=said["model"],
        kind=said["mode"],
        champion=said["champion"],
        version=said["version"],
        salt=said["salt"],
        entity=tuple(json.loads(said.get("entity") or "[]")),
        steps=tuple(Step(share=share, bake=bake) for share in json.loads(said.get("steps") or "[]")),
        least=int(LEAST if said.get("least") is None else said["least"]),
        since=fact.time,
        started=fact.time,
    )


def moved(split: Split, fact: Fact) -> Split:
    """The split at its next step. One that is past all that were said is of an experiment that learns its shares."""
    place, steps = int(fact.body["place"]), split.steps
    if place >= len(steps):
        steps = (*steps, Step(share=int(fact.body["share"]), bake=0.0))
        place = len(steps) - 1
    return replace(split, steps=steps, place=place, since=fact.time)
