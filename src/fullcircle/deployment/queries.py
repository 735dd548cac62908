"""The rows of a database query as a source: streamed, and as values that any process can read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from fullcircle.deployment.sources import Stretch
from fullcircle.errors import TableUnreadable


class Query:
    """The rows of a SELECT statement, streamed from the database: a server-side cursor where there is one.

    The order of rows is the database's: what was scored is compared before a run is resumed.
    """

    steady = False

    def __init__(self, query: str, database: str) -> None:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            self._url = make_url(database)
        except ArgumentError as error:
            raise TableUnreadable(
                "this is not the URL of a database",
                allowed="sqlite:///FILE, postgresql://USER@HOST/NAME",
                next_step="give one with --database",
            ) from error
        self._query = query
        self.identity = {"query": query, "database": self._url.render_as_string(hide_password=True)}

    def names(self) -> list[str]:
        """See Source."""
        for names, _ in self._pages(1):
            return names
        return []

    def stretches(self, rows: int) -> Iterator[Stretch]:
        """See Source."""
        first = 0
        for names, page in self._pages(rows):
            if page:
                data = msgspec.msgpack.encode((names, page))
                yield Stretch(first, len(page), "rows", data)
            first += len(page)

    def _pages(self, rows: int) -> Iterator[tuple[list[str], list[list[Any]]]]:
        """The names and a page of rows, at least one page."""
        from sqlalchemy import create_engine, text
        from sqlalchemy.exc import SQLAlchemyError
        from sqlalchemy.pool import NullPool

        try:
            url = (
                self._url.set(drivername="postgresql+psycopg") if self._url.drivername == "postgresql" else self._url
            )
            engine = create_engine(url, poolclass=NullPool)
            with engine.connect() as connection:
                options = {"stream_results": True, "max_row_buffer": rows}
                result = connection.execution_options(**options).execute(text(self._query))
                names = list(result.keys())
                if len(set(names)) != len(names):
                    raise TableUnreadable(
                        "the query gives two columns the same name",
                        received=", ".join(names),
                        next_step="name them apart: SELECT a.x AS x, b.x AS other",
                    )
                some = False
                while page := result.fetchmany(rows):
                    some = True
                    yield names, [[_plain(value) for value in row] for row in page]
                if not some:
                    yield names, []
        except (SQLAlchemyError, ImportError) as error:
            raise TableUnreadable(
                f"the query cannot be run: {str(getattr(error, 'orig', None) or error).splitlines()[0]}",
                received=self._query[:200],
                allowed="a SELECT statement, and a database whose driver is installed",
                next_step="try it in the database's own client",
            ) from error


_KEPT = frozenset((int, float, str, bool, type(None)))


def _plain(value: Any) -> Any:
    """What a database gives, as values that any process can read. Decimals are floats, as everywhere."""
    if type(value) in _KEPT:
        return str(value) if type(value) is int and not -(2**63) <= value < 2**63 else value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if hasattr(value, "as_integer_ratio") or hasattr(value, "as_tuple"):
        return float(value)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
