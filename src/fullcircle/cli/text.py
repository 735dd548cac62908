"""How results look on a terminal: short tables, the decision last. Values are never read as markup."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fullcircle.cli.monitor_text import window as window
from fullcircle.types.loop import Step
from fullcircle.types.monitoring import Decision
from fullcircle.types.report import GateVerdict, Report
from fullcircle.types.tests import in_words
from fullcircle.types.turn import Deployed, Packaged, Probe, Removed, Snapshot, Trained, Turn

_COLOURS = {
    "passed": "green",
    "promote": "green",
    "keep": "green",
    "failed": "red",
    "hold": "yellow",
    "rollback": "yellow",
}

_CELL = 60  # characters of a decision in the table of models


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]], *, whole: int = 0) -> Table:
    """A plain table; None is shown as a dash. The first ``whole`` columns are never broken: they hold ids."""
    made = Table(title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        made.add_column(Text(column), header_style="dim", overflow="fold", no_wrap=place < whole)
    for row in rows:
        made.add_row(*(Text("-" if cell is None else str(cell)) for cell in row))
    return made


def number(value: float | None) -> str:
    """A figure with four significant digits."""
    return "-" if value is None else f"{value:.4g}"


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """A figure and its 95 % interval."""
    if value is None or low is None or high is None:
        return number(value)
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def gates(verdicts: tuple[GateVerdict, ...]) -> RenderableType:
    """The gates and what they said."""
    rows = [("passed" if verdict.passed else "FAILED", verdict.gate, verdict.reason) for verdict in verdicts]
    return table("gates", ("", "gate", "reason"), rows) if rows else Text("no gates are declared: nothing can pass")


def report(found: Report) -> RenderableType:
    """A report's headline measures and gates."""
    rows = [
        (measure.name, measure.group, interval(measure.value, measure.low, measure.high), measure.unit, measure.n)
        for finding in found.findings
        for measure in finding.measures
    ]
    notes = [Text(note) for note in found.notes]
    return Group(table("measures", ("measure", "group", "value", "unit", "rows"), rows), gates(found.gates), *notes)


def trained(found: Trained) -> RenderableType:
    """What was trained and how it did."""
    tried = [
        (
            candidate.name,
            interval(candidate.value, candidate.low, candidate.high),
            "chosen" if candidate.chosen else "",
        )
        for candidate in found.candidates
    ]
    main = found.report.measure(found.metric)
    counted = f"{found.train_rows} rows to train, {found.test_rows} to test"
    if not found.train_rows:
        counted = f"trained elsewhere, {found.test_rows} rows to test"
    lines: list[RenderableType] = [
        Text(f"run {found.run[:12]} on snapshot {found.snapshot.digest[:12]}: {counted} ({found.split})")
    ]
    if main is not None:
        lines.append(Text(f"{found.metric} {interval(main.value, main.low, main.high)}"))
    if tried:
        lines.append(table("candidates (validation rows)", ("name", found.metric, ""), tried))
    serious = [
        Text.assemble(("look here: ", "yellow"), (f"{finding.title}. ", "bold"), finding.text)
        for finding in found.report.findings
        if finding.severity in ("warning", "bad")
    ]
    page = [Text(f"The report, to look at: {found.report_page}")] if found.report_page else []
    return Group(*lines, gates(found.report.gates), *serious, *page)


def packaged(found: Packaged) -> RenderableType:
    """A version and its proof."""
    lines = [
        f"{found.model} version {found.version}: bundle {found.bundle[:12]}, {found.size_bytes / 1e6:.1f} MB, "
        f"{found.proof.golden_rows} golden rows answered with the same bits in a clean environment"
    ]
    lines += [f"tests: {in_words(found.tests)}"] if found.tests else []
    lines += [f"written to {found.folder}; check it anywhere with: fullcircle verify FILE"] if found.folder else []
    return Text("\n".join(lines))


def removed(found: Removed) -> RenderableType:
    """What was stopped."""
    return Text(f"stopped {found.url}" if found.url else f"no server of {found.model} runs")


def deployed(found: Deployed) -> RenderableType:
    """Where a model answers."""
    return Text(f"{found.model} version {found.version} answers at {found.url}/predict/{found.model}")


def decision(found: Decision) -> RenderableType:
    """What was decided and why."""
    version = "" if found.version is None else f" version {found.version}"
    head = Text(f"{found.action}: {found.model}{version}", style=_COLOURS[found.action])
    return Group(head, Text(found.reason))


def step(found: Step) -> RenderableType:
    """What a turn of the loop decided, and the sums behind it."""
    if found.decision is None:
        return Text(f"loop: nothing asks for a retraining ({found.labelled:,} labelled rows since the last decision)")
    sums = [each.text for each in (found.expected, found.measured) if each is not None]
    return Group(decision(found.decision), *(Text(f"  {each}", style="dim") for each in sums))


def approval(found: Any) -> RenderableType:
    """Who approved what, and what to do next."""
    login = f", login {found.login}" if found.login else ""
    head = Text(
        f"approved: {found.model} version {found.version}, by {found.actor}{login} (fact {found.seq})", style="green"
    )
    return Group(head, Text(found.reason), Text(f"next: fullcircle promote {found.model} --version {found.version}"))


def _differ(found: Deployed) -> str:
    return f"at most {found.largest_difference:g} apart" if found.largest_difference else "the same numbers"


def probes(found: tuple[Probe, ...]) -> RenderableType:
    """Wrong rows and their verdicts."""
    rows = [
        (
            probe.title,
            probe.prediction.verdict.status,
            probe.prediction.value if probe.prediction.value is None else number_or_text(probe.prediction.value),
            "; ".join(problem.text for problem in probe.prediction.verdict.problems),
        )
        for probe in found
    ]
    return table("rows that do not fit", ("row", "verdict", "answer", "why"), rows)


def number_or_text(value: object) -> str:
    """A prediction, short."""
    return number(value) if isinstance(value, float) else str(value)


def turn(found: Turn) -> RenderableType:
    """One turn of the circle, in a page of text."""
    parts: list[RenderableType] = [Text(""), trained(found.trained), Text(""), decision(found.decision)]
    if found.packaged is not None:
        parts += [packaged(found.packaged)]
    if found.deployed is not None:
        parts += [
            deployed(found.deployed),
            Text(f"{found.deployed.rows} rows scored online and in batch: {_differ(found.deployed)}"),
        ]
    if found.probes:
        parts += [Text(""), probes(found.probes)]
    for one in found.windows:
        parts += [Text(""), window(one)]
    if found.retrained is not None:
        parts += [Text(""), Text("retraining", style="bold"), decision(found.retrained.decision)]
    steps = "\n".join(f"  {step}" for step in found.next_steps)
    parts += [Text(f"\n{found.seconds:.0f} s. The whole story: {found.page}\nnext:\n{steps}")]
    return Group(*parts)


def leaderboard(rows: Any) -> RenderableType:
    """Runs, best first."""
    if not rows:
        return Text("no runs yet: fullcircle train PROJECT")
    return table(
        "runs",
        ("run", "name", "metric", "value", "status", "started", "snapshot", "parameters"),
        (
            (
                row.id[:12],
                row.name,
                row.metric,
                interval(row.value, row.low, row.high),
                row.status,
                row.started[:16],
                (row.snapshot or "")[:12],
                ", ".join(f"{key}={value}" for key, value in row.params.items()),
            )
            for row in rows
        ),
        whole=1,
    )


def snapshots(found: tuple[Snapshot, ...]) -> RenderableType:
    """Snapshots, oldest first."""
    if not found:
        return Text("none")
    rows = [(s.digest[:12], s.rows, s.columns, s.created[:16], (s.parent or "")[:12], s.source) for s in found]
    return table("snapshots", ("digest", "rows", "columns", "created", "grew from", "source"), rows, whole=1)


def difference(found: Any) -> RenderableType:
    """What changed between two snapshots."""
    import msgspec

    rows = [(key, value) for key, value in msgspec.to_builtins(found).items()]
    return table("changes", ("what", "value"), rows)


def scored(found: Any) -> RenderableType:
    """What a batch made."""
    import msgspec

    return table("scored", ("what", "value"), msgspec.to_builtins(found).items())


def written(found: Any) -> RenderableType:
    """What init proposes."""
    proposal = found.proposal
    lines = [f"wrote {found.path}", f"label: {proposal.label} ({proposal.task}), time: {proposal.time or 'none'}"]
    lines += [f"left out {name}: {why}" for name, why in dict(proposal.left_out).items()]
    lines += [*proposal.notes, f"read it, change it, then: fullcircle run {found.path}"]
    return Text("\n".join(lines))


def status(found: Any) -> RenderableType:
    """The workspace at a glance."""
    rows = [
        (
            model.name,
            model.champion,
            ", ".join(_version(model, number) for number in model.versions),
            model.url or "not deployed",
            model.last_window,
            _brief(model.last_decision),
        )
        for model in found.models
    ]
    if not rows:
        return Text(f"{found.workspace}: nothing yet. Begin with: fullcircle run PROJECT")
    shown = table(found.workspace, ("model", "champion", "versions", "server", "last window", "last decision"), rows)
    splits = [Text(f"{model.name}, {model.split}") for model in found.models if model.split]
    sums = [
        Text(f"{model.name}, last decision: {told}", style="dim") for model in found.models for told in _rested(model)
    ]
    return Group(shown, *splits, *sums, *(Text(f"note: {note}", style="yellow") for note in found.notes))


def _brief(decision: str) -> str:
    """A decision that fits into a column; what is longer has lines of its own below."""
    return decision if len(decision) <= _CELL else f"{decision.partition(':')[0]}: see below"


def _rested(model: Any) -> list[str]:
    """The last decision where it is too long for its column, and the sums behind it."""
    whole = [model.last_decision] if len(model.last_decision) > _CELL else []
    return [*whole, *(_sums(model.last_step) if model.last_step is not None else ())]


def _sums(step: Any) -> tuple[str, ...]:
    from fullcircle.flows.steps import sums

    return sums(step)


def _version(model: Any, number: int) -> str:
    """A version's number, and what is special about it: it waits for a person, or its model file runs code."""
    waits = " (waits)" if number in model.waiting else ""
    return f"{number}{waits}{' (pickle)' if number in model.pickled else ''}"


def why(found: Any) -> RenderableType:
    """The way from a prediction to its origins."""
    prediction = found.prediction
    inputs = ", ".join(f"{key}={value}" for key, value in (prediction.inputs or {}).items())
    outcome = "not come yet" if found.outcome is None else str(found.outcome.value)
    rows = [
        ("prediction", f"{prediction.value} at {prediction.time[:19]}, verdict {prediction.verdict.status}"),
        *_gone(found.erased),
        *(("", problem.text) for problem in prediction.verdict.problems),
        ("row", inputs),
        *((f"features of {one.table}", _origin(one)) for one in found.features),
        ("outcome", outcome),
        *(("reason", reason) for reason in found.reasons),
        *([("reasons", f"none: {found.reasons_note}")] if found.reasons_note else []),
        ("version", f"{prediction.model} {prediction.version}"),
        ("bundle", found.bundle),
        *_consented(found.consent),
        ("proof", f"{found.proof.golden_rows} golden rows, same bits: {found.proof.same_bits}, {found.proof.python}"),
        ("run", f"{found.run} ({found.candidate}), code {found.code[:12]}"),
        *(("gate", f"{'passed' if g.passed else 'FAILED'}: {g.gate}: {g.reason}") for g in found.report.gates),
        *(
            (fact.kind, f"fact {fact.seq} by {fact.actor} at {fact.time[:19]}: {fact.body.get('reason', '')}")
            for fact in (*found.approvals, *found.decisions)
        ),
        *(("sums", told) for step in found.steps for told in _sums(step)),
        ("snapshot", f"{found.snapshot.digest} ({found.snapshot.rows} rows from {found.snapshot.source})"),
    ]
    return table(f"why {prediction.id}", ("", ""), rows)


def _gone(fact: Any) -> list[tuple[str, str]]:
    """When, by whom and why a row was erased."""
    if fact is None:
        return []
    return [("erased", f"fact {fact.seq} by {fact.actor} at {fact.time[:19]}: {fact.body.get('reason', '')}")]


def _consented(fact: Any) -> list[tuple[str, str]]:
    """When and by whom a model file that runs code was let in."""
    if fact is None:
        return []
    told = f"fact {fact.seq} by {fact.actor} at {fact.time[:19]}: its model file runs code when it is loaded"
    return [(fact.kind, told)]


def _origin(one: Any) -> str:
    if one.commit is None:
        return f"{', '.join(one.features)}: no row was known"
    return (
        f"{', '.join(one.features)}: latest row {one.row} of batch {one.batch} (commit {one.commit}), event "
        f"{one.event[:19]}, known from {one.available[:19]}; {one.events} rows known then"
    )


def audit(found: Any) -> RenderableType:
    """Whether the ledger holds."""
    head = f"{found.facts} facts, {found.checkpoints} signed checkpoints"
    if not found.problems and not found.checkpoints:
        return Text(
            f"{head}: the chain holds. Without a checkpoint of your own, a shortened or wholly rewritten ledger "
            "cannot be told from a true one",
            style="yellow",
        )
    if not found.problems:
        return Text(f"{head}: the chain holds", style="green")
    return Group(
        Text(f"{head}: the chain does NOT hold", style="red"),
        table("problems", ("kind", "fact", "what"), ((p.kind, p.seq, p.text) for p in found.problems)),
    )
