"""fullcircle takes a tabular model full circle, from exploration to production and back.

Names are loaded when first used: ``import fullcircle`` does no work.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "FeatureView": "fullcircle.types.features",
    "Inputs": "fullcircle.types.project",
    "Monitor": "fullcircle.types.project",
    "Project": "fullcircle.types.project",
    "Retrain": "fullcircle.types.project",
    "Serving": "fullcircle.types.project",
    "Table": "fullcircle.types.table",
    "at_least": "fullcircle.types.gates",
    "at_most": "fullcircle.types.gates",
    "beats": "fullcircle.types.gates",
    "fair": "fullcircle.types.gates",
    "latency": "fullcircle.types.gates",
    "size": "fullcircle.types.gates",
    "worth": "fullcircle.types.gates",
    "deploy": "fullcircle.flows.deploy",
    "evaluate": "fullcircle.flows.evaluate",
    "monitor": "fullcircle.flows.monitor",
    "package": "fullcircle.flows.package",
    "promote": "fullcircle.flows.promote",
    "reopen": "fullcircle.flows.reopen",
    "retrain": "fullcircle.flows.retrain",
    "rollback": "fullcircle.flows.promote",
    "run": "fullcircle.flows.run",
    "runs": "fullcircle.flows.runs",
    "score": "fullcircle.flows.score",
    "serve": "fullcircle.flows.serve",
    "status": "fullcircle.flows.status",
    "track": "fullcircle.flows.runs",
    "train": "fullcircle.flows.train",
    "why": "fullcircle.flows.why",
}
__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"fullcircle has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
