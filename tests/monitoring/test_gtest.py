"""The G-test detector against the public suite, and its words."""

from __future__ import annotations

import pytest

from fullcircle import registry
from fullcircle.monitoring.detector import Detector
from fullcircle.monitoring.detectors.gtest import GTest
from fullcircle.stats.distances import g_test
from fullcircle.testing.detectors import DetectorSuite
from fullcircle.types.monitoring import FeatureProfile, Profile


class TestGTest(DetectorSuite):
    @pytest.fixture
    def detector(self) -> Detector:
        return GTest()


def _profile(*features: FeatureProfile) -> Profile:
    return Profile(features=features, rows=1000)


AGE = FeatureProfile(name="age", kind="number", edges=(20.0, 40.0), counts=(300, 400, 300, 0, 0), low=18, high=66)
CITY = FeatureProfile(name="city", kind="category", categories=("Lima", "Pune"), counts=(500, 500, 0, 0))


def test_it_is_registered_like_any_other() -> None:
    assert registry.find("detectors", "gtest") is GTest
    assert GTest.name == "gtest"


def test_figures_are_those_of_the_test() -> None:
    counts = {"age": (10, 20, 170, 0, 0)}
    (alarm,) = GTest().detect(_profile(AGE), counts, alpha=1e-3)
    found = g_test(counts["age"], AGE.counts)
    assert (alarm.statistic, alarm.p) == (found.statistic, found.p)
    assert alarm.p < 1e-20


def test_the_words_name_the_side_that_grew() -> None:
    (high,) = GTest().detect(_profile(AGE), {"age": (10, 20, 170, 0, 0)}, alpha=1e-3)
    assert high.text == "age: 85 % of the rows are above 40, against 30 % in the reference"
    (low,) = GTest().detect(_profile(AGE), {"age": (150, 30, 20, 0, 0)}, alpha=1e-3)
    assert low.text == "age: 75 % of the rows are at most 20, against 30 % in the reference"


def test_the_words_name_missing_values_and_categories() -> None:
    (gone,) = GTest().detect(_profile(AGE), {"age": (60, 80, 60, 0, 100)}, alpha=1e-3)
    assert gone.text == "age: 33 % of the rows are missing, against 0 % in the reference"
    (mix,) = GTest().detect(_profile(CITY), {"city": (190, 10, 0, 0)}, alpha=1e-3)
    assert mix.text == "city: 95 % of the rows are 'Lima', against 50 % in the reference"
    (new,) = GTest().detect(_profile(CITY), {"city": (100, 100, 150, 0)}, alpha=1e-3)
    assert "43 % of the rows are of a category never seen in the reference" in new.text


def test_a_feature_that_was_not_counted_is_no_evidence() -> None:
    assert GTest().detect(_profile(AGE, CITY), {"city": (100, 100, 0, 0)}, alpha=0.5) == ()
