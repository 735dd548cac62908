"""Signed statements: a DSSE envelope with an Ed25519 signature (https://github.com/secure-systems-lab/dsse)."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import msgspec

from fullcircle.errors import SettingInvalid
from fullcircle.ledger.checkpoint import Checkpoints

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PAYLOAD = "application/vnd.in-toto+json"


class Signature(msgspec.Struct, frozen=True):
    """A signature in base64, and the SHA-256 of the public key (32 bytes) that verifies it."""

    keyid: str
    sig: str


class Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"payload_type": "payloadType"}):
    """A payload in base64 with its signatures."""

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...]

    def content(self) -> bytes | None:
        """The payload's bytes; None where it is no base64, or the payload of something else."""
        if self.payload_type != PAYLOAD:
            return None
        try:
            return base64.b64decode(self.payload, validate=True)
        except ValueError:  # no base64, or no ASCII
            return None


def seal(payload: bytes, checkpoints: Checkpoints, before: tuple[Signature, ...] = ()) -> Envelope:
    """A payload signed with the workspace's key, after those who signed it ``before``. Raises WorkspaceUnusable."""
    sealed = checkpoints.signature(_message(payload))
    signature = Signature(keyid=keyid(checkpoints.public() or b""), sig=base64.b64encode(sealed).decode())
    return Envelope(base64.b64encode(payload).decode(), PAYLOAD, (*before, signature))


def keyid(public: bytes) -> str:
    """What names a public key (PEM). Raises SettingInvalid for anything else than an Ed25519 key."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(_key(public).public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def signed_by(envelope: Envelope, public: bytes) -> bool:
    """Whether a public key (PEM) verifies one of the signatures. Raises SettingInvalid where it is no such key."""
    from cryptography.exceptions import InvalidSignature

    key, content = _key(public), envelope.content()
    for signature in envelope.signatures if content is not None else ():
        try:
            key.verify(base64.b64decode(signature.sig, validate=True), _message(content or b""))
        except (InvalidSignature, ValueError):
            continue
        return True
    return False


def _key(public: bytes) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SettingInvalid(
            "this is no public key that attestations are signed with",
            received=repr(public[:40]),
            allowed="an Ed25519 public key as PEM",
            next_step="ask whoever packaged the bundle for signing-key.pub",
        )
    return key


def _message(payload: bytes) -> bytes:
    """What is signed: payload and type with their lengths, so that neither can be read as part of the other."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
