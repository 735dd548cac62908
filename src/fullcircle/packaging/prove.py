"""The child of a proof: run inside the bundle's own environment, it answers the golden rows and tells what it is.

``python -I -m fullcircle.packaging.prove BUNDLE [--allow-pickle] [FORBIDDEN...]`` writes one JSON object (Testimony)
to standard output. ``FORBIDDEN`` are folders of the parent that must play no part. Different answers are told, not
judged: that is the parent's. With ``--allow-pickle`` it says that somebody consented to a model that runs code.

With ``--check`` there is no parent, such as in the build of a container: words instead of JSON, and exit code 1 where
the environment is not that of the bundle's lock (or of the lock of its compiled form), or an answer has other bits.
``--certificate FILE`` is the proof that was made elsewhere: then what differs from there is named.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from fullcircle.errors import FullcircleError
from fullcircle.features import functions
from fullcircle.packaging import loading, machine, surroundings
from fullcircle.packaging.bundle import Bundle, open_bundle
from fullcircle.packaging.lock import pins
from fullcircle.types.bundle import Proof

_SHOWN = 10
CONSENT = "--allow-pickle"


@dataclass(frozen=True, kw_only=True)
class Testimony:
    """What the child found. ``problems`` are reasons why the answers prove nothing, or why there are none.

    ``largest_difference`` is None where an answer differs in more than a number, or none was given. ``compiled`` says
    that the environment is that of the compiled form, which answered without the fitted model.
    """

    here: machine.Here
    problems: tuple[str, ...] = ()
    rows: int = 0
    same_bits: bool = False
    largest_difference: float | None = None
    differences: tuple[str, ...] = ()
    compiled: bool = False


def main(arguments: Sequence[str]) -> int:
    """Testify on a bundle; with ``--check`` judge too. Nothing of a library's reaches standard output."""
    parser = argparse.ArgumentParser(prog="python -I -m fullcircle.packaging.prove", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("forbidden", type=Path, nargs="*")
    parser.add_argument(CONSENT, action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--certificate", type=Path)
    given = parser.parse_intermixed_args(arguments)
    os.environ.update(dict.fromkeys(machine.COUNTS, "1"))  # numeric libraries read them when they are loaded
    answer = os.dup(1)
    os.dup2(2, 1)  # whatever a model or a library prints
    with os.fdopen(answer, "wb") as out:
        if not given.check:
            testimony = testify(given.bundle, given.forbidden, allow_pickle=given.allow_pickle)
            out.write(msgspec.json.encode(testimony))
            return 0
        try:
            words, code = _checked(given.bundle, given.certificate, given.allow_pickle)
        except (FullcircleError, OSError, msgspec.DecodeError) as error:
            words, code = f"not proven: {error}", 1
        out.write(f"{words}\n".encode(errors="replace"))
        return code


def testify(path: Path, forbidden: Sequence[Path], *, allow_pickle: bool) -> Testimony:
    """Check the surroundings, and only where they are clean load the bundle and answer its golden rows."""
    about = Testimony(here=machine.here())
    bundle = open_bundle(path.read_bytes())
    compiled = _is_compiled(bundle, dict(about.here.packages))
    about = replace(about, compiled=compiled)
    problems = _unclean(bundle, forbidden, compiled)
    if problems:
        return replace(about, problems=tuple(problems[:_SHOWN]))
    with tempfile.TemporaryDirectory(prefix="fullcircle-code-") as code:
        try:
            scorer = loading.scorer(bundle, Path(code), allow_pickle=allow_pickle)
            found = loading.replay(bundle, scorer)
            if scorer.model is None and not compiled:  # explanations and checks still need the model
                loading.native(bundle, Path(code), allow_pickle=allow_pickle)
            for function in bundle.view.functions if bundle.view is not None else ():
                functions.load(
                    function
                )  # golden rows hold what they gave, so nothing else would ask for their imports
        except FullcircleError as error:
            return replace(about, problems=(f"the model could not be loaded: {error}",))
        problems = surroundings.strangers(surroundings.loaded_files(), forbidden, [Path(code)])
    return replace(
        about,
        here=machine.here(),  # by now the libraries with threads are loaded
        problems=tuple(problems[:_SHOWN]),
        rows=found.rows,
        same_bits=found.same_bits,
        largest_difference=found.largest_difference if math.isfinite(found.largest_difference) else None,
        differences=found.differences,
    )


def _checked(path: Path, certificate: Path | None, allow_pickle: bool) -> tuple[str, int]:
    """The judgement on a bundle in words, and the exit code."""
    proof = msgspec.json.decode(certificate.read_bytes(), type=Proof) if certificate is not None else None
    found = testify(path, (), allow_pickle=allow_pickle)
    if found.problems:
        return "\n  ".join(["not proven: this is not the bundle's own environment", *found.problems]), 1
    if found.same_bits:
        form = " by the compiled form alone" if found.compiled else ""
        return f"proven: {found.rows} golden rows answered with the same bits{form}, Python {found.here.python}", 0
    bundle = open_bundle(path.read_bytes())
    locks = {"lock": pins(bundle.lock), **({"compiled": pins(bundle.compiled_lock)} if bundle.compiled_lock else {})}
    causes = (
        machine.against(bundle.manifest.python, locks, found.here)
        if proof is None
        else machine.differences(proof, found.here)
    )
    return "\n  ".join(["not proven: golden rows are answered differently here", *found.differences, *causes]), 1


def _is_compiled(bundle: Bundle, found: dict[str, str]) -> bool:
    """Whether this is the environment of the compiled form rather than that of the whole lock."""
    if bundle.compiled_lock is None:
        return False
    small, whole = pins(bundle.compiled_lock), pins(bundle.lock)
    return len(surroundings.misfits(small, found)) < len(surroundings.misfits(whole, found))


def _unclean(bundle: Bundle, forbidden: Sequence[Path], compiled: bool) -> list[str]:
    problems = surroundings.strangers(sys.path, forbidden)
    if words := machine.other_python(bundle.manifest.python):
        problems.append(words)
    lock = bundle.compiled_lock if compiled and bundle.compiled_lock is not None else bundle.lock
    problems += surroundings.misfits(pins(lock), surroundings.installed())
    return problems + surroundings.tampered(Path(sysconfig.get_path("purelib")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
