"""Signed checkpoints of a ledger's head, kept in the user's own config folder, never in the workspace.

A hash chain shows any change inside it, but not a cut-off end or a chain computed anew. A line per append, signed
with a key that whoever can write the workspace need not have, shows both.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fullcircle.errors import WorkspaceUnusable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY = "signing-key.pem"


class Checkpoint(msgspec.Struct, frozen=True):
    """The head of a ledger at one moment, with an Ed25519 signature in hex."""

    ledger: str
    seq: int
    hash: str
    signature: str


class Checkpoints:
    """The checkpoints in one config folder. Threads and processes may share it."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._private: Ed25519PrivateKey | None = None

    def path(self, ledger: str) -> Path:
        """The file of one ledger's checkpoints: a line of JSON each."""
        return self._config / "checkpoints" / f"{ledger}.jsonl"

    def prepare(self) -> None:
        """Read the signing key, or make it where there is none. Raises WorkspaceUnusable."""
        self._key()

    def _key(self) -> Ed25519PrivateKey:
        if self._private is not None:
            return self._private
        try:
            self.path("x").parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (self._config / KEY).exists():
                _make_key(self._config / KEY)
            self._private = self._load()
        except OSError as error:
            if isinstance(error, WorkspaceUnusable):
                raise
            raise self._unusable(error.strerror or str(error)) from error
        return self._private

    def sign(self, ledger: str, seq: int, hash: str) -> None:
        """Add a checkpoint and wait until it is on disk. Raises WorkspaceUnusable; the fact itself is recorded."""
        signature = self._key().sign(_message(ledger, seq, hash)).hex()
        line = msgspec.json.encode(Checkpoint(ledger, seq, hash, signature)) + b"\n"
        try:
            _append(self.path(ledger), line)
        except OSError as error:
            text = f"fact {seq} is recorded, but its checkpoint is not: {error.strerror}"
            raise self._unusable(text) from error

    def signature(self, message: bytes) -> bytes:
        """The Ed25519 signature of a message; the key is made where there is none. Raises WorkspaceUnusable."""
        return self._key().sign(message)

    def public(self) -> bytes | None:
        """The public key as PEM; None where there is no key yet. Raises WorkspaceUnusable."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        if not (self._config / KEY).exists():
            return None
        return self._load().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def read(self, ledger: str) -> tuple[tuple[Checkpoint, ...], tuple[str, ...]]:
        """The checkpoints of a ledger whose signature holds, and one sentence per line whose does not."""
        try:
            text = self.path(ledger).read_bytes()
        except FileNotFoundError:
            return (), ()
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        complete = text[: text.rfind(b"\n") + 1]  # the end of a write that a crash cut short is no checkpoint
        lines = complete.splitlines()
        if lines and not (self._config / KEY).exists():
            return (), (f"the key {KEY} is gone, so {len(lines)} checkpoints cannot be verified",)
        public = self._load().public_key() if lines else None
        good, bad = [], []
        for number, line in enumerate(lines, 1):
            found = _decode(line)
            if found is None or found.ledger != ledger or not _holds(public, found):
                bad.append(f"line {number} of your checkpoints was not signed by your key for this ledger")
            else:
                good.append(found)
        return tuple(good), tuple(bad)

    def _load(self) -> Ed25519PrivateKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key((self._config / KEY).read_bytes(), password=None)
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        except (ValueError, TypeError) as error:
            raise self._unusable(f"{KEY} is no private key") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise self._unusable(f"{KEY} is no Ed25519 key")
        return key

    def _unusable(self, text: str) -> WorkspaceUnusable:
        return WorkspaceUnusable(
            f"your config folder cannot be used for checkpoints: {text}",
            received=str(self._config),
            next_step="make it writable, or choose another with the setting config (FULLCIRCLE_CONFIG)",
        )


def _make_key(path: Path) -> None:
    """Write a new key, whole or not at all. Of several processes at once, the first one's stays."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    partial = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)
    except FileExistsError:
        return
    finally:
        partial.unlink(missing_ok=True)


def _append(path: Path, line: bytes) -> None:
    """Add one line, alone among all processes; a line cut short by a crash is removed first."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(handle, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = _end_of_last_line(file.fileno())
        file.truncate(end)
        file.seek(end)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _end_of_last_line(handle: int) -> int:
    size = os.fstat(handle).st_size
    tail = os.pread(handle, 4096, max(0, size - 4096))  # a line is far shorter
    return max(0, size - len(tail)) + tail.rfind(b"\n") + 1


def _decode(line: bytes) -> Checkpoint | None:
    try:
        return msgspec.json.decode(line, type=Checkpoint)
    except msgspec.DecodeError:
        return None


def _holds(public: object, found: Checkpoint) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not isinstance(public, Ed25519PublicKey):
        return False
    try:
        public.verify(bytes.fromhex(found.signature), _message(found.ledger, found.seq, found.hash))
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(ledger: str, seq: int, hash: str) -> bytes:
    return "\0".join(("fullcircle checkpoint 1", ledger, str(seq), hash)).encode()
