"""What a store of facts must do. The built-in ones are for SQLite and PostgreSQL.

A store keeps lines in order and gives one writer at a time a place at the end. It knows nothing of what a fact
means: hashing, checking and folding are the ledger's. ``fullcircle.testing.stores.StoreSuite`` tests a store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, cast

from fullcircle import registry
from fullcircle.errors import MissingExtra, PluginBroken, PluginUnknown, SettingInvalid

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Line:
    """One fact exactly as stored. ``body`` is the canonical JSON text, so that any changed byte shows."""

    seq: int
    time: str
    actor: str
    kind: str
    body: str
    previous: str
    hash: str


def canonical(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys, no spaces, non-ASCII escaped. Raises ValueError for NaN and infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def line_hash(line: Line, seq: int | None = None) -> str:
    """The hash a line must carry: SHA-256 over ``previous`` and the canonical JSON of the rest.

    ``seq`` asks for the hash the line would have at another place.
    """
    head = canonical({"actor": line.actor})[:-1]
    tail = canonical({"kind": line.kind, "seq": line.seq if seq is None else seq, "time": line.time})[1:]
    return hashlib.sha256(
        f'{line.previous}{head},"body":{line.body},{tail}'.encode(errors="surrogatepass")
    ).hexdigest()


class Writing(Protocol):
    """The one place at the end, held within ``Store.writing``."""

    def read(self, after: int, limit: int) -> Sequence[Line]:
        """As ``Store.read``, inside the write transaction."""

    def add(self, line: Line) -> None:
        """Add one line. It becomes visible, whole, when the transaction ends well."""


class Store(Protocol):
    """A durable, ordered list of lines that many processes share.

    Threads: every method may be called from several threads at once. Processes: any number may open the same
    place; an open store must not be carried across a fork. Ownership: whoever opened a store closes it; a closed
    store is not used again. Durability: when ``writing`` has ended without an exception, its lines survive the
    death of the process and of the machine. Errors: WorkspaceBusy where another writer held the place longer
    than ``timeout`` seconds, WorkspaceUnusable where the place cannot be reached, read or written, LedgerBroken
    where what lies there is damaged. No other exception leaves a store.
    """

    @property
    def shown(self) -> str:
        """The place as it may be shown to a person: without a password."""

    def read(self, after: int, limit: int) -> Sequence[Line]:
        """At most ``limit`` lines with seq greater than ``after``, in order of seq. Only committed lines."""

    def writing(self) -> AbstractContextManager[Writing]:
        """Hold the place at the end, alone among all processes. An exception inside takes everything back."""

    def close(self) -> None:
        """Let go of files and connections. Closing twice is fine."""


class StoreFactory(Protocol):
    """What the entry point names: a callable that opens a store by URL.

    ``create`` makes the place where it does not exist yet; several processes may do so at the same moment.
    Without it nothing is written by opening, and a place that may only be read is opened for reading.
    """

    def __call__(self, url: str, *, create: bool, timeout: float) -> Store:
        """Open the store at ``url``."""


def open_store(url: str, *, create: bool, timeout: float = 30.0) -> Store:
    """Open the store that is registered for the scheme of ``url`` (``sqlite:///...``, ``postgresql://...``).

    Raises SettingInvalid where ``url`` is no URL, PluginUnknown where nobody knows its scheme, MissingExtra where
    a library is missing.
    """
    scheme, separator, _ = url.partition(":")
    if not separator or not scheme:
        raise SettingInvalid(
            "the ledger's place is not a database URL",
            received=repr(url),
            allowed="sqlite:///path or postgresql://user@host/database",
            next_step="change the setting ledger (FULLCIRCLE_LEDGER)",
        )
    known = [name for name in registry.names("stores") if "." not in name]  # with a point they are no ledger's
    if scheme.partition("+")[0] not in known:
        raise PluginUnknown(
            "no store is registered for the ledger's scheme",
            received=repr(scheme),
            allowed=", ".join(known),
            next_step="check the setting ledger (FULLCIRCLE_LEDGER), or install the package that brings the store",
        )
    try:
        factory = cast("StoreFactory", registry.find("stores", scheme.partition("+")[0]))
    except PluginBroken as error:
        if isinstance(error.__cause__, MissingExtra):
            raise error.__cause__ from error
        raise
    return factory(url, create=create, timeout=timeout)
