from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import circles
from fullcircle.flows import deploy
from fullcircle.flows.run import run
from fullcircle.settings import Settings
from fullcircle.types.turn import Turn


@dataclass(frozen=True)
class Circle:
    """A project that went once around."""

    project: Path
    settings: Settings
    turn: Turn


@pytest.fixture(scope="session")
def circle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Circle]:
    folder = tmp_path_factory.mktemp("circle")
    project = circles.write_project(folder / "houses")
    settings = circles.settings(folder)
    yield Circle(project, settings, run(project, settings=settings))
    deploy.remove("houses", settings=settings)
