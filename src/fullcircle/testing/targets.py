"""Conformance of a target. Subclass ``TargetSuite`` and give it fixtures ``target`` and ``service``."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from fullcircle.deployment import client
from fullcircle.deployment.target import Service, Target
from fullcircle.errors import PortInUse, ServerFailed


class TargetSuite:
    """What every target must do.

    ``target`` is the target to test. ``service`` is one that can run and does not yet, with port 0; its ``served``
    names one model at least. ``row`` is a row that this model answers.
    """

    @pytest.fixture
    def target(self) -> Target:
        """The target. Override it."""
        raise NotImplementedError("override the fixture target")

    @pytest.fixture
    def service(self) -> Service:
        """A service that can run. Override it."""
        raise NotImplementedError("override the fixture service")

    @pytest.fixture
    def row(self) -> dict[str, object]:
        """A good row. Override it."""
        raise NotImplementedError("override the fixture row")

    @pytest.fixture(autouse=True)
    def _nothing_stays(self, target: Target, service: Service) -> Iterator[None]:
        yield
        target.remove(service)

    def test_it_is_started_kept_and_removed(self, target: Target, service: Service, row: dict[str, object]) -> None:
        """Plan and status change nothing, apply twice is apply once, remove twice is remove once."""
        for _ in range(2):
            assert target.plan(service).action == "start"
            assert not target.status(service).running
        found = target.apply(service)
        assert (found.running, found.ready, found.problem) == (True, True, "")
        (name, version), *_ = found.versions
        (prediction,) = client.predict(found.url, name, [row])
        assert (prediction.verdict.status, prediction.version) == ("ok", version)
        assert target.plan(service).action == "keep"
        assert target.apply(service) == found
        assert target.status(service) == found
        for _ in range(2):
            target.remove(service)
            assert not target.status(service).running
            assert not client.ready(found.url)
        assert target.plan(service).action == "start"

    def test_another_way_of_running_means_a_restart(self, target: Target, service: Service) -> None:
        """What runs in another way is started again, and nothing of the first stays."""
        first = target.apply(service)
        with pytest.raises(ServerFailed):
            target.apply(replace(service, python=service.state / "no such python"))
        assert target.status(service) == first  # not ended for what cannot start
        names = tuple(msgspec.json.decode(service.served.read_bytes())["models"])
        other = replace(service, models=names)
        assert target.plan(other).action == "restart"
        second = target.apply(other)
        assert second.ready
        assert second.pid != first.pid
        assert not client.ready(first.url) or first.url == second.url

    def test_a_bundle_that_cannot_answer_is_told_and_leaves_nothing(
        self, target: Target, service: Service, tmp_path: Path
    ) -> None:
        """ServerFailed says which version, and nothing new runs."""
        served = msgspec.json.decode(service.served.read_bytes())
        for entry in served["models"].values():
            entry["path"] = str(tmp_path / "nothing-there.zip")
        broken = replace(service, served=tmp_path / "broken.json")
        broken.served.write_bytes(msgspec.json.encode(served))
        with pytest.raises(ServerFailed, match="version"):
            target.apply(broken)
        assert not target.status(broken).running

    def test_an_environment_that_does_not_start_is_told(
        self, target: Target, service: Service, tmp_path: Path
    ) -> None:
        """ServerFailed, with the last words where there are any; nothing runs."""
        program = tmp_path / "python"
        program.write_text("#!/bin/sh\necho 'no module named fullcircle' >&2\nexit 3\n")
        program.chmod(0o755)
        with pytest.raises(ServerFailed) as caught:
            target.apply(replace(service, python=program))
        assert "no module named fullcircle" in str(caught.value)
        with pytest.raises(ServerFailed):
            target.apply(replace(service, python=tmp_path / "no such python"))
        assert not target.status(service).running

    def test_a_port_that_is_taken_is_told(self, target: Target, service: Service) -> None:
        """PortInUse; the program that has the port keeps it."""
        with socket.create_server((service.host, 0)) as other:
            taken = replace(service, port=other.getsockname()[1])
            with pytest.raises(PortInUse) as caught:
                target.apply(taken)
            assert str(taken.port) in str(caught.value)
            assert not target.status(taken).running
            socket.create_connection((service.host, taken.port)).close()
