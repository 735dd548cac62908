"""CSV as it has to be written, checked while it is read: a quote too many must not swallow rows silently.

The reader of Arrow is fast and lenient. What it would let through is refused here: zero bytes, text after a closing
quote, a quote that is never closed, a name twice in the header, another separator.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import Counter
from pathlib import Path
from typing import IO, Any

from fullcircle.errors import TableUnreadable

LONGEST = 64 * 2**20
"""The longest row, in bytes."""

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_FIELDS = re.compile(rb'(?:(?:"(?:[^"]++|"")*+"|[^",\r\n][^,\r\n]*+)?(?:,|\r?\n|\r(?!\n)))*+')

_AFTER = re.compile(rb'"(?:[^"]++|"")*+"[^",\r\n]')
_MARK = b"\xef\xbb\xbf"


def header(path: Path) -> tuple[list[str], list[str]]:
    """The names in the header line, as written and as columns are called. Raises TableUnreadable."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader((line for line in itertools.islice(file, 10_000)), strict=True)
            raw = next((row for row in rows if row and not (len(row) == 1 and not row[0].strip())), [])
    except UnicodeDecodeError as error:
        raise _not_text(path) from error
    except csv.Error as error:
        raise _broken(path, f"a broken header: {error}", "") from error
    if not raw:
        raise TableUnreadable(
            f"{path.name} is empty", allowed="a header line and rows", next_step="check how the file was written"
        )
    for separator, words in _SEPARATORS.items():
        if len(raw) == 1 and separator in raw[0]:
            raise TableUnreadable(
                f"{path.name} is separated by {words}",
                received=raw[0][:80],
                allowed="commas",
                next_step="write it with commas, or as Parquet",
            )
    twice = [name for name, times in Counter(raw).items() if times > 1]
    if twice:
        raise TableUnreadable(
            f"{path.name} has a column name twice",
            received=", ".join(map(repr, twice[:5])),
            allowed="each name once",
            next_step="rename the columns in the header",
        )
    # Blank names happen where an index was written along: pandas' own words for them.
    return raw, [name if name.strip() else f"Unnamed: {place}" for place, name in enumerate(raw)]


class Checked(io.RawIOBase):
    """A file that is looked at while somebody reads it. ``read_bytes`` is how far that is.

    Raises TableUnreadable from ``read`` for what is wrong with the quotes.
    """

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._open = b""  # from the beginning of the last field or line that is not complete
        self.read_bytes = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._file.read(size)
        if self.read_bytes == 0:
            data = data.removeprefix(_MARK)
        self.read_bytes += len(data)
        if not self._sound(data):
            raise refused(self._path)
        return data

    def _sound(self, data: bytes) -> bool:
        text = self._open + (data or b"\n")
        if b'"' not in text:
            self._open = data[data.rfind(b"\n") + 1 :]
            return b"\0" not in data
        end = _plainly(text)
        if not end:
            match: Any = _FIELDS.match(text)
            end = match.end()
        self._open = text[end:]
        complete = data or not self._open
        return bool(complete) and len(self._open) <= LONGEST and not _AFTER.match(self._open) and b"\0" not in data


def _plainly(text: bytes) -> int:
    """Up to which line end all quotes are plainly in their places, 0 where that has to be looked at by hand.

    Quotes open and close in turn; a doubled one closes and opens at once. So each that opens has a separator or
    a quote before it, and each that closes has one behind it.
    """
    import numpy as np

    found = np.frombuffer(text, np.uint8)
    quotes = np.flatnonzero(found == ord('"'))
    end = text.rfind(b"\n")
    while end > 0 and (inside := int(np.searchsorted(quotes, end))) % 2:
        end = text.rfind(b"\n", 0, int(quotes[inside - 1]))
    if end <= 0:
        return 0
    quotes = quotes[: np.searchsorted(quotes, end)]
    fits = np.zeros(256, dtype=np.bool_)
    fits[list(b',\r\n"')] = True
    before, behind = quotes[0::2] - 1, quotes[1::2] + 1
    opened = fits[found[before]] | (before < 0)
    return end + 1 if bool(opened.all() and fits[found[behind]].all()) else 0


def refused(path: Path, why: object = "") -> TableUnreadable:
    """What to say of a file that cannot be read on: it is read again, slowly, to find the line."""
    before = csv.field_size_limit(LONGEST)
    line = 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            width = len(next((row for row in rows if row and row[0].strip()), []))
            while True:
                line = rows.line_num + 1
                row = next(rows, None)
                if row is None:
                    return _broken(path, "what cannot be read", str(why))
                if len(row) != width and row:
                    return _broken(path, f"a broken row in line {line}", f"{len(row)} fields: {','.join(row)[:80]}")
                if any("\0" in cell for cell in row):
                    return _broken(path, f"a zero byte in line {line}", "it is not a text file")
    except UnicodeDecodeError:
        return _not_text(path)
    except csv.Error as error:
        return _broken(path, f"a broken row that begins in line {line}", str(error))
    finally:
        csv.field_size_limit(before)


def _not_text(path: Path) -> TableUnreadable:
    return TableUnreadable(
        f"{path.name} is not UTF-8 text", allowed="CSV in UTF-8", next_step="save it as UTF-8, or as Parquet"
    )


def _broken(path: Path, what: str, received: str) -> TableUnreadable:
    return TableUnreadable(
        f"{path.name} has {what}",
        received=received[:200] or None,
        allowed="as many fields in a row as in the header; a field with a comma, quote or line end in double quotes",
        next_step="mend the line",
    )
