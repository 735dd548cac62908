"""Who may ask a server what: verbs, roles, keys, issuers of tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Verb = Literal["read", "predict", "explain", "label", "manage"]
"""What is done at an address: look (models, metrics, documents), predict, explain, send labels, load and unload."""
Role = Literal["viewer", "scorer", "engineer", "approver"]
VERBS: tuple[Verb, ...] = get_args(Verb)

ROLES: Mapping[Role, frozenset[Verb]] = {
    "viewer": frozenset({"read"}),
    "scorer": frozenset({"read", "predict", "explain", "label"}),
    "engineer": frozenset({"read", "predict", "explain", "label", "manage"}),
    "approver": frozenset({"read"}),
}
"""What each role may do at a server. An approver's own business is ``fullcircle approve``."""
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
"""How a token may be signed: with a private key that the server does not have. A shared secret is none of them."""
PREFIX = "fc_"
ID_LETTERS = 12  # base32: 60 bits, so that no two keys ever share one
SECRET_BYTES = 32
HEAD = len(PREFIX) + ID_LETTERS + 1  # letters of a key before its secret
_LENGTH = HEAD + 43  # 256 bits in base64url without padding


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key to the servers of a workspace, without its secret. ``digest`` is the secret's SHA-256 in hex.

    ``models`` and ``verbs`` narrow what the role may do; empty: all. ``expires`` is UTC, ISO 8601, "" for never.
    ``rate`` is in requests a second and ``body`` in bytes, 0 for no limit of its own.
    """

    id: str
    name: str
    role: Role
    digest: str
    models: tuple[str, ...] = ()
    verbs: tuple[Verb, ...] = ()
    expires: str = ""
    rate: float = 0.0
    body: int = 0


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """Who signs the tokens (JWT) that are taken, for whom, and how; ``keys`` is a JWKS: a file or a URL.

    ``claim`` names what holds the caller's groups, ``roles`` says which role each group has. ``rate`` (requests a
    second) and ``body`` (bytes) are what each caller may, 0 for no limit of its own.
    """

    issuer: str
    audience: str
    algorithm: str
    keys: str
    claim: str
    roles: Mapping[str, Role]
    rate: float = 0.0
    body: int = 0


@dataclass(frozen=True, kw_only=True)
class Access:
    """What ``access.json`` says. ``required``: whoever asks has to say who they are."""

    required: bool = False
    keys: tuple[Key, ...] = ()
    issuers: tuple[Issuer, ...] = ()


def parted(token: bytes) -> tuple[bytes, bytes] | None:
    """The id and the secret of a key as it is sent; None for what is no key."""
    if len(token) != _LENGTH or token[:3] != b"fc_" or token[HEAD - 1 : HEAD] != b"_":
        return None
    return token[3 : HEAD - 1], token[HEAD:]


def digest_of(secret: bytes) -> bytes:
    """What is kept of a secret. It is 256 random bits: a slow hash would add nothing."""
    return hashlib.sha256(secret).digest()
