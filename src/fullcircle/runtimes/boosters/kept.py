"""One booster as bytes and back, whichever of the two libraries it is of."""

from __future__ import annotations

import copy
from collections.abc import Collection
from importlib import metadata
from types import ModuleType
from typing import Any

from fullcircle.errors import BundleInvalid, ModelRefused
from fullcircle.runtimes.boosters import document, lightgbmmodels, xgboostmodels
from fullcircle.runtimes.boosters.sound import Unsound

LIBRARIES: dict[str, ModuleType] = {module.NAME: module for module in (lightgbmmodels, xgboostmodels)}

_BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def kind(part: object) -> tuple[str, str] | None:
    """The library and the class of a booster, by its exact type; None for anything else. Imports nothing."""
    name = f"{type(part).__module__}.{type(part).__qualname__}"
    for library, module in LIBRARIES.items():
        if name in module.KINDS:
            return library, module.KINDS[name]
    return None


def write(part: Any) -> bytes:
    """A booster, fitted or not, as bytes: the same one gives the same bytes. Raises ModelRefused."""
    found = kind(part)
    if found is None:
        raise document.refused(
            "this is no model of XGBoost or LightGBM that is known",
            f"{type(part).__module__}.{type(part).__qualname__}",
            "return the fitted XGBClassifier, XGBRegressor, LGBMClassifier or LGBMRegressor from fit",
        )
    try:
        return document.written(LIBRARIES[found[0]].write(part, found[1]))
    except Unsound as error:
        raise ModelRefused(
            f"the model cannot be kept: {error} is not as it has to be",
            received=found[1],
            allowed="models of regression and classification, with one number or one class as their answer",
            next_step="see docs/models.md, XGBoost and LightGBM",
        ) from error


def judge(data: bytes, libraries: Collection[str] = tuple(LIBRARIES)) -> tuple[str, str]:
    """The library and the class's full name of what these bytes hold, when all of it is sound. Builds nothing.

    Raises BundleInvalid, MissingExtra.
    """
    try:
        found = document.opened(data)
        if found.library not in libraries:
            raise Unsound("its library")
        LIBRARIES[found.library].judge(found)
    except Unsound as error:
        raise document.invalid(str(error)) from error
    names: dict[str, str] = {short: full for full, short in LIBRARIES[found.library].KINDS.items()}
    return found.library, names[found.kind]


def read(data: bytes) -> Any:
    """The booster that these bytes hold. Raises BundleInvalid, MissingExtra."""
    try:
        found = document.opened(data)
        return LIBRARIES[found.library].make(found)
    except Unsound as error:
        raise document.invalid(str(error)) from error
    except BundleInvalid:
        raise
    except _BROKEN as error:
        raise document.invalid(f"what it makes ({type(error).__name__}: {str(error)[:200]})") from error


def nameless(part: Any) -> Any:
    """A copy of a booster that does not mind columns without names and works in one thread. Its trees are shared."""
    twin = copy.copy(part)
    if "_fitted_with_feature_names" in vars(twin):
        twin._fitted_with_feature_names = False
    if "n_jobs" in vars(twin):
        twin.n_jobs = 1
    return twin


def distributions(library: str) -> tuple[str, ...]:
    """The installed distribution of a library, which has two names for XGBoost; the usual one where none is there."""
    names: tuple[str, ...] = LIBRARIES[library].DISTRIBUTIONS
    for name in names:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return (name,)
    return names[:1]
