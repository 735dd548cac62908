"""What is said about a bundle after it was made: it names the bundle by its digest, and is not part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

AttestationKind = Literal["report", "certificate", "provenance", "approval"]
ATTESTATIONS = ("report", "certificate", "provenance", "approval")


@dataclass(frozen=True, kw_only=True)
class Attestation:
    """One statement about a bundle, in the shape of an in-toto statement (https://in-toto.io/Statement/v1).

    ``bundle`` is the digest of the bundle that it is about, ``body`` what is said, ``digest`` the SHA-256 of the body
    as the blob store keeps it.
    """

    kind: AttestationKind
    model: str
    bundle: str
    digest: str
    body: Mapping[str, Any]
