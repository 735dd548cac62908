"""What is said about a bundle after it was made: it names the bundle by its digest, and is not part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

AttestationKind = Literal["report", "certificate", "provenance", "approval"]
ATTESTATIONS: tuple[AttestationKind, ...] = ("report", "certificate", "provenance", "approval")
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATES: Mapping[AttestationKind, str] = {
    "report": "urn:fullcircle:report:1",
    "certificate": "urn:fullcircle:certificate:1",
    "provenance": "https://slsa.dev/provenance/v1",
    "approval": "urn:fullcircle:approval:1",
}
"""What says how the body of each kind is to be read. A change of a body's meaning is a new number."""


@dataclass(frozen=True, kw_only=True)
class Attestation:
    """One statement about a bundle, in the shape of an in-toto statement (https://in-toto.io/Statement/v1).

    ``bundle`` is the digest of the bundle that it is about, ``body`` what is said, ``digest`` the SHA-256 of the body
    as the blob store keeps it (of an approval, which is a fact: of its canonical JSON).
    """

    kind: AttestationKind
    model: str
    bundle: str
    digest: str
    body: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Beside:
    """An attestation that lies beside a bundle: its file, its kind, and the key that signed it ("": nobody did).

    ``verified`` is None where it is not signed, or there was no public key to verify it with.
    """

    file: str
    kind: str
    signed_by: str = ""
    verified: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a bundle in hand is. ``problems`` are what is wrong with it or its attestations; without any it passed.

    ``digest`` is the SHA-256 of the file, ``packages`` the versions that its lock pins, ``pickled`` whether loading
    the model runs code which its file chooses. ``key`` names the public key that whoever asked has from elsewhere;
    "" where none was given: then nothing shows who made the bundle. Where the bundle itself is refused, the rest is
    empty.
    """

    file: str
    digest: str
    bytes: int
    model: str = ""
    runtime: str = ""
    python: str = ""
    form: str = ""
    pickled: bool = False
    files: tuple[tuple[str, int, str], ...] = ()
    packages: tuple[tuple[str, str], ...] = ()
    golden_rows: int = 0
    key: str = ""
    attestations: tuple[Beside, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems
