"""How far groups are apart: metrics per group through Fairlearn, the widest gap with its interval, signed errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fullcircle.evaluation import groups, words
from fullcircle.evaluation.check import Array
from fullcircle.evaluation.metrics import Answers, Estimate, Metric, estimate, finite
from fullcircle.stats import calibration
from fullcircle.stats.intervals import LEVEL

SMALLEST_GROUP = 30  # as many as a gate needs
# More groups than this are values of a number, not groups of people, and a report of them is read by nobody.
MOST_GROUPS = 100
_NAMED = 5


@dataclass(frozen=True)
class Group:
    """One group: its name, its rows, and what was measured on them by the name of the metric.

    ``rows`` are those that are there, ``worth`` how many rows of equal weight tell as much.
    """

    name: str
    rows: int
    worth: int
    estimates: Mapping[str, Estimate]


@dataclass(frozen=True)
class Gap:
    """The widest difference between groups, with a 95 % interval; None where it is unknown, and ``method`` says why.

    ``rows`` are those compared, ``highest`` and ``lowest`` the groups with these figures, ``left_out`` those that
    were named as too small.
    """

    value: float | None
    low: float | None
    high: float | None
    rows: int
    method: str
    highest: str = ""
    lowest: str = ""
    left_out: tuple[str, ...] = ()


def measured(answers: Answers, grouped: groups.Groups, asked: Sequence[Metric], *, seed: int) -> tuple[Group, ...]:
    """Every metric in every group, through Fairlearn's MetricFrame.

    Fairlearn hands on labels and predictions row by row, which takes a minute for a million rows and does not fit
    metrics of probabilities. So it is given one position per group, and the metric looks up the group's rows.
    """
    import pandas as pd
    from fairlearn.metrics import MetricFrame

    codes, names = grouped
    sizes = np.bincount(codes, minlength=len(names))
    # Bytes sort faster than longer numbers.
    order = np.argsort(codes.astype(np.uint8 if len(names) <= 256 else codes.dtype), kind="stable")
    rows = [answers.at(picked) for picked in np.split(order, np.cumsum(sizes)[:-1])]
    found: list[dict[str, Estimate]] = [
        {metric.name: estimate(metric, each, seed=seed) for metric in asked} for each in rows
    ]

    def figure(name: str) -> Callable[[Array, Array], float]:
        def on(picked: Array, _: Array) -> float:
            # Fairlearn also asks about all groups together, which is no figure of a group.
            value = found[int(picked[0])][name].value if len(picked) == 1 else None
            return math.nan if value is None else value

        return on

    positions = np.arange(len(names))
    frame = MetricFrame(
        metrics={metric.name: figure(metric.name) for metric in asked},
        y_true=positions,
        y_pred=positions,
        sensitive_features=pd.Series(positions, name="group"),
    )
    return tuple(
        Group(
            names[code],
            int(sizes[code]),
            rows[code].worth,
            {name: replace(each, value=finite(frame.by_group[name][code])) for name, each in found[code].items()},
        )
        for code in frame.by_group.index.tolist()
    )


def gap(
    found: Sequence[Group], by: Sequence[str], metric: str, *, without: Collection[str] = (), families: int = 1
) -> Gap:
    """The largest difference of the metric between any two groups, with a simultaneous 95 % interval.

    For two groups a and b with figures x and limits l and u, the limits of x_a - x_b are
    d - sqrt((x_a - l_a)^2 + (u_b - x_b)^2) and d + sqrt((u_a - x_a)^2 + (x_b - l_b)^2) (Newcombe 1998; Zou & Donner
    2008). l and u are at the level 1 - 0.05 / (pairs * families), so all pairs hold together (Bonferroni): shares by
    Wilson's formula, others as Student's t. The gap lies between the largest lower and the largest upper limit of all
    pairs. ``families`` is how many such gaps are looked at for their largest.

    A group worth less than 30 rows, or one where the metric is not defined, makes the gap unknown, unless it is in
    ``without``.
    """
    named = " and ".join(by)
    rows = sum(group.worth for group in found)
    if len(found) < 2:
        return _unknown(rows, f"{named} has one group only, so there is nothing to compare")
    poor = [group for group in found if not _judgeable(group, metric)]
    open_ = [group for group in poor if group.name not in without]
    if open_:
        return _unknown(rows, _why(open_, metric))
    kept = [group for group in found if _judgeable(group, metric)]
    left_out = tuple(group.name for group in poor)
    if len(kept) < 2:
        return _unknown(rows, f"{named} has fewer than two groups of at least {SMALLEST_GROUP} rows left to compare")
    pairs = len(kept) * (len(kept) - 1) // 2
    value, low, high = _widest(kept, metric, pairs * families)
    ordered = sorted(kept, key=lambda group: _value(group, metric))
    method = f"Fairlearn difference between {len(kept)} groups; 95 % for all pairs at once (Newcombe, Bonferroni)"
    if left_out:
        method += f"; left out as too small: {', '.join(left_out)}"
    if low is None:
        method += "; no interval is known for a group"
    compared = sum(group.worth for group in kept)
    return Gap(value, low, high, compared, method, ordered[-1].name, ordered[0].name, left_out)


def wider(first: Gap, second: Gap) -> Gap:
    """The wider of two gaps, as equalized odds asks for: unknown where either is."""
    for each in (first, second):
        if each.value is None:
            return each
    wide = first if (first.value or 0.0) >= (second.value or 0.0) else second
    ends = [(first.low, second.low), (first.high, second.high)]
    low, high = (None if None in pair else max(end for end in pair if end is not None) for pair in ends)
    return Gap(wide.value, low, high, wide.rows, wide.method, wide.highest, wide.lowest, wide.left_out)


def _unknown(rows: int, why: str) -> Gap:
    return Gap(None, None, None, rows, why)


def _value(group: Group, metric: str) -> float:
    found = group.estimates[metric].value
    return math.nan if found is None else found


def _judgeable(group: Group, metric: str) -> bool:
    return group.worth >= SMALLEST_GROUP and group.estimates[metric].value is not None


def _why(poor: Sequence[Group], metric: str) -> str:
    small = [f"{group.name} ({_rows_of(group)})" for group in poor if group.worth < SMALLEST_GROUP]
    undefined = [group.name for group in poor if group.worth >= SMALLEST_GROUP]
    parts = []
    if small:
        parts.append(f"too few rows to judge {listed(small)}; at least {SMALLEST_GROUP} are needed")
    if undefined:
        parts.append(f"{metric} is not defined for {listed(undefined)}")
    return "; ".join(parts)


def _rows_of(group: Group) -> str:
    worth = f", whose weights tell as much as {group.worth}" if group.worth < group.rows else ""
    return words.rows(group.rows) + worth


def listed(names: Sequence[str], most: int = _NAMED) -> str:
    """The first names, and how many there are more."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _widest(found: Sequence[Group], metric: str, pairs: int) -> tuple[float, float | None, float | None]:
    tail = (1.0 - LEVEL) / 2.0 / pairs
    values = np.array([_value(group, metric) for group in found])
    reach = [_reach(group.estimates[metric], group.worth, tail) for group in found]
    difference = values[:, None] - values[None, :]
    value = float(difference.max())
    if None in reach:
        return value, None, None
    down, up = (np.array([each[side] for each in reach if each is not None]) for side in (0, 1))
    # One entry for each ordered pair; the lower limit of a - b is the upper one of b - a turned round.
    upper = difference + np.sqrt(up[:, None] ** 2 + down[None, :] ** 2)
    lower = difference - np.sqrt(down[:, None] ** 2 + up[None, :] ** 2)
    np.fill_diagonal(upper, -np.inf)
    np.fill_diagonal(lower, -np.inf)
    return value, min(value, max(0.0, float(lower.max()))), max(value, float(upper.max()))


def _reach(found: Estimate, rows: int, tail: float) -> tuple[float, float] | None:
    """How far the limits at this tail lie below and above the value."""
    from scipy.special import ndtri, stdtrit

    if found.value is None or found.low is None or found.high is None:
        return None
    usual = (1.0 - LEVEL) / 2.0
    if found.method.startswith("Wilson"):
        worth = _rows_behind(found, float(ndtri(usual)) ** 2)
        return _wilson(found.value, worth, float(ndtri(tail)) ** 2)
    further = float(stdtrit(rows - 1, tail) / stdtrit(rows - 1, usual))
    return (found.value - found.low) * further, (found.high - found.value) * further


def _rows_behind(found: Estimate, z2: float) -> float:
    """How many rows stand behind a Wilson interval, by the formula turned round."""
    share, low, high = found.value or 0.0, found.low or 0.0, found.high or 0.0
    if share <= 0.0:
        return z2 * (1.0 - high) / high if high > 0.0 else math.inf
    if share >= 1.0:
        return z2 * low / (1.0 - low) if low < 1.0 else math.inf
    # The limits are the two solutions x of (x - share)^2 = z2 x (1 - x) / n.
    end = high if high - share > share - low else low
    return z2 * end * (1.0 - end) / (end - share) ** 2


def _wilson(share: float, rows: float, z2: float) -> tuple[float, float]:
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = math.sqrt(z2 * share * (1 - share) / rows + (z2 / (2 * rows)) ** 2) / (1 + z2 / rows)
    return max(0.0, share - (centre - half)), max(0.0, centre + half - share)


@dataclass(frozen=True)
class Off:
    """A group whose signed error is not that of all other rows, beyond chance.

    ``bias`` is its mean prediction minus mean outcome, ``others`` that of the rows outside it.
    """

    group: str
    bias: float
    others: float

    @property
    def more(self) -> bool:
        """Whether it is overestimated compared with the others."""
        return self.bias > self.others


def off_zero(answers: Answers, grouped: Sequence[groups.Groups], *, relevant: float, level: float) -> tuple[Off, ...]:
    """Groups of at least 30 rows whose signed error differs from that of all other rows, the worst first.

    The difference must be at least ``relevant`` and improbable at ``level`` over all groups of all columns
    (Bonferroni), by two tests. Student's t, where a group's spread counts as at least that of all rows, as it may be
    small by luck. For probabilities also Chernoff's bound (``stats.calibration.chance``) with the probabilities
    shifted on the logit scale to the mean that occurred: it holds for rare events in small groups, where t does not.
    """
    if answers.rows < 2 * SMALLEST_GROUP:
        return ()
    said, happened = _sides(answers)
    heavy = np.ones(answers.rows) if answers.weights is None else np.asarray(answers.weights, dtype=float)
    tests = [_compared(said - happened, heavy, codes, len(names)) for codes, names in grouped]
    looked = sum(int(np.sum(np.isfinite(p))) for p, _, _ in tests)
    found: list[Off] = []
    shifted: Array | None = None
    for (codes, names), (p, bias, others) in zip(grouped, tests, strict=True):
        far = np.isfinite(p) & (p * looked < level) & (np.abs(bias - others) >= relevant)
        for code in np.flatnonzero(far).tolist():
            if answers.probabilities is not None:
                shifted = _shifted(said, happened, heavy) if shifted is None else shifted
                # Against all other rows: each side's events count by its weight, the others' negatively.
                here = codes == code
                share = np.where(here, heavy / heavy[here].sum(), -heavy / heavy[~here].sum())
                if calibration.chance(shifted, happened, share) * looked >= level:
                    continue
            found.append(Off(names[code], float(bias[code]), float(others[code])))
    return tuple(sorted(found, key=lambda each: -abs(each.bias - each.others)))


def _sides(answers: Answers) -> tuple[Array, Array]:
    if answers.probabilities is not None:
        return answers.probabilities[:, 1], (answers.actual == 1).astype(float)
    return answers.predicted, answers.actual


def _compared(errors: Array, heavy: Array, codes: Array, count: int) -> tuple[Array, Array, Array]:
    """For each group: p of t for its mean error against that of the others (NaN: too few rows), and both means."""
    from scipy.special import stdtr

    rows = np.bincount(codes[heavy > 0.0], minlength=count)
    mass, squares = (np.bincount(codes, each, minlength=count) for each in (heavy, heavy**2))
    total = np.bincount(codes, heavy * errors, minlength=count)
    rest = mass.sum() - mass
    with np.errstate(divide="ignore", invalid="ignore"):
        worth = [each**2 / of * (1.0 + 1e-9) for each, of in ((mass, squares), (rest, squares.sum() - squares))]
        tested = (worth[0] >= SMALLEST_GROUP) & (worth[1] >= SMALLEST_GROUP)
        bias, others = total / mass, (total.sum() - total) / rest
        deviation = errors - np.where(mass > 0.0, bias, 0.0)[codes]
        pulls = np.bincount(codes, (heavy * deviation) ** 2, minlength=count)
        pooled = np.sqrt(np.sum(heavy * deviation**2) / np.sum(heavy))
        own = np.maximum(np.sqrt(pulls * rows / (rows - 1)), pooled * np.sqrt(squares)) / mass
        elsewhere = np.maximum(np.sqrt(pulls.sum() - pulls), pooled * np.sqrt(squares.sum() - squares)) / rest
        spread = np.sqrt(own**2 + elsewhere**2)
        free = np.maximum(1, np.minimum(rows, rows.sum() - rows) - 1)
        p = 2.0 * stdtr(free, -np.abs(bias - others) / spread)
    p = np.where(np.isnan(p), 1.0, p)
    return np.where(tested, p, np.nan), bias, others


def _shifted(said: Array, happened: Array, heavy: Array) -> Array:
    """The probabilities with all odds times the one factor that gives them the mean that occurred."""
    aim, mass = float(np.dot(heavy, happened)), float(heavy.sum())
    low, high = -30.0, 30.0
    if not 0.0 < aim < mass:
        return np.full(len(said), aim / mass)
    for _ in range(60):
        middle = (low + high) / 2.0
        grown = said * math.exp(middle)
        if float(np.dot(heavy, grown / (1.0 - said + grown))) < aim:
            low = middle
        else:
            high = middle
        if high - low < 1e-6:
            break
    grown = said * math.exp((low + high) / 2.0)
    return np.asarray(grown / (1.0 - said + grown))
