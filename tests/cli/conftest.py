from __future__ import annotations

from collections.abc import Iterator

import pytest

import circles


@pytest.fixture(scope="session", autouse=True)
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with circles.surroundings(tmp_path_factory):
        yield
