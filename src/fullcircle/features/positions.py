"""What of each table is online, noted in the online store: layouts, how far, from when on answers are exact."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from fullcircle.errors import OnlineStoreUnavailable
from fullcircle.features.online import OnlineStore


@dataclass(frozen=True, kw_only=True)
class Position:
    """What of a table is online: its columns under which layout, up to which commit, and from when on it is exact.

    ``retain`` is the longest window that can be answered, in nanoseconds. ``head`` is the hash of commit ``number``:
    where the table has another one there, it is not the table that was published. ``begun`` is the layout of a
    rebuild that has not ended, 0 where there is none.
    """

    table: str
    layout: int = 0
    latest: tuple[tuple[str, str], ...] = ()
    events: tuple[tuple[str, str], ...] = ()
    windows: bool = False
    identified: bool = False
    retain: int = 0
    number: int = 0
    head: str = ""
    horizon: int = 1 - 2**63  # the beginning of time
    published: int = 0
    begun: int = 0


def position(online: OnlineStore, table: str) -> Position:
    """What of a table is online by now."""
    return _noted(online, f"table:{table}") or Position(table=table)


def position_of(online: OnlineStore, table: str, layout: int) -> Position | None:
    """What a layout of a table was, for entries that still have it."""
    return _noted(online, f"layout:{table}:{layout}")


def _noted(online: OnlineStore, name: str) -> Position | None:
    found = online.note(name)
    if found is None:
        return None
    try:
        return msgspec.json.decode(found, type=Position)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OnlineStoreUnavailable(
            "what the online store says of a table cannot be read",
            received=f"note {name}: {error}",
            next_step="publish the views again into a new online store: see the setting online",
        ) from error


def keep(online: OnlineStore, known: Position, *, layout: bool = False) -> None:
    """Write a position down, or with ``layout`` what its layout means, before any entry has it."""
    name = f"layout:{known.table}:{known.layout}" if layout else f"table:{known.table}"
    online.set_note(name, msgspec.json.encode(known))
