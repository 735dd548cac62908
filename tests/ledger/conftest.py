"""A workspace of its own for each test, and a real PostgreSQL server for those that want one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings, load


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in list(os.environ):
        if name.startswith(("FULLCIRCLE_", "MLFLOW_")):
            monkeypatch.delenv(name)
    return load({"workspace": "ws", "config": "config", "actor": "tester"}, folder=tmp_path)


@pytest.fixture
def workspace(settings: Settings) -> Iterator[Workspace]:
    with Workspace.open(settings) as workspace:
        yield workspace


def _programs() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """Makes an empty database on a real server and gives its URL."""
    import psycopg

    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed (initdb, postgres)")
    user = "nobody" if os.getuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="fc-pg-"))
    server: subprocess.Popen[bytes] | None = None
    try:
        if user:
            shutil.chown(folder, user)
        data, log = folder / "data", folder / "log"
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "fc", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"],
            check=True, capture_output=True, user=user, cwd="/",
        )  # fmt: skip
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with log.open("wb") as output:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"],
                stdout=output, stderr=output, user=user, cwd="/",
            )  # fmt: skip
        admin = f"postgresql://fc@127.0.0.1:{port}"
        _wait(f"{admin}/postgres", server, log)
        made = iter(range(1_000_000))

        def database() -> str:
            name = f"t{next(made)}"
            with psycopg.connect(f"{admin}/postgres", autocommit=True) as connection:
                connection.execute(f'CREATE DATABASE "{name}"'.encode())
            return f"postgresql://fc:secret@127.0.0.1:{port}/{name}"

        yield database
    finally:
        if server is not None:
            server.send_signal(signal.SIGQUIT)
            server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline or server.poll() is not None:
                pytest.fail(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        else:
            return
