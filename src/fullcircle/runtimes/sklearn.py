"""scikit-learn's models, as skops files that run no code when they are loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fullcircle.errors import BundleInvalid, FullcircleError, MissingExtra, ModelRefused
from fullcircle.runtimes import libraries, project_code
from fullcircle.runtimes.canonical import write
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.runtimes.skopsfile import Judged, invalid, judge

FILE = "model.skops"
_BROKEN = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    MemoryError,
    NameError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


class SklearnRuntime:
    """Estimators and pipelines of scikit-learn, with transformers and models of the project's own classes.

    What may be in them is said by ``allowed``, for the file and never by it. Boosters of XGBoost and LightGBM inside
    are kept as their own checked text (``boosters.held``).
    """

    name = "sklearn"
    packages: tuple[str, ...] = ("numpy", "pandas", "scikit-learn", "skops")
    pickled = False

    def accepts(self, model: Any) -> bool:
        """A fitted object with ``predict`` of scikit-learn, or of a class that is not an installed library's."""
        top = type(model).__module__.partition(".")[0]
        file = str(getattr(sys.modules.get(top), "__file__", "") or "")
        installed = "site-packages" in file or "dist-packages" in file
        return callable(getattr(model, "predict", None)) and (top == "sklearn" or not installed)

    def check(self, model: Any, folder: Path) -> tuple[str, ...]:
        """See Runtime. Does all that ``save`` does, so nothing is left to be refused later."""
        return self.save(model, folder).types

    def save(self, model: Any, folder: Path) -> SavedModel:
        """See Runtime."""
        from fullcircle.runtimes.boosters import held

        if not callable(getattr(model, "predict", None)):
            raise ModelRefused(
                "a model has to have predict", received=_type(model), next_step="return the fitted model from fit"
            )
        judged = judge(_dump(held.without(model)), lambda module: project_code.find(module, folder) is not None)
        classes = [name for name in judged.types if name.rpartition(".")[0] in judged.modules]
        try:
            code = project_code.collect(classes, folder)
            requirements = {*libraries.needed(code), *_distributions(judged)}
        except (OSError, SyntaxError) as error:
            raise ModelRefused(
                f"the source of the project's own classes cannot be read: {error}",
                received=", ".join(classes),
                next_step="mend the module",
            ) from error
        return SavedModel(
            file=FILE,
            data=write(judged),
            types=_types(judged),
            code=code,
            requirements=tuple(sorted(requirements)),
        )

    def load(self, data: bytes, *, types: Sequence[str] | None = None, code: Path | None = None) -> Any:
        """See Runtime."""
        folder = code if code is not None and code.is_dir() else None
        sources = {} if folder is None else project_code.read(folder)
        judged = judge(data, {name.removesuffix(".__init__") for name in sources}.__contains__)
        if types is not None and tuple(sorted(types)) != (found := _types(judged)):
            raise BundleInvalid(
                "the model file does not hold the types that its manifest lists",
                received=", ".join(sorted(set(types) ^ set(found))[:5]),
                next_step="build the bundle again from its run",
            )
        names: dict[str, str] = {}
        try:
            if folder is not None and judged.modules:
                namespace = project_code.Namespace(sources, folder)
                namespace.load()
                names = dict(namespace.names)
            model = _construct(judged, names)
        except FullcircleError:
            raise
        except _BROKEN as error:
            raise invalid(f"making the model failed ({type(error).__name__}: {str(error)[:200]})") from error
        if not callable(getattr(model, "predict", None)):
            raise invalid("what it holds is no model")
        return model

    def describe(self, model: Any) -> str:
        """The class's name, and for a pipeline those of its steps."""
        steps = getattr(model, "steps", None)
        inner = f" of {', '.join(type(step).__name__ for _, step in steps)}" if isinstance(steps, list) else ""
        return f"{type(model).__name__}{inner}"


def _types(judged: Judged) -> tuple[str, ...]:
    """All types of a file, those of boosters in it too, which are judged by this. Sorted."""
    if not judged.held:
        return judged.types
    # Reading boosters needs numpy, and refusing a file is to import nothing.
    from fullcircle.runtimes.boosters import kept

    return tuple(sorted({*judged.types, *(kept.judge(document)[1] for document in judged.held)}))


def _distributions(judged: Judged) -> set[str]:
    """The distributions of the boosters in a file."""
    from fullcircle.runtimes.boosters import kept

    return {name for document in judged.held for name in kept.distributions(kept.judge(document)[0])}


def _construct(judged: Judged, names: dict[str, str]) -> Any:
    """Make the model from what was judged, then check what its compiled parts will follow."""
    from fullcircle.runtimes import arrays, structure
    from fullcircle.runtimes.boosters import held

    arrays.check(judged.files)
    skops = _skops()
    trusted = [
        ".".join([names.get(module, module), cls])
        for module, _, cls in (name.rpartition(".") for name in judged.types)
    ]
    model = skops.loads(write(judged, names, compress=False), trusted=trusted)
    structure.check(model)
    return held.filled(model) if judged.held else model


def _dump(model: Any) -> bytes:
    skops = _skops()
    try:
        data: bytes = skops.dumps(model)
    except (*_BROKEN, RecursionError) as error:
        raise ModelRefused(
            f"the model cannot be written without running code later ({type(error).__name__}: {str(error)[:200]})",
            received=_type(model),
            allowed="scikit-learn's estimators and classes of the project's own modules, with plain attributes",
            next_step="replace the part that cannot be written",
        ) from error
    return data


def _type(model: object) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"


def _skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise MissingExtra(
            "scikit-learn's models are kept with skops, which is not installed",
            received=str(error),
            next_step='install it with: pip install "fullcircle[lab]"',
        ) from error
    return skops.io
