"""What the runtimes of both libraries do alike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fullcircle.errors import BundleInvalid, ModelRefused
from fullcircle.runtimes.boosters import kept
from fullcircle.runtimes.runtime import SavedModel

FILE = "model.json"


class BoosterRuntime:
    """Models of one library, as documents of plain values."""

    pickled = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.packages: tuple[str, ...] = ("numpy", "pandas", "scikit-learn", *kept.distributions(name))

    def accepts(self, model: Any) -> bool:
        """An object of the library, or of a class made from one of the library's own."""
        return type(model).__module__.partition(".")[0] == self.name

    def check(self, model: Any, folder: Path) -> tuple[str, ...]:
        """See Runtime. Does all that ``save`` does, so nothing is left to be refused later."""
        return self.save(model, folder).types

    def save(self, model: Any, folder: Path) -> SavedModel:
        """See Runtime. Raises ModelRefused for a booster without its scikit-learn class, and for rankers."""
        found = kept.kind(model)
        name = f"{type(model).__module__}.{type(model).__qualname__}"
        if found is None or found[0] != self.name or found[1] == "Booster":
            names = [one for one in kept.LIBRARIES[self.name].KINDS.values() if one != "Booster"]
            raise ModelRefused(
                f"this is no model of {self.name} that can be asked with a table",
                received=name,
                allowed=", ".join(names),
                next_step="return the fitted model of one of these classes from fit",
            )
        if "_Booster" not in vars(model) or model._Booster is None:
            raise ModelRefused("the model is not fitted", received=name, next_step="return the fitted model from fit")
        data = kept.write(model)
        return SavedModel(file=FILE, data=data, types=(name,))

    def load(self, data: bytes, *, types: Sequence[str] | None = None, code: Path | None = None) -> Any:
        """See Runtime. The library's own parser only sees what was checked and written anew."""
        _, name = kept.judge(data, (self.name,))
        if types is not None and tuple(types) != (name,):
            raise BundleInvalid(
                "the model file does not hold the types that its manifest lists",
                received=", ".join(sorted(set(types) ^ {name})[:5]),
                next_step="build the bundle again from its run",
            )
        model = kept.read(data)
        if not callable(getattr(model, "predict", None)) or kept.kind(model) == (self.name, "Booster"):
            raise BundleInvalid("what the model file holds is no model", next_step="build the bundle again")
        return model

    def describe(self, model: Any) -> str:
        """The class's name and the number of rounds."""
        rounds = getattr(model, "n_estimators", None)
        return f"{type(model).__name__} of {rounds or 'the usual number of'} rounds"
