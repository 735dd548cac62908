"""Keys to the servers of a workspace: create one, list them, revoke one. Each is a fact; a secret is in no file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fullcircle.errors import KeyNotFound, ProjectInvalid, SettingInvalid, StateConflict
from fullcircle.flows import admission
from fullcircle.flows.session import Session, opened
from fullcircle.ledger.bodies import LONGEST, is_text
from fullcircle.ledger.state import State
from fullcircle.settings import Settings
from fullcircle.types import clock
from fullcircle.types.access import ROLES, VERBS, Key
from fullcircle.types.durations import byte_count, duration
from fullcircle.types.facts import Fact

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MODEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RATE = re.compile(r"([0-9]{1,8}(?:\.[0-9]{1,4})?)\s*/\s*([smh])")
_NAMED = 20
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True)
class KeyState:
    """A key as it is listed. ``created`` and ``by`` are its fact's; ``problem`` is "revoked", "expired" or ""."""

    id: str
    name: str
    role: str
    models: tuple[str, ...]
    verbs: tuple[str, ...]
    expires: str
    rate: float
    body: int
    created: str
    by: str
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class NewKey:
    """A key that was just created. ``token`` is what is sent with each request; nobody can show it again.

    ``unknown_models`` are those of its models of which the workspace has neither a run nor a version,
    ``known_models`` all of which it has one, and ``note`` says what to do about it, "" where there is nothing to do.
    """

    key: KeyState
    token: str
    first: bool = False
    unknown_models: tuple[str, ...] = ()
    known_models: tuple[str, ...] = ()
    note: str = ""


def create(
    name: str,
    *,
    role: str,
    models: Sequence[str] = (),
    verbs: Sequence[str] = (),
    expires: str = "",
    rate: str = "",
    body: str = "",
    settings: Settings | None = None,
) -> NewKey:
    """Create a key. From the first one on, the servers of this workspace ask for keys, and for good.

    ``expires`` is a span ("30d") or a date (UTC), ``rate`` such as "100/s", ``body`` a size such as "1MB". Raises
    SettingInvalid for what cannot be, StateConflict for a name in use. A model that the workspace does not know yet
    is no mistake, and is told of.
    """
    _check_names(name, role, models, verbs)
    limits: dict[str, Any] = {
        "models": ",".join(dict.fromkeys(models)),
        "verbs": ",".join(dict.fromkeys(verbs)),
        "rate": rate_of(rate) if rate else 0.0,
        "body": size_of(body) if body else 0,
    }
    with opened(settings) as session:
        first = not admission.required(session)
        limits["expires"] = _expiry(expires) if expires else ""  # by the clock of the workspace
        fact, token = admission.record(session, name, role, **limits)
        admission.write(session)
        state = session.workspace.ledger.state()
        key, known = _shown(fact, state), _models(state)
        unknown = tuple(sorted(set(key.models) - set(known)))
        return NewKey(
            key=key,
            token=token,
            first=first,
            unknown_models=unknown,
            known_models=known,
            note=_slip(key.id, unknown, known) if unknown else "",
        )


def list_keys(*, settings: Settings | None = None) -> tuple[KeyState, ...]:
    """All keys that there ever were, in order of creation."""
    with opened(settings, create=False) as session:
        state = session.workspace.ledger.state()
        return tuple(_shown(fact, state) for fact in state.keys.values())


def revoke(key: str, *, reason: str = "revoked by hand", settings: Settings | None = None) -> KeyState:
    """Revoke a key, by its id or the name of one that is not revoked. Raises KeyNotFound, SettingInvalid."""
    if len(reason) > LONGEST or not is_text(reason):
        raise SettingInvalid(
            "the reason is too long, or no valid text",
            allowed=f"at most {LONGEST} characters",
            next_step="shorten it",
        )
    with opened(settings, create=False) as session:
        found = _found(session, key)

        def guard(state: State) -> None:
            if found.id in state.revoked:
                raise StateConflict("the key was revoked already", received=found.id)

        body = {"id": found.id, "name": found.name, "reason": reason}
        session.workspace.ledger.append("key.revoked", body, guard=guard)
        admission.write(session)
        state = session.workspace.ledger.state()
        return _shown(state.keys[found.id], state)


def _models(state: State) -> tuple[str, ...]:
    """The models that there is a run or a version of."""
    return tuple(sorted({*state.versions, *(str(run["model"]) for run in state.runs.values())}))


def _slip(key: str, unknown: Sequence[str], known: Sequence[str]) -> str:
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return (
        f"no model is called {' or '.join(unknown)} yet; known: {', '.join(known[:_NAMED]) or 'none'}{more}. The "
        f"key opens such a model once there is one. If it was a slip: fullcircle key revoke {key}, and create it anew"
    )


def _found(session: Session, key: str) -> Key:
    known = admission.keys(session.workspace.ledger.state())
    for one in known:
        if key in (one.id, one.name):
            return one
    raise KeyNotFound(
        "there is no such key, or it was revoked",
        received=ascii(key[:100]),
        allowed=", ".join(f"{one.id} ({one.name})" for one in known) or "none",
        next_step="see: fullcircle key list",
    )


def _shown(fact: Fact, state: State) -> KeyState:
    key = admission.key_of(fact)
    return KeyState(
        id=key.id,
        name=key.name,
        role=key.role,
        models=key.models,
        verbs=key.verbs,
        expires=key.expires,
        rate=key.rate,
        body=key.body,
        created=fact.time,
        by=fact.actor,
        problem="revoked" if key.id in state.revoked else "expired" if admission.expired(key) else "",
    )


def _check_names(name: str, role: str, models: Sequence[str], verbs: Sequence[str]) -> None:
    if not _NAME.fullmatch(name):
        raise unusable(
            "the name of a key", name, "1 to 63 letters (ASCII), digits, ., _ and -, a letter or digit first"
        )
    if role not in ROLES:
        raise unusable("the role", role, ", ".join(ROLES))
    for model in models:
        if not _MODEL.fullmatch(model):
            raise unusable("the name of a model", model, "1 to 63 of a-z, 0-9, - and _")
    if len(",".join(models)) > LONGEST:
        raise unusable("the list of models", f"{len(models)} models", f"{LONGEST} characters in all")
    may = ROLES[role]  # type: ignore[index] # looked up above
    for verb in verbs:
        if verb not in may:
            raise unusable(
                "the verb", verb, f"what the role {role} may do: " + ", ".join(v for v in VERBS if v in may)
            )


def _expiry(text: str) -> str:
    """A moment in UTC, from a span or a date; a date alone is its beginning."""
    now = datetime.fromtimestamp(clock.micros() / 1e6, UTC)
    try:
        moment = now + duration(text)
    except ProjectInvalid:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise unusable("the expiry", text, "a span such as 12h or 30d, or a date such as 2027-01-31") from error
        try:
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except OverflowError as error:
            raise unusable("the expiry", text, "a moment within the years 1 to 9999, also in UTC") from error
    except OverflowError as error:
        raise unusable("the expiry", text, "a span that ends before the year 10000") from error
    if moment <= now:
        raise unusable("the expiry", text, "a moment that is to come")
    return moment.isoformat(timespec="seconds")


def rate_of(text: str, command: str = "key create") -> float:
    """Requests a second, from such as "600/m". Raises SettingInvalid, which names the ``command``."""
    found = _RATE.fullmatch(text.strip())
    rate = float(found[1]) / _SECONDS[found[2]] if found else 0.0
    if rate <= 0:
        raise unusable("the rate", text, "requests and s, m or h, such as 100/s or 600/m", command)
    return rate


def size_of(text: str, command: str = "key create") -> int:
    """Bytes, from such as "100kB". Raises SettingInvalid, which names the ``command``."""
    try:
        size = byte_count(text)
    except ProjectInvalid as error:
        raise unusable("the size", text, "a number and B, kB or MB, such as 100kB", command) from error
    if size < 1:
        raise unusable("the size", text, "a byte or more", command)
    return size


def unusable(what: str, received: str, allowed: str, command: str = "key create") -> SettingInvalid:
    """The refusal of something that was said to a ``command``."""
    return SettingInvalid(
        f"{what} cannot be used",
        received=ascii(received[:100]),
        allowed=allowed,
        next_step=f"see: fullcircle {command} --help",
    )
