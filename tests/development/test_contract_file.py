"""The contract file: read strictly, merged with the project, and rewritten only where training learned something."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fullcircle.development import contract_file, contract_writing
from fullcircle.development.contract_file import applied, canonical, path_of, read_text
from fullcircle.development.contract_writing import keep, rewritten
from fullcircle.development.loading import load
from fullcircle.errors import ProjectInvalid
from fullcircle.types.contract import Column, Contract
from fullcircle.types.overrides import KEYS
from fullcircle.types.project import Inputs, Project

FILE = "contract.toml"
PROJECT = """
import fullcircle as fc

project = fc.Project(name="houses", data="houses.csv", label="cost", features=["rooms", "heat"], fit=print{more})
"""


def said(text: str) -> contract_file.Said:
    return read_text(FILE, text.encode())


def project(**inputs: Any) -> Project:
    return Project(name="m", data="x.csv", label="y", features=["age", "a b"], fit=print, inputs=Inputs(**inputs))


def refused(text: str, what: str) -> ProjectInvalid:
    with pytest.raises(ProjectInvalid, match=what) as caught:
        applied(project(), said(text))
    assert FILE in caught.value.what
    assert caught.value.next_step
    return caught.value


class TestReading:
    def test_where_it_is(self) -> None:
        assert path_of(Path("f"), "project.py") == Path("f/contract.toml")
        assert path_of(Path("f"), "bike.py") == Path("f/bike.contract.toml")

    def test_no_file_says_nothing(self, tmp_path: Path) -> None:
        found = contract_file.read(tmp_path / FILE)
        assert (found.columns, found.source, canonical(found)) == ({}, {}, "")
        declared = project()
        assert applied(declared, found) is declared

    def test_what_it_says_is_put_into_the_project(self) -> None:
        text = """
        [rows]
        missing = "impute"
        unknown = "fallback"
        [label]
        name = "progression"
        unit = "points"
        [label.learned]
        prior = 3
        [columns.age]
        unit = "years"
        high = inf
        [columns.age.learned]
        low = 12
        [columns."a b"]
        type = "category"
        categories = ["x", "y"]
        fill = "x"
        """
        inputs = applied(project(columns={"age": {"label": "Age"}}), said(text)).inputs
        assert (inputs.missing, inputs.unknown, inputs.unseen) == ("impute", "fallback", "flag")
        assert (inputs.label_name, inputs.label_unit) == ("progression", "points")
        assert inputs.columns["age"] == {"label": "Age", "unit": "years", "high": None}
        assert inputs.columns["a b"] == {"type": "category", "categories": ["x", "y"], "fill": "x"}

    def test_times_of_toml_are_seconds_or_text(self) -> None:
        found = said("[columns.age]\nlow = 1970-01-02\nhigh = 1970-01-01T01:00:00+01:00\nfill = 2020-01-01T00:00:00")
        assert found.columns["age"] == {"low": 86400.0, "high": 0.0, "fill": "2020-01-01T00:00:00"}

    @pytest.mark.parametrize(
        ("text", "what", "allowed"),
        [
            ("[rows]\nmissing = \n[label]", r"not valid TOML: .*line 2", ""),
            ("[columns.age]\nunits = 'years'", r"unknown key in \[columns.age\]", "unit"),
            ("[row]", "unknown key", "rows, label, columns"),
            ("[rows]\nprivate = true", r"unknown key in \[rows\]", "unknown, failed"),
            ("[label]\nunits = 'years'", r"unknown key in \[label\]", "name, unit"),
            ("[label]\nunit = 3", r"\[label\] unit", "text"),
            ("[rows]\nmissing = 'drop'", r"\[rows\] missing", "reject, impute, flag, fallback"),
            ("[rows]\nunknown = 'impute'", r"\[rows\] unknown", "nothing to impute"),
            ("[rows]\nfailed = 'flag'", r"\[rows\] failed", "reject, fallback"),
            ("[columns.age]\nlow = 'ten'", r"\[columns.age\] low", "a finite number"),
            ("[columns.age]\nlow = inf", r"\[columns.age\] low", "a finite number"),
            ("[columns.age]\nlow = nan", r"\[columns.age\] low", "a finite number"),
            ("[columns.age]\ntype = 'float'", r"\[columns.age\] type", "integer, number"),
            ("[columns.'a b']\ncategories = []", r'\[columns."a b"\] categories', "at least one"),
            ("[columns.age]\nhow = 'constant'", r"\[columns.age\] how", "a fill beside"),
            ("[columns.age]\nhashed = true\nprivate = false", r"\[columns.age\] hashed", "private"),
            ("columns = 3", r"no table at \[columns\]", ""),
            ("[columns]\nage = 3", r"no table at \[columns.age\]", ""),
            ("[columns.income]\nunit = 'EUR'", "'income', which is not a feature", "age, a b"),
        ],
    )
    def test_what_does_not_fit_is_refused_with_its_place(self, text: str, what: str, allowed: str) -> None:
        assert allowed in (refused(text, what).allowed or "")

    def test_a_column_that_is_gone_and_of_which_nobody_says_anything_is_no_matter(self) -> None:
        declared = project()
        assert applied(declared, said("[columns.income]\n[columns.income.learned]\ntype = 'text'")) is declared

    def test_what_is_no_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b"[rows]\nmissing = '\xff'")
        with pytest.raises(ProjectInvalid, match="not UTF-8"):
            contract_file.read(tmp_path / FILE)
        (tmp_path / FILE).unlink()
        (tmp_path / FILE).mkdir()
        with pytest.raises(ProjectInvalid, match="cannot be read"):
            contract_file.read(tmp_path / FILE)
        (tmp_path / "large").write_bytes(b"#" * (contract_file.MOST_BYTES + 1))
        with pytest.raises(ProjectInvalid, match="larger than"):
            contract_file.read(tmp_path / "large")


class TestConflicts:
    @pytest.mark.parametrize(
        ("inputs", "text", "both"),
        [
            ({"columns": {"age": {"unit": "years"}}}, "[columns.age]\nunit = 'months'", "'months' and 'years'"),
            ({"columns": {"age": {"low": 0}}}, "[columns.age]\nlow = 1", "1 and 0"),
            ({"missing": "impute"}, "[rows]\nmissing = 'flag'", "'flag' and 'impute'"),
            ({"missing": "impute"}, "[rows]\nmissing = 'reject'", "'reject' and 'impute'"),
            ({"label_unit": "EUR"}, "[label]\nunit = 'USD'", "'USD' and 'EUR'"),
        ],
    )
    def test_two_places_that_disagree_are_refused(self, inputs: Any, text: str, both: str) -> None:
        with pytest.raises(ProjectInvalid, match="say different things") as caught:
            applied(project(**inputs), said(text))
        assert caught.value.received == both
        assert "in one place" in str(caught.value.next_step)

    def test_two_places_that_agree_are_no_matter(self) -> None:
        declared = {"age": {"unit": "years", "low": 0, "type": "category", "categories": ("a",)}}
        text = "[rows]\nmissing='impute'\n[columns.age]\nunit = 'years'\nlow = 0.0\ntype='category'\ncategories=['a']"
        assert applied(project(missing="impute", columns=declared), said(text)).inputs.missing == "impute"

    def test_what_cannot_both_be_is_refused_across_the_places(self) -> None:
        with pytest.raises(ProjectInvalid, match="together with the project file"):
            applied(project(columns={"age": {"fill": 3}}), said("[columns.age]\nhow = 'median'"))


TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("label", "unit"), TEXT),
    **dict.fromkeys(("private", "nullable"), st.booleans()),
    **dict.fromkeys(
        ("low", "high"), st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    ),
    **dict.fromkeys(("usual_low", "usual_high"), st.floats(allow_nan=False, allow_infinity=False)),
    "categories": st.lists(TEXT, min_size=1, max_size=12, unique=True),
    "fill": TEXT | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    "type": st.sampled_from(["integer", "text"]),
    **dict.fromkeys(("missing", "unseen", "outside", "wrong_type"), st.sampled_from(["reject", "impute"])),
}
COLUMNS = st.dictionaries(TEXT, st.fixed_dictionaries({}, optional=VALUES), max_size=3)


@settings(max_examples=80, deadline=None)
@given(COLUMNS)
def test_the_canonical_form_reads_back_as_itself(columns: Any) -> None:
    found = contract_file.Said(FILE, {"unknown": "flag"}, {"unit": "x"}, columns)
    text = canonical(found)
    back = read_text(FILE, text.encode())
    assert canonical(back) == text
    assert {name: given_ for name, given_ in back.columns.items() if given_} == {
        name: given_ for name, given_ in columns.items() if given_
    }
    backwards = {name: dict(reversed(given_.items())) for name, given_ in reversed(columns.items())}
    assert canonical(contract_file.Said(FILE, {"unknown": "flag"}, {"unit": "x"}, backwards)) == text


def facts(**columns: dict[str, Any]) -> tuple[Contract, dict[str, dict[str, Any]]]:
    """A contract and its facts, for columns of these kinds."""
    found = {
        name: {"kind": "number", "nullable": False, "fill": 1.5, "how": "median", **one}
        for name, one in columns.items()
    }
    made = [
        Column(name=name, kind=one["kind"], private=bool(one.pop("private", False))) for name, one in found.items()
    ]
    return Contract(columns=tuple(made), label="y", task="regression", prior=2.5), found


AGE = {"low": 0.0, "high": 99.5, "usual_low": 20.0, "usual_high": 80.0}


class TestWriting:
    def test_a_new_file_has_each_column_and_can_be_read(self, tmp_path: Path) -> None:
        contract, found = facts(age=AGE, sex={"kind": "category", "categories": ("f", "m"), "fill": "f"})
        path = tmp_path / FILE
        assert "wrote contract.toml" in keep(path, "m", contract, found)
        text = path.read_text()
        assert text.endswith("\n")
        assert not text.endswith("\n\n")
        learned = tomllib.loads(text)
        assert learned["columns"]["age"]["learned"] == {
            "type": "number",
            "nullable": False,
            **AGE,
            "fill": 1.5,
            "how": "median",
        }
        assert learned["columns"]["sex"]["learned"]["categories"] == ["f", "m"]
        assert learned["label"]["learned"] == {"task": "regression", "prior": 2.5}
        assert canonical(contract_file.read(path)) == ""
        for key in KEYS:
            assert key in text.split("\n[rows]")[0], "the head names every key"

    def test_it_is_written_only_when_something_changed(self, tmp_path: Path) -> None:
        path = tmp_path / FILE
        keep(path, "m", *facts(age=AGE))
        os.utime(path, (1, 1))
        assert keep(path, "m", *facts(age=AGE)) == ""
        assert path.stat().st_mtime == 1
        assert "learned anew: age" in keep(path, "m", *facts(age={**AGE, "high": 100.0}))
        assert path.stat().st_mtime > 1
        assert [entry.name for entry in tmp_path.iterdir()] == [FILE]

    def test_a_persons_lines_stay_to_the_byte(self, tmp_path: Path) -> None:
        path = tmp_path / FILE
        keep(path, "m", *facts(age=AGE, bmi={}))
        text = path.read_text()
        edited = text.replace(
            "[columns.age]\n",
            "# the clinic's own\n[columns.age]\nunit   = 'years'  # as told\nlow = -0.0\n\n# note\n",
        ).replace(
            "\n[columns.bmi]\n",
            "\n# of bmi\n[ columns . \"bmi\" ]\nlabel = '''\n[bmi]\nlow = 3\n'''\n",
        )
        path.write_text(edited)
        keep(path, "m", *facts(age={**AGE, "high": 120.0}, bmi={"low": 3.0}))
        now = path.read_text()
        assert now != edited
        assert now.replace("high = 120.0", "high = 99.5").replace("\nlow = 3.0\nfill", "\nfill") == edited

    def test_new_columns_come_at_the_end_and_old_ones_keep_their_place(self, tmp_path: Path) -> None:
        path = tmp_path / FILE
        keep(path, "m", *facts(b={}, a={}))
        before = path.read_text()
        told = keep(path, "m", *facts(new={}, a={}, b={}))
        assert "learned anew: new" in told
        assert path.read_text().startswith(before)
        assert path.read_text()[len(before) :].split("\n")[:4] == ["", "[columns.new]", "", "[columns.new.learned]"]

    def test_a_column_that_is_gone_goes_from_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / FILE
        keep(path, "m", *facts(a={}, b={}, c={}))
        keep(path, "m", *facts(a={}, c={}))
        other = tmp_path / "other.toml"
        keep(other, "m", *facts(a={}, c={}))
        assert path.read_text() == other.read_text()

    def test_a_table_that_somebody_began_gets_its_learned_one(self) -> None:
        contract, found = facts(age=AGE)
        text = "[columns.age]\nunit = 'years'\n# kept\n\n# of rows\n[rows]\nmissing = 'flag'\n"
        after, changed = rewritten(text, contract_writing.learned(contract, found))
        assert changed == ["label", "age"] or changed == ["label", "columns.age"]
        lines = after.split("\n")
        assert lines[:4] == ["[columns.age]", "unit = 'years'", "", "[columns.age.learned]"]
        assert "\n# kept\n\n# of rows\n[rows]\nmissing = 'flag'\n" in after
        assert canonical(read_text(FILE, after.encode())) == canonical(read_text(FILE, text.encode()))

    def test_windows_line_ends_stay(self, tmp_path: Path) -> None:
        path = tmp_path / FILE
        keep(path, "m", *facts(a={}))
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        keep(path, "m", *facts(a={"fill": 7.5}))
        content = path.read_bytes()
        assert b"fill = 7.5\r\n" in content
        assert content.count(b"\n") == content.count(b"\r\n")

    @pytest.mark.parametrize(
        "text",
        [
            "columns.age = {unit = 'years'}\n",
            "[columns]\nage = {unit = 'years'}\n",
            "label = {unit = 'x'}\n",
            "[columns.age]\nlabel = '''\n[columns.age.learned]\nlow = 3\n'''\n",
            "[rows]\nmissing = ",
        ],
    )
    def test_a_file_of_another_shape_is_left_as_it_is(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / FILE
        path.write_text(text)
        assert "left as it is" in keep(path, "m", *facts(age=AGE))
        assert path.read_text() == text

    def test_a_private_column_tells_no_value(self, tmp_path: Path) -> None:
        path = tmp_path / FILE
        secret = {"kind": "category", "categories": ("rare disease",), "fill": "rare disease", "private": True}
        keep(path, "m", *facts(ill=secret, pay={**AGE, "low": 31313.5, "private": True}))
        text = path.read_text()
        assert "rare disease" not in text
        assert "31313" not in text
        assert tomllib.loads(text)["columns"]["ill"]["learned"] == {
            "type": "category",
            "nullable": False,
            "how": "median",
        }

    def test_bounds_of_whole_numbers_are_whole(self, tmp_path: Path) -> None:
        path = tmp_path / FILE
        keep(path, "m", *facts(n={"kind": "integer", "low": 0.0, "high": 1e300, "fill": 3}))
        assert "low = 0\nhigh = 1e+300\nfill = 3\n" in path.read_text()

    def test_a_file_keeps_its_rights_and_a_link_stays_one(self, tmp_path: Path) -> None:
        target = tmp_path / "kept.toml"
        keep(target, "m", *facts(a={}))
        target.chmod(0o640)
        link = tmp_path / FILE
        link.symlink_to(target)
        keep(link, "m", *facts(a={"fill": 7.5}))
        assert link.is_symlink()
        assert "fill = 7.5" in target.read_text()
        assert stat.S_IMODE(target.stat().st_mode) == 0o640

    def test_a_folder_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        told = keep(tmp_path / "gone" / FILE, "m", *facts(a={}))
        assert "could not be written" in told
        assert "in the bundle" in told


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(NAMES, st.fixed_dictionaries({}, optional=VALUES), max_size=3),
    st.lists(NAMES, max_size=3, unique=True),
    st.floats(0, 9),
)
def test_whatever_was_said_survives_whatever_is_learned(columns: Any, features: list[str], fill: float) -> None:
    text = canonical(contract_file.Said(FILE, {"missing": "flag"}, {}, columns))
    contract, found = facts(**{name: {"fill": fill} for name in features})
    tables = contract_writing.learned(contract, found)
    after, _ = rewritten(text, tables)
    assert canonical(read_text(FILE, after.encode())) == text
    assert {name for name, one in tomllib.loads(after).get("columns", {}).items() if "learned" in one} == set(
        features
    )
    assert rewritten(after, tables) == (after, [])
    back, _ = rewritten(after, contract_writing.learned(*facts()))
    assert canonical(read_text(FILE, back.encode())) == text


class TestLoading:
    def test_it_is_part_of_the_source_as_far_as_a_person_wrote_it(self, tmp_path: Path) -> None:
        (tmp_path / "project.py").write_text(PROJECT.format(more=""))
        plain = load(tmp_path)
        keep(tmp_path / FILE, "houses", *facts(rooms={}, heat={}))
        learned = load(tmp_path)
        assert (learned.code, set(learned.source)) == (plain.code, {"project.py"})
        text = (tmp_path / FILE).read_text()
        (tmp_path / FILE).write_text(text.replace("[columns.rooms]\n", "# counted\n[columns.rooms]\nlow=0\n"))
        edited = load(tmp_path)
        assert edited.code != plain.code
        assert edited.source[FILE] == b"[columns.rooms]\nlow = 0\n"
        assert edited.project.inputs.columns == {"rooms": {"low": 0}}
        keep(tmp_path / FILE, "houses", *facts(rooms={"fill": 9.5}, heat={}))
        assert load(tmp_path).code == edited.code

    def test_a_project_in_a_single_file_has_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "bike.py").write_text(PROJECT.format(more=""))
        (tmp_path / FILE).write_text("[rows]\nmissing = 'impute'\n")
        assert load(tmp_path / "bike.py").project.inputs.missing == "reject"
        (tmp_path / "bike.contract.toml").write_text("[rows]\nmissing = 'flag'\n")
        assert load(tmp_path / "bike.py").project.inputs.missing == "flag"

    def test_a_conflict_with_the_project_file_is_met_when_it_is_loaded(self, tmp_path: Path) -> None:
        (tmp_path / "project.py").write_text(
            PROJECT.format(more=', inputs=fc.Inputs(columns={"heat": {"unit": "C"}})')
        )
        (tmp_path / FILE).write_text("[columns.heat]\nunit = 'F'\n")
        with pytest.raises(ProjectInvalid, match=r"\[columns.heat\] unit and inputs.columns\['heat'\]\['unit'\]"):
            load(tmp_path)


def test_the_page_explains_every_key_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs/contract.md").read_text(encoding="utf-8")
    table = page.split("## Keys of a column")[1].split("## Keys of all rows")[0]
    told = [key for line in table.splitlines() if line.startswith("| `") for key in line.split(" | ")[0].split()]
    assert sorted(key.strip("`,") for key in told if key != "|") == sorted(KEYS)
