"""The built-in checks keep the promises of the public suite, and the suite can fail."""

from __future__ import annotations

from typing import Any

import pytest

from fullcircle import registry
from fullcircle.evaluation.check import Check, Skipped, Subject
from fullcircle.testing.checks import CheckSuite, regression
from fullcircle.types.report import Finding, Measure


class TestBuiltIn(CheckSuite):
    @pytest.fixture(params=registry.names("checks"))
    def check(self, request: pytest.FixtureRequest) -> Check:
        made: Check = registry.find("checks", request.param)()
        return made


def test_every_check_has_a_code_of_its_own() -> None:
    codes = {name: registry.find("checks", name).code for name in registry.names("checks")}
    assert len(set(codes.values())) == len(codes)
    assert codes["quality"] == "E001"


class Wrong:
    """A check that breaks one promise at a time."""

    name = "wrong"
    code = "X001"
    measures: tuple[str, ...] = ()

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.times = 0

    def run(self, subject: Subject) -> Finding | Skipped:
        self.times += 1
        if self.fault == "never applies":
            return Skipped("no")
        if self.fault == "changes the frame":
            subject.frame["extra"] = 1
        measures = [Measure(name="m", value=1.0)]
        if self.fault == "a measure twice":
            measures *= 2
        if self.fault == "differs":
            measures = [Measure(name="m", value=float(self.times))]
        if self.fault == "no reason":
            measures = [Measure(name="m", value=None)]
        if self.fault == "not a number":
            measures = [Measure(name="m", value=float("nan"))]
        code = "X002" if self.fault == "other code" else self.code
        return Finding(check=self.name, code=code, title="t", severity="info", text="T.", measures=tuple(measures))


PROMISES = {
    "never applies": "test_it_answers_with_a_finding_or_says_why_not",
    "other code": "test_it_answers_with_a_finding_or_says_why_not",
    "changes the frame": "test_it_leaves_the_subject_as_it_was",
    "a measure twice": "test_its_measures_are_sound",
    "no reason": "test_its_measures_are_sound",
    "not a number": "test_its_measures_are_sound",
    "differs": "test_it_says_the_same_twice",
}


@pytest.mark.parametrize("fault", PROMISES)
def test_the_suite_finds_a_broken_promise(fault: str) -> None:
    test: Any = getattr(CheckSuite(), PROMISES[fault])
    test(Wrong("none"), (regression(),))
    with pytest.raises(AssertionError):
        test(Wrong(fault), (regression(),))
