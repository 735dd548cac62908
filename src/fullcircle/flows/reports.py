"""The three faces of a report as files: JSON for machines, a page to look at, a model card to hand on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from fullcircle.errors import ProjectInvalid
from fullcircle.flows import drafts
from fullcircle.flows.session import Session
from fullcircle.settings import Settings
from fullcircle.types.report import Report

ENDINGS = (".html", ".json", ".md")


def checked(out: str | Path | Sequence[str | Path], endings: Sequence[str] = ENDINGS) -> tuple[Path, ...]:
    """The paths to write to. Raises ProjectInvalid for an ending that no face has, before any work is done."""
    paths = tuple(Path(each) for each in ([out] if isinstance(out, str | Path) else out))
    for path in paths:
        if path.suffix.lower() not in endings:
            raise ProjectInvalid(
                "a report cannot be written to a file of this kind",
                received=str(path),
                allowed=", ".join(endings),
                next_step="name a file with one of these endings: .html is a page, .json for machines, .md a card",
            )
        if not path.absolute().parent.is_dir():
            raise ProjectInvalid(
                "the folder of a report does not exist", received=str(path.parent), next_step="make it first"
            )
    return paths


def write(report: Report, paths: Sequence[Path]) -> None:
    """Write a report to files; the ending of each says which face."""
    for path in paths:
        path.write_bytes(face(report, path.suffix.lower()))


def face(report: Report, ending: str, kept: Path | None = None) -> bytes:
    """A report as JSON (.json), HTML (.html) or a model card (.md). The page's script may be ``kept`` in a folder."""
    from fullcircle.flows import pages

    if ending == ".json":
        return msgspec.json.encode(report)
    text = pages.render_report(report, kept=kept) if ending == ".html" else pages.model_card(report)
    return text.encode("utf-8")


def folder_name(model: str, run: str) -> str:
    """What the folder of the report on a run is called, under reports/ in the workspace."""
    return f"{model}-{run[:12]}"


def page_of(settings: Settings, report: Report) -> Path:
    """Where the page of the report on a run was kept."""
    run = report.about.run if report.about is not None else ""
    return Path(settings["workspace"]) / "reports" / folder_name(report.subject, run) / "report.html"


def keep(session: Session, draft: drafts.Draft, report: Report) -> dict[str, Path]:
    """Keep all faces of the report on a run: in the workspace under reports/, and with the run in MLflow."""
    folder = session.folder("reports") / folder_name(draft.model, draft.run)
    if session.rehearsal:  # it is in the ledger, and nobody reads hundreds of pages
        return {"report.html": folder / "report.html"}
    folder.mkdir(exist_ok=True)
    kept = {}
    for name, ending in (("report", ".json"), ("report", ".html"), ("card", ".md")):
        content = face(report, ending, session.folder("cache"))
        path = folder / f"{name}{ending}"
        path.write_bytes(content)
        session.tracking.log_artifact(draft.run, path.name, content)
        kept[path.name] = path
    return kept
