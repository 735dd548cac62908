"""How a window of monitoring looks on a terminal: what came, each alarm with what to do, what else is to be known."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from fullcircle.types.monitoring import Alarm, Window

_WORRY = ("warning", "bad")


def window(found: Window) -> RenderableType:
    """A window: its rows, its alarms, the findings that want to be read."""
    verdicts = ", ".join(f"{count} {status}" for status, count in found.verdicts) or "none"
    head = Text(f"{found.name}: {found.rows} rows ({verdicts}), {found.labelled} labelled")
    lines: list[Text] = [head]
    if not found.alarms:
        lines.append(_calm(found))
    for one in found.alarms:
        lines += alarm(one, new=one.id in found.raised)
    lines += [
        Text.assemble(("look here: ", "yellow"), f"{finding.title}. {finding.text}")
        for finding in found.report.findings
        if finding.severity in _WORRY and finding.code not in ("M001", "M002")
    ]
    lines += [Text(finding.text, style="dim") for finding in found.report.findings if finding.code == "M006"]
    return Group(*lines)


def _calm(found: Window) -> Text:
    """What there is to say without an alarm: quiet is only what was judged."""
    if found.waits:
        return Text(f"nothing judged yet: the first batch ends at {found.waits[:16]}Z", style="dim")
    return Text("quiet", style="green") if found.rows else Text("nothing to see yet", style="dim")


def alarm(found: Alarm, *, new: bool = False) -> list[Text]:
    """An alarm in a few lines: what it is and since when, what moved, how sure that is, what to do."""
    from fullcircle.monitoring.alarmwords import plain

    style = "green" if found.state == "resolved" else "red" if found.severity == "page" else "yellow"
    state = f"{found.state} by {plain(found.acknowledged_by)}" if found.acknowledged_by else found.state
    state += ", not confirmed yet" if found.state == "open" and not found.told else ""
    since = f", since {found.since[:16]}" + (f" to {found.resolved[:16]}" if found.resolved else "")
    head = Text.assemble((found.severity, style), f"  {found.id}  {'new, ' if new else ''}{state}{since}")
    lines = [head, Text(f"  {found.text}")]
    for suspect in found.suspects:
        perhaps = "" if suspect.certain else " (the likeliest, not certain)"
        said = "; ".join(plain(each) for each in (suspect.guess, suspect.text) if each)
        lines.append(Text(f"  - {plain(suspect.feature)}{perhaps}: {said or f'{suspect.distance:.3f} bits away'}"))
    cost = (
        f"  costs probably {found.cost:.4g} {plain(found.currency)}".rstrip() + " a day"
        if found.cost is not None
        else ""
    )
    lines += [Text(cost)] if cost else []
    lines += [Text(f"  how sure: {found.sure}", style="dim")] if found.sure else []
    lines += [Text(f"  to do: {found.advice}")] if found.advice else []
    return lines
