"""Text and tables as Markdown (CommonMark, and GitHub's tables), whatever the text holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

# What means something anywhere in a line. An underscore inside a word means nothing; column names are full of them.
_SPECIAL = re.compile(r"[\\`*\[\]<>|#~&$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LIST = re.compile(r"^(\d{1,9})([.)])(?=\s|$)")
_LINK = re.compile(r"://|\bwww\.", re.IGNORECASE)


def text(value: object) -> str:
    """Text as one line that a reader sees as it is: nothing in it makes a link, a tag, a table cell or a list."""
    line = " ".join(_UNSEEN.sub(" ", str(value)).split())
    line = _SPECIAL.sub(r"\\\g<0>", line)
    line = _LINK.sub(lambda found: found[0].replace(":", r"\:").replace(".", r"\."), line)
    line = _LIST.sub(r"\1\\\2", line)
    return "\\" + line if line.startswith(("-", "+", "=")) else line


def code(value: object) -> str:
    """A digest or an id in a code span; in plain text where it holds what a span could not."""
    line = str(value)
    return f"`{line}`" if re.fullmatch(r"[\w.:/+-]+", line) else text(line)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table. Cells are Markdown already; those that are empty show a dash."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell or "–" for cell in line) + " |" for line in lines]
