"""Deploying to targets, through the flow and the command line, for a real champion."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from typer.testing import CliRunner

from circles import Circle
from fullcircle.cli import app
from fullcircle.deployment import sizes
from fullcircle.errors import PluginUnknown, TableNotFound, TargetRefused
from fullcircle.flows import deploy
from fullcircle.flows.session import opened
from fullcircle.flows.taken_along import Batch
from fullcircle.packaging import proof as proofs
from fullcircle.packaging.bundle import open_bundle
from fullcircle.types.bundle import Proof

MB = 1_000_000


@pytest.fixture
def facts(circle: Circle) -> list[Any]:
    """The facts of deployments that are recorded while a test runs; asked for when it looks."""

    class Later(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            with opened(circle.settings, create=False) as session:
                ledger = session.workspace.ledger
                found = [*ledger.facts("deployment.started"), *ledger.facts("deployment.stopped")]
                return iter(
                    [(one.kind, one.body["target"]) for one in sorted(found, key=lambda one: one.seq)][known:]
                )

    known = 0
    seen = Later()
    known = len(list(iter(seen)))
    return seen


def tree(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_a_plan_changes_nothing(circle: Circle) -> None:
    root = circle.settings.workspace
    before = tree(root)
    found = deploy.plan("houses", to="container", settings=circle.settings)
    local = deploy.plan("houses", settings=circle.settings)
    assert (found.action, found.version, found.written) == ("start", 1, "")
    assert {one.name for one in found.files} >= {
        "Containerfile",
        "attestations/report.json",
        "wheels/" + _wheel(found),
    }
    assert (local.action, [one.name for one in local.files]) == ("keep", ["service.json"])
    of_the_server = (str(root / "code" / "metrics"), str(root / "predictions" / "_requests"))  # one runs, and counts
    made = {path for path in tree(root) - before if not path.startswith(of_the_server)}
    assert {path for path in made if not path.endswith(("-wal", "-shm"))} == set()


def _wheel(found: deploy.Planned) -> str:
    (name,) = [one.name for one in found.files if one.name.startswith("wheels/")]
    return name.removeprefix("wheels/")


def test_a_container_is_written_looked_at_and_deleted(circle: Circle, facts: list[Any], tmp_path: Path) -> None:
    settings = circle.settings
    reviewed = deploy.plan("houses", to="container", out=tmp_path / "review", write=True, settings=settings)
    made = deploy.deploy("houses", to="container", settings=settings)
    place = Path(made.place)
    assert place == settings.workspace / "containers" / "houses-1"
    same = {one.name: (tmp_path / "review" / one.name).read_bytes() for one in reviewed.files}
    assert {name: (place / name).read_bytes() for name in same} == same
    assert open_bundle((place / "bundle.zip").read_bytes()).manifest.model == "houses"
    assert msgspec.json.decode((place / "proof.json").read_bytes(), type=Proof).same_bits
    assert any("docker build" in step for step in made.steps)
    assert deploy.deploy("houses", to="container", settings=settings) == made
    status = deploy.status("houses", to="container", settings=settings)
    assert (status.ready, status.versions) == (True, (("houses", 1),))
    assert deploy.remove("houses", to="container", settings=settings).url == str(place)
    assert deploy.remove("houses", to="container", settings=settings).url == ""
    assert not place.exists()
    assert list(facts) == [("deployment.started", "container"), ("deployment.stopped", "container")]
    assert deploy.status("houses", settings=settings).ready, "the server here is another deployment, and goes on"


def test_the_image_is_as_small_as_it_was_to_be(circle: Circle) -> None:
    """The packages of this champion are those of the diabetes example."""
    with opened(circle.settings, create=False) as session:
        known = session.workspace.ledger.state().versions["houses"][1]
        bundle = open_bundle(session.workspace.blobs.get(known.bundle))
        home = session.workspace.environments / proofs.key(bundle)
    site = next(home.glob("lib/python3*/site-packages"))
    lock, most = (bundle.compiled_lock, 150) if bundle.compiled_lock is not None else (bundle.lock, 250)
    found = sizes.estimate(lock, 0, site, home.with_name(f"{home.name}.sizes.json"))
    assert found.unknown == ()
    assert 50 * MB < found.total < most * MB


def test_a_schedule_scores_what_comes_and_tells(circle: Circle, facts: list[Any], tmp_path: Path) -> None:
    settings, inbox = circle.settings, tmp_path / "in"
    inbox.mkdir()
    pd.read_csv(circle.project.with_name("houses.csv")).head(30).to_csv(inbox / "today.csv", index=False)
    batch = Batch(source=str(inbox), every="1h")
    assert deploy.plan("houses", batch=batch, settings=settings).action == "start"
    try:
        made = deploy.deploy("houses", batch=batch, settings=settings)
        assert (made.target, made.url) == ("local batch", "")
        deadline = time.monotonic() + 60
        while (ran := deploy.status("houses", scheduled=True, settings=settings).ran) is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert (ran.files, ran.rows, ran.rejected, ran.code, ran.words) == (1, 30, 0, 0, "")
        assert len(pd.read_csv(inbox / "scored" / "today.scored.csv")) == 30
        shown = CliRunner().invoke(app, [*_at(circle, "deploy", "houses", "--status", "--scheduled")])
        assert "1 files, 30 rows, 0 rejected" in " ".join(shown.stdout.split())
    finally:
        deploy.remove("houses", scheduled=True, settings=settings)
    assert not deploy.status("houses", scheduled=True, settings=settings).running
    assert list(facts) == [("deployment.started", "local batch"), ("deployment.stopped", "local batch")]


@pytest.mark.parametrize(
    ("source", "every", "results", "error"),
    [
        ("none.csv", "1h", "", TableNotFound),
        ("rows.csv", "1s", "", TargetRefused),
        ("rows.csv", "1h", "rows.csv", TargetRefused),
        ("*.csv", "1h", ".", TargetRefused),
        (".", "1h", "out/all.csv", TargetRefused),
        (".", "1h", "out/{time}", TargetRefused),
        ("rows.csv", "1h", "{time}/rows.csv", TargetRefused),
        ("*/rows.csv", "1h", "", TargetRefused),
        ("*/rows.csv", "1h", "scored/{name}.csv", TargetRefused),
    ],
)
def test_a_schedule_that_could_not_work_is_refused(
    circle: Circle, tmp_path: Path, source: str, every: str, results: str, error: type[Exception]
) -> None:
    (tmp_path / "rows.csv").write_text("a\n")
    results = str(tmp_path / results) if results else ""
    with pytest.raises(error):
        deploy.plan(
            "houses",
            batch=Batch(source=str(tmp_path / source), every=every, results=results),
            settings=circle.settings,
        )


def _at(circle: Circle, *words: str) -> list[str]:
    return [*words, "--workspace", str(circle.settings.workspace)]


def test_the_command_shows_plans_and_writes_units(circle: Circle, tmp_path: Path) -> None:
    runner = CliRunner()
    shown = runner.invoke(app, _at(circle, "deploy", "houses", "--to", "container", "--plan"))
    assert shown.exit_code == 0, shown.output
    words = " ".join(shown.stdout.split())
    assert "Containerfile" in words
    assert "nothing was made; --out FOLDER writes the files" in words
    told = runner.invoke(app, _at(circle, "deploy", "houses", "--to", "container", "--plan", "--json"))
    assert json.loads(told.stdout)["action"] == "start"
    out = tmp_path / "units"
    made = runner.invoke(
        app, _at(circle, "deploy", "houses", "--systemd", "--out", str(out), "--port", "8711", "--json")
    )
    assert json.loads(made.stdout)["written"] == str(out)
    unit = (out / "fullcircle-houses.service").read_text()
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert "fullcircle.server" in shlex.split(command.removeprefix("ExecStart="))
    looked = runner.invoke(app, _at(circle, "deploy", "houses", "--status"))
    assert "houses version 1, ready" in " ".join(looked.stdout.split())


@pytest.mark.parametrize(
    "flags",
    [
        "--status --stop", "--status --plan", "--scheduled", "--to container --systemd", "--base python:3",
        "--out x", "--stop --batch x.csv", "--to container --batch x.csv",
    ],
)  # fmt: skip
def test_flags_that_mean_nothing_together_are_refused(circle: Circle, flags: str) -> None:
    told = CliRunner().invoke(app, _at(circle, "deploy", "houses", *flags.split(), "--json"))
    assert told.exit_code == 2
    assert json.loads(told.stdout)["error"]["code"] == "setting_invalid"


def test_a_target_that_nobody_registered_is_unknown(circle: Circle) -> None:
    with pytest.raises(PluginUnknown) as caught:
        deploy.plan("houses", to="kube", settings=circle.settings)
    assert "container, local" in str(caught.value)
