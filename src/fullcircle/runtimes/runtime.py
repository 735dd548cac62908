"""What a runtime is: the adapter between one framework's models and a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class SavedModel:
    """A model as it travels: the file's name and bytes, every type in it, and the source of the project's own ones.

    ``code`` maps module names to source; a package's own file is ``NAME.__init__``. So the source of a module
    ``a.b`` is kept as ``a/b.py``. ``requirements`` are the distributions that this source imports, which the
    bundle's environment needs beside those of the runtime. ``pickled`` says that loading the file runs code which the
    file chooses: it is only packaged and loaded with somebody's explicit consent.
    """

    file: str
    data: bytes = field(repr=False)
    types: tuple[str, ...]
    code: Mapping[str, bytes] = field(repr=False, default_factory=dict)
    requirements: tuple[str, ...] = ()
    pickled: bool = False


class Runtime(Protocol):
    """Saves and loads the models of one framework. Registered in the entry-point group ``fullcircle.runtimes``.

    A runtime is made without arguments, holds no state, and may be used by many threads at once. It owns nothing:
    data and folders belong to the caller and are only read. Nothing that it is given to load may run code before
    all of it was judged, and no refusal may depend on what the file says about itself. A runtime whose files run
    code when they are loaded says so (``pickled``): it is only asked where somebody consented. ``packages`` are the
    distributions that its models need to answer, beside the base install. Methods raise classes of
    ``fullcircle.errors`` only; ``testing/runtimes.py`` is the suite that every runtime has to pass.
    """

    name: str
    packages: tuple[str, ...]
    pickled: bool

    def accepts(self, model: Any) -> bool:
        """Whether this is a model of the framework. Says nothing yet on whether it may be packaged."""
        ...

    def check(self, model: Any, folder: Path) -> tuple[str, ...]:
        """The names of all types in a model, sorted, when each may be packaged; ``folder`` is the project's.

        Raises ModelRefused naming the type.
        """
        ...

    def save(self, model: Any, folder: Path) -> SavedModel:
        """The model as bytes: the same model gives the same bytes. Raises ModelRefused as ``check`` does."""
        ...

    def load(self, data: bytes, *, types: Sequence[str] | None = None, code: Path | None = None) -> Any:
        """The model back. Its predictions are the same bits as those of the one that was saved.

        ``types`` are the ones that the manifest lists: the file must hold exactly these. ``code`` is the folder
        with the source of the project's own classes, whose digests the caller has verified. Raises ModelRefused
        for a type that is not allowed, BundleInvalid for a file that is damaged or not what it says.
        """
        ...

    def describe(self, model: Any) -> str:
        """One line for a person: which kind of model this is."""
        ...
