"""Keys whose secrets the tests know, a guard that follows them, and requests that carry them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.server.app import App
from fullcircle.server.desk import Desk
from fullcircle.server.follower import Loaded
from fullcircle.server.guard import FILE, Guard
from fullcircle.server.http import Limits
from fullcircle.types.access import ROLES as KNOWN
from fullcircle.types.access import Access, Issuer, Key, Role
from serving import JSON_HEADER, loaded, view

Headers = tuple[tuple[bytes, bytes], ...]


def _id(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalpha()).ljust(12, "x")[:12]


def _secret(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:43]


def key_of(name: str, role: Role, **limits: Any) -> Key:
    """A key as the file has it. Its secret follows from its name."""
    return Key(
        id=_id(name),
        name=name,
        role=role,
        digest=hashlib.sha256(_secret(name).encode()).hexdigest(),
        **limits,
    )


def token_of(name: str) -> str:
    return f"fc_{_id(name)}_{_secret(name)}"


def bearer(name: str) -> Headers:
    return ((b"authorization", f"Bearer {token_of(name)}".encode()),)


def written(folder: Path, *keys: Key, issuers: tuple[Issuer, ...] = (), required: bool = True) -> Path:
    """access.json, replaced as a whole as our flows do."""
    path = folder / FILE
    beside = folder / "beside"
    beside.write_bytes(msgspec.json.encode(Access(required=required, keys=keys, issuers=issuers)))
    beside.replace(path)
    return path


ROLES: Mapping[str, Key] = {role: key_of(role, role) for role in KNOWN}
"""A key for each role, named after it."""


def guarded(
    folder: Path, *models: Loaded, keys: tuple[Key, ...] = tuple(ROLES.values()), limits: Limits | None = None
) -> App:
    """An application that asks for these keys."""
    guard = Guard(written(folder, *keys))
    guard.look()
    seen = view(*(models or (loaded(),)))
    return App(lambda: seen, Desk(folder / "predictions"), limits, guard=guard)


def json_and(name: str) -> Headers:
    return (*JSON_HEADER, *bearer(name))
