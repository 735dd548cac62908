"""The contract file in the circle: shown and written without training, part of a run, back with a reopened one."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from typer.testing import CliRunner, Result

import circles
from fullcircle.cli import app
from fullcircle.development.loading import load
from fullcircle.errors import DataUnfit, ProjectInvalid
from fullcircle.flows import drafts
from fullcircle.flows.contract import ShownContract, contract
from fullcircle.flows.reopen import reopen
from fullcircle.flows.session import opened
from fullcircle.flows.train import train
from fullcircle.settings import Settings
from fullcircle.types.turn import Trained

FILE = "contract.toml"
SAID = "unit = 'degrees'  # by the thermometer\nhigh = inf\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return circles.write_project(tmp_path / "houses", circles.PLAIN)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return circles.settings(tmp_path)


def _edit(project: Path, table: str, lines: str) -> None:
    path = project.parent / FILE
    path.write_text(path.read_text().replace(f"\n[{table}]\n", f"\n[{table}]\n{lines}"))


def _contract_of(trained: Trained, settings: Settings) -> Any:
    with opened(settings) as session:
        draft = drafts.of_run(session, trained.run)
        return draft.contract, drafts.source_files(session, draft)


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


class TestShown:
    def test_without_a_run_it_is_learned_from_the_data_and_nothing_is_written(
        self, project: Path, settings: Settings
    ) -> None:
        found = contract(project, settings=settings)
        assert found.contract.names == ("rooms", "heat", "area")
        assert "without training" in found.origin
        assert not (project.parent / FILE).exists()
        with opened(settings) as session:
            assert session.workspace.ledger.state().snapshots == {}

    def test_it_is_written_when_that_is_asked_for_and_once(self, project: Path, settings: Settings) -> None:
        assert "wrote contract.toml" in contract(project, write=True, settings=settings).told
        content = (project.parent / FILE).read_bytes()
        assert "up to date" in contract(project, write=True, settings=settings).told
        assert (project.parent / FILE).read_bytes() == content

    def test_what_a_person_says_there_is_in_force_and_marked(self, project: Path, settings: Settings) -> None:
        contract(project, write=True, settings=settings)
        _edit(project, "columns.heat", SAID)
        _edit(project, "rows", "unknown = 'flag'\n")
        found = contract(project, settings=settings)
        heat = found.contract.columns[1]
        assert (heat.unit, heat.high, found.contract.unknown) == ("degrees", None, "flag")
        assert found.said == {"heat": ("unit", "high")}

    def test_a_type_that_the_data_contradict_is_refused(self, project: Path, settings: Settings) -> None:
        (project.parent / FILE).write_text("[columns.heat]\ntype = 'integer'\n")
        with pytest.raises(DataUnfit, match="'heat' is declared as integer"):
            contract(project, settings=settings)

    def test_a_model_has_no_file_to_write(self, circle: circles.Circle) -> None:
        found = contract("houses", settings=circle.settings)
        assert found.origin.endswith("the champion")
        assert (found.file, found.contract.label) == ("", "cost")
        with pytest.raises(ProjectInvalid, match="no contract file"):
            contract("houses", write=True, settings=circle.settings)


class TestInTheCircle:
    def test_training_writes_it_and_what_is_said_there_travels_with_the_run(
        self, project: Path, settings: Settings
    ) -> None:
        before = load(project).code
        first = train(project, settings=settings)
        path = project.parent / FILE
        assert (first.code, load(project).code) == (before, before), "what training learned is no new source"
        assert contract(project, settings=settings).origin == f"run {first.run[:12]}"
        learned = tomllib.loads(path.read_text())["columns"]["heat"]["learned"]

        _edit(project, "columns.heat", SAID)
        _edit(project, "label", "unit = 'EUR'\n")
        edited = path.read_bytes()
        shown = contract(project, settings=settings)
        assert "without training" in shown.origin, "no run was made by this file yet"
        second = train(project, settings=settings)
        terms, source = _contract_of(second, settings)
        assert (terms.columns[1].unit, terms.columns[1].high, terms.label_unit) == ("degrees", None, "EUR")
        assert replace(shown.contract, context=terms.context) == terms
        assert path.read_bytes() == edited, "the same data taught the same"
        assert tomllib.loads(path.read_text())["columns"]["heat"]["learned"] == learned
        assert any("EUR" in finding.text for finding in second.report.findings)
        assert source[FILE].decode() == '[label]\nunit = "EUR"\n\n[columns.heat]\nunit = "degrees"\nhigh = inf\n'

        stale = Path(str(settings["workspace"])) / "reopened" / first.run[:12] / FILE
        stale.parent.mkdir(parents=True)
        stale.write_text("[columns.heat]\nunit = 'K'\n")
        assert reopen(first.run, settings=settings).code == first.code, "the file of later is none of that run's"
        assert not stale.exists(), "a snapshot that was given teaches the file nothing"

    def test_new_data_change_the_learned_tables_only(self, project: Path, settings: Settings) -> None:
        contract(project, write=True, settings=settings)
        _edit(project, "columns.heat", SAID)
        before = (project.parent / FILE).read_text()
        (project.parent / "houses.csv").write_text(circles.houses().replace("north", "nord"))
        told = contract(project, write=True, settings=settings).told
        assert told.startswith("contract.toml: learned anew: ")
        after = (project.parent / FILE).read_text()
        changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
        assert "categories" in {old.split(" = ")[0] for old, _ in changed}
        assert {old.split(" = ")[0] for old, _ in changed} <= {"prior", "categories", "low", "high", "fill"}
        assert SAID in after


class TestCommand:
    def test_a_person_reads_a_table(self, project: Path, tmp_path: Path) -> None:
        workspace = tmp_path / "workspace"
        result = _invoke("contract", project, "--workspace", workspace, "--write")
        assert result.exit_code == 0, result.output
        for part in ("houses: regression of cost", "rooms", "north,", "wrote contract.toml", "reject"):
            assert part in result.stdout
        _edit(project, "columns.heat", SAID + "private = true\nmissing = 'impute'\n")
        shown = _invoke("contract", project, "--workspace", workspace).stdout
        assert "degrees*" in shown
        assert "private*" in shown
        assert "a private" in shown

    def test_a_script_gets_json_or_a_schema(self, project: Path, tmp_path: Path) -> None:
        workspace = tmp_path / "workspace"
        found = json.loads(_invoke("contract", project, "--workspace", workspace, "--json").stdout)
        assert [column["name"] for column in found["contract"]["columns"]] == ["rooms", "heat", "area"]
        schema = json.loads(_invoke("contract", project, "--workspace", workspace, "--schema").stdout)
        row = {"rooms": 3, "heat": 20.5, "area": "south"}
        assert Draft202012Validator(schema).is_valid({"rows": [row]})
        assert not Draft202012Validator(schema).is_valid({"rows": [{**row, "rooms": "3"}]})

    def test_a_conflict_is_wrong_use(self, project: Path, tmp_path: Path) -> None:
        (project.parent / FILE).write_text("[columns.heat]\nunits = 'K'\n")
        result = _invoke("contract", project, "--workspace", tmp_path / "workspace", "--json")
        assert result.exit_code == 2
        error = json.loads(result.stdout)["error"]
        assert error["code"] == "project_invalid"
        assert "unknown key in [columns.heat]" in error["message"]


def test_the_schema_of_a_shown_contract_knows_keys_and_request() -> None:
    terms = contract_with_keys()
    row = terms.schema["$defs"]["row"]
    assert set(row["required"]) == {"customer", "amount"}
    assert row["properties"]["customer"]["type"] == "integer"


def contract_with_keys() -> ShownContract:
    from fullcircle.types.contract import Column, Contract

    made = Contract(
        columns=(Column(name="income", kind="number"),), label="y", task="regression", context=("amount",)
    )
    return ShownContract(
        model="m", contract=made, origin="here", keys={"customer": "int"}, request={"amount": "float"}
    )
