"""Fixtures for a project's own tests, which ``fullcircle test PROJECT`` runs with the model under test at hand.

def test_more_rooms_cost_more(scorer, rows):
    small, large = scorer.score([{**rows[0], "rooms": 2}, {**rows[0], "rooms": 6}])
    assert large.value > small.value
"""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from fullcircle.development.own_tests import VARIABLE
from fullcircle.runtimes.scorer import Scorer

Opened = tuple[Scorer, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def _fullcircle_tested(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    from fullcircle.flows import under_test  # slow, and not every test of a project asks for the model

    named = os.environ.get(VARIABLE)
    if not named:
        pytest.fail("there is no model under test here; run: fullcircle test PROJECT", pytrace=False)
    return under_test.opened(Path(named), tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="session")
def scorer(_fullcircle_tested: Opened) -> Scorer:
    """The model under test behind its contract: rows (mappings) in, predictions with verdicts out."""
    return _fullcircle_tested[0]


@pytest.fixture
def rows(_fullcircle_tested: Opened) -> list[dict[str, Any]]:
    """Good rows: up to 25 test rows with plain values, private columns holding their fill. A copy for each test."""
    return deepcopy(_fullcircle_tested[1])
