"""Issuers whose tokens (JWT) the servers of a workspace take: add one, list them, remove one. Each is a fact."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from fullcircle.errors import FullcircleError, MissingExtra, SettingInvalid, StateConflict
from fullcircle.flows import admission, versions
from fullcircle.flows.access import rate_of, size_of, unusable
from fullcircle.flows.session import Session, opened
from fullcircle.ledger.bodies import LONGEST, is_text
from fullcircle.ledger.state import State
from fullcircle.packaging import lock as locks
from fullcircle.settings import Settings, is_loopback
from fullcircle.types.access import ALGORITHMS, ROLES, Issuer
from fullcircle.types.facts import Fact

PACKAGES = ("cryptography", "pyjwt")
"""What a server judges tokens with."""
_ADD = "issuer add"


@dataclass(frozen=True, kw_only=True)
class IssuerState:
    """An issuer as it is listed. ``added`` and ``by`` are its fact's.

    One that was just added: whether it is the ``first`` that makes servers ask, whether the file of its keys is
    ``missing`` here, and the versions of running servers that are ``unable`` to check its tokens.
    """

    issuer: Issuer
    added: str
    by: str
    first: bool = False
    missing: bool = False
    unable: tuple[str, ...] = ()


def add(
    issuer: str,
    *,
    audience: str,
    keys: str,
    roles: Sequence[str],
    claim: str = "roles",
    algorithm: str = "RS256",
    rate: str = "",
    body: str = "",
    settings: Settings | None = None,
) -> IssuerState:
    """Take the tokens of an issuer from now on; of one that is known, by what is said now. Servers ask for good.

    ``keys`` is a JWKS: a file or an https address. ``roles`` are such as "ml-team=engineer", ``rate`` ("100/s") and
    ``body`` ("1MB") what each caller may. Raises SettingInvalid.
    """
    limits = {"rate": rate_of(rate, _ADD) if rate else 0.0, "body": size_of(body, _ADD) if body else 0}
    if algorithm not in ALGORITHMS:
        raise _wrong("the algorithm", algorithm, ", ".join(ALGORITHMS))
    told = {"issuer": issuer, "audience": audience, "keys": _place(keys), "claim": claim}
    told |= {"algorithm": algorithm, "roles": _roles(roles)}
    with opened(settings) as session:
        if keys and "://" not in keys:
            told["keys"] = os.path.abspath(session.settings.folder / keys)
        for name, value in told.items():
            if not value or len(value) > LONGEST or not is_text(value):
                raise _wrong(f"the {name} of an issuer", value, f"1 to {LONGEST} characters")
        first = not admission.required(session)
        given = {name: value for name, value in limits.items() if value}
        fact = session.workspace.ledger.append("issuer.added", {**told, **given})
        admission.write(session)
        missing = "://" not in told["keys"] and not os.path.isfile(told["keys"])
        return replace(_shown(fact), first=first, missing=missing, unable=_unable(session))


def packages(session: Session) -> tuple[str, ...]:
    """What the environments of this workspace's servers need for tokens: nothing where no issuer was added."""
    return PACKAGES if _taken(session.workspace.ledger.state()) else ()


def check_environment(session: Session, name: str, lock: str) -> None:
    """Refuse a version, told as ``name``, whose server runs by this lock and cannot judge tokens where it must.

    Raises MissingExtra.
    """
    if missing := _missing(session, lock):
        raise MissingExtra(
            f"the environment of {name} cannot check the tokens of an issuer",
            received=f"packaged without {' and '.join(missing)}, before the issuer was added",
            allowed="versions that were packaged since; or keys alone",
            next_step="package it again and promote it (fullcircle run), or: fullcircle issuer remove ISSUER",
        )


def _missing(session: Session, lock: str) -> list[str]:
    return [package for package in packages(session) if package not in locks.pins(lock)]


def _unable(session: Session) -> tuple[str, ...]:
    """What runs and goes on with keys alone."""
    deployed = session.workspace.ledger.state().deployments
    running = [(model, int(noted["version"])) for model, noted in deployed.items() if noted.get("url")]
    found = []
    for model, version in running:
        try:
            able = not _missing(session, versions.bundle(session, model, version).lock)
        except FullcircleError:  # its bundle is lost, so nobody knows, and it has to be packaged again anyway
            able = False
        found += [] if able else [f"{model} version {version}"]
    return tuple(found)


def list_issuers(*, settings: Settings | None = None) -> tuple[IssuerState, ...]:
    """The issuers whose tokens are taken."""
    with opened(settings, create=False) as session:
        return tuple(_shown(fact) for fact in _taken(session.workspace.ledger.state()).values())


def remove(issuer: str, *, reason: str = "removed by hand", settings: Settings | None = None) -> IssuerState:
    """Take the tokens of an issuer no more. Servers go on asking. Raises SettingInvalid, StateConflict."""
    if len(reason) > LONGEST or not is_text(reason):
        raise _wrong("the reason", reason, f"at most {LONGEST} characters")
    with opened(settings, create=False) as session:
        known = _taken(session.workspace.ledger.state()).get(issuer)
        if known is None:
            raise _unknown(session, issuer)

        def guard(state: State) -> None:
            if issuer not in _taken(state):
                raise StateConflict("the issuer was removed already", received=ascii(issuer[:100]))

        session.workspace.ledger.append("issuer.removed", {"issuer": issuer, "reason": reason}, guard=guard)
        admission.write(session)
        return _shown(known)


def _taken(state: State) -> Mapping[str, Fact]:
    return {name: fact for name, fact in state.issuers.items() if fact.kind == "issuer.added"}


def _unknown(session: Session, issuer: str) -> StateConflict:
    return StateConflict(
        "no token of such an issuer is taken",
        received=ascii(issuer[:100]),
        allowed=", ".join(_taken(session.workspace.ledger.state())) or "none",
        next_step="see: fullcircle issuer list",
    )


def _shown(fact: Fact) -> IssuerState:
    return IssuerState(issuer=admission.issuer_of(fact), added=fact.time, by=fact.actor)


def _place(keys: str) -> str:
    """A file, or a URL that nobody on the way can answer in place of the issuer. Raises SettingInvalid."""
    try:
        place = urlsplit(keys)
        local = place.scheme == "http" and is_loopback(place.hostname or "")
        right = bool(place.hostname) and (place.scheme == "https" or local) and "@" not in place.netloc
    except ValueError:
        right = False
    if "://" in keys and not right:
        raise _wrong("the place of the keys", keys, "a file, or an address that begins with https://")
    return keys


def _roles(pairs: Sequence[str]) -> str:
    """Groups and their roles in one text: what ``admission.issuer_of`` reads. Raises SettingInvalid."""
    found: dict[str, str] = {}
    for pair in pairs:
        group, _, role = (part.strip() for part in pair.rpartition("="))
        if not group or "," in group or role not in ROLES or group in found:
            raise _wrong("the role of a group", pair, f"GROUP=ROLE, each group once; roles: {', '.join(ROLES)}")
        found[group] = role
    if not found:
        raise _wrong("a list of no roles", "", f"GROUP=ROLE, once or more; roles: {', '.join(ROLES)}")
    return ",".join(f"{group}={role}" for group, role in found.items())


def _wrong(what: str, received: str, allowed: str) -> SettingInvalid:
    return unusable(what, received, allowed, _ADD)
