"""``python -m benchmarks.soak_monitor [MINUTES [SEED]]``: daemons that monitor are killed, then all is counted.

Two daemons at once monitor one model whose clock runs quickly: hours of rows and labels come while they are killed
(SIGKILL) at random moments, most of them as children that begin at once, some as the command itself. At the end
every row must be counted once in its hour, every label once, every hour judged once by one chain of evidence, and
each window and alarm must be in the ledger once. The draws come from a seed that is printed. What was done is written
to ``benchmarks/results/soak_monitor.json``, only when nothing failed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.rows import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "soak_monitor.json"
HOUR = 3_600_000_000
MODEL = "houses"
TEMPER = 'monitor=fc.Monitor(window="1h", false_alerts="12 per year"), label_delay="0s", arrivals='
FORK = multiprocessing.get_context("fork")


class Place:
    """A workspace with version 1 of a small model, whose log is empty and whose clock is put by hand."""

    def __init__(self, folder: Path) -> None:
        sys.path.insert(0, str(ROOT / "tests"))
        import circles
        from fullcircle.flows.run import run
        from fullcircle.flows.session import loaded, opened
        from fullcircle.tables.predictions import read

        os.environ.setdefault("FULLCIRCLE_ENVIRONMENTS", str(folder / "environments"))
        text = circles.PLAIN.replace("arrivals=", TEMPER)
        self.folder, self.file = folder, circles.write_project(folder / MODEL, text)
        self.settings = circles.settings(folder)
        run(self.file, settings=self.settings, stop=True)
        self.project = loaded(self.file)
        with opened(self.settings, create=False) as session:
            self.root, log = session.workspace.root, session.workspace.predictions
            rows = [row for row in read(log, MODEL) if row.value is not None and row.inputs]
            self.known = Counter(fact.kind for fact in session.workspace.ledger.facts())
        self.home = log / MODEL
        for path in (*self.home.iterdir(), *(self.root / "monitoring").iterdir()):
            path.unlink()
        self.good = [row for row in rows if row.verdict.status == "ok"]
        self.hot = [row for row in rows if row.verdict.status == "flagged"]

    def put(self, moment: int) -> None:
        """Put the clock, between two turns: a turn goes by the moment at which it began, however long it takes."""
        from fullcircle.ledger.folder import locked
        from fullcircle.types import clock

        with locked(self.root / "monitoring" / f"{MODEL}.lock", 120.0):
            clock.put(self.root, moment)

    def daemon(self) -> None:
        """Monitor until killed, as the command does."""
        from fullcircle.flows.monitor import monitor
        from fullcircle.flows.monitoring_daemon import again_and_again

        def failed(error: Exception, following: int) -> None:
            (self.folder / f"failed-{os.getpid()}").write_text(repr(error), encoding="utf-8")

        turn = partial(monitor, self.project, settings=self.settings)
        again_and_again(turn, every="1s", told=lambda window: None, failed=failed)

    def command(self) -> subprocess.Popen[bytes]:
        """The command itself."""
        own = {name: str(self.folder / name.lower()) for name in ("WORKSPACE", "CONFIG")}
        env = {**os.environ, **{f"FULLCIRCLE_{name}": value for name, value in own.items()}}
        words = [sys.executable, "-m", "fullcircle", "monitor", str(self.file), "--every", "1s", "--json"]
        return subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Traffic:
    """Rows and labels, an hour after the other; and what a monitor must have found in the end."""

    def __init__(self, place: Place, draw: random.Random) -> None:
        from flows.logbooks import START

        self.place, self.draw, self.start = place, draw, START
        self.hours = self.labels = 0
        self.rows: Counter[int] = Counter()
        self.waiting: list[str] = []

    def hour(self) -> None:
        """The hour before is over, and another comes: its rows, and labels of earlier ones, while turns are taken."""
        from flows.logbooks import write
        from fullcircle.monitoring.grid import iso
        from fullcircle.tables.outcomes import append_outcomes
        from fullcircle.types.prediction import Outcome

        begin = self.start + self.hours * HOUR
        self.place.put(begin + 61_000_000)
        beside = self.place.folder / "beside"
        kind = self.place.hot if self.hours % 60 >= 50 else self.place.good
        many = self.draw.choice([0, 1, 40, 120])
        for some in (many // 2, many - many // 2):
            rows = [self.draw.choice(kind) for _ in range(some)]
            times = sorted(self.draw.randrange(begin, begin + HOUR - 60_000_000) for _ in rows)
            self.waiting += write(beside, rows, times) if rows else []
            for path in beside.glob("*.jsonl"):  # whole: a turn settles a segment that no server holds
                path.rename(self.place.home / path.name)
            time.sleep(self.draw.uniform(0.0, 0.1))
        self.rows[begin] += many
        self.draw.shuffle(self.waiting)
        told, self.waiting = self.waiting[: len(self.waiting) // 3], self.waiting[len(self.waiting) // 3 :]
        at = iso(begin + HOUR - 60_000_000)
        outcomes = [Outcome(prediction_id=each, value=self.draw.uniform(10, 40), time=at) for each in told]
        append_outcomes(self.place.home.parent, MODEL, outcomes)
        self.labels += len(told)
        self.hours += 1


def main(arguments: list[str]) -> int:
    """Let hours come and kill who monitors them, until the time is up; then count."""
    minutes = float(arguments[0]) if arguments else 5.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(10**6)
    print(f"{minutes:g} minutes, seed {seed}", flush=True)
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="fullcircle-soak-monitor-") as name:
        place = Place(Path(name))
        traffic = Traffic(place, draw)
        kills, commands = _disturbed(place, traffic, draw, time.monotonic() + 60 * minutes)
        failures = [path.read_text(encoding="utf-8") for path in place.folder.glob("failed-*")]
        # One that waits longer for the other than it may says so, and that is no defect.
        assert all(said.startswith("WorkspaceBusy") for said in failures), failures
        found = _looked_at(place, traffic)
    told = {"minutes": minutes, "seed": seed, "kills": kills, "of_the_command": commands, **found, "failures": 0}
    print(told)
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 0


def _disturbed(place: Place, traffic: Traffic, draw: random.Random, until: float) -> tuple[int, int]:
    """Two daemons at any moment, each killed after a drawn time. Returns how many were, and of the command."""
    running: list[tuple[float, Any]] = []
    kills = commands = 0
    try:
        while time.monotonic() < until:
            while len(running) < 2:
                whole = draw.random() < 0.05
                child: Any = place.command() if whole else FORK.Process(target=place.daemon)
                if not whole:
                    child.start()
                commands += whole
                running.append((time.monotonic() + draw.uniform(0.05, 12.0 if whole else 3.0), child))
            traffic.hour()
            time.sleep(draw.uniform(0.0, 0.2))
            for when, child in [one for one in running if one[0] < time.monotonic()]:
                os.kill(child.pid, signal.SIGKILL)
                _ended(child)
                kills += 1
                running.remove((when, child))
    finally:
        for _, child in running:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            _ended(child)
    return kills, commands


def _ended(child: Any) -> None:
    code = child.wait(60) if isinstance(child, subprocess.Popen) else (child.join(60), child.exitcode)[1]
    assert code == -signal.SIGKILL, f"a daemon ended by itself with {code}"


def _looked_at(place: Place, traffic: Traffic) -> dict[str, int]:
    """Take the last turn and compare everything with what came."""
    from fullcircle.flows.audit import audit
    from fullcircle.flows.judging import counts_of
    from fullcircle.flows.monitor import monitor
    from fullcircle.flows.session import opened
    from fullcircle.flows.versions import bundle
    from fullcircle.monitoring.batches import of_rows
    from fullcircle.monitoring.engine import Watch
    from fullcircle.monitoring.grid import Grid
    from fullcircle.monitoring.journal import Journal
    from fullcircle.tables.predictions import read

    place.put(traffic.start + traffic.hours * HOUR + 61_000_000)
    monitor(place.project, settings=place.settings)
    with (
        opened(place.settings, create=False) as session,
        Journal(session.folder("monitoring") / f"{MODEL}.db") as own,
    ):
        found, entries = bundle(session, MODEL, 1), own.entries()
        judged = [entry for entry in entries if entry.judged]
        counted = {entry.start: entry.rows for entry in judged if entry.rows}
        wrong = {
            (start - traffic.start) // HOUR: (counted.get(start), n)
            for start, n in traffic.rows.items()
            if n != counted.get(start, 0)
        }
        assert not wrong, f"hours with rows counted and logged: {wrong}"
        assert len({entry.start for entry in entries}) == len(entries), "an hour is one batch"
        assert not any(entry.rows for entry in entries if not entry.judged)
        waiting = own.labels() + [each for start, _ in own.starts() for each in own.labels(1, start)]
        assert sum(entry.labelled for entry in entries) + len(waiting) == traffic.labels
        by_hour: dict[int, list[Any]] = {}
        for row in read(session.workspace.predictions, MODEL):
            by_hour.setdefault(Grid(HOUR).start(_micros(row.time)), []).append(row)
        watch = Watch(found.profile, place.project.project.monitor)
        for entry in judged:
            rows, labelled = counts_of(found, entry)
            truth = of_rows(found.profile, found.contract, by_hour.get(entry.start, []))
            assert rows.encode() == truth.encode(), "the counts are those of the rows"
            said = watch.step(rows, labelled, phase=Grid(HOUR).phase(entry.start, found.profile))
            assert [(each.level, each.fired) for each in said] == [
                (each.level, each.fired) for each in entry.evidence
            ]
        assert watch.state() == own.state(1), "evidence is one chain over the hours"
        assert own.facts() == []
        facts = [fact for fact in session.workspace.ledger.facts() if fact.kind.startswith(("window.", "alarm."))]
        new = facts[sum(place.known[kind] for kind in place.known if kind.startswith(("window.", "alarm."))) :]
        kinds = Counter(fact.kind for fact in new)
        assert kinds["window.monitored"] == len(judged), "each window is in the ledger once"
        raised = [fact.body["alarm"] for fact in new if fact.kind == "alarm.raised"]
        assert sorted(raised) == sorted(alarm.id for alarm in own.alarms()), "and so is each alarm"
        resolved = sum(alarm.state == "resolved" for alarm in own.alarms())
        assert kinds["alarm.resolved"] == resolved
    assert not audit(settings=place.settings).problems
    return {
        "hours": traffic.hours,
        "judged": len(judged),
        "rows": traffic.rows.total(),
        "labels": traffic.labels,
        "alarms": len(raised),
        "resolved": resolved,
    }


def _micros(text: str) -> int:
    from fullcircle.monitoring.grid import micros

    found = micros(text)
    assert found is not None
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
