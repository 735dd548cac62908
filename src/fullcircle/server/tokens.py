"""Tokens (JWT) of an issuer: judged by the algorithm and the keys that it was added with, never by what they say.

The header of a token chooses nothing but one of the issuer's keys by its id. A token that names keys of its own, or
asks for what is not understood (``crit``), is refused. The issuer's keys (JWKS) come from a file or a URL; while that
cannot be had, the keys that were known stay. One download at most is under way, and no request waits for it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fullcircle.errors import MissingExtra, ServerBusy
from fullcircle.server.callers import Bucket, Caller
from fullcircle.server.lane import aside
from fullcircle.types.access import ROLES, Issuer, Verb

LEEWAY = 60.0  # seconds that clocks may differ
REFRESH, AGAIN = 300.0, 10.0  # seconds between two downloads; the same where one failed, or a key is not known
SECONDS = 10.0  # for a download, as a whole
MOST_BYTES = 2**18
MOST_KEYS = 100
KEPT = 4096  # tokens that were found right and need not be judged again, and callers whose rates are known
JUDGED, JUDGED_A_SECOND = 100, 50.0  # signatures that one worker checks at once, and later
LEAST_RSA = 2048
_MISLEADING = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip"})
_KINDS = {"R": "RSA", "P": "RSA", "ES": "EC", "Ed": "OKP"}
_WRONG = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
_logger = logging.getLogger(__name__)


class Tokens:
    """Judges the tokens of ``issuers``; relative files are looked up in ``folder``. Raises MissingExtra.

    A signature takes longer than any other part of a small request, and a stranger may ask for it: so many are
    checked and no more. ``workers`` share the rate of a caller evenly.
    """

    def __init__(self, issuers: tuple[Issuer, ...], folder: Path, workers: int = 1) -> None:
        _library()
        self.issuers = issuers
        self._workers = workers
        self._sets = {one.issuer: (one, KeySet(one, folder)) for one in issuers}
        self._kept: OrderedDict[bytes, tuple[Caller, int]] = OrderedDict()
        self._judging = Bucket(JUDGED_A_SECOND, JUDGED)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def look(self) -> None:
        """See that the keys are not too old. Never waits."""
        for _, keys in self._sets.values():
            keys.look()

    def caller(self, token: bytes) -> Caller | None:
        """Who the token is of; None where it is not right.

        Raises ServerBusy where no keys are known yet, or too many tokens came that are not known.
        """
        mark = hashlib.sha256(token).digest()
        turn = sum(keys.turn for _, keys in self._sets.values())
        known = self._kept.get(mark)
        if known is not None and known[1] == turn:
            return known[0] if known[0].until > time.time() else None
        jwt = _library()
        try:
            found = self._judged(jwt, token)
        except (jwt.PyJWTError, *_WRONG):
            return None
        if found is not None:
            self._kept[mark] = (found, turn)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _judged(self, jwt: Any, token: bytes) -> Caller | None:
        header = jwt.get_unverified_header(token)
        unjudged = {"verify_signature": False, "verify_exp": True}  # what is over costs no look at its signature
        told = jwt.decode(token, leeway=LEEWAY, options=unjudged).get("iss")
        issuer, keys = self._sets.get(told, (None, None)) if isinstance(told, str) else (None, None)
        if issuer is None or keys is None or header.get("alg") != issuer.algorithm or _MISLEADING & header.keys():
            return None
        key = keys.find(header.get("kid"))
        if key is None:
            return None
        if self._judging.take(time.monotonic()):
            raise ServerBusy("too many tokens came that are not known here", next_step="try again in a second")
        claims = jwt.decode(
            token,
            key,
            algorithms=[issuer.algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iss", "aud", "sub"], "strict_aud": False},
        )
        return self._caller(issuer, claims)

    def _caller(self, issuer: Issuer, claims: Mapping[str, Any]) -> Caller:
        """Who the claims are of. Nobody is named in logs: the subject is hashed."""
        verbs: frozenset[Verb] = frozenset()
        for group in _groups(claims, issuer.claim):
            verbs |= ROLES[issuer.roles[group]] if group in issuer.roles else frozenset()
        id = "jwt:" + hashlib.sha256(f"{issuer.issuer}\0{claims['sub']}".encode()).hexdigest()[:12]
        bucket = self._bucket(id, issuer.rate / self._workers) if issuer.rate else None
        return Caller(id, verbs, until=float(claims["exp"]) + LEEWAY, bucket=bucket, body=issuer.body)

    def _bucket(self, id: str, rate: float) -> Bucket:
        """The caller's own, whatever token it comes with."""
        found = self._buckets.pop(id, None) or Bucket(rate, max(1.0, rate))
        self._buckets[id] = found
        if len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)
        return found


class KeySet:
    """The keys of one issuer by their ids. ``turn`` counts how often they changed."""

    def __init__(self, issuer: Issuer, folder: Path) -> None:
        self.turn = 0
        self._issuer = issuer
        self._url = issuer.keys if "://" in issuer.keys else ""
        self._file = None if self._url else folder / issuer.keys
        self._keys: Mapping[str, Any] | None = None
        self._content = b""
        self._begun = self._due = 0.0
        self._seen: object = None
        self._told = ""
        self._download: tuple[Download, Future[bytes]] | None = None

    def find(self, id: object) -> Any:
        """The key of this id; without an id the only one. None where there is none. Raises ServerBusy."""
        keys = self._keys
        if keys is None:
            raise ServerBusy(
                "the keys of the issuer are not known yet", next_step="try again in a second", cause="not_ready"
            )
        if id is None:
            return next(iter(keys.values())) if len(keys) == 1 else None
        found = keys.get(id) if isinstance(id, str) else None
        if found is None:  # the issuer may have a new one
            self._due = min(self._due, self._begun + AGAIN)
        return found

    def look(self) -> None:
        """Read the file where it changed; begin a download where it is time, and take what one brought."""
        now = time.monotonic()
        if self._file is not None:
            self._look_at(self._file)
        elif self._download is not None:
            download, coming = self._download
            if coming.done():
                self._download = None
                self._arrived(coming, now)
            elif now - self._begun > SECONDS:
                download.cut()
        elif now >= self._due:
            download = Download(self._url)
            self._begun, self._due = now, now + REFRESH
            self._download = (download, aside(download.content, "keys of the issuer"))

    def _look_at(self, file: Path) -> None:
        try:
            found = file.stat()
            mark = (found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino)
            if mark != self._seen:
                self._seen = mark
                self._take(file.read_bytes()[: MOST_BYTES + 1])
        except (OSError, *_WRONG) as error:
            if isinstance(error, OSError):  # that may pass while the file stays as it is
                self._seen = object()
            told = type(error).__name__
            if self._told != told:
                _logger.error("the keys of the issuer cannot be read: %s", told)
            self._told = told
        else:
            self._told = ""

    def _arrived(self, coming: Future[bytes], now: float) -> None:
        error = coming.exception()
        if error is None:
            try:
                self._take(coming.result())
                return
            except _WRONG as wrong:
                error = wrong
        self._due = now + AGAIN
        _logger.error("the keys of the issuer cannot be had: %s", type(error).__name__)

    def _take(self, content: bytes) -> None:
        if content == self._content:
            return
        keys = _keys(content, self._issuer.algorithm)
        self._content = content
        if keys != self._keys:
            self._keys, self.turn = keys, self.turn + 1


class Download:
    """One download, by a thread that may be cut off: no redirect is followed, and no more is read than allowed."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(self._url.hostname or "", self._url.port, timeout=SECONDS)
        self._bound: socket.socket | None = None  # the connection forgets it where the answer has no length

    def content(self) -> bytes:
        """The document. Raises OSError, ValueError or http.client.HTTPException."""
        try:
            path = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
            self._connection.connect()  # with TLS at most twice the time: for the one, and for agreeing as a whole
            self._bound = self._connection.sock
            self._connection.request("GET", path, headers={"Accept": "application/json"})
            answer = self._connection.getresponse()
            if answer.status != http.client.OK:
                raise ValueError(f"status {answer.status}")
            found = answer.read(MOST_BYTES + 1)
        finally:
            self._connection.close()
        return found

    def cut(self) -> None:
        """End it, whatever it waits for."""
        if self._bound is not None:
            with suppress(OSError):
                self._bound.shutdown(socket.SHUT_RDWR)


def _keys(content: bytes, algorithm: str) -> Mapping[str, Any]:
    """The keys of a JWKS that fit the algorithm. Raises ValueError and its like for what is none."""
    if len(content) > MOST_BYTES:
        raise ValueError("too large")
    jwt = _library()
    kind = next(found for start, found in _KINDS.items() if algorithm.startswith(start))
    found: dict[str, Any] = {}
    told = json.loads(content)["keys"][:MOST_KEYS]
    usable = [(number, one) for number, one in enumerate(told) if isinstance(one, dict)]
    if told and not usable:
        raise ValueError("no key set")
    for number, one in usable:
        right = one.get("kty") == kind and one.get("use", "sig") == "sig" and one.get("alg", algorithm) == algorithm
        if not right:
            continue
        try:
            key = jwt.PyJWK.from_dict(one, algorithm=algorithm)
        except (jwt.PyJWTError, *_WRONG):  # it does not spoil the others
            continue
        if kind != "RSA" or key.key.key_size >= LEAST_RSA:
            found.setdefault(str(one.get("kid", f"#{number}")), key)
    return found


def _groups(claims: Mapping[str, Any], name: str) -> list[str]:
    """What a claim holds: a list, or words. ``a.b`` is b within a, where no claim has that whole name."""
    found: Any = claims
    for part in [name] if name in claims else name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return found.split()
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _library() -> Any:
    try:
        import cryptography
        import jwt
    except ImportError as error:
        raise MissingExtra(
            "tokens of an issuer cannot be checked here",
            received=str(error),
            allowed="an environment with the extra jwt",
            next_step="pip install 'fullcircle[jwt]' where the server runs",
        ) from error
    del cryptography
    return jwt
