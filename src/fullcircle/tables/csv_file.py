"""CSV files, strictly: what is broken is refused with its line, never guessed at.

A file is comma separated, UTF-8 (with or without a byte order mark), has one header line, and any line ends.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from fullcircle.errors import TableUnreadable

_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FEW = 3  # this many different texts among numbers look like a slip, whatever their share


def read_csv(path: Path, texts: Collection[str] = ()) -> tuple[Any, dict[str, str]]:
    """Read ``path`` as a pandas DataFrame; and say which columns hold a few texts among numbers, and where.

    The columns ``texts`` are text as it is written, whatever it looks like.

    Raises TableUnreadable for an empty file, a wrong encoding or separator, a header with a name twice, a
    row with too many or too few fields, and a quote that is never closed.
    """
    text = _decode(path, path.read_bytes())
    header, lines = _check_rows(path, text)
    frame = _frame(text, header, dict.fromkeys(texts, str))
    return frame, {name: found for name in header if name not in texts and (found := _mixture(frame[name], lines))}


def codes(path: Path) -> tuple[str, ...]:
    """The columns that are codes by their looks: whole numbers, some with zeros in front.

    Raises TableUnreadable as ``read_csv`` does.
    """
    text = _decode(path, path.read_bytes())
    header, _ = _check_rows(path, text)
    frame = _frame(text, header, str)
    return tuple(name for name in header if _is_code(frame[name]))


def _is_code(column: Any) -> bool:
    filled = column[column.notna()].str.strip()
    return bool(filled.str.fullmatch("[0-9]+").all() and filled.str.fullmatch("0[0-9]+").any())


def _frame(text: str, header: list[str], kinds: Any) -> Any:
    import pandas as pd

    # Numbers are read to the nearest float: by default from pandas 3.1 on, before that when asked.
    release = tuple(int(part) for part in pd.__version__.split(".")[:2])
    exact = {} if release >= (3, 1) else {"float_precision": "round_trip"}
    return pd.read_csv(
        io.StringIO(text), header=0, names=header, index_col=False, dtype=kinds, low_memory=False, **exact
    )


def _decode(path: Path, data: bytes) -> str:
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        raise TableUnreadable(
            f"{path.name} is empty",
            received=f"{len(data)} bytes",
            allowed="a header line and rows",
            next_step="check how the file was written",
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TableUnreadable(
            f"{path.name} is not UTF-8 text",
            received=f"the byte 0x{data[error.start]:02x} in line {line}",
            allowed="CSV in UTF-8",
            next_step="save it as UTF-8, or pass fc.Table(pandas.read_csv(path, encoding=...))",
        ) from error
    if "\0" in text:
        raise TableUnreadable(
            f"{path.name} is not a text file",
            received=f"a zero byte in line {text.count(chr(10), 0, text.index(chr(0))) + 1}",
            allowed="CSV in UTF-8",
            next_step="save it as CSV in UTF-8, or give a Parquet file the ending .parquet",
        )
    return text


def _check_rows(path: Path, text: str) -> tuple[list[str], list[int]]:
    """The column names, and the line on which each row begins. Blank lines are no rows."""
    rows = _rows(path, text)
    _, header = next(rows)
    _check_header(path, header, text)
    lines: list[int] = []
    for line, row in rows:
        if len(row) != len(header):
            raise TableUnreadable(
                f"{path.name} has a broken row in line {line}",
                received=f"{len(row)} fields: {_short(','.join(row))}",
                allowed=f"{len(header)} fields, as in the header",
                next_step="mend the line; put a field that holds a comma in double quotes",
            )
        lines.append(line)
    # Blank names happen where an index was written along: pandas' own words for them.
    return [name if name.strip() else f"Unnamed: {place}" for place, name in enumerate(header)], lines


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise TableUnreadable(
                f"{path.name} has a broken row that begins in line {begins}: {error}",
                received=_short(text.splitlines()[begins - 1]),
                allowed="fields with a comma, quote or line end in double quotes, a quote in them doubled",
                next_step="mend the line",
            ) from error
        if row is None:
            return
        if row and not (len(row) == 1 and row[0].isspace()):
            yield begins, row
        begins = reader.line_num + 1


def _check_header(path: Path, header: list[str], text: str) -> None:
    if len(header) == 1:
        for separator, name in _OTHER_SEPARATORS.items():
            if separator in header[0]:
                raise TableUnreadable(
                    f"{path.name} is separated by {name}",
                    received=_short(header[0]),
                    allowed="commas",
                    next_step=f"pass fc.Table(pandas.read_csv(path, sep={separator!r})), "
                    'with decimal="," where numbers are written 1,5',
                )
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise TableUnreadable(
            f"{path.name} has a column name twice",
            received=", ".join(map(repr, twice[:5])),
            allowed="each name once",
            next_step="rename the columns in the header",
        )


def _mixture(column: Any, lines: list[int]) -> str:
    """What to say about a column of numbers with a few texts among them; "" for any other column.

    A few are one in ten values, or three different texts. More than that is a column of text which happens
    to hold many numbers (ticket numbers, say).
    """
    import pandas as pd

    if not pd.api.types.is_string_dtype(column.dtype):
        return ""
    filled = column[column.notna()]
    texts = filled[pd.to_numeric(filled, errors="coerce").isna()]
    numbers = len(filled) - len(texts)
    if len(texts) == 0 or numbers < len(texts) or (len(texts) > len(filled) / 10 and texts.nunique() > _FEW):
        return ""
    examples = texts.drop_duplicates().head(3)
    known = len(lines) == len(column)  # a quoted blank in a file of one column may hide from one of the readers
    shown = ", ".join(
        f"{_short(str(value), 30)!r} in " + (f"line {lines[row]}" if known else f"row {row + 1}")
        for row, value in examples.items()
    )
    return f"{numbers} numbers and {len(texts)} texts: {shown}"


def _short(text: str, limit: int = 80) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
