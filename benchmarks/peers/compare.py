"""``python -m benchmarks.peers.compare``: the cases of the law on Feast, beside what the law says: docs/feast.md.

The cases are those of tests/features/cases.py: the named ones, and drawn ones of kinds that Feast has too.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.peers.judging import Found, expected, judged, text
from benchmarks.peers.talking import FEAST, PROGRAMS, feast
from benchmarks.rows import ROOT, once
from features.cases import AVAILABLE_AT, EVENT_TIME, SECOND, Case, cases, named_cases

DRAWN = 200
KINDS = ("int64", "float64", "text", "bool")
KEYS = {"int64", "text"}
WAYS = {
    "dask": "offline, dask",
    "duckdb": "offline, duckdb",
    "online dask": "online SQLite, from dask",
    "online duckdb": "online SQLite, from duckdb",
}
PAGE = ROOT / "docs" / "feast.md"
Answers = Mapping[str, Mapping[str, Any]]


def main() -> int:
    """Make Feast's environment, ask it, and write the page."""
    named, drawn = named_cases(), drawn_cases()
    expressible = {name: case for name, case in named.items() if case.closed == "right"}
    every = {f"named-{place}": case for place, case in enumerate(expressible.values())}
    every |= {f"drawn-{place}": case for place, case in enumerate(drawn)}
    with tempfile.TemporaryDirectory(prefix="fullcircle-feast-") as name:
        folder = Path(name)
        export(every, folder)
        once([str(feast(folder / "feast")), str(PROGRAMS / "feast_cases.py"), str(folder)], cwd=folder)
        told = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    answers = told["answers"]
    by_name = {name: answers[f"named-{place}"] for place, name in enumerate(expressible)}
    text = page(told["versions"], named, by_name, drawn, [answers[f"drawn-{place}"] for place in range(len(drawn))])
    PAGE.write_text(text, encoding="utf-8")
    print(f"written to {PAGE.relative_to(ROOT)}")
    return 0


def drawn_cases(count: int = DRAWN) -> list[Case]:
    """The same cases each time, with a label and a row at least, and keys of kinds that Feast can have online."""
    found: list[Case] = []

    @settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=6 * count,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases(kinds=KINDS))
    def draw(case: Case) -> None:
        if case.labels and case.replay_rows() and set(case.keys.values()) <= KEYS:
            found.append(replace(case, closed="right"))

    draw()
    return found[:count]


def microseconds(at: int) -> int:
    """A time for a system of microseconds: whole seconds stay, a nanosecond beside them becomes a microsecond.

    The order of times and the sums of times and spans stay as they are.
    """
    whole = (at + SECOND // 2) // SECOND
    return whole * 10**6 + (at - whole * SECOND)


def export(every: Mapping[str, Case], folder: Path) -> None:
    """The rows of each case as Parquet, and what is asked of it as JSON."""
    told = []
    for name, case in every.items():
        (folder / name).mkdir()
        table = pa.concat_tables(case.arrow_rows()) if case.batches else pa.table({})
        for column in (EVENT_TIME, AVAILABLE_AT):
            moments = [microseconds(at) for at in table.column(column).cast(pa.int64()).to_pylist()]
            place = table.column_names.index(column)
            table = table.set_column(place, column, pa.array(moments, pa.timestamp("us", "UTC")))
        pq.write_table(table, folder / name / "rows.parquet")
        told.append(
            {
                "id": name,
                "keys": case.keys,
                "columns": case.columns,
                "max_age": case.max_age and microseconds(case.max_age),
                "labels": [[list(key), microseconds(at)] for key, at in case.labels],
            }
        )
    (folder / "cases.json").write_text(json.dumps(told), encoding="utf-8")


# --- the page -----------------------------------------------------------------------------------------


def page(
    versions: Mapping[str, str],
    named: Mapping[str, Case],
    by_name: Mapping[str, Answers],
    drawn: Sequence[Case],
    answers: Sequence[Answers],
) -> str:
    """The page as text."""
    told = ", ".join(f"{name} {number}" for name, number in versions.items())
    found = {way: [judged(case, answer[way]) for case, answer in zip(drawn, answers, strict=True)] for way in WAYS}
    lines = [
        "# The cases of the law on Feast",
        "",
        f"Feast {FEAST} asked for latest values, beside what the law says (`tests/features/replay.py`). Written by",
        "`python -m benchmarks.peers.compare`, which makes Feast's environment, asks, and compares.",
        "",
        f"- {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}; {told}",
        *SETTINGS,
        "",
        "## Known traps",
        "",
        "The answers of the labels in order. Feast's are said where they differ.",
        "",
        _row("trap", "the law", *WAYS.values()),
        _row(*["---"] * (2 + len(WAYS))),
        *(_trap(name, case, by_name.get(name)) for name, case in named.items()),
        "",
        *_raised(
            {
                f"{name}, {WAYS[way]}": [judged(named[name], answer[way]).error]
                for name, answer in by_name.items()
                for way in WAYS
            }
        ),
        f"## {len(drawn)} drawn cases",
        "",
        "From `cases()` of `tests/features/cases.py`, always the same ones: keys of the kinds",
        f"{', '.join(sorted(KEYS))}, values of {', '.join(KINDS)}. They are drawn to be nasty: few keys and times,",
        "so that rows collide and expire. An answer is the value of one column for one label: "
        f"{_total(drawn)} each way, {_nulls(drawn)} of them null.",
        "",
        _row("", *WAYS.values()),
        _row(*["---"] * (1 + len(WAYS))),
        *_counts(found),
        "",
        *_raised({WAYS[way]: [one.error for one in each] for way, each in found.items()}),
    ]
    return "\n".join(lines)


SETTINGS = (
    "- `created_timestamp_column` is when a row was available; `filter_by_created_timestamp=True`; `ttl` is max_age.",
    "- Offline answers are taken with `to_arrow()`, and labels carry a column with their number.",
    "- Online: for each time of asking in order, the source holds the rows available by then, `materialize` from the",
    "  start up to that time, `get_online_features`. `materialize` reads with either offline store.",
    "- Feast has no status beside an offline value: missing, expired and null are all null here. A whole number that",
    "  comes back as a float of exactly its value counts as equal.",
    "- Times are microseconds for Feast: a nanosecond of a case is a microsecond. Nanoseconds were not asked.",
    '- Feast has no `closed="left"`, and no rule for a tie (rows of one key, event time and created time): the law',
    "  takes the one appended last.",
)


def _trap(name: str, case: Case, answers: Answers | None) -> str:
    law = ", ".join(text(value) for column in case.columns for value in expected(case, column))
    if answers is None:
        return _row(name, law, *["cannot be said"] * len(WAYS))
    cells = []
    for way in WAYS:
        found = judged(case, answers[way])
        cells.append("equal" if found.equal else "error" if found.error else found.shown)
    return _row(name, law, *cells)


def _raised(errors: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """What Feast said where it raised, and how often."""
    counted = Counter(
        (where, error.splitlines()[0][:160]) for where, each in errors.items() for error in each if error
    )
    if counted:
        said = (
            f"- {where}{f', {count} times' if count > 1 else ''}: `{error}`"
            for (where, error), count in sorted(counted.items())
        )
        yield from ("Errors:", "", *said, "")


def _nulls(drawn: Sequence[Case]) -> int:
    return sum(value is None for case in drawn for column in case.columns for value in expected(case, column))


def _total(drawn: Sequence[Case]) -> int:
    return sum(len(case.labels) * len(case.columns) for case in drawn)


def _counts(found: Mapping[str, Sequence[Found]]) -> Iterator[str]:
    """Cases by outcome, then answers by difference."""
    judgements: dict[str, Callable[[Found], bool]] = {
        "cases equal": lambda one: one.equal,
        "cases equal but for ties": lambda one: one.fair and not one.equal,
        "cases that differ": lambda one: not one.fair and not one.error,
        "cases that end with an error": lambda one: bool(one.error),
    }
    outcomes = {
        name: {way: sum(map(judged_so, each)) for way, each in found.items()}
        for name, judged_so in judgements.items()
    }
    counted = {way: Counter(told for one in each for told in one.differences) for way, each in found.items()}
    kinds = sorted({told for each in counted.values() for told in each if told})
    outcomes["answers equal"] = {way: each[""] for way, each in counted.items()}
    outcomes |= {f"answers: {kind}": {way: each[kind] for way, each in counted.items()} for kind in kinds}
    for name, numbers in outcomes.items():
        yield _row(name, *(str(numbers[way]) for way in WAYS))


def _row(*cells: str) -> str:
    shown = [cell.replace("|", "\\|").replace("\n", " ").replace("\0", "\\0") for cell in cells]
    return f"| {' | '.join(shown)} |"


if __name__ == "__main__":
    sys.exit(main())
