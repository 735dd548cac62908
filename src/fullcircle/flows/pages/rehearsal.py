"""The page of a rehearsal: what the loop would have done over recorded history, when and why, and what it earned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from fullcircle.flows.pages import live, panels, sums
from fullcircle.flows.pages.environment import environment
from fullcircle.flows.pages.monitored import capital, day
from fullcircle.flows.pages.played import Points, Timeline, points, segments
from fullcircle.flows.pages.plots import Plot, Series
from fullcircle.flows.pages.story import Entry, Lane, entries, lanes, lines
from fullcircle.flows.pages.sums import amount
from fullcircle.types.loop import Policy, Rehearsal

_LONGEST, _OTHERS = 400, 60  # entries of the story: of the first policy, and of each other one
_CLOSE = 0.005
SHIPPED, NEVER, HINDSIGHT, CALENDAR = "shipped", "never", "hindsight", "schedule "
_TONES = {SHIPPED: "a", NEVER: "b", HINDSIGHT: "e"}


@dataclass(frozen=True)
class Run:
    """A policy as the page shows it: what it is called, its colour, its story, and the marks under its picture."""

    policy: Policy
    title: str
    tone: str
    key: str
    story: tuple[Entry, ...]
    left_out: int
    lanes: tuple[Lane, ...]
    versions: tuple[tuple[float, float, int], ...]
    marks: tuple[tuple[float, float, str], ...]
    points: Points | None

    @property
    def tried(self) -> bool:
        """Whether it is one of the ``--try``."""
        return not (self.policy.name in _TONES or self.policy.name.startswith(CALENDAR))


def render_rehearsal(rehearsal: Rehearsal, *, interactive: bool = True) -> str:
    """The page of a rehearsal as HTML text. It loads nothing and opens from a file.

    Without ``interactive`` it has no script: no reading of values under the pointer. Raises MissingExtra where Jinja2
    is not installed.
    """
    templates = files("fullcircle.flows.pages").joinpath("templates")
    code = "".join(templates.joinpath(name).read_text(encoding="utf-8") for name in ("monitored.js", "rehearsal.js"))
    script = live.inline(code) if interactive else None
    timeline = Timeline(rehearsal)
    runs = tuple(_run(each, f"p{place}", timeline) for place, each in enumerate(rehearsal.policies))
    env = environment(interactive=interactive)
    env.filters.update(day=day, title=panels.title, capital=capital)
    env.globals.update(plotted=timeline.marked, note_of=timeline.told)
    sums.known(env)
    main = next((run for run in runs if run.policy.name == SHIPPED), None)
    shown = [run for run in runs if not run.tried]
    return env.get_template("rehearsal.html").render(
        rehearsal=rehearsal,
        head=headline(rehearsal),
        figures=_figures(rehearsal),
        runs=runs,
        main=main,
        others=[run for run in runs if run is not main and _tells(run)],
        metric=_metric(rehearsal, shown),
        single=lambda run: _metric(rehearsal, [main, run] if main else [run], run.title),
        gained=_gained(rehearsal, runs, shown),
        best=best(rehearsal),
        pictures=timeline,
        last_rows=len(timeline.names),
        money=any(each.earned is not None for each in rehearsal.policies),
        script=script,
    )


@dataclass(frozen=True)
class Headline:
    """What came of it in a colour's name, a word, and a sentence."""

    tone: str
    word: str
    sentence: str


def headline(rehearsal: Rehearsal) -> Headline:
    """What the loop would have earned against the other ways, in words."""
    by_name = {each.name: each for each in rehearsal.policies}
    ours = by_name.get(SHIPPED)
    if ours is None or not ours.windows:
        return Headline("info", "Nothing was played", "No window of history lies between the two days.")
    if ours.metric is None:
        return Headline("info", "Nothing could be measured", "No label came, so nobody can tell which way is better.")
    rivals = [each for each in rehearsal.policies if each.name == NEVER or each.name.startswith(CALENDAR)]
    mine = _merit(rehearsal, ours)
    known = [(each, _merit(rehearsal, each)) for each in rivals]
    better = [each for each, theirs in known if _beyond(theirs, mine)]
    parts = [_beside(rehearsal, ours, each) for each in (*rivals, *filter(None, [by_name.get(HINDSIGHT)]))]
    told = _listed([part for part in parts if part])
    if ours.earned is not None:
        start = f"The loop would have earned {amount(ours.earned, rehearsal.currency)}"
    else:
        start = f"The loop would have reached {panels.title(rehearsal.metric)} {amount(ours.metric)}"
    sentence = f"{start}{f': {told}' if told else ''}."
    if not rivals:
        return Headline("info", "Played", sentence)
    if not better:
        return Headline("good", f"At least as good as {_listed([named(each.name) for each in rivals])}", sentence)
    word = _listed([named(each.name) for each in better])
    return Headline("hold", f"{capital(word)} would have done better", sentence)


def named(name: str) -> str:
    """What a policy is called in a sentence."""
    if name.startswith(CALENDAR):
        return f"retraining every {name.removeprefix(CALENDAR)}"
    return {SHIPPED: "the loop", NEVER: "never retraining", HINDSIGHT: "hindsight"}.get(name, name)


def best(rehearsal: Rehearsal) -> dict[str, set[str]]:
    """Which policies have the best metric and earned the most; hindsight, which nobody can have, aside."""
    found: dict[str, set[str]] = {"metric": set(), "earned": set()}
    real = [each for each in rehearsal.policies if each.name != HINDSIGHT]
    sign = 1.0 if rehearsal.higher_is_better else -1.0
    metrics = {each.name: sign * each.metric for each in real if each.metric is not None}
    earned = {each.name: each.earned for each in real if each.earned is not None}
    for column, values in (("metric", metrics), ("earned", earned)):
        if len(values) > 1:
            found[column] = {name for name, value in values.items() if value == max(values.values())}
    return found


def _run(policy: Policy, key: str, timeline: Timeline) -> Run:
    own = entries(policy, key)
    ours = policy.name in _TONES or policy.name.startswith(CALENDAR)
    most = _LONGEST if policy.name == SHIPPED else _OTHERS
    return Run(
        policy=policy,
        title=capital(named(policy.name)) if ours else policy.name,
        tone=_TONES.get(policy.name, "c" if policy.name.startswith(CALENDAR) else "d"),
        key=key,
        story=tuple(own[:most]),
        left_out=max(0, len(own) - most),
        lanes=tuple(lanes(own[:most], timeline)),
        versions=() if policy.name == HINDSIGHT else tuple(segments(policy, timeline)),
        marks=tuple(lines(own)),
        points=None if timeline.axis is None else points(policy, timeline.axis),
    )


def _metric(rehearsal: Rehearsal, runs: Sequence[Run], title: str = "") -> Plot:
    """The metric over time, the loop as the last so that it lies on top."""
    drawn = sorted(runs, key=lambda run: run.policy.name == SHIPPED)
    if title:
        drawn = sorted(runs, key=lambda run: run.title == title)
    way = "More is better." if rehearsal.higher_is_better else "Less is better."
    series = tuple(Series(name=run.title, values=run.points.metric, tone=run.tone) for run in drawn if run.points)
    return Plot(title=title or panels.title(rehearsal.metric), series=series, note="" if title else way)


def _gained(rehearsal: Rehearsal, runs: Sequence[Run], shown: Sequence[Run]) -> Plot:
    """What each way earned beyond never retraining, added up; without money, how much better it was so far."""
    zero = next((run for run in runs if run.policy.name == NEVER and run.points is not None), None)
    money = any(run.points is not None and any(v is not None for v in run.points.earned) for run in shown)
    sign = 1.0 if money or rehearsal.higher_is_better else -1.0
    series = []
    for run in sorted(shown, key=lambda run: run.policy.name == SHIPPED):
        if run is zero or run.points is None:
            continue
        own = _summed(run.points, money)
        nothing = (0.0,) * len(own)
        against = nothing if zero is None or zero.points is None else _summed(zero.points, money)
        values = [_less(value, other, sign) for value, other in zip(own, against, strict=True)]
        series.append(Series(name=run.title, values=values, tone=run.tone))
    beyond = "" if zero is None else " beyond never retraining"
    if money:
        return Plot(title=f"Earned{beyond}, added up", series=tuple(series), unit=rehearsal.currency, floor=None)
    what = "Better than never retraining, so far" if zero else f"{panels.title(rehearsal.metric)} so far"
    return Plot(title=what, series=tuple(series), unit=rehearsal.metric)


def _summed(found: Points, money: bool) -> tuple[float | None, ...]:
    return found.earned if money else found.so_far


def _less(value: float | None, other: float | None, sign: float) -> float | None:
    return None if value is None or other is None else sign * (value - other)


def _tells(run: Run) -> bool:
    """Whether there is more to say of a policy than its line in the table."""
    drawn = run.points is not None and any(value is not None for value in run.points.metric)
    return drawn or bool(run.story or run.policy.changes)


def _figures(rehearsal: Rehearsal) -> list[tuple[str, str, str]]:
    """The main figures of the ways that stand in the head: name, figure, what else."""
    found = []
    for each in rehearsal.policies:
        if each.metric is None:
            continue
        if each.name in _TONES or each.name.startswith(CALENDAR):
            metric = f"{panels.title(rehearsal.metric)} {amount(each.metric)}"
            money = each.earned is not None
            main = amount(each.earned, rehearsal.currency) if money else metric
            found.append((named(each.name), main, metric if money else ""))
    return found


def _merit(rehearsal: Rehearsal, policy: Policy) -> float | None:
    if any(each.earned is not None for each in rehearsal.policies):
        return policy.earned
    return None if policy.metric is None else policy.metric * (1.0 if rehearsal.higher_is_better else -1.0)


def _beyond(theirs: float | None, mine: float | None) -> bool:
    """Whether theirs is better by more than nothing: what is nearer than half a percent is as good."""
    if theirs is None or mine is None:
        return False
    return theirs - mine > _CLOSE * max(abs(theirs), abs(mine))


def _beside(rehearsal: Rehearsal, ours: Policy, other: Policy) -> str:
    """``3 200 EUR more than never retraining``, "" where that is not known."""
    mine, theirs = _merit(rehearsal, ours), _merit(rehearsal, other)
    if mine is None or theirs is None:
        return ""
    money = ours.earned is not None
    much = amount(abs(mine - theirs), rehearsal.currency if money else "")
    if mine == theirs:
        return f"the same as {named(other.name)}"
    word = ("more" if money else "better") if mine > theirs else ("less" if money else "worse")
    return f"{much} {word} than {named(other.name)}"


def _listed(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else ""
