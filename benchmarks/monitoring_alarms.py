"""Alarms on streams in which nothing changes: ours, and those of the peers' defaults on the same windows.

Ours are counted over several orders of the rows, each with a reference of its own. An alarm of a peer is a window in
which any column is flagged: that is what one is told. Its windows are bounded and of the first order, and its rate is
extrapolated to a year with an exact interval for a count; windows share one reference, so the interval is that of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.monitoring_streams import SCALE, Stream, at_most, one_thread, rate, streams
from benchmarks.peers.talking import Peer
from benchmarks.rows import Row

BUDGET = 1.0
ORDERS = 6
MOST = {"monitoring_evidently": 40, "monitoring_nannyml": 500}
NAMES = {"monitoring_evidently": "Evidently", "monitoring_nannyml": "NannyML"}
MONDAY = 4 * 86_400  # since 1970 began on a Thursday


def rows(folder: Path, evidently: Path | None, nannyml: Path | None, scale: float = SCALE) -> list[Row]:
    """Two rows a stream: ours beside each peer, or one without a peer where no Python of theirs is given."""
    pythons = {"monitoring_evidently": evidently, "monitoring_nannyml": nannyml}
    makers, found = streams(scale), []
    with one_thread(), ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        ours = [[pool.submit(_counted, make, seed) for seed in range(_orders(make(0), scale))] for make in makers]
        told = [[each.result() for each in of] for of in ours]
    for place, (make, counts) in enumerate(zip(makers, told, strict=True)):
        stream = make(0)
        fired, years = sum(counts), stream.years(stream.count) * len(counts)
        for program, python in pythons.items():
            flagged = _asked(folder, program, python, stream, place, scale) if python else []
            found.append(_row(stream, fired, years, NAMES[program], flagged))
    return found


def _orders(stream: Stream, scale: float) -> int:
    return 1 if stream.changed else max(1, round(ORDERS * scale))


def _counted(make: Callable[[int], Stream], seed: int) -> int:
    return alarms(make(seed))


def _row(stream: Stream, fired: int, years: float, name: str, flagged: list[int]) -> Row:
    """What does not change shall alarm within the budget, by the limit that a Poisson count leaves; the rest once."""
    if stream.changed:
        what = f"{stream.name}: {fired} alarms in {years:.3g} years, a year"
        ours, goal = fired / years, 1.0 / years
    else:
        what = f"{stream.name}: {fired} false alarms in {years:.3g} years, with 95 % a year at most"
        ours, goal = at_most(fired, years), BUDGET
    if not flagged:
        return Row(what=what, unit="alarms", ours=ours, goal=goal, at_least=stream.changed)
    alerts = sum(count > 0 for count in flagged)
    told = rate(alerts, stream.years(len(flagged)))
    peer = f"{name}, {alerts} of {len(flagged)} windows flagged: {told.low:.3g} to {told.high:.3g} a year"
    return Row(
        what=what, unit="alarms", ours=ours, goal=goal, peer=told.value, peer_name=peer, at_least=stream.changed
    )


def alarms(stream: Stream) -> int:
    """How many alarms a budget of one a year gives on all windows of a stream."""
    from fullcircle.monitoring.batches import Batch, Layout, count
    from fullcircle.monitoring.engine import Watch
    from fullcircle.monitoring.profiles import roles
    from fullcircle.types.project import Monitor

    monitor = Monitor(false_alerts="1 per year", window=f"{stream.seconds // 60}m")
    profile = profiled(stream, monitor.window)
    watch, layout, nothing = Watch(profile, monitor), Layout(profile.features), Batch.empty(profile.outcomes)
    begun, fired = len(stream.reference) // stream.rows, 0
    phases = profile.dependence.phases if profile.dependence else 1
    answers = {"verdict": "ok", "prediction": 0.0}
    constant = {name: answers[role] for name, role in roles(profile).items() if role in answers}
    for place in range(stream.count):
        frame = stream.windows.iloc[place * stream.rows : (place + 1) * stream.rows]
        columns = {name: frame[name] for name in frame.columns}
        columns |= {name: [value] * len(frame) for name, value in constant.items()}
        evidence = watch.step(count(layout, columns, len(frame)), nothing, phase=(begun + place) % phases)
        fired += sum(each.fired for each in evidence)
    return fired


def profiled(stream: Stream, window: str) -> Any:
    """The profile of a stream's reference: through the contract where its times are to be learned from."""
    from fullcircle.monitoring.profiles import frozen, profile
    from fullcircle.stats.bins import count_categories
    from fullcircle.types.contract import Column, Contract
    from fullcircle.types.monitoring import FeatureProfile, Profile

    frame = stream.reference
    kinds = {name: tuple(sorted(frame[name].unique())) for name in stream.categories}
    if not stream.timed:
        features = tuple(
            FeatureProfile(
                name=name, kind="category", categories=kinds[name],
                counts=tuple(count_categories(frame[name], kinds[name]).tolist()),
            )
            if name in kinds
            else frozen(name, frame[name].to_numpy())
            for name in frame.columns
        )  # fmt: skip
        return Profile(features=features, rows=len(frame))
    columns = tuple(
        Column(name=name, kind="category" if name in kinds else "number", categories=kinds.get(name, ()))
        for name in frame.columns
    )
    contract = Contract(columns=columns, label="y", task="regression")
    return profile(frame, [0.0] * len(frame), contract, times=times(stream), window=window)


def times(stream: Stream) -> Any:
    """When each reference row came: evenly in its window, from a Monday on."""
    import numpy as np
    import pandas as pd

    at = MONDAY + np.arange(len(stream.reference)) * (stream.seconds / stream.rows)
    return pd.Series(pd.to_datetime(at, unit="s", utc=True), index=stream.reference.index)


def _asked(folder: Path, program: str, python: Path, stream: Stream, place: int, scale: float) -> list[int]:
    """How many columns a peer flagged in each window."""
    paths = {name: folder / f"stream-{place}-{name}.parquet" for name in ("reference", "windows")}
    if not paths["windows"].exists():
        stream.reference.to_parquet(paths["reference"])
        stream.windows.to_parquet(paths["windows"])
    with Peer(python, program, str(place), folder=folder) as peer:
        answer = peer.ask(
            "alarms", **{name: str(path) for name, path in paths.items()}, rows=stream.rows,
            categories=list(stream.categories), most=max(3, int(MOST[program] * scale)),
        )  # fmt: skip
    drifted: list[int] = answer["drifted"]
    return drifted
