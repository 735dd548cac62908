"""Outcomes: labels that came later, from a file or a query, joined to their predictions all or none."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from fullcircle.deployment import sources
from fullcircle.deployment.queries import Query
from fullcircle.errors import DataUnfit, PredictionNotFound, RequestInvalid, TableUnreadable
from fullcircle.flows import log, versions
from fullcircle.flows.session import Session, model_name, opened
from fullcircle.runtimes.values import is_quantity
from fullcircle.settings import Settings
from fullcircle.tables import waiting
from fullcircle.tables.lines import moment, now
from fullcircle.tables.outcomes import append_outcomes, latest, same
from fullcircle.tables.predictions import find, known, read, read_outcomes
from fullcircle.types.contract import Contract, Value
from fullcircle.types.durations import duration
from fullcircle.types.prediction import Outcome
from fullcircle.types.progress import Progress

STDIN = "-"
_ROWS = 20_000
_TOLD = 5


@dataclass(frozen=True, kw_only=True)
class Received:
    """What became of the rows of a file.

    ``new`` labels of predictions that had none, ``corrections`` of such that had another, ``repeated`` the same
    again; ``waiting`` wait for their prediction, ``unlabelled`` rows had no label. ``notes`` say what was converted.
    """

    model: str
    rows: int
    new: int
    corrections: int
    repeated: int
    waiting: int
    unlabelled: int
    notes: tuple[str, ...] = ()


def outcomes(
    project: str | Path,
    table: str | Path | IO[bytes] | None = None,
    *,
    query: str | None = None,
    database: str | None = None,
    label: str = "label",
    id: str = "",
    key: Sequence[str] = (),
    at: str = "",
    within: str = "",
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Received:
    """Take the labels of a CSV, Parquet or JSON-lines file, of an open one, or of a query: all of them, or none.

    ``label`` names the column of labels. Each row says which prediction it is about by ``id``, or by the columns
    ``key`` and the time in ``at``: the latest answered prediction at or before it with these values, not older than
    ``within``. Raises DataUnfit, with row numbers, for labels that the model cannot have; nothing is written then.
    """
    _check(id, key, at, within)
    with opened(settings, progress, create=False) as session, _source(table, query, database) as source:
        model = model_name(session, project)
        contract = versions.bundle(session, model, versions.champion(session, model)).contract
        log.settle_or_note(session, log.SECONDS)
        secret = log.key_of(session) if any(column.hashed for column in contract.columns) else b""
        read_in = _Reader(contract, label=label, id=id, key=tuple(key), at=at, within=within, secret=secret)
        found = read_in.all(source)
        return _kept(session, model, found, read_in)


def settle_in(session: Session, model: str) -> int:
    """Join what waits for its prediction and can be joined by now. Returns how many outcomes found it.

    One pass over the log from the oldest prediction that may be meant; none where nothing waits by key.
    """
    folder = session.workspace.predictions
    there = waiting.read_waiting(folder, model)
    if not there:
        return 0
    joined = {each.place: found for each in there if (found := _by_id(folder, model, each.outcome)) is not None}
    if any(each.outcome.key for each in there):
        rows = read(folder, model, since=waiting.oldest_needed(there))
        joined |= waiting.join(rows, there, until=now())
    return waiting.settle(folder, model, joined, there)


def _by_id(folder: Path, model: str, outcome: Outcome) -> str | None:
    """The id of an outcome that names one, "" where its row was erased, None where it is not known."""
    identity = outcome.prediction_id
    if not identity:
        return None
    if known(folder, model, identity):
        return identity
    try:
        return "" if find(folder, identity).erased else None
    except PredictionNotFound:
        return None


def _kept(session: Session, model: str, found: Sequence[Outcome], reader: _Reader) -> Received:
    folder = session.workspace.predictions
    settle_in(session, model)
    before = read_outcomes(folder, model)
    time = now()
    there = [
        waiting.Waiting(place, b"", Outcome(**{**_fields(each), "time": time})) for place, each in enumerate(found)
    ]
    joined = {
        each.place: each.outcome.prediction_id
        for each in there
        if each.outcome.prediction_id and known(folder, model, each.outcome.prediction_id)
    }
    if any(each.outcome.key for each in there):
        joined |= waiting.join(read(folder, model, since=waiting.oldest_needed(there)), there, until=now())
    named = [
        Outcome(prediction_id=joined[each.place], value=each.outcome.value) for each in there if each.place in joined
    ]
    last = latest(named)
    counted: Counter[str] = Counter()
    fresh = []
    for identity, each in last.items():
        old = before.get(identity)
        kind = "new" if old is None else "repeated" if same(old.value, each.value) else "corrections"
        counted[kind] += 1
        if kind != "repeated":
            fresh.append(each)
    counted["repeated"] += len(named) - len(last)
    wait = [each.outcome for each in there if each.place not in joined]
    waiting.append_waiting(folder, model, wait)
    append_outcomes(folder, model, fresh)
    return Received(
        model=model,
        rows=reader.rows,
        new=counted["new"],
        corrections=counted["corrections"],
        repeated=counted["repeated"],
        waiting=len(wait),
        unlabelled=reader.unlabelled,
        notes=reader.notes(),
    )


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in ("value", "prediction_id", "key", "at", "within")}


class _Reader:
    """Turns rows into outcomes, and remembers which could not be."""

    def __init__(
        self, contract: Contract, *, label: str, id: str, key: tuple[str, ...], at: str, within: str, secret: bytes
    ) -> None:
        self._contract, self._label, self._id, self._key, self._at = contract, label, id, key, at
        self._within, self._secret = within, secret
        self.rows = self.unlabelled = 0
        self._converted: Counter[str] = Counter()
        self._wrong: list[str] = []

    def all(self, source: sources.Source) -> list[Outcome]:
        """All rows with a label. Raises DataUnfit where one cannot be taken."""
        found = []
        wanted = [name for name in (self._label, self._id, self._at, *self._key) if name]
        for row in _rows(source):
            self.rows += 1
            if self.rows == 1 and (absent := [name for name in wanted if name not in row]):
                raise DataUnfit(
                    "columns that were named are not there",
                    received=", ".join(absent),
                    allowed=", ".join(map(str, row))[:500],
                    next_step="name the columns with --label, --id, --key and --at",
                )
            outcome = self._one(row)
            if outcome is not None:
                found.append(outcome)
        if self._wrong:
            raise DataUnfit(
                "some rows cannot be taken, so none was",
                received="; ".join(self._wrong[:_TOLD])
                + (f"; {len(self._wrong)} in all" if self._wrong[_TOLD:] else ""),
                allowed=_allowed(self._contract),
                next_step="mend these rows and give the whole file again: what was taken before changes nothing",
            )
        return found

    def notes(self) -> tuple[str, ...]:
        """What was converted."""
        return tuple(f"{count} labels were {what}" for what, count in sorted(self._converted.items()))

    def _one(self, row: Mapping[str, Any]) -> Outcome | None:
        given = _plain(row.get(self._label))
        if given is None or given == "":
            self.unlabelled += 1
            return None
        value, how = as_label(given, self._contract)
        if value is None:
            self._wrong.append(f"row {self.rows}: {how}")
            return None
        if how:
            self._converted[how] += 1
        if self._id:
            identity = _plain(row.get(self._id))
            if not identity:
                self._wrong.append(f"row {self.rows}: no id")
            return Outcome(value=value, prediction_id=str(identity or ""))
        key = {name: None if (cell := _plain(row.get(name))) == "" else cell for name in self._key}
        try:
            made = Outcome(value=value, key=key, at=moment(str(_plain(row.get(self._at)))), within=self._within)
            found, why = waiting.as_logged(made, self._contract, self._secret)
        except RequestInvalid:
            found, why = None, "the time cannot be read"
        if why:
            self._wrong.append(f"row {self.rows}: {why}")
        return found


def as_label(given: Any, contract: Contract) -> tuple[Value, str]:
    """A label as the model's answers are: the value, and how it was converted ("" as it was); None, and why not.

    Converted is only what can mean one thing: a text that spells one number or one class, 1.0 for the class 1.
    """
    text = isinstance(given, str)
    if contract.task == "regression":
        if text:
            try:
                number = float(given)
            except ValueError:
                return None, "the label is no number"
            return (number, "read from text") if is_quantity(number) else (None, "the label is not finite")
        return (given, "") if is_quantity(given) else (None, "the label is not a finite number")
    for each in contract.classes:
        if type(each) is type(given) and each == given:
            return each, ""
    if text:
        spelled = [each for each in contract.classes if given.strip() in _spellings(each)]
        how = "read from text"
    else:
        spelled = [each for each in contract.classes if each == given or str(given) == each]
        how = f"of type {type(given).__name__}, taken for the equal class"
    if len(spelled) != 1:
        return None, "the label is none of the model's classes"
    return spelled[0], how


def _spellings(label: Value) -> set[str]:
    if isinstance(label, bool):
        return {str(label), str(label).lower()}
    if isinstance(label, int):
        return {str(label), f"{label}.0"}
    if isinstance(label, float) and label.is_integer():
        return {str(label), str(int(label))}
    return {str(label)}


def _allowed(contract: Contract) -> str:
    if contract.task == "regression":
        return "finite numbers"
    return ", ".join(repr(label) for label in contract.classes[:20])


def _check(id: str, key: Sequence[str], at: str, within: str) -> None:
    if bool(id) == bool(key) or bool(key) != bool(at):
        raise DataUnfit(
            "it is not clear which prediction a row is about",
            received=", ".join(name for name, said in (("id", id), ("key", key), ("at", at)) if said) or "nothing",
            allowed="the column of prediction ids, or the columns of the key and the column of the time",
            next_step="say --id COLUMN, or --key COLUMN --at COLUMN",
        )
    if within:
        duration(within)


@contextmanager
def _source(
    table: str | Path | IO[bytes] | None, query: str | None, database: str | None
) -> Iterator[sources.Source]:
    if query is not None and database is not None and table is None:
        yield Query(query, database)
    elif table is not None and query is None and database is None:
        if isinstance(table, str | Path):
            yield sources.file_source(Path(table))
            return
        data = table.read()
        start = data.lstrip()[:4]
        ending = ".parquet" if data[:4] == b"PAR1" else ".jsonl" if start[:1] == b"{" else ".csv"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"stdin{ending}"
            path.write_bytes(data)
            yield sources.file_source(path)
    else:
        raise TableUnreadable(
            "it is not clear where the outcomes are",
            allowed="a file, - for standard input, or a query and a database",
            next_step='name a file, or say --query "SELECT ..." --source URL',
        )


def _rows(source: sources.Source) -> Iterator[Mapping[str, Any]]:
    for stretch in source.stretches(_ROWS):
        if stretch.kind == "lines":
            yield from sources.documents(bytes(stretch.data), stretch.line)
        elif stretch.kind == "rows":
            names, values = msgspec.msgpack.decode(stretch.data)
            yield from (dict(zip(names, row, strict=True)) for row in values)
        else:
            import pyarrow as pa

            yield from pa.ipc.open_stream(stretch.data).read_all().to_pylist()


def _plain(value: Any) -> Any:
    if value is None or value != value:
        return None
    return value.isoformat() if hasattr(value, "isoformat") else value
