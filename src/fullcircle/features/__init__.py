"""Features: point-in-time joins, feature tables and views, offline and online from one definition.

Names are loaded when first used.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Feature": "fullcircle.types.features",
    "FeatureStore": "fullcircle.features.feast_names",
    "FeatureTable": "fullcircle.types.features",
    "FeatureView": "fullcircle.types.features",
    "Lookup": "fullcircle.features.transformer",
    "Store": "fullcircle.features.store",
    "join": "fullcircle.features.joining",
    "on_demand": "fullcircle.features.functions",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"fullcircle.features has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
