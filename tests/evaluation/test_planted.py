"""Every check that looks for a fault finds a planted one, and all together hardly ever cry on clean data.

The full count of seeds is measured by ``make bench ONLY=evaluation``.
"""

from __future__ import annotations

import pytest

import planted
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.types.report import Report


def _raised(report: Report) -> set[str]:
    return {finding.check for finding in report.findings if finding.severity in ("warning", "bad")}


@pytest.mark.parametrize("kind", planted.KINDS)
@pytest.mark.parametrize("fault", planted.FAULTS)
def test_a_planted_fault_is_found_by_its_check(fault: str, kind: planted.Kind) -> None:
    check = planted.FAULTS[fault]
    report = evaluate(planted.planted(kind, fault, seed=1), checks=[check])
    assert _raised(report) == {check}, [finding.text for finding in report.findings]


@pytest.mark.parametrize("kind", planted.KINDS)
def test_clean_data_raise_nothing(kind: planted.Kind) -> None:
    for seed in range(3):
        report = evaluate(planted.clean(kind, seed), checks=planted.CHECKS)
        assert not _raised(report), [finding.text for finding in report.findings]
        assert not report.notes
