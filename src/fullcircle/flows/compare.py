"""Compare two versions, runs or reports side by side, and write the model card of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from fullcircle.errors import ProjectInvalid, TableNotFound, VersionNotFound
from fullcircle.evaluation import metrics
from fullcircle.evaluation.comparing import compare_reports
from fullcircle.flows import drafts, pages, reports, subjects, versions
from fullcircle.flows.package import latest_report
from fullcircle.flows.promote import approval_of
from fullcircle.flows.session import Session, opened
from fullcircle.settings import Settings
from fullcircle.types.approval import Approval
from fullcircle.types.comparison import Comparison
from fullcircle.types.progress import Progress
from fullcircle.types.report import Measure, Report

_FEWEST_ROWS = 2


@dataclass(frozen=True)
class Evaluated:
    """A report and what it is about: a version, a run, or a file (then ``draft`` is None)."""

    name: str
    report: Report
    draft: drafts.Draft | None = None
    version: int | None = None


def compare(
    first: str,
    second: str,
    *,
    out: str | Path | Sequence[str | Path] = (),
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """The second beside the first: what each report measured, what their gates said, and, where both models are at
    hand, how much better the second answers the same rows, which neither has learned.

    Each is ``MODEL@VERSION``, a run's id (or its beginning), or a report's .json file. ``out`` names files to write
    to: .html or .json. Raises VersionNotFound, RunNotFound, TableNotFound or DataUnfit for what is none of these.
    """
    paths = reports.checked(out, endings=(".html", ".json"))
    with opened(settings, progress, create=False) as session:
        one, two = find(session, first), find(session, second)
        session.progress.step("compare", f"{one.name} and {two.name}")
        gains, notes = _paired(session, one, two)
        found = compare_reports(one.report, two.report, names=(one.name, two.name), improvement=gains)
        found = replace(found, notes=(*found.notes, *notes))
    for path in paths:
        content = msgspec.json.encode(found) if path.suffix == ".json" else pages.render_comparison(found).encode()
        path.write_bytes(content)
    return found


def card(
    subject: str, *, out: str | Path | None = None, settings: Settings | None = None, progress: Progress | None = None
) -> str:
    """The model card of ``MODEL@VERSION``, a run or a report's .json file, as Markdown, with who approved it.

    ``MODEL`` alone means its champion. ``out`` names a .md file to write it to. Raises as ``compare`` does.
    """
    paths = reports.checked(() if out is None else out, endings=(".md",))
    with opened(settings, progress, create=False) as session:
        found = find(session, subject)
        text = pages.model_card(found.report, name=found.name, approvals=_approvals(session, found))
    for path in paths:
        path.write_text(text, encoding="utf-8")
    return text


def find(session: Session, text: str) -> Evaluated:
    """What is meant by ``MODEL@VERSION``, ``MODEL`` (its champion), a run's id or a report's file."""
    if text.endswith(".json"):
        path = Path(text)
        if not path.is_file():
            raise TableNotFound("there is no such report", received=text, next_step="check the path")
        report = pages.decode_report(path.read_bytes())
        return Evaluated(path.name, report)
    model, _, number = text.rpartition("@")
    known = session.workspace.ledger.state().versions
    if not model and text in known:
        model, number = text, str(versions.champion(session, text))
    if not model:
        draft = drafts.of_run(session, text)
        return Evaluated(f"run {draft.run[:12]}", latest_report(session, draft.run)[1], draft)
    if not number.isdecimal():
        raise VersionNotFound(
            "a version is a number",
            received=repr(text),
            allowed=", ".join(f"{name}@{n}" for name, numbers in known.items() for n in numbers) or "none yet",
            next_step="see: fullcircle status",
        )
    version = versions.find(session, model, int(number))
    report = session.recall(version.report, Report)
    return Evaluated(f"{model} v{number}", report, drafts.of_run(session, version.run), int(number))


def _approvals(session: Session, found: Evaluated) -> tuple[Approval, ...]:
    if found.version is None or found.draft is None:
        return ()
    approved = approval_of(session, found.draft.model, found.version)
    return () if approved is None else (approved,)


def _paired(session: Session, one: Evaluated, two: Evaluated) -> tuple[tuple[Measure, ...], tuple[str, ...]]:
    """Every metric's improvement of the second over the first on test rows that neither has learned."""
    if one.draft is None or two.draft is None:
        return (), ("a report's file holds no model, so the two were not asked about the same rows",)
    first, second = one.draft.contract, two.draft.contract
    if (first.label, first.task) != (second.label, second.task):
        raise ProjectInvalid(
            "the two do not predict the same",
            received=f"{first.task} of {first.label}, and {second.task} of {second.label}",
            next_step="compare versions of one model",
        )
    frame, test = drafts.rows(session, two.draft)
    common = test & ~drafts.learned(session, one.draft, frame)
    if int(common.sum()) < _FEWEST_ROWS:
        return (), ("there are no test rows that neither has learned, so the two were not asked about the same rows",)
    rows = frame[common]
    before, early = subjects.beside(drafts.scorer(session, one.draft), rows, second.classes)
    after, late = subjects.beside(drafts.scorer(session, two.draft), rows, second.classes)
    places = (early & late).nonzero()[0]
    before, after = before.at(places), after.at(places)
    gains = tuple(
        metrics.as_measure(
            f"improvement_{metric.name}",
            metrics.improvement(metric, after, before),
            rows=len(places),
            unit=second.label_shown if metric.unit == "label" else metric.unit,
            better="higher",
        )
        for metric in metrics.of_task(second.task)
        if metric.applies(after) and metric.applies(before)
    )
    return gains, (f"compared on {len(places)} test rows of {two.name} that {one.name} has not learned",)
