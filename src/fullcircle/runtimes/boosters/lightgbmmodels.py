"""Models of LightGBM as documents, and back."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import msgspec

from fullcircle.runtimes.boosters import document, lightgbmtext
from fullcircle.runtimes.boosters.document import FORMAT, Document, Plain, custom_objective, library
from fullcircle.runtimes.boosters.sound import Unsound, require

NAME = "lightgbm"
DISTRIBUTIONS = ("lightgbm",)
KINDS: Mapping[str, str] = {
    "lightgbm.sklearn.LGBMClassifier": "LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor": "LGBMRegressor",
    "lightgbm.basic.Booster": "Booster",
}
RAW = "Booster"
_LEFT_OUT = frozenset({"self", "kwargs", "n_jobs"})
_OTHER = (
    "verbose",
    "verbosity",
    "pred_early_stop",
    "pred_early_stop_freq",
    "pred_early_stop_margin",
    "predict_disable_shape_check",
)
"""Further parameters that LightGBM reads when it predicts."""
_FITTED = (
    "_best_iteration",
    "_n_features",
    "_n_features_in",
    "_n_classes",
    "_fitted_with_feature_names",
    "_objective",
)


def write(model: Any, kind: str) -> Document:
    """A model as a checked document. Raises ModelRefused where it cannot be kept, Unsound where its text is odd."""
    attributes: dict[str, Plain] = {}
    labels = None
    fitted: Any = model
    best: int | None = None
    if kind == RAW:
        attributes = {"_best_iteration": int(model.best_iteration)}
    else:
        custom = next((one for one in (model.objective, model._objective) if callable(one)), None)
        if custom is not None and kind != "LGBMRegressor":
            raise custom_objective(custom)
        other = model.__dict__.get("_other_params", {})
        attributes = {name: document.plain(getattr(model, name, None)) for name in _parameters(kind)}
        attributes |= {name: document.plain(other[name]) for name in _OTHER if name in other}
        fitted = model.__dict__.get("_Booster")
        if fitted is not None:
            attributes |= {name: document.plain(model.__dict__.get(name)) for name in _FITTED}
            labels = document.labels(model._classes) if model._classes is not None else None
            best = model._best_iteration or None
    text = b"null"
    if fitted is not None:
        written = fitted.model_to_string(num_iteration=best or fitted.best_iteration or -1)
        text = msgspec.json.encode(lightgbmtext.checked(written).written())
    kept, odd = document.split(attributes)
    found = Document(
        format=FORMAT,
        library="lightgbm",
        kind=kind,
        attributes=kept,
        odd=odd,
        labels=labels,
        booster=msgspec.Raw(text),
    )
    judge(found)
    return found


def judge(found: Document) -> lightgbmtext.Text | None:
    """The booster of a document, all of the document being sound. None where it was not fitted. Raises Unsound."""
    require(found.kind in KINDS.values(), "its class")
    values = found.values
    names = {"_best_iteration"} if found.kind == RAW else {*_parameters(found.kind), *_OTHER, *_FITTED}
    require(set(values) <= names, "its attributes")
    if bytes(found.booster) == b"null":
        require(found.kind != RAW and found.labels is None and not set(values) & set(_FITTED), "its booster")
        return None
    try:
        text = lightgbmtext.checked(msgspec.json.decode(found.booster, type=str))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unsound("its booster, which is no text,") from error
    best = values.get("_best_iteration")
    require(type(best) is int and -1 <= best < 2**31, "its best iteration")
    if found.kind == RAW:
        require(found.labels is None, "its classes")
        return text
    require(values.get("_n_features") == text.features, "the number of its features")
    require(values.get("_n_features_in") == text.features, "the number of its features")
    require(type(values.get("_fitted_with_feature_names")) is bool, "the names of its features")
    require((found.kind == "LGBMClassifier") == (found.labels is not None), "its classes")
    if found.labels is not None:
        document.array(found.labels)
        count = len(found.labels.values)
        require(values.get("_n_classes") == count, "the number of its classes")
        require(text.classes == count if text.classes > 1 else count <= 2, "the number of its classes")
    return text


def make(found: Document) -> Any:
    """The model that a document holds. Raises Unsound, MissingExtra."""
    text = judge(found)
    lightgbm = library("lightgbm", "LightGBM")
    values = found.values
    native = None
    if text is not None:
        try:
            native = lightgbm.Booster(model_str=text.written())
        except lightgbm.basic.LightGBMError as error:
            raise Unsound(f"its booster ({str(error).strip()[:200]})") from error
        native.best_iteration = values["_best_iteration"]
    if found.kind == RAW:
        return native
    other = {name: values[name] for name in _OTHER if name in values}
    model = getattr(lightgbm, found.kind)(**other)
    model.__dict__.update(values)
    model.n_jobs = 1
    if native is None:
        return model
    model._Booster = native
    model.fitted_ = True
    if found.labels is not None:
        _labelled(model, document.array(found.labels))
    return model


def _labelled(model: Any, classes: Any) -> None:
    from sklearn.preprocessing import LabelEncoder

    encoder = LabelEncoder()
    encoder.classes_ = classes
    model._le = encoder
    model._classes = classes
    model._class_map = {label: place for place, label in enumerate(classes.tolist())}


def _parameters(kind: str) -> list[str]:
    names = inspect.signature(getattr(library("lightgbm", "LightGBM"), kind).__init__).parameters
    return sorted(set(names) - _LEFT_OUT)
