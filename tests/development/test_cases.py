"""Tests made from a contract: an honest model passes all of them, and every way of cheating is caught by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from fullcircle.development.cases.comparing import TOLERANCE, allowed, apart, limit_of
from fullcircle.development.cases.judging import MOST_HUGE, judge
from fullcircle.development.cases.metamorphic import check, same
from fullcircle.development.cases.rows import Case, cases, good_row, travelling
from fullcircle.development.cases.values import trials
from fullcircle.runtimes.contracts import examine, to_frame
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import KINDS, POLICIES, Column, Contract, Problem, Value, Verdict
from fullcircle.types.prediction import Prediction
from fullcircle.types.tests import CaseResult, counted, in_words

NUMBER = Column(name="x", kind="number", low=-10.0, high=10.0, missing="impute", fill=0.5, wrong_type="fallback")
COUNT = Column(name="n", kind="integer", low=0, high=9, missing="flag", outside="reject")
CITY = Column(name="city", kind="category", categories=("Lima", "Oslo"), unseen="impute", fill="Oslo")
OPEN = Column(name="open", kind="boolean", nullable=True)
NOTE = Column(name="note", kind="text", missing="fallback")
DAY = Column(name="day", kind="time", low=0.0, high=2e9, fill="2001-09-09T01:46:40", missing="impute")
CONTRACT = Contract(
    columns=(NUMBER, COUNT, CITY, OPEN, NOTE, DAY), label="y", task="regression", prior=7.0, context=("who",)
)
GOOD: dict[str, Any] = {"x": 1.5, "n": 2, "city": "Lima", "open": True, "note": "a", "day": "2020-02-03T04:05:06"}
ROWS = [{**GOOD, "x": place / 7, "n": place % 10, "who": f"p{place}"} for place in range(25)]


class Plain:
    """Adds up what it is shown, row by row; a missing value counts nothing."""

    def predict(self, frame: Any) -> Any:
        found = np.zeros(len(frame))
        for name, weight in (("x", 0.5), ("n", 1.0)):
            if name in frame:
                found = found + weight * np.nan_to_num(np.asarray(frame[name], dtype=float))
        if "city" in frame:
            found = found + np.asarray(frame["city"].cat.codes, dtype=float)
        return found


class Cheat(Plain):
    """Plain, with something done to its answers; ``calls`` counts what it was asked."""

    def __init__(self, change: Callable[[Any, Any, int], Any]) -> None:
        self.change, self.calls = change, 0

    def predict(self, frame: Any) -> Any:
        self.calls += 1
        return self.change(frame, super().predict(frame), self.calls)


class Leaky(Scorer):
    """A scorer whose predictions are changed on their way out."""

    def __init__(self, change: Callable[[Any, Prediction], Prediction], contract: Contract = CONTRACT) -> None:
        super().__init__(contract, Plain())
        self._change = change

    def score(self, rows: Sequence[object]) -> tuple[Prediction, ...]:
        return tuple(self._change(row, one) for row, one in zip(rows, super().score(rows), strict=True))


def failed(results: Sequence[CaseResult]) -> dict[str, CaseResult]:
    return {result.name: result for result in results if result.status == "failed"}


def of_cheat(change: Callable[[Any, Any, int], Any]) -> Scorer:
    return Scorer(CONTRACT, Cheat(change))


class TestWhatIsTried:
    def test_every_case_of_a_contract_with_its_verdict(self) -> None:
        found = {case.name: case.status for case in cases(CONTRACT, ROWS)}
        expected = {
            "a row as it was": "ok",
            "x: not there": "imputed",
            "x: NaN": "imputed",
            "x: true": "fallback",
            "x: the text 3": "fallback",
            "x: 2**53 + 1": "fallback",
            "x: exactly at the low end": "ok",
            "x: exactly at the high end": "ok",
            "x: just beyond the low end": "flagged",
            "x: just beyond the high end": "flagged",
            "x: 1e308": "flagged",
            "n: null": "flagged",
            "n: a half": "rejected",
            "n: a whole number of 20 digits": "rejected",
            "n: just beyond the high end": "rejected",
            "n: at the high end, written with a point": "ok",
            "city: known category 2": "ok",
            "city: an empty text": "imputed",
            "city: a known category in other case": "imputed",
            "city: a known category and a space": "imputed",
            "city: half a character": "imputed",
            "city: a number": "rejected",
            "open: null": "ok",
            "open: not there": "ok",
            "open: 1": "rejected",
            "note: null": "fallback",
            "note: half a character": "rejected",
            "day: day month year": "rejected",
            "day: exactly at the low end, with a zone": "ok",
            "day: just beyond the high end": "flagged",
            "an unknown column": "rejected",
            "a row that is a list": "rejected",
            "an empty row": "rejected",
            "context of any kind": "ok",
        }
        assert {name: found.get(name) for name in expected} == expected

    @pytest.mark.parametrize("column", CONTRACT.columns, ids=lambda column: column.name)
    def test_each_column_is_wrong_in_every_way_it_can_be(self, column: Column) -> None:
        reasons = {trial.reason for trial in trials(column)}
        ranged = {"outside"} if column.kind in ("number", "integer", "time") else set()
        unseen = {"unseen"} if column.kind == "category" else set()
        missing = set() if column.nullable else {"missing"}
        assert reasons == {"", "wrong_type", *ranged, *unseen, *missing}

    def test_names_are_distinct(self) -> None:
        names = [case.name for case in cases(CONTRACT, ROWS)]
        assert len(names) == len(set(names)) > 80

    def test_boundaries_are_the_nearest_floats(self) -> None:
        found = {trial.what: trial.value for trial in trials(NUMBER)}
        assert found["just beyond the high end"] == math.nextafter(10.0, math.inf)
        assert found["exactly at the high end"] == 10.0

    def test_a_range_that_ends_between_whole_numbers(self) -> None:
        column = Column(name="n", kind="integer", low=0.5, high=3.5)
        found = {trial.what: (trial.value, trial.reason) for trial in trials(column)}
        assert found["exactly at the low end"] == (1, "")
        assert found["just beyond the low end"] == (0, "outside")
        assert found["just beyond the high end"] == (4, "outside")

    def test_a_category_that_looks_wrong_and_is_known_is_not_called_unseen(self) -> None:
        column = Column(name="c", kind="category", categories=("a", "", "A", "a "))
        assert {trial.value for trial in trials(column) if trial.reason == "unseen"} == {
            "never seen before",
            "half \ud800 character",
        }

    def test_many_categories_are_tried_in_part(self) -> None:
        column = Column(name="c", kind="category", categories=tuple(f"c{n}" for n in range(1000)))
        assert len([trial for trial in trials(column) if trial.what.startswith("known")]) == 20

    def test_policies_that_cannot_be_followed_are_rejections(self) -> None:
        columns = (
            Column(name="x", kind="number", missing="impute", fill="no number"),
            Column(name="z", kind="number", missing="fallback"),
        )
        contract = Contract(columns=columns, label="y", task="regression")
        found = {case.name: case.status for case in cases(contract, [{"x": 1.0, "z": 1.0}])}
        assert (found["x: null"], found["z: null"]) == ("rejected", "rejected")


class TestTheGoodRow:
    def test_it_is_the_first_that_fits_without_its_context(self) -> None:
        assert good_row(CONTRACT, [{**GOOD, "x": None}, {**GOOD, "who": "me", "more": 1}]) == GOOD

    def test_where_none_fits_it_is_mended(self) -> None:
        mended = good_row(CONTRACT, [{**GOOD, "x": 99.0, "city": "Rome"}])
        assert (mended["x"], mended["city"]) == (0.5, "Oslo")
        assert not failed(judge(Scorer(CONTRACT, Plain()), [{**GOOD, "x": 99.0, "city": "Rome"}]))

    def test_nothing_at_all_is_enough(self) -> None:
        assert not failed(judge(Scorer(CONTRACT, Plain()), []))

    def test_private_columns_travel_as_their_fill(self) -> None:
        contract = replace(CONTRACT, columns=(replace(NUMBER, private=True), COUNT, replace(NOTE, private=True)))
        row = travelling(contract, {"x": 3.25, "n": 4, "note": "secret"})
        assert row == {"x": 0.5, "n": 4, "note": None}
        assert travelling(contract, {"x": None}) == {"x": None}


class TestHonestModels:
    def test_plain_passes_everything_bit_for_bit(self) -> None:
        scorer = Scorer(CONTRACT, Plain())
        results = (*judge(scorer, ROWS), *check(scorer, ROWS))
        assert not failed(results)
        assert counted(results).keys() == {"passed"}

    @pytest.mark.parametrize("kind", ["forest", "boosting"])
    def test_trees_hold_the_same_bits(self, kind: str) -> None:
        contract = Contract(columns=(NUMBER, COUNT), label="y", task="regression", prior=7.0)
        contract = replace(contract, columns=(NUMBER, replace(COUNT, missing="reject")))
        frame = to_frame(contract, [examine(contract, {"x": row["x"], "n": row["n"]})[1] for row in ROWS])
        label = frame["x"] * 3 + frame["n"]
        rows = [{"x": row["x"], "n": row["n"]} for row in ROWS]
        if kind == "forest":
            model: Any = RandomForestRegressor(10, random_state=0).fit(frame, label)
        else:
            contract = replace(contract, task="classification", classes=("a", "b"), prior="a")
            model = GradientBoostingClassifier(n_estimators=5, random_state=0).fit(
                frame, np.where(label > 9, "b", "a")
            )
        assert allowed(model) == 0.0
        results = (*judge(Scorer(contract, model), rows), *check(Scorer(contract, model), rows))
        assert not failed(results)
        # A forest is a model of 32-bit floats: it refuses 1e308 by itself, and that is said.
        noted = [result.name for result in results if result.status == "noted"]
        assert noted == ["x: 1e308", "x: -1e308"]

    def test_blas_may_round_and_says_so(self) -> None:
        contract = Contract(
            columns=(NUMBER, replace(COUNT, missing="reject")), label="y", task="regression", prior=7.0
        )
        rng = np.random.default_rng(0)
        frame = to_frame(
            contract, [{"x": float(x), "n": int(n)} for x, n in zip(rng.normal(size=60), range(60), strict=True)]
        )
        rows = [{"x": row["x"], "n": row["n"]} for row in ROWS]
        model = LinearRegression().fit(frame, frame["x"] * 0.3 + frame["n"] * 0.7)
        assert allowed(model) == TOLERANCE
        results = check(Scorer(contract, model), rows)
        assert not failed(results)
        assert all("same bits" in result.text or "1e-09 is allowed" in result.text for result in results[:-1])

    def test_forests_that_add_up_in_threads_and_unknown_models_are_not_asked_for_bits(self) -> None:
        assert allowed(RandomForestRegressor(n_jobs=2)) == TOLERANCE
        assert allowed(KNeighborsRegressor()) == TOLERANCE
        assert allowed(Plain()) == TOLERANCE
        assert limit_of(Scorer(CONTRACT, RandomForestRegressor())) == 0.0


POLICY = st.sampled_from(POLICIES)


NAMES = ("", "a", "A", "a ", "ß", "never seen before")
ENDS = st.one_of(st.none(), st.floats(0, 5))


@st.composite
def columns(draw: st.DrawFn, name: str) -> tuple[Column, Any]:
    """A column of any kind with any policies, and a value that fits it."""
    kind = draw(st.sampled_from(KINDS))
    below, above = draw(ENDS), draw(ENDS)
    names = tuple(draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))) if kind == "category" else ()
    values: Mapping[str, st.SearchStrategy[Any]] = {
        "number": st.floats(-1e6, 1e6),
        "integer": st.integers(-1000, 1000),
        "boolean": st.booleans(),
        "category": st.sampled_from(names or ("",)),
        "text": st.text(st.characters(codec="utf-8"), max_size=5),
        "time": st.just("2020-01-01T00:00:00"),
    }
    value = draw(values[kind])
    around = value if kind in ("number", "integer") else 1577836800.0
    ranged = kind in ("number", "integer", "time")
    column = Column(
        name=name,
        kind=kind,
        low=around - below if ranged and below is not None else None,
        high=around + above if ranged and above is not None else None,
        fill=draw(st.sampled_from([value, None, "zz", 1e9, True])),
        categories=names,
        private=draw(st.booleans()),
        nullable=draw(st.booleans()),
        missing=draw(POLICY),
        unseen=draw(POLICY),
        outside=draw(POLICY),
        wrong_type=draw(POLICY),
    )
    return column, value


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_is_declared_is_what_scorers_do_whatever_the_contract(data: st.DataObject) -> None:
    """The expectations are written apart from the judging of rows: on every contract the two agree."""
    drawn = [data.draw(columns(f"c{place}")) for place in range(data.draw(st.integers(1, 4)))]
    contract = Contract(
        columns=tuple(column for column, _ in drawn),
        label="y",
        task="regression",
        unknown=data.draw(st.sampled_from(["reject", "flag"])),
        prior=data.draw(st.sampled_from([3.5, None])),
        context=data.draw(st.sampled_from([(), ("who",)])),
    )
    scorer = Scorer(contract, Plain())
    rows = [{column.name: value for column, value in drawn}]
    results = (*judge(scorer, rows), *check(scorer, rows * 3))
    assert not failed(results)
    assert len(results) > 10 * len(drawn)


class TestCheats:
    """Each cheat, and the tests that name it."""

    @pytest.mark.parametrize(
        ("change", "names"),
        [
            pytest.param(
                lambda f, y, calls: y - y.mean(), {"rows one at a time", "rows two at a time"}, id="batch mean"
            ),
            pytest.param(lambda f, y, calls: y + np.arange(len(y)), {"rows in reverse order"}, id="order"),
            pytest.param(lambda f, y, calls: np.cumsum(y), {"rows in another order", "every row twice"}, id="sums"),
            pytest.param(lambda f, y, calls: y + calls, {"asked again", "rows one at a time"}, id="keeps state"),
            pytest.param(
                lambda f, y, calls: y + 1e-6 * np.random.default_rng(calls).random(len(y)),
                {"asked again"},
                id="random",
            ),
            pytest.param(lambda f, y, calls: y + (len(y) > 30), {"every row twice"}, id="size"),
            pytest.param(lambda f, y, calls: y + (len(y) != len(np.unique(y))), {"every row twice"}, id="duplicates"),
            pytest.param(
                lambda f, y, calls: y + f["x"].isin([0.5]).any(), {"beside rows that do not fit"}, id="neighbours"
            ),
        ],
    )
    def test_answers_that_depend_on_anything_but_the_row(
        self, change: Callable[[Any, Any, int], Any], names: set[str]
    ) -> None:
        caught = failed(check(of_cheat(change), ROWS))
        assert names <= caught.keys()
        assert "apart" in caught[min(names)].text

    def test_state_that_shows_at_the_end(self) -> None:
        calls = Cheat(lambda f, y, calls: y)
        assert not failed(check(Scorer(CONTRACT, calls), ROWS))
        assert 25 < calls.calls < 40
        caught = failed(check(of_cheat(lambda f, y, now: y + (now == calls.calls)), ROWS))
        assert set(caught) == {"asked again after all of this"}

    def test_a_bad_neighbour_is_felt_among_the_cases_too(self) -> None:
        caught = failed(judge(of_cheat(lambda f, y, calls: y + f["n"].isna().any()), ROWS))
        assert "a good row among rows that do not fit" in caught

    def test_order_of_columns(self) -> None:
        def by_place(row: Any, one: Prediction) -> Prediction:
            first = next(iter(row.values())) if isinstance(row, Mapping) and row else None
            return replace(one, value=first if isinstance(first, float) else one.value)

        caught = failed(check(Leaky(by_place), ROWS))
        assert "columns in reverse order" in caught
        assert "rows in reverse order" not in caught

    def test_values_known_by_their_identity_are_others_after_json(self) -> None:
        known = {id(row["city"]) for row in ROWS}

        def same_object(row: Any, one: Prediction) -> Prediction:
            mine = isinstance(row, Mapping) and id(row.get("city")) in known
            return replace(one, value=(one.value or 0.0) + mine) if isinstance(one.value, float) else one

        assert set(failed(check(Leaky(same_object), ROWS))) == {"rows through JSON"}

    def test_rows_that_are_changed(self) -> None:
        def greedy(row: Any, one: Prediction) -> Prediction:
            if isinstance(row, dict):
                row["x"] = 0.0
            return one

        assert "rows stay as they are" in failed(check(Leaky(greedy), ROWS))

    def test_a_model_that_raises_on_a_boundary(self) -> None:
        def edgy(frame: Any, y: Any, calls: int) -> Any:
            if (frame["x"] == 10.0).any():
                raise ZeroDivisionError
            return y

        caught = failed(judge(of_cheat(edgy), ROWS))
        assert set(caught) == {"x: exactly at the high end"}
        case = caught["x: exactly at the high end"]
        assert "ZeroDivisionError" in case.text
        assert (case.expected, case.got) == ("ok", "rejected (model)")
        assert case.row is not None
        assert case.row["x"] == "10.0"

    def test_a_model_that_gives_no_number_beyond_its_range(self) -> None:
        caught = failed(judge(of_cheat(lambda f, y, calls: np.where(f["x"] > 10, np.nan, y)), ROWS))
        assert set(caught) == {"x: just beyond the high end"}

    def test_a_model_that_is_infinite_at_1e308_is_noted_and_infinity_never_comes_out(self) -> None:
        scorer = of_cheat(lambda f, y, calls: np.where(np.abs(f["x"]) > 1e300, np.inf, y))
        results = judge(scorer, ROWS)
        assert not failed(results)
        assert [case.name for case in results if case.status == "noted"] == ["x: 1e308", "x: -1e308"]

        def leak(row: Any, one: Prediction) -> Prediction:
            far = isinstance(row, Mapping) and row.get("x") == 1e308 and one.verdict.status == "flagged"
            return replace(one, value=math.inf) if far else one

        caught = failed(judge(Leaky(leak), ROWS))
        assert set(caught) == {"x: 1e308"}
        assert "finite" in caught["x: 1e308"].text

    def test_a_model_that_cannot_take_what_the_contract_passes_on(self) -> None:
        def strict(frame: Any, y: Any, calls: int) -> Any:
            if frame["n"].isna().any():
                raise ValueError("NaN")
            return y

        caught = failed(judge(of_cheat(strict), ROWS))
        assert {"n: null", "n: NaN", "n: not there"} == set(caught)

    def test_a_scorer_that_raises_or_loses_a_row(self) -> None:
        class Raising(Scorer):
            def score(self, rows: Sequence[object]) -> tuple[Prediction, ...]:
                if any(not isinstance(row, Mapping) for row in rows):
                    raise TypeError
                return super().score(rows)

        class Losing(Scorer):
            def score(self, rows: Sequence[object]) -> tuple[Prediction, ...]:
                return super().score(rows)[: max(1, len(rows) - 1)]

        (case,) = failed(judge(Raising(CONTRACT, Plain()), ROWS)).values()
        assert "raised TypeError" in case.text
        assert "predictions" in failed(check(Losing(CONTRACT, Plain()), ROWS))["good rows"].text


class TestScorersThatJudgeOtherwise:
    @pytest.mark.parametrize(
        ("changes", "names"),
        [
            ({"x": {"high": 11.0}}, {"x: just beyond the high end"}),
            ({"x": {"low": -9.0}}, {"x: exactly at the low end"}),
            ({"x": {"missing": "flag"}}, {"x: null", "x: NaN", "x: not there"}),
            ({"x": {"fill": 0.75}}, {"x: null", "x: not there"}),
            ({"n": {"outside": "flag"}}, {"n: just beyond the high end"}),
            ({"city": {"categories": ("Lima", "Oslo", "lIMA")}}, {"city: a known category in other case"}),
            ({"city": {"categories": ("Lima",)}}, {"city: known category 2"}),
            ({"open": {"nullable": False}}, {"open: null", "open: not there"}),
        ],
    )
    def test_a_verdict_that_is_not_the_declared_one(
        self, changes: Mapping[str, Mapping[str, Any]], names: set[str]
    ) -> None:
        """The scorer judges by another contract than the one whose cases are asked."""
        other = tuple(replace(one, **changes.get(one.name, {})) for one in CONTRACT.columns)
        inner = Scorer(replace(CONTRACT, columns=other), Plain())

        class Drifted(Scorer):
            def score(self, rows: Sequence[object]) -> tuple[Prediction, ...]:
                return inner.score(rows)

        assert names <= failed(judge(Drifted(CONTRACT, Plain()), ROWS)).keys()

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (lambda row, one: replace(one, value=1.0) if one.verdict.status == "rejected" else one, "was answered"),
            (lambda row, one: replace(one, value=8.0) if one.verdict.status == "fallback" else one, "prior"),
            (lambda row, one: replace(one, value=True) if one.verdict.status == "flagged" else one, "finite number"),
            (lambda row, one: replace(one, verdict=replace(one.verdict, problems=())), "no problem says"),
        ],
    )
    def test_an_answer_that_its_verdict_forbids(self, change: Any, text: str) -> None:
        assert any(text in case.text for case in failed(judge(Leaky(change), ROWS)).values())

    def test_a_problem_with_a_value_that_fits(self) -> None:
        def fussy(row: Any, one: Prediction) -> Prediction:
            told = (Problem(column="n", reason="outside", action="flag", text="odd"),)
            odd = isinstance(row, Mapping) and row.get("n") == 9 and one.verdict.status == "ok"
            return replace(one, verdict=Verdict(status="ok", problems=told)) if odd else one

        caught = failed(judge(Leaky(fussy), ROWS))
        assert set(caught) == {"n: exactly at the high end", "n: at the high end, written with a point"}
        assert "the value fits" in caught["n: exactly at the high end"].text

    def test_the_previous_champion_may_answer_a_fallback(self) -> None:
        def previous(row: Any, one: Prediction) -> Prediction:
            return replace(one, value=5.0, answered_by="previous") if one.verdict.status == "fallback" else one

        assert not failed(judge(Leaky(previous), ROWS))

    def test_a_problem_that_quotes_a_private_value(self) -> None:
        contract = replace(CONTRACT, columns=(replace(NUMBER, private=True), COUNT, replace(CITY, private=True)))

        def telling(row: Any, one: Prediction) -> Prediction:
            told = tuple(
                Problem(column=p.column, reason=p.reason, action=p.action, text=f"got {row.get(p.column)!r}")
                for p in one.verdict.problems
                if isinstance(row, Mapping)
            )
            return replace(one, verdict=Verdict(status=one.verdict.status, problems=told))

        caught = failed(judge(Leaky(telling, contract), [GOOD]))
        quoted = {name for name, case in caught.items() if "private" in case.text}
        assert {"x: just beyond the high end", "x: 1e308", "city: a category that nobody saw"} <= quoted
        assert not any(name.startswith("n:") for name in quoted)
        # And the report of the failure does not quote it either.
        shown = caught["x: just beyond the high end"].row
        assert shown is not None
        assert (shown["x"], shown["n"]) == ("(private)", "2")
        assert not failed(judge(Scorer(contract, Plain()), [GOOD]))

    def test_probabilities_that_are_none(self) -> None:
        contract = replace(CONTRACT, task="classification", classes=("no", "yes"), prior="no")

        class Half:
            def predict(self, frame: Any) -> Any:
                return np.array(["no"] * len(frame))

            def predict_proba(self, frame: Any) -> Any:
                return np.full((len(frame), 2), 0.4)

        assert "add up" in failed(judge(Scorer(contract, Half()), ROWS))["a row as it was"].text


class TestHowFarApart:
    def _of(self, value: Value, **chances: float) -> Prediction:
        return Prediction(value=value, verdict=Verdict(status="ok"), probabilities=chances or None)

    def test_numbers_are_relative_to_usual_answers(self) -> None:
        assert apart(self._of(1.0), self._of(1.0), 1.0) == 0.0
        assert 0.0 < apart(self._of(0.0), self._of(-0.0), 1.0) < TOLERANCE
        assert apart(self._of(100.0), self._of(101.0), 1.0) == pytest.approx(1 / 101)
        assert apart(self._of(1e-12), self._of(2e-12), 100.0) < TOLERANCE
        assert apart(self._of(1.0), self._of(None), 1.0) == math.inf
        assert apart(self._of(1.0), self._of(math.nan), 1.0) == math.inf
        assert apart(self._of(1.0), self._of(1), 1.0) == math.inf

    def test_classes_differ_unless_they_are_a_tie(self) -> None:
        tie = apart(self._of("a", a=0.5, b=0.5), self._of("b", a=0.5, b=0.5 + 1e-16), 1.0)
        assert tie <= TOLERANCE
        assert apart(self._of("a", a=0.6, b=0.4), self._of("b", a=0.6, b=0.4), 1.0) > 0.1
        assert apart(self._of("a"), self._of("b"), 1.0) == math.inf
        assert apart(self._of("a", a=1.0), self._of("a", b=1.0), 1.0) == math.inf


def test_two_scorers_are_compared_row_by_row() -> None:
    one, other = Scorer(CONTRACT, Plain()), of_cheat(lambda f, y, calls: y + (f["x"] > 3))
    assert same("twice", "golden", one, one, ROWS).status == "passed"
    found = same("twice", "golden", one, other, ROWS)
    assert (found.kind, found.status) == ("golden", "failed")
    assert found.text.startswith("3 of 25 rows")


def test_a_slow_model_is_asked_in_few_calls_and_wide_contracts_end_soon() -> None:
    wide = tuple(Column(name=f"c{place}", kind="number", low=0.0, high=1.0) for place in range(30))
    contract = Contract(columns=wide, label="y", task="regression", prior=0.0)
    rows = [{column.name: 0.5 for column in wide} for _ in range(25)]
    slow = Cheat(lambda frame, y, calls: y)
    started = time.process_time()
    results = (*judge(Scorer(contract, slow), rows), *check(Scorer(contract, slow), rows))
    assert time.process_time() - started < 5  # a fifth of a second is usual
    assert not failed(results)
    assert len(results) > 400
    assert slow.calls <= 40

    def far(frame: Any, y: Any, calls: int) -> Any:
        if (frame.abs() > 1e300).any(axis=None):
            raise OverflowError
        return y

    worst = Cheat(far)
    judge(Scorer(contract, worst), rows)
    assert worst.calls <= 2 * (MOST_HUGE + 10)


def test_counts_are_said_in_order() -> None:
    def of(status: Any) -> CaseResult:
        return CaseResult(name="n", kind="contract", status=status)

    assert in_words(counted((of("failed"), of("passed"), of("passed")))) == "2 passed, 1 failed"
    assert in_words({}) == "none"


def test_a_case_says_what_it_is() -> None:
    case = next(case for case in cases(CONTRACT, ROWS) if case.name == "x: null")
    assert isinstance(case, Case)
    assert (case.column, case.reason, case.like) == (
        "x",
        "missing",
        {**{k: v for k, v in ROWS[0].items() if k != "who"}, "x": 0.5},
    )
