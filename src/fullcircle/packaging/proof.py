"""The proof: a clean environment made from a bundle's own lock answers its golden rows with the same bits."""

from __future__ import annotations

import os
import site
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import msgspec

from fullcircle.errors import BundleInvalid, ProofFailed
from fullcircle.packaging import bundle as bundles
from fullcircle.packaging import environments, machine
from fullcircle.packaging.bundle import Bundle
from fullcircle.packaging.prove import CONSENT, Testimony
from fullcircle.types.bundle import Proof
from fullcircle.types.progress import Progress

# What a numeric library chooses its kernels by is the parent's. How many threads there are is not: golden rows are
# asked in one.
KEPT = ("OPENBLAS_CORETYPE", "MKL_CBWR", "TMPDIR", "TZ")
_SECONDS = 600
_LAST_LINES = 12


def environment(
    bundle: Bundle,
    folder: Path,
    *,
    compiled: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The interpreter of a clean environment under ``folder`` holding exactly what the bundle's lock names.

    With ``compiled`` it is the lock of its compiled form, without the fitted model's library. See
    ``environments.build``. Raises LockFailed with uv's own words, BundleInvalid where there is no such lock.
    """
    return environments.build(
        _lock(bundle, compiled),
        bundle.files,
        folder,
        python=bundle.manifest.python,
        offline=offline,
        progress=progress,
    )


def key(bundle: Bundle, *, compiled: bool = False) -> str:
    """The folder name of a bundle's environment: bundles of the same lock share one."""
    return environments.key(_lock(bundle, compiled), bundle.manifest.python)


def prove(
    bundle: Bundle,
    python: Path,
    *,
    compiled: Path | None = None,
    platform: str = "",
    allow_pickle: bool = False,
) -> Proof:
    """Have the interpreter ``python`` answer the golden rows, cut off from this process's packages and variables.

    ``compiled`` is the interpreter of the environment of the compiled form, which has to answer too. ``platform`` is
    the one that the lock is for, "" for this machine's. ``allow_pickle`` says that the ledger holds consent to a
    model file that runs code when it is loaded. Raises ProofFailed where an answer has other bits, naming what
    differs from this process, and where a package has another version, a file of one was altered, or anything of the
    parent's packages plays a part.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fullcircle-proof-") as name:
        path = Path(name) / "bundle.zip"
        path.write_bytes(bundles.pack(bundle))
        testimony = _ask(python, path, allow_pickle)
        _judge(bundle, testimony, python, compiled=False)
        small = _ask(compiled, path, allow_pickle) if compiled is not None else None
        if compiled is not None and small is not None:
            _judge(bundle, small, compiled, compiled=True)
    found = testimony.here
    return Proof(
        bundle=bundle.digest,
        python=found.python,
        platform=found.platform,
        packages=found.packages,
        golden_rows=testimony.rows,
        largest_difference=0.0,
        same_bits=True,
        environment=key(bundle),
        seconds=time.perf_counter() - began,
        cpu=found.cpu,
        flags=found.flags,
        threads=found.threads,
        target="" if machine.is_here(platform) else platform,
        compiled=small.here.packages if small is not None else (),
    )


def _lock(bundle: Bundle, compiled: bool) -> str:
    if not compiled:
        return bundle.lock
    if bundle.compiled_lock is None:
        raise BundleInvalid(
            f"{bundle.manifest.model}: the bundle has no lock of a compiled form",
            received=f"form {bundle.certificate.form}",
            next_step="use the environment of its whole lock, or package again: fullcircle package",
        )
    return bundle.compiled_lock


def _judge(bundle: Bundle, testimony: Testimony, python: Path, *, compiled: bool) -> None:
    problems = list(testimony.problems)
    if not testimony.here.python.startswith(f"{bundle.manifest.python}."):
        problems.append(f"this is Python {testimony.here.python}, and the bundle is for {bundle.manifest.python}")
    if testimony.compiled != compiled:
        problems.append("it is the environment of the other lock of the bundle")
    if problems:
        raise ProofFailed(
            f"{bundle.manifest.model}: the environment does not prove anything",
            received="\n    ".join(dict.fromkeys(problems)),
            allowed="exactly the packages of the lock, unaltered, and nothing else",
            next_step=f"delete {python.parent.parent} and try again",
        )
    if not testimony.same_bits or testimony.rows != len(bundle.golden):
        raise _differs(bundle, testimony)


def _ask(python: Path, bundle: Path, allow_pickle: bool) -> Testimony:
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    try:
        done = subprocess.run(
            [
                python,
                "-I",
                "-m",
                "fullcircle.packaging.prove",
                bundle,
                *_ours(),
                *([CONSENT] if allow_pickle else []),
            ],
            cwd=bundle.parent,
            env={"PATH": os.defpath, "LANG": "C.UTF-8", **kept},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _silent(f"no answer within {_SECONDS} seconds", b"") from error
    except OSError as error:
        raise _silent(f"it could not be started: {error.strerror}", b"") from error
    try:
        return msgspec.json.decode(done.stdout, type=Testimony)
    except msgspec.DecodeError as error:
        raise _silent(f"it ended with exit code {done.returncode}", done.stderr) from error


def _ours() -> list[Path]:
    """The folders this process takes its packages from: none of them may be seen by the child."""
    source = Path(__file__).resolve().parents[2]
    folders = {*site.getsitepackages(), site.getusersitepackages(), str(source)}
    return sorted(Path(folder) for folder in folders)


def _differs(bundle: Bundle, testimony: Testimony) -> ProofFailed:
    largest = testimony.largest_difference
    by = "in more than a number" if largest is None else f"by at most {largest:g}"
    # Who asks for a proof has mostly made the answers too, so what differs from this process may be why.
    there, here = testimony.here, machine.here()
    shared = tuple((name, version) for name, version in here.packages if name in dict(there.packages))
    causes = machine.differences(replace(here, packages=shared, threads=()), there)
    told = "\n    ".join(testimony.differences) or f"{testimony.rows} answers"
    return ProofFailed(
        f"{bundle.manifest.model}: in its own environment the bundle answers differently, {by}",
        received="\n    ".join([told, *(causes or ["nothing else that is known differs from this process"])]),
        allowed=f"the recorded answers to {len(bundle.golden)} golden rows, bit by bit",
        next_step="package again on the machine, Python and library versions it is meant for",
    )


def _silent(what: str, output: bytes) -> ProofFailed:
    last = output.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
    return ProofFailed(
        f"the environment's interpreter gave no testimony: {what}",
        received="\n    ".join(last) or None,
        next_step="delete the environment's folder and try again",
    )
