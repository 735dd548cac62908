"""Databases: reached, let in, asked something that changes nothing, and asked for their version."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from fullcircle.deployment.needs.net import reach, unreached
from fullcircle.deployment.needs.outcome import Met, Unmet
from fullcircle.deployment.needs.places import address, parts, shown, without
from fullcircle.types.needs import Need

PORTS = {
    "mysql": 3306, "mariadb": 3306, "mssql": 1433, "oracle": 1521, "clickhouse": 8123, "redis": 6379,
    "rediss": 6379, "mongodb": 27017, "trino": 8080, "hive": 10000, "db2": 50000,
}  # fmt: skip
"""Where databases listen that are only looked for, and not asked."""
_POSTGRES = 5432
_INSTALL = 'package again: the lock then has psycopg[binary]; elsewhere: pip install "psycopg[binary]"'


def look(need: Need, seconds: float) -> Met:
    """Whether the database lets us in and answers. Raises Unmet."""
    return asked(address(need), seconds)


def asked(url: str, seconds: float) -> Met:
    """The same for an address. "postgresql+driver://" is PostgreSQL, whatever driver the model uses."""
    scheme = url.partition("://")[0].partition("+")[0].lower()
    if "://" not in url:
        raise Unmet(
            "this is no address of a database",
            allowed="such as postgresql://host/name or sqlite:///file.db",
            next_step="correct the address of the need",
        )
    if scheme == "sqlite":
        return _sqlite(url)
    if scheme in ("postgresql", "postgres"):
        return _postgres("postgresql://" + url.partition("://")[2], seconds)
    return _listening(scheme, url, seconds)


def _listening(scheme: str, url: str, seconds: float) -> Met:
    found = parts(url)
    port = found.port or PORTS.get(scheme)
    if not found.hostname or port is None:
        return Met(
            what=f"{shown(url)} was not looked for",
            warning=f"nobody here knows where {scheme} listens",
            next_step="write the port: scheme://host:port/name",
        )
    reach(found.hostname, port, seconds)
    return Met(
        what=f"something listens at {found.hostname}:{port}; user, password and version were not checked: "
        f"{scheme} is only reached"
    )


def _postgres(url: str, seconds: float) -> Met:
    try:
        import psycopg
    except ImportError:
        found = parts(url)
        host, port = found.hostname or "localhost", found.port or _POSTGRES
        reach(host, port, seconds)
        return Met(
            what=f"something listens at {host}:{port}",
            warning="user, password and version were not checked: psycopg is not in this environment",
            next_step=_INSTALL,
        )
    try:
        with psycopg.connect(
            url, connect_timeout=max(2, math.ceil(seconds)), autocommit=True, application_name="fullcircle"
        ) as connection:
            connection.read_only = True
            connection.execute("select 1")
            number = connection.info.server_version
    except psycopg.Error as error:
        raise _refused(error, url, seconds) from error
    version = f"{number // 10000}.{number % 10000}"  # libpq, PQserverVersion
    return Met(what=f"{shown(url)} lets us in and answers", version=version)


def _refused(error: Any, url: str, seconds: float) -> Unmet:
    """The words for what the driver says; its own where nobody here knows them, without user and password."""
    said, where = str(error).lower(), shown(url)
    if "password" in said or "role" in said or "authentication" in said or "pg_hba" in said:
        return Unmet(
            "the database refuses who asks",
            received=where,
            next_step='correct user and password in the variable of at="env:NAME", or let them in on the server',
        )
    if "database" in said and "does not exist" in said:
        return Unmet("the server has no database of this name", received=where, next_step="create it, or correct it")
    if "refused" in said:
        return unreached(ConnectionRefusedError(), where, seconds)
    if "timeout" in said or "timed out" in said:
        return unreached(TimeoutError(), where, seconds)
    return Unmet(
        f"the database cannot be used: {without(str(error), url)}",
        received=where,
        next_step="see the log of the database server",
    )


def _sqlite(url: str) -> Met:
    path = Path(unquote(url.partition("://")[2].removeprefix("/").partition("?")[0]))
    where = shown(url)
    if path.name in ("", ":memory:"):
        raise Unmet("the address names no file", allowed="sqlite:///file.db", next_step="correct the address")
    if not path.is_file():
        raise Unmet(
            "there is no such database file",
            received=str(path.absolute()),
            next_step="put it there, or correct the address: sqlite:///relative.db, sqlite:////absolute.db",
        )
    try:
        # Nobody but the reader needs to know the file: opened so, it is never made and never written to.
        with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, timeout=1)) as opened:
            opened.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.Error as error:
        name = str(getattr(error, "sqlite_errorname", ""))
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            raise Unmet(f"the file is no sound database: {error}", received=where, next_step="restore it") from error
        raise Unmet(
            f"the database cannot be read: {error}",
            received=where,
            next_step="give the server's user the right to read the file and its folder",
        ) from error
    return Met(what=f"{where} can be read", version=sqlite3.sqlite_version)
