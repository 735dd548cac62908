"""A team: two clones with the same ledger, blobs and MLflow by URL see each other's work."""

from __future__ import annotations

import shutil
from pathlib import Path

import circles
from fullcircle.flows import deploy, snapshots
from fullcircle.flows.audit import audit
from fullcircle.flows.package import package
from fullcircle.flows.promote import promote
from fullcircle.flows.reopen import reopen
from fullcircle.flows.runs import runs
from fullcircle.flows.status import status
from fullcircle.flows.train import train


def test_two_clones_find_each_others_runs_snapshots_and_champion(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    urls = {
        "ledger": f"sqlite:///{shared / 'ledger.db'}",
        "blobs": (shared / "blobs").as_uri(),
        "mlflow": circles.tables(shared / "mlflow.db"),
    }
    ann = circles.settings(tmp_path / "ann", **urls, actor="ann")
    bob = circles.settings(tmp_path / "bob", **urls, actor="bob")
    project = circles.write_project(tmp_path / "ann" / "houses", circles.PLAIN)
    shutil.copytree(project.parent, tmp_path / "bob" / "houses")

    trained = train(project, settings=ann)
    assert [row.id for row in runs("houses", settings=bob)] == [trained.run]
    assert [found.digest for found in snapshots.list_snapshots(settings=bob)] == [trained.snapshot.digest]

    packaged = package(tmp_path / "bob" / "houses", settings=bob)
    decision = promote("houses", settings=ann)
    assert (packaged.run, decision.version) == (trained.run, packaged.version)
    for settings in (ann, bob):
        (model,) = status(settings=settings).models
        assert model.champion == packaged.version
        assert audit(settings=settings).problems == ()

    deployed = deploy.deploy("houses", settings=bob)
    try:
        assert deployed.version == packaged.version
    finally:
        deploy.remove("houses", settings=bob)
    again = reopen(trained.run, settings=bob)
    assert again.snapshot.digest == trained.snapshot.digest
