"""Messages between a worker and the process of a slow model: whole, in order, or none."""

from __future__ import annotations

import asyncio
import itertools
import math
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.errors import OnlineStoreUnavailable
from fullcircle.runtimes.scorer import Enriched, Scorer
from fullcircle.server import asking, frames
from fullcircle.server.frames import Mode, Question, Ready, Reply, packed, read, receive
from fullcircle.types.contract import Problem, Verdict
from fullcircle.types.prediction import Prediction
from serving import GOOD, Coin, Sum, classes, contract

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXTS
PREDICTIONS = st.builds(
    Prediction,
    value=st.floats(allow_nan=False, allow_infinity=False) | TEXTS | st.none(),
    verdict=st.builds(
        Verdict,
        status=st.sampled_from(["ok", "imputed", "flagged", "fallback", "rejected"]),
        problems=st.lists(
            st.builds(Problem, column=TEXTS, reason=st.just("model"), action=st.just("reject"), text=TEXTS),
            max_size=2,
        ).map(tuple),
    ),
    probabilities=st.none() | st.dictionaries(TEXTS, st.floats(0, 1), max_size=3),
    version=st.integers(0, 2**31),
    inputs=st.none() | st.dictionaries(TEXTS, st.floats(allow_nan=False, allow_infinity=False) | TEXTS, max_size=3),
    answered_by=st.sampled_from(["", "previous", "prior"]),
)


def stream(*pieces: bytes, end: bool = True) -> asyncio.StreamReader:
    """What came over a connection so far."""
    found = asyncio.StreamReader()
    for piece in pieces:
        found.feed_data(piece)
    if end:
        found.feed_eof()
    return found


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    theirs.settimeout(5)
    with ours, theirs:
        yield ours, theirs


def cut(content: bytes, places: Sequence[int]) -> list[bytes]:
    """The content in pieces."""
    ends = [0, *sorted({place % (len(content) + 1) for place in places}), len(content)]
    return [content[start:end] for start, end in itertools.pairwise(ends) if end > start]


@settings(max_examples=40, deadline=None)
@given(
    messages=st.lists(st.lists(PREDICTIONS, max_size=3), min_size=1, max_size=3),
    places=st.lists(st.integers(0, 2000), max_size=6),
)
def test_replies_come_as_they_were_sent_however_they_are_cut(
    messages: list[list[Prediction]], places: list[int]
) -> None:
    content = b"".join(packed(Reply(predictions=one)) for one in messages)
    pieces = cut(content, places)

    async def all_read() -> list[bytes]:
        reader = stream(*pieces)
        found = [await read(reader) for _ in messages]
        assert reader.at_eof()
        return found

    with connected() as (ours, theirs):
        for piece in pieces:
            theirs.sendall(piece)
        received = [receive(ours) for _ in messages]
        theirs.close()
        assert receive(ours) is None
    assert received == asyncio.run(all_read())
    assert [msgspec.json.decode(one or b"", type=Reply).predictions for one in received] == messages


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=4), mode=st.sampled_from(["model", "before"])
)
def test_rows_keep_every_value_that_json_has(rows: list[dict[str, Any]], mode: Mode) -> None:
    content = packed(Question(mode=mode, rows=rows, why="half a sentence"))
    found = msgspec.json.decode(content[4:], type=Question)
    expected = [
        {name: None if isinstance(value, float) and math.isinf(value) else value for name, value in row.items()}
        for row in rows
    ]
    assert (found.mode, found.why) == (mode, "half a sentence")
    assert found.rows == expected
    assert struct.unpack("=I", content[:4]) == (len(content) - 4,)


def test_a_message_that_ends_early_is_none_at_every_byte() -> None:
    content = packed(Ready(problem="p" * 20))
    for length in range(len(content)):
        with connected() as (ours, theirs):
            theirs.sendall(content[:length])
            theirs.close()
            assert receive(ours) is None, length

        async def incomplete(part: bytes = content[:length]) -> None:
            with pytest.raises(asyncio.IncompleteReadError):
                await read(stream(part))

        asyncio.run(incomplete())


@pytest.mark.parametrize("size", [frames.MOST + 1, 2**31, 2**32 - 1])
def test_a_length_that_is_none_is_not_waited_for(size: int) -> None:
    head = struct.pack("=I", size)
    with connected() as (ours, theirs):
        theirs.sendall(head + b"x" * 10)
        assert receive(ours) is None  # the other end is open still

    async def refused() -> None:
        with pytest.raises(asyncio.IncompleteReadError):
            await asyncio.wait_for(read(stream(head, end=False)), 2)

    asyncio.run(refused())


def test_a_message_without_content_is_one() -> None:
    with connected() as (ours, theirs):
        theirs.sendall(struct.pack("=I", 0))
        assert receive(ours) == b""

    async def empty() -> None:
        assert await read(stream(struct.pack("=I", 0))) == b""

    asyncio.run(empty())


def test_a_message_larger_than_any_buffer_comes_whole() -> None:
    big = Reply(message="x" * 5_000_000)
    with connected() as (ours, theirs):
        sender = threading.Thread(target=theirs.sendall, args=(packed(big),))
        sender.start()
        content = receive(ours)
        sender.join()
    assert content is not None
    assert msgspec.json.decode(content, type=Reply) == big


class Asked:
    """A scorer that is asked as in a process of its own, by a thread."""

    def __init__(self, scorer: Scorer) -> None:
        self.ours, self._theirs = socket.socketpair()
        self.ours.settimeout(5)
        self.released: bool | None = None
        self._thread = threading.Thread(target=self._answer, args=(scorer,), daemon=True)
        self._thread.start()
        content = receive(self.ours)
        assert content is not None
        self.ready = msgspec.json.decode(content, type=Ready)

    def _answer(self, scorer: Scorer) -> None:
        with self._theirs:
            self.released = asking.answer(self._theirs, scorer, Ready(modules=["one", "two"]))

    def __call__(self, mode: Mode, *rows: Any, why: str = "") -> Reply:
        self.ours.sendall(packed(Question(mode=mode, rows=rows, why=why)))
        content = receive(self.ours)
        assert content is not None
        return msgspec.json.decode(content, type=Reply)

    def end(self) -> bool | None:
        self._thread.join(5)
        assert not self._thread.is_alive()
        self.ours.close()
        return self.released


def test_the_process_answers_by_the_model_or_by_who_comes_after_it() -> None:
    earlier = Scorer(contract(), Sum(1000.0))
    asked = Asked(Scorer(contract(failed="fallback"), Sum(), fallback=earlier))
    assert asked.ready == Ready(modules=["one", "two"])
    by_model = asked("model", GOOD, {**GOOD, "age": 200}, {**GOOD, "sex": "x"})
    assert [(one.value, one.verdict.status, one.answered_by) for one in by_model.predictions] == [
        (65.5, "ok", ""),
        (None, "rejected", ""),
        (99.0, "fallback", "prior"),  # the champion before does not know that category either
    ]
    before = asked("before", GOOD, {**GOOD, "age": 200}, why="because")
    assert [(one.value, one.verdict.status, one.answered_by) for one in before.predictions] == [
        (1065.5, "fallback", "previous"),
        (None, "rejected", ""),
    ]
    assert before.predictions[0].verdict.problems[0].text == "because"
    assert asked("model").predictions == []
    asked.ours.close()
    assert asked.end() is False


def test_probabilities_come_back_bit_by_bit() -> None:
    ages = range(20, 100, 7)
    rows = [{**GOOD, "age": age} for age in ages]
    asked = Asked(Scorer(classes(), Coin()))
    found = asked("model", *rows).predictions
    assert found == list(Scorer(classes(), Coin()).score(rows))
    assert [list((one.probabilities or {}).values()) for one in found] == [[1 - age / 100, age / 100] for age in ages]
    asked.ours.close()
    asked.end()


def test_a_process_that_is_released_lets_go_of_its_version() -> None:
    asked = Asked(Scorer(contract(), Sum()))
    assert asked("model", GOOD).predictions[0].value == 65.5
    asked.ours.sendall(packed(Question(mode="release", rows=())))
    assert asked.end() is True


def test_features_that_cannot_be_looked_up_are_told_and_not_the_end() -> None:
    failing = [True]

    def enrich(rows: Sequence[object]) -> Sequence[Enriched]:
        if failing:
            raise OnlineStoreUnavailable("it is gone")
        return [Enriched(row) for row in rows]

    asked = Asked(Scorer(contract(), Sum(), enrich=enrich))
    reply = asked("model", GOOD)
    assert (reply.code, reply.predictions) == (OnlineStoreUnavailable.code, [])
    assert "it is gone" in reply.message
    failing.clear()
    assert asked("model", GOOD).predictions[0].value == 65.5
    asked.ours.close()
    assert asked.end() is False
