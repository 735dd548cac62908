"""A project on a played clock: days of rows, their labels, and a turn of the monitor and of the loop each."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

import circles
from flows import logbooks
from fullcircle.development.loading import LoadedProject
from fullcircle.flows import drafts, loop, monitor, package, promote, train, versions
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.monitoring.grid import iso
from fullcircle.runtimes.contracts import rows_of
from fullcircle.tables import predictions as log
from fullcircle.types import clock
from fullcircle.types.facts import Fact
from fullcircle.types.loop import Step
from fullcircle.types.prediction import Outcome

DAY = 86_400_000_000
START = 1_800_230_400_000_000  # a Monday, 00:00 UTC

# One tree: a fit takes milliseconds, and has no threads.
PROJECT = """
import fullcircle as fc
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor


def fit(X, y, **params):
    areas = OneHotEncoder(handle_unknown="ignore")
    columns = make_column_transformer((areas, ["area"]), remainder="passthrough")
    tree = DecisionTreeRegressor(max_depth=7, min_samples_leaf=5, random_state=0)
    return make_pipeline(columns, tree.set_params(**params)).fit(X, y)


project = fc.Project(
    name="houses",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "heat", "area"],
    fit=fit,
    gates=[fc.at_most("mae", 20)],
    checks=["quality"],
    monitor=fc.Monitor(window="1d", false_alerts="4 per year"),
    retrain=fc.Retrain({retrain}),
)
"""


def write(folder: Path, retrain: str, text: str = PROJECT) -> Path:
    """The project's folder, with 400 houses to begin with."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "houses.csv").write_text(circles.houses())
    path = folder / "project.py"
    path.write_text(textwrap.dedent(text).replace("{retrain}", retrain))
    return path


def houses(seed: int, rows: int = 100, shift: float = 0.0) -> pd.DataFrame:
    """Rows of a day; ``shift`` is by how much every house costs more than in the beginning."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"rooms": rng.integers(1, 9, rows), "heat": rng.normal(20, 3, rows)})
    frame["area"] = rng.choice(["north", "south", "west"], rows)
    frame["cost"] = 3 * frame.rooms + 0.5 * frame.heat + 2 * (frame.area == "south") + shift
    frame["cost"] += rng.normal(0, 1, rows)
    return frame


@dataclass
class Life:
    """An open played workspace. ``today`` counts days; ``steps`` are those of the loop so far."""

    session: Session
    source: LoadedProject
    today: int = 0
    steps: list[Step] = field(default_factory=list)

    def day(self, frame: pd.DataFrame | None = None, *, labels: bool = True, turn: bool = True) -> Step:
        """Rows come and are answered by the champion, their labels too; when the day is over, a turn is taken."""
        if frame is not None:
            self.answer(frame, self.begin, labels=labels)
        self.pass_day()
        if turn:
            return self.turn()
        monitor.turn_in(self.session, self.source)
        return Step(at="")

    @property
    def begin(self) -> int:
        """When this day began."""
        return START + self.today * DAY

    def pass_day(self) -> None:
        """The clock moves two minutes past the end of this day."""
        clock.put(self.session.workspace.root, self.begin + DAY + 120_000_000)
        self.today += 1

    def turn(self) -> Step:
        """A turn of the monitor and of the loop, now."""
        monitor.turn_in(self.session, self.source)
        self.steps.append(loop.turn_in(self.session, self.source))
        return self.steps[-1]

    def answer(self, frame: pd.DataFrame, begin: int, *, labels: bool = True, segment: str = "") -> list[str]:
        """Rows of one day in the log, answered by the champion; in a segment of its own, named at random."""
        version = versions.champion(self.session, "houses")
        scorer = versions.kept_scorer(self.session, "houses", version)
        given = scorer.score(rows_of(frame, scorer.contract))
        found = log.signed(given, scorer.contract, model="houses", version=version, bundle=scorer.bundle)
        times = [begin + 60_000_000 * place for place in range(len(frame))]
        folder = self.session.workspace.predictions
        ids = logbooks.write(folder / "houses", found, times, segment)
        if labels:
            pairs = zip(ids, frame["cost"], times, strict=True)
            outcomes = [
                Outcome(prediction_id=id, value=float(label), time=iso(time + 1000)) for id, label, time in pairs
            ]
            log.append_outcomes(folder, "houses", outcomes)
        return ids

    def facts(self, kind: str) -> list[Fact]:
        """The facts of one kind, in order."""
        return list(self.session.workspace.ledger.facts(kind))

    @property
    def champion(self) -> int:
        """The champion's version."""
        return versions.champion(self.session, "houses")


@contextmanager
def life(folder: Path, retrain: str = "", text: str = PROJECT, *, live: bool = False) -> Iterator[Life]:
    """A workspace whose clock is played, with version 1 as champion.

    A ``live`` one keeps back nothing: runs are tracked, versions tested, and proven in their locked environments.
    """
    project = write(folder / "houses", retrain, text)
    begun = (folder / "workspace").exists()
    if live:
        circles.begun(folder / "workspace")
    (folder / "workspace").mkdir(exist_ok=True)
    if not begun:
        clock.put(folder / "workspace", START)
    with opened(circles.unbegun(folder), rehearsal=not live) as session:
        source = loaded(project)
        if not begun:
            first(session, source)
        yield Life(session, source)


def first(session: Session, source: LoadedProject) -> None:
    """Version 1, promoted by a person."""
    trained = train.train_in(session, source)
    draft = drafts.of_run(session, trained.run)
    made = package.package_in(session, source, draft, trained.report_digest, trained.report, approve="auto")
    promote.promote_in(session, "houses", made.version, "the first one")
