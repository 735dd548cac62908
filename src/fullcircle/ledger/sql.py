"""Lines in a SQL table, by SQLAlchemy Core: what SQLite and PostgreSQL have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fullcircle.errors import FullcircleError, MissingExtra, WorkspaceBusy
from fullcircle.ledger.store import Line

try:
    import sqlalchemy as sa
except ImportError as error:
    raise MissingExtra(
        "the ledger needs SQLAlchemy, which is not installed", next_step="pip install 'fullcircle[lab]'"
    ) from error

__all__ = ["TABLE", "SqlStore", "SqlWriting", "lines", "sa"]

TABLE = sa.Table(
    "fullcircle_facts",
    sa.MetaData(),
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False),
    *(sa.Column(name, sa.Text(), nullable=False) for name in ("time", "actor", "kind", "body", "previous", "hash")),
)


class SqlStore:
    """A store in one table. An engine's own class says how it locks, and what its errors mean."""

    def __init__(self, engine: sa.Engine, *, shown: str) -> None:
        self._engine = engine
        self._shown = shown

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return self._shown

    def read(self, after: int, limit: int) -> Sequence[Line]:
        """At most ``limit`` committed lines after ``after``."""
        with self._translated(), self._engine.connect() as connection:
            return lines(connection, after, limit)

    @contextmanager
    def writing(self) -> Iterator[SqlWriting]:
        """One transaction that no other writer can enter."""
        with self._translated():
            connection = self._engine.connect()
        with connection:
            with self._translated():
                transaction = self._begin(connection)
            try:
                yield SqlWriting(self, connection)
            except BaseException:
                with self._translated():
                    transaction.rollback()
                raise
            with self._translated():
                transaction.commit()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _begin(self, connection: sa.Connection) -> sa.Transaction:
        raise NotImplementedError

    def _meaning(self, error: BaseException | None) -> FullcircleError:
        raise NotImplementedError

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise self._meaning(error.orig) from error
        except sa.exc.TimeoutError as error:  # every connection of this process's pool was in use
            raise WorkspaceBusy(
                "too many threads use the ledger at once",
                received=self._shown,
                next_step="use fewer threads, then repeat",
            ) from error


class SqlWriting:
    """The place at the end, inside one transaction."""

    def __init__(self, store: SqlStore, connection: sa.Connection) -> None:
        self._store = store
        self._connection = connection

    def read(self, after: int, limit: int) -> Sequence[Line]:
        """At most ``limit`` lines after ``after``, those added here included."""
        with self._store._translated():
            return lines(self._connection, after, limit)

    def add(self, line: Line) -> None:
        """Add one line."""
        values = {name: getattr(line, name) for name in Line.__slots__}
        with self._store._translated():
            self._connection.execute(TABLE.insert().values(**values))


def lines(connection: sa.Connection, after: int, limit: int) -> list[Line]:
    """Read lines in order. A value of a foreign type (SQLite allows any) is shown as text, and so cannot verify."""
    query = sa.select(TABLE).where(TABLE.c.seq > after).order_by(TABLE.c.seq).limit(limit)
    found = []
    for seq, *rest in connection.execute(query):
        found.append(Line(int(seq), *(value if isinstance(value, str) else repr(value) for value in rest)))
    return found
