"""Callers of a server that ask without a pause, on connections that stay and on new ones, and check every answer."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

HEADERS = {"Content-Type": "application/json"}


@dataclass
class Heard:
    """What callers heard: how many answers by each version, and everything that was wrong."""

    answers: dict[int, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, version: int, wrong: str = "") -> None:
        with self.lock:
            self.answers[version] = self.answers.get(version, 0) + 1
            if wrong:
                self.wrong.append(wrong)

    def count(self, version: int) -> int:
        with self.lock:
            return self.answers.get(version, 0)


@contextmanager
def calling(
    port: int,
    model: str,
    rows: Sequence[Mapping[str, Any]],
    fits: Callable[[int, Sequence[float]], bool],
    *,
    threads: int = 3,
) -> Iterator[Heard]:
    """Ask for these rows again and again while inside, some hundred times a second.

    ``fits`` says whether numbers are those of a version.

    Every other thread opens a connection for each request, the rest keep theirs as long as the server does. Anything
    but 200, a connection that is refused or reset, and rows answered by different versions are wrong.
    """
    heard, stop = Heard(), threading.Event()
    body = json.dumps({"rows": list(rows)})

    def call(anew: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not stop.is_set():
            try:
                connection.request("POST", f"/predict/{model}", body, HEADERS)
                response = connection.getresponse()
                found = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                heard.add(0, repr(error))
                connection.close()
                continue
            version = found.get("version", 0)
            values = [one["prediction"] for one in found.get("predictions", ())]
            good = response.status == 200 and len(values) == len(rows) and fits(version, values)
            heard.add(version, "" if good else f"{response.status} {json.dumps(found)[:300]}")
            if anew:
                connection.close()
            stop.wait(0.005)  # or what is loaded meanwhile gets no share of the cores
        connection.close()

    callers = [threading.Thread(target=call, args=(bool(place % 2),)) for place in range(threads)]
    for one in callers:
        one.start()
    try:
        yield heard
    finally:
        stop.set()
        for one in callers:
            one.join()
