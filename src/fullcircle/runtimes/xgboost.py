"""XGBoost's models, as checked JSON."""

from __future__ import annotations

from fullcircle.runtimes.boosters.runtime import BoosterRuntime


class XGBoostRuntime(BoosterRuntime):
    """XGBClassifier, XGBRegressor and their forests of one round (XGBRF...), with trees or linear."""

    def __init__(self) -> None:
        super().__init__("xgboost")
