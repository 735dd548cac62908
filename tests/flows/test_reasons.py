"""Reasons in ``why``: those of the report for the same row, or the truth about why there are none."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import circles
from flows.looping import START
from fullcircle.flows import drafts, reasons, versions
from fullcircle.flows.erase import erase
from fullcircle.flows.package import package_in
from fullcircle.flows.promote import promote_in
from fullcircle.flows.session import Session, loaded, opened
from fullcircle.flows.train import train
from fullcircle.flows.why import why
from fullcircle.settings import Settings
from fullcircle.tables.predictions import PredictionLog, signed
from fullcircle.types import clock
from fullcircle.types.prediction import Prediction
from fullcircle.types.report import Report

INPUTS = """
    inputs=fc.Inputs(
        missing="impute",
        columns={
            "heat": {"label": "warmth", "unit": "kWh"},
            "rooms": {"missing": "fallback", "outside": "reject", "high": 50},
        },
    ),
    checks=["quality", "importance"],
    seed=7,
"""
PROJECT = circles.PROJECT[: circles.PROJECT.index("    gates=[")] + INPUTS + '    gates=[fc.at_most("mae", 5)],\n)\n'


@dataclass(frozen=True)
class Shop:
    """A project with a champion, and the report on it."""

    project: Path
    settings: Settings
    report: Report


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    folder = tmp_path_factory.mktemp("reasons")
    project = circles.write_project(folder / "houses", PROJECT, circles.houses(seed=0))
    settings = circles.settings(folder)
    report = train(project, settings=settings).report
    clock.put(settings.workspace, START)
    with opened(settings, rehearsal=True) as session:  # what answers here needs no environment of its own
        draft, digest = drafts.latest(session, "houses"), session.keep(report)
        package_in(session, loaded(project), draft, digest, report, approve="auto")
        promote_in(session, "houses", 1, "the first one")
    return Shop(project, settings, report)


def _logged(session: Session, rows: Sequence[Mapping[str, Any]]) -> tuple[Prediction, ...]:
    """The rows as production answers and logs them."""
    scorer = versions.scorer(session, "houses", 1)
    found = signed(scorer.score(rows), scorer.contract, model="houses", version=1, bundle=scorer.bundle)
    with PredictionLog(session.workspace.predictions) as log:
        return log.append(found)


def _reasons(shop: Shop, row: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    with opened(shop.settings) as session:
        (prediction,) = _logged(session, [row])
    found = why(prediction.id, settings=shop.settings)
    return found.reasons, found.reasons_note


GOOD = {"rooms": 8, "heat": 29.5, "area": "south"}


def test_the_reasons_are_those_of_the_report_for_the_same_row(shop: Shop) -> None:
    found = shop.report.finding("importance")
    assert found is not None
    assert len(found.table) >= 3, "a lowest, a highest, a median answer, and the most wrong one"
    with opened(shop.settings) as session:
        frame, test = drafts.rows(session, drafts.latest(session, "houses"))
        tested = frame[test].reset_index(drop=True)
    for told in found.table:
        position = int(str(told["row"]).rsplit("(row ", 1)[1].rstrip(")")) - 1
        row = tested.iloc[position][["rooms", "heat", "area"]].to_dict()
        sentences, note = _reasons(shop, row)
        assert note == ""
        assert sentences == tuple(told[f"reason {number}"] for number in range(1, 5) if told[f"reason {number}"])


def test_they_are_sentences_about_the_row_with_its_units(shop: Shop) -> None:
    sentences, note = _reasons(shop, GOOD)
    assert note == ""
    assert 1 <= len(sentences) <= 4
    assert sentences[0].startswith("Rooms (8) raises the answer by")
    assert any(sentence.startswith("Warmth of 29.5 kWh raises") for sentence in sentences)
    assert any("Area (south)" in sentence for sentence in sentences)
    assert _reasons(shop, GOOD) == (sentences, ""), "the same row, the same reasons"
    assert _reasons(shop, {**GOOD, "rooms": 1})[0][0].startswith("Rooms (1) lowers the answer by")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({**GOOD, "rooms": 1, "heat": None}, "Warmth is not given, which"),
        ({"rooms": 4, "heat": 20.0, "area": "east"}, "Area (a value that the model cannot use)"),
        ({**GOOD, "rooms": 1, "heat": 99.0}, "Warmth of 99 kWh"),
    ],
)
def test_what_was_filled_in_is_not_told_as_given(shop: Shop, row: dict[str, Any], told: str) -> None:
    """Whether a value that was filled in is a reason depends on the model; what it is called does not."""
    sentences, note = _reasons(shop, row)
    assert note == ""
    about = [text for text in sentences if text.startswith(told.split(" ")[0])]
    assert all(text.startswith(told) for text in about), sentences
    assert about, sentences


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({**GOOD, "rooms": 500}, "the row was rejected, so the model did not answer it"),
        ({**GOOD, "rooms": None}, "the row was answered by the fallback and not by the model"),
        ("no row at all", "the row was rejected, so the model did not answer it"),
    ],
)
def test_what_the_model_did_not_answer_has_no_reasons_of_it(shop: Shop, row: Any, said: str) -> None:
    assert _reasons(shop, row) == ((), said)


def test_without_shap_the_rest_is_still_told(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name == "shap" or name.startswith("shap.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "shap", None)
    sentences, note = _reasons(shop, GOOD)
    assert sentences == ()
    assert "shap" in note
    assert "fullcircle[explain]" in note


def test_a_model_that_cannot_be_asked_leaves_the_rest_true(shop: Shop) -> None:
    """A model whose answers to mixtures are no numbers, or that raises: the note says so and quotes no row."""

    class Odd:
        def __init__(self, answer: Any) -> None:
            self.answer = answer

        def predict(self, frame: Any) -> Any:
            if isinstance(self.answer, Exception):
                raise self.answer
            return [self.answer] * len(frame)

    with opened(shop.settings) as session:
        draft = drafts.latest(session, "houses")
        scorer = versions.scorer(session, "houses", 1)
        background = reasons.background_of(session, draft)
        row = background.iloc[:1]
        assert len(background) == 50
        for answer, expected in ((float("nan"), "no number"), (KeyError("Jane Doe"), "KeyError")):
            scorer.model = Odd(answer)
            sentences, note = reasons.told(scorer, background, row, GOOD, draft.seed)
            assert sentences == ()
            assert expected in note
            assert "Jane" not in note


def test_a_row_whose_values_were_kept_out_of_the_log_has_none(shop: Shop) -> None:
    with opened(shop.settings) as session:
        (prediction,) = _logged(session, [GOOD])
        draft = drafts.latest(session, "houses")
        public = replace(prediction, inputs={"area": "south"})
        said = "the log does not hold the values of rooms, heat: they are private"
        assert reasons.for_prediction(session, draft, public) == ((), said)


def test_a_classifier_without_probabilities_has_nothing_to_explain(shop: Shop) -> None:
    with opened(shop.settings) as session:
        draft = drafts.latest(session, "houses")
        scorer = versions.fitted(session, "houses", 1)
        scorer.contract = replace(scorer.contract, task="classification", classes=("no", "yes"))
        background = reasons.background_of(session, draft)
        found = reasons.told(scorer, background, background.iloc[:1], GOOD, draft.seed)
        assert found == ((), "the model gives no probabilities to explain")


def test_deleted_rows_are_said_to_be_deleted(shop: Shop) -> None:
    with opened(shop.settings) as session:
        (prediction,) = _logged(session, [GOOD])
        draft = drafts.latest(session, "houses")
        session.workspace.erase(draft.snapshot, "somebody asked to be forgotten")
        assert reasons.for_prediction(session, draft, prediction) == (
            (),
            "the rows that the model was trained on, or the model, were deleted",
        )


def test_an_erased_row_says_when_by_whom_and_why_and_gives_no_reasons(shop: Shop) -> None:
    with opened(shop.settings) as session:
        kept, gone = _logged(session, [GOOD, {**GOOD, "rooms": 7}])
    erase("houses", ids=[gone.id], reason="request 17", settings=shop.settings)
    found = why(gone.id, settings=shop.settings)
    assert found.erased is not None
    assert (found.erased.kind, found.erased.body["reason"]) == ("predictions.erased", "request 17")
    assert (found.prediction.value, found.prediction.inputs, found.outcome) == (None, None, None)
    assert (found.reasons, found.reasons_note) == ((), "the row was erased")
    assert found.bundle == gone.bundle, "its version is still told"
    other = why(kept.id, settings=shop.settings)
    assert other.erased is None
    assert other.prediction.value is not None
    assert "erased" not in other.reasons_note  # an earlier test has deleted what reasons are made of
