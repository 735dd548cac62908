"""The page of an experiment: which version is better, by how much, how sure that is, and when it will be known."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fullcircle.flows.experiment_words import between, planned, sure, when
from fullcircle.flows.pages import panels
from fullcircle.flows.pages.environment import environment
from fullcircle.flows.pages.monitored import capital, day, span
from fullcircle.flows.pages.plots import Axis, Drawn, Plot, Series, draw
from fullcircle.flows.pages.sums import amount, sentence
from fullcircle.flows.pages.ticks import moment, time_ticks
from fullcircle.types.experiments import Difference, Experiment

_NOTHING = Difference(value=None, low=None, high=None)
TITLE = "The difference, as it was known"


@dataclass(frozen=True)
class Answer:
    """A colour's name, and a word."""

    tone: str
    word: str


@dataclass(frozen=True)
class Picture:
    """The bounds over time, and the labels under them as (share of the width, text)."""

    plot: Plot
    drawn: Drawn
    ticks: list[tuple[float, str]]


def render_experiment(found: Experiment) -> str:
    """The page as HTML text: no script, no request. Raises MissingExtra where Jinja2 is not installed."""
    env = environment()
    env.filters.update(title=panels.title, sentence=sentence, day=day, capital=capital)
    env.globals.update(amount=amount, between=between)
    return env.get_template("experiment.html").render(
        found=found,
        verdict=found.verdict,
        plan=found.plan,
        answer=answer(found),
        when=span(found.started, found.at),
        sure=sure(found),
        certain=certain(found),
        later="" if found.ended or found.verdict.state != "running" else when(found),
        planned=planned(found.plan),
        pictures=picture(found),
        script=None,
    )


def answer(found: Experiment) -> Answer:
    """How it stands, in a word."""
    verdict = found.verdict
    version, champion = verdict.version, found.plan.arms[0].version
    if verdict.state == "untrusted":
        return Answer("hold", "Not to be believed")
    if verdict.state == "broken":
        return Answer("bad", f"Version {version} broke a guardrail")
    words = {
        "better": Answer("good", f"Version {version} is better"),
        "worse": Answer("bad", f"Version {version} is worse"),
        "same": Answer("info", f"Version {version} is as good as version {champion}"),
    }
    return words.get(verdict.standing, Answer("info", "Not known" if found.ended else "Not known yet"))


@dataclass(frozen=True)
class Certain:
    """How sure a verdict is: a figure, large where it is sure, and what it is a share of ("" where there is none)."""

    figure: str
    words: str = ""


def certain(found: Experiment) -> Certain:
    """How sure it is: the share of experiments of another world that never come to this word."""
    verdict = found.verdict
    if verdict.standing == "undecided":
        return Certain("nothing to be sure of" if verdict.state == "untrusted" or found.ended else "not yet")
    if verdict.standing == "same":
        return Certain(_percent(found.plan.alpha), "of experiments with a difference that matters never say so")
    return Certain(
        _percent(verdict.chance), "of experiments in which nothing differs never look like this, at any look"
    )


def _percent(chance: float) -> str:
    """1 less a chance, rounded to what is less sure: "98.7%"."""
    return "more than 99.9%" if chance < 0.001 else f"{math.floor(1000 * (1 - chance) + 1e-9) / 10:g}%"


def picture(found: Experiment) -> Picture | None:
    """The bounds at each look, beside what would not matter; None while there are none.

    It reaches from the beginning of the experiment to its end, or to now where it runs.
    """
    looks = [(at, each.difference) for each in found.looks if (at := moment(each.at)) is not None]
    if not any(each.low is not None for _, each in looks):
        return None
    looks = list(dict(looks).items())  # labels may come all at once: then the last look is what was known
    begun, ended = moment(found.started), moment(found.at)
    if begun is not None and begun < looks[0][0]:
        looks.insert(0, (begun, _NOTHING))
    if ended is not None and ended > looks[-1][0]:
        looks.append((ended, _NOTHING))
    bounded = [each.low is not None and each.high is not None for _, each in looks]
    series = Series(
        name="difference",
        values=[each.value if known else None for (_, each), known in zip(looks, bounded, strict=True)],
        lows=[each.low if known else None for (_, each), known in zip(looks, bounded, strict=True)],
        highs=[each.high if known else None for (_, each), known in zip(looks, bounded, strict=True)],
    )
    effect = found.plan.effect
    plot = Plot(
        title=TITLE,
        series=(series,),
        unit=found.plan.metric.unit,
        reference=(0.0, -effect, effect),
        limit=(0.0, "no difference"),
    )
    axis = Axis(tuple((at, at) for at, _ in looks))
    ticks = [(axis.x(at) / 1000, text) for at, text in time_ticks(axis.low, axis.high)]
    return Picture(plot, draw(plot, axis), ticks)
