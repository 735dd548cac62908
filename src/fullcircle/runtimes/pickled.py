"""Any fitted object as a pickle, which runs code when it is loaded: only with somebody's explicit consent.

The consent is no reason to load more than was packaged. Before a file is opened, every name that it would import is
read from its instructions without running them (``pickletools``), and has to be one that the manifest lists; while
it is opened, nothing else is found. What the listed names do once they are called is the risk that was consented to.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fullcircle.errors import BundleInvalid, FullcircleError, ModelRefused
from fullcircle.runtimes import libraries, project_code
from fullcircle.runtimes.runtime import SavedModel

FILE = "model.pickle"
PROTOCOL = 5
MOST_BYTES = 2**31
_SETTLING = 5  # writings until the bytes repeat: what was read shares its strings, what was fitted may not
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_SKIPPED = ("MEMOIZE", "FRAME", "PROTO")
_FOREIGN = ("EXT1", "EXT2", "EXT4", "GLOBAL", "INST", "OBJ", "PERSID", "BINPERSID", "PUT", "BINPUT", "LONG_BINPUT")


class PickledRuntime:
    """Whatever has ``predict`` and can be pickled by protocol 5: its classes have to be importable.

    Classes of the project's own modules travel as source, and so does what they import. cloudpickle is not used:
    lambdas, closures and classes of ``__main__`` are refused.
    """

    name = "pickled"
    packages = ("numpy", "pandas")
    pickled = True

    def accepts(self, model: Any) -> bool:
        """Any object with ``predict``."""
        return callable(getattr(model, "predict", None)) and not isinstance(model, type)

    def check(self, model: Any, folder: Path) -> tuple[str, ...]:
        """See Runtime. Does all that ``save`` does, so nothing is left to be refused later."""
        return self.save(model, folder).types

    def save(self, model: Any, folder: Path) -> SavedModel:
        """See Runtime. The model is written and read again until its bytes repeat."""
        if not self.accepts(model):
            raise ModelRefused(
                "a model has to have predict", received=_type(model), next_step="return the fitted model from fit"
            )
        data = _settled(model)
        types = names(data)
        modules = sorted({name.rpartition(":")[0] for name in types})
        if "__main__" in modules:
            raise _unwritable(model, "a class of it is defined in __main__")
        own = [module for module in modules if project_code.find(module, folder) is not None]
        classes = [name.replace(":", ".") for name in types if name.rpartition(":")[0] in own]
        try:
            code = project_code.collect(classes, folder)
        except (OSError, SyntaxError) as error:
            raise _unwritable(model, f"the source of its own classes cannot be read: {error}") from error
        return SavedModel(
            file=FILE,
            data=data,
            types=types,
            code=code,
            requirements=_distributions(modules, own, code),
            pickled=True,
        )

    def load(self, data: bytes, *, types: Sequence[str] | None = None, code: Path | None = None) -> Any:
        """See Runtime. Runs what the file says: the caller has made sure that somebody consented."""
        found = names(data)
        if types is not None and tuple(sorted(types)) != found:
            raise _invalid("it does not hold the names that its manifest lists", set(types) ^ set(found))
        if not found:
            raise _invalid("what it holds is no model", ())
        moved: Mapping[str, str] = {}
        try:
            if code is not None and code.is_dir():
                namespace = project_code.Namespace(project_code.read(code), code)
                namespace.load()
                moved = namespace.names
            model = _Reader(data, frozenset(found), moved).load()
        except FullcircleError:
            raise
        except Exception as error:  # a pickle runs foreign code, which raises what it likes
            what = f"making the model failed ({type(error).__name__}: {str(error)[:200]})"
            raise _invalid(what, ()) from error
        if not self.accepts(model):
            raise _invalid("what it holds is no model", ())
        return model

    def describe(self, model: Any) -> str:
        """The class's name, and that it is a pickle."""
        return f"{type(model).__name__}, as a pickle"


class _Reader(pickle.Unpickler):
    """Finds the names that were judged, and no others; the project's own modules under the names they have here."""

    def __init__(self, data: bytes, allowed: frozenset[str], moved: Mapping[str, str]) -> None:
        super().__init__(io.BytesIO(data))
        self._allowed, self._moved = allowed, moved

    def find_class(self, module: str, name: str) -> Any:
        """The object of a name that is listed."""
        if f"{module}:{name}" not in self._allowed:
            raise _invalid("it imports what it does not list", (f"{module}:{name}",))
        return super().find_class(self._moved.get(module, module), name)


def names(data: bytes) -> tuple[str, ...]:
    """Every name that a pickle would import, as ``module:name``, sorted, read without running any of it.

    Raises BundleInvalid for a file that is no whole pickle of protocol 5, or that makes its names in another way
    than Python's own pickler does: they could not be known beforehand.
    """
    found: set[str] = set()
    memo: dict[int, str] = {}
    recent: list[str | None] = [None, None]
    stopped = -1
    kept = 0
    if len(data) > MOST_BYTES:
        raise _invalid("it is too large", (f"{len(data)} bytes",))
    try:
        for operation, argument, position in pickletools.genops(data):
            kind = operation.name
            if (position == 0 and (kind, argument) != ("PROTO", PROTOCOL)) or kind in _FOREIGN:
                raise _invalid("it is no pickle as fullcircle writes them", (kind,))
            if kind == "MEMOIZE":
                if recent[-1] is not None:
                    memo[kept] = recent[-1]
                kept += 1
            if kind == "STACK_GLOBAL":
                module, name = recent
                if module is None or name is None:
                    raise _invalid("it makes up a name that it imports", ())
                found.add(f"{module}:{name}")
            if kind in _SKIPPED:
                continue
            text = str(argument) if kind in _TEXTS else None
            if kind in ("BINGET", "LONG_BINGET"):
                text = memo.get(int(str(argument)))
            recent = [recent[-1], text]
            stopped = position or 0
    except (ValueError, EOFError, IndexError, KeyError, OverflowError, MemoryError) as error:
        raise _invalid(f"it cannot be read ({str(error)[:100]})", ()) from error
    if stopped != len(data) - 1:
        raise _invalid("something follows its end", ())
    return tuple(sorted(found))


def _settled(model: Any) -> bytes:
    """The bytes of a model that, read and written again, are the same."""
    try:
        data = pickle.dumps(model, protocol=PROTOCOL)
        for _ in range(_SETTLING):
            again = pickle.dumps(pickle.loads(data), protocol=PROTOCOL)  # noqa: S301 - written one line above
            if again == data:
                return data
            data = again
    except Exception as error:  # foreign classes say how they are pickled
        raise _unwritable(model, f"{type(error).__name__}: {str(error)[:200]}") from error
    raise _unwritable(model, "it is written otherwise each time")


def _distributions(modules: Sequence[str], own: Sequence[str], code: Mapping[str, bytes]) -> tuple[str, ...]:
    """What has to be installed for these modules, and for the source that travels."""
    inside = {module.partition(".")[0] for module in own}
    tops = sorted({module.partition(".")[0] for module in modules} - inside)
    imports = "".join(f"import {top}\n" for top in tops).encode()
    return tuple(sorted({*libraries.needed({"model": imports}), *libraries.needed(code), *_reserved(tops)}))


def _reserved(tops: Sequence[str]) -> tuple[str, ...]:
    """Those that the bundles of other runtimes have anyway, and a pickle's only where it needs them."""
    known = {"sklearn": "scikit-learn", "scipy": "scipy"}
    return tuple(known[top] for top in tops if top in known)


def _unwritable(model: Any, why: str) -> ModelRefused:
    return ModelRefused(
        f"the model cannot be pickled: {why}",
        received=_type(model),
        allowed="objects whose classes can be imported from an installed library or from the project's folder",
        next_step="move its classes into a module of the project, and take lambdas and open files out of it",
    )


def _invalid(what: str, received: Any) -> BundleInvalid:
    return BundleInvalid(
        f"the model file is damaged: {what}",
        received=", ".join(sorted(received)[:5]) or None,
        next_step="do not use it; fetch it again, or build it again with: fullcircle package",
    )


def _type(model: object) -> str:
    return f"{type(model).__module__}.{type(model).__qualname__}"
