"""Models that batch scoring opens by name, in this process and in others."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fullcircle.deployment.answering import Recorder
from fullcircle.deployment.scoring import Model
from fullcircle.flows.score import Logged
from fullcircle.runtimes.scorer import Scorer
from fullcircle.tables.predictions import PredictionLog
from fullcircle.types.contract import Contract
from serving import Coin, Sum, classes, contract


class Slow(Sum):
    """Takes its time, so that somebody can interrupt it."""

    def predict(self, frame: Any) -> Any:
        time.sleep(0.02)
        return super().predict(frame)


class Deadly(Sum):
    """Ends its process at a bmi of 42, ``times`` times: counted in a file, which all processes see."""

    def __init__(self, counter: Path, times: int) -> None:
        super().__init__()
        self.counter, self.times = counter, times

    def predict(self, frame: Any) -> Any:
        if (frame["bmi"] == 42.0).any():
            with self.counter.open("ab+") as file:
                file.write(b"x")
                file.flush()
                if file.tell() <= self.times:
                    os.kill(os.getpid(), signal.SIGKILL)
        return super().predict(frame)


class Strict(Sum):
    """Cannot answer a bmi of 13."""

    def predict(self, frame: Any) -> Any:
        if (frame["bmi"] == 13.0).any():
            raise ValueError
        return super().predict(frame)


def contract_of(kind: str) -> Contract:
    return replace(classes() if kind == "coin" else contract(), context=("ward",))


@contextmanager
def opener(log: str, kind: str = "sum", counter: str = "", times: int = 0) -> Iterator[tuple[Scorer, Recorder]]:
    models = {"sum": Sum, "slow": Slow, "coin": Coin, "strict": Strict}
    model = Deadly(Path(counter), times) if kind == "deadly" else models[kind]()
    scorer = Scorer(contract_of(kind), model, name="m", version=1, bundle="b" * 64)
    with PredictionLog(Path(log)) as kept:
        yield scorer, Logged(kept, scorer)


@contextmanager
def broken(log: str) -> Iterator[Any]:
    print("a model may print", log)  # noqa: T201
    raise ValueError("it cannot be opened")
    yield


def model(log: Path, kind: str = "sum", **more: Any) -> Model:
    return Model(
        contract=contract_of(kind),
        origin={"model": "m", "version": "1"},
        opener=f"{__name__}:opener",
        arguments={"log": str(log), "kind": kind, **more},
    )
