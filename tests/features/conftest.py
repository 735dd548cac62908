"""A real Redis server for those that want one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

RedisServer = Callable[..., AbstractContextManager[tuple[str, "subprocess.Popen[bytes]"]]]


@contextmanager
def _redis_server(*options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("Redis's server is not installed (redis-server)")
    folder = Path(tempfile.mkdtemp(prefix="fc-redis-"))
    url = f"unix://{folder}/socket"
    settings = ["--port", "0", "--unixsocket", f"{folder}/socket", "--dir", str(folder), "--save", ""]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program, *settings, "--appendonly", "no", *options], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not (folder / "socket").exists():
            if time.monotonic() > deadline or server.poll() is not None:
                pytest.fail(f"Redis did not start: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)
        yield url, server
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server() -> RedisServer:
    """Starts a Redis server of one's own, on a socket, with further options: its URL and its process."""
    return _redis_server


@pytest.fixture(scope="session")
def _redis_place() -> Iterator[str]:
    with _redis_server() as (url, _):
        yield url


@pytest.fixture
def redis_url(_redis_place: str) -> str:
    """The URL of a real Redis server that holds nothing. The server is the session's."""
    redis = pytest.importorskip("redis")
    with redis.Redis.from_url(_redis_place) as client:
        client.flushall()
    return _redis_place
