"""What an online store must do. The built-in ones are for SQLite (embedded) and Redis (a fleet of servers).

A store keeps bytes under bytes, in spaces, and changes some of them at a time by a function of what is there. It
knows nothing of features: what keys and values mean is the publisher's and the reader's. Everything in it can be
made again from the feature tables, so a store that is lost costs time and no data.
``fullcircle.testing.online.OnlineStoreSuite`` tests a store.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, cast

from fullcircle import registry
from fullcircle.errors import FeatureInvalid, MissingExtra, PluginBroken, PluginUnknown, SettingInvalid

Merge = Callable[[list[bytes | None]], list[bytes | None]]

MOST = 100_000  # keys of one update: it is held in memory, and keeps other writers waiting
URLS = "sqlite:///path/online.db, redis://host:port/db, rediss://host:port/db or unix:///path/redis.sock?db=0"
NEXT_STEP = "change the setting online (FULLCIRCLE_ONLINE)"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9.-]*)(?:\+[A-Za-z0-9.-]+)?://")
_NAMES = {"rediss": "redis", "unix": "redis"}


class OnlineStore(Protocol):
    """Bytes by key, in spaces, that many processes share: one publishes, many read.

    Threads: every method may be called from several threads at once, and a reader never waits for a writer.
    Processes: any number may open the same place. A child made by ``fork`` may use the store of its parent: the
    store sees to it that the two share no connection. Ownership: whoever opened a store closes it; a closed store
    is not used again. Durability: when ``update``, ``clear`` or ``set_note`` has returned, what it wrote survives
    the death of this process (kill -9 included), and is seen by every read that begins afterwards, in any process.
    The death of the machine it survives as far as the engine is set up to: SQLite does, Redis by its own settings.
    Writes survive in order: none is lost while a later one of the same process is kept.

    Keys and values are any bytes, the empty ones included; a value may be as large as a megabyte. A space is named
    by a text without ``:`` and exists as soon as it holds a key.

    Errors: OnlineStoreUnavailable where the place cannot be reached, read or written, is damaged, of a newer format
    or busy for too long; FeatureInvalid where a call cannot work. No other exception leaves a store, but what
    ``merge`` raised. A write that ended in OnlineStoreUnavailable has happened whole or not at all; where a
    connection broke in the middle, nobody knows which.
    """

    def read(self, space: str, keys: Sequence[bytes]) -> list[bytes | None]:
        """The values in the order of ``keys``, None for a key that is not there. A key may be asked for twice.

        One round trip, and the values are of one moment: never half of an update. (Beyond ``MOST`` keys an engine
        that limits its requests may look several times.)
        """

    def update(self, space: str, keys: Sequence[bytes], merge: Merge) -> None:
        """Change these different keys, at most ``MOST``, all or none, by ``merge``.

        ``merge`` is given the present values in the order of ``keys`` and returns the new ones, None for a key that
        is to go. No other write to these keys falls between the look and the change. To see to that a store may
        call ``merge`` several times, so it must be pure, and must not use the store. If it raises, nothing
        changes and its exception comes out. Without keys, nothing is done.
        """

    def scan(self, space: str) -> Iterator[tuple[bytes, bytes]]:
        """All pairs of a space in any order, however many there are. Nobody is kept waiting meanwhile.

        What is there all the time comes. What is written meanwhile may come or not, and a key may come twice.
        """

    def clear(self, space: str) -> None:
        """Remove everything that is in a space when this begins. Readers may see it half done."""

    def note(self, name: str) -> bytes | None:
        """A small note by name, apart from all spaces; None where there is none."""

    def set_note(self, name: str, value: bytes) -> None:
        """Write a note, whole, over the one before."""

    def sizes(self) -> dict[str, tuple[int, int]]:
        """For each space that holds a key: how many keys, and the bytes of keys and values. Looks at everything."""

    def close(self) -> None:
        """Let go of files and connections. Closing twice is fine."""


class OnlineStoreFactory(Protocol):
    """What the entry point ``online.NAME`` of the group ``fullcircle.stores`` names.

    ``create`` makes the place where it does not exist yet; several processes may do so at the same moment. Without
    it nothing is written by opening, and a place where nothing was published is OnlineStoreUnavailable.
    """

    def __call__(self, url: str, *, create: bool = True) -> OnlineStore:
        """Open the store at ``url``."""


def open_online(url: str, *, create: bool = True) -> OnlineStore:
    """Open the online store that is registered for the scheme of ``url`` (see ``URLS``).

    Raises SettingInvalid where ``url`` is no URL, PluginUnknown where nobody knows its scheme, MissingExtra where a
    library is missing. No error shows a password of the URL.
    """
    found = _SCHEME.match(url)
    if found is None:
        raise refused("the online store's place is not a URL", f"a text of {len(url)} characters without a scheme")
    scheme = found[1].lower()
    name = _NAMES.get(scheme, scheme)
    known = [each.removeprefix("online.") for each in registry.names("stores") if each.startswith("online.")]
    if name not in known:
        raise PluginUnknown(
            "no online store is registered for this scheme",
            received=repr(scheme),
            allowed=", ".join(known),
            next_step=NEXT_STEP,
        )
    try:
        factory = cast("OnlineStoreFactory", registry.find("stores", f"online.{name}"))
    except PluginBroken as error:
        if isinstance(error.__cause__, MissingExtra):
            raise error.__cause__ from error
        raise
    return factory(url, create=create)


# --- what every implementation has to say in the same way ---------------------------------------------


def refused(what: str, received: str | None = None) -> SettingInvalid:
    """The error for a URL that cannot be used. ``received`` must show no password."""
    return SettingInvalid(what, received=received, allowed=URLS, next_step=NEXT_STEP)


def check_space(space: str) -> str:
    """A usable name of a space. Raises FeatureInvalid for others."""
    if not isinstance(space, str) or not 0 < len(space) <= 200 or ":" in space or not space.isprintable():
        raise FeatureInvalid(
            "a space of the online store cannot have this name",
            received=repr(space),
            allowed="1 to 200 printable characters without ':'",
            next_step="choose another name",
        )
    return space


def check_keys(keys: Sequence[bytes]) -> list[bytes]:
    """The keys of an update: bytes, different, at most ``MOST``. Raises FeatureInvalid for others."""
    listed = list(keys)
    if not {type(key) for key in listed} <= {bytes}:
        received, allowed = "a key that is no bytes", "bytes"
    elif len(set(listed)) != len(listed):
        received, allowed = f"{len(listed)} keys, {len(set(listed))} of them different", "each key once"
    elif len(listed) > MOST:
        received, allowed = f"{len(listed)} keys", f"at most {MOST}"
    else:
        return listed
    raise FeatureInvalid(
        "an update of the online store names keys that cannot be changed together",
        received=received,
        allowed=allowed,
        next_step="merge rows of one key first, and split large updates",
    )


def check_values(keys: Sequence[bytes], values: list[bytes | None]) -> list[bytes | None]:
    """What ``merge`` returned: a value or None for each key. Raises FeatureInvalid for others."""
    if len(values) != len(keys) or not {type(value) for value in values} <= {bytes, type(None)}:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise FeatureInvalid(
            "the merge of an update returned what cannot be stored",
            received=f"{len(values)} values for {len(keys)} keys, of the types {kinds or 'none'}",
            allowed="bytes or None for each key, in order",
            next_step="mend the function given to update",
        )
    return values
