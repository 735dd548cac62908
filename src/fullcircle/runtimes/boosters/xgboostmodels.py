"""Models of XGBoost as documents, and back."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

from fullcircle.runtimes.boosters import document, sound, xgboostjson
from fullcircle.runtimes.boosters.document import FORMAT, Document, Plain, custom_objective, library
from fullcircle.runtimes.boosters.sound import Unsound, require, within

NAME = "xgboost"
DISTRIBUTIONS = ("xgboost-cpu", "xgboost")
KINDS: Mapping[str, str] = {
    "xgboost.sklearn.XGBClassifier": "XGBClassifier",
    "xgboost.sklearn.XGBRFClassifier": "XGBRFClassifier",
    "xgboost.sklearn.XGBRegressor": "XGBRegressor",
    "xgboost.sklearn.XGBRFRegressor": "XGBRFRegressor",
    "xgboost.core.Booster": "Booster",
}
RAW = "Booster"
_LEFT_OUT = frozenset({"self", "kwargs", "n_jobs", "device", "callbacks", "feature_weights"})
"""Parameters that no prediction on a server reads: it has no graphics card, and asks in one thread."""


def write(model: Any, kind: str) -> Document:
    """A model as a checked document. Raises ModelRefused where it cannot be kept, Unsound where its text is odd."""
    attributes: dict[str, Plain] = {}
    fitted: Any = model
    if kind != RAW:
        if callable(model.objective) and "Classifier" in kind:
            raise custom_objective(model.objective)
        attributes = {name: document.plain(getattr(model, name, None)) for name in _parameters(kind)}
        if isinstance(getattr(model, "n_classes_", None), int):
            attributes["n_classes_"] = int(model.n_classes_)
        fitted = model.__dict__.get("_Booster")
    kept, odd = document.split(attributes)
    text = b"null"
    if fitted is not None:
        text = xgboostjson.encoded(_read(bytes(fitted.save_raw("json"))))
    found = Document(format=FORMAT, library="xgboost", kind=kind, attributes=kept, odd=odd, booster=msgspec.Raw(text))
    judge(found)
    return found


def judge(found: Document) -> dict[str, Any] | None:
    """The booster of a document, all of the document being sound. None where it was not fitted. Raises Unsound."""
    require(found.kind in KINDS.values(), "its class")
    require(found.labels is None, "its classes")
    values = found.values
    allowed = set() if found.kind == RAW else {*_parameters(found.kind), "n_classes_"}
    require(set(values) <= allowed, "its attributes")
    if bytes(found.booster) == b"null":
        require(found.kind != RAW, "its booster")
        return None
    booster = _read(bytes(found.booster))
    if "Classifier" in found.kind:
        classes = int(booster["learner"]["learner_model_param"]["num_class"])
        kept = within(values.get("n_classes_"), 1, sound.MOST_CLASSES, "the number of its classes")
        fits = kept == classes if classes > 1 else kept <= 2 or _targets(booster) == kept
        require(fits, "the number of its classes")
    return booster


def make(found: Document) -> Any:
    """The model that a document holds. Raises Unsound, MissingExtra."""
    booster = judge(found)
    xgboost = library("xgboost", "XGBoost")
    native = None
    if booster is not None:
        native = xgboost.Booster({"nthread": 1})
        try:
            native.load_model(bytearray(xgboostjson.encoded(booster)))
        except xgboost.core.XGBoostError as error:
            raise Unsound(f"its booster ({str(error).strip().splitlines()[0][:200]})") from error
    if found.kind == RAW:
        return native
    model = getattr(xgboost, found.kind)()
    model.__dict__.update(found.values)
    model.n_jobs = 1
    if native is not None:
        model._Booster = native
    return model


def _targets(booster: Mapping[str, Any]) -> int:
    return int(booster["learner"]["learner_model_param"]["num_target"])


def _read(text: bytes) -> dict[str, Any]:
    try:
        return xgboostjson.checked(msgspec.json.decode(text))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise Unsound("its booster, which is no JSON,") from error


def _parameters(kind: str) -> list[str]:
    xgboost = library("xgboost", "XGBoost")
    names: set[str] = set()
    for cls in getattr(xgboost, kind).__mro__:
        if cls.__module__ == "xgboost.sklearn" and "__init__" in vars(cls):
            names.update(inspect.signature(cls.__init__).parameters)
    return sorted(names - _LEFT_OUT)
