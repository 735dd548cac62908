"""Which pictures over time the page of a model shows, from the measures of its stretches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from fullcircle.flows.pages.plots import Plot, Series, Style
from fullcircle.types.contract import STATUSES
from fullcircle.types.monitoring import KINDS, Monitored, Profile, Stretch
from fullcircle.types.report import Measure

ESTIMATED, REFERENCE, GAP = "estimated_", "reference_", "fair_gap:"
KIND_WORDS: Mapping[str, str] = {"drift": "drift", "risk": "realised harm", "estimate": "expected harm"}
# What the columns of a profile are measured by; everything else is of the model as a whole, or of groups.
OF_COLUMNS = (
    *("js_distance", "psi", "hellinger", "ks", "wasserstein"),
    *("missing", "unseen", "outside", "mean", "deviation"),
)
_TRAFFIC = ("requests", "latency_", "failed_", "queue_", "busy_", "busiest_", "verdict", "rows_")
_TIMES: Mapping[str, float] = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Measured:
    """The measures of all stretches by name and group."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        """Index them once."""
        self._found = [{(each.name, each.group): each for each in stretch.measures} for stretch in stretches]

    def of(self, name: str, group: str = "") -> list[Measure | None]:
        """One measure a stretch, None where there is none."""
        return [found.get((name, group)) for found in self._found]

    def latest(self, name: str, group: str = "") -> Measure | None:
        """The last one that has a value."""
        return next((each for each in reversed(self.of(name, group)) if each is not None and each.usable), None)

    def names(self, group: str | None = "") -> list[str]:
        """The names of what was measured of a group (of any, where it is None), as they come."""
        return list(dict.fromkeys(name for found in self._found for name, of in found if group in (None, of)))

    def groups(self, name: str) -> list[str]:
        """The groups that have this measure, as they come; "" is not one."""
        return list(dict.fromkeys(of for found in self._found for known, of in found if known == name and of))

    def series(self, name: str, shown: str, *, group: str = "", tone: str = "a", style: Style = "line") -> Series:
        """What was measured as a series."""
        found = self.of(name, group)
        ranged = any(each is not None and each.low is not None and each.low != each.high for each in found)
        return Series(
            name=shown,
            values=[each.value if each is not None and each.usable else None for each in found],
            lows=[None if each is None else each.low for each in found] if ranged else (),
            highs=[None if each is None else each.high for each in found] if ranged else (),
            tone=tone,
            style=style,
        )


@dataclass(frozen=True)
class Row:
    """One line of a table of the latest figures."""

    name: str
    group: str
    measure: Measure


def evidence(monitored: Monitored) -> Plot:
    """How far each kind of evidence is on its way to an alarm."""
    tones = dict(zip(KINDS, ("a", "b", "c"), strict=True))
    series = tuple(
        Series(
            name=KIND_WORDS[kind],
            values=[None if (at := s.levels.get(kind)) is None else max(0.0, at) for s in monitored.stretches],
            tone=tones[kind],
        )
        for kind in KINDS
        if any(kind in stretch.levels for stretch in monitored.stretches)
    )
    return Plot(
        title="Evidence against “nothing has changed”",
        series=series,
        limit=(1.0, "alarm"),
        floor=0.0,
        ceiling=1.25,
        note="As a share of the level that raises an alarm, on the scale of logarithms. An alarm begins it anew.",
    )


def quality(monitored: Monitored, measured: Measured) -> list[Plot]:
    """Realised and estimated metrics, the main one first; then value, calibration and what else was measured."""
    found = [name.removeprefix(ESTIMATED) for name in measured.names() if not _elsewhere(name)]
    main = monitored.reference.metric
    names = sorted(dict.fromkeys(found), key=lambda name: name != main)
    return [plot for name in names if not (plot := _metric(monitored, measured, name)).empty]


def fairness(measured: Measured) -> list[Plot]:
    """The gap between groups over time, one picture for each column of groups and metric."""
    found = []
    for name in measured.names(None):
        if name.startswith(GAP):
            _, column, metric = (*name.split(":", 2), "")[:3]
            series = measured.series(name, f"gap of {metric or 'the metric'}", tone="c", style="dots")
            latest = measured.latest(name)
            plot = Plot(
                title=f"Gap between the groups of {column}",
                series=(series,),
                floor=0.0,
                unit=_unit(latest),
                note=f"The largest less the smallest {metric} of a group, with its 95 % interval.",
            )
            found += [] if plot.empty else [plot]
    return found


def labels(measured: Measured) -> list[Plot]:
    """How many labels have come, and how long they took."""
    coverage = Plot(
        title="Labels that have come",
        series=(measured.series("label_coverage", "share with a label", style="bars"),),
        form="%",
        floor=0.0,
        ceiling=1.0,
        note="Of the rows that were answered. The last bars grow while labels come in.",
    )
    delays = [name for name in measured.names() if name.startswith("label_delay")]
    tones = dict(zip(delays, ("a", "b", "c", "d"), strict=False))
    words = {"p50": "median", "p90": "90 % came within", "max": "slowest", "mean": "average"}
    delay = Plot(
        title="How long labels took",
        series=tuple(
            measured.series(name, words.get(name.rpartition("_")[2], "delay"), tone=tones.get(name, "e"))
            for name in delays
        ),
        floor=0.0,
        unit=_unit(next((m for name in delays if (m := measured.latest(name))), None)),
    )
    return [plot for plot in (coverage, scaled(delay)) if not plot.empty]


def traffic(monitored: Monitored, measured: Measured) -> list[Plot]:
    """Requests, verdicts, latency, failures and saturation."""
    requested = measured.series("requests", "requests", tone="a", style="bars")
    rows = Series(name="rows", values=[float(each.rows) for each in monitored.stretches], tone="a", style="bars")
    counted = Plot(title="Requests", series=(requested,)) if requested.known else Plot(title="Rows", series=(rows,))
    found = [replace(counted, floor=0.0), verdicts(monitored)]
    latencies = [
        replace(measured.series(name, shown, tone=tone), lows=(), highs=())  # bounds of buckets are no intervals
        for name, shown, tone in _LATENCIES
        if any(each is not None for each in measured.of(name))
    ]
    unit = _unit(next((m for name, _, _ in _LATENCIES if (m := measured.latest(name))), None))
    note = "Of requests that were answered. Of the last three the true value is at most what is drawn: times are \
counted in buckets."
    found.append(scaled(Plot(title="Latency", series=tuple(latencies), floor=0.0, unit=unit, note=note)))
    for heading, shares, note in _SHARES:
        series = tuple(
            drawn
            for name, group, shown, tone in shares
            if (drawn := measured.series(name, shown, group=group, tone=tone)).known
        )
        found.append(Plot(title=heading, series=series, form="%", floor=0.0, note=note))
    lost = measured.series("rows_lost", "rows", tone="b", style="bars")
    if any(lost.known):
        note = "The disk had no room, or the log was at its bound: these rows are in no figure of this page."
        found.append(Plot(title="Rows that were answered and not logged", series=(lost,), floor=0.0, note=note))
    return [plot for plot in found if not plot.empty]


_LATENCIES = (
    ("latency_mean", "average", "a"),
    ("latency_p50", "half of them within", "d"),
    ("latency_p95", "95 of 100 within", "c"),
    ("latency_p99", "99 of 100 within", "b"),
)
# A heading, then measures, their groups, what they are called and their colours, and what is told below.
_SHARES = (
    (
        "Requests that failed",
        (("failed_share", "", "all", "c"), ("failed_share", "5xx", "by a fault of ours", "b")),
        "",
    ),
    (
        "How busy the service was",
        (
            ("busy_share", "", "the model, on average", "a"),
            ("busiest_share", "", "the busiest minute of a worker", "c"),
            ("queue_share", "", "the fullest that the queue was", "b"),
        ),
        "A full queue refuses requests.",
    ),
)


def verdicts(monitored: Monitored) -> Plot:
    """The mix of verdicts, stacked."""
    counted = [dict(stretch.verdicts) for stretch in monitored.stretches]
    series = []
    for status in STATUSES:
        values = [each.get(status, 0) / total if (total := sum(each.values())) else None for each in counted]
        if any(values):
            series.append(Series(name=status, values=values, tone=f"v-{status}", style="stack"))
    return Plot(title="Verdicts on the rows", series=tuple(series), form="%", floor=0.0, ceiling=1.0)


def groups(monitored: Monitored, measured: Measured) -> list[Row]:
    """The latest figures of groups and slices: of the stretch that last had any, what was measured most first."""
    columns = {each.name for each in (*monitored.reference.features, *monitored.reference.outcomes)}
    for stretch in reversed(monitored.stretches):
        found = [
            Row(each.name, each.group, each)
            for each in stretch.measures
            if each.group and each.usable and not (each.name in OF_COLUMNS and each.group in columns)
            if not _is_traffic(each.name)
        ]
        if found:
            return found
    return []


def timed(measure: Measure | None) -> tuple[float, str] | None:
    """A time in the unit in which it reads well."""
    if measure is None or not measure.usable or measure.unit not in _TIMES:
        return None
    plot = scaled(Plot(title="", series=(Series(name="", values=[measure.value]),), unit=measure.unit))
    return plot.series[0].known[0], plot.unit


def scaled(plot: Plot) -> Plot:
    """Times in the unit in which they read well: 0.0019 s as 1.9 ms, 86400 s as a day."""
    long = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s"}
    unit = long.get(plot.unit, plot.unit)
    most = max((value for series in plot.series for value in series.known), default=0.0)
    if unit not in _TIMES or most <= 0:
        return plot
    seconds = most * _TIMES[unit]
    better = next((name for name in reversed(tuple(_TIMES)) if seconds >= _TIMES[name]), "ms")
    factor = _TIMES[unit] / _TIMES[better]
    shown = {"d": "days"}.get(better, better)
    return replace(plot, series=tuple(_times(each, factor) for each in plot.series), unit=shown)


def _times(series: Series, factor: float) -> Series:
    def of(values: Iterable[float | None]) -> tuple[float | None, ...]:
        return tuple(None if value is None else value * factor for value in values)

    return replace(series, values=of(series.values), lows=of(series.lows), highs=of(series.highs))


def _metric(monitored: Monitored, measured: Measured, name: str) -> Plot:
    realised = measured.series(name, "realised", tone="a", style="dots")
    estimated = measured.series(ESTIMATED + name, "estimated without labels", tone="b")
    latest = measured.latest(name) or measured.latest(ESTIMATED + name)
    share = latest is not None and latest.unit == "share"
    unit = "" if share else _unit(latest) or (monitored.currency if "value" in name else "")
    unit = unit.removesuffix("a row").strip() if name.endswith("_per_row") else unit
    way = {"higher": "Higher is better.", "lower": "Lower is better.", "zero": "Nearer to zero is better."}
    which = latest.method if latest is not None and name == "worst_slice" else ""  # it may be another each time
    return Plot(
        title=title(name),
        series=tuple(each for each in (estimated, realised) if each.known),
        form="%" if share else "",
        unit=unit,
        reference=_reference(monitored.reference, measured, name),
        note=f"{way.get(latest.better if latest else '', '')} {which}".strip(),
    )


def _reference(profile: Profile, measured: Measured, name: str) -> tuple[float, float | None, float | None] | None:
    if name == profile.metric and profile.metric_value is not None:
        return (profile.metric_value, profile.metric_low, profile.metric_high)
    found = measured.latest(REFERENCE + name)
    return None if found is None or found.value is None else (found.value, found.low, found.high)


def title(name: str) -> str:
    """The name of a measure as a title: ``value_per_row`` as "Value per row"."""
    spoken = name.replace("_", " ").replace(":", " ")
    return spoken if len(name) <= 4 else spoken[:1].upper() + spoken[1:]


def _elsewhere(name: str) -> bool:
    return name.startswith((GAP, REFERENCE, "label_")) or name in OF_COLUMNS or _is_traffic(name)


def _is_traffic(name: str) -> bool:
    return name.startswith(_TRAFFIC)


def _unit(measure: Measure | None) -> str:
    return "" if measure is None or measure.unit == "share" else measure.unit


def rounded(value: float | None) -> float | None:
    """Four significant digits, enough to read; None where there is no number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
