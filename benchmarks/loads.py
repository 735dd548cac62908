"""Loads on a server on loopback: closed, as fast as it answers, and open, at the rate of a clock.

A closed load (each connection asks again when it was answered) is made by wrk, or by this module where wrk is not
installed. In an open load requests are due at constant intervals whatever the server does, and a latency counts from
when its request was due: a server that stalls cannot hide it by slowing its callers down. As a program, it reads one
JSON document on standard input (``kind`` and the arguments of ``closed`` or ``open_load``) and prints another:
a generator is a process of its own, so that its share of a core can be told and it can be kept on one.
"""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.rows import ROOT

SCRIPT = ROOT / "benchmarks" / "peers" / "serving.lua"
UNSENT, BROKEN = -1, 0  # statuses of requests that were given up before a connection was free, or lost with one
FLOOD = 256  # responses taken before the clock is looked at again


@dataclass(frozen=True, kw_only=True)
class Closed:
    """What a closed load came to: answers of status 2xx a second, seconds, and the generator's share of a core."""

    rate: float
    p50: float
    p99: float
    refused: int
    busy: float


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A part of an open load: what became of the requests that were due in it.

    ``good`` were answered 200 within the deadline, ``goodput`` is the number of those that were answered before the
    phase's end, a second, ``slowest`` that of the worst whole second by when they were due. ``statuses`` counts
    answers by status, ``unsent`` and ``broken`` beside them.
    ``restless`` is how long after the beginning the last request was due that was not answered 200 within ``calm``
    seconds.
    """

    seconds: float
    due: int
    good: int
    goodput: float
    slowest: float
    statuses: Mapping[str, int]
    p50: float
    p99: float
    restless: float


@dataclass(frozen=True, kw_only=True)
class Open:
    """What an open load came to. ``behind`` is how late the generator itself was at its p99, in seconds."""

    phases: tuple[Phase, ...]
    behind: float
    busy: float


def generator() -> str:
    """What makes closed loads here."""
    return "wrk -t1" if shutil.which("wrk") else "benchmarks.loads"


def closed(
    port: int, path: str, body: bytes, *, connections: int, seconds: int, headers: Mapping[str, str] | None = None
) -> Closed:
    """Ask as fast as the server answers, for so long. Raises RuntimeError where a connection broke.

    Only wrk sends further ``headers``, and bodies that are no text.
    """
    if not shutil.which("wrk"):
        if headers:
            raise RuntimeError("this load needs wrk")
        return Closed(**_apart("closed", port, path, body, connections=connections, seconds=seconds))
    with tempfile.NamedTemporaryFile() as file:
        file.write(body)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPT)]
        more = [part for pair in (headers or {}).items() for part in pair]
        said, busy = _timed([*command, f"http://127.0.0.1:{port}{path}", "--", file.name, *more])
    found = json.loads(said.splitlines()[-1])
    if found["broken"]:
        raise RuntimeError(f"{found['broken']} requests broke at {connections} connections:\n{said}")
    return Closed(
        rate=(found["answered"] - found["refused"]) / found["seconds"],
        p50=found["p50"],
        p99=found["p99"],
        refused=found["refused"],
        busy=busy,
    )


def open_load(
    port: int,
    path: str,
    body: bytes,
    phases: Sequence[tuple[float, float]],
    *,
    deadline: float,
    calm: float,
    connections: int,
    patience: float | None = None,
) -> Open:
    """Ask at constant rates, one phase of (requests a second, seconds) after another without a pause.

    A request that finds all connections taken waits ``patience`` seconds for one, by default as long as its deadline;
    then it is given up, and counts as due and not as answered.
    """
    found = _apart(
        "open", port, path, body, phases=phases, deadline=deadline, calm=calm, connections=connections,
        patience=deadline if patience is None else patience,
    )  # fmt: skip
    return Open(phases=tuple(Phase(**one) for one in found["phases"]), behind=found["behind"], busy=found["busy"])


def _apart(kind: str, port: int, path: str, body: bytes, **options: Any) -> Any:
    """The load, made by a process of its own; it inherits the cores that it may use."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n{body.decode()}"
    document = json.dumps({"kind": kind, "port": port, "request": request, **options})
    command = [sys.executable, "-m", "benchmarks.loads"]
    done = subprocess.run(command, input=document, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise RuntimeError(f"the generator ended with {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout)


def _timed(command: Sequence[str]) -> tuple[str, float]:
    """What a program prints, and its share of one core while it ran."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    with process.stdout as out:
        said = out.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{said[-4000:]}")
    return said, (used.ru_utime + used.ru_stime) / (time.perf_counter() - begun)


# --- the generator, in its own process ----------------------------------------------------------------------


def answer_of(data: bytes) -> tuple[int, bool]:
    """The status of a whole HTTP/1.1 response and whether its connection ends; (0, False) while some is missing."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0, False
    head = data[:end].lower() + b"\r\n"
    place = head.find(b"\r\ncontent-length: ")
    if place >= 0:
        whole = len(data) >= end + 4 + int(head[place + 18 : head.index(b"\r", place + 18)])
    else:  # in chunks, or no body
        whole = b"\r\ntransfer-encoding: chunked\r\n" not in head or data.endswith(b"0\r\n\r\n")
    return (int(data[9:12]), b"\r\nconnection: close\r\n" in head) if whole else (0, False)


class Connections:
    """Connections to one server, each with one request at most on its way."""

    def __init__(self, port: int, count: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._parts: dict[int, bytes] = {}
        self._due: dict[int, int] = {}
        self.free: deque[int] = deque()  # the one that rested longest comes first: none is closed for being idle
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 64)), hard))
        for _ in range(count):
            self.free.append(self._connect())

    @property
    def flying(self) -> int:
        """How many requests are on their way."""
        return len(self._due)

    def send(self, number: int) -> None:
        """Send request ``number`` on a connection that is free."""
        place = self.free.popleft()
        self._due[place] = number
        try:
            sent = self._sockets[place].send(self._request)
        except OSError:
            return  # the server closed it: epoll tells, and the request counts as broken
        if sent != len(self._request):
            raise RuntimeError(f"only {sent} bytes of a request were taken by the system")

    def answers(self, patience: float) -> Iterator[tuple[int, int]]:
        """(number, status) of what was answered meanwhile, BROKEN where the connection was lost."""
        for place, _ in self._epoll.poll(patience, FLOOD):
            try:
                data = self._sockets[place].recv(65536)
            except OSError:
                data = b""
            status, closing = BROKEN, True
            if data:
                if place in self._parts:
                    data = self._parts.pop(place) + data
                status, closing = answer_of(data)
                if not status:
                    self._parts[place] = data
                    continue
            number = self._due.pop(place, None)
            if closing:
                place = self._again(place)
            self.free.append(place)
            if number is not None:
                yield number, status

    def _connect(self) -> int:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=5)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        place = connection.fileno()
        self._sockets[place] = connection
        self._epoll.register(place, select.EPOLLIN)
        return place

    def _again(self, place: int) -> int:
        self._parts.pop(place, None)
        if place in self.free:  # it was closed while nothing was asked
            self.free.remove(place)
        self._epoll.unregister(place)
        self._sockets.pop(place).close()
        return self._connect()


def _closed(port: int, request: str, connections: int, seconds: float) -> dict[str, Any]:
    to = Connections(port, connections, request.encode())
    sent: list[float] = []
    taken: list[float] = []
    statuses: Counter[int] = Counter()
    begun = now = time.perf_counter()
    while now - begun < seconds:
        while to.free:
            sent.append(time.perf_counter())
            to.send(len(sent) - 1)
        for number, status in to.answers(1.0):
            statuses[status] += 1
            taken.append(time.perf_counter() - sent[number])
        now = time.perf_counter()
    if statuses[BROKEN]:
        raise RuntimeError(f"{statuses[BROKEN]} requests broke")
    good = sum(count for status, count in statuses.items() if 200 <= status < 300)
    return {
        "rate": good / (now - begun),
        "p50": _at(taken, 0.5),
        "p99": _at(taken, 0.99),
        "refused": statuses.total() - good,
        "busy": _cpu() / (now - begun),
    }


def _open(
    port: int,
    request: str,
    phases: Sequence[tuple[float, float]],
    deadline: float,
    calm: float,
    connections: int,
    patience: float,
) -> dict[str, Any]:
    to = Connections(port, connections, request.encode())
    due = list(_moments(phases))
    used, begun = _cpu(), time.perf_counter() + 0.05
    statuses, taken, noticed = _asked(to, [begun + moment for moment in due], deadline, patience)
    spent = (_cpu() - used) / (time.perf_counter() - begun)
    told, start, first = [], 0.0, 0
    for rate, seconds in phases:
        last = first + round(rate * seconds)
        part = slice(first, last)
        told.append(_phase([at - start for at in due[part]], statuses[part], taken[part], seconds, deadline, calm))
        start, first = start + seconds, last
    return {"phases": told, "behind": _at(noticed, 0.99), "busy": spent}


def _moments(phases: Sequence[tuple[float, float]]) -> Iterator[float]:
    start = 0.0
    for rate, seconds in phases:
        yield from (start + place / rate for place in range(round(rate * seconds)))
        start += seconds


def _asked(
    to: Connections, due: Sequence[float], deadline: float, patience: float
) -> tuple[list[int], list[float], list[float]]:
    """For each request its status, the seconds since it was due, and how late it was noticed that it is due."""
    count, number = len(due), 0
    statuses, taken, noticed = [UNSENT] * count, [math.inf] * count, [0.0] * count
    waiting: deque[int] = deque()
    clock = time.perf_counter
    until = due[-1] + 2 * deadline
    while True:
        now = clock()
        while number < count and due[number] <= now:
            noticed[number] = now - due[number]
            waiting.append(number)
            number += 1
        while waiting and now - due[waiting[0]] > patience:
            waiting.popleft()  # whoever asked has gone
        while waiting and to.free:
            to.send(waiting.popleft())
        if number == count and not waiting and (not to.flying or now > until):
            return statuses, taken, noticed
        pause = 0.0 if waiting and to.free else max(0.0, due[number] - clock()) if number < count else 0.05
        for answered, status in to.answers(min(pause, 0.05)):
            statuses[answered] = status
            taken[answered] = clock() - due[answered]


def _phase(
    due: Sequence[float],
    statuses: Sequence[int],
    taken: Sequence[float],
    seconds: float,
    deadline: float,
    calm: float,
) -> dict[str, Any]:
    well = [status == 200 and spent <= deadline for status, spent in zip(statuses, taken, strict=True)]
    meanwhile = [good and at + spent <= seconds for at, spent, good in zip(due, taken, well, strict=True)]
    each = Counter(int(at) for at, good in zip(due, well, strict=True) if good)
    restless = [at for at, status, spent in zip(due, statuses, taken, strict=True) if status != 200 or spent > calm]
    answered = [spent for status, spent in zip(statuses, taken, strict=True) if status == 200]
    return {
        "seconds": seconds,
        "due": len(due),
        "good": sum(well),
        "goodput": sum(meanwhile) / seconds,
        "slowest": min((each[second] for second in range(int(seconds))), default=0),
        "statuses": {_NAMES.get(status, str(status)): count for status, count in sorted(Counter(statuses).items())},
        "p50": _at(answered, 0.5),
        "p99": _at(answered, 0.99),
        "restless": max(restless, default=0.0),
    }


_NAMES = {UNSENT: "unsent", BROKEN: "broken"}


def _at(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed; infinite where there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.inf


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Make the load that standard input describes."""
    asked = json.loads(sys.stdin.read())
    gc.disable()  # no pause of ours may look like one of the server
    makes: dict[str, Callable[..., dict[str, Any]]] = {"closed": _closed, "open": _open}
    print(json.dumps(makes[asked.pop("kind")](**asked)))


if __name__ == "__main__":
    main()
