"""Erase: the values of rows in the prediction log go for good, and the ledger says that they went, and why."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.errors import FullcircleError, PredictionNotFound, SettingInvalid, WorkspaceUnusable
from fullcircle.flows import log
from fullcircle.flows.outcomes import settle_in
from fullcircle.flows.session import Session, opened
from fullcircle.ledger.bodies import LONGEST, is_text
from fullcircle.settings import Settings
from fullcircle.tables import compaction, segments, waiting
from fullcircle.tables.appending import SEGMENT_SECONDS
from fullcircle.tables.lines import model_folder
from fullcircle.tables.outcomes import erase_outcomes
from fullcircle.tables.predictions import SegmentRows, read
from fullcircle.tables.private import hashed, mark, text_of
from fullcircle.types.contract import Verdict
from fullcircle.types.prediction import Outcome, Prediction

PATIENCE = 600.0  # seconds to wait for a process that compacts


@dataclass(frozen=True, kw_only=True)
class Erased:
    """What was erased: rows (of how many segments) and outcomes; ``before`` were erased earlier.

    ``waiting`` are ids in segments that a process still writes to, and ``until`` the time (UTC, ISO 8601) by which
    these are closed: then the same command erases them. It is sooner where the server is restarted.
    """

    model: str
    rows: int
    segments: int
    outcomes: int
    before: int
    reason: str
    waiting: tuple[str, ...] = ()
    until: str = ""


def erase(
    model: str,
    *,
    ids: Sequence[str] = (),
    where: tuple[str, str] | None = None,
    reason: str,
    settings: Settings | None = None,
) -> Erased:
    """Erase predictions of a model by their ids, or all whose column has a value; id, time, version and verdict stay.

    ``where`` is a column and its value as text; it looks at inputs, context and what was looked up, and at hashes of
    private columns. Outcomes of these rows go too, and those that wait for a prediction and name the id or have the
    value as their key. May be repeated. Raises PredictionNotFound (nothing was changed) for an id that is not logged.
    """
    _check(ids, where, reason)
    with opened(settings, create=False) as session:
        folder = session.workspace.predictions
        home = model_folder(folder, model)
        if not home.is_dir():
            raise PredictionNotFound(
                "no predictions of this model are logged", received=model, allowed=", ".join(segments.models(folder))
            )
        with segments.settling(folder, patience=PATIENCE):
            known = log.facts_of(session)
            for name in segments.names(home):
                log.finish(home, name, known.get((model, name)))
            matches = None if where is None else _Match(*where, log.key_of(session))
            settle_in(session, model)  # what was joined by a key is found by the id
            there = waiting.read_waiting(folder, model)
            targets, before = _targets(home, ids, matches, {each.outcome.prediction_id for each in there})
            try:
                # First: once its row is erased, nobody knows what one that waits by a key is about.
                wait = waiting.erase_waiting(folder, model, _waits(folder, model, there, ids, matches))
                found = _erased(session, model, targets, before, ids, reason)
                return replace(found, outcomes=found.outcomes + wait)
            except (OSError, ValueError) as error:  # pyarrow's errors are kinds of both
                if isinstance(error, FullcircleError):
                    raise
                raise _stopped(home, error) from error


def _stopped(home: Path, error: Exception) -> WorkspaceUnusable:
    return WorkspaceUnusable(
        "the erasing stopped before its end",
        received=f"{home}: {error}"[:300],
        allowed="what is erased stays so, and the rest is as it was",
        next_step="see that the disk is sound and has room, and give the same command again",
    )


def _check(ids: Sequence[str], where: tuple[str, str] | None, reason: str) -> None:
    if bool(ids) == (where is not None):
        raise SettingInvalid(
            "what is to be erased is not said, or said twice",
            allowed="--id ID (repeatable), or --where COLUMN=VALUE",
            next_step="give one of them",
        )
    if where is not None and not all(map(is_text, where)):
        raise SettingInvalid(
            "--where is no valid text",
            received=ascii("=".join(where))[:80],
            allowed="COLUMN=VALUE in UTF-8",
            next_step="write the value as the log has it",
        )
    if not reason.strip() or len(reason) > LONGEST or not is_text(reason):
        raise SettingInvalid(
            "--reason is empty, too long for the ledger, or no valid text",
            received=f"{len(reason)} characters",
            allowed=f"1 to {LONGEST} characters; it is kept for ever: name nobody in it",
            next_step="say why, such as the number of the request",
        )


def _waits(
    folder: Path, model: str, there: Sequence[waiting.Waiting], ids: Sequence[str], matches: _Match | None
) -> Callable[[Outcome], bool]:
    """Which outcomes that wait for their prediction go: those that have the value as their key, or name an id.

    With an id go also those by a key that belong to its row as the log is now, though their time lies ahead.
    """
    if matches is not None:
        return matches.waits
    wanted = frozenset(ids)
    joined = waiting.join(read(folder, model, since=waiting.oldest_needed(there)), there) if there else {}
    names = {waiting.meant(each.outcome) for each in there if joined.get(each.place) in wanted}
    return lambda outcome: outcome.prediction_id in wanted or waiting.meant(outcome) in names


def _targets(
    home: Any, ids: Sequence[str], matches: _Match | None, held: Collection[str]
) -> tuple[dict[str, list[str]], int]:
    """The ids to erase by segment, and how many of the wanted were erased before. Raises PredictionNotFound.

    Ids that are ``held`` by outcomes that wait need not be in the log.
    """
    found: dict[str, list[str]] = defaultdict(list)
    wanted, seen, before = set(ids), set(held), 0
    named = {one.partition("-")[0] for one in wanted}
    for name in segments.names(home):
        if matches is None and name not in named:
            continue
        for row in SegmentRows(home, name):
            if row.id in wanted:
                seen.add(row.id)
                before += bool(row.erased)
            elif matches is None or not matches(row):
                continue
            if not row.erased:
                found[name].append(row.id)
    if wanted - seen:
        raise PredictionNotFound(
            "some of these ids are not in the log of this model; nothing was erased",
            received=", ".join(sorted(wanted - seen)[:5])[:200],
            next_step="take ids from answers of the server, or of `fullcircle score`",
        )
    return found, before


class _Match:
    """Whether a row has a value in a column, wherever the log holds it, as it is or hashed."""

    def __init__(self, column: str, value: str, key: bytes) -> None:
        self._column = column
        readings = [value]
        for kind in (int, float):  # a large whole number is written in another way where the column is of floats
            with suppress(msgspec.DecodeError):
                readings.append(text_of(msgspec.json.decode(value.encode(), type=kind)))
        self._texts = {*readings, *(str(hashed(key, column, one)) for one in readings)}

    def waits(self, outcome: Outcome) -> bool:
        """Whether an outcome that waits has the value as its key."""
        return waiting.holds(outcome, self._column, self._texts)

    def __call__(self, row: Prediction) -> bool:
        lookup = row.lookup or {}
        places = (row.inputs, row.context, lookup.get("request"), lookup.get("passed"), lookup.get("values"))
        return any(
            isinstance(values, Mapping)
            and values.get(self._column) is not None
            and text_of(values[self._column]) in self._texts
            for values in places
        )


def _erased(
    session: Session, model: str, targets: Mapping[str, list[str]], before: int, ids: Iterable[str], reason: str
) -> Erased:
    home = model_folder(session.workspace.predictions, model)
    rows = outcomes = changed = 0
    waiting: list[str] = []
    known = log.facts_of(session)
    for name in segments.names(home):
        chosen, lines = targets.get(name, []), home / f"{name}{segments.LINES}"
        # A fact that it is closed counts: an old server's segment does not show it by itself.
        if not segments.closed(lines, old=(model, name) in known):
            waiting += chosen
        elif chosen or _torn(home, name):  # a torn line may hold a part of anybody's row
            outcomes += _rewritten(session, model, name, frozenset(chosen), reason)
            rows, changed = rows + len(chosen), changed + 1
    outcomes += erase_outcomes(home, set(ids) - set(waiting))  # also those that came after their row was erased
    until = datetime.now(UTC) + timedelta(seconds=SEGMENT_SECONDS)
    return Erased(
        model=model,
        rows=rows,
        segments=changed,
        outcomes=outcomes,
        before=before,
        reason=reason,
        waiting=tuple(waiting),
        until=until.strftime("%Y-%m-%dT%H:%MZ") if waiting else "",
    )


def _torn(home: Any, name: str) -> bool:
    """Whether a closed segment of JSON lines holds some that were torn."""
    if not (home / f"{name}{segments.LINES}").exists():
        return False
    source = SegmentRows(home, name)
    for _ in source:
        pass
    return source.torn > 0


def _rewritten(session: Session, model: str, name: str, chosen: Collection[str], reason: str) -> int:
    """Rewrite a segment without the values of the chosen rows. The fact comes before the file is put in its place."""
    home = model_folder(session.workspace.predictions, model)
    known = log.facts_of(session).get((model, name))
    digest = log.note_closed(session, model, name) if known is None else str(known.body["digest"])
    log.check_unaltered(home, name, digest)
    sign = secrets.token_hex(8)
    source = _Replaced(SegmentRows(home, name), chosen, sign)
    prepared = compaction.prepare(home, name, source, lambda: source.rows.torn)
    session.record(
        log.ERASED,
        workspace=session.workspace.id,
        model=model,
        segment=name,
        rows=len(chosen),
        digest=prepared.digest,
        source=digest,
        reason=reason,
        mark=sign,
        ids=mark(log.key_of(session), *sorted(chosen)),
    )
    return log.put_in_place(home, name, log.ERASED)


class _Replaced:
    """The rows of a segment, with a stone in place of each chosen one. Can be read again and again."""

    def __init__(self, rows: SegmentRows, chosen: Collection[str], sign: str) -> None:
        self.rows = rows
        self._chosen = chosen
        self._sign = sign

    def __iter__(self) -> Any:
        for row in self.rows:
            yield _stone(row, self._sign) if row.id in self._chosen else row


def _stone(row: Prediction, sign: str) -> Prediction:
    """What is left of an erased row."""
    return Prediction(
        value=None,
        verdict=Verdict(status=row.verdict.status),
        id=row.id,
        time=row.time,
        model=row.model,
        version=row.version,
        bundle=row.bundle,
        erased=sign,
    )
