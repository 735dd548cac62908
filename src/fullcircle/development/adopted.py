"""A model that was trained elsewhere, in the place of ``fit``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fullcircle import registry
from fullcircle.errors import ModelRefused
from fullcircle.runtimes.runtime import Runtime


class Adopted:
    """What ``fit`` is in a project whose model exists already: it returns that model, whatever rows it is given.

    ``project`` is the project file (its ``__file__``), ``file`` the model beside it, ``runtime`` the name of the one
    that reads it, ``sha256`` what the file has to hold: so another model is another version of the project.
    ``allow_pickle`` consents to a file that runs code when it is loaded. Calling it raises ModelRefused where the
    file is missing or another one, and as the runtime does.
    """

    def __init__(
        self, project: str | Path, file: str, *, runtime: str, sha256: str, allow_pickle: bool = False
    ) -> None:
        self.path = Path(project).absolute().parent / file
        self.runtime, self.sha256, self.allow_pickle = runtime, sha256, allow_pickle

    def __call__(self, X: Any, y: Any) -> Any:
        """The model as it was adopted. Neither rows nor labels are looked at."""
        found: Runtime = registry.find("runtimes", self.runtime)()
        if found.pickled and not self.allow_pickle:
            raise ModelRefused(
                "loading this model would run code that its file chooses, and nobody consented to that",
                received=self.path.name,
                next_step="consent with allow_pickle=True in Adopted and in the project, see docs/models.md",
            )
        return found.load(self.read())

    def read(self) -> bytes:
        """The bytes of the file, when they are the ones that were adopted."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ModelRefused(
                f"the model that was adopted is not there: {error.strerror}",
                received=str(self.path),
                next_step="put the file back beside the project file, or adopt it again: fullcircle adopt",
            ) from error
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.sha256:
            raise ModelRefused(
                "the file beside the project is another model than the one that was adopted",
                received=digest,
                allowed=self.sha256,
                next_step="put the file back, or adopt the other one: fullcircle adopt",
            )
        return data


def adopted(project: Any) -> bool:
    """Whether a project's model was trained elsewhere, so that it cannot be trained again here."""
    return any(isinstance(fit, Adopted) for fit in project.fits.values())
