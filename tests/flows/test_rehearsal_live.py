"""A rehearsal equals the live loop: the same history through a real server, in a played workspace, ends the same."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from flows import histories, rehearsed
from fullcircle.flows import data, drafts, loop, monitor
from fullcircle.flows.counting import GRACE
from fullcircle.flows.package import package_in
from fullcircle.flows.promote import promote_in
from fullcircle.flows.rehearsal import history, story
from fullcircle.flows.rehearsal.history import NEVER, Rows, spans
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.flows.train import train_in
from fullcircle.flows.versions import bundle, champion
from fullcircle.monitoring.grid import length, micros
from fullcircle.runtimes.contracts import rows_of
from fullcircle.tables import predictions as log
from fullcircle.types import clock
from fullcircle.types.prediction import Prediction

UNTIL = "2024-05-27T00:00:00"  # after a hold, a promotion and another hold


class Server:
    """A server of a workspace in a process of its own."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)

    def ask(self, method: str, path: str, document: Any = None) -> Any:
        body = None if document is None else json.dumps(document)
        self._connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        found = json.loads(answer.read())
        assert answer.status == 200, found
        return found

    def wait_for(self, version: int) -> None:
        """Until it answers with this version."""
        deadline = time.monotonic() + 60
        while [one["version"] for one in self.ask("GET", "/models")["models"]] != [version]:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    flags = {"--served": root / "served.json", "--predictions": root / "predictions", "--code-cache": root / "code"}
    words = [str(word) for pair in flags.items() for word in pair]
    with (root.parent / "server.log").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "fullcircle.server", *words, "--port", "0", "--drain-seconds", "0"],
            stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        with closing(Server(json.loads(process.stdout.readline())["listening"])) as server:
            yield server
    finally:
        process.terminate()
        process.wait(40)
        process.stdout.close()


def begin(session: Session, source: Any, known: Any) -> None:
    """The first champion, as a person makes it."""
    snapshot = data.store(session, "kettles", known, "history")
    trained = train_in(session, source, snapshot=snapshot)
    draft = drafts.of_run(session, trained.run)
    made = package_in(session, source, draft, trained.report_digest, trained.report, approve="auto")
    promote_in(session, "kettles", made.version, "by hand")


def events(rows: Rows, since: int, until: int, window: int) -> list[tuple[int, int, int]]:
    """What happens, in order: (when, kind, row); a turn (0), a row that comes in (1), a label that comes (2)."""
    played = [place for place, at in enumerate(rows.times.tolist()) if since <= at < until]
    turns = [(stop + GRACE, 0, 0) for _, stop in spans(since, until, window)]
    asked = [(int(rows.times[place]), 1, place) for place in played]
    labels = [(int(rows.arrivals[place]), 2, place) for place in played if rows.arrivals[place] != NEVER]
    return [each for each in sorted([*turns, *asked, *labels]) if each[0] <= turns[-1][0]]


def live(folder: Path, source: Any, rows: Rows) -> tuple[list[Any], list[Prediction]]:
    """Play the rows through a real server, log, monitor and loop. Returns the story and the logged rows."""
    root = folder / "live"
    since, until = micros(rehearsed.SINCE) or 0, micros(UNTIL) or 0
    root.mkdir(parents=True)
    clock.put(root, since)
    settings = histories.settings(folder)
    settings = type(settings)(
        values={**settings.values, "workspace": str(root)}, paths=settings.paths, folder=settings.folder
    )
    written = history.written(rows, folder / "history")
    with opened(settings, rehearsal=True) as session:
        begin(session, source, history.known_by(written, since, "minutes"))
        contract = bundle(session, "kettles", 1).contract
        documents = rows_of(rows.frame, contract)
        labels = rows.frame["minutes"].tolist()
        names: dict[int, str] = {}
        with serving(root) as server:
            server.wait_for(1)
            for at, kind, place in events(rows, since, until, length("7d")):
                clock.put(root, at)
                if kind == 1:
                    (found,) = server.ask("POST", "/predict/kettles", {"rows": [documents[place]]})["predictions"]
                    names[place] = found["id"]
                elif kind == 2:
                    one = {"id": names[place], "value": labels[place]}
                    server.ask("POST", "/outcomes", {"model": "kettles", "outcomes": [one]})
                else:
                    monitor.monitor_in(session, source)
                    loop.turn_in(session, source)
                    server.wait_for(champion(session, "kettles"))
        told = story.told(session, "kettles", since)
        return list(told), list(log.read(session.workspace.predictions, "kettles"))


def answer(row: Prediction) -> tuple[Any, ...]:
    """A logged row without its name and how long it took."""
    return row.time, row.version, row.bundle, row.value, row.verdict, row.inputs, row.context, row.answered_by


def without_costs(told: Any) -> tuple[Any, list[float]]:
    """The story without what alarms cost, and those costs: they are summed in the order of names drawn at random.

    It is without the names of rows that were kept apart, too: a server draws them at random.
    """
    plain = rehearsed.plain(told)
    for each in plain:
        if each["step"]:
            each["step"]["apart"] = bool(each["step"]["apart"])
    return plain, [each["alarm"].pop("cost") or 0.0 for each in plain if each["alarm"]]


def test_a_rehearsal_is_what_the_live_loop_does(tmp_path: Path) -> None:
    frame = histories.rows()
    result, place = rehearsed.played(tmp_path / "rehearsal", frame, until=UNTIL)
    source = loaded(tmp_path / "rehearsal" / "project" / "project.py")
    told, rows = live(tmp_path / "live", source, rehearsed.read(source, tmp_path / "rehearsal"))
    kinds = [each.kind for each in told]
    assert kinds.count("promote") == 1
    assert kinds.count("hold") >= 2
    assert kinds.count("alarm") >= 2
    # The first version is named by whoever makes it; all that follows is the same: times, causes, sums and texts.
    (ours, our_costs), (theirs, their_costs) = without_costs(result.policy.told[1:]), without_costs(told[1:])
    assert ours == theirs
    assert their_costs == pytest.approx(our_costs, rel=1e-9)
    assert any(our_costs)
    played = list(log.read(place.predictions, "kettles"))
    assert len(played) > 500
    assert [answer(row) for row in played] == [answer(row) for row in rows]
    assert {row.version for row in played} == {1, 2}
