"""Reproduce: build a version again from its snapshot, code and environment, and say whether it answers the same."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from fullcircle.development.environment import LOCAL, VARIABLES, cores, machine
from fullcircle.errors import BlobMissing, LockFailed, NotReproducible
from fullcircle.flows import drafts, parting, versions
from fullcircle.flows.refitting import FOUND, Materials, lay_out
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.packaging import rebuilding
from fullcircle.settings import Settings
from fullcircle.types.progress import Progress
from fullcircle.types.reproduction import Refitted, Reproduction

_LAST_LINES = 12


def reproduce(
    project: str | Path,
    *,
    version: int | None = None,
    here: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Build a version (the champion by default) again and compare its answers with those recorded, bit by bit.

    ``project`` is a project path or a model's name. It is fitted by a process of its own, in a clean environment of
    the packages it was trained with, which is removed afterwards; with ``here`` in the environment that runs. Nothing
    is trained, packaged or stored in the workspace, but the fact that it was done. Raises VersionNotFound,
    NotReproducible where the rows or the source are gone or it is not known what it was trained with, LockFailed
    where the environment cannot be made for want of a network.
    """
    began = time.perf_counter()
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        number = versions.champion(session, model) if version is None else version
        session.progress.step("reproduce", f"{model} version {number}")
        materials = _materials(session, model, number)
        with tempfile.TemporaryDirectory(prefix="fullcircle-reproduce-") as folder:
            found = _refitted(session, materials, Path(folder), here)
        made = parting.judged(materials.draft, found, version=number, clean=not here)
        return _recorded(session, made, time.perf_counter() - began)


def _recorded(session: Session, made: Reproduction, seconds: float) -> Reproduction:
    if session.workspace.writable:
        session.record(
            "version.reproduced", model=made.model, version=made.version, same=made.same, parted=made.parted or None
        )
    return replace(made, seconds=seconds)


def _materials(session: Session, model: str, version: int) -> Materials:
    """What the version was made of. Raises NotReproducible naming the part that is gone."""
    known = versions.find(session, model, version)
    draft = drafts.of_run(session, known.run)
    blobs = session.workspace.blobs
    found: dict[str, bytes] = {}
    for what, digest in (("rows", draft.snapshot), ("split", draft.test), ("source", draft.source)):
        try:
            found[what] = blobs.get(digest)
        except BlobMissing as error:
            deleted = digest in session.workspace.ledger.state().deleted
            raise NotReproducible(
                f"the {what} that version {version} of {model} was trained with "
                + ("was deleted on purpose" if deleted else "is lost"),
                received=f"the blob {digest[:12]}",
                allowed="a version whose snapshot, split and source are kept",
                next_step="its stored model still answers; train a new version to have one that can be built again"
                if deleted
                else "bring the blob back from a backup; see fullcircle audit",
            ) from error
    return Materials(
        draft=draft,
        rows=found["rows"],
        test=found["split"],
        source=drafts.source_files(session, draft),
        bundle=versions.bundle(session, model, version),
    )


def _refitted(session: Session, materials: Materials, folder: Path, here: bool) -> Refitted | str:
    """What the child found; in words why there is no environment for it, where a package is nowhere to be had."""
    if here:
        python = Path(sys.executable)
    else:
        try:
            python = _environment(session, materials, folder / "environment")
        except LockFailed as error:
            if not rebuilding.unobtainable(error):
                raise
            return str(error)
    session.progress.note("fitting it again")
    place = folder / "version"
    place.mkdir()
    lay_out(materials, place)
    return _asked(python, place, materials.draft.machine)


def _environment(session: Session, materials: Materials, folder: Path) -> Path:
    draft = materials.draft
    if not draft.environment:
        raise NotReproducible(
            "it is not known which packages this version was trained with: an older fullcircle did not note them",
            received=f"run {draft.run[:12]}",
            next_step="try the packages that are installed now: fullcircle reproduce ... --here",
        )
    if local := [name for name, version in draft.environment.items() if version.endswith(LOCAL)]:
        names = ", ".join(f"{name} {draft.environment[name].removesuffix(LOCAL)}" for name in local)
        raise LockFailed(
            f"no version of these can be had from an index: {names}",
            next_step="publish them to an index and train again, or try with what is installed: --here",
        )
    offline, progress = session.settings.offline, session.progress
    lock = rebuilding.lock(draft.environment, materials.bundle, offline=offline, progress=progress)
    return rebuilding.environment(materials.bundle, lock, folder, offline=offline, progress=progress)


def _asked(python: Path, folder: Path, trained_on: Mapping[str, str]) -> Refitted:
    """Have ``python`` fit it again, cut off from this process's packages, variables and files."""
    done = subprocess.run(
        [python, "-I", "-m", "fullcircle.flows.refitting", folder],
        cwd=folder,
        env={"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(folder), **_variables(trained_on)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    try:
        return msgspec.json.decode((folder / FOUND).read_bytes(), type=Refitted)
    except (OSError, msgspec.DecodeError) as error:
        last = done.stdout.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        raise NotReproducible(
            f"the process that was to fit it again ended with exit code {done.returncode}",
            received="\n    ".join(last) or None,
            next_step="read its last words above; try with the packages that are installed now: --here",
        ) from error


def _variables(trained_on: Mapping[str, str]) -> dict[str, str]:
    """The variables of the training. Where it had another number of cores and did not say threads, that many."""
    found = {name: trained_on[name] for name in VARIABLES if name in trained_on}
    if not trained_on:
        return {name: value for name, value in machine().items() if name in VARIABLES}
    if trained_on.get("cores", "") not in ("", str(cores())):
        found = {"OMP_NUM_THREADS": trained_on["cores"], "LOKY_MAX_CPU_COUNT": trained_on["cores"], **found}
    return found
