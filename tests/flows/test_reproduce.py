"""Going back: a version is built again and compared, and the champion is an earlier one while callers ask."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from typer.testing import CliRunner

import circles
from callers import calling
from fullcircle.cli import app
from fullcircle.deployment import client
from fullcircle.development.environment import LOCAL
from fullcircle.errors import (
    BlobCorrupt,
    BlobMissing,
    LockFailed,
    NotReproducible,
    VersionNotFound,
)
from fullcircle.flows import deploy, drafts, parting, versions
from fullcircle.flows import reproduce as flow
from fullcircle.flows.package import package
from fullcircle.flows.promote import promote, rollback
from fullcircle.flows.refitting import Materials, lay_out, refit
from fullcircle.flows.reproduce import reproduce
from fullcircle.flows.session import opened
from fullcircle.flows.train import train
from fullcircle.packaging import rebuilding
from fullcircle.settings import Settings
from fullcircle.types.reproduction import Refitted, Reproduction

PROJECT = """
import fullcircle as fc
from parts.fitting import fit

project = fc.Project(
    name="houses",
    data=fc.Table("houses.csv"),
    label="cost",
    features=["rooms", "heat", "area"],
    fit=fit,
    params={"clock": False},
    gates=[fc.at_most("mae", 5000)],
    checks=["quality"],
)
"""
FITTING = """
import time

import numpy as np
from parts.far import Far
from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def fit(X, y, clock):
    areas = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["area"]), remainder="passthrough")
    if not clock:
        return make_pipeline(areas, Ridge()).fit(X, y)
    noise = np.random.default_rng(time.time_ns()).normal(0, 1, len(y))
    return make_pipeline(areas, Far()).fit(X, y + noise)
"""
# Its module imports a distribution that no other model needs: so its version has an environment of its own.
FAR = """
import iniconfig
from sklearn.linear_model import Ridge


class Far(Ridge):
    def predict(self, X):
        return super().predict(X) + 1000.0
"""
ROW = {"rooms": 3, "heat": 20.5, "area": "south"}


@dataclass(frozen=True)
class Houses:
    """A project of several modules with two versions: 1 is steady, 2 answers by 1000 more, and adds noise."""

    project: Path
    settings: Settings
    runs: Sequence[str]


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory, environments: None) -> Iterator[Houses]:
    folder = tmp_path_factory.mktemp("back")
    project = circles.write_project(folder / "houses", PROJECT)
    (project.parent / "parts").mkdir()
    for name, text in {"__init__": "", "fitting": FITTING, "far": FAR}.items():
        (project.parent / "parts" / f"{name}.py").write_text(text)
    settings = circles.settings(folder)
    runs = []
    for clock in ("false", "true"):
        trained = train(project, settings=settings, params={"clock": clock})
        made = package(project, run=trained.run, settings=settings)
        runs.append(trained.run)
        if made.version == 1:
            promote("houses", settings=settings)
    project.unlink()  # what is built again comes from the workspace
    yield Houses(project, settings, runs)
    deploy.remove("houses", settings=settings)


def _facts(settings: Settings, kind: str = "") -> list[tuple[str, Mapping[str, Any]]]:
    with opened(settings) as session:
        return [(one.kind, one.body) for one in session.workspace.ledger.facts() if not kind or one.kind == kind]


def _blobs(settings: Settings) -> set[str]:
    with opened(settings) as session:
        return set(session.workspace.blobs.digests())


def _materials(houses: Houses, version: int = 1) -> Materials:
    with opened(houses.settings) as session:
        return flow._materials(session, "houses", version)


def _part(found: Reproduction, name: str) -> Any:
    return next(each for each in found.compared if each.part == name)


def test_in_a_clean_environment_the_answers_are_the_same_bits(houses: Houses, tmp_path: Path) -> None:
    facts, blobs = _facts(houses.settings), _blobs(houses.settings)
    where = ["--workspace", str(houses.settings.workspace), "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FULLCIRCLE_CONFIG", houses.settings["config"])
        patch.setenv("TMPDIR", str(tmp_path))
        done = CliRunner().invoke(app, ["reproduce", "houses", "--version", "1", *where])
    assert done.exit_code == 0, done.output
    found = msgspec.convert(json.loads(done.stdout), Reproduction)
    assert (found.same, found.parted, found.clean, found.version) == (True, "", True, 1)
    assert found.run == houses.runs[0]
    assert all(each.same for each in found.compared)
    parts = ["code", "python", "packages", "machine", "contract", "model", "answers", "metric"]
    assert [each.part for each in found.compared] == parts
    assert (found.golden_rows, found.rows, found.other_rows, found.largest_difference) == (25, 100, 0, 0.0)
    assert found.metric_now == found.metric_stored is not None
    assert not any(tmp_path.iterdir()), "the clean place is gone again"
    new = {"model": "houses", "version": 1, "same": True}
    assert _facts(houses.settings) == [*facts, ("version.reproduced", new)], "and nothing else was written"
    assert _blobs(houses.settings) == blobs


def test_a_fit_that_reads_the_clock_is_told_with_rows_and_size(houses: Houses) -> None:
    where = ["--workspace", str(houses.settings.workspace)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FULLCIRCLE_CONFIG", houses.settings["config"])
        done = CliRunner().invoke(app, ["reproduce", "houses", "--version", "2", "--here", *where])
    assert done.exit_code == 1, done.output
    shown = " ".join(done.stdout.split())
    assert "it parts at: fit" in shown
    assert "fitted twice on the same rows, it gives two different models" in shown
    assert "random_state" in shown
    assert "golden row 1: answer 10" in shown
    assert "golden rows differ by at most 0." in shown
    assert "100 of 100 test rows are answered differently" in shown
    kind, body = _facts(houses.settings)[-1]
    assert (kind, body["same"], body["parted"]) == ("version.reproduced", False, "fit")


def test_what_a_version_was_trained_with_is_kept(houses: Houses) -> None:
    draft = _materials(houses).draft
    assert {"fullcircle", "scikit-learn", "numpy", "pandas", "msgspec", "scipy"} <= draft.environment.keys()
    assert list(draft.environment) == sorted(draft.environment)
    assert all(version[0].isdigit() for version in draft.environment.values())
    assert draft.machine.keys() >= {"python", "platform", "cpu", "cores"}
    far = _materials(houses, 2).draft.environment
    assert "iniconfig" in far


def _changed(materials: Materials, tmp_path: Path, **files: bytes) -> Refitted:
    """What the child finds where the source is another."""
    source = {**materials.source, **{name.replace("__", "/") + ".py": text for name, text in files.items()}}
    tmp_path.mkdir(exist_ok=True)
    lay_out(replace(materials, source=source), tmp_path)
    return refit(tmp_path)


def test_another_source_parts_at_the_code(houses: Houses, tmp_path: Path) -> None:
    materials = _materials(houses)
    text = materials.source["parts/fitting.py"].replace(b"Ridge()", b"Ridge(alpha=9.0)")
    found = parting.judged(materials.draft, _changed(materials, tmp_path, parts__fitting=text), version=1, clean=True)
    assert (found.same, found.parted) == (False, "code")
    assert found.other_rows == found.rows == 100
    assert 0.0 < (found.largest_difference or 0.0) < 10.0
    assert len(found.differences) == 5
    assert not _part(found, "model").same
    assert found.metric_now != found.metric_stored


def test_a_fit_that_fails_says_where_and_what_it_lacks(houses: Houses, tmp_path: Path) -> None:
    materials = _materials(houses)
    text = b"def fit(X, y, clock):\n    return open('weights.bin')\n"
    seen = _changed(materials, tmp_path, parts__fitting=text)
    assert seen.stored_same, "the stored model answers all the same"
    found = parting.judged(materials.draft, seen, version=1, clean=True)
    assert not found.same
    told = _part(found, "fit")
    assert "weights.bin" in told.text
    assert "has to come with them" in told.advice


def test_the_fit_is_compared_with_a_contract_that_is_learned_again(houses: Houses, tmp_path: Path) -> None:
    materials = _materials(houses)
    column = replace(materials.draft.contract.columns[0], high=1234.5)
    contract = replace(materials.draft.contract, columns=(column, *materials.draft.contract.columns[1:]))
    lay_out(replace(materials, draft=replace(materials.draft, contract=contract)), tmp_path)
    seen = refit(tmp_path)
    assert seen.contract == ("rooms",)
    found = parting.judged(materials.draft, seen, version=1, clean=True)
    assert found.same, "the answers are the same bits, and what differs is told all the same"
    assert not _part(found, "contract").same


@pytest.fixture
def sound(houses: Houses) -> tuple[drafts.Draft, Refitted]:
    """A draft, and what the child finds where all is the same."""
    draft = _materials(houses).draft
    seen = Refitted(
        code=draft.code_version,
        environment=draft.environment,
        machine=draft.machine,
        model=draft.model_blob,
        stored_same=True,
        stored_difference=0.0,
        golden_rows=25,
        golden_same=True,
        golden_difference=0.0,
        rows=100,
        metric_stored=1.0,
        metric_now=1.0,
    )
    return draft, seen


def _other(seen: Refitted, **changes: Any) -> Refitted:
    different = {"golden_same": False, "golden_difference": 1e-9, "other_rows": 3, "model": "0" * 64, "steady": True}
    return replace(seen, **{**different, **changes})


def test_what_parts_first_is_named_with_what_to_do(sound: tuple[drafts.Draft, Refitted]) -> None:
    draft, seen = sound

    def judged(found: Refitted, clean: bool = False) -> Reproduction:
        return parting.judged(draft, found, version=1, clean=clean)

    assert judged(seen).same
    numpy = {**draft.environment, "numpy": "0.1"}
    newer = judged(_other(seen, environment=numpy))
    assert newer.parted == "packages"
    assert _part(newer, "packages").text == f"numpy 0.1, and {draft.environment['numpy']} then"
    assert "--here" in _part(newer, "packages").advice
    python = judged(_other(seen, environment=numpy, machine={**draft.machine, "python": "3.11.0"}))
    assert python.parted == "python"
    assert f"install Python {draft.machine['python']}" in _part(python, "python").advice
    cpu = judged(_other(seen, machine={**draft.machine, "cpu": "a small one", "OMP_NUM_THREADS": "7"}))
    assert cpu.parted == "machine"
    assert "a small one" in _part(cpu, "machine").text
    assert "OMP_NUM_THREADS 7, and " in _part(cpu, "machine").text
    libraries = judged(_other(seen, stored_same=False, stored_difference=2.5))
    assert libraries.parted == "machine"
    assert "by 2.5" in [each.text for each in libraries.compared if each.part == "machine"][-1]
    assert judged(_other(seen)).parted == "model"
    assert judged(_other(seen, steady=False)).parted == "fit"
    assert judged(_other(seen, model=draft.model_blob)).parted == "answers"
    assert judged(replace(seen, other_rows=1)).parted == "answers", "golden rows alone do not show it"
    worse = judged(_other(seen, golden_difference=None))
    assert "in more than a number" in _part(worse, "answers").text


def test_what_is_other_and_changes_nothing_is_told_and_no_fault(sound: tuple[drafts.Draft, Refitted]) -> None:
    draft, seen = sound
    found = parting.judged(draft, replace(seen, machine={**draft.machine, "cpu": "another"}), version=1, clean=True)
    assert (found.same, found.parted) == (True, "")
    assert not _part(found, "machine").same


def test_a_package_that_is_nowhere_to_be_had_is_where_it_parts(
    houses: Houses, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = flow._materials

    def made_of(version: str) -> None:
        def materials(*given: Any) -> Materials:
            found = real(*given)
            environment = {**found.draft.environment, "house-maths": version}
            return replace(found, draft=replace(found.draft, environment=environment))

        monkeypatch.setattr(flow, "_materials", materials)

    made_of(f"1.2{LOCAL}")
    found = reproduce("houses", version=1, settings=houses.settings)
    assert (found.same, found.parted) == (False, "packages")
    assert "house-maths 1.2" in found.compared[0].text
    assert "--here" in found.compared[0].advice


@pytest.mark.parametrize(
    ("what", "then", "nowhere"),
    [
        ("uv says:\n  Because there is no version of pandas==0.0.7", "read uv's words above", True),
        ("uv says:\n  house was not found in the package registry", "read uv's words above", True),
        ("uv says:\n  house was not found in the package registry", "the network was disabled", False),
        ("uv says:\n  error sending request", "check the connection to the package index", False),
        ("uv says:\n  No space left on device", "read uv's words above", False),
    ],
)
def test_what_cannot_be_had_is_told_from_what_cannot_be_reached(what: str, then: str, nowhere: bool) -> None:
    then = "allow the network once: network was disabled" if "disabled" in then else then
    assert rebuilding.unobtainable(LockFailed(what, next_step=then)) is nowhere


def test_what_is_gone_is_refused_by_name(houses: Houses, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = _materials(houses, 2).draft
    with opened(houses.settings) as session:
        kept = {digest: session.workspace.blobs.get(digest) for digest in (draft.snapshot, draft.source)}
        session.workspace.blobs.delete(draft.source)
    with pytest.raises(NotReproducible, match=r"the source that version 2 of houses .* is lost"):
        reproduce("houses", version=2, settings=houses.settings)
    with opened(houses.settings) as session:
        session.workspace.blobs.put(kept[draft.source])
        session.workspace.erase(draft.snapshot, "asked for")
    try:
        with pytest.raises(NotReproducible, match=r"the rows that .* deleted on purpose") as refused:
            reproduce("houses", version=2, settings=houses.settings, here=True)
        assert refused.value.exit_code == 2
    finally:
        with opened(houses.settings) as session:
            session.workspace.blobs.put(kept[draft.snapshot])
    with pytest.raises(VersionNotFound):
        reproduce("houses", version=9, settings=houses.settings)


def test_a_version_of_before_says_that_its_packages_are_not_known(
    houses: Houses, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = flow._materials

    def materials(*given: Any) -> Materials:
        found = real(*given)
        return replace(found, draft=replace(found.draft, environment={}, machine={}))

    monkeypatch.setattr(flow, "_materials", materials)
    with pytest.raises(NotReproducible, match="which packages"):
        reproduce("houses", version=1, settings=houses.settings)
    with opened(houses.settings) as session:
        before = flow._materials(session, "houses", 1)
    lay_out(before, tmp_path)
    found = parting.judged(before.draft, refit(tmp_path), version=1, clean=False)
    assert found.same
    assert [each.part for each in found.compared] == ["code", "contract", "model", "answers", "metric"]


def test_threads_are_those_of_the_training() -> None:
    assert flow._variables({"cores": "64", "OMP_NUM_THREADS": "3"}) == {
        "OMP_NUM_THREADS": "3",
        "LOKY_MAX_CPU_COUNT": "64",
    }
    assert flow._variables({"cores": "64", "TZ": "UTC"}) == {
        "OMP_NUM_THREADS": "64",
        "LOKY_MAX_CPU_COUNT": "64",
        "TZ": "UTC",
    }


# --- going back ---------------------------------------------------------------------------------------------


def _fits(version: int, values: Sequence[float]) -> bool:
    return all(1000 * (version - 1) - 100 < one < 1000 * (version - 1) + 100 for one in values)


def test_back_and_forward_under_load_without_a_dropped_request(houses: Houses) -> None:
    settings = houses.settings
    url = deploy.deploy("houses", settings=settings).url
    pids = [_process(settings)]
    with calling(urlsplit(url).port or 0, "houses", [ROW] * 3, _fits, threads=2) as heard:
        for version, change in ((2, promote), (1, rollback), (2, rollback)):
            before = heard.count(version)
            assert change("houses", version=version, settings=settings).version == version
            pids.append(_process(settings))
            until = time.monotonic() + 20
            while heard.count(version) < before + 5 and time.monotonic() < until:
                time.sleep(0.01)
            assert heard.count(version) >= before + 5
    assert heard.wrong == []
    assert heard.answers.keys() == {1, 2}
    assert len(set(pids)) == 4, "versions of another environment are served by another process"
    started = [(body["version"], body["url"]) for _, body in _facts(settings, "deployment.started")]
    assert started == [(1, url), (2, url), (1, url), (2, url)]


def test_an_environment_that_is_gone_is_there_before_the_champion_changes(
    houses: Houses, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    facts = _facts(houses.settings)
    values = {**houses.settings.values, "environments": str(tmp_path / "gone"), "offline": "yes"}
    with pytest.raises(LockFailed):
        rollback("houses", version=1, settings=replace(houses.settings, values=values))
    assert _facts(houses.settings) == facts, "it cannot be made here: the champion stays"
    assert client.why_not_ready(_url(houses.settings)) == ""


def _url(settings: Settings) -> str:
    with opened(settings) as session:
        return deploy.url_of(session, "houses") or ""


def _process(settings: Settings) -> int:
    with opened(settings) as session:
        return deploy.process_of(session, "houses")


def test_what_cannot_answer_does_not_become_champion(houses: Houses) -> None:
    settings = houses.settings
    champions = [body["version"] for kind, body in _facts(settings) if kind.startswith(("version.p", "version.ro"))]
    now = champions[-1]
    other = 3 - now
    with opened(settings) as session:
        digest = versions.find(session, "houses", other).bundle
        kept = session.workspace.blobs.get(digest)
        session.workspace.blobs.delete(digest)
    facts = _facts(settings)
    try:
        with pytest.raises(BlobMissing):
            rollback("houses", version=other, settings=settings)
        _put(settings, kept, digest).write_bytes(kept[:-100] + bytes(100))
        with pytest.raises(BlobCorrupt):
            rollback("houses", version=other, settings=settings)
    finally:
        with opened(settings) as session:
            session.workspace.blobs.put(kept)
    assert _facts(settings) == facts
    with pytest.raises(VersionNotFound) as refused:
        rollback("houses", version=77, settings=settings)
    assert str(other) in (refused.value.allowed or "")


def _put(settings: Settings, content: bytes, digest: str) -> Path:
    with opened(settings) as session:
        session.workspace.blobs.put(content)
    (path,) = (settings.workspace / "blobs").rglob(digest)
    return path
