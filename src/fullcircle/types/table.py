"""A source of rows, as a user declares it. Declaring reads nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fullcircle.errors import ProjectInvalid
from fullcircle.types import declared


@dataclass(frozen=True)
class Table:
    """A source of rows: a CSV or Parquet file, or a pandas, polars or Arrow table.

    A relative path is looked up beside the project file. ``${NAME}`` in a path is taken from the environment or
    from the table [paths] of fullcircle.toml; ``hint`` says where to get the file when it is absent.
    ``prepare`` takes the frame as read and returns the frame to use. ``time`` names the column of event time
    (after ``prepare``); rows from ``since`` on and before ``until`` (ISO 8601) are kept.

    A column of a CSV file that holds nothing but numbers is read as numbers, and 00109 is 109. ``text`` names the
    columns that are read as they are written: post codes, account numbers and other codes.
    """

    source: Any
    time: str | None = None
    prepare: Callable[[Any], Any] | None = None
    since: str | None = None
    until: str | None = None
    hint: str = ""
    text: Sequence[str] = ()

    def __post_init__(self) -> None:
        if isinstance(self.source, Path):
            object.__setattr__(self, "source", str(self.source))
        if isinstance(self.source, str) and not self.source.strip():
            raise ProjectInvalid("a Table has an empty path", next_step="give the path of a CSV or Parquet file")
        object.__setattr__(self, "text", declared.columns("a column in the text of a Table", self.text))
        if (self.since or self.until) and not self.time:
            raise ProjectInvalid(
                "a Table with since or until needs to know which column is time",
                next_step='add time="COLUMN" to the Table',
            )
        if self.prepare is not None and not callable(self.prepare):
            raise ProjectInvalid(
                "prepare is not a function",
                received=repr(self.prepare),
                allowed="a function from frame to frame",
                next_step="pass the function itself",
            )
