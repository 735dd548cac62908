"""What stands beside a champion: begun aside, told where it cannot be, and let go when nobody names it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fullcircle.errors import BundleInvalid
from fullcircle.runtimes.scorer import Scorer
from fullcircle.server.follower import Entry, Follower
from fullcircle.server.routes import Other, Routes, Started, Way, previous
from fullcircle.types.splits import Variant
from serving import Sum, contract, loaded

WAY = Way(id="s1", salt="x", entity=("age",))
OTHER = Other(version=2, bundle="two", path="two.zip", high=500)
ENTRY = Entry(version=1, bundle="one", path="one.zip", split=WAY, others=(OTHER,))


class Closing(Started):
    """Something that notes its end."""

    def close(self) -> None:
        ENDED.append(self.loaded.version)


ENDED: list[int] = []


class Starter:
    """Starts what it is told may start, when it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, bool]] = []
        self.error: Exception | None = None
        self.go = threading.Event()
        self.go.set()

    def __call__(self, name: str, entry: Entry, other: Other) -> Started:
        self.calls.append((name, other.version, other.shadow))
        assert self.go.wait(10)
        if self.error is not None:
            raise self.error
        return Closing(loaded=loaded(name, other.version))


@pytest.fixture(autouse=True)
def none_ended() -> None:
    ENDED.clear()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_look_never_waits_and_tells_who_is_there_when_it_is() -> None:
    starter = Starter()
    starter.go.clear()
    routes = Routes(starter)
    begun = time.monotonic()
    (route,) = routes.look({"m": ENTRY}).values()
    assert time.monotonic() - begun < 1
    assert (route.way, route.champion) == (WAY, 1)
    (beside,) = route.others
    assert (beside.variant, beside.started, beside.problem) == (Variant(version=2, high=500), None, "")
    starter.go.set()
    until(lambda: routes.look({"m": ENTRY})["m"].others[0].started is not None)
    assert starter.calls == [("m", 2, False)]
    same = routes.look({"m": ENTRY})
    assert same == routes.look({"m": ENTRY})  # nothing new: the view stays


def test_another_share_keeps_the_process_and_another_split_or_bundle_does_not() -> None:
    starter = Starter()
    routes = Routes(starter)
    until(lambda: routes.look({"m": ENTRY})["m"].others[0].started is not None)
    first = routes.look({"m": ENTRY})["m"].others[0].started
    wider = replace_entry(others=(Other(version=2, bundle="two", path="two.zip", high=2500),))
    (beside,) = routes.look({"m": wider})["m"].others
    assert beside.started is first
    assert beside.variant.share == 0.25
    for changed in (
        replace_entry(split=Way(id="s2", salt="x")),
        replace_entry(others=(Other(version=2, bundle="again", path="two.zip", high=500),)),
        replace_entry(others=(Other(version=2, bundle="two", path="two.zip", shadow=True),)),
    ):
        calls = len(starter.calls)
        routes.look({"m": changed})
        until(lambda calls=calls: len(starter.calls) == calls + 1)  # type: ignore[misc]


def replace_entry(**changes: Any) -> Entry:
    import msgspec

    return msgspec.structs.replace(ENTRY, **changes)


def test_what_cannot_be_loaded_is_told_and_tried_again_later() -> None:
    starter = Starter()
    starter.error = BundleInvalid("one byte is wrong")
    routes = Routes(starter, retry=0.2)
    until(lambda: bool(routes.look({"m": ENTRY})["m"].others[0].problem))
    (beside,) = routes.look({"m": ENTRY})["m"].others
    assert beside.started is None
    assert "one byte is wrong" in beside.problem
    assert len(starter.calls) == 1
    starter.error = None
    until(lambda: routes.look({"m": ENTRY})["m"].others[0].started is not None)
    assert len(starter.calls) == 2
    assert routes.look({"m": ENTRY})["m"].others[0].problem == ""


def test_what_nobody_wants_any_more_when_it_is_there_is_closed() -> None:
    starter = Starter()
    starter.go.clear()
    routes = Routes(starter)
    routes.look({"m": ENTRY})
    assert routes.look({}) == {}
    starter.go.set()
    until(lambda: ENDED == [2])


def test_what_came_and_was_unnamed_between_two_looks_is_closed() -> None:
    starter = Starter()
    starter.go.clear()
    routes = Routes(starter)
    routes.look({"m": ENTRY})
    starter.go.set()
    until(lambda: all(one.done() for one in routes._begun.values()))
    assert routes.look({}) == {}
    until(lambda: ENDED == [2])


def test_what_the_event_loop_was_shown_is_left_to_it() -> None:
    """It may be answering: who closes it is who asks it."""
    starter = Starter()
    routes = Routes(starter)
    until(lambda: routes.look({"m": ENTRY})["m"].others[0].started is not None)
    assert routes.look({}) == {}
    starter.go.clear()
    routes.look({"m": ENTRY})  # begun anew: the one that was shown is not taken for it
    assert routes.look({}) == {}
    assert not ENDED
    starter.go.set()
    until(lambda: ENDED == [2])
    assert len(starter.calls) == 2


def test_a_model_without_a_split_has_no_route() -> None:
    starter = Starter()
    plain = Entry(version=1, bundle="one", path="one.zip")
    assert Routes(starter).look({"m": plain, "n": replace_entry(others=())}) == {}
    assert not starter.calls


def test_the_champion_stands_in_where_the_version_falls_back() -> None:
    assert previous(replace_entry(pickle=True)).pickle
    found = previous(ENTRY)
    assert (found.version, found.bundle, found.path) == (1, "one", "one.zip")


def served(path: Path, champion: int, **other: Any) -> None:
    entry: dict[str, Any] = {"version": champion, "bundle": f"b{champion}", "path": f"b{champion}.zip"}
    if other:
        entry |= {"split": {"id": "s1", "salt": "x"}, "others": [{"bundle": "o", "path": "o.zip", **other}]}
    path.write_text(json.dumps({"models": {"m": entry}}))


def test_a_follower_shows_routes_beside_the_champion_they_were_made_for(tmp_path: Path) -> None:
    starter, path = Starter(), tmp_path / "served.json"

    def load(bundle: Path, name: str, entry: Entry) -> Scorer:
        if entry.bundle == "b3":
            raise BundleInvalid("broken")
        return Scorer(contract(), Sum(), name=bundle.name, version=entry.version)

    follower = Follower(path, load, beside=starter)
    served(path, 1, version=2, high=100)
    view = follower.look()
    assert view.ready
    assert view.loaded["m"].engine is None
    until(lambda: follower.look().routes["m"].others[0].started is not None)
    champion = follower.view.loaded["m"]
    served(path, 1, version=2, high=900)
    assert follower.look().routes["m"].others[0].variant.high == 900
    assert follower.view.loaded["m"] is champion  # it goes on with the engine it has
    served(path, 3, version=2, high=900)  # a champion that cannot be loaded: the old one goes on, without the split
    assert follower.look().routes == {}
    assert follower.view.loaded["m"] is champion
    served(path, 1)
    assert follower.look().routes == {}


def test_an_older_file_and_one_with_unknown_members_are_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "served.json"
    path.write_text(json.dumps({"models": {"m": {"version": 1, "bundle": "b", "path": "p", "later": [1]}}}))
    follower = Follower(path, lambda bundle, name, entry: Scorer(contract(), Sum()), beside=Starter())
    assert follower.look().ready
    assert follower.view.routes == {}
    assert replace(follower.view, routes={}) == follower.view
