"""Render a turn as one HTML page: no script, no request, readable on a phone, on paper and in the dark."""

from __future__ import annotations

from dataclasses import dataclass

from fullcircle.flows.pages.environment import environment
from fullcircle.types.monitoring import Decision
from fullcircle.types.report import Measure
from fullcircle.types.turn import Trained, Turn

PHASES = ("explore", "evaluate", "develop", "package", "deploy", "monitor")
DECIDED = {
    "promote": ("good", "Promoted"),
    "keep": ("good", "Unchanged"),
    "hold": ("hold", "Held"),
    "rollback": ("bad", "Rolled back"),
}


def render(turn: Turn) -> str:
    """The page of a turn as HTML text. It holds everything in itself and opens from a file.

    Raises MissingExtra where Jinja2 or vl-convert-python is not installed.
    """
    page = environment().get_template("turn.html")
    return page.render(
        turn=turn,
        decided=decided(turn.decision),
        retrained=decided(turn.retrained.decision) if turn.retrained else None,
        headline=headline(turn.trained),
        arcs=arcs(turn),
        longest=max((stage.seconds for stage in turn.stages), default=0.0) or 1.0,
        whole=sum(stage.seconds for stage in turn.stages) or 1.0,
    )


@dataclass(frozen=True)
class Decided:
    """A decision as the page shows it: a colour's name and a word, always both."""

    tone: str
    word: str
    version: int | None
    reason: str


def decided(decision: Decision) -> Decided:
    """How a decision is coloured and worded."""
    tone, word = DECIDED[decision.action]
    return Decided(tone=tone, word=word, version=decision.version, reason=decision.reason)


@dataclass(frozen=True)
class Headline:
    """The main metric beside what guessing would have got."""

    measure: Measure
    guess: Measure | None


def headline(trained: Trained) -> Headline | None:
    """The main metric of the report on all test rows, None where it could not be measured."""
    measure = trained.report.measure(trained.metric)
    if measure is None or not measure.usable:
        return None
    return Headline(measure=measure, guess=trained.report.measure(f"baseline_{trained.metric}"))


def arcs(turn: Turn) -> tuple[tuple[str, bool], ...]:
    """The six phases of the circle, and whether this turn reached each."""
    reached = {
        "explore": True,
        "evaluate": bool(turn.trained.report.gates or turn.trained.report.findings),
        "develop": True,
        "package": turn.packaged is not None,
        "deploy": turn.deployed is not None,
        "monitor": bool(turn.windows),
    }
    return tuple((phase, reached[phase]) for phase in PHASES)
