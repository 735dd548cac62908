"""Proposals for tables of many kinds: the guesses, their reasons, and a file that is one valid project."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fullcircle as fc
from fullcircle.errors import DataUnfit, TableNotFound, TableUnreadable
from fullcircle.exploration.columns import id_name
from fullcircle.exploration.proposal import Proposal, project_name, propose
from fullcircle.tables import reading
from fullcircle.types.project import Project

ROWS = 120


def _frame(**columns: Any) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": generator.normal(size=ROWS),
            "rooms": generator.integers(1, 6, size=ROWS),
            "town": generator.choice(["north", "south", "west"], size=ROWS),
            **columns,
        }
    )


def _proposed(frame: pd.DataFrame, folder: Path) -> Proposal:
    path = folder / "table.csv"
    frame.to_csv(path, index=False)
    return propose(path)


def _project(proposal: Proposal) -> Project:
    """Run the text as a file: it must make exactly one project."""
    made: dict[str, Any] = {}
    exec(compile(proposal.text, "project.py", "exec"), made)  # noqa: S102 - the text is what is under test
    (project,) = [value for value in made.values() if isinstance(value, fc.Project)]
    assert isinstance(project, Project)
    assert (project.label, tuple(project.features)) == (proposal.label, proposal.features)
    assert (project.name, project.task, project.data.time) == (proposal.name, proposal.task, proposal.time)
    return project


def _label(seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=ROWS)


def _comment_on(proposal: Proposal, name: str) -> str:
    (line,) = [line for line in proposal.text.splitlines() if line.strip().startswith(f'#   "{name}":')]
    return line


def test_a_plain_table_becomes_a_project_that_learns(tmp_path: Path) -> None:
    frame = _frame()
    frame["rent"] = 100.0 * frame["rooms"] + 10.0 * frame["size"]
    frame["rent"] += np.random.default_rng(2).normal(size=ROWS)
    proposal = _proposed(frame, tmp_path)
    project = _project(proposal)
    assert (proposal.label, proposal.task, proposal.time) == ("rent", "regression", None)
    assert proposal.features == ("size", "rooms", "town")
    assert "it is the last column" in proposal.text
    assert project.fit is not None
    model = project.fit(frame[list(project.features)].astype({"town": "category"}), frame["rent"])
    assert (
        np.mean(np.abs(model.predict(frame[list(project.features)].astype({"town": "category"})) - frame["rent"]))
        < 40
    )
    limits = {gate.kind: gate.limit for gate in project.gates}
    assert set(limits) == {"at_most", "beats"}
    trivial = float(np.mean(np.abs(frame["rent"] - frame["rent"].mean())))
    assert trivial <= limits["at_most"] < trivial * 1.02


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("target", "zz"), "target"),
        (("Churn", "zz"), "Churn"),
        (("cnt", "zz"), "cnt"),
        (("sale price", "zz"), "sale price"),
        (("first", "zz"), "zz"),
        (("price", "y"), "y"),
    ],
)
def test_the_label_is_known_by_its_name_or_its_place(tmp_path: Path, names: tuple[str, str], label: str) -> None:
    frame = _frame(**{name: _label(seed) for seed, name in enumerate(names, start=1)})
    proposal = _proposed(frame, tmp_path)
    _project(proposal)
    assert proposal.label == label
    assert ("its name says so" in proposal.text) == (label != "zz")


def test_y_beside_x_and_z_is_a_direction(tmp_path: Path) -> None:
    frame = _frame(x=_label(1), y=_label(2), z=_label(3), price=_label(4))
    assert _proposed(frame, tmp_path).label == "price"


@pytest.mark.parametrize(
    ("values", "name", "task"),
    [
        (["no", "yes"], "answer", "classification"),
        ([0, 1], "answer", "classification"),
        ([True, False], "answer", "classification"),
        ([1, 2, 3], "species", "classification"),
        ([1, 2, 3], "rooms2", "regression"),
        ([0.5, 1.5, 2.5], "answer", "regression"),
    ],
)
def test_the_task_follows_from_the_label(tmp_path: Path, values: list[Any], name: str, task: str) -> None:
    drawn = np.random.default_rng(5).choice(np.array(values, dtype=object), size=ROWS)
    proposal = _proposed(_frame(**{name: drawn}), tmp_path)
    project = _project(proposal)
    assert (proposal.label, proposal.task) == (name, task)
    first = project.gates[0]
    if task == "classification":
        assert first.kind == "at_least"
        assert first.metric == ("roc_auc" if len(values) == 2 else "balanced_accuracy")
        assert first.limit <= 1 / len(values)
    else:
        assert (first.kind, first.metric) == ("at_most", "mae")


def test_columns_that_name_the_row_are_left_out_with_the_reason(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    frame = _frame(
        customer_id=generator.integers(0, 10**9, size=ROWS),
        uuid=[f"{number:032x}" for number in generator.integers(0, 2**60, size=ROWS)],
        PassengerId=generator.integers(0, 40, size=ROWS),
        counter=np.arange(5, 5 + 3 * ROWS, 3),
        shuffled=generator.permutation(ROWS),
        code=[f"code {number}" for number in generator.permutation(ROWS)],
        body_mass_index=generator.normal(size=ROWS),
        value=_label(),
    )
    frame.insert(0, "Unnamed: 0", range(ROWS))
    proposal = _proposed(frame, tmp_path)
    _project(proposal)
    assert proposal.features == ("size", "rooms", "town", "body_mass_index")
    assert "identifies" in _comment_on(proposal, "customer_id")
    assert "one per row" in _comment_on(proposal, "counter")
    assert "counts the rows" in _comment_on(proposal, "shuffled")
    assert "many different values" in _comment_on(proposal, "code")


def test_columns_that_tell_the_label_are_left_out_with_the_reason(tmp_path: Path) -> None:
    value = np.exp(_label())
    frame = _frame(
        twice=2.0 * value + 1.0,
        logarithm=np.log(value),
        close=value + 0.1 * _label(9),
        band=np.round(value * 1e9) % 3,
        value=value,
    )
    proposal = _proposed(frame, tmp_path)
    _project(proposal)
    assert set(proposal.left_out) == {"twice", "logarithm"}
    assert "correlation with the label is" in _comment_on(proposal, "twice")


def test_columns_that_part_the_classes_alone_are_left_out(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    sick = generator.random(ROWS) < 0.4
    frame = _frame(
        code=np.where(sick, generator.choice(["a", "b"], size=ROWS), "c"),
        level=np.where(sick, 10.0, 0.0) + generator.random(ROWS),
        helpful=np.where(sick, 1.0, 0.0) + generator.normal(size=ROWS),
        outcome=np.where(sick, "sick", "well"),
    )
    proposal = _proposed(frame, tmp_path)
    assert set(proposal.left_out) == {"code", "level"}
    assert "helpful" in proposal.features


def test_columns_that_add_up_to_the_label_are_left_out_and_named_together(tmp_path: Path) -> None:
    generator = np.random.default_rng(6)
    casual, registered = generator.integers(0, 90, size=ROWS), generator.integers(0, 90, size=ROWS)
    proposal = _proposed(_frame(casual=casual, registered=registered, cnt=casual + registered), tmp_path)
    _project(proposal)
    assert set(proposal.left_out) == {"casual", "registered"}
    assert '"casual" and "registered" together give "cnt" exactly' in _comment_on(proposal, "casual")
    assert proposal.features == ("size", "rooms", "town")


def test_a_label_that_is_nothing_but_a_sum_keeps_its_columns_and_says_so(tmp_path: Path) -> None:
    a, b = _label(1), _label(2)
    proposal = _proposed(pd.DataFrame({"a": a, "b": b, "total": a + b}), tmp_path)
    _project(proposal)
    assert proposal.features == ("a", "b")
    assert any("nothing else to learn from" in note for note in proposal.notes)
    assert "# Note:" in proposal.text


def test_a_time_is_proposed_only_where_every_row_has_a_date(tmp_path: Path) -> None:
    days = pd.date_range("2020-01-01", periods=ROWS, freq="D").strftime("%Y-%m-%d").to_numpy(dtype=object)
    shuffled = np.random.default_rng(7).permutation(days)
    torn = days.copy()
    torn[5] = "yesterday"
    gaps = days.copy()
    gaps[5] = None
    value = _label()
    cases: list[tuple[str, Any, str | None]] = [
        ("anything", days, "anything"),
        ("sold_at", shuffled, "sold_at"),
        ("blue", shuffled, None),
        ("date_of_birth", days, None),
        ("date", torn, None),
        ("date", gaps, None),
        ("year", np.repeat(np.arange(2000, 2000 + ROWS // 4), 4), None),
    ]
    for name, values, expected in cases:
        proposal = _proposed(_frame(**{name: values, "value": value}), tmp_path)
        _project(proposal)
        assert proposal.time == expected, name
        assert (name in proposal.features) == (name == "year")


def test_gaps_in_features_and_in_the_label_are_provided_for(tmp_path: Path) -> None:
    value = _label()
    value[::10] = np.nan
    size = _label(3)
    size[1::7] = np.nan
    frame = _frame(size=size, empty=[None] * ROWS, same=[1] * ROWS, value=value)
    proposal = _proposed(frame, tmp_path)
    project = _project(proposal)
    assert dict(project.inputs.columns) == {"size": {"nullable": True}}
    assert set(proposal.left_out) == {"empty", "same"}
    assert project.data.prepare is not None
    prepared = project.data.prepare(frame)
    assert len(prepared) == ROWS - 12
    assert prepared["value"].notna().all()


def test_classes_that_occur_once_are_taken_out_by_prepare(tmp_path: Path) -> None:
    kinds = np.array(["a", "b"] * (ROWS // 2), dtype=object)
    kinds[3] = "only once"
    frame = _frame(kind=np.random.default_rng(1).permutation(kinds))
    proposal = _proposed(frame, tmp_path)
    project = _project(proposal)
    assert project.gates[0].metric == "roc_auc"
    assert project.data.prepare is not None
    assert sorted(project.data.prepare(frame)["kind"].unique()) == ["a", "b"]


ODD = ['qu"ote', "apo'strophe", "back\\slash", "new\nline", "größe ⚡", '"""', "{brace}", "# comment", " "]


def test_names_of_any_kind_make_valid_python(tmp_path: Path) -> None:
    frame = pd.DataFrame({name: _label(seed) for seed, name in enumerate([*ODD, "la\"b'el"])})
    frame.iloc[::9, 2] = np.nan
    path = tmp_path / 'odd "name" \\ ⚡.parquet'
    frame.to_parquet(path)
    project = _project(propose(path))
    assert list(project.features) == ODD
    assert project.data.source == path.name


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: not id_name(name)
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
        min_size=3,
        max_size=5,
        unique=True,
    )
)
def test_any_names_at_all_make_one_valid_project(tmp_path: Path, names: list[str]) -> None:
    frame = pd.DataFrame({name: _label(seed) for seed, name in enumerate(names)})
    frame.to_parquet(tmp_path / "any.parquet")
    proposal = propose(tmp_path / "any.parquet")
    _project(proposal)
    assert {proposal.label, *proposal.features, *proposal.left_out} == set(names)


@given(st.text())
def test_any_text_becomes_a_name_that_a_project_may_have(text: str) -> None:
    name = project_name(text)
    assert 0 < len(name) <= 63
    assert set(name) <= set(string.ascii_lowercase + string.digits + "-_")
    assert name[0] not in "-_"


def test_the_file_is_written_for_the_folder_where_it_will_be(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "table.csv"
    _frame(value=_label()).to_csv(path, index=False)
    assert _project(propose(path)).data.source == "table.csv"
    assert _project(propose(path, folder=tmp_path)).data.source == "data/table.csv"
    assert propose(path, "My Model!").name == "my-model"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", TableUnreadable),
        (b"a,b\n", DataUnfit),
        (b"a,b\n1,2\n3,4,5\n", TableUnreadable),
        (b"a,a\n1,2\n", TableUnreadable),
        (b"a,b\n1,2\n" * 3, (DataUnfit, TableUnreadable)),
        (b"a,b\n" + b"1,1\n" * 40, DataUnfit),
        (b"id,name\n" + b"".join(b"%d,n%d\n" % (n, n) for n in range(40)), DataUnfit),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_clearly(tmp_path: Path, content: bytes, error: Any) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        propose(path)
    assert caught.value.next_step


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableNotFound):
        propose(tmp_path / "nowhere.csv")


def test_a_table_whose_other_columns_all_tell_the_label_is_refused(tmp_path: Path) -> None:
    value = _label()
    with pytest.raises(DataUnfit, match="no column is left") as caught:
        _proposed(pd.DataFrame({"id": range(ROWS), "copy": value, "value": value}), tmp_path)
    assert "copy: its correlation" in str(caught.value)


def test_whole_numbers_with_zeros_in_front_are_codes_and_read_as_text(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    zips = generator.choice(["00109", "10115", "8001"], size=ROWS)
    frame = _frame(
        zip=zips,
        gap=np.where(np.arange(ROWS) % 9 == 0, "", generator.choice(["01", "02", "3"], size=ROWS)),
        account=[f"{place:06}" for place in generator.permutation(ROWS * 100)[:ROWS]],
        share=generator.choice(["0", "0.5", "00.5"], size=ROWS),
        plain=generator.choice(["0", "10", "20"], size=ROWS),
        rent=_label(),
    )
    frame["size"] = frame["size"].round(3)
    proposal = _proposed(frame, tmp_path)
    project = _project(proposal)
    assert tuple(project.data.text) == ("zip", "gap", "account")
    assert proposal.features == ("size", "rooms", "town", "zip", "gap", "share", "plain")
    assert '"zip",  # 3 categories\n' in proposal.text
    assert '"plain",  # whole numbers\n' in proposal.text
    assert "many different values" in proposal.left_out["account"]
    assert [note.split(" is ")[0] for note in proposal.notes] == ['"zip"', '"gap"', '"account"']
    assert f"# Note: {proposal.notes[0]}\n" in proposal.text
    assert "taken for a code and read as text; if it is a number, take it out of text=[...]" in proposal.notes[0]
    read = reading.read(project.data, folder=tmp_path)
    assert read["zip"].tolist() == zips.tolist()
    assert set(read["gap"].dropna()) == {"01", "02", "3"}


def test_a_code_can_be_the_label(tmp_path: Path) -> None:
    target = np.random.default_rng(3).choice(["01", "02", "10"], size=ROWS)
    proposal = _proposed(_frame(target=target), tmp_path)
    assert (proposal.label, proposal.task) == ("target", "classification")
    assert reading.read(_project(proposal).data, folder=tmp_path)["target"].tolist() == target.tolist()


def test_columns_of_parquet_have_types_and_are_no_codes(tmp_path: Path) -> None:
    _frame(zip=["00109", "10115"] * (ROWS // 2), rent=_label()).to_parquet(tmp_path / "table.parquet")
    proposal = propose(tmp_path / "table.parquet")
    assert not _project(proposal).data.text
    assert (proposal.notes, "zip" in proposal.features) == ((), True)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    frame = _frame(value=_label())
    plain = _proposed(frame, tmp_path)
    text = (tmp_path / "table.csv").read_text().replace("\n", "\r\n")
    (tmp_path / "table.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert propose(tmp_path / "table.csv") == plain
