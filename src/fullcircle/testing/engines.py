"""Conformance of an offline engine. Subclass ``OfflineEngineSuite`` and give it a fixture ``engine``."""

from __future__ import annotations

import os
import random
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from fullcircle.errors import EngineFailed
from fullcircle.features.engine import OfflineEngine

FIRST, LAST = -(2**63) + 1, 2**63 - 1  # the moments there are
TEXTS = ("", "1", "11", "1|1", "a", "A", "a\0", "\0", "é", "e\u0301", "🦉", " ", "a ", "null", "NaN", "'; --")
POOLS: dict[str, Sequence[Any]] = {
    "int": (0, 1, -1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)),
    "text": TEXTS,
    "bool": (False, True),
    "date": (0, 1, -1, 20_000, -719_162, 2_932_896),
}
TYPES = {"int": pa.int64(), "text": pa.large_string(), "bool": pa.bool_(), "date": pa.date32()}

Key = tuple[Any, ...]


class Row(NamedTuple):
    """A row: its key, event time, when it was available, and its number."""

    key: Key
    e: int
    a: int
    s: int

    @property
    def v(self) -> int:
        """From when on it is visible."""
        return max(self.e, self.a)

    @property
    def order(self) -> tuple[int, int, int]:
        """Where it stands among the rows of its key."""
        return self.e, self.a, self.s


@dataclass(frozen=True)
class Case:
    """Rows, and labels as (key, t). The kinds are those of the parts of a key; dates are days since 1970."""

    rows: Sequence[Row]
    labels: Sequence[tuple[Key, int]]
    kinds: tuple[str, ...] = ("int",)

    def tables(self) -> tuple[Any, Any]:
        """Labels and rows as an engine takes them."""
        labels = self._keys([key for key, _ in self.labels]) | {"t": _whole([t for _, t in self.labels])}
        rows = self._keys([row.key for row in self.rows])
        rows |= {name: _whole([getattr(row, name) for row in self.rows]) for name in ("e", "a", "s")}
        return pa.table(labels), pa.table(rows)

    def _keys(self, keys: Sequence[Key]) -> dict[str, Any]:
        parts = {}
        for place, kind in enumerate(self.kinds):
            plain = pa.int32() if kind == "date" else TYPES[kind]
            parts[f"k{place}"] = pa.array([key[place] for key in keys], plain).cast(TYPES[kind])
        return parts

    def positions(self) -> list[int]:
        """What the contract says, label by label."""
        found = []
        for key, t in self.labels:
            seen = [(row.order, place) for place, row in enumerate(self.rows) if row.key == key and row.v <= t]
            found.append(max(seen)[1] if seen else -1)
        return found

    def maxima(self) -> list[bool]:
        """What the contract says, row by row: whether it is the greatest of those that are visible with it."""
        return [
            all(row.order >= other.order for other in self.rows if other.key == row.key and other.v <= row.v)
            for row in self.rows
        ]

    def settled(self) -> Case:
        """The same question to the rows that can be an answer."""
        kept = [row for row, able in zip(self.rows, self.maxima(), strict=True) if able]
        return Case(kept, self.labels, self.kinds)


def _whole(values: Sequence[int]) -> Any:
    return pa.array(values, pa.int64())


def _rows(*rows: tuple[Any, int, int]) -> list[Row]:
    """Rows of one or more key parts, numbered in this order."""
    return [Row(key if isinstance(key, tuple) else (key,), e, a, s) for s, (key, e, a) in enumerate(rows)]


def _asked(keys: Iterable[Any], moments: Iterable[int]) -> list[tuple[Key, int]]:
    return [(key if isinstance(key, tuple) else (key,), t) for key in keys for t in moments]


def _every(kind: str) -> Case:
    """Each value of a kind as a key, with the others beside it."""
    pool = POOLS[kind]
    return Case(_rows(*((key, 10 + place, 10) for place, key in enumerate(pool))), _asked(pool, (9, 10, 50)), (kind,))


_TWO = (("1", "11"), ("11", "1"), ("1|1", "1"), ("1", "1|1"), ("", "111"), ("111", ""), ("a\0", "b"), ("a", "\0b"))
CASES = {
    "ties go to the greater number": Case(_rows((1, 10, 10), (1, 10, 10), (1, 10, 10)), _asked([1], [9, 10, 11])),
    "numbers decide, and not places": Case(
        [Row((1,), 10, 10, 7), Row((1,), 10, 10, 9), Row((1,), 10, 10, 8)], _asked([1], [10])
    ),
    "a tie goes to the later known": Case(_rows((1, 10, 30), (1, 10, 20)), _asked([1], range(18, 33))),
    "a late row never hides a newer event": Case(_rows((1, 10, 10), (1, 30, 30), (1, 20, 50)), _asked([1], (25, 50))),
    "a late row answers until a newer event": Case(_rows((1, 10, 40), (1, 20, 60)), _asked([1], (10, 39, 40, 60))),
    "a row of the future waits for its event": Case(_rows((1, 10, 1), (1, 5, 5)), _asked([1], [4, 5, 9, 10])),
    "rows that become visible at once": Case(_rows((1, 3, 9), (1, 9, 3), (1, 5, 9), (1, 9, 1)), _asked([1], (8, 9))),
    "a correction counts from when it is known": Case(_rows((1, 10, 10), (1, 10, 20)), _asked([1], [10, 19, 20])),
    "unsorted rows": Case(
        _rows((2, 9, 9), (1, 30, 30), (2, 5, 5), (1, 10, 10), (1, 20, 20)), _asked([2, 1], (30, 15))
    ),
    "no rows": Case([], _asked([1, 2], [10])),
    "no labels": Case(_rows((1, 10, 10), (1, 5, 20)), []),
    "neither rows nor labels": Case([], []),
    "keys that only one side has": Case(_rows((1, 10, 10), (2, 10, 10)), _asked([2, 3], [10])),
    "labels that are asked twice": Case(_rows((1, 10, 10)), _asked([1, 2, 1, 1], [10, 10])),
    "the ends of time": Case(
        _rows((1, FIRST, FIRST), (1, LAST, FIRST), (2, FIRST, LAST), (3, 0, 0)),
        _asked([1, 2, 3], [-(2**63), FIRST, -1, 0, LAST - 1, LAST]),
    ),
    "keys that read alike": Case(_rows(*((key, 10, 10) for key in _TWO)), _asked(_TWO, [9, 10]), ("text", "text")),
    "parts in order": Case(
        _rows(((1, 2), 10, 10), ((2, 1), 10, 10)), _asked([(1, 2), (2, 1), (1, 1)], [10]), ("int", "int")
    ),
    "parts of all kinds": Case(
        _rows(((1, "1", True, 1), 10, 10), ((1, "1", False, 1), 11, 11), ((0, "1", True, 0), 12, 12)),
        _asked([(1, "1", True, 1), (1, "1", False, 1), (0, "1", True, 0), (1, "", True, 1)], [10, 20]),
        ("int", "text", "bool", "date"),
    ),
    **{f"keys of the kind {kind}": _every(kind) for kind in POOLS},
}


def drawn(seed: int) -> Case:
    """A small nasty case: few keys and moments, so that they collide."""
    draw = random.Random(seed)  # noqa: S311
    kinds = tuple(draw.choices(list(POOLS), k=draw.choice([1, 1, 2])))
    keys = [tuple(draw.choice(POOLS[kind]) for kind in kinds) for _ in range(draw.randint(1, 4))]
    pool = draw.choice([range(4), range(-3, 12), [FIRST, -1, 0, 1, LAST], range(0, 10**15, 10**13)])
    count = draw.choice([0, 1, 5, 20, 60, 60])
    numbers = draw.sample(range(1000), count)
    rows = [Row(draw.choice(keys), draw.choice(pool), draw.choice(pool), s) for s in numbers]
    labels = [(draw.choice(keys), draw.choice(pool)) for _ in range(draw.choice([0, 1, 1, 10, 40]))]
    return Case(rows, labels, kinds)


def many(rows: int, keys: int) -> tuple[Any, Any, Any, Any]:
    """Labels and rows, and what is to be found: every ten moments a row of each key, every other late and old."""
    draw = np.random.default_rng(7)
    turn, key = np.divmod(np.arange(rows), keys)
    place = draw.permutation(rows)
    e, a = np.where(turn % 2, turn * 10 - 15, turn * 10), turn * 10
    table = pa.table({"k0": key[place], "e": e[place], "a": a[place], "s": np.arange(rows)})
    asked, t = draw.integers(0, keys, 20_000), draw.integers(-5, rows // keys * 10 + 25, 20_000)
    answer = np.minimum(t // 10, rows // keys - 1) // 2 * 2
    found = np.where(t < 0, -1, np.argsort(place)[np.maximum(answer, 0) * keys + asked])
    return pa.table({"k0": asked, "t": t}), table, found, (turn % 2 == 0)[place]


class OfflineEngineSuite:
    """What every offline engine must do. ``engine`` is the engine; one for all tests will do.

    ``wrong_memory`` is a text that it cannot take for an amount of memory, ``seeds`` how many cases are drawn.
    """

    wrong_memory = "lots"
    seeds = 60

    @pytest.fixture
    def engine(self) -> OfflineEngine:
        """The engine. Override it."""
        raise NotImplementedError("override the fixture engine with the offline engine")

    @pytest.mark.parametrize("name", sorted(CASES))
    def test_every_known_trap(self, engine: OfflineEngine, name: str) -> None:
        self.prove(engine, CASES[name])

    def test_drawn_cases_are_answered_as_by_looking_at_each_row(self, engine: OfflineEngine) -> None:
        for seed in range(self.seeds):
            self.prove(engine, drawn(seed))

    def prove(self, engine: OfflineEngine, case: Case) -> None:
        """Compare all answers with those of the contract, also over rows that are settled."""
        labels, rows = case.tables()
        found, kept = engine.positions(labels, rows), engine.maxima(rows)
        assert (found.dtype, found.shape) == (np.int64, (len(case.labels),)), case
        assert found.tolist() == case.positions(), case
        assert (kept.dtype, kept.shape) == (np.bool_, (len(case.rows),)), case
        assert kept.tolist() == case.maxima(), case
        settled = case.settled()
        for promise in (False, True):
            assert engine.positions(*settled.tables(), settled=promise).tolist() == settled.positions(), case

    def test_what_is_left_out_of_the_maxima_is_never_an_answer(self, engine: OfflineEngine) -> None:
        labels, rows, found, _ = many(3000, 50)
        places = np.flatnonzero(engine.maxima(rows))
        again = engine.positions(labels, rows.take(pa.array(places)), settled=True)
        assert np.where(again < 0, -1, places[again]).tolist() == found.tolist()

    def test_one_label_against_many_rows(self, engine: OfflineEngine) -> None:
        labels, rows, found, _ = many(50_000, 5000)
        for place in range(3):
            assert engine.positions(labels.slice(place, 1), rows).tolist() == [found[place]]
        assert engine.positions(labels.slice(0, 200), rows).tolist() == found[:200].tolist()

    def test_many_labels_against_one_row(self, engine: OfflineEngine) -> None:
        _, row = Case(_rows((1, 10, 10)), []).tables()
        t = np.arange(30_000) % 20
        labels = pa.table({"k0": np.arange(30_000) % 2, "t": t})
        assert (
            engine.positions(labels, row).tolist()
            == np.where((t >= 10) & (labels["k0"].to_numpy() == 1), 0, -1).tolist()
        )

    def test_many_rows_of_one_key(self, engine: OfflineEngine) -> None:
        labels, rows, found, kept = many(200_000, 1)
        assert engine.positions(labels, rows).tolist() == found.tolist()
        assert engine.maxima(rows).tolist() == kept.tolist()

    def test_many_rows_of_one_moment(self, engine: OfflineEngine) -> None:
        numbers = np.random.default_rng(3).permutation(50_000)
        same = np.full(50_000, 10)
        rows = pa.table({"k0": np.zeros(50_000, np.int64), "e": same, "a": same, "s": numbers})
        labels = pa.table({"k0": [0, 0, 0], "t": [9, 10, 11]})
        last = int(np.argmax(numbers))
        assert engine.positions(labels, rows).tolist() == [-1, last, last]
        assert np.flatnonzero(engine.maxima(rows)).tolist() == [last]

    def test_tables_in_pieces_are_one_table(self, engine: OfflineEngine) -> None:
        labels, rows, found, kept = many(9000, 300)
        labels, rows = (
            pa.concat_tables([table.slice(0, 0), table.slice(0, 1000), table.slice(1000)]) for table in (labels, rows)
        )
        assert engine.positions(labels, rows).tolist() == found.tolist()
        assert engine.maxima(rows).tolist() == kept.tolist()

    def test_with_little_memory_the_answers_are_the_same(self, engine: OfflineEngine) -> None:
        labels, rows, found, kept = many(2_000_000, 200_000)
        assert (engine.positions(labels, rows, memory="100MB") == found).all()
        assert (engine.maxima(rows, memory="100MB") == kept).all()

    def test_an_amount_of_memory_that_cannot_be_read_is_refused(self, engine: OfflineEngine) -> None:
        labels, rows = CASES["unsorted rows"].tables()
        with pytest.raises(EngineFailed):
            engine.positions(labels, rows, memory=self.wrong_memory)
        with pytest.raises(EngineFailed):
            engine.maxima(rows, memory=self.wrong_memory)
        assert engine.positions(labels, rows).tolist() == CASES["unsorted rows"].positions()

    def test_several_threads_may_ask_at_once(self, engine: OfflineEngine) -> None:
        problems: list[BaseException] = []

        def work(rows: int) -> None:
            try:
                for _ in range(3):
                    labels, table, found, kept = many(rows, 97)
                    assert (engine.positions(labels, table) == found).all()
                    assert (engine.maxima(table) == kept).all()
            except BaseException as error:
                problems.append(error)
                raise

        threads = [threading.Thread(target=work, args=(97 * size,)) for size in (30, 41, 52)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []

    def test_nothing_is_left_behind(
        self, engine: OfflineEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        labels, rows, _, _ = many(9000, 300)
        engine.positions(labels, rows)
        before = _threads()
        for memory in (None, "100MB", self.wrong_memory):
            try:
                engine.positions(labels, rows, memory=memory)
                engine.maxima(rows, memory=memory)
            except EngineFailed:
                assert memory == self.wrong_memory
        assert sorted(tmp_path.rglob("*")) == []
        assert _threads() <= before

    def test_what_it_was_given_stays_as_it_was(self, engine: OfflineEngine) -> None:
        labels, rows = CASES["unsorted rows"].tables()
        before = labels.to_pydict(), rows.to_pydict()
        engine.positions(labels, rows)
        engine.maxima(rows)
        assert (labels.to_pydict(), rows.to_pydict()) == before


def _threads() -> int:
    """The threads of this process, those of libraries included where the system tells."""
    tasks = "/proc/self/task"
    return len(os.listdir(tasks)) if os.path.isdir(tasks) else threading.active_count()
