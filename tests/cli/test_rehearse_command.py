"""``fullcircle rehearse``: what it prints, and how it ends."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner

from flows import histories
from fullcircle.cli import app
from fullcircle.cli.rehearse import rehearsal
from fullcircle.types.loop import Policy, Rehearsal, Told


def policy(name: str, **more: object) -> Policy:
    return Policy(name=name, metric=4.25, value=8.5, earned=1234.4, trained=3, promoted=2, alarms=5, **more)  # type: ignore[arg-type]


def found(told: tuple[Told, ...] = (), page: str = "/somewhere/page.html") -> Rehearsal:
    return Rehearsal(
        model="kettles",
        metric="mae",
        higher_is_better=False,
        since="2024-02-19T00:00:00.000000Z",
        until="2024-06-17T00:00:00.000000Z",
        first=404,
        rows=1020,
        seconds=12.3,
        policies=(policy("shipped", told=told), policy("hindsight")),
        currency="EUR",
        verdict=("The shipped loop did better than never retraining.",),
        notes=("It cannot show everything.",),
        page=page,
    )


def shown(noun: Rehearsal) -> str:
    printed = io.StringIO()
    Console(width=200, file=printed).print(rehearsal(noun))
    return printed.getvalue()


def test_it_shows_policies_the_story_the_verdict_and_the_page() -> None:
    told = tuple(Told(at=f"2024-03-{day:02}T00:00:00Z", kind="hold", text="because " * 30) for day in range(1, 29))
    text = shown(found(told + told))
    assert "1,020 rows from 2024-02-19 to 2024-06-17, version 1 of 404 rows before (12 s)" in text
    assert "EUR a row" in text
    assert "1,234" in text
    line = next(line for line in text.splitlines() if line.startswith("hindsight"))
    assert line.split() == ["hindsight", "4.25", "8.5", "1,234"]
    assert "2024-03-01 hold: ... " in text
    assert "... and 16 more: see the page" in text
    assert "- The shipped loop did better" in text
    assert "page: /somewhere/page.html" in text


def test_without_money_or_a_page_there_is_none_to_show() -> None:
    noun = found(page="")
    plain = tuple(Policy(name=each.name, metric=each.metric) for each in noun.policies)
    text = shown(
        Rehearsal(**{**{name: getattr(noun, name) for name in noun.__dataclass_fields__}, "policies": plain})
    )
    assert "EUR" not in text
    assert "page" not in text


def test_wrong_use_says_what_is_allowed(tmp_path: Path) -> None:
    file = str(histories.project(tmp_path / "p", histories.rows(weeks=2)))
    call = ["rehearse", file, "--workspace", str(tmp_path / "w")]
    wrong = CliRunner().invoke(app, [*call, "--try", "monitor.widow=1d"])
    assert wrong.exit_code == 2
    assert "setting_invalid" in wrong.output
    assert "monitor.window" in wrong.output
    when = CliRunner().invoke(app, [*call, "--since", "yesterday"])
    assert when.exit_code == 2
    assert "ISO 8601" in when.output
    short = CliRunner().invoke(app, [*call, "--json"])
    assert short.exit_code == 2
    assert '"code": "data_unfit"' in short.output
