"""Rows of a prediction log with times that a test chooses, in segments as the log writes them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from fullcircle.monitoring.grid import iso
from fullcircle.types.prediction import Prediction

HOUR = 3_600_000_000
# A Monday, 00:00 UTC.
START = 1_800_230_400_000_000


def write(home: Path, rows: Sequence[Prediction], times: Sequence[int | str], name: str = "") -> list[str]:
    """Append rows to a segment, a new one by default, as a server would at these times. Returns their ids."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{name or secrets.token_hex(8)}.jsonl"
    ids = []
    with path.open("ab") as file:
        for row, time in zip(rows, times, strict=True):
            ids.append(f"{path.stem}-{file.tell()}")
            found = replace(row, id=ids[-1], time=time if isinstance(time, str) else iso(time))
            said = msgspec.json.decode(msgspec.json.encode(found))
            first = {"id": said.pop("id"), "time": said.pop("time")}
            file.write(msgspec.json.encode(first | said) + b"\n")
    return ids
