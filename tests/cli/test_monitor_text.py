"""What a terminal shows of a window: quiet, alarms with what to do, and nothing read as markup."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console, RenderableType
from rich.text import Text

from fullcircle.cli import text
from fullcircle.cli.monitor_text import alarm, window
from fullcircle.types.monitoring import Alarm, Suspect, Window
from fullcircle.types.report import Finding, Report, Severity

ODD = "[red]heat[/] \u202e\x1b[2J🚲"  # markup is shown, what steers a terminal is not


def found(code: str, severity: Severity, words: str) -> Finding:
    return Finding(check="x", code=code, title=code, severity=severity, text=words)


def lot(*alarms: Alarm, findings: tuple[Finding, ...] = (), raised: tuple[str, ...] = ()) -> Window:
    return Window(
        name="since Monday",
        model="houses",
        version=1,
        since="2026-11-16T00:00:00.000000Z",
        until="2026-11-23T00:00:00.000000Z",
        rows=9,
        labelled=4,
        verdicts=(("ok", 7), ("flagged", 2)),
        alarms=alarms,
        raised=raised,
        report=Report(subject="houses", findings=findings, rows=9),
    )


def raised(**changes: object) -> Alarm:
    told: dict[str, object] = {
        "id": "houses-1-risk-1",
        "model": "houses",
        "version": 1,
        "kind": "risk",
        "severity": "page",
        "state": "open",
        "since": "2026-11-02T00:00:00.000000Z",
        "opened": "2026-11-23T00:00:00.000000Z",
        "updated": "2026-11-23T00:00:00.000000Z",
        "text": "the losses grew",
        "sure": "by chance once in 4 years",
        "advice": "retrain",
        "told": "2026-11-23T00:00:00.000000Z",
        "suspects": (Suspect(feature=ODD, distance=0.25, evidence=4.0),),
    }
    return Alarm(**{**told, **changes})  # type: ignore[arg-type]


def shown(one: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(one)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines(one: list[Text]) -> str:
    return "\n".join(each.plain for each in one)


def test_a_quiet_window_is_two_lines() -> None:
    assert shown(window(lot())) == "since Monday: 9 rows (7 ok, 2 flagged), 4 labelled\nquiet\n"


def test_quiet_is_only_what_was_judged() -> None:
    told = shown(window(replace(lot(), waits="2026-11-23T00:00:00.000000Z")))
    assert told.splitlines()[1:] == ["nothing judged yet: the first batch ends at 2026-11-23T00:00Z"]
    assert shown(window(replace(lot(), rows=0))).splitlines()[1:] == ["nothing to see yet"]


def test_an_alarm_that_waits_to_be_confirmed_says_so() -> None:
    assert "open, not confirmed yet, since" in lines(alarm(raised(told="")))
    assert "confirmed" not in lines(alarm(raised())) + lines(alarm(raised(told="", state="resolved")))


def test_an_alarm_says_what_since_when_what_moved_and_what_to_do() -> None:
    told = shown(window(lot(raised(), raised=("houses-1-risk-1",))))
    assert "page  houses-1-risk-1  new, open, since 2026-11-02T00:00" in told
    for words in ("  the losses grew", "  how sure: by chance once in 4 years", "  to do: retrain"):
        assert f"{words}\n" in told
    assert "  - [red]heat[/] [2J🚲: 0.250 bits away" in told
    assert "quiet" not in told


@pytest.mark.parametrize(
    ("suspect", "said"),
    [
        (Suspect(feature="bmi", distance=0.2, evidence=1.0, text="t", guess="looks multiplied by 10"), ": looks"),
        (Suspect(feature="bmi", distance=0.2, evidence=1.0, text="half is missing"), ": half is missing"),
        (Suspect(feature="bmi", distance=0.2, evidence=1.0, certain=False), " (the likeliest, not certain): 0.200"),
    ],
)
def test_a_column_is_told_with_the_guess_before_the_figures(suspect: Suspect, said: str) -> None:
    assert f"  - bmi{said}" in lines(alarm(raised(suspects=(suspect,))))


def test_who_took_it_on_when_it_ended_and_what_it_costs_are_told_where_they_are_known() -> None:
    plain = lines(alarm(raised()))
    assert "a day" not in plain
    told = lines(alarm(raised(state="acknowledged", acknowledged_by="ada", cost=2350.0, currency="EUR")))
    assert "acknowledged by ada, since" in told
    assert "  costs probably 2350 EUR a day" in told
    ended = lines(alarm(raised(state="resolved", resolved="2026-12-01T00:00:00.000000Z")))
    assert "resolved, since 2026-11-02T00:00 to 2026-12-01T00:00" in ended


def test_findings_that_worry_and_what_is_assumed_are_told() -> None:
    findings = (
        found("M001", "warning", "the alarm says it already"),
        found("M005", "warning", "3 requests failed"),
        found("M004", "good", "as expected"),
        found("M006", "info", "rows are taken as independent"),
    )
    told = shown(window(lot(findings=findings)))
    assert "look here: M005. 3 requests failed" in told
    assert "rows are taken as independent" in told
    assert "the alarm says it already" not in told
    assert "as expected" not in told


def test_the_text_of_a_turn_shows_windows_the_same_way() -> None:
    assert shown(text.window(lot())) == shown(window(lot()))
