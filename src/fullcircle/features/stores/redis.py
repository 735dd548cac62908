"""An online store in Redis, so that a fleet of servers shares it.

A key is ``fullcircle:{space}:`` and the raw bytes. No name of a space holds a colon, so no two pairs of space and key
meet; the notes (one hash) and the format have names with one colon only, which no pair has.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from fullcircle.errors import MissingExtra, OnlineStoreUnavailable
from fullcircle.features.online import MOST, Merge, check_keys, check_space, check_values, refused

if TYPE_CHECKING:
    import redis

Answer = TypeVar("Answer")

NOTES = "fullcircle:notes"
FORMAT = "fullcircle:format"
VERSION = 1
TRIES = 100  # of an update, each with a short random pause, about 2 seconds in all
PAGE = 1000
# What a URL may set: no option that would change what values are, or how often a write is sent.
OPTIONS = re.compile(r"db|username|password|socket_timeout|socket_connect_timeout|ssl_\w+")

# Compare and set: the second half happens only where every value is still as it was when ``merge`` saw it. WATCH,
# MULTI and EXEC would do the same in one more round trip, but WATCH takes time quadratic in its keys (measured on
# Redis 7.0: 0.15 s for 5,000, 3.9 s for 20,000, while everybody waits), and the client library reports a connection
# that broke during EXEC as a conflict, after which nobody may just try again.
# ARGV: which keys were there (0 or 1 each), what to do (keep, set, drop: k, s, d each), old values, values to set.
SWAP = """
local was, now, at = ARGV[1], ARGV[2], #KEYS + 2
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if (value and 49 or 48) ~= was:byte(i) or (value or '') ~= ARGV[i + 2] then return 0 end
end
for i, key in ipairs(KEYS) do
  local what = now:byte(i)
  if what == 115 then
    at = at + 1
    redis.call('SET', key, ARGV[at])
  elseif what == 100 then
    redis.call('UNLINK', key)
  end
end
return 1
"""


class RedisOnlineStore:
    """A store in the database of ``redis://host:port/db``. See ``fullcircle.features.online`` for the contract.

    One server, or a primary with replicas, not a cluster; user and password may stand in the URL. How much survives
    the server's own death is the server's setting (appendonly), and it must not evict keys (maxmemory-policy
    noeviction), or features go missing without a word.
    """

    def __init__(self, url: str, *, create: bool = True) -> None:
        self._redis = _library()
        self._client, self._secret = _client(url)
        self._shown = _shown(self._client)
        self._prefixes: dict[str, bytes] = {}
        self._closed = False
        try:
            self._prepare(create=create)
        except BaseException:
            self.close()
            raise

    def read(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """See ``OnlineStore.read``: one MGET."""
        prefix = self._prefix(space)
        return self._get([prefix + key for key in keys])

    def update(self, space: str, keys: Sequence[bytes], merge: Merge) -> None:
        """See ``OnlineStore.update``: look, merge, compare and set; again where somebody else was faster."""
        keys = check_keys(keys)
        prefix = self._prefix(space)
        names = [prefix + key for key in keys]
        for turn in range(TRIES if keys else 0):
            present = self._get(names)
            values = check_values(keys, merge(list(present)))
            swap = [*names, *_arguments(present, values)]
            if self._ask(lambda client, swap=swap: client.eval(SWAP, len(names), *swap)):
                return
            time.sleep(random.uniform(0, min(0.001 * (turn + 1), 0.05)))  # noqa: S311 - a pause, no secret
        if keys:
            raise self._error(
                f"other writers changed the same keys during each of {TRIES} tries",
                "repeat, with fewer keys at a time",
            )

    def scan(self, space: str) -> Iterator[tuple[bytes, bytes]]:
        """See ``OnlineStore.scan``: by SCAN, whose time grows with the whole database."""
        prefix = self._prefix(space)
        for names in self._pages(prefix):
            for name, value in zip(names, self._get(names), strict=True):
                if value is not None:
                    yield name[len(prefix) :], value

    def clear(self, space: str) -> None:
        """See ``OnlineStore.clear``."""
        for names in self._pages(self._prefix(space)):
            self._ask(lambda client, names=names: client.unlink(*names))

    def note(self, name: str) -> bytes | None:
        """See ``OnlineStore.note``."""
        found: bytes | None = self._ask(lambda client: client.hget(NOTES, name))
        return found

    def set_note(self, name: str, value: bytes) -> None:
        """See ``OnlineStore.set_note``."""
        self._ask(lambda client: client.hset(NOTES, name, value))

    def sizes(self) -> dict[str, tuple[int, int]]:
        """See ``OnlineStore.sizes``. A key that changes its place meanwhile may count twice."""
        found: dict[str, tuple[int, int]] = {}
        for names in self._pages(b"fullcircle:"):
            pairs = [name.split(b":", 2) for name in names]
            lengths = self._lengths(names)
            for pair, length in zip(pairs, lengths, strict=True):
                if len(pair) == 3 and length is not None:
                    space = pair[1].decode(errors="replace")
                    count, size = found.get(space, (0, 0))
                    found[space] = count + 1, size + len(pair[2]) + length
        return found

    def close(self) -> None:
        """See ``OnlineStore.close``."""
        self._closed = True
        self._client.close()
        self._client.connection_pool.disconnect()

    def _prepare(self, *, create: bool) -> None:
        if create:
            self._ask(lambda client: client.set(FORMAT, VERSION, nx=True))
        found: bytes | None = self._ask(lambda client: client.get(FORMAT))
        if found is None:
            raise self._error("nothing was published in this online store yet", "check the URL, or publish a view")
        if not found.isdigit() or int(found) > VERSION:
            raise self._error(
                f"the online store was written by a newer fullcircle (format {found.decode(errors='replace')})",
                "install that version here, or use another database",
            )

    def _prefix(self, space: str) -> bytes:
        prefix = self._prefixes.get(space)
        if prefix is None:
            prefix = self._prefixes[space] = b"fullcircle:%s:" % check_space(space).encode()
        return prefix

    def _get(self, names: list[bytes]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for start in range(0, len(names), MOST):
            found += self._ask(lambda client, part=names[start : start + MOST]: client.mget(part))
        return found

    def _pages(self, prefix: bytes) -> Iterator[list[bytes]]:
        pattern = re.sub(rb"([*?\[\]\\])", rb"\\\1", prefix) + b"*"
        cursor = 0
        while True:
            cursor, names = self._ask(lambda client, at=cursor: client.scan(at, match=pattern, count=PAGE))
            if names:
                yield names
            if cursor == 0:
                return

    def _lengths(self, names: list[bytes]) -> list[int | None]:
        def ask(client: redis.Redis) -> list[Any]:
            with client.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.strlen(name)
                return pipeline.execute(raise_on_error=False)

        # a key of another type (our own hash of notes, or somebody's) answers with an error
        return [length if isinstance(length, int) else None for length in self._ask(ask)]

    def _ask(self, call: Callable[..., Answer]) -> Any:
        """Call the server once. Not again: whether a write happened whose answer was lost, nobody knows."""
        if self._closed:
            raise self._error("the online store is closed", "open it again")
        try:
            return call(self._client)
        except (self._redis.RedisError, OSError, UnicodeError) as error:
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            hidden = any(secret in str(error) for secret in self._secret)
            raise self._error(
                f"the online store cannot be used: {'the server refused' if hidden else text}",
                "check that the server runs, the URL, the password and your rights",
            ) from (None if hidden else error)

    def _error(self, what: str, next_step: str) -> OnlineStoreUnavailable:
        return OnlineStoreUnavailable(what, received=self._shown, next_step=next_step)


def _library() -> Any:
    try:
        return import_module("redis")
    except ImportError as error:
        raise MissingExtra(
            "an online store in Redis needs the library redis, which is not installed",
            next_step="pip install 'fullcircle[redis]'",
        ) from error


def _client(url: str) -> tuple[redis.Redis, list[str]]:
    """A client that tries once, with limits of time, and the secrets that no error may show."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        parts = urlsplit(url)
        if parts.scheme != "unix":
            int(parts.path.lstrip("/") or "0")  # the library would take the first database for a name
        unknown = [name for name in parse_qs(parts.query) if not OPTIONS.fullmatch(name)]
        pool = redis.ConnectionPool.from_url(
            url, socket_connect_timeout=2.0, socket_timeout=5.0, protocol=2, retry=Retry(NoBackoff(), 0)
        )
    except ValueError:
        raise refused("the online store's URL cannot be read") from None
    if unknown:
        raise refused(f"the online store's URL has an option that is not allowed: {', '.join(unknown)}")
    secret = pool.connection_kwargs.get("password")
    return redis.Redis(connection_pool=pool), [str(secret)] if secret else []


def _shown(client: redis.Redis) -> str:
    kwargs = client.connection_pool.connection_kwargs
    database = kwargs.get("db") or 0
    if "path" in kwargs:
        return f"unix://{kwargs['path']}?db={database}"
    return f"redis://{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}/{database}"


def _arguments(present: list[bytes | None], values: list[bytes | None]) -> Iterator[bytes]:
    """The arguments of ``SWAP`` after its keys."""
    pairs = list(zip(present, values, strict=True))
    yield bytes(48 if old is None else 49 for old in present)
    yield b"".join(b"k" if new == old else b"d" if new is None else b"s" for old, new in pairs)
    yield from (old or b"" for old in present)
    yield from (new for old, new in pairs if new is not None and new != old)
