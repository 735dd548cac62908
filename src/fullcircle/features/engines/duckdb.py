"""The offline engine on DuckDB: one ASOF join a statement over keys and times, spilling to disk."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from fullcircle.errors import EngineFailed, MissingExtra

_PREFIX = "fullcircle-spill-"
_FEW = 50  # with fewer labels than a fiftieth of the rows, it pays to look at their keys alone


class DuckDBEngine:
    """DuckDB in memory. Threads may share it: each call has a connection of its own."""

    def __init__(self) -> None:
        try:
            import duckdb
        except ImportError as error:
            raise MissingExtra(
                "joining features needs DuckDB, which is not installed", next_step="pip install 'fullcircle[lab]'"
            ) from error
        self._duckdb = duckdb
        self._lock = threading.Lock()
        self._root: tuple[int, Any] | None = None

    def positions(self, labels: Any, rows: Any, *, settled: bool = False, memory: str | None = None) -> Any:
        """The place of the row that answers each label, -1 for none: one ASOF join, after the running maxima."""
        import numpy as np

        answer = np.full(labels.num_rows, -1, dtype=np.int64)
        if not labels.num_rows or not rows.num_rows:
            return answer
        keys = [name for name in labels.column_names if name.startswith("k")]
        few = labels.num_rows * _FEW < rows.num_rows
        same = " and ".join(f"l.{key} = r.{key}" for key in keys)
        for found in self._ask(
            f"""with {_winners(keys, settled=settled, few=few)}
            select l.place as label, r.place as row from labels l asof join winners r on {same} and l.t >= r.v""",  # noqa: S608
            {
                "labels": labels.append_column("place", _places(labels.num_rows)),
                "rows": rows.append_column("place", _places(rows.num_rows)),
            },
            memory,
        ):
            answer[found.column("label").to_numpy()] = found.column("row").to_numpy()
        return answer

    def maxima(self, rows: Any, *, memory: str | None = None) -> Any:
        """Which rows can be an answer at all: one pass over the rows in order of visibility."""
        import numpy as np
        import pyarrow as pa

        kept = np.zeros(rows.num_rows, dtype=bool)
        if rows.num_rows:
            keys = [name for name in rows.column_names if name.startswith("k")]
            numbered = rows.append_column("place", pa.array(np.arange(rows.num_rows)))
            query = f"with {_winners(keys, settled=False, few=False)} select place as row from winners"  # noqa: S608
            for found in self._ask(query, {"rows": numbered}, memory):
                kept[found.column("row").to_numpy()] = True
        return kept

    def _ask(self, query: str, tables: Mapping[str, Any], memory: str | None) -> Iterator[Any]:
        """The answer some rows at a time: as a whole it would take as much memory as the question."""
        if memory is None:
            yield from self._run(self._shared().cursor(), query, tables)
            return
        with tempfile.TemporaryDirectory(prefix=_PREFIX) as spill:
            yield from self._run(self._open(spill, memory), query, tables)

    def _run(self, connection: Any, query: str, tables: Mapping[str, Any]) -> Iterator[Any]:
        try:
            for name, table in tables.items():
                connection.register(name, table)
            relation = connection.sql(query)
            read = relation.to_arrow_reader if hasattr(relation, "to_arrow_reader") else relation.fetch_arrow_reader
            yield from read(1_000_000)
        except self._duckdb.Error as error:
            raise _failed(error) from error
        finally:
            connection.close()

    def _shared(self) -> Any:
        """The database that calls share, each through a connection of its own. A forked child opens another."""
        with self._lock:
            if self._root is None or self._root[0] != os.getpid():
                # DuckDB makes the folder when it first has to spill.
                spill = os.path.join(tempfile.gettempdir(), _PREFIX + secrets.token_hex(8))
                self._root = os.getpid(), self._open(spill, None)
                weakref.finalize(self, _forget, os.getpid(), spill, self._root[1])
            return self._root[1]

    def _open(self, spill: str, memory: str | None) -> Any:
        connection = self._duckdb.connect()
        try:
            connection.execute("set enable_progress_bar = false")
            connection.execute("set preserve_insertion_order = false")
            connection.execute("set temp_directory = ?", [spill])
            if memory is not None:
                connection.execute("set memory_limit = ?", [memory])
        except self._duckdb.Error as error:
            connection.close()
            raise _failed(error) from error
        return connection


def _forget(process: int, spill: str, connection: Any) -> None:
    """Close the shared database and remove what it spilled, in the process that opened it."""
    if process == os.getpid():
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)


def _failed(error: Exception) -> EngineFailed:
    return EngineFailed(
        f"DuckDB could not join: {str(error).partition(chr(10))[0]}",
        next_step="give it more memory or disk; otherwise report it",
    )


def _places(count: int) -> Any:
    """The numbers of rows, in four bytes where they fit."""
    import numpy as np
    import pyarrow as pa

    return pa.array(np.arange(count, dtype=np.uint32 if count < 2**32 else np.int64))


def _winners(keys: list[str], *, settled: bool, few: bool) -> str:
    """The rows that can be an answer, as a table expression.

    Walking a key's rows by (v, e, a, s), one can answer from its v on exactly when its event is not older than any
    before it, and it is the last of its v. (Of two rows with one event time the later in this walk has the greater
    (a, s): where the v differ, the greater v is the greater a.)
    """
    names = ", ".join(keys)
    only = f"where ({names}) in (select ({names}) from labels)" if few else ""  # noqa: S608
    seen = f"select {names}, e, a, s, greatest(e, a) as v, place from rows {only}"  # noqa: S608
    if settled:
        return f"winners as ({seen})"
    return f"""seen as ({seen}), winners as (
        select {names}, v, place from seen
        window walk as (partition by {names} order by v, e, a, s)
        qualify v is distinct from lead(v) over walk and e >= max(e) over (walk rows unbounded preceding))"""  # noqa: S608
