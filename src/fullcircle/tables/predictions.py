"""The log of predictions and outcomes: files of JSON lines that any number of processes append to at once.

Each process writes predictions to a segment of its own, ``<model>/<segment>.jsonl``, under a random name, so
no two ever share a file; an id is ``<segment>-<byte where its line begins>``, so finding one is one seek.
Outcomes are few and go to ``<model>/outcomes.jsonl`` under a file lock. A write has reached the operating
system when ``append`` returns, so it survives the death of the process (not of the machine). A line that
was torn by a crash is skipped and counted, never fatal.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from fullcircle.errors import PredictionNotFound
from fullcircle.tables.lines import Lines, model_folder, moment, now, plain, unwritable, write
from fullcircle.types.contract import Contract
from fullcircle.types.prediction import Outcome, Prediction

OUTCOMES = "outcomes.jsonl"
_ID = re.compile(r"([0-9a-f]{16})-([0-9]{1,15})")
_SEGMENTS = "[0-9a-f]" * 16 + ".jsonl"


@dataclass
class _Segment:
    """An open file that only this process writes. ``size`` is where the next line begins."""

    name: str
    descriptor: int
    size: int = 0
    time: str = ""


class PredictionLog:
    """Appends predictions. Safe from several threads, and from a process that forked after opening it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._segments: dict[str, _Segment] = {}
        self._process = os.getpid()

    def append(self, predictions: Sequence[Prediction]) -> tuple[Prediction, ...]:
        """Write the predictions, in order, and return them with ``id`` and ``time`` filled in.

        Raises WorkspaceUnusable where the file cannot be written; then none of a model's batch counts.
        """
        with self._lock:
            done: dict[int, Prediction] = {}
            places: dict[str, list[int]] = {}
            for place, prediction in enumerate(predictions):
                places.setdefault(prediction.model, []).append(place)
            for model, chosen in places.items():
                done.update(zip(chosen, self._append(model, [predictions[i] for i in chosen]), strict=True))
            return tuple(done[place] for place in range(len(predictions)))

    def close(self) -> None:
        """Close the segments. A later append begins new ones."""
        with self._lock:
            for model in list(self._segments):
                self._leave(model)

    def __enter__(self) -> PredictionLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, model: str, predictions: list[Prediction]) -> list[Prediction]:
        segment = self._segment(model)
        # Time never runs backwards within a segment, whatever the clock does.
        segment.time = max(segment.time, now())
        done, lines, start = [], [], segment.size
        for prediction in predictions:
            filled = replace(prediction, id=f"{segment.name}-{start}", time=segment.time)
            line = msgspec.json.encode(filled, enc_hook=plain) + b"\n"
            done.append(filled)
            lines.append(line)
            start += len(line)
        try:
            write(segment.descriptor, b"".join(lines))
        except OSError as error:
            # Part of a line may be on disk: leave the segment, so that offsets stay true.
            self._leave(model)
            raise unwritable(self._folder / model, error) from error
        segment.size = start
        return done

    def _segment(self, model: str) -> _Segment:
        if os.getpid() != self._process:
            # A forked child shares the parent's files, and must not write to them.
            for inherited in list(self._segments):
                self._leave(inherited)
            self._process = os.getpid()
        if model not in self._segments:
            name = secrets.token_hex(8)
            path = model_folder(self._folder, model) / f"{name}.jsonl"
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise unwritable(path, error) from error
            self._segments[model] = _Segment(name, descriptor)
        return self._segments[model]

    def _leave(self, model: str) -> None:
        os.close(self._segments.pop(model).descriptor)


class Predictions(Iterator[Prediction]):
    """Predictions of several segments in order of time. ``torn`` counts lines skipped because a crash cut them."""

    def __init__(self, paths: Iterable[Path], accept: Callable[[Prediction], bool]) -> None:
        self._segments = [Lines(path, Prediction) for path in paths]
        self._rows = filter(accept, self._merge())

    def __next__(self) -> Prediction:
        return next(self._rows)

    @property
    def torn(self) -> int:
        """How many lines were skipped so far."""
        return sum(segment.torn for segment in self._segments)

    def _merge(self) -> Iterator[Prediction]:
        # Segments wait in order of their first time and are opened when their turn comes, so a thousand
        # finished ones do not mean a thousand open files.
        begun = [(next(iter(segment), None), place) for place, segment in enumerate(self._segments)]
        waiting = sorted(((first.time if first else "", place) for first, place in begun), reverse=True)
        heap: list[tuple[str, int, Prediction, Iterator[Prediction]]] = []
        while waiting or heap:
            if waiting and (not heap or waiting[-1][0] <= heap[0][0]):
                place = waiting.pop()[1]
                rows = iter(self._segments[place])
            else:
                _, place, prediction, rows = heapq.heappop(heap)
                yield prediction
            following = next(rows, None)
            if following is not None:
                heapq.heappush(heap, (following.time, place, following, rows))


def signed(
    predictions: Iterable[Prediction], contract: Contract, *, model: str, version: int, bundle: str
) -> list[Prediction]:
    """Predictions as they go to the log: by which version, without the inputs that the contract calls private."""
    private = frozenset(column.name for column in contract.columns if column.private)
    return [
        replace(one, model=model, version=version, bundle=bundle, inputs=_public(one.inputs, private))
        for one in predictions
    ]


def _public(inputs: Mapping[str, Any] | None, private: frozenset[str]) -> Mapping[str, Any] | None:
    if inputs is None or not private:
        return inputs
    return {name: value for name, value in inputs.items() if name not in private}


def find(folder: Path, prediction_id: str) -> Prediction:
    """The logged prediction of this id, by one seek. Raises PredictionNotFound."""
    match = _ID.fullmatch(prediction_id)
    for path in folder.glob(f"*/{match[1]}.jsonl") if match else ():
        with path.open("rb") as file:
            file.seek(int(match[2]) if match else 0)
            line = file.readline()
        try:
            found = msgspec.json.decode(line, type=Prediction)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        if found.id == prediction_id:
            return found
    raise PredictionNotFound(
        "no logged prediction has this id",
        received=prediction_id[:80],
        next_step="take the id from an answer of the server, or of `fullcircle score`",
    )


def read(folder: Path, model: str, *, since: str = "", until: str = "", version: int | None = None) -> Predictions:
    """The model's logged predictions from ``since`` on and before ``until`` (ISO 8601, UTC if it has no zone).

    In order of time; only those of ``version`` where given. Raises RequestInvalid for a time of another form.
    """
    low, high = (moment(text) if text else "" for text in (since, until))

    def accept(prediction: Prediction) -> bool:
        return (
            prediction.time >= low
            and (not high or prediction.time < high)
            and (version is None or prediction.version == version)
        )

    return Predictions(sorted(model_folder(folder, model).glob(_SEGMENTS)), accept)


def append_outcomes(folder: Path, model: str, outcomes: Sequence[Outcome]) -> None:
    """Write outcomes, in order; one without a time gets the present one. Raises WorkspaceUnusable."""
    moment = now()
    filled = [outcome if outcome.time else replace(outcome, time=moment) for outcome in outcomes]
    data = b"".join(msgspec.json.encode(outcome, enc_hook=plain) + b"\n" for outcome in filled)
    path = model_folder(folder, model) / OUTCOMES
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                data = b"\n" + data  # a crash tore the last line: begin a new one
            write(file.fileno(), data)
    except OSError as error:
        raise unwritable(path, error) from error


def read_outcomes(folder: Path, model: str) -> dict[str, Outcome]:
    """The model's outcomes by prediction id. The last one received counts."""
    lines = Lines(model_folder(folder, model) / OUTCOMES, Outcome)
    return {outcome.prediction_id: outcome for outcome in lines}


def torn_lines(folder: Path, model: str) -> int:
    """How many lines of the model's predictions and outcomes a crash cut short."""
    home = model_folder(folder, model)
    files = [Lines(path, Prediction) for path in home.glob(_SEGMENTS)] + [Lines(home / OUTCOMES, Outcome)]
    for lines in files:
        for _ in lines:
            pass
    return sum(lines.torn for lines in files)
