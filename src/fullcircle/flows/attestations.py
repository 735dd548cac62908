"""Attestations: what the ledger says about a version's bundle, as signed statements that travel beside it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.errors import BlobCorrupt, BlobMissing, SettingInvalid
from fullcircle.flows import promote, versions
from fullcircle.flows.session import Session
from fullcircle.ledger.chain import AuditProblem
from fullcircle.ledger.checkpoint import Checkpoints
from fullcircle.ledger.envelopes import Envelope, keyid, seal, signed_by
from fullcircle.ledger.state import VersionState
from fullcircle.types.attestation import PREDICATES, STATEMENT, Attestation, AttestationKind

BUNDLE, FOLDER, PUBLIC = "bundle.zip", "attestations", "signing-key.pub"
_KEPT: Mapping[AttestationKind, str] = {"report": "report", "certificate": "proof", "provenance": "provenance"}


def attestations(session: Session, model: str, version: int) -> tuple[Attestation, ...]:
    """All that is said about a version's bundle: report, certificate, provenance, and its approval where it has one.

    Versions of before attestations have no provenance. Raises VersionNotFound, BlobMissing and BlobCorrupt.
    """
    known = versions.find(session, model, version)
    blobs = {kind: getattr(known, field) for kind, field in _KEPT.items() if getattr(known, field)}
    found = made(session, model, known.bundle, blobs)
    approval = promote.approval_of(session, model, version)
    if approval is None:
        return found
    body = msgspec.json.encode(approval, order="sorted")
    return (*found, _attestation("approval", model, known.bundle, hashlib.sha256(body).hexdigest(), body))


def made(session: Session, model: str, bundle: str, blobs: Mapping[AttestationKind, str]) -> tuple[Attestation, ...]:
    """What these blobs say about a bundle, by the kind of each."""
    get = session.workspace.blobs.get
    return tuple(_attestation(kind, model, bundle, digest, get(digest)) for kind, digest in blobs.items())


def _attestation(kind: AttestationKind, model: str, bundle: str, digest: str, body: bytes) -> Attestation:
    said: Mapping[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    return Attestation(kind=kind, model=model, bundle=bundle, digest=digest, body=said)


def statement(attestation: Attestation) -> bytes:
    """An attestation as an in-toto statement about ``bundle.zip``, in canonical JSON: the same, the same bytes."""
    return msgspec.json.encode(
        {
            "_type": STATEMENT,
            "subject": [{"name": BUNDLE, "digest": {"sha256": attestation.bundle}}],
            "predicateType": PREDICATES[attestation.kind],
            "predicate": attestation.body,
        },
        order="sorted",
    )


def signed(session: Session, model: str, bundle: str, blobs: Mapping[AttestationKind, str]) -> str:
    """Sign what these blobs say about a bundle, store the envelopes, and return their digest."""
    key = Checkpoints(session.workspace.config)
    return session.keep({each.kind: seal(statement(each), key) for each in made(session, model, bundle, blobs)})


def files(session: Session, model: str, version: int) -> dict[str, bytes]:
    """The attestations of a version by file name: signed as they were when it was packaged, an approval now.

    Yours is added to the signature of another member of a shared ledger, as it is your key that lies beside them.
    Where there is no key, what is not signed yet is the bare statement.
    """
    key = Checkpoints(session.workspace.config)
    public = key.public()
    kept = _kept(session, versions.find(session, model, version))
    found: dict[str, bytes] = {}
    for each in attestations(session, model, version):
        text = statement(each)
        envelope = kept.get(each.kind)
        if public is not None and (envelope is None or (envelope.content() == text and not _ours(envelope, public))):
            envelope = seal(text, key, envelope.signatures if envelope is not None else ())
        found[f"{each.kind}.json"] = text if envelope is None else msgspec.json.encode(envelope)
    return found


def _kept(session: Session, known: VersionState) -> dict[str, Envelope]:
    return session.recall(known.attestations, dict[str, Envelope]) if known.attestations else {}


def check_free(folder: Path) -> None:
    """Raise SettingInvalid where ``write`` would have to write over something."""
    if (
        folder.is_symlink()
        or (folder.exists() and not folder.is_dir())
        or (folder.is_dir() and any(folder.iterdir()))
    ):
        raise SettingInvalid(
            "the folder for the bundle is not empty",
            received=str(folder),
            allowed="a folder that is empty or not there yet",
            next_step="name another one with --out",
        )


def write(session: Session, model: str, version: int, folder: Path) -> Path:
    """Write a version's bundle, its attestations and the public key into a folder that can travel.

    The folder is there with all of it, or not at all. Raises SettingInvalid where something is in it already.
    """
    check_free(folder)
    folder = folder.absolute()
    content = {f"{FOLDER}/{name}": text for name, text in files(session, model, version).items()}
    content[BUNDLE] = session.workspace.blobs.get(versions.find(session, model, version).bundle)
    public = Checkpoints(session.workspace.config).public()
    if public is not None:
        content[PUBLIC] = public
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=folder.parent, ignore_cleanup_errors=True) as name:
        draft = Path(name) / folder.name
        (draft / FOLDER).mkdir(parents=True)
        for file, data in content.items():
            with (draft / file).open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
        try:
            draft.rename(folder)
        except OSError:
            check_free(folder)  # somebody was faster
            raise
    return folder


def problems(session: Session) -> list[AuditProblem]:
    """Signed attestations that say something else than the ledger, or that this workspace's key did not sign.

    What another member of a shared ledger signed is compared only: their key is not here.
    """
    public = Checkpoints(session.workspace.config).public()
    known = [each for found in session.workspace.ledger.state().versions.values() for each in found.values()]
    return [
        AuditProblem(kind="attestation", seq=each.seq, text=f"{each.model} version {each.version}: {text}")
        for each in known
        if each.attestations
        for text in _wrong(session, each, public)
    ]


def _wrong(session: Session, known: VersionState, public: bytes | None) -> list[str]:
    try:
        kept = _kept(session, known)
        expected = {each.kind: each for each in attestations(session, known.model, known.version)}
    except (BlobMissing, BlobCorrupt):
        return []  # the audit of blobs names them
    except msgspec.MsgspecError:
        return ["its attestations cannot be read"]
    wrong = []
    if kept.keys() != expected.keys() - {"approval"}:
        wrong.append(f"its signed attestations are {', '.join(sorted(kept)) or 'none'}")
    for kind, envelope in kept.items():
        if kind not in expected or envelope.content() != statement(expected[kind]):
            wrong.append(f"its attestation {kind} says something else than the ledger")
        elif public is not None and _ours(envelope, public) and not signed_by(envelope, public):
            wrong.append(f"its attestation {kind} names your key, which did not sign it")
    return wrong


def _ours(envelope: Envelope, public: bytes) -> bool:
    return any(signature.keyid == keyid(public) for signature in envelope.signatures)
