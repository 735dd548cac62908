"""Conformance of an online store. Subclass ``OnlineStoreSuite`` and give it a fixture ``make``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from fullcircle.errors import FeatureInvalid
from fullcircle.features.online import MOST, Merge, OnlineStore

Make = Callable[[], OnlineStore]

AWKWARD = [
    b"", b"\0", b":", b"a:b", b"other:a", b"{a}", b"*", b"[a]?\\", b"\n", b"\xff\xfe", b"'; --", b"%s", b"a", b"a\0",
]  # fmt: skip


def put(values: dict[bytes, bytes | None]) -> Merge:
    """A merge that writes these values, whatever was there. Its keys must be those of the update, in order."""
    return lambda _present: list(values.values())


def write(store: OnlineStore, space: str, values: dict[bytes, bytes | None]) -> None:
    """Write values over what is there; None removes a key."""
    store.update(space, list(values), put(values))


def one_more(present: list[bytes | None]) -> list[bytes | None]:
    """A merge that counts."""
    return [str(int(value or b"0") + 1).encode() for value in present]


class OnlineStoreSuite:
    """What every online store must do. ``make`` opens a place that is new and empty for each test; each call opens
    the same place once more.

    The suite closes what it opens.
    """

    @pytest.fixture
    def make(self) -> Make:
        """Opens the place of this test. Override it."""
        raise NotImplementedError("override the fixture make with a function that opens an empty online store")

    @pytest.fixture
    def opened(self, make: Make) -> Iterator[Make]:
        """As ``make``, and closed at the end of the test."""
        stores: list[OnlineStore] = []

        def opening() -> OnlineStore:
            stores.append(make())
            return stores[-1]

        yield opening
        for store in stores:
            store.close()

    @pytest.fixture
    def store(self, opened: Make) -> OnlineStore:
        """An open, empty store."""
        return opened()

    def test_a_new_store_is_empty(self, store: OnlineStore) -> None:
        assert store.read("a", [b"k", b""]) == [None, None]
        assert list(store.scan("a")) == []
        assert store.sizes() == {}
        assert store.note("n") is None

    def test_values_come_in_the_order_of_the_keys(self, store: OnlineStore) -> None:
        write(store, "a", {b"2": b"two", b"1": b"one", b"3": b""})
        assert store.read("a", [b"3", b"0", b"1", b"2", b"1"]) == [b"", None, b"one", b"two", b"one"]
        assert store.read("a", (b"2",)) == [b"two"]
        assert store.read("a", []) == []

    def test_any_bytes_are_a_key_and_a_value(self, store: OnlineStore) -> None:
        write(store, "a", {key: b"of " + key for key in AWKWARD})
        assert store.read("a", AWKWARD) == [b"of " + key for key in AWKWARD]
        assert dict(store.scan("a")) == {key: b"of " + key for key in AWKWARD}
        write(store, "a", dict.fromkeys(AWKWARD, bytes(range(256))))
        assert [store.read("a", [key]) for key in AWKWARD] == [[bytes(range(256))]] * len(AWKWARD)

    def test_keys_that_look_like_another_space(self, store: OnlineStore) -> None:
        spaces = ["a", "ab", "a*", "a[b]?", "a\\", "notes", "format", "fullcircle", "größe 3/7@x"]
        keys = (b"", b"b", b"ab:k", b":k")
        for space in spaces:
            write(store, space, {key: f"{space} ".encode() + key for key in keys})
        store.set_note("a", b"note")
        for space in spaces:
            assert store.read(space, [b"ab:k", b":k"]) == [f"{space} ab:k".encode(), f"{space} :k".encode()]
            assert dict(store.scan(space)) == {key: f"{space} ".encode() + key for key in keys}
        assert set(store.sizes()) == set(spaces)

    def test_an_update_inserts_replaces_and_deletes(self, store: OnlineStore) -> None:
        write(store, "a", {b"1": b"old", b"2": b"old", b"3": b"old"})
        write(store, "a", {b"1": b"new", b"2": None, b"4": b"new", b"5": None})
        assert store.read("a", [b"1", b"2", b"3", b"4", b"5"]) == [b"new", None, b"old", b"new", None]
        assert dict(store.scan("a")) == {b"1": b"new", b"3": b"old", b"4": b"new"}

    def test_a_merge_sees_what_is_there_in_order(self, store: OnlineStore) -> None:
        write(store, "a", {b"1": b"one", b"2": b""})
        seen: list[list[bytes | None]] = []

        def look(present: list[bytes | None]) -> list[bytes | None]:
            seen.append(list(present))
            return present

        store.update("a", [b"2", b"3", b"1"], look)
        assert seen[-1] == [b"", None, b"one"]
        assert dict(store.scan("a")) == {b"1": b"one", b"2": b""}

    def test_a_merge_may_change_the_list_it_was_given(self, store: OnlineStore) -> None:
        def append(present: list[bytes | None]) -> list[bytes | None]:
            present[:] = [(value or b"") + b"x" for value in present]
            return present

        store.update("a", [b"1", b"2"], append)
        store.update("a", [b"1"], append)
        assert store.read("a", [b"1", b"2"]) == [b"xx", b"x"]

    def test_without_keys_nothing_is_done(self, store: OnlineStore) -> None:
        store.update("a", [], lambda _present: pytest.fail("there is nothing to merge"))
        assert store.sizes() == {}

    def test_a_merge_that_raises_changes_nothing(self, store: OnlineStore) -> None:
        write(store, "a", {b"1": b"old"})
        for error in (ZeroDivisionError, KeyboardInterrupt):
            with pytest.raises(error):
                store.update("a", [b"1", b"2"], raising(error))
        assert dict(store.scan("a")) == {b"1": b"old"}
        write(store, "a", {b"1": b"new"})
        assert store.read("a", [b"1"]) == [b"new"]

    @pytest.mark.parametrize("answer", [[], [b"x"], [b"x"] * 3, [b"x", "text"], [b"x", 3]])
    def test_a_merge_that_returns_something_else_changes_nothing(
        self, store: OnlineStore, answer: list[bytes]
    ) -> None:
        write(store, "a", {b"1": b"old"})
        with pytest.raises(FeatureInvalid, match="merge"):
            store.update("a", [b"1", b"2"], lambda _present: list(answer))
        assert dict(store.scan("a")) == {b"1": b"old"}

    def test_keys_that_cannot_be_changed_together_are_refused(self, store: OnlineStore) -> None:
        text: list[bytes] = ["text"]  # type: ignore[list-item]
        for keys in ([b"1", b"2", b"1"], text, [b"%d" % number for number in range(MOST + 1)]):
            with pytest.raises(FeatureInvalid, match="keys"):
                store.update("a", keys, lambda present: present)
        assert store.sizes() == {}

    @pytest.mark.parametrize("space", ["", "a:b", "a\n", "x" * 201])
    def test_a_space_of_no_usable_name_is_refused(self, store: OnlineStore, space: str) -> None:
        for call in (
            lambda: store.read(space, [b"k"]),
            lambda: write(store, space, {b"k": b"v"}),
            lambda: list(store.scan(space)),
            lambda: store.clear(space),
        ):
            with pytest.raises(FeatureInvalid, match="name"):
                call()

    def test_nobody_sees_half_an_update(self, store: OnlineStore, opened: Make) -> None:
        keys = [b"%d" % number for number in range(700)]
        other, stop, seen = opened(), threading.Event(), set()

        def look() -> None:
            while not stop.is_set():
                seen.add(tuple(sorted({value or b"" for value in other.read("a", keys)})))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            for turn in range(20):
                write(store, "a", dict.fromkeys(keys, b"%d" % turn))
        finally:
            stop.set()
            thread.join()
        assert seen
        assert all(len(values) == 1 for values in seen)

    def test_threads_and_handles_lose_no_update(self, store: OnlineStore, opened: Make) -> None:
        other, problems = opened(), []
        keys = [b"shared", b"also"]

        def count(handle: OnlineStore, own: bytes) -> None:
            try:
                for _ in range(50):
                    handle.update("a", [*keys, own], one_more)
            except BaseException as error:
                problems.append(error)
                raise

        work = [(store, b"1"), (store, b"2"), (other, b"3"), (other, b"4")]
        threads = [threading.Thread(target=count, args=each) for each in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert store.read("a", [*keys, b"1", b"2", b"3", b"4"]) == [b"200", b"200", b"50", b"50", b"50", b"50"]

    def test_spaces_are_apart(self, store: OnlineStore) -> None:
        write(store, "a", {b"k": b"of a"})
        write(store, "b", {b"k": b"of b", b"l": b"of b"})
        store.clear("a")
        store.clear("no such space")
        assert store.read("a", [b"k"]) == [None]
        assert dict(store.scan("b")) == {b"k": b"of b", b"l": b"of b"}
        write(store, "a", {b"k": b"again"})
        assert store.read("a", [b"k"]) == [b"again"]

    def test_a_handle_sees_what_another_wrote_before(self, store: OnlineStore, opened: Make) -> None:
        other = opened()
        assert other.read("a", [b"k"]) == [None]
        for turn in range(5):
            write(store, "a", {b"k": b"%d" % turn})
            assert other.read("a", [b"k"]) == [b"%d" % turn]
        other.clear("a")
        assert store.read("a", [b"k"]) == [None]

    def test_notes_are_kept_by_name(self, store: OnlineStore, opened: Make) -> None:
        store.set_note("view", b"\0first")
        store.set_note("an other: größe", b"")
        store.set_note("view", b"\0second")
        other = opened()
        assert [other.note(name) for name in ("view", "an other: größe", "none")] == [b"\0second", b"", None]
        store.clear("view")
        assert store.note("view") == b"\0second"
        assert store.sizes() == {}

    def test_sizes_count_keys_and_bytes(self, store: OnlineStore) -> None:
        write(store, "a", {b"12": b"345", b"": b"6"})
        write(store, "b", {b"1": b"", b"2": None})
        assert store.sizes() == {"a": (2, 6), "b": (1, 1)}
        store.clear("a")
        assert store.sizes() == {"b": (1, 1)}

    def test_large_values_come_back(self, store: OnlineStore) -> None:
        large = bytes(range(256)) * 4096
        write(store, "a", {b"1": large, b"2": large[::-1]})
        store.update("a", [b"1"], lambda present: [(present[0] or b"") + b"!"])
        assert store.read("a", [b"2", b"1"]) == [large[::-1], large + b"!"]

    def test_many_keys_in_one_call(self, store: OnlineStore) -> None:
        keys = [b"%d" % number for number in range(5000)]
        store.update("a", keys, lambda _present: [b"v" + key for key in keys])
        store.update("a", keys[::-1], lambda present: [None if value == b"v7" else value for value in present])
        expected = {key: b"v" + key for key in keys if key != b"7"}
        assert store.read("a", keys) == [expected.get(key) for key in keys]
        pairs = list(store.scan("a"))
        assert dict(pairs) == expected
        assert store.sizes()["a"][0] == 4999

    def test_a_scan_may_be_left_and_keeps_nobody_waiting(self, store: OnlineStore) -> None:
        write(store, "a", {b"%d" % number: b"v" for number in range(3000)})
        scan = store.scan("a")
        first = next(scan)
        write(store, "a", {first[0]: b"changed"})
        assert {key for key, _ in scan} | {first[0]} == {b"%d" % number for number in range(3000)}
        next(store.scan("a"))
        store.clear("a")
        assert list(store.scan("a")) == []

    def test_what_was_written_is_found_again(self, store: OnlineStore, opened: Make) -> None:
        write(store, "a", {b"k": b"v", b"gone": b"v"})
        write(store, "a", {b"gone": None})
        store.set_note("n", b"note")
        store.close()
        again = opened()
        assert again.read("a", [b"k", b"gone"]) == [b"v", None]
        assert again.note("n") == b"note"

    def test_closing_twice_is_fine(self, store: OnlineStore) -> None:
        store.close()
        store.close()


def raising(error: type[BaseException]) -> Merge:
    """A merge that raises."""

    def merge(_present: list[bytes | None]) -> list[bytes | None]:
        raise error

    return merge
