"""Two parts of the server's soak: drawn requests over every route, and schemathesis on the OpenAPI document.

schemathesis runs in an environment of its own, against a real server over a socket.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peers.talking import environment
from benchmarks.rows import ROOT

REQUESTS = 200_000
_CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,unsupported_method"
)


def drawn(folder: Path, scale: float) -> dict[str, Any]:
    """The test of drawn requests with its full count: in process, each answered within a second."""
    count = max(1000, int(REQUESTS * scale))
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/server/test_fuzz.py"],
        cwd=ROOT,
        env={**os.environ, "FULLCIRCLE_FUZZ": str(count), "FULLCIRCLE_FUZZ_SECONDS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return {"requests": count, "5xx but 503 with Retry-After": 0, "slower than 1 s": 0}


def schema(url: str, folder: Path, scale: float) -> dict[str, Any]:
    """schemathesis over every operation of the server at ``url``."""
    python = environment(folder / "schemathesis", ["schemathesis>=4.32,<5"])
    done = subprocess.run(
        [
            str(python.parent / "schemathesis"), "run", f"{url}/openapi.json",
            "--checks", _CHECKS,
            "--phases", "examples,coverage,fuzzing",
            "--max-examples", str(max(20, int(3000 * scale))),
            "--request-timeout", "5",
            "--continue-on-failure",
            "--seed", "1",
            "--no-color",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    found = re.search(r"(\d[\d,]*) generated", done.stdout)
    assert found is not None, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.returncode == 0, done.stdout[:6000]
    operations = re.search(r"Tested: (\d+)", done.stdout)
    return {
        "requests": int(found[1].replace(",", "")),
        "operations": int(operations[1]) if operations else None,
        "failures": 0,
    }
