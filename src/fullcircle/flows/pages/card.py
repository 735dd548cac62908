"""The model card: a report in Markdown, in the order of Mitchell et al., "Model cards for model reporting" (2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from fullcircle.flows.pages import words
from fullcircle.flows.pages.markdown import code, table, text
from fullcircle.types.approval import Approval
from fullcircle.types.report import About, Finding, Measure, Report

_UNKNOWN = "not stated"
_SIGNS = {"bad": "bad", "warning": "look here"}
# Sections of their own; findings of other checks stand under "Further checks".
_OWN = ("quality", "calibration", "value", "fairness", "importance", "serving")
_GAIN = "improvement_over_"
_RIVALS = ("baseline_", "champion_")
_COLUMNS_SHOWN = 10
_ROWS_SHOWN = 40


def model_card(report: Report, *, name: str = "", approvals: Sequence[Approval] | None = None) -> str:
    """The model card of a report as Markdown text, for people who decide about the model or are affected by it.

    ``name`` is the title ("bike-demand v2"), the report's subject where it is not given. ``approvals`` are None for a
    report just made, which nobody can have approved yet. What nobody stated is said to be not stated; the card makes
    nothing up.
    """
    about = report.about or About()
    parts = (
        [f"# Model card: {text(name or report.subject)}"],
        _decision(report, approvals),
        ["## Intended use", text(about.purpose) or _UNKNOWN],
        _limits(report, about),
        _data(report, about),
        _performance(report),
        _told(report, "calibration", "Calibration"),
        _told(report, "value", "Value"),
        _fairness(report),
        _explanation(report),
        _told(report, "serving", "How to serve it"),
        _further(report),
        _reproducing(report, about),
    )
    blocks = [block for part in parts for block in _blocks(part)]
    return "\n\n".join(blocks) + "\n"


def _blocks(lines: Sequence[str]) -> Iterator[str]:
    """Lines of one table or list stay together, everything else is a paragraph."""
    for kind, together in groupby(lines, key=lambda line: line[:2] if line.startswith(("| ", "- ")) else ""):
        if kind:
            yield "\n".join(together)
        else:
            yield from together


def _decision(report: Report, approvals: Sequence[Approval] | None) -> list[str]:
    if not report.gates:
        lines = ["**Nothing proven**: no gates were asked."]
    elif report.passed:
        all_ = "the gate" if len(report.gates) == 1 else f"all {len(report.gates)} gates"
        lines = [f"**Passed**: {all_} said yes."]
    else:
        failed = sum(not gate.passed for gate in report.gates)
        some = "the gate" if len(report.gates) == 1 else f"{failed} of {words.plural(len(report.gates), 'gate')}"
        lines = [f"**Held**: {some} said no."]
    if report.gates:
        rows = [
            ("passed" if gate.passed else "**failed**", text(gate.gate), text(gate.reason)) for gate in report.gates
        ]
        lines += table(("answer", "gate", "why"), rows)
    for approval in approvals or ():
        what = f" version {approval.version}" if approval.version else ""
        reason = text(approval.reason) or "no reason given"
        login = f" (login {text(approval.login)})" if approval.login else ""
        lines.append(
            f"- Approved{what} by **{text(approval.actor)}**{login}, {text(words.when(approval.time))}: {reason}"
        )
    return ["## Decision", *lines, *([] if approvals else [_unapproved(report, approvals)])]


def _unapproved(report: Report, approvals: Sequence[Approval] | None) -> str:
    if approvals is not None:
        return "Nobody's approval is recorded."
    told = "Not yet approved by a person when this was written"
    if report.about is None or not report.about.run:
        return f"{told}."
    return f"{told}; `fullcircle card MODEL@N` writes it as things stand now."


def _limits(report: Report, about: About) -> list[str]:
    """The project's own words, and then what the report shows it not to know or not to do well."""
    lines = ["## Limits", text(about.limits) or _UNKNOWN]
    shown = [found for found in _ordered(report) if found.severity in _SIGNS]
    lines += [f"- **{_SIGNS[found.severity]}**, {text(found.title)}: {text(found.text)}" for found in shown]
    lines += [f"- {text(measure)}" for measure in _unknown(report)]
    return lines + [f"- {text(note)}" for note in report.notes]


def _unknown(report: Report) -> Iterator[str]:
    for finding in _ordered(report):
        for measure in finding.measures:
            # What is not known of a rival is no limit of this model.
            rival = measure.name.startswith(_RIVALS)
            if not measure.usable and not rival and finding.check in ("quality", "fairness"):
                of = f" of {measure.group}" if measure.group else ""
                yield f"unknown: {measure.name}{of}" + (f" ({measure.method})" if measure.method else "")


def _data(report: Report, about: About) -> list[str]:
    facts = [
        ("source", text(about.source)),
        ("snapshot", code(about.snapshot) if about.snapshot else ""),
        ("rows", _rows(report, about)),
        ("split", text(about.split)),
        ("label", text(f"{about.label} ({about.unit})" if about.unit and about.label else about.label)),
        ("classes", text(", ".join(about.classes))),
        (f"features ({len(about.features)})", text(", ".join(about.features))),
        ("protected columns", text(", ".join(about.protected))),
    ]
    return [
        "## Data",
        *(f"- {word}: {said or _UNKNOWN}" for word, said in facts if said or word in ("source", "split")),
    ]


def _rows(report: Report, about: About) -> str:
    learned = f"{words.figure(about.train_rows)} to learn from, " if about.train_rows else ""
    return f"{learned}{words.figure(report.rows)} to test on"


def _performance(report: Report) -> list[str]:
    """The metrics on all rows beside those of the trivial model and the champion, and what was gained over them."""
    quality = report.finding("quality")
    if quality is None:
        return ["## Performance", "Not measured."]
    gains = [measure for measure in quality.measures if measure.name.startswith(_GAIN) and not measure.group]
    whole = {each.name: each for each in quality.measures if not each.group and each not in gains}
    rows = []
    for name, measure in whole.items():
        if name.startswith(_RIVALS) and name.partition("_")[2] in whole:
            continue
        beside = [_value(rival) if (rival := whole.get(f"{prefix}{name}")) else "" for prefix in _RIVALS]
        rows.append((text(name), _value(measure), _interval(measure), *beside, _count(measure), text(measure.method)))
    lines = table(("measure", "value", "95 % interval", "trivial model", "champion", "rows", "how"), rows)
    return ["## Performance", text(quality.text), *(lines if rows else []), *(_gained(gain) for gain in gains)]


def _gained(gain: Measure) -> str:
    interval = "" if gain.low is None or gain.high is None else f" (95 % {_interval(gain)})"
    how = f", {text(gain.method)}" if gain.method else ""
    return f"- improvement over the {text(gain.name.removeprefix(_GAIN))}: {_value(gain)}{interval}{how}"


def _value(measure: Measure) -> str:
    if not measure.usable:
        return "unknown"
    return text(f"{words.figure(measure.value)} {measure.unit}")


def _interval(measure: Measure) -> str:
    return text(words.interval(measure.low, measure.high))


def _count(measure: Measure) -> str:
    return words.figure(measure.n or None)


def _told(report: Report, check: str, title: str) -> list[str]:
    """A section of one check: its sentences and its figures for all rows."""
    finding = report.finding(check)
    if finding is None:
        return []
    measures = [measure for measure in finding.measures if not measure.group][:_ROWS_SHOWN]
    rows = [(text(each.name), _value(each), _interval(each), _count(each)) for each in measures]
    lines = table(("measure", "value", "95 % interval", "rows"), rows) if rows else []
    return [f"## {title}", text(finding.text), *lines]


def _fairness(report: Report) -> list[str]:
    """Figures of every group that any of the fairness findings measured, those for all rows first."""
    finding = report.finding("fairness")
    if finding is None:
        return ["## Fairness", "Not checked."]
    shown = sorted(finding.measures, key=lambda measure: bool(measure.group))[:_ROWS_SHOWN]
    rows = [
        (text(each.group) or "all", text(each.name), _value(each), _interval(each), _count(each)) for each in shown
    ]
    lines = table(("group", "measure", "value", "95 % interval", "rows"), rows) if rows else []
    left = len(finding.measures) - len(shown)
    return [
        "## Fairness",
        text(finding.text),
        *lines,
        *([f"{words.figure(left)} more are in the report."] if left else []),
    ]


def _explanation(report: Report) -> list[str]:
    """The columns that the answers depend on most, and what the check says of them."""
    finding = report.finding("importance")
    if finding is None:
        return []
    columns = [measure for measure in finding.measures if measure.group and measure.usable]
    first = columns[0].name if columns else ""
    ranked = sorted((each for each in columns if each.name == first), key=lambda each: -abs(each.value or 0.0))
    rows = [(text(each.group), _value(each), _interval(each)) for each in ranked[:_COLUMNS_SHOWN]]
    lines = table(("column", text(first), "95 % interval"), rows) if rows else []
    return ["## Explanation", text(finding.text), *lines]


def _further(report: Report) -> list[str]:
    others = [found for found in _ordered(report) if found.check not in _OWN]
    said = {"good": "good", "info": "for information", **_SIGNS}
    lines = [f"- **{text(found.title)}** ({said[found.severity]}): {text(found.text)}" for found in others]
    return ["## Further checks", *lines] if lines else []


def _reproducing(report: Report, about: About) -> list[str]:
    facts = [
        ("algorithm", text(about.algorithm)),
        ("run", code(about.run) if about.run else ""),
        ("code", code(about.code) if about.code else ""),
        ("snapshot", code(about.snapshot) if about.snapshot else ""),
        ("report format", str(report.format)),
    ]
    return ["## Reproducibility", *(f"- {word}: {said}" for word, said in facts if said)]


def _ordered(report: Report) -> list[Finding]:
    return sorted(report.findings, key=lambda finding: finding.code)
