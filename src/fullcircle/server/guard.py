"""Who may ask: every request is checked here before anything of it is looked at but its host and its address.

The file ``access.json`` (``types.access.Access``) lies beside served.json and is followed: whoever writes it replaces
it as a whole. While it says that access is required, whoever asks at an address that is not open to anybody has to
send a key: ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``, or the token of an issuer. What cannot be read keeps
what was known; where nothing was known yet, nobody is let in.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from fullcircle.errors import (
    Forbidden,
    FullcircleError,
    MissingExtra,
    RateLimited,
    RequestInvalid,
    ServerBusy,
    Unauthorized,
)
from fullcircle.server import addresses
from fullcircle.server.callers import Bucket, Caller
from fullcircle.server.http import Receive, Scope
from fullcircle.server.tokens import Tokens
from fullcircle.types import clock
from fullcircle.types.access import HEAD, PREFIX, ROLES, Access, Key, Verb, parted

FILE = "access.json"
EVERY = 0.2  # seconds between two looks at the file
MISSES, MISSES_A_SECOND = 20, 1.0  # failed tries of one peer at once, and later
PEERS = 4096  # peers whose failed tries are counted; of more, those that failed longest ago are forgotten
NOTES, NOTES_A_SECOND = 50, 10.0  # log lines about refusals: an attack does not fill the log
_LONGEST = 8192  # bytes of a key or token
_logger = logging.getLogger(__name__)
_CARRIERS = frozenset({b"authorization", b"x-api-key"})
_NOBODY = (bytes(32), None)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the file said at one moment: each key's digest and caller by how it begins, and the issuers of tokens."""

    required: bool
    keys: Mapping[bytes, tuple[bytes, Caller]] = field(default_factory=dict)
    tokens: Tokens | None = None
    known: Mapping[Key, Caller] = field(default_factory=dict)


class Guard:
    """Follows the file and checks requests. ``workers`` share the rate of a key evenly.

    ``needed``: access is required also where there is no file. ``look`` is called by one thread at a time, ``check``
    by that of the event loop.
    """

    def __init__(self, file: Path, *, workers: int = 1, needed: bool = False, every: float = EVERY) -> None:
        self._file, self._workers, self._needed, self._every = file, workers, needed, every
        self._rules = Rules(required=True)  # until the first look: nobody
        self._seen: object = ()
        self._told = ""
        self._peers: OrderedDict[str, Bucket] = OrderedDict()
        self._notes = Bucket(NOTES_A_SECOND, NOTES)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fullcircle-guard", daemon=True)

    @property
    def required(self) -> bool:
        """Whether whoever asks has to say who they are."""
        return self._rules.required

    def start(self) -> None:
        """Look once, and then again and again in a thread of its own. Raises MissingExtra."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._stop.set()

    def look(self) -> None:
        """Look at the file, and take in what changed."""
        mark = _mark(self._file)
        if mark != self._seen:
            self._read(mark)
        if self._rules.tokens is not None:
            self._rules.tokens.look()

    def _read(self, mark: object) -> None:
        first, self._seen = self._seen == (), mark
        try:
            rules = self._ruled(msgspec.json.decode(self._file.read_bytes(), type=Access), first=first)
        except FileNotFoundError:
            if first:
                self._rules = Rules(required=self._needed)
            elif self._rules.required:
                _logger.error("%s is gone: the keys that were known stay", FILE)
        except (OSError, ValueError, RecursionError) as error:  # msgspec's are kinds of ValueError
            if isinstance(error, OSError):  # that may pass while the file stays as it is
                self._seen = object()
            if self._told != (told := type(error).__name__):
                _logger.error("%s cannot be used (%s): the keys that were known stay", FILE, told)
            self._told = told
            self._rules = replace(self._rules, required=True)  # somebody wanted it to be
        else:
            self._told = ""
            self._rules = replace(rules, required=rules.required or self._needed)

    def _ruled(self, access: Access, *, first: bool) -> Rules:
        """The rules of ``access``. A server that runs and cannot judge tokens follows its keys all the same."""
        try:
            return _rules(access, self._rules, self._workers, self._file.parent)
        except MissingExtra as error:
            if first:
                raise
            _logger.error("no tokens are taken: %s; %s", error, error.next_step)
            return _rules(replace(access, issuers=()), self._rules, self._workers, self._file.parent)

    def _follow(self) -> None:
        while not self._stop.wait(self._every):
            try:
                self.look()
            except Exception:
                _logger.exception("a defect while following %s", FILE)

    def check(self, path: str, scope: Scope) -> Caller | None:
        """Who asks; None where anybody may, and at addresses that are open to anybody.

        Raises Unauthorized, Forbidden, RateLimited, RequestInvalid (413) or ServerBusy. Whether the caller may see
        the model that the path names is ``hidden``'s business.
        """
        rules = self._rules
        if not rules.required:
            return None
        address = _address(path)
        if address is not None and address.verb is None:
            if not address.template.endswith("/live"):  # which says the same to everybody
                self._at_open(rules, scope)
            return None
        caller = self._known(rules, scope)
        if caller is None:
            self._turned_away(path, scope)
        scope["caller"] = caller
        if caller.bucket is not None and (seconds := caller.bucket.take(time.monotonic())):
            error: FullcircleError = _too_often(caller.bucket.rate * self._workers, seconds)
        elif address is not None and address.verb not in caller.verbs:
            error = _not_allowed(address.verb)
        elif caller.models is not None and address is not None and address.wide:
            error = _of_all_models()
        else:
            if caller.body:
                _check_length(scope, caller.body)
            return caller
        self._note(error, path, scope)
        raise error

    def _at_open(self, rules: Rules, scope: Scope) -> None:
        """At an address that is open to anybody, who is not known hears no names."""
        try:
            known = self._known(rules, scope)
        except ServerBusy:  # nobody can tell now whose token it is
            known = None
        scope["stranger"] = stranger = known is None or "read" not in known.verbs or known.models is not None
        scope["caller"] = None if stranger else known

    def _known(self, rules: Rules, scope: Scope) -> Caller | None:
        token = sent(scope)
        if token is None:
            return None
        found = rules.keys.get(token[:HEAD])
        if found is None and rules.tokens is not None and parted(token) is None:
            return rules.tokens.caller(token)
        digest, caller = found or _NOBODY  # which is compared all the same, so that this takes as long
        if not compare_digest(digest, sha256(token[HEAD:]).digest()) or caller is None:
            return None
        if caller.until == math.inf or caller.until > clock.micros() / 1e6:
            return caller
        scope["expired"] = caller.id  # for the log alone: who shows the right secret may still not be told why
        return None

    def _turned_away(self, path: str, scope: Scope) -> NoReturn:
        """Say so, and from a peer that has tried too often only that. A valid key is never kept out by that."""
        peer = str((scope.get("client") or ("",))[0])
        bucket = self._peers.pop(peer, None) or Bucket(MISSES_A_SECOND, MISSES)
        self._peers[peer] = bucket
        if len(self._peers) > PEERS:
            self._peers.popitem(last=False)
        if seconds := bucket.take(time.monotonic()):
            raise RateLimited(
                "too many requests without a valid key came from here",
                next_step="wait, and send a valid key",
                seconds=math.ceil(seconds),
            )
        error = Unauthorized(
            "a valid key is needed here",
            allowed="Authorization: Bearer KEY, once",
            next_step="ask for a key: fullcircle key create makes one",
        )
        expired = scope.get("expired")
        self._note(error, path, scope, peer=peer, **({"key": expired, "why": "expired"} if expired else {}))
        raise error

    def _note(self, error: FullcircleError, path: str, scope: Scope, **more: str) -> None:
        """One log line about a refusal, with the id that its answer carries."""
        if self._notes.take(time.monotonic()):
            return
        scope["request"] = os.urandom(8).hex()
        caller: Caller | None = scope.get("caller")
        fields = {"reason": error.code, "path": addresses.template(path), "request": scope["request"], **more}
        _logger.warning("refused", extra={"fields": fields | ({} if caller is None else {"key": caller.id})})


def _address(path: str) -> addresses.Address | None:
    if path.startswith("/predict/"):  # nearly all: whatever follows, it is this one
        return addresses.PREDICT
    found = addresses.find(path)
    return None if found is None else found[0]


def hidden(caller: Caller | None, path: str) -> str | None:
    """The model that the path names and that the caller may not know of; None where there is none."""
    if caller is None or caller.models is None:
        return None
    found = addresses.find(path)
    if found is None or (place := found[0].model_place) is None:
        return None
    model = found[1][place]
    return None if model in caller.models else model


def bounded(receive: Receive, most: int) -> Receive:
    """The same body, refused (413) as soon as it is longer than ``most`` bytes."""
    size = 0

    async def counted() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise _too_large(most)
        return message

    return counted


def sent(scope: Scope) -> bytes | None:
    """The one key or token of a request; None where there is none, where there are two, or it cannot be one."""
    found = None
    for name, value in scope["headers"]:
        if name in _CARRIERS:
            if found is not None:
                return None
            if name == b"x-api-key":
                found = value.strip(b" \t")
            else:
                found = value[7:].strip(b" \t") if value[:7].lower() == b"bearer " else b""
    return found if found and len(found) <= _LONGEST else None


def _mark(file: Path) -> object:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino  # ctime: of who may read it, too


def _rules(access: Access, before: Rules, workers: int, folder: Path) -> Rules:
    """What the file says. A key that is as it was keeps its bucket, and issuers that are the same what they know."""
    keys: dict[bytes, tuple[bytes, Caller]] = {}
    known: dict[Key, Caller] = {}
    for key in access.keys:
        caller = before.known.get(key) or _caller(key, workers)
        known[key] = caller
        keys[f"{PREFIX}{key.id}_".encode()] = (bytes.fromhex(key.digest), caller)
    tokens = before.tokens
    if tokens is None or tokens.issuers != access.issuers:
        tokens = Tokens(access.issuers, folder, workers) if access.issuers else None
    return Rules(required=access.required, keys=keys, tokens=tokens, known=known)


def _caller(key: Key, workers: int) -> Caller:
    share = key.rate / workers
    return Caller(
        key.id,
        ROLES[key.role] & frozenset(key.verbs) if key.verbs else ROLES[key.role],
        frozenset(key.models) if key.models else None,
        until=datetime.fromisoformat(key.expires).timestamp() if key.expires else math.inf,
        bucket=Bucket(share, max(1.0, share)) if share else None,
        body=key.body,
    )


def _check_length(scope: Scope, most: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit() and (len(value) > 18 or int(value) > most):
            raise _too_large(most)


def _too_large(most: int) -> RequestInvalid:
    return RequestInvalid(
        "the body is larger than this key may send",
        allowed=f"at most {most:,} bytes",
        next_step="send the rows in several requests",
        status=413,
    )


def _too_often(rate: float, seconds: float) -> RateLimited:
    return RateLimited(
        "this key asks more often than it may",
        allowed=f"{rate:g} requests a second",
        next_step="ask again after the seconds in Retry-After",
        seconds=max(1, math.ceil(seconds)),
    )


def _not_allowed(verb: Verb | None) -> Forbidden:
    return Forbidden("this key may not do that", allowed=f"keys that may {verb}", next_step="ask with another key")


def _of_all_models() -> Forbidden:
    return Forbidden(
        "this shows all models, and this key may see only some",
        allowed="keys without --model",
        next_step="ask with another key",
    )
