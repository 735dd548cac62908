"""``large_join.py FOLDER MEMORY``: our join of two Parquet files into a third, in a process that tells its peak."""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from pathlib import Path

from fullcircle import features as ft


def peak() -> int:
    """The most memory this process had, in bytes. ``getrusage`` may tell that of the process it was forked from."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) * 1024 if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(folder: Path, memory: str) -> None:
    """Join, and say how long it took and what it needed."""
    begun = time.perf_counter()
    ft.join(
        folder / "labels.parquet",
        folder / "rows.parquet",
        on="user_id",
        time="event_timestamp",
        as_of="event",
        out=folder / "out.parquet",
        memory=memory,
    )
    print(json.dumps({"seconds": time.perf_counter() - begun, "bytes": peak()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
