"""Conformance of a store of facts. Subclass ``StoreSuite`` and give it a fixture ``place``."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from fullcircle.errors import WorkspaceBusy, WorkspaceUnusable
from fullcircle.ledger.store import GENESIS, Line, Store, line_hash, open_store


def chained(seq: int, previous: str, body: str = "{}") -> Line:
    """A line whose hash holds."""
    line = Line(seq, "2026-01-01T00:00:00.000000Z", "suite", "reconciled", body, previous, "")
    return Line(line.seq, line.time, line.actor, line.kind, line.body, line.previous, line_hash(line))


def add(store: Store, body: str = "{}") -> Line:
    """Append one line as the ledger does: look at the end and add, in one transaction."""
    with store.writing() as writing:
        lines = writing.read(0, 1_000_000)
        line = chained(len(lines) + 1, lines[-1].hash if lines else GENESIS, body)
        writing.add(line)
    return line


def add_and_raise(store: Store, line: Line, error: BaseException) -> None:
    """Add a line and fail before the transaction ends."""
    with store.writing() as writing:
        writing.add(line)
        raise error


class StoreSuite:
    """What every store must do. ``place`` is the URL of a place that holds nothing yet, new for each test.

    The scheme of the URL must be registered in the entry-point group ``fullcircle.stores``.
    """

    timeout = 5.0

    @pytest.fixture
    def place(self) -> str:
        """The URL of an empty place. Override it."""
        raise NotImplementedError("override the fixture place with the URL of an empty store")

    @pytest.fixture
    def store(self, place: str) -> Iterator[Store]:
        """An open, empty store."""
        store = open_store(place, create=True, timeout=self.timeout)
        yield store
        store.close()

    def test_a_new_store_is_empty(self, store: Store) -> None:
        assert list(store.read(0, 10)) == []

    def test_a_line_comes_back_as_it_was(self, store: Store) -> None:
        line = add(store, '{"what":"\\u00e9\\u0000 \\ud83d\\ude00"}')
        assert list(store.read(0, 10)) == [line]

    def test_text_of_any_script_comes_back(self, store: Store) -> None:
        line = Line(1, "t", "Зоя ' \" % :x ; -- 😀", "k", "{}", "p" * 64, "h" * 64)
        with store.writing() as writing:
            writing.add(line)
        assert list(store.read(0, 1)) == [line]

    def test_reading_pages_in_order(self, store: Store) -> None:
        lines = [add(store) for _ in range(7)]
        assert list(store.read(0, 3)) == lines[:3]
        assert list(store.read(3, 3)) == lines[3:6]
        assert list(store.read(6, 3)) == lines[6:]
        assert list(store.read(7, 3)) == []

    def test_a_writer_sees_what_is_committed_and_its_own(self, store: Store) -> None:
        first = add(store)
        with store.writing() as writing:
            second = chained(2, first.hash)
            writing.add(second)
            assert list(writing.read(0, 10)) == [first, second]

    def test_an_exception_takes_everything_back(self, store: Store) -> None:
        first = add(store)
        with pytest.raises(ZeroDivisionError):
            add_and_raise(store, chained(2, first.hash), ZeroDivisionError())
        assert list(store.read(0, 10)) == [first]
        assert add(store).seq == 2

    def test_an_interruption_takes_everything_back(self, store: Store) -> None:
        with pytest.raises(KeyboardInterrupt):
            add_and_raise(store, chained(1, GENESIS), KeyboardInterrupt())
        assert list(store.read(0, 10)) == []

    def test_nothing_uncommitted_shows(self, store: Store, place: str) -> None:
        other = open_store(place, create=False, timeout=self.timeout)
        with store.writing() as writing:
            writing.add(chained(1, GENESIS))
            assert list(other.read(0, 10)) == []
        assert len(other.read(0, 10)) == 1
        other.close()

    def test_lines_outlive_the_store(self, store: Store, place: str) -> None:
        line = add(store)
        store.close()
        again = open_store(place, create=True, timeout=self.timeout)
        assert list(again.read(0, 10)) == [line]
        again.close()

    def test_a_held_place_makes_others_wait_and_give_up(self, store: Store, place: str) -> None:
        other = open_store(place, create=True, timeout=0.3)
        with store.writing() as writing:
            with pytest.raises(WorkspaceBusy), other.writing():
                pytest.fail("two writers at once")
            writing.add(chained(1, GENESIS))
        assert add(other).seq == 2
        other.close()

    def test_one_seq_is_never_given_twice(self, store: Store) -> None:
        line = add(store)
        with pytest.raises(WorkspaceBusy), store.writing() as writing:
            writing.add(line)
        assert list(store.read(0, 10)) == [line]

    def test_many_threads_lose_and_reorder_nothing(self, store: Store) -> None:
        def work() -> None:
            for _ in range(5):
                add(store)

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = store.read(0, 1000)
        assert [line.seq for line in lines] == list(range(1, 31))
        assert [line.previous for line in lines] == [GENESIS, *(line.hash for line in lines[:-1])]

    def test_many_openers_make_one_place(self, place: str) -> None:
        problems: list[BaseException] = []

        def work() -> None:
            try:
                store = open_store(place, create=True, timeout=self.timeout)
                add(store)
                store.close()
            except BaseException as error:
                problems.append(error)
                raise

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        store = open_store(place, create=False, timeout=self.timeout)
        assert [line.seq for line in store.read(0, 100)] == [1, 2, 3, 4, 5, 6]
        store.close()

    def test_without_create_nothing_is_made(self, place: str) -> None:
        for _ in range(2):
            with pytest.raises(WorkspaceUnusable):
                open_store(place, create=False, timeout=self.timeout)

    def test_closing_twice_is_fine(self, store: Store) -> None:
        store.close()
        store.close()

    def test_what_is_shown_holds_no_password(self, store: Store) -> None:
        assert "secret" not in store.shown
