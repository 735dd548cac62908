"""Replay: logged traffic answered again by any version."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import circles
from flows.played_models import DAY, START, Played, played
from flows.trees import tree
from fullcircle.errors import BundleInvalid, ColumnMissing, DataUnfit, RequestInvalid, VersionNotFound
from fullcircle.flows import erase
from fullcircle.flows.replay import replay, tolerance_of
from fullcircle.flows.replayed_counts import Counts, Pair, Sample, Tolerance
from fullcircle.flows.replayed_rows import Asked, held
from fullcircle.monitoring.grid import iso
from fullcircle.runtimes.contracts import examine
from fullcircle.tables import predictions as log
from fullcircle.types.contract import Column, Contract, Problem, Verdict
from fullcircle.types.loop import Replayed
from fullcircle.types.prediction import Prediction

NUMBERS = (
    tree(circles.PLAIN)
    .replace(
        '        fc.beats("champion"),\n',
        '        fc.worth(per_row=value, at_least=1),\n        fc.fair(by="area", metric="mae", gap=30),\n',
    )
    .replace('checks=["quality"]', 'checks=["quality", "value", "fairness"]')
)
CLASSES = """
import fullcircle as fc
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def fit(X, y, C=1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C)).fit(X[["rooms", "heat"]], y)


def dear(frame):
    return frame.assign(cost=(frame["cost"] > 24).map({True: "dear", False: "cheap"}))


project = fc.Project(
    name="prices",
    data=fc.Table("houses.csv", prepare=dear),
    label="cost",
    features=["rooms", "heat"],
    fit=fit,
    gates=[
        fc.at_least("accuracy", 0.1),
        fc.worth(matrix={("dear", "dear"): 4.0, ("cheap", "dear"): -1.0}, at_least=-5),
    ],
    checks=["quality", "value"],
    protected=["area"],
    currency="EUR",
)
"""


def rows_of(text: str) -> tuple[list[dict[str, Any]], list[float]]:
    """Houses as a caller sends them, and what they cost."""
    found = [*csv.DictReader(io.StringIO(text))]
    rows = [{"rooms": int(one["rooms"]), "heat": float(one["heat"]), "area": one["area"]} for one in found]
    return rows, [float(one["cost"]) for one in found]


def new_rows() -> tuple[list[dict[str, Any]], list[float]]:
    """300 houses that no training row is like: their heat has a third decimal."""
    rows, costs = rows_of(circles.houses(seed=3, rows=300))
    return [{**row, "heat": row["heat"] + 0.001} for row in rows], costs


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Version 1 hardly learned anything and answered 300 rows on day 1; version 2 did, and answered 100 on day 3.

    Labels came for the first 200.
    """
    made = played(tmp_path_factory.mktemp("numbers"), NUMBERS)
    assert made.make(max_depth="1") == 1
    rows, costs = rows_of(circles.houses(seed=11, rows=400))
    ids = made.serve(rows[:300], day=1)
    made.label(dict(zip(ids[:200], costs, strict=False)), day=2)
    assert made.make(day=2) == 2
    made.serve(rows[300:], day=3)
    return made


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Played, list[str], list[str]]:
    """Two versions of two classes; version 1 answered 300 rows, all labelled."""
    made = played(tmp_path_factory.mktemp("classes"), CLASSES)
    made.make(C="0.00001")
    rows, costs = new_rows()
    ids = made.serve(rows, day=1)
    labels = ["dear" if cost > 24 else "cheap" for cost in costs]
    made.label(dict(zip(ids, labels, strict=True)), day=2)
    made.make(day=2)
    return made, ids, labels


def asked(made: Played, version: int, **more: Any) -> Replayed:
    """A replay of a model by its project."""
    return replay(made.project, version=version, settings=made.settings, **more)


def test_a_version_against_itself_differs_in_no_bit(numbers: Played) -> None:
    found = asked(numbers, 1, until=iso(START + 2 * DAY), tolerance="0")
    assert (found.rows, found.changed, found.against) == (300, 0, (1,))
    assert found.sizes["bits"] == 0
    assert found.sizes["largest"] == 0.0
    assert found.verdicts == (("ok", "ok", 300),) or all(then == now for then, now, _ in found.verdicts)
    assert found.examples == ()
    (same,) = found.differences
    assert (same.difference, same.low, same.high, same.rows) == (0.0, 0.0, 0.0, 200)
    assert found.worth is not None
    assert (found.worth.per_row, found.worth.low, found.worth.high) == (0.0, 0.0, 0.0)


def test_a_better_version_says_what_would_have_differed_for_whom_and_what_it_earns(numbers: Played) -> None:
    found = asked(numbers, 2, until=iso(START + 2 * DAY), by=("rooms",))
    assert 250 < found.changed <= found.rows == 300
    assert found.sizes["bits"] >= found.changed
    assert 0 < found.sizes["median"] <= found.sizes["p95"] <= found.sizes["largest"]
    (better,) = found.differences
    assert (better.metric, better.rows, better.passed) == ("mae", 200, True)
    assert better.challenger < better.champion
    assert 0 < better.low < better.difference < better.high
    assert found.worth is not None
    assert found.worth.low > 0
    assert found.worth.gain == pytest.approx(found.worth.per_row * 300)
    assert found.worth.net == found.worth.gain, "nothing has to be trained for it"
    everyone, *groups = found.groups
    assert (everyone.column, everyone.rows, everyone.changed) == ("", 300, found.changed)
    for column in ("area", "rooms"):
        mine = [each for each in groups if each.column == column]
        assert sum(each.rows for each in mine) == 300
        assert sum(each.changed for each in mine) == found.changed
    assert {each.value for each in groups if each.column == "area"} == {"north", "south", "west"}
    assert everyone.earned_after is not None
    assert everyone.earned_before is not None
    assert everyone.earned_after - everyone.earned_before == pytest.approx(found.worth.per_row)


def test_the_figures_are_those_of_the_rows_themselves(numbers: Played) -> None:
    rows, costs = rows_of(circles.houses(seed=11, rows=400))
    with numbers.session(4) as session:
        from fullcircle.flows import versions

        then, now = (
            np.array(
                [each.value for each in versions.scorer(session, "houses", number).score(rows[:300])], dtype=float
            )
            for number in (1, 2)
        )
    found = asked(numbers, 2, until=iso(START + 2 * DAY), tolerance="1.5")
    assert found.changed == int((np.abs(now - then) > 1.5).sum())
    assert found.groups[0].before == pytest.approx(then.mean())
    assert found.groups[0].after == pytest.approx(now.mean())
    (difference,) = found.differences
    actual = np.array(costs[:200])
    gain = np.abs(then[:200] - actual) - np.abs(now[:200] - actual)
    assert difference.difference == pytest.approx(gain.mean())
    assert found.sizes["mean"] == pytest.approx((now - then).mean())


def test_an_older_version_answers_what_a_newer_one_did(numbers: Played) -> None:
    found = asked(numbers, 1, since=iso(START + 2 * DAY))
    assert (found.against, found.rows, found.labelled) == ((2,), 100, 0)
    assert found.changed > 80
    assert found.differences == ()
    assert found.worth is None
    assert any("too few labels" in note for note in found.notes)


def test_examples_are_the_greatest_changes_and_can_be_walked(numbers: Played) -> None:
    found = asked(numbers, 2)
    sizes = [abs(float(now) - float(then)) for _, then, now in found.examples]
    assert len(sizes) == 10
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == pytest.approx(found.sizes["largest"], rel=1e-3)
    logged = log.find(numbers.settings.workspace / "predictions", found.examples[0][0])
    assert logged.value == pytest.approx(float(found.examples[0][1]), rel=1e-4)


def test_a_span_goes_back_from_the_clock_of_the_workspace(numbers: Played) -> None:
    with numbers.session(3.5):
        pass
    assert asked(numbers, 1, since="1d").rows == 100
    assert asked(numbers, 1, since="30d").rows == 400
    assert asked(numbers, 1, since="30d", until="1d").rows == 300


def test_classes_count_where_another_one_is_answered(classes: tuple[Played, list[str], list[str]]) -> None:
    made, ids, labels = classes
    found = asked(made, 2)
    with made.session(4) as session:
        from fullcircle.flows import versions

        rows, _ = new_rows()
        then, now = (versions.scorer(session, "prices", number).score(rows) for number in (1, 2))
    differ = [before.value != after.value for before, after in zip(then, now, strict=True)]
    assert found.changed == sum(differ) > 0
    assert {identity for identity, _, _ in found.examples} <= {
        one for one, far in zip(ids, differ, strict=True) if far
    }
    everyone = found.groups[0]
    assert everyone.after == pytest.approx(np.mean([each.value == "dear" for each in now]))
    paid: dict[tuple[object, object], float] = {("dear", "dear"): 4.0, ("cheap", "dear"): -1.0}
    gains = [
        paid.get((label, after.value), 0.0) - paid.get((label, before.value), 0.0)
        for label, before, after in zip(labels, then, now, strict=True)
    ]
    assert found.worth is not None
    assert found.worth.per_row == pytest.approx(np.mean(gains))
    assert found.worth.unit == found.currency == "EUR"
    assert {each.column for each in found.groups} == {"", "area"}, "area is protected, and rows bring it along"


def test_classes_against_themselves_differ_in_no_bit(classes: tuple[Played, list[str], list[str]]) -> None:
    found = asked(classes[0], 1)
    assert (found.changed, found.sizes["bits"], found.rows) == (0, 0, 300)


def test_by_its_name_alone_there_is_no_money(classes: tuple[Played, list[str], list[str]]) -> None:
    found = replay("prices", version=2, settings=classes[0].settings, by=("area",))
    assert found.worth is None
    assert found.changed == asked(classes[0], 2).changed
    assert any("name its project" in note for note in found.notes)
    assert len(found.groups) == 4


def test_late_and_corrected_labels_change_what_is_said(tmp_path: Path) -> None:
    made = played(tmp_path, NUMBERS)
    made.make(max_depth="1")
    made.make(day=1, promoted=False)
    rows, costs = rows_of(circles.houses(seed=5, rows=60))
    ids = made.serve(rows, day=2, version=1)
    assert asked(made, 2).differences == ()
    made.label(dict(zip(ids, costs, strict=True)), day=30)
    (came,) = asked(made, 2).differences
    assert came.rows == 60
    assert came.difference > 0
    made.label(dict.fromkeys(ids, 1e6), day=31)
    (corrected,) = asked(made, 2).differences
    assert corrected.difference != came.difference
    made.label(dict.fromkeys(ids[:50], "none of your business"), day=32)
    found = asked(made, 2)
    assert found.labelled == 10
    assert any("50 labels are no answer" in note for note in found.notes)


def test_rows_that_the_version_has_learned_prove_nothing(tmp_path: Path) -> None:
    made = played(tmp_path, NUMBERS)
    made.make(max_depth="1")
    made.make(day=1, promoted=False)
    rows, costs = rows_of(circles.houses())  # the very rows that both were made from
    ids = made.serve(rows, day=2, version=1)
    made.label(dict(zip(ids, costs, strict=True)), day=3)
    found = asked(made, 2)
    assert found.rows == 400
    assert found.labelled == 100, "a quarter was kept for the report"
    assert any("300 labelled rows are left out" in note for note in found.notes)


def test_erased_rows_are_gone_and_nothing_left_is_refused(tmp_path: Path) -> None:
    made = played(tmp_path, NUMBERS)
    made.make()
    rows, _ = rows_of(circles.houses(seed=5, rows=30))
    ids = made.serve(rows, day=1)
    erase.erase("houses", ids=ids[:10], reason="asked for", settings=made.settings)
    assert asked(made, 1).rows == 20
    erase.erase("houses", ids=ids[10:], reason="asked for", settings=made.settings)
    with pytest.raises(DataUnfit, match="no logged predictions"):
        asked(made, 1)


def test_rows_without_their_private_values_are_counted_and_refused_alone(tmp_path: Path) -> None:
    open_text = NUMBERS.replace("    fit=fit,\n", '    fit=fit,\n    inputs=fc.Inputs(columns={"area": {}}),\n')
    secret = NUMBERS.replace(
        "    fit=fit,\n", '    fit=fit,\n    inputs=fc.Inputs(columns={"area": {"hashed": True}}),\n'
    )
    made = played(tmp_path, open_text)
    made.make()
    rows, _ = rows_of(circles.houses(seed=5, rows=30))
    made.serve(rows[:10], day=1)
    made.project.write_text(secret)
    made.make(day=2)
    made.serve(rows[10:], day=3)
    found = asked(made, 1)
    assert (found.rows, found.against) == (10, (1,))
    assert found.left_out == (("area is private, and the log holds no values of it", 20),)
    assert any("20 of 30 logged rows" in note for note in found.notes)
    with pytest.raises(DataUnfit, match="none of the logged rows") as refused:
        asked(made, 1, since=iso(START + 2 * DAY))
    assert "area is private" in str(refused.value)


def test_rows_come_back_as_they_came(tmp_path: Path) -> None:
    policies = 'missing="impute", unseen="flag", outside="flag", wrong_type="impute", unknown="flag"'
    made = played(tmp_path, NUMBERS.replace("    fit=fit,\n", f"    fit=fit,\n    inputs=fc.Inputs({policies}),\n"))
    made.make()
    good = {"rooms": 3, "heat": 20.0, "area": "north"}
    odd: list[Mapping[str, Any]] = [
        good,
        {**good, "heat": None},
        {**good, "area": 'east\'s "new" quarter'},
        {**good, "heat": 9000.0},
        {**good, "garden": "yes"},
        {**good, "heat": "warm"},
    ]
    made.serve(odd, day=1)
    found = asked(made, 1)
    assert (found.rows, found.changed, found.sizes["bits"]) == (5, 0, 0), "the same answers, verdicts and reasons"
    assert found.left_out == (("the log does not hold what came in heat where it did not fit (wrong_type)", 1),)


def test_rejected_rows_that_a_version_would_let_pass_are_told(tmp_path: Path) -> None:
    strict = NUMBERS.replace("    fit=fit,\n", '    fit=fit,\n    inputs=fc.Inputs(unseen="reject"),\n')
    made = played(tmp_path, strict)
    made.make()
    good = {"rooms": 3, "heat": 20.0, "area": "north"}
    made.serve([good, {**good, "area": "east"}, {**good, "area": "moon"}, {**good, "rooms": "three"}], day=1)
    data = circles.houses() + circles.houses(seed=8).split("\n", 1)[1].replace("west", "east")
    (made.project.parent / "houses.csv").write_text(data)
    made.make(day=2)
    found = asked(made, 2)
    verdicts = {(then, now): number for then, now, number in found.verdicts}
    assert verdicts[("rejected", "may be answered")] == 1, "east is known now; the moon is not, three is no number"
    assert verdicts[("rejected", "not asked")] == 2
    assert found.rows == 1
    assert any("1 rows were rejected then" in note for note in found.notes)


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({"version": 9}, VersionNotFound, "no version 9"),
        ({"since": "yesterday"}, RequestInvalid, "time cannot be read"),
        ({"since": "1e999d"}, RequestInvalid, "cannot be read"),
        ({"tolerance": "a little"}, RequestInvalid, "tolerance cannot be read"),
        ({"tolerance": "-1%"}, RequestInvalid, "tolerance cannot be read"),
        ({"by": ("garden",)}, ColumnMissing, "does not hold"),
        ({"since": "2030-01-01"}, DataUnfit, "no logged predictions"),
    ],
)
def test_wrong_use_is_refused(numbers: Played, more: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as refused:
        asked(numbers, **{"version": 1, **more})
    assert "next" in refused.value.as_dict()  # type: ignore[attr-defined]


def test_a_version_that_answers_otherwise_here_is_refused(numbers: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    from fullcircle.packaging import bundle

    true = bundle.Bundle.golden.func(_bundle(numbers))  # type: ignore[attr-defined]
    spoilt = tuple(replace(row, value=float(row.value) + 1.0) for row in true if row.value is not None)
    monkeypatch.setattr(bundle.Bundle, "golden", spoilt)
    with pytest.raises(BundleInvalid, match="differently here"):
        asked(numbers, 1)


def _bundle(made: Played) -> Any:
    from fullcircle.flows import versions

    with made.session(5) as session:
        return versions.bundle(session, "houses", 1)


def test_the_result_is_one_json_document(numbers: Played) -> None:
    found = asked(numbers, 2)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Replayed) == found
    assert asked(numbers, 2) == found, "the same log gives the same figures"


def _prediction(place: int, value: float, label: str = "ok") -> Prediction:
    return Prediction(value=value, verdict=Verdict(status="ok"), id=f"{place:016x}-0", inputs={"size": float(place)})


def test_memory_does_not_grow_with_the_rows() -> None:
    sample: Sample[int] = Sample(most=100)
    for place in range(5000):
        sample.add(str(place), place)
    kept = sample.things()
    assert (len(kept), sample.given) == (100, 5000)
    again: Sample[int] = Sample(most=100)
    for place in reversed(range(5000)):
        again.add(str(place), place)
    assert again.things() == kept, "the order in which rows come does not matter"
    assert 1500 < np.mean(kept) < 3500


def test_many_values_of_a_group_are_put_together_and_numbers_go_into_ranges() -> None:
    size = Column(name="size", kind="number", usual_low=0.0, usual_high=90.0)
    contract = Contract(columns=(size,), label="cost", task="regression", context=("street",))
    counts = Counts(contract=contract, columns=("size", "street"), tolerance=Tolerance(0.0))
    for place in range(200):
        then = replace(_prediction(place, 1.0), context={"street": f"street {place:03d}"})
        counts.add([Pair(then, _prediction(place, 1.0 + (place % 2)))])
    sizes = [(each.value, each.rows, each.changed) for each in counts.groups if each.column == "size"]
    assert sizes == [
        ("2: 0 to below 30", 30, 15),
        ("3: 30 to below 60", 30, 15),
        ("4: 60 to below 90", 30, 15),
        ("5: 90 and more", 110, 55),
    ]
    streets = [each for each in counts.groups if each.column == "street"]
    assert len(streets) == 51
    assert (streets[-1].value, streets[-1].rows) == ("(others)", 150)


def _row(value: float, problems: tuple[Problem, ...] = (), **more: Any) -> Prediction:
    verdict = Verdict(status="flagged" if problems else "ok", problems=problems)
    return Prediction(value=value, verdict=verdict, version=1, **more)


STREET = Column(name="street", kind="category", categories=("elm", "oak"))
SIZE = Column(name="size", kind="number", low=0.0, high=100.0, outside="reject", missing="reject")
CONTRACT = Contract(columns=(STREET, SIZE), label="cost", task="regression", context=("day",))


def asks(contract: Contract = CONTRACT, then: Contract = CONTRACT) -> Asked:
    """What a version with this contract is asked of rows that one with another contract answered."""
    return Asked(contract, lambda number: then if number == 1 else None)


@pytest.mark.parametrize("came", ["new road", "it's", 'say "hi"', "back\\slash", "ünï", "a\nb", "'", "x" * 60])
def test_a_category_that_was_not_known_is_read_from_the_problem(came: str) -> None:
    verdict, values = examine(CONTRACT, {"street": came, "size": 3.0})
    assert values["street"] is None
    logged = Prediction(value=1.0, verdict=verdict, version=1, inputs=values)
    assert asks().row(logged) == {"street": came, "size": 3.0}
    long = examine(CONTRACT, {"street": "x" * 61, "size": 3.0})
    logged = Prediction(value=1.0, verdict=long[0], version=1, inputs=long[1])
    assert "does not hold what came in street" in str(asks().row(logged)), "it was too long to be quoted"


def test_values_come_from_wherever_the_log_holds_them() -> None:
    other = replace(CONTRACT, columns=(*CONTRACT.columns, Column(name="income", kind="number")), context=("day",))
    looked_up = {"values": {"income": 9.0}, "request": {"size": 1.0}}
    row = _row(1.0, inputs={"street": "elm", "size": 2.0}, context={"day": "monday", "hour": 3}, lookup=looked_up)
    assert asks(other).row(row) == {"day": "monday", "street": "elm", "size": 2.0, "income": 9.0}
    assert held(row, "income") == (True, 9.0)
    assert held(row, "garden") == (False, None)
    without = replace(row, lookup=None)
    assert asks(other).row(without) == "the log holds nothing in income, which the version asks for"


def test_why_a_row_cannot_be_asked_again_is_said() -> None:
    row = _row(1.0, inputs={"street": "elm", "size": 2.0})
    assert "not known in this workspace" in str(asks().row(replace(row, version=5)))
    assert "predicted something else" in str(asks(then=replace(CONTRACT, label="height")).row(row))
    fallen = Prediction(value=3.0, verdict=Verdict(status="fallback"), version=1)
    assert asks().row(fallen) == "the log holds no values of rows that were answered by the fallback"
    secret = replace(CONTRACT, columns=(replace(STREET, hashed=True), SIZE))
    assert "street is private" in str(asks(then=secret).row(row))
    imputed = Problem(column="size", reason="outside", action="impute", text="-1.0 is outside 0 to 100")
    assert "what came in size" in str(asks().row(_row(1.0, (imputed,), inputs={"street": "elm", "size": 2.0})))


@pytest.mark.parametrize(
    ("row", "contract", "may"),
    [
        ({"street": "elm", "size": 300.0}, replace(CONTRACT, columns=(STREET, replace(SIZE, high=500.0))), True),
        ({"street": "elm", "size": 300.0}, replace(CONTRACT, columns=(STREET, replace(SIZE, high=200.0))), False),
        ({"street": "elm", "size": 300.0}, replace(CONTRACT, columns=(STREET, replace(SIZE, outside="flag"))), True),
        ({"street": "elm", "size": None}, replace(CONTRACT, columns=(STREET, replace(SIZE, nullable=True))), True),
        ({"street": "elm", "size": None}, CONTRACT, False),
        ({"street": "elm", "size": "big"}, CONTRACT, False),
        ({"street": "elm", "size": 1.0, "day": 1, "pool": 1}, CONTRACT, False),
        ({"street": "elm", "size": 1.0, "pool": 1}, replace(CONTRACT, unknown="flag"), True),
        ({"street": "elm", "size": 1.0, "pool": 1}, replace(CONTRACT, context=("pool",)), True),
        ({"street": "elm", "size": 300.0}, replace(CONTRACT, columns=(STREET,), unknown="flag"), True),
        ({"street": "elm", "size": 300.0, "pool": 1}, replace(CONTRACT, unknown="flag"), False),
    ],
)
def test_a_rejected_row_may_be_answered_where_nothing_it_was_rejected_for_holds_any_more(
    row: dict[str, Any], contract: Contract, may: bool
) -> None:
    verdict, _ = examine(CONTRACT, row)
    assert verdict.status == "rejected"
    logged = Prediction(value=None, verdict=verdict, version=1)
    assert asks(contract).may_answer(logged) is may
    if may:
        assert examine(contract, {name: row[name] for name in row if name in contract.names})[0].status != "rejected"


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1))
def test_a_tolerance_does_not_depend_on_which_answer_came_first(then: float, now: float, size: float) -> None:
    for share in (True, False):
        tolerance = Tolerance(size, share=share)
        assert tolerance.apart(then, now) == tolerance.apart(now, then)
        assert not tolerance.apart(then, then)
    if Tolerance(size).apart(then, now):
        assert Tolerance(0.0).apart(then, now)


@pytest.mark.parametrize(("text", "size", "share"), [("1%", 0.01, True), (" 2.5 ", 2.5, False), ("0", 0, False)])
def test_a_tolerance_is_a_share_or_a_size(text: str, size: float, share: bool) -> None:
    assert tolerance_of(text) == Tolerance(size, share=share)


def test_a_row_that_is_answered_no_more_has_changed() -> None:
    counts = Counts(contract=CONTRACT, columns=(), tolerance=Tolerance(10.0, share=False))
    gone = Prediction(value=None, verdict=Verdict(status="rejected"), id="a-0")
    answered = replace(_prediction(0, 1.0), id="a-0")
    counts.add([Pair(answered, gone), Pair(gone, gone), Pair(gone, answered)])
    assert (counts.rows, counts.changed) == (3, 2)
    assert counts.verdicts == {("ok", "rejected"): 1, ("rejected", "rejected"): 1, ("rejected", "ok"): 1}
    assert counts.examples == (("a-0", "1", "rejected"), ("a-0", "rejected", "1"))
    assert counts.groups[0].before is None
