"""What is private in a logged row: left out, or replaced by a keyed hash that only the workspace can make again."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.errors import WorkspaceUnusable

KEY_BYTES = 32
DIGITS = 32  # hexadecimal digits that are kept of HMAC-SHA-256: 128 bits


def text_of(value: Any) -> str:
    """A value as it is hashed and compared: a text as it is, a whole number without a fraction, JSON otherwise."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return msgspec.json.encode(value).decode()


def hashed(key: bytes, column: str, value: Any) -> str | None:
    """HMAC-SHA-256 of a column's value, shortened; None stays None. Equal values of two columns do not look equal."""
    if value is None:
        return None
    text = f"{column}\0{text_of(value)}".encode()
    return hmac.digest(key, text, "sha256").hex()[:DIGITS]


def mark(key: bytes, *parts: str) -> str:
    """The same for a list of texts, such as ids that a fact must not name."""
    return hmac.digest(key, "\0".join(parts).encode(), "sha256").hex()[:DIGITS]


def read_key(path: Path) -> bytes:
    """The key in a file that the workspace made. Raises WorkspaceUnusable where it is gone or no key."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
        if len(key) != KEY_BYTES:
            raise ValueError(f"{len(key)} bytes")
        return key
    except (OSError, ValueError) as error:
        raise WorkspaceUnusable(
            "the key of the prediction log is gone or damaged",
            received=str(path),
            next_step="restore it from a backup: without it, hashed values cannot be found again",
        ) from error


def public(
    values: Mapping[str, Any] | None, left_out: frozenset[str], hashing: frozenset[str], key: bytes
) -> Mapping[str, Any] | None:
    """The values as the log may hold them. Without a key, what would be hashed is left out."""
    if values is None or not (left_out or hashing):
        return values
    gone = left_out if key else left_out | hashing
    return {
        name: hashed(key, name, value) if name in hashing else value
        for name, value in values.items()
        if name not in gone
    }
