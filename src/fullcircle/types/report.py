"""What evaluation and monitoring return: a report, which is a list of findings.

A finding holds measures (numbers with their uncertainty) and charts (Vega-Lite specifications). Gates read
measures by name and answer with a verdict each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

Severity = Literal["info", "good", "warning", "bad"]
Better = Literal["higher", "lower", "zero", ""]
FORMAT = 1
_SAID: Mapping[Severity, str] = {"good": "good", "warning": "look here", "bad": "bad", "info": ""}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number with its uncertainty.

    ``low`` and ``high`` bound a 95 % interval, or are None where there is none (``method`` says which
    procedure made it); what was counted exactly has both equal to the value. ``n`` is the number of rows behind it.
    ``group`` names the subgroup, "" for all rows. ``better`` says which way is good ("higher", "lower", "zero"),
    "" where it depends.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    method: str = ""
    group: str = ""
    better: Better = ""

    @property
    def usable(self) -> bool:
        """Whether there is a finite value to decide on."""
        return self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture: a title and a Vega-Lite v5 specification with its data inline."""

    title: str
    spec: Mapping[str, Any]

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """What a notebook draws."""
        return {"application/vnd.vegalite.v5+json": dict(self.spec), "text/plain": self.title}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check or detector has to say.

    ``check`` is its registered name, ``code`` its stable code (E001 ...; M001 ...). ``text`` is one or two
    sentences for a person.
    """

    check: str
    code: str
    title: str
    severity: Severity
    text: str
    measures: tuple[Measure, ...] = ()
    charts: tuple[Chart, ...] = ()
    table: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class GateVerdict:
    """One gate's answer. A gate that could not decide has not passed."""

    gate: str
    passed: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class About:
    """What was evaluated and on what, as far as it is known: what a model card needs. "" is unknown.

    ``algorithm`` is the type of the model, ``source`` where the rows came from, ``unit`` that of the label,
    ``purpose`` and ``limits`` are the project's own words, ``split`` says how test rows were chosen.
    """

    task: str = ""
    label: str = ""
    unit: str = ""
    currency: str = ""
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    algorithm: str = ""
    purpose: str = ""
    limits: str = ""
    source: str = ""
    snapshot: str = ""
    run: str = ""
    code: str = ""
    split: str = ""
    train_rows: int = 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """All findings about one subject (a run, a window), and the gates' answers where gates were asked.

    ``format`` numbers the layout of its JSON: it changes only when something that was there is taken away or means
    something else. docs/report.schema.json describes it.
    """

    subject: str
    findings: tuple[Finding, ...] = ()
    gates: tuple[GateVerdict, ...] = ()
    rows: int = 0
    notes: tuple[str, ...] = field(default=())
    about: About | None = None
    format: int = FORMAT

    @property
    def passed(self) -> bool:
        """True when every gate passed. A report without gates has proven nothing and has not passed."""
        return bool(self.gates) and all(gate.passed for gate in self.gates)

    def _repr_html_(self) -> str:
        """What a notebook shows: findings in their own words, and gates. The page has the figures and the charts."""
        gates = [(gate.gate, "passed" if gate.passed else "FAILED", gate.reason) for gate in self.gates]
        said = [(finding.title, _SAID[finding.severity], finding.text) for finding in self.findings]
        rows = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{escape(cell)}</td>' for cell in row) + "</tr>"
            for row in [*said, *gates, *(("note", "", note) for note in self.notes)]
        )
        return f"<b>{escape(self.subject)}</b>, {self.rows} rows<table>{rows}</table>"

    def finding(self, check: str) -> Finding | None:
        """What the check of that name found, or None."""
        return next((finding for finding in self.findings if finding.check == check), None)

    def measure(self, name: str, group: str = "") -> Measure | None:
        """The measure of that name and group, or None."""
        for finding in self.findings:
            for measure in finding.measures:
                if measure.name == name and measure.group == group:
                    return measure
        return None
