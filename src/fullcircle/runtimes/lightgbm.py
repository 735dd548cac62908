"""LightGBM's models, as checked text."""

from __future__ import annotations

from fullcircle.runtimes.boosters.runtime import BoosterRuntime


class LightGBMRuntime(BoosterRuntime):
    """LGBMClassifier and LGBMRegressor."""

    def __init__(self) -> None:
        super().__init__("lightgbm")
