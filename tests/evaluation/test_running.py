"""Running checks: order, refusals, gates of the caller, figures that JSON can hold."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import subjects
from fullcircle import registry
from fullcircle.errors import FullcircleError, PluginBroken
from fullcircle.evaluation.check import Skipped, Subject
from fullcircle.evaluation.evaluate import evaluate
from fullcircle.types.gates import at_most, beats
from fullcircle.types.report import Finding, Measure


def _with(subject: Subject, **changes: Any) -> Subject:
    return dataclasses.replace(subject, **changes)


def _found(answer: Finding | Skipped) -> Finding:
    assert isinstance(answer, Finding)
    return answer


def _measure(finding: Finding, name: str, group: str = "") -> Measure:
    (found,) = [each for each in finding.measures if (each.name, each.group) == (name, group)]
    return found


def _number(finding: Finding, name: str, group: str = "") -> float:
    value = _measure(finding, name, group).value
    assert value is not None
    return value


class TestEvaluate:
    def test_a_check_that_cannot_be_made_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Demanding:
            def __init__(self, what: str) -> None:
                self.what = what

        monkeypatch.setattr(registry, "find", lambda group, name: Demanding)
        with pytest.raises(PluginBroken, match="the check 'size' could not be made") as caught:
            evaluate(subjects.regression(40), checks=["size"])
        assert "no arguments" in (caught.value.allowed or "")
        assert isinstance(caught.value, FullcircleError)

    def test_findings_come_in_the_order_of_their_codes(self) -> None:
        report = evaluate(subjects.regression(40), checks=["slices", "operations", "quality"])
        assert [finding.code for finding in report.findings] == ["E001", "E005", "E007"]

    @pytest.mark.parametrize(("has", "rival"), [(None, "baseline"), (False, "baseline"), (True, "champion")])
    def test_whether_there_is_a_champion_may_be_said(self, has: bool | None, rival: str) -> None:
        report = evaluate(subjects.regression(60, gates=[beats()]), has_champion=has, checks=["quality"])
        assert f"improvement over the {rival}" in report.gates[0].reason
        assert report.passed is (rival == "baseline")

    def test_gates_of_the_caller_win_over_those_of_the_subject(self) -> None:
        subject = subjects.regression(60, gates=[at_most("mae", -1.0)])
        assert not evaluate(subject, checks=["quality"]).passed
        assert evaluate(subject, [at_most("mae", 1e9)], checks=["quality"]).passed
        assert evaluate(subject, [], checks=["quality"]).gates == ()

    def test_every_figure_of_a_report_can_be_written_as_json(self) -> None:
        subject = _with(subjects.regression(40), actual=np.ones(40), predicted=np.ones(40))
        for finding in evaluate(subject).findings:
            for measure in finding.measures:
                for figure in (measure.value, measure.low, measure.high):
                    assert figure is None or math.isfinite(figure), measure.name
