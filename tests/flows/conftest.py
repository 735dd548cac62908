from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import circles
from circles import Circle
from fullcircle.flows import deploy


@pytest.fixture(scope="session", autouse=True)
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with circles.surroundings(tmp_path_factory):
        yield


@pytest.fixture(scope="session")
def circle(tmp_path_factory: pytest.TempPathFactory, environments: None) -> Iterator[Circle]:
    """A project that went once around, and its server, which answers as at the end of that turn."""
    found = circles.copy(tmp_path_factory, circles.UNTIMED, tmp_path_factory.mktemp("circle"))
    assert found.turn.deployed is not None
    deployed = replace(found.turn.deployed, url=deploy.deploy("houses", settings=found.settings).url)
    yield replace(found, turn=replace(found.turn, deployed=deployed))
    deploy.remove("houses", settings=found.settings)
