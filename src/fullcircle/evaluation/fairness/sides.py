"""Rows seen from the sides that fairness asks about: groups, what is measured in each, and the gaps between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullcircle.evaluation import groups, metrics, procedures
from fullcircle.evaluation.check import Subject
from fullcircle.evaluation.fairness import disparity
from fullcircle.evaluation.fairness.disparity import MOST_GROUPS, SMALLEST_GROUP, Gap, Group
from fullcircle.evaluation.metrics import Answers, Metric
from fullcircle.stats import influence
from fullcircle.types.gates import Gate
from fullcircle.types.report import Measure

# What fair gates may name beyond the table of metrics.
BEYOND: Mapping[str, tuple[str, ...]] = {"classification": ("equalized_odds",), "regression": ("mean_prediction",)}
# What is measured in every group: of two classes, of more, of numbers. The main metric is added.
_TWO = ("accuracy", "selection_rate", "recall", "false_positive_rate", "bias")
_MORE = ("accuracy",)
_NUMBERS = ("mae", "bias")


def _predicted(a: Answers) -> influence.Figure:
    return influence.mean(np.asarray(a.predicted, dtype=float), a.uneven())


MEAN_PREDICTION = Metric("mean_prediction", "regression", "", "label", _predicted, procedures.by_t)


@dataclass(frozen=True)
class Side:
    """Rows seen from one side: the groups of some columns, and the gaps between them."""

    by: tuple[str, ...]
    grouped: groups.Groups
    asked: tuple[Metric, ...]
    found: tuple[Group, ...]
    gaps: Mapping[str, Gap]
    strangers: tuple[str, ...]  # what gates name as too small and is no group

    @property
    def named(self) -> str:
        """The columns in words."""
        return " and ".join(self.by)

    def measures(self, subject: Subject) -> list[Measure]:
        """Every gap, and every metric of every group."""
        of = {metric.name: metric for metric in self.asked}
        made = [
            gap_measure(subject, groups.gap_name(self.by, name), gap, of.get(name)) for name, gap in self.gaps.items()
        ]
        known_as = {
            "selection_rate": "demographic_parity_difference",
            "equalized_odds": "equalized_odds_difference",
            "mean_prediction": "mean_prediction_gap",
        }
        for name, other in known_as.items():
            if name in self.gaps:
                label = f"{other}:{'/'.join(self.by)}"
                made.append(gap_measure(subject, label, self.gaps[name], of.get(name)))
        for group in self.found:
            made += [group_measure(subject, metric, group) for metric in self.asked]
        return made

    def table(self) -> list[Mapping[str, Any]]:
        """One row for each group."""
        return [
            {
                "group": group.name,
                "rows": group.rows,
                **{metric.name: _short(group.estimates[metric.name].value) for metric in self.asked},
                "note": f"under {SMALLEST_GROUP} rows: too few to judge" if group.worth < SMALLEST_GROUP else "",
            }
            for group in self.found
        ]


def sides_of(subject: Subject, answers: Answers, main: Metric, fair: Sequence[Gate]) -> list[Side]:
    """One side for each protected column, two or three of them together, and what each fair gate names.

    Raises ColumnMissing for a column that is not in the frame, ProjectInvalid for a metric that the task lacks.
    """
    protected = tuple(dict.fromkeys(subject.protected))
    wanted: list[tuple[str, ...]] = [(column,) for column in protected]
    wanted += [protected] if 2 <= len(protected) <= 3 else []
    wanted += [gate.by for gate in fair]
    columns = {name: groups.of_column(subject.frame, name) for by in wanted for name in by}
    made = []
    for by in dict.fromkeys(wanted):
        grouped = groups.crossed([columns[name] for name in by], rows=subject.rows)
        asked = _asked(subject, answers, main, [gate.metric for gate in fair if gate.by == by])
        made.append(_side(subject, answers, by, grouped, asked, [gate for gate in fair if gate.by == by]))
    return made


def _asked(subject: Subject, answers: Answers, main: Metric, gated: Sequence[str]) -> tuple[Metric, ...]:
    """What is measured in every group: what fits these answers, and what gates name in any case."""
    if subject.task == "regression":
        usual: tuple[str, ...] = _NUMBERS
    else:
        usual = _TWO if answers.known == 2 else _MORE
    found = {name: metrics.find(name, subject.task) for name in (*usual, main.name)}
    kept = {name: metric for name, metric in found.items() if not metric.refusal(answers)}
    if subject.task == "regression":
        kept[MEAN_PREDICTION.name] = MEAN_PREDICTION
    for name in gated:
        if name not in BEYOND[subject.task]:
            kept[name] = metrics.find(name, subject.task)
        elif name == "equalized_odds":
            kept |= {each: metrics.find(each, subject.task) for each in ("recall", "false_positive_rate")}
    return tuple(kept.values())


def _side(
    subject: Subject,
    answers: Answers,
    by: tuple[str, ...],
    grouped: groups.Groups,
    asked: tuple[Metric, ...],
    gates: Sequence[Gate],
) -> Side:
    names = grouped[1]
    told = {text: groups.called(names, by, text) for gate in gates for text in gate.without}
    strangers = tuple(text for text, name in told.items() if not name)
    if len(names) > MOST_GROUPS:
        why = f"{' and '.join(by)} has {len(names)} groups; at most {MOST_GROUPS} can be compared"
        unknown = Gap(None, None, None, answers.rows, why)
        named = dict.fromkeys([*(metric.name for metric in asked), *(gate.metric for gate in gates)], unknown)
        return Side(by, grouped, asked, (), named, strangers)
    found = disparity.measured(answers, grouped, asked, seed=subject.seed)
    everyone = {name for name in told.values() if name}
    without = {metric.name: everyone for metric in asked}
    for name in {gate.metric for gate in gates}:
        texts = [text for gate in gates if gate.metric == name for text in gate.without]
        without[name] = {told[text] for text in texts if told[text]}
    gaps = {metric.name: disparity.gap(found, by, metric.name, without=without[metric.name]) for metric in asked}
    if {"recall", "false_positive_rate"} <= gaps.keys():
        left = without.get("equalized_odds", everyone)
        rates = ("recall", "false_positive_rate")
        gaps["equalized_odds"] = disparity.wider(
            *(disparity.gap(found, by, rate, without=left, families=2) for rate in rates)
        )
    return Side(by, grouped, asked, found, gaps, strangers)


def unit_of(subject: Subject, metric: Metric | None) -> str:
    """The unit of a metric's figures; shares where there is no metric (equalized odds)."""
    return "share" if metric is None else metrics.unit_of(subject, metric)


def gap_measure(subject: Subject, name: str, gap: Gap, metric: Metric | None) -> Measure:
    """A gap under a name, in the unit of its metric."""
    return Measure(
        name=name,
        value=gap.value,
        low=gap.low,
        high=gap.high,
        n=gap.rows,
        unit=unit_of(subject, metric),
        method=gap.method,
        better="lower",
    )


def group_measure(subject: Subject, metric: Metric, group: Group) -> Measure:
    """A metric of one group."""
    return metrics.as_measure(
        f"group_{metric.name}",
        group.estimates[metric.name],
        rows=group.worth,
        unit=unit_of(subject, metric),
        group=group.name,
        better=metric.better,
    )


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
