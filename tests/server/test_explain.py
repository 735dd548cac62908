"""The answer of /explain: numbers that add up, words that say the same, and nothing private."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from fullcircle.errors import RequestInvalid
from fullcircle.runtimes.explaining import BUDGET
from fullcircle.runtimes.scorer import Enriched, Scorer
from fullcircle.server import explain
from fullcircle.server.explain import ROWS, document
from fullcircle.server.follower import Loaded
from fullcircle.types.contract import Column, Contract, Value
from serving import GOOD, Coin, Sum, app, call, classes, contract, loaded, post

AGES = [20 + place for place in range(60)]
BMIS = [20.0 + place / 7 for place in range(60)]
BACKGROUND = [{"age": AGES[place], "bmi": BMIS[place], "sex": "fm"[place % 2]} for place in range(60)]


def served(scorer: Scorer, background: Sequence[Mapping[str, Any]] = BACKGROUND) -> Loaded:
    """A version whose bundle carries golden rows."""
    scorer.background = [one.inputs for one in scorer.score(background) if one.inputs is not None]
    return loaded("m", 7, scorer)


def asked(of: Loaded, *rows: Mapping[str, Any]) -> Any:
    """The document as a caller sees it."""
    return json.loads(msgspec.json.encode(document(of, list(rows))))


def test_the_rows_to_compare_with_may_be_given() -> None:
    found = document(
        loaded("m", 7, Scorer(contract(), Sum())), [GOOD], background=[{"age": 30, "bmi": 25.5, "sex": "f"}]
    )
    assert {one.column: one.contribution for one in found.rows[0].contributions} == {"age": 10.0, "bmi": 0, "sex": 0}


def test_a_row_is_explained_in_numbers_and_in_words() -> None:
    found = asked(served(Scorer(contract(), Sum(plus=1.5))), GOOD)
    assert (found["model"], found["version"]) == ("m", 7)
    assert "error" not in found
    (row,) = found["rows"]
    base = np.mean([AGES[place] + BMIS[place] + 1.5 for place in range(60)])
    assert row["prediction"] == row["answer"] == 67.0
    assert row["base"] == pytest.approx(base)
    assert (row["method"], row["background"], row["explained"]) == ("exact", 60, "the predicted y")
    assert [one["column"] for one in row["contributions"]] == ["age", "bmi", "sex"]  # largest first
    moved = {one["column"]: one["contribution"] for one in row["contributions"]}
    assert moved["age"] == pytest.approx(40 - 49.5)
    assert moved["sex"] == 0.0
    assert row["base"] + sum(moved.values()) == pytest.approx(row["answer"], abs=1e-9)
    assert row["text"] == (
        "The predicted y is 67, 8.214 less than the mean of 75.21 over 60 rows that it was packaged with. "
        "Of this, age (40) lowers it by 9.5 and bmi (25.5) raises it by 1.286."
    )


def test_the_display_name_and_unit_of_the_label_are_told() -> None:
    named = contract(label_name="cost", label_unit="EUR")
    (row,) = asked(served(Scorer(named, Sum())), GOOD)["rows"]
    assert row["text"].startswith("The predicted cost is 65.5 EUR, 8.214 less than the mean of 73.71 over ")


def test_labels_and_units_are_told_and_private_values_are_not() -> None:
    columns = (
        Column(name="age", kind="integer", label="Age at entry", unit="years"),
        Column(name="bmi", kind="number", label="Pay", private=True),
        Column(name="sex", kind="category", categories=("f", "m"), private=True),
    )
    found = asked(served(Scorer(contract(columns=columns), Sum())), {**GOOD, "bmi": 31337.5, "sex": "m"})
    (row,) = found["rows"]
    age, pay = sorted(row["contributions"], key=lambda one: str(one["column"]))[:2]
    assert (age["label"], age["unit"], age["value"]) == ("Age at entry", "years", 40)
    assert "value" not in pay
    assert pay["contribution"] == pytest.approx(31337.5 - float(np.mean(BMIS)))
    assert "Pay raises it by" in row["text"]
    assert "Age at entry (40 years) lowers it by" in row["text"]
    assert "31337.5" not in json.dumps(row["contributions"]) + row["text"]


def test_rows_that_the_model_did_not_answer_are_told_apart_and_their_neighbours_explained() -> None:
    rows = [GOOD, {**GOOD, "age": 200}, {**GOOD, "sex": "x"}, {**GOOD, "bmi": None}, "no row"]
    found = document(served(Scorer(contract(), Sum())), rows)  # type: ignore[arg-type]
    assert found.status == 200
    assert [row.verdict for row in found.rows] == ["ok", "rejected", "fallback", "imputed", "rejected"]
    assert [row.answer is not None for row in found.rows] == [True, False, False, True, False]
    assert "was rejected" in found.rows[1].text
    assert "was answered by the fallback" in found.rows[2].text
    assert "bmi (26)" in found.rows[3].text  # what the model saw


def test_when_nothing_could_be_explained_that_is_an_error() -> None:
    found = document(served(Scorer(contract(), Sum())), [{"age": 200}])
    assert found.status == 422
    assert found.error is not None
    assert found.error["code"] == "request_invalid"
    none = document(served(Scorer(contract(), Sum()), []), [GOOD])
    assert none.status == 422
    assert none.rows[0].text == "This row cannot be explained: the model carries no rows to compare with."


def test_a_classifier_says_the_chance_of_which_class_is_explained() -> None:
    (row,) = asked(served(Scorer(classes(), Coin())), {**GOOD, "age": 90})["rows"]
    assert row["explained"] == "the probability of y = yes"
    assert (row["prediction"], row["answer"]) == ("yes", 0.9)
    assert row["text"].startswith("The probability of y = yes is 0.9, 0.405 more than the mean of 0.495 ")

    class Sure:
        def predict(self, frame: Any) -> Any:
            return Coin().predict(frame)

    (row,) = asked(served(Scorer(classes(), Sure())), {**GOOD, "age": 30})["rows"]
    assert row["explained"] == "whether the answer is y = no (1) or not (0)"
    assert row["answer"] == 1.0


def test_a_constant_model_moves_nothing() -> None:
    class Same:
        def predict(self, frame: Any) -> Any:
            return np.full(len(frame), 0.1)

    (row,) = asked(served(Scorer(contract(), Same())), GOOD)["rows"]
    assert row["text"].endswith("No column moves it.")
    assert "as much as the mean of 0.1" in row["text"]


def test_many_columns_are_sampled_and_the_sentence_stays_short() -> None:
    columns = tuple(Column(name=f"c{place}", kind="number") for place in range(20))
    wide = Contract(columns=columns, label="y", task="regression")

    class Wide:
        def predict(self, frame: Any) -> Any:
            table = frame.to_numpy()
            return table @ np.arange(20.0) + np.prod(table[:, :4], axis=1)

    draw = np.random.default_rng(3)
    background = [dict(zip(wide.names, row, strict=True)) for row in draw.normal(size=(30, 20)).tolist()]
    (row,) = asked(served(Scorer(wide, Wide()), background), dict.fromkeys(wide.names, 1.0))["rows"]
    assert row["method"] == "sampled"
    assert row["asked"] <= 20_000
    assert len(row["contributions"]) == 20
    assert row["text"].count(" it by ") == 4
    assert "17 other columns together raise" in row["text"] or "17 other columns together lower" in row["text"]
    total = sum(one["contribution"] for one in row["contributions"])
    assert row["base"] + total == pytest.approx(row["answer"], abs=1e-9)
    linear = next(one for one in row["contributions"] if one["column"] == "c19")
    mean = np.mean([one["c19"] for one in background])
    assert linear["contribution"] == pytest.approx(19 * (1 - mean), abs=1e-9)


def test_one_request_is_bounded_in_rows_and_in_what_the_model_is_asked() -> None:
    class Counting(Sum):
        rows = 0

        def predict(self, frame: Any) -> Any:
            Counting.rows += len(frame)
            return super().predict(frame)

    chosen = served(Scorer(contract(), Counting()))
    Counting.rows = 0
    found = document(chosen, [GOOD] * ROWS)
    assert Counting.rows <= 100_000 + 300
    assert all(row.text == found.rows[0].text for row in found.rows)
    with pytest.raises(RequestInvalid, match="too many rows") as caught:
        document(chosen, [GOOD] * (ROWS + 1))
    assert caught.value.status == 413


def test_a_slow_model_is_asked_less_and_a_very_slow_one_not_at_all() -> None:
    assert explain.budget(0.0, 1) == BUDGET
    assert explain.budget(1e-6, 1) == BUDGET
    assert explain.budget(0.0, ROWS) * ROWS == 100_000
    for pace in (1e-5, 1e-4, 1.1e-3):
        assert 250 <= explain.budget(pace, 10 if pace < 1e-3 else 1) <= explain.SECONDS / pace
    with pytest.raises(RequestInvalid, match="too slow to be explained"):
        explain.budget(0.02, 1)

    class Slow(Sum):
        def predict(self, frame: Any) -> Any:
            time.sleep(0.006 * min(len(frame), 40))
            return super().predict(frame)

    begun = time.monotonic()
    with pytest.raises(RequestInvalid, match="too slow to be explained") as caught:
        document(served(Scorer(contract(), Slow()), BACKGROUND[:3]), [GOOD] * ROWS)
    assert caught.value.status == 422
    assert time.monotonic() - begun < 5


def test_features_that_are_looked_up_are_players_like_others() -> None:
    def lookup(rows: Sequence[object]) -> list[Enriched]:
        found = []
        for row in rows:
            assert isinstance(row, Mapping)
            known: dict[str, Value] = {"age": 30 + int(row["key"]), "bmi": 22.0, "sex": "f"}
            found.append(Enriched(known, (), {"view": "v"}))
        return found

    plain = Scorer(contract(), Sum())
    chosen = served(plain)
    plain.enrich = lookup
    (row,) = asked(chosen, {"key": 5})["rows"]
    age = next(one for one in row["contributions"] if one["column"] == "age")
    assert (age["value"], age["contribution"]) == (35, pytest.approx(35 - 49.5))


def test_a_model_that_cannot_answer_mixed_rows_is_told_row_by_row() -> None:
    class Picky:
        def predict(self, frame: Any) -> Any:
            mixed = (frame["age"] == 19) & (frame["bmi"] != 19.0)
            return np.where(mixed, np.nan, frame["age"].to_numpy(dtype=float))

    rows = [{"age": 19, "bmi": 19.0, "sex": "f"}, {"age": 30, "bmi": 30.0, "sex": "f"}]
    found = document(served(Scorer(contract(), Picky())), rows)
    assert found.status == 200
    assert "cannot answer rows between" in found.rows[0].text
    assert found.rows[1].answer == 30.0


def test_long_texts_are_cut_in_the_sentence_only() -> None:
    text = Contract(columns=(Column(name="note", kind="text"),), label="y", task="regression")

    class Long:
        def predict(self, frame: Any) -> Any:
            return frame["note"].str.len().to_numpy().astype(float)

    (row,) = asked(served(Scorer(text, Long()), [{"note": "a"}, {"note": "bb"}]), {"note": "x" * 5000})["rows"]
    assert len(row["text"]) < 300
    assert row["contributions"][0]["value"] == "x" * 5000


def test_a_row_is_explained_over_the_route(tmp_path: Path) -> None:
    target = app(tmp_path, served(Scorer(contract(), Sum())))
    found = post(target, "/explain/m", {"rows": [GOOD, {**GOOD, "age": 200}]})
    assert found.status == 200
    assert [row["verdict"] for row in found.json["rows"]] == ["ok", "rejected"]
    assert found.json["rows"][0]["contributions"][0]["column"] == "age"
    assert post(target, "/explain/m", {"rows": [GOOD] * (ROWS + 1)}).status == 413
    assert post(target, "/explain/none", {"rows": [GOOD]}).status == 404
    assert call(target, "GET", "/explain/m").status == 405
    assert not any(tmp_path.rglob("*.jsonl"))  # nothing was predicted, so nothing is logged
