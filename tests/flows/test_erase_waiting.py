"""Erasing what waits for a prediction: by id or key, of one model, and no value of it stays in the file."""

from __future__ import annotations

from pathlib import Path

import pytest

import circles
from flows.logbooks import START, write
from fullcircle.errors import PredictionNotFound
from fullcircle.flows.erase import erase
from fullcircle.flows.session import opened
from fullcircle.settings import Settings
from fullcircle.tables.waiting import WAITING, append_waiting, read_waiting
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Outcome, Prediction

LATER = "2999-01-01T00:00:00.000000Z"
STRANGE = f"{'e' * 16}-5"


@pytest.fixture
def place(tmp_path: Path) -> Settings:
    settings = circles.unbegun(tmp_path)
    row = Prediction(value=1.0, verdict=Verdict(status="ok"), model="m", version=1, inputs={"loan": 1})
    with opened(settings):
        pass
    for model in ("m", "other"):
        write(tmp_path / "workspace" / "predictions" / model, [row], [START])
        append_waiting(
            tmp_path / "workspace" / "predictions",
            model,
            [
                Outcome(value="Ada's label", key={"person": "Ada", "loan": 7}, at=LATER),
                Outcome(value="Bob's label", key={"person": "Bob", "loan": 70}, at=LATER),
                Outcome(value="its label", prediction_id=STRANGE),
            ],
        )
    return settings


@pytest.mark.parametrize(
    ("ids", "where", "left"),
    [
        ((STRANGE,), None, ["Ada's label", "Bob's label"]),
        ((), ("person", "Ada"), ["Bob's label", "its label"]),
        ((), ("loan", "7"), ["Bob's label", "its label"]),
        ((), ("loan", "7.0"), ["Bob's label", "its label"]),
        ((), ("person", "Ad"), ["Ada's label", "Bob's label", "its label"]),
        ((), ("nothing", "Ada"), ["Ada's label", "Bob's label", "its label"]),
    ],
)
def test_what_is_meant_goes_from_the_file_and_nothing_else(
    place: Settings, ids: tuple[str, ...], where: tuple[str, str] | None, left: list[str]
) -> None:
    folder = Path(place["workspace"]) / "predictions"
    found = erase("m", ids=ids, where=where, reason="asked", settings=place)
    assert (found.rows, found.outcomes) == (0, 3 - len(left))
    assert [each.outcome.value for each in read_waiting(folder, "m")] == left
    text = (folder / "m" / WAITING).read_text()
    assert all((value in text) == (value in left) for value in ("Ada's label", "Bob's label", "its label"))
    assert len(read_waiting(folder, "other")) == 3
    if ids:
        with pytest.raises(PredictionNotFound):
            erase("m", ids=ids, reason="again", settings=place)
    else:
        assert erase("m", where=where, reason="again", settings=place).outcomes == 0


def test_of_one_id_that_nobody_knows_nothing_is_erased(place: Settings) -> None:
    with pytest.raises(PredictionNotFound):
        erase("m", ids=[STRANGE, f"{'d' * 16}-1"], reason="asked", settings=place)
    assert len(read_waiting(Path(place["workspace"]) / "predictions", "m")) == 3


def test_with_an_id_go_those_by_a_key_that_belong_to_its_row_though_their_time_lies_ahead(place: Settings) -> None:
    folder = Path(place["workspace"]) / "predictions"
    rows = [
        Prediction(value=1.0, verdict=Verdict(status="ok"), model="mine", version=1, inputs={"loan": loan})
        for loan in (7, 70)
    ]
    ids = write(folder / "mine", rows, [START, START])
    ahead = [Outcome(value=f"label of {loan}", key={"loan": loan}, at=LATER) for loan in (7, 70, 8)]
    early = Outcome(value="too old", key={"loan": 7}, at=LATER, within="30d")
    append_waiting(folder, "mine", [*ahead, early])
    found = erase("mine", ids=[ids[0]], reason="asked", settings=place)
    assert (found.rows, found.outcomes) == (1, 1)
    assert [each.outcome.value for each in read_waiting(folder, "mine")] == ["label of 70", "label of 8", "too old"]
    assert 'label of 7"' not in (folder / "mine" / WAITING).read_text()
