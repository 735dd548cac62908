"""Locks from uv's cache: what is known by version is not asked over the network again."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fullcircle.packaging.lock import running
from fullcircle.packaging.resolving import Asked, Target
from fullcircle.packaging.wheel import build

METADATA = b"Metadata-Version: 2.4\nName: thing\nVersion: 1.0\n"


@pytest.fixture
def requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What an index of one package is asked for; it is the only one, and uv's cache is empty."""
    source = tmp_path / "thing"
    source.mkdir()
    (source / "__init__.py").write_text("x = 1\n")
    name, content = build(source, name="thing", version="1.0", info={"METADATA": METADATA})
    link = f'<a href="/{name}#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>'
    heard: list[str] = []

    class Index(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            found = {"/simple/thing/": link.encode(), f"/{name}": content}.get(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "text/html" if found == link.encode() else "application/zip")
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def do_HEAD(self) -> None:
            self.send_error(405)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{server.server_address[1]}/simple")
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield heard
        server.shutdown()
        thread.join()


def test_what_is_known_and_in_the_cache_is_not_asked_for_again(requests: list[str], tmp_path: Path) -> None:
    asked = Asked(folder=tmp_path, target=Target(python=running()))
    known = {"thing": "1.0"}
    first = asked.resolve(["thing"], ["thing==1.0"], known=known)
    assert first.startswith("thing==1.0 ")
    assert "/simple/thing/" in requests
    requests.clear()
    assert asked.resolve(["thing"], ["thing==1.0"], known=known) == first
    assert requests == []


@pytest.mark.parametrize("known", [None, {"other": "1.0"}, {"thing": "0.9"}])
def test_a_version_that_is_not_known_is_asked_for(
    requests: list[str], tmp_path: Path, known: dict[str, str] | None
) -> None:
    """A later one may be there by now."""
    asked = Asked(folder=tmp_path, target=Target(python=running()))
    first = asked.resolve(["thing"], known=known)
    requests.clear()
    assert asked.resolve(["thing"], known=known) == first
    assert "/simple/thing/" in requests
