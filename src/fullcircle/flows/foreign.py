"""Reading a model that exists already: a file of skops, XGBoost, LightGBM or ONNX, or a folder of MLflow's.

What runs code when it is read (a pickle, a pyfunc's loader) is only read with consent. Everything else passes the
judge of the runtime that will keep it. Nothing is downloaded or installed for a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from fullcircle.errors import FullcircleError, MissingExtra, ModelRefused
from fullcircle.flows import ubjson
from fullcircle.runtimes.sklearn import SklearnRuntime

Task = Literal["regression", "classification"]
MLMODEL = "MLmodel"
_KINDS = ".skops, .json or .ubj (XGBoost), .txt (LightGBM), .onnx, or a folder with an MLmodel"


@dataclass(frozen=True)
class Read:
    """A model in memory, what it is, and where it knows them the columns it was trained on, and its task."""

    model: Any
    kind: str
    features: tuple[str, ...] = ()
    width: int | None = None
    task: Task | None = None


def read(place: Path, *, consent: bool) -> Read:
    """The model in a file or folder. ``consent`` allows one that runs code when it is read.

    Raises ModelRefused for what is no model, may not be read, or needs consent; MissingExtra without its library.
    """
    if place.is_dir():
        return _of_mlflow(place, consent)
    if not place.is_file():
        raise ModelRefused(
            "there is no such model",
            received=str(place),
            allowed=f"models:/NAME/3, models:/NAME@ALIAS, runs:/RUN/PATH, or a file: {_KINDS}",
            next_step="check the path",
        )
    suffix = place.suffix.lower()
    if suffix in _FILES:
        return _FILES[suffix](place)
    if suffix in _PICKLES:
        return _pickled(place, consent)
    if suffix == ".skops":
        return _skops(place, consent)
    raise ModelRefused(
        "the kind of this model cannot be told from its name",
        received=place.name,
        allowed=_KINDS,
        next_step="save the model in one of these forms",
    )


def _described(model: Any, kind: str) -> Read:
    named = getattr(model, "feature_names_in_", None)
    width = getattr(model, "n_features_in_", None)
    names = () if named is None else tuple(str(name) for name in named)
    return Read(model, kind, names, None if width is None else int(width))


def _skops(path: Path, consent: bool) -> Read:
    """A file of skops. One of MLflow's may hold a booster, taken apart by skops: it is only read with consent."""
    data = path.read_bytes()
    try:
        return _described(SklearnRuntime().load(data), "skops file of scikit-learn")
    except ModelRefused as error:
        if not consent:
            raise ModelRefused(
                error.what,
                received=error.received,
                allowed=error.allowed,
                next_step=f"{error.next_step}; or where you trust whoever made the file, say --allow-pickle",
            ) from error
    import skops.io

    try:
        model = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    except Exception as error:  # the types of the file are foreign code, which raises what it likes
        raise _unreadable(path, "skops file", error) from error
    return _described(model, "skops file, read with all its types")


def _xgboost(path: Path) -> Read:
    try:
        import xgboost
    except ImportError as error:
        raise _missing("XGBoost", "xgboost", error) from error
    from fullcircle.runtimes.boosters import xgboostjson
    from fullcircle.runtimes.boosters.sound import Unsound

    try:
        data = path.read_bytes()
        held = msgspec.json.decode(data) if path.suffix.lower() == ".json" else ubjson.decoded(data)
        document = xgboostjson.checked(held)
    except (Unsound, msgspec.MsgspecError, RecursionError) as error:
        raise _unsound(path, "XGBoost", error) from error
    objective = str(document["learner"]["objective"]["name"])
    kinds = {"binary": xgboost.XGBClassifier, "multi": xgboost.XGBClassifier}
    kinds |= dict.fromkeys(("reg", "count", "survival"), xgboost.XGBRegressor)
    kind = kinds.get(objective.partition(":")[0])
    if kind is None:
        raise _objective("XGBoost", objective)
    document["learner"]["attributes"].pop("scikit_learn", None)  # notes of the class's own, which it would obey
    model = kind(objective=objective, n_jobs=1)
    model.load_model(bytearray(xgboostjson.encoded(document)))
    names = tuple(document["learner"]["feature_names"])
    return Read(model, f"XGBoost model ({objective})", names, xgboostjson.features_of(document))


def _lightgbm(path: Path) -> Read:
    try:
        import lightgbm
    except ImportError as error:
        raise _missing("LightGBM", "lightgbm", error) from error
    from fullcircle.runtimes.boosters import lightgbmtext
    from fullcircle.runtimes.boosters.sound import Unsound

    try:
        text = lightgbmtext.checked(path.read_text(encoding="utf-8"))
        booster = lightgbm.Booster(model_str=text.written())
    except (Unsound, UnicodeDecodeError, lightgbm.basic.LightGBMError) as error:
        raise _unsound(path, "LightGBM", error) from error
    objective = next(
        (line.partition("=")[2] for line in text.written().splitlines() if line[:10] == "objective="), ""
    )
    word = objective.split(" ")[0]
    if word in ("lambdarank", "rank_xendcg"):
        raise _objective("LightGBM", objective)
    model = _wrapped(lightgbm, booster, word)
    names = tuple(booster.feature_name())
    if names == tuple(f"Column_{place}" for place in range(len(names))):
        names = ()  # trained on an array: LightGBM made these up
    return Read(model, f"LightGBM model ({word or 'no objective'})", names, text.features)


def _wrapped(lightgbm: Any, booster: Any, objective: str) -> Any:
    """The class of LightGBM's that asks a booster with a table, as it would be after fitting it."""
    import numpy as np
    from sklearn.preprocessing import LabelEncoder

    classes = 2 if objective in ("binary", "cross_entropy") else booster.num_model_per_iteration()
    several = objective in ("binary", "multiclass", "multiclassova", "softmax")
    model = (lightgbm.LGBMClassifier if several else lightgbm.LGBMRegressor)(objective=objective or None, n_jobs=1)
    width = booster.num_feature()
    fitted: dict[str, Any] = {
        "_Booster": booster,
        "_n_features": width,
        "_n_features_in": width,
        "_best_iteration": -1,
        "_objective": objective or None,
        "_fitted_with_feature_names": True,
        "_evals_result": {},
        "_best_score": {},
        "fitted_": True,
    }
    if several:
        labels = np.arange(classes)
        encoder = LabelEncoder().fit(labels)
        fitted |= {"_classes": labels, "_n_classes": classes, "_le": encoder}
        fitted |= {"_class_map": {label: place for place, label in enumerate(labels.tolist())}}
    model.__dict__.update(fitted)
    return model


def _onnx(path: Path) -> Read:
    from fullcircle.runtimes.onnx import OnnxLabeller, opened

    model = opened(path.read_bytes())
    names, width = model.columns
    task: Task = "classification" if isinstance(model, OnnxLabeller) else "regression"
    return Read(model, "ONNX model", names, width, task)


def _pickled(path: Path, consent: bool) -> Read:
    """A pickle, run once. What comes of it is kept without one wherever a runtime can."""
    if not consent:
        raise _needs_consent(path.name, "a pickle")
    try:
        if path.suffix.lower() == ".joblib":
            import joblib

            model = joblib.load(path)
        else:
            import pickle

            with path.open("rb") as file:
                model = pickle.load(file)  # noqa: S301 - somebody consented
    except FullcircleError:
        raise
    except Exception as error:  # a pickle runs foreign code, which raises what it likes
        raise _unreadable(path, "pickle", error) from error
    if not callable(getattr(model, "predict", None)):
        raise ModelRefused(
            "what the pickle holds is no model",
            received=type(model).__name__,
            allowed="a fitted model: an object with predict",
            next_step="save the fitted model itself",
        )
    return _described(model, "pickle")


def _of_mlflow(folder: Path, consent: bool) -> Read:
    """The model of a folder that MLflow wrote, by its most specific flavor."""
    about = _mlmodel(folder)
    said = about.get("flavors")
    flavors: Mapping[str, Any] = said if isinstance(said, Mapping) else {}
    for name, key in _FLAVORS.items():
        told = flavors.get(name) or {}
        file = told.get(key) if isinstance(told, Mapping) else None
        if isinstance(file, str):
            path = _inside(folder, file)
            reader = _READERS.get(name)
            if path.suffix.lower() == ".skops":
                found = _skops(path, consent)
            elif reader is None or path.suffix.lower() in _PICKLES:
                found = _pickled(path, consent)
            else:
                found = reader(path)
            return replace(found, kind=f"MLflow's {name}: {found.kind}", features=found.features or _signed(about))
    if "python_function" not in flavors:
        raise ModelRefused(
            "MLflow cannot ask this model with a table",
            received=", ".join(map(str, flavors)) or "no flavors",
            allowed="sklearn, xgboost, lightgbm, onnx, or any with python_function",
            next_step="log it with one of these flavors",
        )
    if not consent:
        raise _needs_consent(", ".join(map(str, flavors)), "a pyfunc of MLflow, whose loader is code of its own")
    from fullcircle.runtimes.pyfunc import PyfuncRuntime, packed

    # From a folder of its own, which lives as long as the model does: this one may be gone when it is asked.
    model = PyfuncRuntime().load(packed(folder))
    return Read(model, f"pyfunc of MLflow ({', '.join(map(str, flavors))})", _signed(about))


def _mlmodel(folder: Path) -> Mapping[str, Any]:
    import yaml

    path = folder / MLMODEL
    try:
        found = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ModelRefused(
            f"the folder is no model of MLflow: its {MLMODEL} cannot be read",
            received=str(folder),
            next_step=f"name the folder that holds {MLMODEL}",
        ) from error
    return found if isinstance(found, Mapping) else {}


def _signed(about: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of the signature, where it names them."""
    signature = about.get("signature")
    text = signature.get("inputs") if isinstance(signature, Mapping) else None
    try:
        columns = msgspec.json.decode(text) if isinstance(text, str) else []
    except msgspec.MsgspecError:
        return ()
    names = [column.get("name") for column in columns if isinstance(column, dict)]
    return tuple(name for name in names if isinstance(name, str)) if None not in names else ()


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ModelRefused(
            f"{MLMODEL} names a file that is not in its folder",
            received=name[:200],
            next_step="do not use it; log the model again",
        )
    return path


def _needs_consent(received: str, what: str) -> ModelRefused:
    return ModelRefused(
        f"reading this model runs code that its file chooses: it is {what}",
        received=received,
        allowed=_KINDS,
        next_step="where you trust whoever made it, say --allow-pickle; or save it as a skops file first",
    )


def _unreadable(path: Path, what: str, error: Exception) -> ModelRefused:
    return ModelRefused(
        f"the {what} cannot be read here: {type(error).__name__}: {str(error)[:200]}",
        received=path.name,
        next_step="install the libraries that it was made with, of the same versions",
    )


def _unsound(path: Path, library: str, error: Exception) -> ModelRefused:
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return ModelRefused(
        f"this is no sound model of {library}: {said}",
        received=path.name,
        next_step=f"write it anew with {library}'s save_model",
    )


def _objective(library: str, objective: str) -> ModelRefused:
    return ModelRefused(
        f"a model of {library} with this objective does not answer row by row with a number or a class",
        received=objective,
        allowed="regression, binary and multiclass objectives",
        next_step="adopt a model of another objective",
    )


def _missing(library: str, extra: str, error: ImportError) -> MissingExtra:
    return MissingExtra(
        f"this is a model of {library}, which is not installed",
        received=str(error),
        next_step=f'install it with: pip install "fullcircle[{extra}]"',
    )


_PICKLES = (".pkl", ".pickle", ".joblib")
_FILES: Mapping[str, Callable[[Path], Read]] = {
    ".json": _xgboost,
    ".ubj": _xgboost,
    ".txt": _lightgbm,
    ".onnx": _onnx,
}
# The flavors of MLflow's, and where each says which file its model is in.
_FLAVORS = {"sklearn": "pickled_model", "xgboost": "data", "lightgbm": "data", "onnx": "data"}
_READERS: Mapping[str, Callable[[Path], Read]] = {"xgboost": _xgboost, "lightgbm": _lightgbm, "onnx": _onnx}
