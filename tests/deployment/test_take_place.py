"""A server takes the place of one that runs in another environment, and nobody is without an answer meanwhile."""

from __future__ import annotations

import os
import socket
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from callers import calling
from fullcircle.deployment import client
from fullcircle.deployment.target import Service
from fullcircle.deployment.targets.local import LocalTarget
from fullcircle.errors import FullcircleError, PortInUse
from fullcircle.server.listening import listen
from sample_models import ROWS, archive, serve


@pytest.fixture(scope="module")
def archives() -> dict[int, bytes]:
    return {version: archive(version, compiled=True) for version in (1, 2)}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of another environment, which has the same packages."""
    home = tmp_path_factory.mktemp("other")
    here = Path(sys.executable)
    packages = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "bin" / "python").symlink_to(here.resolve())
    (home / "pyvenv.cfg").write_text(f"home = {here.resolve().parent}\n")
    # addsitedir, so that an editable installation is found as well
    (packages / "theirs.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return home / "bin" / "python"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, archives: dict[int, bytes]) -> Iterator[Service]:
    """One that may run already, with either version: a server takes seconds to start."""
    home = tmp_path_factory.mktemp("service")
    serve(home / "served.json", {"m": (1, archives[1])})
    made = Service(
        python=Path(sys.executable),
        served=home / "served.json",
        predictions=home / "predictions",
        code=home / "code",
        state=home / "state",
        port=0,
    )
    yield made
    LocalTarget().remove(made)


def _fits(version: int, values: Sequence[float]) -> bool:
    """As ``sample_models`` makes them: an answer tells which version gave it."""
    return all(abs(one - 1000 * version) < 100 for one in values)


def _followed(service: Service, url: str, version: int, archives: dict[int, bytes]) -> bool:
    """Whether the server takes a version up that is now named in its file."""
    serve(service.served, {"m": (version, archives[version])})
    until = time.monotonic() + 20
    while client.models(url)[0].version != version and time.monotonic() < until:
        time.sleep(0.02)
    return client.models(url)[0].version == version


def test_a_version_of_another_environment_comes_and_goes_under_load(
    service: Service, other: Path, archives: dict[int, bytes]
) -> None:
    target = LocalTarget()
    first = target.apply(service)
    assert _followed(service, first.url, 1, archives)
    port = urlsplit(first.url).port or 0
    pids = [first.pid]
    with calling(port, "m", ROWS[:5], _fits, threads=2) as heard:
        for version, python in ((2, other), (1, service.python)):
            serve(service.served, {"m": (version, archives[version])})
            moved = replace(service, python=python)
            assert target.plan(moved).action == "restart"
            now = target.apply(moved)
            assert (now.ready, now.url, now.versions) == (True, first.url, (("m", version),))
            pids.append(now.pid)
            before = heard.count(version)
            until = time.monotonic() + 10
            while heard.count(version) < before + 20 and time.monotonic() < until:
                time.sleep(0.01)
    assert heard.wrong == []
    assert heard.answers.keys() == {1, 2}
    assert len(set(pids)) == 3, "each environment has a process of its own"
    assert target.plan(service).action == "keep", "and what runs is remembered as if it had been started so"


def test_where_the_new_one_cannot_answer_the_old_one_goes_on_and_is_kept(
    service: Service, archives: dict[int, bytes], tmp_path: Path
) -> None:
    target = LocalTarget()
    first = target.apply(service)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\nexit 7\n")
    broken.chmod(0o755)
    with pytest.raises(FullcircleError):
        target.apply(replace(service, python=broken))
    now = target.status(service)
    assert (now.running, now.ready, now.url, now.pid) == (True, True, first.url, first.pid)
    assert target.plan(service).action == "keep"
    assert "keeper was killed" not in target.plan(service).text
    assert _followed(service, first.url, 2, archives), "it follows as before"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux shares a port so")
def test_a_port_is_shared_only_with_who_takes_it_over() -> None:
    with listen("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        with pytest.raises(PortInUse):
            listen("127.0.0.1", port)
        with listen("127.0.0.1", port, beside=True) as beside:
            for _ in range(5):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            with pytest.raises(OSError, match="Invalid argument"):
                beside.accept()  # it is bound only: the first one gets every connection
            beside.listen()
        with pytest.raises(PortInUse):
            listen("127.0.0.1", port)


def test_who_takes_nothing_over_shares_with_nobody() -> None:
    with socket.socket() as foreign:
        foreign.bind(("127.0.0.1", 0))
        foreign.listen()
        with pytest.raises(PortInUse):
            listen("127.0.0.1", foreign.getsockname()[1], beside=True)
    assert os.environ.get("FULLCIRCLE_TAKES_OVER") is None
