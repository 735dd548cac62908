"""Replay: logged traffic answered again by any version. What would have differed, for whom, what it was worth.

It only reads. The version answers in this process, in the form that it is served in, after its golden rows showed
that it answers here as it does there.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from fullcircle.development.loading import LoadedProject
from fullcircle.errors import ColumnMissing, DataUnfit, FullcircleError, RequestInvalid, VersionNotFound
from fullcircle.evaluation import earning, metrics
from fullcircle.flows import drafts, replayed_sums, versions
from fullcircle.flows.replayed_counts import Counts, Pair, Tolerance, array
from fullcircle.flows.replayed_rows import Asked
from fullcircle.flows.session import Session, loaded, model_name, opened
from fullcircle.monitoring.quality import fits
from fullcircle.packaging.bundle import Bundle
from fullcircle.packaging.loading import check_golden
from fullcircle.runtimes.contracts import examine, to_frame
from fullcircle.runtimes.framing import framed
from fullcircle.runtimes.scorer import Scorer
from fullcircle.settings import Settings
from fullcircle.tables import predictions as log
from fullcircle.tables.keys import row_keys
from fullcircle.tables.lines import TIME, moment
from fullcircle.types import clock
from fullcircle.types.contract import Contract, Value
from fullcircle.types.durations import duration
from fullcircle.types.loop import Replayed
from fullcircle.types.prediction import Prediction
from fullcircle.types.progress import Progress
from fullcircle.types.project import Project

STRETCH = 2_000
TOLERANCE = "1%"
LEARNED = "the version has learned from this row and its label"


def replay(
    project: str | Path | LoadedProject,
    *,
    version: int,
    since: str = "",
    until: str = "",
    by: Sequence[str] = (),
    tolerance: str = TOLERANCE,
    page: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Replayed:
    """Ask ``version`` again for the rows that the log holds from ``since`` on and before ``until``.

    ``project`` may be a model's name: then there is no gate that says what an answer is worth. ``since`` and
    ``until`` are times (ISO 8601, UTC if they have no zone) or spans back from now ("30d"), by default all there is.
    Groups are those of the project's protected columns and gates, and of the columns ``by``. Two numbers count as the
    same up to ``tolerance``: a share of the greater ("1%"), or a size in the label's unit ("2.5").

    Raises VersionNotFound, RequestInvalid (a time or tolerance that cannot be read), ColumnMissing (a column of
    ``by`` that the log does not hold), DataUnfit where no row can be asked again, and what loading the version raises
    where it cannot answer here as it was packaged.
    """
    allowed = tolerance_of(tolerance)
    with opened(settings, progress, create=False) as session:
        model = model_name(session, project)
        known = isinstance(project, LoadedProject) or str(project) != model or Path(str(project)).exists()
        source = loaded(project) if known else None
        found = _Version(session, model, version)
        bounds = _time(since), _time(until)
        session.progress.step("replay", f"{model} version {version}")
        if source is None:
            made = _replayed(found, None, bounds, by, allowed)
        else:
            with source.active():
                made = _replayed(found, source.project, bounds, by, allowed)
        return _with_page(session, made) if page else made


def tolerance_of(text: str) -> Tolerance:
    """Read a tolerance. Raises RequestInvalid."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*(%?)\s*", text)
    size = float(match[1]) if match else math.inf
    if match is None or not math.isfinite(size):
        raise RequestInvalid(
            "the tolerance cannot be read",
            received=repr(text[:80]),
            allowed='a share such as "1%", or a size in the unit of the label such as "2.5"; 0 for none',
            next_step="write it in one of these forms",
        )
    return Tolerance(size / 100 if match[2] else size, share=bool(match[2]))


class _Version:
    """The version that is asked, whose golden rows were answered here as when it was packaged."""

    def __init__(self, session: Session, model: str, number: int) -> None:
        self.session, self.model, self.number = session, model, number
        self.bundle: Bundle = versions.bundle(session, model, number)
        self.scorer: Scorer = versions.scorer(session, model, number)
        check_golden(
            self.bundle,
            self.scorer,
            next_step="replay it where its packages are: in an environment made from requirements.lock of its bundle",
        )
        self.contract_of = cache(self._contract_of)

    @property
    def contract(self) -> Contract:
        """What it expects of a row."""
        return self.bundle.contract

    def _contract_of(self, number: int) -> Contract | None:
        """The contract of a version that answered, None where the ledger knows no such version."""
        try:
            return versions.bundle(self.session, self.model, number).contract
        except VersionNotFound:
            return None

    def learned_keys(self) -> Any:
        """A key for each row that it was trained on: features as the model saw them, and the label."""
        draft = drafts.of_run(self.session, versions.find(self.session, self.model, self.number).run)
        frame, test = drafts.rows(self.session, draft)
        inputs, fit = framed(self.contract, frame[~test])
        return row_keys(
            inputs.assign(**{f"label {self.contract.label}": frame[~test][fit][self.contract.label].to_numpy()})
        )

    def keys(self, rows: Sequence[Any], labels: Sequence[Value]) -> Any:
        """The same of rows that came and their labels."""
        values = [examine(self.contract, row)[1] for row in rows]
        told = array(self.contract, labels)
        return row_keys(to_frame(self.contract, values).assign(**{f"label {self.contract.label}": told}))


@dataclass
class _Seen:
    """What a pass over the log came to beside the counts."""

    rows: int = 0
    labelled: int = 0
    learned: int = 0
    unusable: int = 0
    first: str = ""
    last: str = ""
    against: set[int] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)


def _replayed(
    found: _Version, project: Project | None, bounds: tuple[str, str], by: Sequence[str], tolerance: Tolerance
) -> Replayed:
    columns = tuple(dict.fromkeys([*(project.groups if project is not None else ()), *by]))
    gate = next((each for each in project.gates if each.kind == "worth"), None) if project is not None else None
    task, classes = found.contract.task, found.contract.classes
    earn = None if gate is None else earning.earn_of(gate, model=found.model, task=task, classes=classes)
    counts = Counts(contract=found.contract, columns=_held(found, columns, by), tolerance=tolerance, earn=earn)
    seen = _passed(found, counts, bounds)
    _refuse_nothing(found, seen, counts, bounds)
    main = found.bundle.profile.metric
    task = found.contract.task
    metric = metrics.find(main, task) if main else metrics.main_metric(task, project.gates if project else ())
    difference = replayed_sums.difference(found.contract, metric, counts)
    currency = "" if project is None else project.currency
    return Replayed(
        model=found.model,
        version=found.number,
        against=tuple(sorted(seen.against)),
        since=bounds[0] or seen.first,
        until=bounds[1] or seen.last,
        rows=counts.rows,
        labelled=counts.labelled.given,
        changed=counts.changed,
        groups=counts.groups,
        verdicts=tuple((*key, number) for key, number in sorted(counts.verdicts.items())),
        differences=() if difference is None else (difference,),
        examples=counts.examples,
        worth=replayed_sums.worth(counts, earn, currency, seen.first, seen.last),
        currency=currency,
        notes=_notes(found, project, counts, seen, set(columns) - set(counts.columns)),
        left_out=tuple(sorted(seen.left_out.items(), key=lambda each: (-each[1], each[0]))),
        sizes=counts.said(),
    )


def _passed(found: _Version, counts: Counts, bounds: tuple[str, str]) -> _Seen:
    """One pass over the log, a stretch at a time."""
    folder, seen = found.session.workspace.predictions, _Seen()
    outcomes = log.read_outcomes(folder, found.model)
    asked, learned = Asked(found.contract, found.contract_of), None
    for stretch in _stretches(log.read(folder, found.model, since=bounds[0], until=bounds[1])):
        seen.first, seen.last = seen.first or stretch[0].time, stretch[-1].time
        rows, logged = [], []
        for one in stretch:
            row = asked.row(one)
            if isinstance(row, str):
                seen.left_out[row] += 1
                counts.not_asked(one, may=one.verdict.status == "rejected" and asked.may_answer(one))
            else:
                rows.append(row)
                logged.append(one)
                seen.against.add(one.version)
        seen.rows += len(stretch)
        labels: list[Value] = [outcomes[one.id].value if one.id in outcomes else None for one in logged]
        came = [place for place, label in enumerate(labels) if label is not None]
        for place in came:
            if not fits(labels[place], found.contract):
                labels[place], seen.unusable = None, seen.unusable + 1
        came = [place for place in came if labels[place] is not None]
        seen.labelled += len(came)
        if came:
            import numpy as np

            learned = found.learned_keys() if learned is None else learned
            known = np.isin(found.keys([rows[place] for place in came], [labels[place] for place in came]), learned)
            for place in np.array(came)[known].tolist():
                labels[place], seen.learned = None, seen.learned + 1
        now = found.scorer.score(rows)
        counts.add([Pair(*each) for each in zip(logged, now, labels, strict=True)])
        found.session.progress.advance(seen.rows, 0)
    return seen


def _stretches(rows: Iterator[Prediction]) -> Iterator[list[Prediction]]:
    while stretch := list(islice(rows, STRETCH)):
        yield stretch


def _refuse_nothing(found: _Version, seen: _Seen, counts: Counts, bounds: tuple[str, str]) -> None:
    between = " and before ".join(filter(None, (bounds[0] and f"from {bounds[0]} on", bounds[1])))
    if not seen.rows:
        raise DataUnfit(
            "there are no logged predictions to answer again",
            received=f"{found.model} {between}".strip(),
            allowed="at least one logged row in this time that was not erased",
            next_step="see what is there with: fullcircle log; or choose another --since and --until",
        )
    if not counts.rows:
        why = "; ".join(f"{number} rows: {text}" for text, number in seen.left_out.most_common(3))
        raise DataUnfit(
            f"none of the logged rows can be asked of version {found.number} again",
            received=why,
            allowed="rows whose values the log holds",
            next_step="replay another version, or another time; docs/replay.md says what the log holds",
        )


def _held(found: _Version, columns: Sequence[str], by: Sequence[str]) -> tuple[str, ...]:
    """The columns of groups whose values the log can hold. Raises ColumnMissing for one of ``by`` that it cannot."""
    state = found.session.workspace.ledger.state()
    contracts = [found.contract_of(number) for number in state.versions.get(found.model, {})]
    known: dict[str, bool] = {}
    for contract in contracts:
        if contract is not None:
            known |= {column.name: not column.private or known.get(column.name, False) for column in contract.columns}
            known |= dict.fromkeys(contract.context, True)
    if found.bundle.view is not None:
        known |= dict.fromkeys(found.bundle.view.request, True)
    for name in by:
        if not known.get(name, False):
            raise ColumnMissing(
                "groups are asked for by a column that the log does not hold",
                received=f"{name}{' (private)' if name in known else ''}",
                allowed=", ".join(each for each, open_ in known.items() if open_) or "none",
                next_step="name a feature, or a column that rows bring along, that is not private",
            )
    return tuple(name for name in columns if known.get(name, False))


def _notes(
    found: _Version, project: Project | None, counts: Counts, seen: _Seen, hidden: set[str]
) -> tuple[str, ...]:
    notes = []
    lost = sum(seen.left_out.values())
    if lost:
        notes.append(f"{lost} of {seen.rows} logged rows could not be asked again, and nothing here is about them")
    may = sum(number for (_, status), number in counts.verdicts.items() if status == "may be answered")
    if may:
        notes.append(
            f"{may} rows were rejected then for what version {found.number} would let pass; the log holds no "
            "values of rejected rows, so whether it would answer them is not certain"
        )
    if seen.learned:
        notes.append(
            f"{seen.learned} labelled rows are left out of the metric and the money: version {found.number} has "
            "learned from them, and proves nothing there"
        )
    if seen.unusable:
        notes.append(f"{seen.unusable} labels are no answer of this model, and were left out")
    if counts.labelled.given < replayed_sums.FEWEST_LABELS:
        notes.append("too few labels have come to say which answers were better")
    elif counts.labelled.given > len(counts.labelled.things()):
        notes.append(
            f"the metric and the money are of an even sample of {len(counts.labelled.things())} labelled rows"
        )
    if hidden:
        notes.append(f"the log holds no values of {', '.join(sorted(hidden))}, so there are no groups by it")
    if project is None:
        notes.append("asked for by the model's name: name its project for its groups and what an answer is worth")
    elif counts.earn is None:
        notes.append("the project does not say what an answer is worth (fc.worth), so there is no money in this")
    if found.bundle.view is not None:
        notes.append("looked-up features are those that were served then, not looked up anew")
    return tuple(notes)


def _time(text: str) -> str:
    """A time, or a span back from now, in the form of the log; "" stays "". Raises RequestInvalid."""
    if not text:
        return ""
    if re.fullmatch(r"\s*[0-9.]+\s*(ms|[smhdw])\s*", text):
        try:
            back = duration(text)
        except FullcircleError as error:
            raise RequestInvalid(
                "a span of time cannot be read", received=repr(text), allowed='such as "30d" or "12h"'
            ) from error
        return (datetime.fromtimestamp(clock.micros() / 1e6, UTC) - back).strftime(TIME)
    return moment(text)


def _with_page(session: Session, made: Replayed) -> Replayed:
    """The result with its page, written to WORKSPACE/pages."""
    from fullcircle.flows.pages.replayed import render_replayed

    path = session.folder("pages") / f"{made.model}-replay-v{made.version}.html"
    made = replace(made, page=str(path))
    path.write_text(render_replayed(made), encoding="utf-8")
    return made
