"""Splits over real servers: several workers, real bundles, processes that are stopped and killed."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fullcircle.deployment import client
from fullcircle.server.splitting import Assigner
from fullcircle.tables import predictions as log
from fullcircle.tables import requests
from fullcircle.tables.trips import read
from fullcircle.types.splits import BUCKETS
from sample_models import archive
from server.test_process import Server
from serving import GOOD

SALT = "of the test"
AGES = range(18, 100)


def assigned(age: int, share: int) -> bool:
    return Assigner(SALT).bucket((age,)) < share


class Splits:
    """A server whose file names a champion, version 1, and whatever stands beside it."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.folder = folder
        self.archives = {version: archive(version, compiled=True) for version in (1, 2)}
        self.show()
        self.server = Server(folder, *flags)

    def _named(self, version: int) -> dict[str, Any]:
        data = self.archives[version]
        digest = hashlib.sha256(data).hexdigest()
        path = self.folder / f"{digest}.zip"
        if not path.exists():
            path.write_bytes(data)
        return {"version": version, "bundle": digest, "path": path.name}

    def show(self, id: str = "", **other: Any) -> None:
        """Name the champion, and version 2 beside it under the split ``id``."""
        entry = self._named(1)
        if id:
            entry["split"] = {"id": id, "salt": SALT, "entity": ["age"]}
            entry["others"] = [{**self._named(2), **other}]
        partial = self.folder / "served.new"
        partial.write_text(json.dumps({"models": {"m": entry}}))
        os.replace(partial, self.folder / "served.json")

    def split(self) -> dict[str, Any]:
        """What ``/models`` says of the split; of one worker."""
        models = self.call("GET", "/models")["models"]  # none of a worker that is getting ready
        found: dict[str, Any] = models[0].get("split", {}) if models else {}
        return found

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {"content-type": "application/json"} if body else {})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def stands(self, id: str, *, answers: bool = True) -> None:
        """Wait until every worker that is asked has the split, and its version answers, or cannot."""
        in_a_row = 0
        deadline = time.monotonic() + 60
        while in_a_row < 12:
            found = self.split()
            known = found.get("id") == id and (found["others"][0]["answers"] or not answers)
            in_a_row = in_a_row + 1 if known else 0
            assert time.monotonic() < deadline, self.server.errors.read_text()
            time.sleep(0.02)

    def ask(self, ages: Any, **more: Any) -> list[int]:
        """The version that answered each row."""
        rows = [{**GOOD, "age": age, **more} for age in ages]
        found = self.call("POST", "/predict/m", {"rows": rows})
        versions = [one.get("version", found["version"]) for one in found["predictions"]]
        for one, version in zip(found["predictions"], versions, strict=True):
            assert round(one["prediction"] / 1000) == version
        return versions

    def asking(self) -> set[int]:
        """The processes that ask models, of all workers."""
        found = set()
        for worker in self.server.workers():
            for task in Path(f"/proc/{worker}/task").glob("*/children"):
                found |= {int(pid) for pid in task.read_text().split()}
        return {pid for pid in found if b"asking" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def agree(splits: Splits, wanted: list[int]) -> None:
    """Wait until six requests in a row, each on a connection of its own, are answered as wanted.

    On a busy machine the champion stands in for a version that is late, or that a new worker has not loaded yet; the
    version never does for the champion.
    """
    in_a_row, deadline = 0, time.monotonic() + 60
    while in_a_row < 6:
        found = splits.ask(AGES)
        assert all(one in (1, want) for one, want in zip(found, wanted, strict=True))
        in_a_row = in_a_row + 1 if found == wanted else 0
        assert time.monotonic() < deadline


def counted(splits: Splits, version: int) -> int:
    """The rows that servers counted of a version."""
    (found,) = requests.read(splits.server.predictions, "m", [("2000-01-01", "2100-01-01")], version)
    return sum(found.verdicts.values())


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Splits]:
    found = Splits(tmp_path_factory.mktemp("splits"), "--workers", "2")
    yield found
    assert found.server.end() == 0


def test_rows_go_where_their_bucket_says_on_every_worker_and_after_a_kill(splits: Splits) -> None:
    splits.show("first", low=0, high=2500)
    splits.stands("first")
    wanted = [2 if assigned(age, 2500) else 1 for age in AGES]
    assert set(wanted) == {1, 2}
    agree(splits, wanted)
    before = splits.server.workers()
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(splits.server.workers() - {min(before)}) == 2)
    splits.stands("first")
    agree(splits, wanted)
    rows = [row for row in log.read(splits.server.predictions, "m") if row.split == "first"]
    dealt = {(row.assigned or row.version, row.propensity) for row in rows if row.propensity != 1.0}
    assert dealt == {(1, 0.75), (2, 0.25)}
    # What the steps of a canary go by; what the killed worker had counted may be lost.
    until(lambda: counted(splits, 2) >= 6 * wanted.count(2))
    assert counted(splits, 1) > counted(splits, 2)
    splits.show("first", low=0, high=6000)
    until(lambda: bool(splits.split()) and splits.split()["others"][0]["share"] == 0.6)
    time.sleep(0.5)  # the other worker looks five times a second
    grown = [2 if assigned(age, 6000) else 1 for age in AGES]
    until(lambda: splits.ask(AGES) == grown)
    assert all(now == 2 for was, now in zip(wanted, grown, strict=True) if was == 2)


def test_a_version_that_hangs_is_sent_back_by_all_workers_and_stays_so(splits: Splits) -> None:
    splits.show("second", low=0, high=BUCKETS - 1)
    splits.stands("second")
    until(lambda: set(splits.ask([40, 41])) == {2})
    hanging = splits.asking()
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    for _ in range(30):
        assert set(splits.ask([40, 41])) == {1}
    assert time.monotonic() - begun < 20  # a few requests waited, at most a second each, and no other
    trip = read(splits.folder / "splits", "second")
    assert trip is not None
    assert trip.version == 2
    assert 2 <= trip.bad <= 5
    assert "no answer within" in trip.reason
    rows = [row for row in log.read(splits.server.predictions, "m") if row.split == "second" and row.version == 1]
    waited = [row for row in rows if row.assigned]
    assert {(row.assigned, row.propensity) for row in waited} == {(2, 0.9999)}
    assert 2 * 2 <= len(waited) <= 2 * 5  # two rows a request, of those that were asked in vain
    assert {row.propensity for row in rows if not row.assigned} == {1.0}  # asked no more: nobody's chance
    killed = splits.server.workers()
    for worker in killed:
        os.kill(worker, signal.SIGKILL)
    for pid in hanging:
        with suppress(ProcessLookupError):  # a process that is stopped hears nothing else, not even that it is alone
            os.kill(pid, signal.SIGKILL)
    until(lambda: len(splits.server.workers() - killed) == 2)
    splits.server.ready()
    splits.stands("second", answers=False)
    assert set(splits.ask([40, 41])) == {1}  # though it would answer again: nobody forgot


def test_a_version_that_cannot_be_loaded_harms_nobody_and_is_told(splits: Splits) -> None:
    splits.show("third", low=0, high=5000, path="nowhere.zip")
    splits.stands("third", answers=False)
    until(lambda: bool(splits.split()["others"][0]["problem"]))
    assert set(splits.ask(AGES)) == {1}
    assert client.ready(splits.server.url)
    splits.show("fourth", low=0, high=5000, bundle="0" * 64)
    splits.stands("fourth", answers=False)
    until(lambda: "another bundle" in (splits.split()["others"][0]["problem"] or ""))
    assert set(splits.ask(AGES)) == {1}


def test_a_shadow_has_a_copy_of_every_row_and_no_caller_sees_it(splits: Splits) -> None:
    splits.show("fifth", shadow=True)
    splits.stands("fifth")
    time.sleep(0.5)
    for _ in range(20):
        assert set(splits.ask(AGES)) == {1}
    champions = {row.id: row for row in log.read(splits.server.predictions, "m") if row.split == "fifth"}
    assert len(champions) == 20 * len(AGES)
    shadows = splits.folder / "shadows"
    until(lambda: len([*log.read(shadows, "m")]) == len(champions))
    copies = {row.of: row for row in log.read(shadows, "m")}
    assert copies.keys() == champions.keys()
    assert {row.version for row in copies.values()} == {2}
    assert all(round(float(copies[id].value or 0) / 1000) == 2 for id in champions)
    assert {row.version for row in champions.values()} == {1}
    assert not (shadows / "m" / "lost.jsonl").exists()


def test_an_end_leaves_the_champion_alone_and_no_process_behind(splits: Splits) -> None:
    splits.show()
    until(lambda: not splits.split())
    time.sleep(0.5)
    assert set(splits.ask(AGES)) == {1}
    until(lambda: not splits.asking())
    splits.ask(AGES)
    assert [row.split for row in log.read(splits.server.predictions, "m")][-1] == ""
