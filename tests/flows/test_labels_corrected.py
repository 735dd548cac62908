"""A label that is corrected changes what is decided later, and nothing that was decided before."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from flows.looping import DAY, PROJECT, START, houses, life
from fullcircle.flows import data
from fullcircle.monitoring.grid import iso
from fullcircle.tables import predictions as log
from fullcircle.types.prediction import Outcome

DAYS, AT = 6, 5  # the correction comes on the morning of the last day
MORNING = START + AT * DAY + DAY // 3
RIGHT = 77.25
_BLOBS = ("step", "report", "window", "bundle", "snapshot", "draft", "proof")
_OWN = ("workspace", "ledger")  # drawn at random for each workspace
# It grows with its rows, so that each version is better than the one before.
GROWING = PROJECT.replace("max_depth=7, min_samples_leaf=5", "max_leaf_nodes=len(X) // 60")


@dataclass(frozen=True)
class Lived:
    """What is left of a life: its facts with all that they name, as bytes, by when; and the labels learned last."""

    told: tuple[tuple[str, str, bytes], ...]
    learned: tuple[float, ...]

    def until(self, moment: int) -> tuple[Any, ...]:
        """What was written down before a moment."""
        return tuple(each for each in self.told if each[0] < iso(moment))


def _plain(day: int) -> int:
    """The place of a row of a day that no contract flags: its heat is the usual one."""
    return int((houses(day)["heat"] - 20).abs().argmin())


def _lived(folder: Path, corrected: int | None = None) -> Lived:
    """Days of houses, retrained every 150 labels; at the end a row of day ``corrected`` gets another label."""
    with life(folder, "triggers=(), rows=150", GROWING) as found:
        names = []
        for day in range(DAYS):
            names.append(found.answer(houses(day), found.begin, segment=f"{day:016x}")[_plain(day)])
            if day == AT and corrected is not None:
                said = Outcome(prediction_id=names[corrected], value=RIGHT, time=iso(MORNING))
                log.append_outcomes(found.session.workspace.predictions, "houses", [said])
            found.pass_day()
            found.turn()
        blobs, told = found.session.workspace.blobs, []
        for fact in found.session.workspace.ledger.facts():
            body = {name: value for name, value in fact.body.items() if name not in _OWN}
            named = [blobs.get(body[name]) for name in _BLOBS if isinstance(body.get(name), str)]
            told.append((fact.time, fact.kind, msgspec.json.encode([body, named], order="deterministic")))
        last = found.facts("snapshot.created")[-1].body["snapshot"]
        learned = data.frame_of(found.session, str(last))["cost"].tolist()
    return Lived(tuple(told), tuple(learned))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    return _lived(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize(("day", "stays"), [(2, True), (4, False)], ids=["learned already", "not learned yet"])
def test_a_correction_changes_what_comes_after_it(undisturbed: Lived, tmp_path: Path, day: int, stays: bool) -> None:
    """What was learned already stays in the snapshot, and the correction comes beside it as another row."""
    found, first = _lived(tmp_path, day), float(houses(day)["cost"].iloc[_plain(day)])
    before = found.until(MORNING)
    assert before == undisturbed.until(MORNING)
    assert [kind for _, kind, _ in before].count("version.promoted") == 3, "the first one and two of the loop"
    assert (RIGHT in found.learned, RIGHT in undisturbed.learned) == (True, False)
    assert first in undisturbed.learned
    assert (first in found.learned) == stays
    assert found.told != undisturbed.told
    last, other = (each.told[-1] for each in (found, undisturbed))
    assert last[1] == other[1] == "decision.taken"
    assert last[2] != other[2]
