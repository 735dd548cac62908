"""MLflow's pyfunc models, as the folder that MLflow wrote: only with consent, as loading one runs its loader's code.

``fit`` returns what ``mlflow.pyfunc.load_model`` gave for a logged model (``runs:/`` or ``models:/``), or
``of_folder(path)`` for a folder that ``save_model`` wrote.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import tempfile
import warnings
import weakref
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from fullcircle.errors import BundleInvalid, MissingExtra, ModelRefused, PredictionInvalid
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.types.environments import REQUIREMENT

FILE = "model.pyfunc"
MARK = "MLmodel"
MOST_BYTES = 2**31
MOST_FILES = 10_000
_STAMP = (1980, 1, 1, 0, 0, 0)
_NAME = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}/){0,20}(?:[A-Za-z0-9_]|\.[A-Za-z0-9_])[A-Za-z0-9_.+-]{0,199}"
)
_LEFT_OUT = ("__pycache__", ".DS_Store")
_SKINNY = {"mlflow": "mlflow-skinny"}


class PyfuncModel:
    """A pyfunc with one answer for a row: ``data`` is its folder as an archive, ``asked`` what MLflow made of it."""

    def __init__(self, data: bytes, asked: Any = None) -> None:
        self.data, self.asked = data, asked

    def predict(self, frame: Any) -> Any:
        """One answer for each row of a frame (n, columns): shape (n,).

        A frame of answers has one column, or one named ``predict`` (as H2O's have) or ``prediction``. Raises
        PredictionInvalid for any other.
        """
        import numpy as np

        found = self.asked.predict(frame)
        columns = getattr(found, "columns", None)
        if columns is not None:
            named = [name for name in ("predict", "prediction") if name in columns]
            if len(columns) != 1 and not named:
                raise PredictionInvalid(
                    "the pyfunc answers with several columns",
                    received=", ".join(map(str, columns))[:200],
                    allowed="one column, or one of them named predict or prediction",
                    next_step="let its predict return one value for each row",
                )
            found = found[named[0]] if named else found.iloc[:, 0]
        values = np.asarray(found)
        return values.reshape(-1) if values.ndim == 2 and values.shape[1] == 1 else values


class PyfuncRuntime:
    """Saves and loads MLflow's pyfunc models. What the folder's requirements.txt names has to be installed."""

    name = "pyfunc"
    packages = ("mlflow-skinny", "numpy", "pandas")
    pickled = True

    def accepts(self, model: Any) -> bool:
        """A model that ``answering`` or ``of_folder`` made."""
        return isinstance(model, PyfuncModel)

    def check(self, model: Any, folder: Path) -> tuple[str, ...]:
        """See Runtime: the files of the folder."""
        return self.save(model, folder).types

    def save(self, model: Any, folder: Path) -> SavedModel:
        """See Runtime."""
        if not isinstance(model, PyfuncModel):
            raise ModelRefused(
                "this is no pyfunc of MLflow",
                received=f"{type(model).__module__}.{type(model).__qualname__}",
                next_step="return what mlflow.pyfunc.load_model gives from fit",
            )
        files = unpacked(model.data)
        return SavedModel(
            file=FILE,
            data=model.data,
            types=tuple(sorted(files)),
            requirements=requirements(files.get("requirements.txt", b"")),
            pickled=True,
        )

    def load(self, data: bytes, *, types: Sequence[str] | None = None, code: Path | None = None) -> Any:
        """See Runtime. Runs what the folder says: the caller has made sure that somebody consented."""
        files = unpacked(data)
        if types is not None and sorted(types) != sorted(files):
            raise BundleInvalid(
                "the model file does not hold the files that its manifest lists",
                received=", ".join(sorted(set(types) ^ set(files))[:5]),
                next_step="build the bundle again from its run",
            )
        # The model may read its files at any time, so the folder lives as long as the model does.
        home = Path(tempfile.mkdtemp(prefix="fullcircle-pyfunc-"))
        ended = weakref.finalize(model := PyfuncModel(data), shutil.rmtree, home, ignore_errors=True)
        try:
            for name, content in files.items():
                path = home / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            model.asked = _loaded(home)
        except BaseException:
            ended()
            raise
        return model

    def describe(self, model: Any) -> str:
        """What it is, and how large."""
        return f"a pyfunc of MLflow, {len(model.data)} bytes"


def answering(model: Any) -> Any:
    """What ``fit`` returned; a logged pyfunc of MLflow as a model that knows its own files.

    Raises ModelRefused for a pyfunc whose files cannot be found again.
    """
    if type(model).__name__ != "PyFuncModel" or type(model).__module__ != "mlflow.pyfunc":
        return model
    import mlflow

    about = model.metadata
    uris = [f"models:/{about.model_id}"] if about.model_id else []
    uris += [f"runs:/{about.run_id}/{about.artifact_path}"] if about.run_id and about.artifact_path else []
    with tempfile.TemporaryDirectory(prefix="fullcircle-pyfunc-", ignore_cleanup_errors=True) as scratch:
        for uri in uris:
            try:
                found = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=scratch))
            except Exception:  # noqa: BLE001, S112 - whatever a store of MLflow's raises; the refusal below tells
                continue
            if (found / MARK).is_file():
                return PyfuncModel(packed(found), model)
    raise ModelRefused(
        "the files of this pyfunc cannot be found again",
        received=", ".join(uris) or "a model that was not logged",
        allowed="a model that was logged, loaded by its runs:/ or models:/ address",
        next_step="for a folder, return fullcircle.runtimes.pyfunc.of_folder(path) from fit",
    )


def of_folder(folder: str | Path) -> PyfuncModel:
    """The pyfunc in a folder that MLflow's ``save_model`` wrote. Loads it, which runs its loader's code.

    Raises ModelRefused for a folder that is none, MissingExtra without MLflow.
    """
    home = Path(folder)
    data = packed(home)
    return PyfuncModel(data, _loaded(home))


def packed(folder: Path) -> bytes:
    """A model's folder as an archive: the same files give the same bytes. Raises ModelRefused for what cannot travel.

    Links, and names that are not plain on every system, are refused; byte code is left out.
    """
    if not (folder / MARK).is_file():
        raise ModelRefused(
            "this folder holds no model of MLflow",
            received=str(folder),
            allowed=f"a folder with a file {MARK}",
            next_step="name the folder that save_model wrote",
        )
    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part in name.split("/") for part in _LEFT_OUT) or (path.is_dir() and not path.is_symlink()):
            continue
        if path.is_symlink() or not path.is_file() or not _sound(name):
            raise ModelRefused(
                "a file of an MLflow model cannot travel",
                received=name[:200],
                allowed="plain files with names of letters, digits and ._+-",
                next_step="rename it, or put the file itself in the place of a link",
            )
        files[name] = path.read_bytes()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _STAMP), files[name])
    return stream.getvalue()


def unpacked(data: bytes) -> Mapping[str, bytes]:
    """The files of an archive that ``packed`` made. Raises BundleInvalid for any other, before a file is written."""
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = archive.infolist()
            if len(found) > MOST_FILES or sum(one.file_size for one in found) > min(MOST_BYTES, len(data)):
                raise _damaged("it is too large")
            for one in found:
                link = stat.S_ISLNK(one.external_attr >> 16)
                if not _sound(one.filename) or one.filename in files or one.compress_type or link:
                    raise _damaged(f"a file in it has a form that cannot be: {one.filename[:80]!r}")
                files[one.filename] = archive.read(one)
    except BundleInvalid:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise _damaged(f"it is no archive ({str(error)[:100]})") from error
    parents = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    if MARK not in files or parents & set(files):
        raise _damaged(f"it holds no {MARK}, or a file in the place of a folder")
    return files


def requirements(text: bytes) -> tuple[str, ...]:
    """The distributions that a model's requirements.txt names, sorted; the lock takes the versions installed here.

    Raises ModelRefused for a line that names no package (an option, an address, a path), and for a package that is
    not installed, which could not have been tried. What is called mlflow is had as mlflow-skinny.
    """
    found: set[str] = set()
    for line in text.decode(errors="replace").splitlines():
        wanted = line.partition(" #")[0].strip()
        if not wanted or wanted.startswith("#"):
            continue
        if not REQUIREMENT.fullmatch(wanted):
            raise _line(line, "it names no package", "a package and versions, such as lightgbm>=4")
        name = re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9_.-]", wanted, maxsplit=1)[0]).lower()
        name = _SKINNY.get(name, name)
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError as error:
            raise _line(line, f"{name} is not installed", "what the model needs, in this environment") from error
        found.add(name)
    return tuple(sorted(found))


def _line(line: str, what: str, allowed: str) -> ModelRefused:
    return ModelRefused(
        f"a line in the requirements.txt of the MLflow model cannot be used: {what}",
        received=repr(line[:120]),
        allowed=allowed,
        next_step="mend the model's requirements.txt, or install the package",
    )


def _loaded(home: Path) -> Any:
    # As where MLflow is our tracking (exploration/connection.py): a server has no business with its makers.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what MLflow has to say about its own type hints
            from mlflow import pyfunc
    except ImportError as error:
        raise MissingExtra(
            "models of MLflow are loaded with MLflow, which is not installed",
            received=str(error),
            next_step='install it with: pip install "fullcircle[lab]"',
        ) from error
    try:
        return pyfunc.load_model(str(home), suppress_warnings=True)
    except Exception as error:  # a loader is foreign code, which raises what it likes
        raise BundleInvalid(
            f"MLflow could not load the model ({type(error).__name__}: {str(error)[:300]})",
            next_step="try it with: mlflow.pyfunc.load_model",
        ) from error


def _sound(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _damaged(what: str) -> BundleInvalid:
    return BundleInvalid(
        f"the model file is damaged: {what}",
        next_step="do not use it; fetch it again, or build it again with: fullcircle package",
    )
