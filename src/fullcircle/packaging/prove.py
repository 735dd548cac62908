"""The child of a proof: run inside the bundle's own environment, it answers the golden rows and tells what it is.

``python -I -m fullcircle.packaging.prove BUNDLE [FORBIDDEN...]`` writes one JSON object (Testimony) to standard
output. ``FORBIDDEN`` are folders of the parent that must play no part. Different answers are told, not judged:
that is the parent's.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from fullcircle.errors import FullcircleError
from fullcircle.packaging import loading, surroundings
from fullcircle.packaging.bundle import Bundle, open_bundle
from fullcircle.packaging.lock import pins

_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Testimony:
    """What the child found. ``problems`` are reasons why the answers prove nothing, or why there are none.

    ``largest_difference`` is None where an answer differs in more than a number, or none was given.
    """

    python: str
    platform: str
    packages: tuple[tuple[str, str], ...]
    problems: tuple[str, ...] = ()
    rows: int = 0
    same_bits: bool = False
    largest_difference: float | None = None
    differences: tuple[str, ...] = ()


def main(arguments: Sequence[str]) -> int:
    """Testify on the bundle at ``arguments[0]``. Nothing but the one object reaches standard output."""
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever a model or a library prints
    testimony = testify(Path(arguments[0]), [Path(folder) for folder in arguments[1:]])
    with os.fdopen(answer, "wb") as out:
        out.write(msgspec.json.encode(testimony))
    return 0


def testify(path: Path, forbidden: Sequence[Path]) -> Testimony:
    """Check the surroundings, and only where they are clean load the bundle and answer its golden rows."""
    about = Testimony(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=tuple(surroundings.installed().items()),
    )
    bundle = open_bundle(path.read_bytes())
    problems = _unclean(bundle, forbidden)
    if problems:
        return replace(about, problems=tuple(problems[:_SHOWN]))
    with tempfile.TemporaryDirectory(prefix="fullcircle-code-") as code:
        try:
            scorer = loading.scorer(bundle, Path(code))
            found = loading.replay(bundle, scorer)
            if scorer.model is None:  # a compiled form answers, and explanations and checks still need the model
                loading.native(bundle, Path(code))
        except FullcircleError as error:
            return replace(about, problems=(f"the model could not be loaded: {error}",))
        problems = surroundings.strangers(surroundings.loaded_files(), forbidden, [Path(code)])
    return replace(
        about,
        problems=tuple(problems[:_SHOWN]),
        rows=found.rows,
        same_bits=found.same_bits,
        largest_difference=found.largest_difference if math.isfinite(found.largest_difference) else None,
        differences=found.differences,
    )


def _unclean(bundle: Bundle, forbidden: Sequence[Path]) -> list[str]:
    problems = surroundings.strangers(sys.path, forbidden)
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if running != bundle.manifest.python:
        problems.append(f"this is Python {running}, and the bundle is for {bundle.manifest.python}")
    problems += surroundings.misfits(pins(bundle.lock), surroundings.installed())
    return problems + surroundings.tampered(Path(sysconfig.get_path("purelib")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
