"""The package: what a bundle's manifest says."""

from __future__ import annotations

from dataclasses import dataclass

BUNDLE_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The index of a bundle: every file with its SHA-256, and what is needed to load the model.

    The bundle's digest is the SHA-256 of this manifest in canonical JSON, so it covers every file. ``code``
    are the module names of the project's own classes, shipped as ``code/<module path>.py``.
    """

    format: int
    model: str
    runtime: str
    python: str
    files: tuple[tuple[str, str], ...]
    code: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The certificate of a bundle: it answered its golden rows in a clean environment of its own.

    ``largest_difference`` is the largest absolute difference to the recorded answers: 0.0 means the same bits.
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
