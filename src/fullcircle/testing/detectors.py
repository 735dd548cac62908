"""The conformance suite of detectors: subclass it with a ``detector`` fixture.

class TestMine(DetectorSuite):
    @pytest.fixture
    def detector(self) -> Detector:
        return Mine()
"""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import ArrayLike

from fullcircle.monitoring.detector import Counts, Detector
from fullcircle.stats.bins import count_categories, count_numbers, quantile_edges
from fullcircle.types.monitoring import FeatureProfile, Profile

REFERENCE_ROWS = 2000
WINDOW_ROWS = 500
_CITIES = ("Bergen", "Lima", "Pune")


class DetectorSuite:
    """What every detector has to do: alarms at its level, on the right feature, without state."""

    @pytest.fixture
    def detector(self) -> Detector:
        """The detector under test."""
        raise NotImplementedError

    @pytest.fixture
    def generator(self) -> np.random.Generator:
        """A seeded source of rows."""
        return np.random.default_rng(20261123)

    def test_it_has_a_name_and_a_code(self, detector: Detector) -> None:
        """Both appear in facts and reports."""
        assert detector.name
        assert detector.code

    def test_a_window_equal_to_the_reference_is_quiet(
        self, detector: Detector, generator: np.random.Generator
    ) -> None:
        """The same counts are no evidence of anything."""
        profile = draw_profile(generator)
        counts = {feature.name: feature.counts for feature in profile.features}
        assert detector.detect(profile, counts, alpha=0.01) == ()

    def test_an_empty_window_is_no_evidence(self, detector: Detector, generator: np.random.Generator) -> None:
        """Nothing counted, nothing said, at any level."""
        profile = draw_profile(generator)
        counts = {feature.name: (0,) * len(feature.counts) for feature in profile.features}
        assert detector.detect(profile, counts, alpha=0.5) == ()

    def test_a_single_row_is_no_evidence(self, detector: Detector, generator: np.random.Generator) -> None:
        """One row, however strange, proves nothing at a small level."""
        profile = draw_profile(generator)
        assert detector.detect(profile, _counted(profile, [100.0], ["Oslo"]), alpha=1e-4) == ()

    @pytest.mark.parametrize("moved", ["size", "city", "missing", "unseen"])
    def test_a_large_change_is_found_on_its_feature(
        self, detector: Detector, generator: np.random.Generator, moved: str
    ) -> None:
        """A number times ten, another mix of categories, values gone missing, a new category."""
        profile = draw_profile(generator)
        sizes, cities = _rows(generator, WINDOW_ROWS)
        if moved == "size":
            sizes = sizes * 10
        elif moved == "missing":
            sizes[: WINDOW_ROWS // 2] = np.nan
        elif moved == "city":
            cities = ["Lima"] * WINDOW_ROWS
        else:
            cities[: WINDOW_ROWS // 2] = ["Oslo"] * (WINDOW_ROWS // 2)
        alarms = detector.detect(profile, _counted(profile, sizes, cities), alpha=1e-5)
        assert [alarm.feature for alarm in alarms] == ["size" if moved in ("size", "missing") else "city"]
        (alarm,) = alarms
        assert alarm.detector == detector.name
        assert alarm.alpha == 1e-5
        assert 0.0 <= alarm.p <= alarm.alpha
        assert 0.0 < alarm.distance <= 1.0
        assert alarm.feature in alarm.text

    def test_the_level_holds_when_nothing_changed(self, detector: Detector, generator: np.random.Generator) -> None:
        """Reference and window from one distribution, both drawn anew: false alarms at most as many as allowed.

        3000 features at 1 % allow 30; beyond 30 + 4 standard deviations is no chance. Small and large
        windows, because the noise of the reference counts most in the large ones.
        """
        alpha, false_alarms, looked_at = 0.01, 0, 0
        for window_rows in (60, WINDOW_ROWS, 4 * REFERENCE_ROWS):
            for _ in range(500):
                profile = draw_profile(generator, REFERENCE_ROWS)
                counts = _counted(profile, *_rows(generator, window_rows))
                false_alarms += len(detector.detect(profile, counts, alpha=alpha))
                looked_at += len(profile.features)
        allowed = alpha * looked_at
        assert false_alarms <= allowed + 4 * np.sqrt(allowed)

    def test_a_stricter_level_raises_no_more_alarms(self, detector: Detector, generator: np.random.Generator) -> None:
        """What is found at a level is found at every laxer one."""
        profile = draw_profile(generator)
        sizes, cities = _rows(generator, WINDOW_ROWS)
        counts = _counted(profile, sizes + 0.3, cities)
        found = [
            {alarm.feature for alarm in detector.detect(profile, counts, alpha=alpha)}
            for alpha in (1e-9, 1e-6, 1e-3, 0.1)
        ]
        assert all(strict <= lax for strict, lax in pairwise(found))

    def test_it_keeps_no_state_and_changes_nothing(self, detector: Detector, generator: np.random.Generator) -> None:
        """The same question gets the same answer, from threads too, and the counts stay as they were."""
        profile = draw_profile(generator)
        sizes, cities = _rows(generator, WINDOW_ROWS)
        counts = _counted(profile, sizes * 2, cities)
        before = copy.deepcopy(counts)
        first = detector.detect(profile, counts, alpha=1e-3)
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: detector.detect(profile, counts, alpha=1e-3), range(16)))
        assert set(answers) == {first}
        assert counts == before


def draw_profile(generator: np.random.Generator, rows: int = REFERENCE_ROWS) -> Profile:
    """A reference of two features: a number "size" and a category "city"."""
    sizes, cities = _rows(generator, rows)
    edges = quantile_edges(sizes)
    size = FeatureProfile(
        name="size",
        kind="number",
        edges=tuple(edges.tolist()),
        counts=tuple(count_numbers(sizes, edges).tolist()),
        low=float(sizes.min()),
        high=float(sizes.max()),
    )
    counted = tuple(count_categories(cities, _CITIES).tolist())
    return Profile(
        features=(size, FeatureProfile(name="city", kind="category", categories=_CITIES, counts=counted)), rows=rows
    )


def _rows(generator: np.random.Generator, n: int) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], list[str]]:
    return generator.normal(3.0, 1.0, n), generator.choice(_CITIES, n, p=[0.6, 0.3, 0.1]).tolist()


def _counted(profile: Profile, sizes: ArrayLike, cities: list[str]) -> Counts:
    return {
        "size": tuple(count_numbers(sizes, profile.features[0].edges).tolist()),
        "city": tuple(count_categories(cities, _CITIES).tolist()),
    }
