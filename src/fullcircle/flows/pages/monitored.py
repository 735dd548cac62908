"""The page of a model in production: one HTML file that holds everything in itself, and reads the same on paper."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import msgspec

from fullcircle.flows.pages import live, panels, sums
from fullcircle.flows.pages.columns import CARDS, cards, suspects
from fullcircle.flows.pages.environment import environment
from fullcircle.flows.pages.page import DECIDED
from fullcircle.flows.pages.panels import KIND_WORDS, Measured
from fullcircle.flows.pages.plots import Axis, Drawn, Plot, draw
from fullcircle.flows.pages.ticks import moment, time_ticks
from fullcircle.types.loop import Step
from fullcircle.types.monitoring import KINDS, Alarm, Monitored, Stretch
from fullcircle.types.report import Measure

_TABLE = 12  # so many of the last stretches stand in tables, for readers without pictures


@dataclass(frozen=True)
class Health:
    """The state of a model in a colour's name, a word, a sentence, and what to do next."""

    tone: str
    word: str
    sentence: str
    advice: str


@dataclass(frozen=True)
class Gauge:
    """A kind of evidence: how far on its way to an alarm (1 is one), its share of the budget.

    ``open`` says whether an alarm is, ``seen`` that somebody has seen it.
    """

    kind: str
    level: float | None
    open: bool
    seen: bool
    share: str


_SHARES = {"drift": "half", "risk": "a quarter", "estimate": "a quarter"}


def render_monitored(
    monitored: Monitored, *, steps: Mapping[str, Step] | None = None, interactive: bool = True
) -> str:
    """The page of a model as HTML text. It loads nothing and opens from a file.

    ``steps`` are those of the loop behind decisions, by the decisions' times: they are shown with their sums.
    Without ``interactive`` it has no script: no search, no reading of values under the pointer. Raises MissingExtra
    where Jinja2 is not installed.
    """
    measured = Measured(monitored.stretches)
    ours = files("fullcircle.flows.pages").joinpath("templates/monitored.js")
    script = live.inline(ours.read_text(encoding="utf-8")) if interactive else None
    pictures = Pictures(monitored)
    whole, rest = cards(monitored, measured)
    env = environment(interactive=interactive)
    env.filters.update(day=day, title=panels.title, capital=capital)
    env.globals.update(plotted=pictures.drawn, note_of=pictures.told)
    sums.known(env)
    return env.get_template("monitored.html").render(
        monitored=monitored,
        health=health(monitored),
        gauges=gauges(monitored),
        open=[each for each in monitored.alarms if each.state != "resolved"],
        resolved=[each for each in monitored.alarms if each.state == "resolved"],
        tone_of=tone_of,
        kinds=KIND_WORDS,
        suspects=suspects(monitored),
        headline=_headline(monitored, measured),
        evidence=panels.evidence(monitored),
        quality=panels.quality(monitored, measured),
        fairness=panels.fairness(measured),
        labels=panels.labels(measured),
        groups=panels.groups(monitored, measured),
        traffic=panels.traffic(monitored, measured),
        requests=measured.latest("requests"),
        latency=panels.timed(measured.latest("latency_p99")),
        coverage=_coverage(measured),
        delay=panels.timed(measured.latest("label_delay_p50")),
        cards=whole,
        rest=rest,
        most=CARDS,
        pictures=pictures,
        steps=steps or {},
        decisions=[(*DECIDED[each.action], at, each) for at, each in monitored.decisions],
        rows=sum(each.rows for each in monitored.stretches),
        last_rows=_TABLE,
        script=script,
    )


def tone_of(alarm: Alarm) -> str:
    """The colour's name of an alarm: what somebody has seen calls nobody."""
    if alarm.state != "open":
        return "good" if alarm.state == "resolved" else "info"
    return "bad" if alarm.severity == "page" else "hold"


def health(monitored: Monitored) -> Health:
    """How the model is, from its open alarms."""
    order = {"bad": 0, "hold": 1, "info": 2}
    open_ = [each for each in monitored.alarms if each.state != "resolved"]
    open_.sort(key=lambda each: (order[tone_of(each)], each.severity != "page"))
    if open_:
        first, pages = open_[0], sum(each.severity == "page" for each in open_)
        counted = [_counted(pages, "page"), _counted(len(open_) - pages, "ticket")]
        said = f"{_sentence(first.text)} Since {day(first.since)}."
        seen = f" {first.acknowledged_by} has seen it." if first.state == "acknowledged" else ""
        word = "open" if first.state == "open" else "open, and seen"
        return Health(
            tone_of(first),
            f"{' and '.join(each for each in counted if each)} {word}",
            said + seen,
            _sentence(first.advice),
        )
    judged = sum(each.rows > 0 for each in monitored.stretches)
    if not judged:
        window = f" ({monitored.window} of it)" if monitored.window else ""
        return Health(
            "info",
            "Nothing to judge yet",
            "No batch of traffic is over yet, so nothing was compared with the reference.",
            f"Send traffic to the model, and when a batch{window} is over, run: fullcircle monitor PROJECT",
        )
    last = monitored.stretches[-1]
    return Health(
        "good",
        "Healthy",
        f"Nothing differs from the reference beyond what the budget of {monitored.budget} leaves to chance.",
        f"Nothing has to be done. The last traffic that was judged is of {span(last.since, last.until)}.",
    )


def gauges(monitored: Monitored) -> list[Gauge]:
    """The last level of each kind of evidence that has one."""
    found = []
    for kind in KINDS:
        levels = [each.levels[kind] for each in monitored.stretches if kind in each.levels]
        states = {each.state for each in monitored.alarms if each.kind == kind} - {"resolved"}
        if levels:
            level = min(1.0, max(0.0, levels[-1]))
            found.append(Gauge(kind, level, bool(states), states == {"acknowledged"}, _SHARES[kind]))
    return found


class Pictures:
    """Draws plots over the one axis of the page, and keeps the figures behind them for the script."""

    def __init__(self, monitored: Monitored) -> None:
        """Lay out the axis; it has none while there is no stretch."""
        self._told: list[dict[str, object]] = []
        self.names = [each.name or span(each.since, each.until) for each in monitored.stretches]
        ends = [pair for each in monitored.stretches if (pair := _ends(each)) is not None]
        whole = bool(ends) and len(ends) == len(monitored.stretches)
        # What was played took a second or two: on a clock nothing of it could be seen.
        self.even = any(each.name for each in monitored.stretches)
        marks = [(first, last, kind) for first, last, kind in _marks(monitored.alarms, ends)]
        shown = [(float(at), at + 1.0) for at in range(len(ends))] if self.even else ends
        spans = tuple((shown[first][0], shown[last][1], kind) for first, last, kind in marks)
        self.axis = Axis(tuple(shown), spans) if whole else None

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Labels of the time axis: the place as a share of the width, and the text."""
        if self.axis is None:
            return []
        if self.even:
            step = -(-len(self.names) // 6)
            told = list(enumerate(zip(self.axis.middles, self.names, strict=True)))[::step]
            return [(x / 1000, name if len(name) < 24 else f"{name[:22]}…") for _, (x, name) in told]
        return [(self.axis.x(at) / 1000, text) for at, text in time_ticks(self.axis.low, self.axis.high)]

    @property
    def span(self) -> tuple[str, str]:
        """The first and the last day."""
        return (self.names[0].split(" to ")[0], self.names[-1].split(" to ")[-1]) if self.names else ("", "")

    def drawn(self, plot: Plot, small: bool = False) -> Drawn | None:
        """The plot as SVG, None where there is nothing to draw."""
        if self.axis is None or plot.empty:
            return None
        return draw(plot, self.axis, ticks=2 if small else 4)

    def told(self, plot: Plot) -> int:
        """Keep the figures of a plot; the number under which the script finds them."""
        self._told.append(
            {
                "form": plot.form,
                "unit": plot.unit,
                "series": [
                    {
                        "name": series.name,
                        "tone": series.tone,
                        "v": [panels.rounded(value) for value in series.values],
                        **(
                            {
                                "l": [panels.rounded(value) for value in series.lows],
                                "h": [panels.rounded(value) for value in series.highs],
                            }
                            if series.lows
                            else {}
                        ),
                    }
                    for series in plot.series
                ],
            }
        )
        return len(self._told) - 1

    @property
    def figures(self) -> str:
        """All that was told, as JSON that can stand inside a script element: without "<", ">" and "&"."""
        middles = [] if self.axis is None else [round(place / 1000, 4) for place in self.axis.middles]
        text = msgspec.json.encode({"names": self.names, "middles": middles, "plots": self._told}).decode()
        return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def day(value: str) -> str:
    """A UTC time as ``23 November 2026``; anything else unchanged."""
    at = moment(value)
    if at is None:
        return value
    found = datetime.fromtimestamp(at, UTC)
    return f"{found.day} {found:%B %Y}"


def capital(text: str) -> str:
    """With a capital letter first."""
    return text[:1].upper() + text[1:]


def span(since: str, until: str) -> str:
    """A stretch in few words, its end excluded: ``23 to 29 Nov 2026``, ``23 Nov 2026, 14:00 to 15:00``."""
    first, end = moment(since), moment(until)
    if first is None or end is None:
        return f"{since} to {until}"
    low, high = datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(end, UTC)
    if end - first < 60:
        return f"{low.day} {low:%b %Y, %H:%M:%S}"
    if end - first < 86400 or (low.hour, low.minute) != (high.hour, high.minute):
        other = "" if low.date() == high.date() else f"{high.day} {high:%b} "
        return f"{low.day} {low:%b %Y, %H:%M} to {other}{high:%H:%M}"
    last = high - timedelta(seconds=1)
    if low.date() == last.date():
        return f"{low.day} {low:%b %Y}"
    begun = f"{low.day}" if (low.year, low.month) == (last.year, last.month) else f"{low.day} {low:%b}"
    return f"{begun}{f' {low.year}' if low.year != last.year else ''} to {last.day} {last:%b %Y}"


def _headline(monitored: Monitored, measured: Measured) -> tuple[str, Measure, bool] | None:
    """The main metric as it was last known: its name, the measure, and whether it is only estimated."""
    name = monitored.reference.metric
    realised, estimated = measured.latest(name), measured.latest(panels.ESTIMATED + name)
    found = realised or estimated
    return None if found is None else (name, found, realised is None)


def _coverage(measured: Measured) -> float | None:
    """The share of all answered rows that have a label by now."""
    known = [each for each in measured.of("label_coverage") if each is not None and each.value is not None and each.n]
    rows = sum(each.n for each in known)
    return sum(float(each.value or 0.0) * each.n for each in known) / rows if rows else None


def _ends(stretch: Stretch) -> tuple[float, float] | None:
    since, until = moment(stretch.since), moment(stretch.until)
    return None if since is None or until is None else (since, until)


def _marks(alarms: Iterable[Alarm], ends: Sequence[tuple[float, float]]) -> Iterable[tuple[int, int, str]]:
    """The stretches in which an alarm was open, from the one that raised it on, pages over tickets."""
    for alarm in sorted(alarms, key=lambda each: each.severity == "page"):
        since, until = moment(alarm.opened), moment(alarm.resolved) if alarm.resolved else math.inf
        if since is None or until is None or not ends:
            continue
        first = next((place for place, (_, end) in enumerate(ends) if end >= since), len(ends) - 1)
        last = next((place for place, (_, end) in enumerate(ends) if end >= until), len(ends) - 1)
        if until >= ends[0][0]:
            yield (first, max(first, last), alarm.severity)


def _counted(count: int, word: str) -> str:
    return "" if not count else f"{count} {word}" if count == 1 else f"{count} {word}s"


def _sentence(text: str) -> str:
    text = capital(text.strip())
    return text if not text or text.endswith((".", "!", "?")) else text + "."
