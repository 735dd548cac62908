"""Two faces of a report: its JSON, and one HTML page with interactive charts that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from fullcircle.errors import DataUnfit
from fullcircle.flows.pages.environment import environment
from fullcircle.flows.pages.live import script
from fullcircle.flows.pages.page import DECIDED
from fullcircle.types.approval import Approval
from fullcircle.types.monitoring import Decision
from fullcircle.types.report import FORMAT, Finding, Measure, Report

SHEET = "E011"  # how to serve it: shown right after the gates


def render_report(
    report: Report,
    *,
    name: str = "",
    metric: str = "",
    approvals: Sequence[Approval] = (),
    decisions: Sequence[Decision] = (),
    interactive: bool = True,
    kept: Path | None = None,
) -> str:
    """The page of a report as HTML text. It holds everything in itself and opens from a file.

    ``name`` is what stands above it ("bike-demand v2"), the report's subject where it is not given. ``metric`` is
    the main one, found in the report where not given. Without ``interactive`` the page has no script and only drawn
    charts. ``kept`` is a folder in which the script is kept for other processes. Raises MissingExtra where Jinja2 or
    vl-convert-python is not installed.
    """
    ordered = sorted(report.findings, key=lambda finding: finding.code)
    page = environment(interactive=interactive).get_template("report.html")
    return page.render(
        name=name or report.subject,
        report=report,
        about=report.about,
        headline=headline(report, metric),
        sheet=next((finding for finding in ordered if finding.code == SHEET), None),
        findings=[finding for finding in ordered if finding.code != SHEET],
        serious=[finding for finding in ordered if finding.severity in ("bad", "warning")],
        approvals=approvals,
        decisions=[(*DECIDED[decision.action], decision) for decision in decisions],
        script=script(kept) if interactive else None,
    )


@dataclass(frozen=True)
class Headline:
    """The main metric beside the trivial model's and the champion's; None where unknown.

    ``gain`` is the improvement over the champion on the same rows, without one over the trivial model.
    """

    measure: Measure
    baseline: Measure | None
    champion: Measure | None
    gain: Measure | None


def headline(report: Report, metric: str = "") -> Headline | None:
    """The main metric on all rows, None where it could not be measured."""
    quality = report.finding("quality")
    metric = metric or ("" if quality is None else main_metric(report, quality))
    measure = report.measure(metric)
    if measure is None or not measure.usable:
        return None
    return Headline(
        measure=measure,
        baseline=_usable(report.measure(f"baseline_{metric}")),
        champion=_usable(report.measure(f"champion_{metric}")),
        gain=_usable(report.measure("improvement_over_champion") or report.measure("improvement_over_baseline")),
    )


def main_metric(report: Report, quality: Finding) -> str:
    """The name of the metric that a report was decided on, "" where it has none.

    The one its text begins with, else one that a gate is about, else the first that was measured of the trivial
    model too.
    """
    measured = {measure.name for measure in quality.measures if not measure.group}
    names = [name for name in dict.fromkeys(m.name for m in quality.measures) if f"baseline_{name}" in measured]
    begun = [name for name in names if quality.text.startswith(f"{name} ")]
    asked = [name for gate in report.gates for name in names if gate.gate.startswith(f"{name} at ")]
    return next(iter([*begun, *asked, *names]), "")


def _usable(measure: Measure | None) -> Measure | None:
    return measure if measure is not None and measure.usable else None


def decode_report(data: bytes) -> Report:
    """A report from its JSON.

    Raises DataUnfit for bytes that are no report, and for a report in a newer format than this version reads.
    """
    try:
        written = msgspec.json.decode(data, type=_Written).format
        if written <= FORMAT:
            return msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataUnfit(
            "this is no report",
            received=str(error),
            allowed=f"the JSON of a report, format {FORMAT} or older (docs/report.schema.json)",
            next_step="give the file that evaluate wrote",
        ) from error
    raise DataUnfit(
        "the report was written by a newer fullcircle",
        received=f"format {written}",
        allowed=f"format {FORMAT} or older",
        next_step="upgrade fullcircle, and read it again",
    )


def schema() -> str:
    """The JSON schema of a report, as docs/report.schema.json holds it."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(Report)}
    for noun in found["$defs"].values():
        noun["description"] = " ".join(noun["description"].split())
    return msgspec.json.format(msgspec.json.encode(found, order="sorted"), indent=2).decode() + "\n"


class _Written(msgspec.Struct):
    """The one field that every format of a report has."""

    format: Annotated[int, msgspec.Meta(ge=1)] = 1
