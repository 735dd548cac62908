from __future__ import annotations

from collections.abc import Iterator

import pytest

import circles
from circles import Circle
from fullcircle.flows import deploy
from fullcircle.flows.run import run


@pytest.fixture(scope="session", autouse=True)
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with circles.surroundings(tmp_path_factory):
        yield


@pytest.fixture(scope="session")
def circle(tmp_path_factory: pytest.TempPathFactory, environments: None) -> Iterator[Circle]:
    folder = tmp_path_factory.mktemp("circle")
    project = circles.write_project(folder / "houses", circles.PROJECT)
    settings = circles.settings(folder)
    yield Circle(project, settings, run(project, settings=settings))
    deploy.remove("houses", settings=settings)
