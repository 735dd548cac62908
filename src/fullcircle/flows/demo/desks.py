"""Where the demo's traffic is answered: a real server over HTTP, or in this process for tests of the story."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import msgspec

from fullcircle.deployment import client
from fullcircle.errors import ServerFailed
from fullcircle.flows import admission, versions
from fullcircle.flows.reconcile import write_served
from fullcircle.flows.serve import terminated_is_interrupted
from fullcircle.flows.session import Session
from fullcircle.packaging import machine
from fullcircle.tables import predictions as log
from fullcircle.types.prediction import Outcome, Prediction

START_SECONDS = 60.0
PATIENCE = 20.0


class _Listening(msgspec.Struct):
    """What the server says once it listens."""

    listening: str = ""


class Desk(Protocol):
    """Answers rows, takes labels, and follows the champion."""

    url: str

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Prediction]:
        """One logged prediction for each row, in order."""

    def label(self, outcomes: Sequence[Outcome]) -> None:
        """Labels that came."""

    def follow(self, champion: int) -> None:
        """Answer with this version from now on."""


class Inside:
    """In this process, by the champion's scorer, into the log of the session."""

    url = ""

    def __init__(self, session: Session, model: str) -> None:
        self._session, self._model = session, model
        self._champion = versions.champion(session, model)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Prediction]:
        """See Desk."""
        session, number = self._session, self._champion
        scorer = versions.kept_scorer(session, self._model, number)
        digest = versions.find(session, self._model, number).bundle
        with machine.one_thread():  # as a server does
            answered = scorer.score(rows)
        signed = log.signed(answered, scorer.contract, model=self._model, version=number, bundle=digest)
        with log.PredictionLog(session.workspace.predictions, fsync="never") as kept:
            return kept.append(signed)

    def label(self, outcomes: Sequence[Outcome]) -> None:
        """See Desk."""
        log.append_outcomes(self._session.workspace.predictions, self._model, outcomes)

    def follow(self, champion: int) -> None:
        """See Desk."""
        self._champion = champion


class OverHttp:
    """A server in a process of its own, that this one ends."""

    def __init__(self, session: Session, model: str, process: subprocess.Popen[bytes], words: Path) -> None:
        self._session, self._model, self._process, self._words = session, model, process, words
        self.url = ""
        self._door = admission.door(session, make=True)
        self._wait(self._listens)

    def predict(self, rows: Sequence[Mapping[str, Any]]) -> Sequence[Prediction]:
        """See Desk."""
        return client.predict(self.url, self._model, rows, door=self._door)

    def label(self, outcomes: Sequence[Outcome]) -> None:
        """See Desk."""
        told = client.outcomes(self.url, self._model, outcomes, door=self._door)
        lost = [status for _, status in told if status != "accepted"]
        if lost:
            raise ServerFailed(f"the server did not take {len(lost)} labels", received=lost[0])

    def follow(self, champion: int) -> None:
        """See Desk; waits until the server answers with it."""
        write_served(self._session)
        self._wait(lambda: self._answers(champion))

    def _answers(self, champion: int) -> bool:
        there = client.ready(self.url, door=self._door)
        return there and client.models(self.url, door=self._door)[0].version == champion

    def _listens(self) -> bool:
        """Whether the server said where it listens."""
        for line in self._words.read_bytes().splitlines():
            with suppress(msgspec.DecodeError):
                self.url = msgspec.json.decode(line, type=_Listening).listening or self.url
        return bool(self.url)

    def _wait(self, good: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not good():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(
                    "the demo's server does not answer",
                    received=client.why_not_ready(self.url, door=self._door) if self.url else "it does not listen",
                    next_step="look at server.log in the demo's workspace",
                )
            time.sleep(0.1)


@contextmanager
def served(session: Session, model: str) -> Iterator[OverHttp]:
    """A server of the session's workspace on a free port, ended with the block. Raises ServerFailed."""
    write_served(session)
    path = session.workspace.root / "server.log"
    with path.open("wb") as words, terminated_is_interrupted():
        # In a session of its own: a Ctrl-C is for us, and we end it when what it is answering is done.
        process = subprocess.Popen(
            _arguments(session), stdout=words, stderr=words, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            desk = OverHttp(session, model, process, path)
            desk.follow(versions.champion(session, model))
            yield desk
        finally:
            _end(process)


def _arguments(session: Session) -> list[str]:
    root: Path = session.workspace.root
    return [
        sys.executable, "-m", "fullcircle.server",
        "--served", str(session.workspace.served),
        "--predictions", str(session.workspace.predictions),
        "--code-cache", str(root / "code"),
        "--host", "127.0.0.1",
        "--port", "0",
        "--hosts", "127.0.0.1",
        "--workers", "1",
    ]  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
