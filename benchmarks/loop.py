"""The loop: a rehearsal's time and memory, what the shipped defaults earn on real history, what poison gets through.

``python -m benchmarks.loop PART...`` measures some parts alone. What a part found is written when it ends, in the
place of its rows of before; a part that fails is a row that says so.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from benchmarks.loop_figures import RESULT, renew
from benchmarks.loop_played import play
from benchmarks.monitoring_streams import BIKE, EMPLOYMENT, SCALE
from benchmarks.rows import ROOT, Row, table, write

EXAMPLES = ROOT / "examples"
SECONDS, MEGABYTES = 90.0, 50.0
AS_WELL = 0.005
"""Of a metric: what is nearer than this is as good. The verdict of a rehearsal says the same."""
NEVER, CALENDAR = "never", "schedule 30d"
NEED: Mapping[str, Path] = {"bikes": BIKE, "memory": BIKE, "employment": EMPLOYMENT}
NEVER_CAME = 999.0
_AFTER = "2011-12-31"  # the end of the first half
_WEEK = timedelta(days=7)


def rows(parts: Sequence[str] = ()) -> list[Row]:
    """All measurements, or those of some ``parts``, in temporary folders."""
    found: list[Row] = []
    for part in parts or tuple(PARTS):
        print(f"-- {part}", flush=True)  # all of it takes minutes
        with tempfile.TemporaryDirectory(prefix="fullcircle-loop-") as folder:
            more = [replace(row, part=part) for row in measured(part, Path(folder))]
        if write("loop", more, parts=[part]) == RESULT:
            renew()
        print(table(more), flush=True)
        found += more
    return found


def measured(part: str, folder: Path) -> list[Row]:
    """The rows of a part; where it fails, or its data are not here, a row that says so and misses its goal."""
    need = NEED.get(part)
    try:
        if need is not None and not need.exists():
            raise FileNotFoundError(f"there is no {need.name}")
        return PARTS[part](folder)
    except Exception as error:  # noqa: BLE001  # whatever it is, the parts after this one can be measured
        traceback.print_exc()
        why = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        return [Row(what=f"{part} ran to its end (no: {why})", unit="", ours=0.0, goal=1.0, at_least=True)]


def _bikes(folder: Path) -> list[Row]:
    found = play(EXAMPLES / "bike_demand", folder / "whole")
    what = f"two years of hourly bikes, {found['rows']:,} rows, {len(found['policies']) - 1} policies and hindsight"
    first = Row(what=f"{what}: rehearsed", unit="s", ours=found["seconds"], goal=SECONDS)
    return [first, *beside("bikes 2011-12", found)]


def _employment(folder: Path) -> list[Row]:
    return beside("employment 2015-18", play(EXAMPLES / "employment", folder / "whole"))


def _lender(folder: Path) -> list[Row]:
    found = play(EXAMPLES / "lender", folder / "whole", since="2025-01-01")
    return [*beside("lender, simulated", found), *against_the_truth(found["told"], shown())]


def shown() -> Any:
    """The troubles of the history that the lender plays: its simulator knows them."""
    spec = spec_from_file_location("benchmarks_lender_simulator", EXAMPLES / "lender" / "simulator.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look for their module
    spec.loader.exec_module(module)
    return module.SHOWN


def against_the_truth(told: Sequence[Mapping[str, Any]], truth: Any) -> list[Row]:
    """What the shipped loop did about each trouble, beside what is known of it.

    The law of default has changed for good ``change_days`` after it began. An outcome comes 200 days after its
    application at the latest: a quarter more, and a new model should answer.
    """
    begun, over, solar = (day(each) for each in (truth.cents_from, truth.cents_until, truth.solar_from))
    changed = day(truth.change_from) + timedelta(days=truth.change_days)
    promoted = [day(each["at"]) for each in told if each["kind"] == "promote"]
    named = {name: [day(each["at"]) for each in told if name in each["suspects"]] for name in ("amount", "purpose")}
    wrong = [each for each in promoted if begun <= each <= over + _WEEK]
    after = [each for each in promoted if each >= changed]
    said = "lender, against the truth"
    return [
        Row(what=f"{said}: promoted while amounts came in cents, and in the week after", unit="",
            ours=len(wrong), goal=0),
        Row(what=f"{said}: until an alarm names the amounts in cents", unit="weeks",
            ours=_weeks(begun, named["amount"]), goal=1.0),
        Row(what=f"{said}: until an alarm names the new category", unit="weeks",
            ours=_weeks(solar, named["purpose"]), goal=2.0),
        Row(what=f"{said}: from the changed law of default to a model of it", unit="weeks",
            ours=_weeks(changed, after), goal=(200 + 91) / 7),
        Row(what=f"{said}: models of the changed law that were taken back", unit="",
            ours=sum(each["kind"] == "rollback" for each in told), goal=0),
    ]  # fmt: skip


def day(text: str) -> datetime:
    """The beginning of a day of a time (UTC, ISO 8601)."""
    return datetime.fromisoformat(text[:10])


def _weeks(since: datetime, times: Sequence[datetime]) -> float:
    """Weeks until the first of some times that is not before ``since``; very many where none is."""
    return min(((each - since) / _WEEK for each in times if each >= since), default=NEVER_CAME)


def beside(name: str, found: Mapping[str, Any]) -> list[Row]:
    """The shipped loop beside the better of never retraining and the calendar, and its trainings beside those.

    What it earned is told beside the better of the two where the project says what a row is worth.
    """
    policies, higher = found["policies"], found["higher_is_better"]
    shipped, calendar = policies["shipped"], policies[CALENDAR]
    best = (max if higher else min)((NEVER, CALENDAR), key=lambda one: policies[one]["metric"])
    limit = policies[best]["metric"] * (1 - AS_WELL if higher else 1 + AS_WELL)
    metric, trained = found["metric"], "trainings of the shipped loop, fewer than the calendar's"
    made = [
        Row(what=f"{name}: {metric} of the shipped loop, as good as the better of never and every 30 days", unit="",
            ours=shipped["metric"], peer=policies[best]["metric"], peer_name=best, goal=limit, at_least=higher),
        Row(what=f"{name}: {trained}", unit="trainings", ours=shipped["trained"], peer=calendar["trained"],
            peer_name=CALENDAR, goal=calendar["trained"] - 1),
    ]  # fmt: skip
    if shipped["earned"] is not None:
        rich = max((NEVER, CALENDAR), key=lambda one: policies[one]["earned"])
        most = policies[rich]["earned"]
        row = Row(
            what=f"{name}: earned by the shipped loop, less its trainings", unit=found["currency"],
            ours=shipped["earned"], peer=most, peer_name=rich, goal=most - AS_WELL * abs(most), at_least=True,
        )  # fmt: skip
        made.append(row)
    return made


def _memory(folder: Path) -> list[Row]:
    """Peaks of one process each that plays half of the history, all of it, and twice as much."""
    peaks = {}
    for name in ("half", "whole", "twice"):
        rides, project = lengthened(folder / name, name)
        env = {"BIKE_HOUR": str(rides), "OMP_NUM_THREADS": "1"}
        peaks[name] = play(project, folder / name / "workspace", workers=0, env=env)["megabytes"]
    return [
        Row(what=f"rehearsal of {name} the bikes' history in one process: memory at its peak", unit="MB",
            ours=peak, goal=1000.0)
        for name, peak in peaks.items()
    ] + [
        Row(what="memory that twice the history adds to the whole, the rows themselves included", unit="MB",
            ours=peaks["twice"] - peaks["whole"], goal=MEGABYTES),
    ]  # fmt: skip


def lengthened(folder: Path, name: str) -> tuple[Path, Path]:
    """The rides of one, two or four years (the second two as the first), and a project that plays them."""
    import pandas as pd

    rides = pd.read_csv(BIKE)
    if name == "half":
        rides = rides[rides["dteday"] <= _AFTER]
    if name == "twice":
        later = (pd.to_datetime(rides["dteday"]) + pd.Timedelta(days=731)).dt.strftime("%Y-%m-%d")
        rides = pd.concat([rides, rides.assign(dteday=later)], ignore_index=True)
    project = Path(shutil.copytree(EXAMPLES / "bike_demand", folder / "bike_demand"))
    file = project / "project.py"
    text = file.read_text(encoding="utf-8")
    assert '"2013-01-01"' in text
    file.write_text(text.replace('"2013-01-01"', '"2015-01-02"'), encoding="utf-8")
    rides.to_csv(folder / "hour.csv", index=False)
    return folder / "hour.csv", project


def _poison(_folder: Path) -> list[Row]:
    made: Callable[[float], list[Row]] = import_module("benchmarks.loop_poison").rows
    return made(SCALE)


PARTS: Mapping[str, Callable[[Path], list[Row]]] = {
    "bikes": _bikes,
    "memory": _memory,
    "employment": _employment,
    "lender": _lender,
    "poison": _poison,
}
"""In order; the one of which the time is measured comes first."""


def main(parts: Sequence[str]) -> int:
    """Measure some parts, or all; 2 for one that there is not."""
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        print(f"there is no part {', '.join(unknown)}; there are: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    return 0 if all(row.met for row in rows(parts)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
