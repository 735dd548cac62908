"""Facts in a PostgreSQL table, so that a team shares them. One writer at a time by an advisory lock."""

from __future__ import annotations

from importlib import import_module

from fullcircle.errors import (
    FullcircleError,
    LedgerBroken,
    MissingExtra,
    SettingInvalid,
    WorkspaceBusy,
    WorkspaceUnusable,
)
from fullcircle.ledger import sql
from fullcircle.ledger.sql import sa

try:
    psycopg = import_module("psycopg")
except ImportError as error:
    raise MissingExtra(
        "a ledger in PostgreSQL needs psycopg, which is not installed", next_step="pip install 'fullcircle[postgres]'"
    ) from error

LOCK = 0x66_63_6C_65_64_67_65_72  # "fcledger": one writer per database


class PostgresStore(sql.SqlStore):
    """A store in the database of ``postgresql://user@host/name``. See ``fullcircle.ledger.store``."""

    def __init__(self, url: str, *, create: bool, timeout: float) -> None:
        self._timeout = timeout
        try:
            parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
        except (sa.exc.ArgumentError, ValueError) as error:
            raise SettingInvalid(
                "the ledger's URL cannot be read",
                allowed="postgresql://user:password@host:port/database",
                next_step="change the setting ledger (FULLCIRCLE_LEDGER)",
            ) from error
        engine = sa.create_engine(
            parsed,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            hide_parameters=True,
            connect_args={"connect_timeout": max(2, int(timeout))},
        )
        shown = parsed.set(drivername="postgresql").render_as_string(hide_password=True)
        super().__init__(engine, shown=shown)
        try:
            self._prepare(create=create)
        except BaseException:
            self.close()
            raise

    def _prepare(self, *, create: bool) -> None:
        with self._translated(), self._engine.connect() as connection:
            if sa.inspect(connection).has_table(sql.TABLE.name):
                return
            if not create:
                raise WorkspaceUnusable(
                    "there is no ledger in this database yet",
                    received=self.shown,
                    next_step="check the URL, or make one: fullcircle run PROJECT",
                )
            with self._begin(connection):
                sql.TABLE.create(connection, checkfirst=True)

    def _begin(self, connection: sa.Connection) -> sa.Transaction:
        connection.rollback()
        transaction = connection.begin()
        # a server may be set up to acknowledge before it wrote: not for facts
        connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, int(self._timeout * 1000))}")
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
        return transaction

    def _meaning(self, error: BaseException | None) -> FullcircleError:
        state = str(getattr(error, "sqlstate", None) or "")
        if state == "55P03" or isinstance(error, psycopg.IntegrityError):
            return WorkspaceBusy(
                f"another process kept the ledger locked for more than {self._timeout:g} seconds",
                received=self.shown,
                next_step="wait for the other command to end, then repeat",
            )
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        if state.startswith("XX"):
            return LedgerBroken(
                f"the database says that the ledger is damaged: {text}",
                received=self.shown,
                next_step="restore it from a backup, then: fullcircle audit",
            )
        return WorkspaceUnusable(
            f"the ledger's database cannot be used: {text}",
            received=self.shown,
            next_step="check that the server runs, the URL, the password and your rights",
        )
