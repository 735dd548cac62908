"""Importing does no work: nothing heavy is loaded, nothing of the process is changed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "numpy", "pandas", "scipy", "sklearn", "sqlalchemy", "msgspec", "mlflow", "alembic", "pyarrow", "polars", "skops",
    "fairlearn", "cryptography", "jinja2", "fsspec", "uvicorn", "uvloop", "httptools", "vl_convert", "typer", "click",
    "rich", "duckdb", "redis",
}  # fmt: skip
PROBE = """
import json, logging, os, signal, sys, threading, warnings
def state():
    root = logging.getLogger()
    return {
        "environment": dict(os.environ), "filters": [str(f) for f in warnings.filters],
        "handlers": [str(h) for h in root.handlers], "level": root.level, "threads": threading.active_count(),
        "folder": os.getcwd(), "hook": repr(sys.excepthook), "interrupt": repr(signal.getsignal(signal.SIGINT)),
        "path": list(sys.path),
    }
before = state()
exec(sys.argv[1])
print(json.dumps({"changed": [k for k, v in state().items() if v != before[k]], "loaded": sorted(sys.modules)}))
"""


def _import(code: str) -> tuple[list[str], set[str]]:
    """What running the code changes in a fresh process, and the top-level packages it loads."""
    done = subprocess.run([sys.executable, "-c", PROBE, code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    said = json.loads(done.stdout.splitlines()[-1])
    return said["changed"], {name.partition(".")[0] for name in said["loaded"]}


def test_importing_the_package_does_nothing() -> None:
    changed, loaded = _import("import fullcircle")
    assert changed == []
    assert not loaded & HEAVY


def test_declaring_a_project_needs_no_library() -> None:
    changed, loaded = _import("import fullcircle as fc; fc.Project; fc.Table('x.csv'); fc.beats('champion')")
    assert changed == []
    assert not loaded & HEAVY


@pytest.mark.parametrize("module", ["fullcircle.cli.commands", "fullcircle.cli"])
def test_the_command_line_starts_light(module: str) -> None:
    changed, loaded = _import(f"import {module}; {module}.app")
    assert changed == []
    assert not loaded & (HEAVY - {"typer", "click", "rich"})


@pytest.mark.parametrize(
    "module",
    [
        "types.turn",
        "registry",
        "settings",
        "runtimes.contracts",
        "runtimes.scorer",
        "tables.predictions",
        "server.app",
        "server.opening",
        "features.serving",
        "features.stores.sqlite",
    ],
)
def test_the_serving_runtime_needs_only_the_base_install(module: str) -> None:
    _, loaded = _import(f"import fullcircle.{module}")
    assert not loaded & {"pandas", "sqlalchemy", "cryptography", "pyarrow", "mlflow", "jinja2", "fsspec", "uv"}
