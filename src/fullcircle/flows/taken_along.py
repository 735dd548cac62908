"""What a target is given beside a server's own service: the version itself, or a schedule of batches."""

from __future__ import annotations

import glob
import os
import sys
from dataclasses import dataclass, replace
from pathlib import PurePath

import msgspec

from fullcircle.deployment import schedule
from fullcircle.deployment.target import Schedule, Service, Version
from fullcircle.errors import TableNotFound, TargetRefused
from fullcircle.flows import attestations, consent, versions
from fullcircle.flows.session import Session
from fullcircle.flows.variables import variables_of
from fullcircle.packaging.bundle import Bundle
from fullcircle.packaging.lock import travelling
from fullcircle.types.bundle import Proof
from fullcircle.types.durations import duration
from fullcircle.types.needs import FILE as REQUIRES
from fullcircle.types.needs import variables

LEAST = 10.0  # seconds between two runs


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Files to score again and again: ``source`` is a file, a folder or a pattern, ``every`` such as "1h".

    ``results`` is a file, a folder, or a path with ``{name}`` and ``{time}``; by default a folder "scored" beside
    the files.
    """

    source: str
    every: str = "1h"
    results: str = ""


def found_version(session: Session, model: str, number: int, bundle: Bundle) -> Version:
    """A version with all that a target takes elsewhere. Where the compiled form needs fewer packages, only those."""
    known = versions.find(session, model, number)
    digest = known.bundle
    lock = bundle.compiled_lock or bundle.lock
    proof = session.recall(known.proof, Proof)
    if bundle.compiled_lock is not None:
        proof = replace(proof, packages=proof.compiled)
    needed = tuple(one.variable for one in bundle.needs if one.variable and not one.optional)
    return Version(
        model=model,
        number=number,
        bundle=digest,
        python=bundle.manifest.python,
        archive=session.workspace.blobs.get(digest),
        lock=lock,
        wheels={path.rpartition("/")[2]: bundle.files[path] for path in travelling(lock)},
        attestations=attestations.files(session, model, number),
        compiled=bundle.compiled_lock is not None,
        looks_up=bundle.view is not None,
        hashes=any(column.hashed for column in bundle.contract.columns),
        pickled=consent.given(session, digest),
        variables=tuple(dict.fromkeys(needed)),
        passed=tuple(name for name in variables(bundle.needs) if name not in needed),
        requires=bundle.files.get(REQUIRES, b""),
        proof=msgspec.json.encode(proof, order="sorted"),
    )


def check_reachable(session: Session, bundle: Bundle, to: str) -> None:
    """Refuse a version whose features lie in a file of this machine. Raises TargetRefused."""
    if bundle.view is not None and session.features.online_url.startswith("sqlite:"):
        raise TargetRefused(
            f"the model looks features up in a file of this machine, which target {to} cannot reach",
            received="an online store in SQLite",
            allowed="an online store that it reaches over the network",
            next_step="set online to redis://..., publish the view, and package again",
        )


def batch_service(session: Session, service: Service, model: str, batch: Batch) -> Service:
    """The service of a schedule. Raises TableNotFound, ProjectInvalid and TargetRefused for what cannot work."""
    every = duration(batch.every).total_seconds()
    if every < LEAST:
        raise TargetRefused(
            "the runs of a schedule would follow each other too closely",
            received=batch.every,
            allowed=f"{LEAST:g}s or more",
            next_step="for a file that changes all the time, ask the server instead",
        )
    source = os.path.abspath(session.settings.folder / batch.source)
    results = os.path.abspath(session.settings.folder / batch.results) if batch.results else _beside(source)
    _check_results(source, results)
    settings = variables_of(session.settings)
    return replace(
        scheduled(service),
        schedule=Schedule(
            command=(sys.executable, "-I", "-m", "fullcircle", "score", model),
            source=source,
            out=results,
            every=every,
            folder=session.workspace.root / "deployments" / model / "batch" / "work",
            environment=settings,
        ),
    )


def scheduled(service: Service) -> Service:
    """The place of a model's schedule, as far as it takes to find or to end it."""
    nothing = Schedule(command=(), source="", out="", every=0.0, folder=service.state)
    return replace(service, state=service.state / "batch", schedule=nothing)


def _beside(source: str) -> str:
    """The folder of the results, where nobody named one."""
    if glob.has_magic(os.path.dirname(source)) and not os.path.isdir(source):
        raise TargetRefused(
            "the files lie in several folders, so there is none beside them for the results",
            received=source,
            next_step="name a folder with --results",
        )
    folder = source if os.path.isdir(source) else os.path.dirname(source)
    return os.path.join(folder, "scored")


def _check_results(source: str, results: str) -> None:
    folder = os.path.dirname(results) if results.endswith(schedule.FORMS) else results
    if "{name}" in folder or "{time}" in folder or ("{time}" in results and not results.endswith(schedule.FORMS)):
        raise TargetRefused(
            "{name} and {time} can stand in the name of a file only",
            received=results,
            allowed=f"a folder, or a path that ends with one of {', '.join(schedule.FORMS)}",
            next_step="write for example --results scored/{name}-{time}.parquet",
        )
    if not schedule.many(source):
        if not os.path.isfile(source):
            raise TableNotFound(
                "there is no such file to score", received=source, next_step="name a file, a folder or a pattern"
            )
        if results == source:
            raise TargetRefused("the results would replace the file", received=results, next_step="name another file")
        return
    same = os.path.realpath(folder) == os.path.realpath(source)
    if same if os.path.isdir(source) else PurePath(folder).match(os.path.dirname(source)):
        raise TargetRefused(
            "the results would lie where the files are looked for, and be scored again",
            received=results,
            next_step="name another folder with --results",
        )
    if results.endswith(schedule.FORMS) and "{name}" not in results:
        raise TargetRefused(
            "the results of all files would have one name",
            received=results,
            allowed="a folder, or a path with {name}",
            next_step="write for example --results scored/{name}.parquet",
        )
