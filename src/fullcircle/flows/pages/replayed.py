"""The page of a replay: what another version would have answered, for whom, and what it would have earned."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fullcircle.flows.pages import panels
from fullcircle.flows.pages.environment import environment
from fullcircle.flows.pages.monitored import span
from fullcircle.flows.pages.sums import amount, sentence
from fullcircle.flows.pages.words import figure, plural
from fullcircle.types.loop import Difference, Replayed

_GROUPS = 200  # lines of the table of groups


@dataclass(frozen=True)
class Answer:
    """What came of it: a colour's name, a word, a sentence."""

    tone: str
    word: str
    sentence: str


def render_replayed(replayed: Replayed) -> str:
    """The page of a replay as HTML text: no script, no request. Raises MissingExtra where Jinja2 is not installed."""
    whole = next((each for each in replayed.groups if not each.column), None)
    groups = [each for each in replayed.groups if each.column]
    env = environment()
    env.filters.update(title=panels.title, sentence=sentence)
    env.globals.update(amount=amount, share=share, judged=judged)
    return env.get_template("replayed.html").render(
        replayed=replayed,
        answer=answer(replayed),
        when=span(replayed.since, replayed.until),
        whole=whole,
        groups=groups[:_GROUPS],
        left=max(0, len(groups) - _GROUPS),
        widest=max((share(each.changed, each.rows) for each in groups), default=0.0) or 1.0,
        money=any(each.earned_before is not None for each in replayed.groups),
        means=any(each.before is not None for each in replayed.groups),
        verdicts=[each for each in replayed.verdicts if each[2]],
        sizes=_sizes(replayed),
    )


def answer(replayed: Replayed) -> Answer:
    """Whether the version would have done better, in words: by money where that is known, else by the metric."""
    part = f"{figure(replayed.changed)} ({100 * share(replayed.changed, replayed.rows):.3g} %)"
    told = f"Of {plural(replayed.rows, 'row')} that were answered again, {part} would have got another answer."
    worth, found = replayed.worth, next(iter(replayed.differences), None)
    if not replayed.rows:
        return Answer("info", "Nothing was replayed", "No row of the log could be answered again.")
    if not replayed.changed and not any(then != now for then, now, rows in replayed.verdicts if rows):
        return Answer("good", "No difference", told)
    if worth is not None and math.isfinite(worth.net):
        much = amount(abs(worth.net), worth.unit)
        told += f" It would have earned {much} {'more' if worth.net >= 0 else 'less'} than what was answered"
        told += f" ({amount(worth.per_row, signed=True)} a row, 95 %: {_ends(worth.low, worth.high)})."
        return Answer(
            *_verdict(worth.low, worth.high, ("It would have earned more", "It would have earned less")), told
        )
    if found is not None:
        told += f" {_sentence(found)}"
        return Answer(
            *_verdict(found.low, found.high, ("It would have been better", "It would have been worse")), told
        )
    return Answer("info", "Other answers, nobody knows which were better", f"{told} Too few of them have a label.")


def judged(found: Difference) -> tuple[str, str]:
    """How the comparison ended: a colour's name and a word."""
    return _verdict(found.low, found.high, ("better", "worse"))


def share(part: int, whole: int) -> float:
    """A part of a whole, 0 of nothing."""
    return part / whole if whole else 0.0


def _verdict(low: float, high: float, words: tuple[str, str]) -> tuple[str, str]:
    if low > 0:
        return ("good", words[0])
    if high < 0:
        return ("bad", words[1])
    return ("info", "no difference beyond chance" if words[0] == "better" else "No difference beyond chance")


def _sentence(found: Difference) -> str:
    name, now, then = panels.title(found.metric), amount(found.challenger), amount(found.champion)
    return f"On {plural(found.rows, 'labelled row')} {name} would have been {now}; it was {then}."


def _ends(low: float, high: float) -> str:
    return f"{amount(low, signed=True)} to {amount(high, signed=True)}"


def _sizes(replayed: Replayed) -> list[tuple[str, str]]:
    """By how much answers differ, where they are numbers."""
    sizes = replayed.sizes
    found = []
    if "tolerance" in sizes:
        limit = sizes["tolerance"]
        much = f"{100 * limit:.3g} % of the greater" if sizes.get("share") else amount(limit)
        found.append(("counts as another answer", f"more than {much} apart"))
    names = {
        "bits": "rows with any difference",
        "median": "half of the changes are below",
        "p95": "95 % of them below",
    }
    names |= {"largest": "the largest change", "mean": "on average, with its sign"}
    for key, name in names.items():
        if key in sizes:
            signed = key == "mean"
            found.append((name, figure(int(sizes[key])) if key == "bits" else amount(sizes[key], signed=signed)))
    return found
