"""Publishing: what was appended since the last time goes to the online store. Safe to repeat, safe to interrupt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fullcircle.errors import ViewNotPublished
from fullcircle.features import eventpacking, packing
from fullcircle.features.commits import ROWS_A_COMMIT, TableState
from fullcircle.features.engine import OfflineEngine
from fullcircle.features.keys import encode
from fullcircle.features.log import TableLog
from fullcircle.features.online import OnlineStore
from fullcircle.features.positions import Position, keep, position, position_of
from fullcircle.features.reading import index_of, numbers_of
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.progress import Progress, Silent

MARGIN = 5 * 10**9  # nanoseconds: what was superseded this short ago is kept, for clocks that differ
CHUNK = 50_000  # keys written in one go
ROWS = 1_000_000  # rows whose values are in memory at once


@dataclass(frozen=True, kw_only=True)
class Published:
    """What became of publishing a table.

    ``rows`` were looked at, ``keys`` written; ``rebuilt`` says from the start.
    """

    table: str
    commit: int
    rows: int
    keys: int
    rebuilt: bool


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What views want of a table online."""

    latest: Mapping[str, str]
    events: Mapping[str, str]
    windows: bool
    retain: int


def needs(specs: Sequence[ViewSpec], table: str) -> Needs:
    """What these views together want of a table."""
    mine = [feature for spec in specs for feature in spec.features if feature.table == table]
    over = [feature for feature in mine if feature.how != "latest"]
    return Needs(
        latest={str(feature.column): feature.kind for feature in mine if feature.how == "latest"},
        events={str(feature.column): feature.kind for feature in over if feature.column is not None},
        windows=bool(over),
        retain=max((int(feature.window or 0) for feature in over), default=0),
    )


def publish(
    log: TableLog,
    online: OnlineStore,
    wanted: Needs,
    *,
    now: int,
    since: int | None = None,
    engine: OfflineEngine,
    progress: Progress | None = None,
) -> Published:
    """Bring the online store up to the table's latest commit; from the start where something new is wanted of it.

    Nothing that could answer at ``since`` (by default ``now``) or later is left out; rows that are not visible yet
    wait with their key. Raises ViewNotPublished for a table without rows.
    """
    progress = progress or Silent()
    state, known = log.state(), position(online, log.spec.name)
    if not state.rows:
        raise ViewNotPublished(
            f"the feature table {log.spec.name!r} holds no rows here, so there is nothing to publish",
            next_step="append rows to it; where others have them, share the tables: see the setting features",
        )
    known = _of_this_table(log, online, known)
    # A clock that was set back is no wish to reach further back.
    horizon = max(now - MARGIN, known.horizon) if since is None else since - MARGIN
    grown = _grown(known, wanted, bool(log.spec.id), _unfinished(online, known), horizon)
    rebuilt = grown.layout != known.layout
    if rebuilt:
        keep(online, grown, layout=True)
    # Said before an entry is changed: that a rebuild has begun, and that what is older than the horizon may be gone.
    begun = grown.layout if rebuilt else 0
    keep(online, replace(known, begun=begun, horizon=max(known.horizon, horizon)))
    rows = written = 0
    after_commit = 0 if rebuilt else known.number
    if state.number > after_commit:
        places, files = _new_rows(log, state, after_commit)
        source, index = log.files(files, dict(state.columns)), index_of(log, state, files)
        rows = len(places)
        if grown.latest:
            written += _Latest(online, source, index, grown).write(places, horizon, engine, progress)
        if grown.windows:
            written += _Events(online, source, index, grown, log.spec.id).write(places, horizon, progress)
            if rebuilt:
                _sweep(online, f"events.{grown.table}", grown.layout)
    moved = replace(grown, number=state.number, head=state.head, horizon=horizon, published=now, begun=0)
    if position(online, grown.table).layout <= moved.layout:  # else another publisher wants more of it by now
        keep(online, moved)
    return Published(table=grown.table, commit=state.number, rows=rows, keys=written, rebuilt=rebuilt)


def _of_this_table(log: TableLog, online: OnlineStore, known: Position) -> Position:
    """What is online of this very table: of another of its name (made anew, restored, elsewhere) all of it goes."""
    if not known.number or log.hash_of(known.number) == known.head:
        return known
    for space in ("latest", "events"):
        online.clear(f"{space}.{known.table}")
    # Layout numbers go on: servers remember what each means.
    return Position(table=known.table, layout=known.layout, begun=known.begun or known.layout)


def _unfinished(online: OnlineStore, known: Position) -> Position | None:
    """The rebuild that has not ended, where there is one: its entries may stand anywhere."""
    return position_of(online, known.table, known.begun) if known.begun else None


def _grown(known: Position, wanted: Needs, identified: bool, unfinished: Position | None, horizon: int) -> Position:
    """What is to be online: all that was, and what is wanted; under a new layout where that needs a rebuild."""
    both = (known, unfinished) if unfinished else (known,)
    latest = {name: kind for one in both for name, kind in one.latest} | dict(wanted.latest)
    events = {name: kind for one in both for name, kind in one.events} | dict(wanted.events)
    grown = replace(
        known,
        latest=tuple(latest.items()),
        events=tuple(events.items()),
        windows=wanted.windows or any(one.windows for one in both),
        identified=identified,
        retain=max(wanted.retain, *(one.retain for one in both), 0),
        begun=0,
    )
    further_back = bool(known.published) and horizon < known.horizon
    if grown == known and not further_back:
        return known
    return replace(grown, layout=max(known.layout, known.begun) + 1)


def _sweep(online: OnlineStore, space: str, layout: int) -> None:
    """Drop what a rebuild left: entries of keys whose events are all too old to be answered from."""
    old = [key for key, entry in online.scan(space) if eventpacking.layout_of(entry) < layout]
    for start in range(0, len(old), CHUNK):
        online.update(
            space,
            list(dict.fromkeys(old[start : start + CHUNK])),
            lambda present: [
                None if entry is None or eventpacking.layout_of(entry) < layout else entry for entry in present
            ],
        )


def _new_rows(log: TableLog, state: TableState, after: int) -> tuple[Any, Any]:
    """The places of rows appended after a commit, among the files that may hold some."""
    files = tuple(file for file in state.files if state.starts[file.path] > after)
    numbers = numbers_of(log, state, files)
    return np.flatnonzero(numbers >= (after + 1) * ROWS_A_COMMIT), files


class _Latest:
    """The latest values of a table."""

    def __init__(self, online: OnlineStore, source: Any, index: Any, place: Position) -> None:
        self._source, self._index = source, index
        self._online, self._layout = online, packing.Layout(place.layout, place.latest)
        self._space = f"latest.{place.table}"

    def write(self, places: Any, horizon: int, engine: OfflineEngine, progress: Progress) -> int:
        """Write the rows at these places; returns how many keys."""
        import pyarrow as pa

        index = self._index.take(pa.array(places))
        keep = np.flatnonzero(engine.maxima(index))
        index, places = index.take(pa.array(keep)), places[keep]
        groups = _Groups(index, horizon)
        columns = [name for name, _ in self._layout.columns]
        for names, rows, begins in groups.pieces(places):
            table = self._source.take(columns, places[rows])
            times = [index.column(name).to_numpy()[rows] for name in ("e", "a", "s")]
            packed = packing.entries(self._layout, {name: table.column(name) for name in columns}, times, begins)
            ranked = sorted(range(len(names)), key=names.__getitem__)  # neighbours share pages
            for start in range(0, len(ranked), CHUNK):
                chosen = ranked[start : start + CHUNK]
                _write(self._online, self._space, [names[i] for i in chosen], [packed[i] for i in chosen], horizon)
            progress.advance(groups.done, groups.keys)
        return groups.keys


class _Groups:
    """Rows by key: ``keys`` is how many there are, ``done`` how many were handed out.

    With a horizon, of running maxima those that can still answer: the last one visible before it, and all later ones.
    """

    def __init__(self, index: Any, horizon: int | None = None) -> None:
        from fullcircle.features.keys import codes

        self._index, self.done = index, 0
        visible = np.maximum(index.column("e").to_numpy(), index.column("a").to_numpy())
        (group,) = codes([_keys(index)])
        self._order = np.lexsort((visible, group))
        group = group[self._order]
        if horizon is not None:
            seen = visible[self._order] < horizon
            last = np.ones(len(group), dtype=bool)
            last[:-1] = (group[:-1] != group[1:]) | ~seen[1:]
            self._order, group = self._order[last], group[last]
        first = np.ones(len(group), dtype=bool)
        first[1:] = group[1:] != group[:-1]
        self._begins = np.append(np.flatnonzero(first), len(group))
        self.keys = len(self._begins) - 1

    def pieces(self, places: Any) -> Iterator[tuple[list[bytes], Any, Any]]:
        """Some keys at a time, whole, in order of where their last row lies: each part of a file is read about once.

        Gives the keys, their rows in order of key and visibility, and where the rows of each begin.
        """
        import pyarrow as pa

        starts, sizes = self._begins[:-1], np.diff(self._begins)
        ranked = np.argsort(places[self._order[starts + sizes - 1]], kind="stable") if self.keys else starts
        total = np.cumsum(sizes[ranked])
        while self.done < self.keys:
            before = int(total[self.done - 1]) if self.done else 0
            upto = max(self.done + 1, int(np.searchsorted(total, before + ROWS, side="right")))
            chosen = ranked[self.done : upto]
            begins = np.append(0, np.cumsum(sizes[chosen]))
            within = np.arange(begins[-1]) - np.repeat(begins[:-1], sizes[chosen])
            rows = self._order[np.repeat(starts[chosen], sizes[chosen]) + within]
            names = encode([column.take(pa.array(rows[begins[:-1]])) for column in _keys(self._index)])
            self.done = upto
            yield names, rows, begins


def _write(online: OnlineStore, space: str, names: list[bytes], packed: list[bytes], horizon: int) -> None:
    def merge(present: list[bytes | None]) -> list[bytes | None]:
        return [packing.merged(old, new, horizon) for old, new in zip(present, packed, strict=True)]

    online.update(space, names, merge)


class _Events:
    """The events of a table, as far back as its longest window."""

    def __init__(
        self, online: OnlineStore, source: Any, index: Any, place: Position, identity: Sequence[str]
    ) -> None:
        self._layout = eventpacking.EventLayout(place.layout, place.events, place.identified)
        self._retain, self._online, self._space = place.retain, online, f"events.{place.table}"
        self._identity, self._source, self._index = identity, source, index

    def write(self, places: Any, horizon: int, progress: Progress) -> int:
        """Write the events at these places that are not too old; returns how many keys."""
        import pyarrow as pa

        e, a = (self._index.column(name).to_numpy() for name in ("e", "a"))
        if not self._layout.identified:  # a correction may be older than what it corrects, which is dated ahead
            places = places[np.maximum(e, a)[places] >= horizon - self._retain]
        index = self._index.take(pa.array(places))
        groups = _Groups(index)
        for names, rows, begins in groups.pieces(places):
            packed = self._unpacked(index.take(pa.array(rows)), places[rows], begins)
            for start in range(0, len(names), CHUNK):
                chosen = slice(start, start + CHUNK)
                self._online.update(self._space, names[chosen], self._merge(packed[chosen], horizon))
            progress.advance(groups.done, groups.keys)
        return groups.keys

    def _unpacked(self, index: Any, places: Any, begins: Any) -> list[eventpacking.Packed]:
        columns = [name for name, _ in self._layout.columns]
        table = self._source.take(list(dict.fromkeys([*columns, *self._identity])), places)
        times = np.stack(
            [*(index.column(name).to_numpy() for name in ("e", "a", "s")), np.zeros(len(places), np.int64)]
        )
        nulls = [np.asarray(table.column(name).combine_chunks().is_null()) for name in columns]
        kinds = dict(self._layout.columns)
        long = [name for name in columns if packing.is_long(kinds[name])]
        values = [
            np.zeros(len(places), np.int64)
            if name in long
            else packing.numbers(table.column(name).combine_chunks(), kinds[name])
            for name in columns
        ]
        tails = [packing.tails_of(table.column(name).combine_chunks(), kinds[name]) for name in long]
        if self._layout.identified:
            tails.append(encode(_identity(table, self._identity)))
        return [
            eventpacking.Packed(
                times[:, start:stop],
                [one[start:stop] for one in nulls],
                [one[start:stop] for one in values],
                [one[start:stop] for one in tails],
            )
            for start, stop in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True)
        ]

    def _merge(self, packed: list[eventpacking.Packed], horizon: int) -> Any:
        layout = self._layout

        def merge(present: list[bytes | None]) -> list[bytes | None]:
            found: list[bytes | None] = []
            for old, new in zip(present, packed, strict=True):
                if old is not None and eventpacking.layout_of(old) > layout.number:
                    found.append(old)
                    continue
                same = old is not None and eventpacking.layout_of(old) == layout.number
                before = eventpacking.unpack(layout, old) if same and old is not None else None
                found.append(
                    eventpacking.pack(layout, eventpacking.merged(layout, before, new, horizon, self._retain))
                )
            return found

        return merge


def _keys(index: Any) -> list[Any]:
    return [index.column(name) for name in index.column_names if name.startswith("k")]


def _identity(table: Any, names: Sequence[str]) -> list[Any]:
    from fullcircle.features.keys import key_columns

    return key_columns(table, names, "the events")
