"""Evaluate: run the registered checks on a subject and let the gates decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fullcircle import registry
from fullcircle.errors import FullcircleError, PluginBroken
from fullcircle.evaluation import groups, metrics, serving
from fullcircle.evaluation.check import Check, Skipped, Subject
from fullcircle.evaluation.gates import decide, refuse_others, refuse_unknown
from fullcircle.types.gates import Gate
from fullcircle.types.progress import Progress, Silent
from fullcircle.types.report import Finding, Report


def evaluate(
    subject: Subject,
    gates: Sequence[Gate] | None = None,
    *,
    has_champion: bool | None = None,
    checks: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Report:
    """The report on a subject: one finding per check, in the order of their codes, and the gates' answers.

    ``gates`` are the subject's where not given, ``has_champion`` is whether the subject has a champion's answers (say
    True where there is a champion that could not answer: then "beats the champion" fails), ``checks`` all
    registered ones. A check that does not apply is a note; one that raises is a finding of severity bad, and the
    gates that need its measures say no. Raises DataUnfit or PredictionInvalid for answers that no check could judge,
    ProjectInvalid or ColumnMissing for gates that could never be decided, PluginUnknown or PluginBroken for a check
    that cannot be loaded.
    """
    subject.refuse_unfit()
    # Checks read the gates from their subject, so figures and verdicts go by the same ones.
    subject = replace(subject, gates=refuse_others(subject.gates if gates is None else gates))
    gates = subject.gates
    classes = len(subject.classes) if subject.task == "classification" else None
    refuse_unknown(gates, task=subject.task, columns=list(subject.frame.columns), classes=classes)
    metrics.own(subject)  # refuses labels that cannot be reckoned with
    grouped = {gate.by: groups.of_rows(subject.frame, gate.by)[1] for gate in gates if gate.by}
    ordered = sorted((_load(name) for name in checks or registry.names("checks")), key=lambda check: check.code)
    findings: list[Finding] = []
    notes: list[str] = []
    for done, check in enumerate(ordered):
        (progress or Silent()).advance(done, len(ordered))
        answer = _run(check, subject)
        if isinstance(answer, Skipped):
            notes.append(f"{check.name} was not checked: {answer.reason}")
        else:
            findings.append(answer)
    (progress or Silent()).advance(len(ordered), len(ordered))
    report = Report(subject=subject.model, findings=tuple(findings), rows=subject.rows, notes=tuple(notes))
    if subject.serving is not None:
        sheet = serving.sheet(report, subject.serving, currency=subject.currency)
        report = replace(report, findings=(*report.findings, sheet))
    champion = subject.champion is not None if has_champion is None else has_champion
    return replace(report, gates=decide(gates, report, has_champion=champion, grouped=grouped))


def needed_for(gates: Sequence[Gate]) -> tuple[str, ...]:
    """The names of the checks that these gates read, and of that on quality, which every decision is told with."""
    known = {name: getattr(registry.find("checks", name), "measures", ()) for name in registry.names("checks")}
    kinds = {"fair": "fairness", "worth": "value", "latency": "operations", "size": "operations"}
    found = {"quality"} | {kinds[gate.kind] for gate in gates if gate.kind in kinds}
    found |= {"fairness" for gate in gates if gate.by}
    found |= {name for gate in gates for name, measures in known.items() if gate.metric in measures}
    return tuple(sorted(found & set(known)))


def _load(name: str) -> Check:
    kind = registry.find("checks", name)
    try:
        check: Check = kind()
    except TypeError as error:
        raise PluginBroken(
            f"the check {name!r} could not be made: {error}",
            allowed="a class that needs no arguments",
            next_step="mend the package that registers it",
        ) from error
    return check


def _run(check: Check, subject: Subject) -> Finding | Skipped:
    try:
        return check.run(subject)
    except Exception as error:  # noqa: BLE001 - a check may run anyone's code; its failure is a finding, not a crash
        return Finding(
            check=check.name,
            code=check.code,
            title=f"{check.name} failed",
            severity="bad",
            text=f"The check {check.name} could not be made: {_said(error)}",
        )


def _said(error: Exception) -> str:
    """An error in one line, with its type where it is not one of ours."""
    if isinstance(error, FullcircleError):
        return "; ".join(str(error).split("\n  "))
    return f"{type(error).__name__}: {error}"
