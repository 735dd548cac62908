"""Conformance of a target. Subclass a suite and give it fixtures ``target`` and ``service``.

``TargetSuite`` is for every target, ``RunningTargetSuite`` (which holds it) for those that run what they make.
"""

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

    ``target`` is the target to test. ``service`` is one that can be made and is not yet there, with port 0; its
    ``served`` names one model at least, and ``version`` is that model's where the target takes versions along.
    """

    @pytest.fixture
    def target(self) -> Target:
        """The target. Override it."""
        raise NotImplementedError("override the fixture target")

    @pytest.fixture
    def service(self) -> Service:
        """A service that can be made. Override it."""
        raise NotImplementedError("override the fixture service")

    @pytest.fixture(autouse=True)
    def _nothing_stays(self, target: Target, service: Service) -> Iterator[None]:
        yield
        target.remove(service)

    def test_a_plan_shows_every_file_and_changes_nothing(self, target: Target, service: Service) -> None:
        """Plan and status make no file, twice give the same, and a plan can be reviewed."""
        first = target.plan(service)
        assert first.action == "start"
        assert first.text
        assert first.steps
        assert first.files
        assert all(isinstance(content, bytes) for content in first.files.values())
        assert all(not name.startswith("/") and ".." not in name.split("/") for name in first.files)
        assert not target.status(service).running
        assert target.plan(service) == first
        assert not any((Path(first.folder) / name).exists() for name in first.files)

    def test_it_is_made_kept_and_removed(self, target: Target, service: Service) -> None:
        """What was planned is what is made, apply twice is apply once, remove twice is remove once."""
        plan = target.plan(service)
        found = target.apply(service)
        assert (found.running, found.ready, found.problem) == (True, True, "")
        assert found.versions
        assert {name: (Path(plan.folder) / name).read_bytes() for name in plan.files} == plan.files
        self.answers(target, service)
        assert target.plan(service).action == "keep"
        assert target.apply(service) == found
        assert target.status(service) == found
        for _ in range(2):
            target.remove(service)
            assert not target.status(service).running
        assert target.plan(service).action == "start"

    def answers(self, target: Target, service: Service) -> None:
        """What else holds while it is there; a target that runs is asked."""

    def test_what_it_did_not_make_is_left_alone(self, target: Target, service: Service) -> None:
        """A file of somebody else survives remove, where nothing was made and where something was."""
        place = Path(target.plan(service).folder)
        place.mkdir(parents=True)
        (place / "notes of mine.txt").write_text("mine")
        target.remove(service)
        assert (place / "notes of mine.txt").read_text() == "mine"
        (place / "notes of mine.txt").unlink()
        if not target.runs:
            target.apply(service)
            (place / "notes of mine.txt").write_text("mine")
            target.remove(service)
            assert [path.name for path in place.iterdir()] == ["notes of mine.txt"]
            (place / "notes of mine.txt").unlink()


class RunningTargetSuite(TargetSuite):
    """What a target must do that runs what it makes. ``row`` is a row that the service's model answers."""

    @pytest.fixture
    def row(self) -> dict[str, object]:
        """A good row. Override it."""
        raise NotImplementedError("override the fixture row")

    @pytest.fixture(autouse=True)
    def _row(self, row: dict[str, object]) -> None:
        self.row_of_service = row

    def answers(self, target: Target, service: Service) -> None:
        """The model answers at the address that status tells, by the version that it tells."""
        found = target.status(service)
        (name, version), *_ = found.versions
        (prediction,) = client.predict(found.url, name, [self.row_of_service])
        assert (prediction.verdict.status, prediction.version) == ("ok", version)

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
        target.remove(other)
        assert not client.ready(second.url)

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
