"""The command `fullcircle replay`: what it prints, what scripts get, how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import circles
from flows.played_models import Played, played
from fullcircle.cli import app
from fullcircle.cli.replay import replayed
from fullcircle.types.loop import Changed, Difference, Replayed, Worth

TEXT = circles.PLAIN.replace('        fc.beats("champion"),\n', "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """Version 1 answered 40 rows, one of which it rejected; version 2 learned more."""
    found = played(tmp_path_factory.mktemp("command"), TEXT)
    found.make(learning_rate="0.01")
    found.make(promoted=False, day=1)
    rows: list[dict[str, Any]] = [{"rooms": 1 + n % 8, "heat": 15 + n / 4, "area": "north"} for n in range(39)]
    found.serve([*rows, {"rooms": "many", "heat": 20.0, "area": "north"}], day=2, version=1)
    return found


def asked(made: Played, *more: str) -> Any:
    """The command as it is typed."""
    arguments = ["replay", str(made.project), "--workspace", str(made.settings.workspace), *more]
    return CliRunner().invoke(app, arguments)


def test_people_read_how_many_for_whom_and_examples(made: Played) -> None:
    found = asked(made, "--version", "2", "--by", "rooms")
    assert found.exit_code == 0, found.output
    assert "houses version 2 beside what version 1 answered" in found.stdout
    assert "39 rows answered again" in found.stdout
    assert "answers would have differed" in found.stdout
    assert "by more than 0.01 of the greater" in found.stdout
    assert "rooms=1" in found.stdout
    assert "fullcircle why ID" in found.stdout
    assert "the log holds no values of rows that were rejected" in found.stdout.replace("\n", " ")


def test_scripts_get_one_document(made: Played) -> None:
    found = asked(made, "--version", "1", "--tolerance", "0", "--json")
    assert found.exit_code == 0
    document = json.loads(found.stdout)
    assert (document["rows"], document["changed"], document["against"]) == (39, 0, [1])
    assert document["left_out"] == [["the log holds no values of rows that were rejected", 1]]


def test_a_page_is_written_where_it_is_asked_for(made: Played) -> None:
    found = asked(made, "--version", "2", "--page", "--json")
    assert found.exit_code == 0, found.output
    page = Path(json.loads(found.stdout)["page"])
    assert page == made.settings.workspace / "pages" / "houses-replay-v2.html"
    assert "houses" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--version", "7"), "no version 7"),
        (("--version", "1", "--since", "soon"), "a time cannot be read"),
        (("--version", "1", "--tolerance", "much"), "the tolerance cannot be read"),
        (("--version", "1", "--by", "colour"), "the log does not hold"),
        (("--version", "1", "--until", "2020-01-01"), "no logged predictions"),
        ((), "version"),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_to_do(made: Played, flags: tuple[str, ...], said: str) -> None:
    found = asked(made, *flags)
    assert found.exit_code == 2
    assert said in found.stderr


def test_money_verdicts_and_doubts_are_shown() -> None:
    found = Replayed(
        model="houses",
        version=3,
        against=(1, 2),
        since="2026-03-01T00:00:00.000000Z",
        until="2026-03-31T00:00:00.000000Z",
        rows=1200,
        labelled=800,
        changed=300,
        groups=(
            Changed(column="", value="", rows=1200, changed=300, before=0.2, after=0.25),
            Changed(
                column="sex", value="f", rows=600, changed=200, before=0.1, after=0.2, earned_before=1, earned_after=2
            ),
        ),
        verdicts=(("ok", "ok", 1190), ("rejected", "may be answered", 4), ("ok", "flagged", 10)),
        differences=(
            Difference(
                on="fresh",
                metric="mae",
                rows=800,
                champion=2.0,
                challenger=1.5,
                difference=0.5,
                low=0.4,
                high=0.6,
                allowed=0.0,
                passed=True,
                text="mae: better (+0.5 in merit, +0.4 to +0.6)",
            ),
        ),
        examples=(("abc-1", "1.5", "2.5"),),
        worth=Worth(
            unit="EUR",
            horizon="30.0 d",
            rows=1200,
            per_row=0.5,
            low=0.4,
            high=0.6,
            cost=0,
            risk=0,
            measured=True,
            text="would have earned +600 EUR",
        ),
        notes=("something to know",),
        left_out=(("[red]a reason[/]", 4),),
        page="/somewhere/page.html",
    )
    text = _drawn(replayed(found))
    for words in (
        "beside what version 1, 2 answered",
        "2026-03-01T00:00:00Z to 2026-03-31T00:00:00Z",
        "300 answers would have differed (25.0%)",
        "on 800 labelled rows: mae: better",
        "would have earned +600 EUR",
        "sex=f",
        "earned now",
        "may be answered",
        "abc-1",
        "[red]a reason[/]",
        "note: something to know",
        "/somewhere/page.html",
    ):
        assert words in text
    assert "ok     ok" not in text, "verdicts that are the same are no news"


def _drawn(thing: object) -> str:
    from io import StringIO

    from rich.console import Console

    file = StringIO()
    Console(file=file, width=160, highlight=False).print(thing)
    return file.getvalue()
