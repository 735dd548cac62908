"""Keys of an issuer, and tokens that it signed or that nobody would."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from fullcircle.types.access import Issuer

RSA = rsa.generate_private_key(65537, 2048)
OTHER = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
ISSUER = Issuer(
    issuer="https://id.example", audience="models", algorithm="RS256", keys="keys.json", claim="groups",
    roles={"ml": "engineer", "apps": "scorer", "eyes": "viewer"},
)  # fmt: skip


def public(key: Any, kid: str, **more: str) -> dict[str, Any]:
    kind = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    algorithm: Any = next((found for one, found in kind.items() if isinstance(key, one)), OKPAlgorithm)
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole: dict[str, Any] = {
        "iss": "https://id.example",
        "aud": "models",
        "sub": "anna@example.org",
        "groups": ["apps", "other"],
    }
    whole |= {"exp": now + 600, "nbf": now - 5}
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def signed(key: Any = RSA, algorithm: str = "RS256", headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": "one", **(headers or {})})


def encoded(part: object) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def by_hand(header: Mapping[str, Any], payload: object, signature: bytes | None = None, key: Any = RSA) -> str:
    """A token that no library would make; signed rightly (RS256) where no signature is given."""
    text = f"{encoded(dict(header))}.{encoded(payload)}"
    made = RSAAlgorithm(RSAAlgorithm.SHA256).sign(text.encode(), key) if signature is None else signature
    return f"{text}.{encoded(made)}"
