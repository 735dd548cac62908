"""Who may ask the servers of a workspace: the file that they follow, and how the workspace's own commands get in.

The facts about keys and issuers of tokens decide, and no setting. Once there was one, servers ask for good: also
after the last was taken away, and also where a command looks into another ledger and finds none.
"""

from __future__ import annotations

import base64
import os
import secrets
import socket
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.deployment.client import Door
from fullcircle.errors import ApprovalRefused, SettingInvalid, StateConflict
from fullcircle.flows.session import Session
from fullcircle.ledger.folder import locked, replace_file
from fullcircle.ledger.state import State, VersionState
from fullcircle.settings import is_loopback
from fullcircle.types import clock
from fullcircle.types.access import (
    ALGORITHMS,
    ID_LETTERS,
    PREFIX,
    ROLES,
    SECRET_BYTES,
    VERBS,
    Access,
    Issuer,
    Key,
    digest_of,
    parted,
)
from fullcircle.types.facts import Fact

OWN = "own.key"
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def file(session: Session) -> Path:
    """The file that servers follow, beside served.json."""
    return session.workspace.root / "access.json"


def required(session: Session) -> bool:
    """Whether servers of this workspace ask who calls: there was a key or an issuer, or they were told so once."""
    state = session.workspace.ledger.state()
    return bool(state.keys or state.issuers) or file(session).exists()


def key_of(fact: Fact) -> Key:
    """The key that a fact created."""
    body = fact.body
    return Key(
        id=body["id"],
        name=body["name"],
        role=body["role"],
        digest=body["digest"],
        models=tuple(filter(None, str(body.get("models") or "").split(","))),
        verbs=tuple(filter(None, str(body.get("verbs") or "").split(","))),  # type: ignore[arg-type] # as checked then
        expires=str(body.get("expires") or ""),
        rate=float(body.get("rate") or 0.0),
        body=int(body.get("body") or 0),
    )


def issuer_of(fact: Fact) -> Issuer:
    """The issuer that a fact added."""
    body = fact.body
    pairs = (pair.rpartition("=") for pair in str(body["roles"]).split(","))
    return Issuer(
        issuer=body["issuer"],
        audience=body["audience"],
        algorithm=body["algorithm"],
        keys=body["keys"],
        claim=body["claim"],
        roles={group: role for group, _, role in pairs if role in ROLES},  # type: ignore[misc] # one of ROLES
        rate=float(body.get("rate") or 0.0),
        body=int(body.get("body") or 0),
    )


def issuers(state: State) -> tuple[Issuer, ...]:
    """The issuers whose tokens are taken; one of a later fullcircle, whose algorithm is not known here, is none."""
    added = (fact for fact in state.issuers.values() if fact.kind == "issuer.added")
    return tuple(one for one in map(issuer_of, added) if one.algorithm in ALGORITHMS)


def keys(state: State) -> tuple[Key, ...]:
    """The keys that were not revoked, in order; also those that have expired."""
    return tuple(key_of(fact) for id, fact in state.keys.items() if id not in state.revoked)


def write(session: Session) -> None:
    """Write the file anew, where the facts say something else by now; none while nobody is asked."""
    path = file(session)
    with locked(session.workspace.root / "access.lock", 60.0):  # an older state must not overwrite a newer one
        if not required(session):
            return
        state = session.workspace.ledger.state()
        # A role or verb of a later fullcircle is not known here: such a key opens nothing.
        known = tuple(one for one in keys(state) if one.role in ROLES and {*one.verbs} <= {*VERBS})
        found = Access(required=True, keys=known, issuers=issuers(state))
        content = msgspec.json.format(msgspec.json.encode(found)) + b"\n"
        if not path.exists() or path.read_bytes() != content:
            replace_file(path, content)


def record(session: Session, name: str, role: str, **limits: Any) -> tuple[Fact, str]:
    """Create a key: the fact, and the token, which is nowhere but here. Raises StateConflict for a name in use."""
    id = "".join(secrets.choice(_LETTERS) for _ in range(ID_LETTERS))
    secret = base64.urlsafe_b64encode(os.urandom(SECRET_BYTES)).rstrip(b"=")

    def guard(state: State) -> None:
        if any(one.name.lower() == name.lower() for one in keys(state)) or id in state.keys:
            raise StateConflict(
                "there is a key of this name",
                received=name,
                next_step="choose another name, or revoke that one: fullcircle key list",
            )

    body = {"id": id, "name": name, "role": role, "digest": digest_of(secret).hex(), **limits}
    told = {field: value for field, value in body.items() if value}
    return session.workspace.ledger.append("key.created", told, guard=guard), f"{PREFIX}{id}_{secret.decode()}"


def right(given: str, known: Sequence[Key]) -> Key | None:
    """Which of the keys this is; None where it is none of them."""
    parts = parted(given.encode("utf-8", "replace"))
    if parts is None:
        return None
    found = next((one for one in known if one.id.encode() == parts[0]), None)
    same = found is not None and secrets.compare_digest(found.digest, digest_of(parts[1]).hex())
    return found if same else None


def expired(key: Key) -> bool:
    """Whether the key's time is over."""
    return bool(key.expires) and datetime.fromisoformat(key.expires).timestamp() <= clock.micros() / 1e6


def login() -> str:
    """The operating system's own word for who runs this and where; the setting ``actor`` can be anything."""
    try:
        import pwd
    except ImportError:  # not on Windows
        import getpass

        name = getpass.getuser()
    else:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # in containers a process may run as a number without a name
            name = f"user {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


def asks_approvers(session: Session) -> bool:
    """Whether an approval needs a key: there was one of role approver at any time."""
    return any(fact.body["role"] == "approver" for fact in session.workspace.ledger.state().keys.values())


def approver(session: Session, version: VersionState, login: str, given: str | None) -> str:
    """The id of the approver's key. Raises ApprovalRefused where there is none, or who approves trained the version.

    Who trained it is who wrote the facts about its run and its registration: the actor of each, whom the settings
    name, and the login, whom they do not.
    """
    token = os.environ.get("FULLCIRCLE_KEY", "") if given is None else given
    state = session.workspace.ledger.state()
    key = right(token.strip(), tuple(map(key_of, state.keys.values())))
    if key is None or (why := _unfit(key, version.model, state)):
        raise ApprovalRefused(
            "only an approver may approve here, and this is no valid key of one",
            received=_no_key(token.strip()) if key is None else why,
            allowed="a key of role approver, for this model, that is neither revoked nor expired",
            next_step="set the variable FULLCIRCLE_KEY to your key",
        )
    facts = session.workspace.ledger.facts
    told = [fact for fact in facts("run.finished") if fact.body["run"] == version.run]
    told += [fact for fact in facts("version.registered") if fact.seq == version.seq]
    trained = {fact.actor for fact in told} | {_name(fact.body.get("login") or fact.actor) for fact in told}
    if same := {session.workspace.ledger.actor, _name(login)} & trained:
        raise ApprovalRefused(
            "who trained a version may not approve it",
            received=", ".join(sorted(same)),
            allowed="anybody else who has a key of role approver, as another user of the operating system",
            next_step="ask another approver",
        )
    return key.id


def _no_key(token: str) -> str:
    """What was given where it is no key of this workspace, without a part of it."""
    if not token:
        return "no key: the variable FULLCIRCLE_KEY is empty or not set"
    form = parted(token.encode("utf-8", "replace")) is not None
    return "a key that this workspace does not know" if form else f"a text that is no key: one is {PREFIX}ID_SECRET"


def _unfit(key: Key, model: str, state: State) -> str:
    """Why a key of this workspace is not one that approves this model; "" where it is. Its holder may be told."""
    why = ""
    if key.id in state.revoked:
        why = "was revoked"
    elif key.role != "approver":
        why = f"is of role {key.role}"
    elif expired(key):
        why = f"expired at {key.expires[:19]}"
    elif key.models and model not in key.models:
        why = f"is for other models than {model}: {', '.join(key.models)}"
    return f"key {key.id} of {key.name}, which {why}" if why else ""


def _name(login: str) -> str:
    return login.partition("@")[0]


def door(session: Session, *, make: bool = False) -> Door:
    """How the workspace's own commands get into its servers: with a key of their own, and which certificate is ours.

    With ``make`` the key is created where there is none, or it was revoked; it is a key as any other.
    """
    certificate = session.settings.tls[0] if session.settings.tls else None
    return Door(token=_own(session, make=make) if required(session) else "", certificate=certificate)


def _own(session: Session, *, make: bool) -> str:
    path = session.workspace.root / OWN
    token = path.read_text(encoding="ascii").strip() if path.exists() else ""
    if right(token, keys(session.workspace.ledger.state())) is not None:
        return token
    if not (make and session.workspace.writable):
        return ""
    _, token = record(session, f"workspace-{session.workspace.id[:8]}-{secrets.token_hex(2)}", "scorer")
    replace_file(path, f"{token}\n".encode())
    write(session)
    return token


def check_reach(session: Session) -> None:
    """Refuse to have a server listen beyond loopback without keys, or without TLS. Raises SettingInvalid."""
    settings = session.settings
    if is_loopback(settings["host"]):
        return
    if not required(session):
        raise SettingInvalid(
            "beyond loopback a server asks for keys, and this workspace has none",
            received=f"host {settings['host']}",
            allowed="127.0.0.1, localhost, ::1; any address once there is a key",
            next_step="make one: fullcircle key create NAME --role scorer",
        )
    if settings.tls is None and not settings.without_tls:
        raise SettingInvalid(
            "beyond loopback a server speaks TLS, and has no certificate",
            received=f"host {settings['host']}",
            allowed="127.0.0.1, localhost, ::1; any address with tls_cert and tls_key, or with without_tls",
            next_step="give it a certificate: --tls-cert FILE --tls-key FILE; or say --without-tls where a proxy in "
            "front ends TLS",
        )
