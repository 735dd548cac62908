"""A `fullcircle serve` that runs is seen by other commands, and one that ended or was killed is not."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import circles
from flows.test_access import other
from flows.test_doctor import champion
from fullcircle.flows import access, deploy, foreground, split_status
from fullcircle.flows.reconcile import write_served
from fullcircle.flows.session import opened
from fullcircle.flows.status import status
from fullcircle.ledger import processes
from fullcircle.ledger.splits import body
from fullcircle.settings import Settings
from fullcircle.types.splits import Split, Step
from sample_models import archive


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A workspace with a champion and a canary beside it, of which no server was deployed."""
    found = circles.unbegun(tmp_path)
    with opened(found) as session:
        for number in (2, 1):
            champion(session, archive(number, "houses", compiled=True), number)
        split = Split(id="a" * 16, model="houses", kind="canary", champion=1, version=2, salt="s",
                      steps=(Step(share=500, bake=60.0), Step(share=10_000, bake=60.0)))  # fmt: skip
        session.record("split.started", **body(split))
    return found


def said(settings: Settings) -> str:
    return deploy.status("houses", settings=settings).problem


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", "8931", "http://127.0.0.1:8931"),
        ("0.0.0.0", "8931", "http://127.0.0.1:8931"),  # noqa: S104
        ("::1", "8931", "http://[::1]:8931"),
        ("127.0.0.1", "0", ""),
    ],
)
def test_a_serve_is_told_of_while_it_runs(settings: Settings, host: str, port: str, url: str) -> None:
    assert said(settings) == "no server that was deployed runs"
    with opened(settings) as session:
        there = replace(session, settings=other(settings, host=host, port=port))
        with foreground.told(there):
            place = f"{url or 'a port that it chose'} (process {os.getpid()})"
            assert said(settings) == f"no server that was deployed runs; fullcircle serve answers at {place}"
            (model,) = status(settings=settings).models
            assert model.url == (url or None)
            told = split_status.status_in(session, "houses").text
            assert f"fullcircle serve, at {place}, takes that step" in told
            assert "alone does not" not in told
        assert said(settings) == "no server that was deployed runs"
        assert "the server of a deployment alone does not" in split_status.status_in(session, "houses").text
    assert not list((settings.workspace / foreground.FOLDER).iterdir())


def test_it_is_asked_why_the_version_does_not_answer_where_it_can_be(settings: Settings) -> None:
    """Without a key of the workspace it would only note a refusal."""
    asked = []

    class Models(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            asked.append(self.path)
            beside = {"version": 2, "answers": False, "problem": "the bundle could not be read"}
            one = {"name": "houses", "version": 1, "split": {"id": "a" * 16, "others": [beside]}}
            body = json.dumps({"models": [one]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), Models) as server, opened(settings) as session:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            write_served(session)
            there = replace(session, settings=other(settings, port=str(server.server_port)))
            with foreground.told(there):
                told = split_status.status_in(session, "houses").text
                assert "The server does not ask it: the bundle could not be read; its log says more" in told
                access.create("shop", role="scorer", settings=settings)
                assert "does not ask it" not in split_status.status_in(session, "houses").text
        finally:
            server.shutdown()
            thread.join()
    assert asked == ["/models"]


def test_one_that_was_killed_or_runs_elsewhere_is_not_taken_for_one_that_runs(settings: Settings) -> None:
    folder = settings.workspace / foreground.FOLDER
    folder.mkdir()
    with subprocess.Popen(["sleep", "60"]) as process:
        one = {"pid": process.pid, "born": processes.born(process.pid), "place": processes.place(), "url": "http://a"}
        (folder / "1.json").write_text("{")
        (folder / "2.json").write_text(json.dumps({**one, "place": "another machine"}))
        (folder / "3.json").write_text(json.dumps({**one, "born": "of a process before"}))
        assert said(settings) == "no server that was deployed runs"
        (folder / "4.json").write_text(json.dumps(one))
        assert said(settings).endswith(f"; fullcircle serve answers at http://a (process {process.pid})")
        process.kill()
    assert said(settings) == "no server that was deployed runs"
    with opened(settings) as session, foreground.told(session):
        names = {path.name for path in folder.iterdir()}
    assert names >= {"1.json", "2.json"}, "of others nobody knows whether they run"
    assert not names & {"3.json", "4.json"}
