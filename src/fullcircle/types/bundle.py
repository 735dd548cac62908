"""The package: what a bundle's manifest says."""

from __future__ import annotations

from dataclasses import dataclass

BUNDLE_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The index of a bundle: every file with its SHA-256, and what is needed to load the model.

    It is kept as canonical JSON. ``code`` are the module names of the project's own classes, shipped as
    ``code/<module path>.py``, ``types`` all types in the model file. ``pickled`` says that loading the model runs
    code which its file chooses.
    """

    format: int
    model: str
    runtime: str
    python: str
    files: tuple[tuple[str, str], ...]
    code: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    pickled: bool = False


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The certificate of a bundle: it answered its golden rows in a clean environment of its own.

    ``bundle`` is the digest of the bundle: the SHA-256 of its archive.
    ``largest_difference`` is the largest absolute difference to the recorded answers: 0.0 means the same bits.
    ``cpu``, ``flags`` and ``threads`` are what else decides on bits, to name a cause where answers differ elsewhere.
    ``target`` is the platform that the lock is for where that is not this machine's ("" where it is): there the same
    versions are still to be proven. ``compiled`` are the packages of the environment without the fitted model's
    library in which the compiled form gave the same answers too, where there is one.
    """

    bundle: str
    python: str
    platform: str
    packages: tuple[tuple[str, str], ...]
    golden_rows: int
    largest_difference: float
    same_bits: bool
    environment: str
    seconds: float
    cpu: str = ""
    flags: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    target: str = ""
    compiled: tuple[tuple[str, str], ...] = ()
