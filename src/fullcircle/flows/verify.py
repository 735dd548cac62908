"""Verify: what is this bundle, is it whole, and is what lies beside it about this one?

Needs no workspace and builds nothing of the model: it is for whoever is handed a bundle.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

import msgspec

from fullcircle.errors import BundleInvalid, BundleTooNew, SettingInvalid
from fullcircle.flows.attestations import FOLDER, PUBLIC
from fullcircle.ledger.envelopes import Envelope, keyid, signed_by
from fullcircle.packaging import archive
from fullcircle.packaging.bundle import open_bundle
from fullcircle.packaging.lock import pins
from fullcircle.types.attestation import PREDICATES, STATEMENT, Beside, Verified

MOST_BYTES = 64 << 20


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, kw_only=True):
    type: str = msgspec.field(name="_type")
    subject: tuple[_Subject, ...]
    predicate_type: str = msgspec.field(name="predicateType")
    predicate: dict[str, object]


def verify(file: str | Path, *, key: str | Path | None = None, digest: str | None = None) -> Verified:
    """Open and audit a bundle, and check the attestations in the folder ``attestations`` beside it.

    ``key`` is the public key that should have signed them, by default ``signing-key.pub`` beside the bundle: that one
    shows that nothing was changed since, and not who signed. Where there is a key, what is not signed by it is a
    problem, and where ``key`` is given, that nothing is. ``digest`` is the one that the bundle should have.
    What is wrong is in ``problems``. Raises SettingInvalid for a file that cannot be read, or no public key.
    """
    path = Path(file)
    data = _read(path, archive.MAX_BYTES)
    found = _audited(Verified(file=str(path), digest=hashlib.sha256(data).hexdigest(), bytes=len(data)), data)
    if digest is not None and digest != found.digest:
        found = _with(found, f"this is not the bundle asked for: its digest is {found.digest}, not {digest}")
    beside = path.parent / FOLDER
    public = _public(path.parent / PUBLIC if key is None else Path(key), given=key is not None)
    for each in sorted(beside.glob("*.json")) if beside.is_dir() else ():
        found = _attested(found, each, public)
    if key is None or public is None:
        return found
    if not any(each.verified for each in found.attestations):
        found = _with(found, f"nothing beside it was signed by the key {keyid(public)[:16]}")
    return replace(found, key=keyid(public))


def _audited(found: Verified, data: bytes) -> Verified:
    try:
        bundle = open_bundle(data)
    except (BundleInvalid, BundleTooNew) as error:
        return _with(found, error.what + (f" ({error.received})" if error.received else ""))
    manifest = bundle.manifest
    return replace(
        found,
        model=manifest.model,
        runtime=manifest.runtime,
        python=manifest.python,
        form=bundle.certificate.form,
        pickled=manifest.pickled,
        files=tuple((name, len(bundle.files[name]), sha256) for name, sha256 in manifest.files),
        packages=tuple(sorted(pins(bundle.lock).items())),
        golden_rows=len(bundle.golden),
    )


def _attested(found: Verified, path: Path, public: bytes | None) -> Verified:
    """With what a file beside the bundle says, and what is wrong with it."""
    name = f"{FOLDER}/{path.name}"
    try:
        content, envelope = _unsealed(_read(path, MOST_BYTES))
        said = msgspec.json.decode(content, type=_Statement)
    except (SettingInvalid, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _with(found, f"{name} is no attestation")
    kind = next((kind for kind, uri in PREDICATES.items() if uri == said.predicate_type), "")
    if said.type != STATEMENT or not kind:
        return _with(found, f"{name} says something that is not known: {said.predicate_type[:80]}")
    if [subject.digest.get("sha256") for subject in said.subject] != [found.digest]:
        return _with(found, f"{name} is about another bundle")
    verified = None if public is None else envelope is not None and signed_by(envelope, public)
    names = [signature.keyid for signature in envelope.signatures] if envelope is not None else []
    signer = keyid(public) if verified and public is not None else next(iter(names), "")
    beside = Beside(file=name, kind=kind, signed_by=signer, verified=verified if names else None)
    found = replace(found, attestations=(*found.attestations, beside))
    if verified is False and public is not None:
        return _with(found, f"{name} was not signed by the key {keyid(public)[:16]}")
    return found


def _unsealed(raw: bytes) -> tuple[bytes, Envelope | None]:
    """The statement in a file, and the envelope around it where it is signed."""
    try:
        envelope = msgspec.json.decode(raw, type=Envelope)
    except msgspec.ValidationError:
        return raw, None
    content = envelope.content()
    if content is None:
        raise msgspec.ValidationError
    return content, envelope


def _public(path: Path, *, given: bool) -> bytes | None:
    return _read(path, MOST_BYTES) if given or path.exists() else None


def _read(path: Path, most: int) -> bytes:
    """A file's bytes, read once: all that is said is about these."""
    try:
        # What somebody hands over may be a pipe, which would be waited for without end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise _unreadable(path, "it is no plain file")
            data = opened.read(most + 1)
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    if len(data) > most:
        raise _unreadable(path, f"it is larger than {most} bytes")
    return data


def _unreadable(path: Path, why: str) -> SettingInvalid:
    return SettingInvalid(
        f"this file cannot be verified: {why}",
        received=str(path),
        next_step="name the bundle.zip that fullcircle package --out wrote",
    )


def _with(found: Verified, problem: str) -> Verified:
    return replace(found, problems=(*found.problems, problem))
