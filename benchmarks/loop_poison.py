"""Poison against the loop: what of it is promoted, what harm that does, and how many honest retrainings are blocked.

A retraining here is the core of ``fullcircle.flows.retrain`` on arrays: sift, fit on the champion's rows and what was
kept, fresh and frozen rows, verdict. No server, log, packaging, nor any other gate of a project (which could only
stop more), so that hundreds of runs take minutes. ``python -m benchmarks.loop_poison [SEEDS [WORD]]`` prints all:
SEEDS is how many (5) or from which to which (10-12), WORD a part of the names of the campaigns to run.
"""

from __future__ import annotations

import math
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from benchmarks.poison_worlds import HONEST, SLOW, Array, Attack, Rng, Rows, World, attacks, honest, joined
from benchmarks.rows import Row
from fullcircle.evaluation import metrics
from fullcircle.retraining import challenge, quarantine
from fullcircle.retraining.worth import level
from fullcircle.types.loop import Difference
from fullcircle.types.project import Retrain

KNOWN, NEW, TRUE, TEST = 4000, 2000, 6000, 0.25
CYCLES, A_CYCLE = 20, 500
SEEDS = 5
FEWEST = 30
BATCHES = 6
BLOCKED = 0.1
UNKNOWABLE = "all labels alike"
"""Poison that no rule can tell from an honest change: its sender owns all labels. ``main`` does not fail for it."""
TOLERANCE = Retrain().tolerance


class Trees:
    """Boosted trees of the columns, categories by their place."""

    def __init__(self, rows: Rows, number: bool, seed: int) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        self.number = number
        kind = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
        self.model = kind(max_iter=60, max_leaf_nodes=12, learning_rate=0.12, early_stopping=False, random_state=seed)
        with _one_thread():
            self.model.fit(_matrix(rows.frame), np.log(rows.label) if number else rows.label)

    def answers(self, frame: Any) -> Array:
        """The number, or the probability of the second class."""
        with _one_thread():
            if self.number:
                return np.asarray(np.exp(self.model.predict(_matrix(frame))))
            return np.asarray(self.model.predict_proba(_matrix(frame))[:, 1])


def _one_thread() -> Any:
    from threadpoolctl import threadpool_limits

    return threadpool_limits(limits=1)


def _matrix(frame: Any) -> Array:
    from benchmarks.poison_worlds import CHANNELS, REGIONS

    made = frame.assign(region=frame["region"].map(REGIONS.index), channel=frame["channel"].map(CHANNELS.index))
    return np.asarray(made.to_numpy(dtype=float))


@dataclass(frozen=True)
class Line:
    """A champion, the rows it was made from with those of them that it was judged by, and what it is gone by."""

    number: bool
    champion: Trees
    known: Rows
    test: Array
    frozen: Rows
    anchor: float
    scale: float

    @property
    def metric(self) -> metrics.Metric:
        return metrics.find("mae" if self.number else "log_loss", "regression" if self.number else "classification")

    def losses(self, model: Trees, rows: Rows) -> Array:
        """What a model is wrong by on each row, in [0, 1]."""
        said = model.answers(rows.frame)
        return np.asarray(
            np.minimum(1.0, np.abs(rows.label - said) / self.scale if self.number else (rows.label - said) ** 2)
        )

    def merit(self, model: Trees, rows: Rows) -> float:
        return float(self.metric.merit(self.metric.of(_answered(model, rows))))


def _answered(model: Trees, rows: Rows) -> metrics.Answers:
    said = model.answers(rows.frame)
    if model.number:
        return metrics.answers("regression", rows.label, said, None, ())
    shares = np.column_stack([1 - said, said])
    return metrics.answers("classification", rows.label, (said > 0.5).astype(int), shares, (0, 1))


def first(rng: Rng, world: World, seed: int) -> Line:
    """Version 1 of a world."""
    known = world.rows(rng, KNOWN)
    test = rng.random(KNOWN) < TEST
    champion = Trees(known.at(np.flatnonzero(~test)), world.number, seed)
    frozen = known.at(np.flatnonzero(test))
    scale = 4.0 * float(np.median(np.abs(frozen.label - champion.answers(frozen.frame)))) if world.number else 1.0
    line = Line(world.number, champion, known, test, frozen, math.nan, scale)
    return replace(line, anchor=line.merit(champion, frozen))


@dataclass(frozen=True)
class Outcome:
    """What a retraining came to.

    ``why`` says who stopped it: the sieve ("sift"), too little that was left ("few"), no gain on fresh rows
    ("no better"), the frozen rows ("person"); "" where the challenger became champion. ``learned`` is the poison's
    share of the new rows that it learned from, ``lost`` the share of honest new rows that were left out.
    """

    why: str
    text: str
    learned: float = 0.0
    lost: float = 0.0
    challenger: Trees | None = None
    line: Line | None = None

    @property
    def promoted(self) -> bool:
        return self.why == ""


def retrained(line: Line, new: Rows, seed: int, *, named: bool = True) -> Outcome:
    """One retraining, as ``fullcircle.flows.retrain`` goes about it, and the line after it."""
    retrain = Retrain(source="source" if named else "")
    loss = np.full(len(line.known), np.nan)
    loss[line.test] = line.losses(line.champion, line.known.at(np.flatnonzero(line.test)))
    came = line.losses(line.champion, new)
    sifted = quarantine.sift(_looked_at(line, line.known, loss, named), _looked_at(line, new, came, named),
                             retrain=retrain, seed=seed)  # fmt: skip
    good = ~new.bad
    lost = float((good & ~sifted.keep).sum() / max(1, good.sum()))
    said = "; ".join(f"{each.reason} ({each.rows})" for each in sifted.found)
    if sifted.held:
        return Outcome("sift", sifted.held, lost=lost)
    kept = new.at(np.flatnonzero(sifted.keep))
    learned = float(kept.bad.mean()) if len(kept) else 0.0
    if len(kept) < 2 * FEWEST:
        return Outcome("few", said, learned, lost)
    fresh = max(FEWEST, round(TEST * len(kept)))
    grown = joined(_without(line), kept)
    test = np.arange(len(grown)) >= len(grown) - fresh
    challenger = Trees(grown.at(np.flatnonzero(~test)), line.number, seed)
    late = grown.at(np.flatnonzero(test))
    on_fresh = _difference(line, "fresh", challenger, late, 0.0)
    merit = line.merit(line.champion, line.frozen)
    on_frozen = _difference(
        line, "frozen", challenger, line.frozen, challenge.allowance(TOLERANCE, line.anchor, merit)
    )
    gain = line.losses(line.champion, late) - line.losses(challenger, late)
    on_frozen = challenge.everywhere(
        on_frozen, line.frozen.frame, line.losses(line.champion, line.frozen), line.losses(challenger, line.frozen),
        late.frame, gain, tolerance=TOLERANCE,
    )  # fmt: skip
    moved = challenge.Moved(False, "")
    if not on_frozen.passed:
        moved = challenge.moved(
            late.frame, gain, late.source if named else None,
            reference=level(loss), batches=[level(part) for part in np.array_split(came, BATCHES)],
            quarantined=sifted.wrong,
        )  # fmt: skip
    good_enough, why = challenge.verdict(on_fresh, on_frozen, changed=moved.changed)
    excused = good_enough and not on_frozen.passed
    after = replace(line, champion=challenger, known=joined(grown, line.frozen),
                    test=np.concatenate([test, np.zeros(len(line.frozen), dtype=bool)]))  # fmt: skip
    after = replace(after, anchor=after.merit(challenger, line.frozen) if excused else line.anchor)
    kind = "" if good_enough else "no better" if not on_fresh.passed else "person"
    return Outcome(kind, f"{said} | {why} | {moved.text}", learned, lost, challenger, after if good_enough else None)


def _without(line: Line) -> Rows:
    """The champion's rows but for the frozen ones: those of version 1 are its test rows, later they come last."""
    n = len(line.frozen)
    if len(line.known) == KNOWN:
        return line.known.at(np.flatnonzero(~line.test))
    return line.known.at(np.arange(len(line.known) - n))


def _looked_at(line: Line, rows: Rows, loss: Array, named: bool) -> quarantine.Rows:
    return quarantine.Rows(
        features=rows.frame, label=rows.label, loss=loss, source=rows.source if named else None,
        task="regression" if line.number else "classification",
    )  # fmt: skip


def _difference(line: Line, on: Any, challenger: Trees, rows: Rows, allowed: float) -> Difference:
    one, other = _answered(line.champion, rows), _answered(challenger, rows)
    found = metrics.improvement(line.metric, other, one)
    value, low, high = (math.nan if each is None else each for each in (found.value, found.low, found.high))
    figures = line.metric.of(one), line.metric.of(other), value, low, high
    return challenge.judge(on, line.metric.name, len(rows), *figures, allowed=allowed)


class Harm(NamedTuple):
    """How much worse the challenger is on true rows, as a share of the champion's loss, and whether that is sure.

    ``all`` and ``there`` (where the attack aimed) are gains: below 0 it is worse. ``taught`` is the share of marked
    rows that it answers as the poison taught, and the champion does not. ``beyond`` says that it is sure and more
    than the tolerance of a project, which the frozen rows let pass. ``better`` says that it is surely better.
    """

    all: float
    there: float
    taught: float
    sure: bool
    beyond: bool
    better: bool


SURE, TAUGHT, NOTICED = 3.0, 0.1, 0.02
LEARNED = 0.005


def harm(line: Line, challenger: Trees, world: World, attack: Attack | None, rng: Rng) -> Harm:
    """On rows of the world as it is, with true labels.

    Sure is what is three standard errors below 0 (of several hundred runs two would find some by chance) and at least
    2 % of the loss; or a mark that is answered as taught in a tenth of the rows.
    """
    true = world.rows(rng, TRUE)
    before, after = line.losses(line.champion, true), line.losses(challenger, true)
    gain = before - after
    inside = np.ones(TRUE, dtype=bool) if attack is None or attack.where is None else attack.where(true.frame)
    taught, figures = 0.0, []
    better = level(gain).mean > SURE * level(gain).error
    for part in (np.ones(TRUE, dtype=bool), inside):
        found = level(gain[part])
        figures.append((found.mean / float(before[part].mean()), bool(found.mean < -SURE * found.error)))
    if attack is not None and attack.mark is not None:
        marked = attack.mark(true.frame)
        said = [model.answers(marked) for model in (line.champion, challenger)]
        limit = np.quantile(line.known.label, 0.95) if line.number else 0.5
        honest_yes = world.truth(marked) > (np.inf if line.number else 0.0)
        taught = float(np.mean((said[1] >= limit) & ~honest_yes) - np.mean((said[0] >= limit) & ~honest_yes))
    sure = any(worse and share < -NOTICED for share, worse in figures) or taught > TAUGHT
    beyond = any(worse and share < -TOLERANCE for share, worse in figures) or taught > TAUGHT
    return Harm(figures[0][0], figures[1][0], taught, sure, beyond, better)


class Run(NamedTuple):
    """One run of a campaign: what was tried, who stopped it, what the challenger had learned, and the harm."""

    campaign: str
    number: bool
    seed: int
    why: str
    learned: float
    lost: float
    harm: Harm | None
    text: str


def poisoned(name: str, number: bool, seed: int) -> Run:
    """One attack on a champion of a world that stays as it is."""
    attack, world, rng = attacks()[name], World(number=number), np.random.default_rng([seed, number])
    line = first(rng, world, seed)
    new = attack.way(world.rows(rng, NEW), world, rng)
    found = retrained(line, new, seed, named=attack.named)
    done = harm(line, found.challenger, world, attack, rng) if found.challenger and found.promoted else None
    return Run(name, number, seed, found.why, found.learned, found.lost, done, found.text)


def slowly(name: str, number: bool, seed: int) -> Run:
    """Poison over 20 retrainings; the harm is that of the last champion beside the first."""
    world, rng = World(number=number), np.random.default_rng([seed, number])
    line = start = first(rng, world, seed)
    why: Counter[str] = Counter()
    learned, lost, attack = 0.0, [], SLOW[name](0)
    for cycle in range(CYCLES):
        attack = SLOW[name](cycle)
        found = retrained(line, attack.way(world.rows(rng, A_CYCLE), world, rng), seed + cycle)
        why[found.why or "promoted"] += 1
        lost.append(found.lost)
        if found.line is not None:
            line, learned = found.line, max(learned, found.learned)
    done = harm(start, line.champion, world, attack, rng) if why["promoted"] else None
    text = ", ".join(f"{count} {each}" for each, count in why.most_common())
    return Run(
        f"slow: {name}", number, seed, "" if why["promoted"] else "all", learned, float(np.mean(lost)), done, text
    )


def clean(name: str, number: bool, seed: int) -> Run:
    """An honest retraining."""
    rng = np.random.default_rng([seed, number, 7])
    line = first(rng, World(number=number), seed)
    new, world = honest(name, rng, NEW, number)
    found = retrained(line, new, seed)
    done = harm(line, found.challenger, world, None, rng) if found.challenger else None
    return Run(f"honest: {name}", number, seed, found.why, found.learned, found.lost, done, found.text)


KINDS = {"clean": (clean, HONEST), "poison": (poisoned, None), "slow": (slowly, SLOW)}


def _one(job: tuple[str, str, bool, int]) -> Run:
    kind, name, number, seed = job
    return KINDS[kind][0](name, number, seed)


def jobs(
    seeds: Sequence[int], kinds: Iterable[str] = tuple(KINDS), word: str = ""
) -> list[tuple[str, str, bool, int]]:
    """All runs of the campaigns, the longest first."""
    names = {kind: tuple(KINDS[kind][1] or attacks()) for kind in kinds}
    return [
        (kind, name, number, seed)
        for kind in reversed(tuple(names)) for name in names[kind] if word in name
        for number in (False, True) for seed in seeds
    ]  # fmt: skip


def campaign(work: Sequence[tuple[str, str, bool, int]]) -> list[Run]:
    """All runs, by as many processes as there are cores."""
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_one, work))


def family(run: Run) -> str:
    """What the runs are counted by."""
    if run.campaign.startswith("slow: "):
        return "slow, over 20 retrainings"
    return "honest" if run.campaign.startswith("honest: ") else attacks()[run.campaign].family


def harmful(run: Run) -> bool:
    """Whether a challenger was promoted that does sure harm."""
    return not run.why and run.harm is not None and run.harm.sure


def learned(run: Run) -> bool:
    """Whether a challenger was promoted that learned from poison, be it harmful or not."""
    return not run.why and run.learned > LEARNED


def beyond(run: Run) -> bool:
    """Whether that harm is more than a project's tolerance."""
    return harmful(run) and run.harm is not None and run.harm.beyond


def rows(scale: float = 1.0) -> list[Row]:
    """What was promoted of each family of poison, and how many honest retrainings were blocked.

    With less than a seed's worth of ``scale`` only every so many-th of its runs is made.
    """
    runs = campaign(jobs(range(max(1, round(SEEDS * scale))))[:: max(1, round(1 / (SEEDS * scale)))])
    poison = [run for run in runs if family(run) not in ("honest", UNKNOWABLE)]
    found: list[Row] = []
    for name in sorted({family(run) for run in poison}):
        own = [run for run in poison if family(run) == name]
        said = f"poison, {name}: {len(own)} runs, promoted with harm on true rows beyond the tolerance"
        found.append(Row(what=said, unit="runs", ours=sum(map(beyond, own)), goal=0))
    found += [
        Row(what=f"poison, {len(poison)} runs: promoted with {what}", unit="runs", ours=count, goal=0)
        for what, count in (
            ("any sure harm on true rows", sum(map(harmful, poison))),
            (f"more than {LEARNED:.1%} of poison learned, harm or not", sum(map(learned, poison))),
        )
    ]
    own = [run for run in runs if family(run) == UNKNOWABLE]
    if own:
        said = f"{UNKNOWABLE}, {len(own)} runs: told only, because nobody can tell it from a world that changed"
        found.append(Row(what=said, unit="runs with harm", ours=sum(map(beyond, own)), goal=len(own)))
    return [*found, *_honest([run for run in runs if family(run) == "honest"])]


def _honest(own: Sequence[Run]) -> list[Row]:
    """Who is not better is not needed, and so not blocked; who truly is but did not show it waits for more rows."""
    if not own:
        return []
    suspected = [run.why in ("sift", "few", "person") for run in own]
    late = [bool(run.why and run.harm and run.harm.better) for run in own]
    much = [each and run.harm is not None and run.harm.all > NOTICED for each, run in zip(late, own, strict=True)]
    blocked = np.logical_or(suspected, much)
    said = f"honest retrainings, {len(own)} runs"
    lost = float(np.mean([run.lost for run in own if run.why != "sift"] or [0.0]))
    return [
        Row(what=f"{said}: suspected, or held though truly {NOTICED:.0%} better", unit="share",
            ours=float(np.mean(blocked)), goal=BLOCKED),
        Row(what=f"{said}: suspected, or held though truly better at all", unit="share",
            ours=float(np.mean(np.logical_or(suspected, late))), goal=BLOCKED),
        Row(what="honest rows that quarantine left out", unit="share", ours=lost, goal=0.02),
    ]  # fmt: skip


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last) + 1) if last else range(int(first))


def main(arguments: Sequence[str]) -> int:
    """Every campaign on a line; 1 where harm was promoted."""
    seeds, word = _seeds(arguments[0] if arguments else str(SEEDS)), arguments[1] if len(arguments) > 1 else ""
    runs = campaign(jobs(seeds, word=word))
    for name in dict.fromkeys(run.campaign for run in runs):
        own = [run for run in runs if run.campaign == name]
        whys = Counter(run.why or "promoted" for run in own)
        most = max((run.learned for run in own if not run.why), default=0.0)
        print(
            f"{name:40s} {dict(whys)}, learned at most {most:.1%}, harm in {sum(map(harmful, own))}, "
            f"beyond the tolerance in {sum(map(beyond, own))}"
        )
    return 1 if any(beyond(run) and family(run) not in ("honest", UNKNOWABLE) for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
