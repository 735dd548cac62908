"""What may happen to a turn: killed, interrupted, its files damaged, its port taken, its workspace not writable.

In each case: clear words, an exit code, nothing half-registered, and the next run works.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

import circles
from children import servers, surrounding
from flows.forked import ForkedChild
from flows.trees import tree
from fullcircle.cli import app
from fullcircle.flows import deploy
from fullcircle.flows.audit import audit
from fullcircle.flows.pages.live import script
from fullcircle.flows.run import run
from fullcircle.flows.session import opened
from fullcircle.ledger.state import State
from fullcircle.settings import Settings
from rights import obey_rights, set_rights

# As quick to train as can be: what is tested is what lies between the stages.
QUICK = tree(circles.PLAIN)
RUN = ("run", "houses", "--stop")


def _settings(folder: Path) -> Settings:
    return circles.settings(folder)


def _state(folder: Path) -> State:
    with opened(_settings(folder), create=False) as session:
        return session.workspace.ledger.state()


def _mlflow(folder: Path) -> MlflowClient:
    uri = f"sqlite:///{folder / 'workspace' / 'mlflow.db'}"
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


# --- killed and interrupted ------------------------------------------------------------------------------

# Where each child is stopped, in the order of a turn: each goes on from where the one before was stopped. The others
# are in `make soak`, which stops turns at random moments.
MOMENTS = (
    ("prove", 0.5, "interrupt the first process"),
    ("register", 0.02, "kill"),
    ("promote", 0.0, "interrupt"),
    ("deploy", 0.3, "kill"),
    ("retrain", 0.0, "kill"),
)


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Path]:
    circles.write_project(tmp_path / "houses", QUICK)
    cache = _settings(tmp_path).workspace / "cache"
    cache.mkdir()
    script(cache)  # each process that dies before the first page would make it anew
    yield tmp_path
    deploy.remove("houses", settings=_settings(tmp_path))
    assert not servers(tmp_path), "a server that no note remembers"


def test_a_turn_that_is_stopped_again_and_again_arrives(stopped: Path) -> None:
    for moment, wait, how in MOMENTS:
        before = servers(stopped)
        child = ForkedChild(stopped, *RUN)
        assert child.until(moment), f"{moment}: {child.said}"
        time.sleep(wait)
        if how == "kill":
            child.stop(signal.SIGKILL)
        else:
            code = child.stop(signal.SIGINT, everything=how == "interrupt")
            assert code == 130, f"{moment}: {code} {child.said}"
            assert child.said.splitlines()[-1].startswith("interrupted: nothing was left half-done"), child.said
            assert "Traceback" not in child.said
            assert child.out == ""
            assert not child.alive(), moment
            assert set(servers(stopped)) <= set(before), f"{moment}: a server of the interrupted run was left"
        assert audit(settings=_settings(stopped)).problems == (), moment
        state = _state(stopped)
        assert set(state.champions.values()) <= set(state.versions.get("houses", {})), moment

    turn = run(stopped / "houses", settings=_settings(stopped), stop=True)
    assert turn.deployed is not None
    assert turn.deployed.largest_difference == 0.0
    assert [window.name for window in turn.windows] == ["as before", "ten times too hot"]
    assert turn.champion is not None
    _is_whole(stopped, turn.champion)


def _is_whole(folder: Path, champion: int) -> None:
    assert not servers(folder)
    assert audit(settings=_settings(folder)).problems == ()
    state = _state(folder)
    assert state.champions == {"houses": champion}
    assert state.deployments == {}
    mlflow = _mlflow(folder)
    assert int(mlflow.get_model_version_by_alias("houses", "champion").version) == champion
    found = {int(v.version): v.tags["fullcircle.status"] for v in mlflow.search_model_versions("name = 'houses'")}
    registered = state.versions["houses"]
    assert found == {version: "confirmed" if version in registered else "abandoned" for version in found}
    assert len({version.run for version in registered.values()}) == len(registered), "no run was registered twice"


# --- damaged, taken, refused -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after one turn, to be copied."""
    folder = tmp_path_factory.mktemp("whole")
    circles.write_project(folder / "houses", QUICK)
    assert run(folder / "houses", settings=_settings(folder), stop=True).champion == 1
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of its own, with the signing key and the project, as the current folder of commands."""
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder)
    monkeypatch.chdir(folder)
    for name, value in surrounding(folder).items():
        monkeypatch.setenv(name, value)
    return folder


def _error(*arguments: str) -> tuple[int, dict[str, str]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    document = json.loads(result.stdout)
    return result.exit_code, document.get("error", {}) if isinstance(document, dict) else {}


def _flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def _bundle(folder: Path) -> str:
    return _state(folder).versions["houses"][1].bundle


def _blob(folder: Path, digest: str) -> Path:
    (found,) = [path for path in (folder / "workspace" / "blobs").rglob("*") if path.name.endswith(digest[4:])]
    return found


def test_a_bundle_with_one_flipped_byte_is_refused_everywhere_by_name(copy: Path) -> None:
    digest = _bundle(copy)
    _flip(_blob(copy, digest))
    for arguments in (
        ("deploy", "houses"),
        ("serve",),
        ("score", "houses", "houses/houses.csv", "--out", "answers.csv"),
        ("run", "houses", "--stop"),
    ):
        code, error = _error(*arguments)
        assert (code, error["code"]) == (2, "blob_corrupt"), arguments
        assert digest in json.dumps(error), arguments
    assert not (copy / "answers.csv").exists()
    assert not servers(copy)
    result = CliRunner().invoke(app, ["audit"])
    assert result.exit_code == 1
    assert "was changed: its content has another digest" in " ".join(result.stdout.split())
    (problem,) = audit(settings=_settings(copy)).problems
    assert problem.kind == "blob"
    assert digest in problem.text


def test_a_flipped_byte_in_the_copy_that_servers_read_is_mended_from_the_store(copy: Path) -> None:
    digest = _bundle(copy)
    served = copy / "workspace" / "bundles" / f"{digest}.zip"
    good = served.read_bytes()
    _flip(served)
    try:
        assert deploy.deploy("houses", settings=_settings(copy)).version == 1
        assert served.read_bytes() == good
    finally:
        deploy.remove("houses", settings=_settings(copy))
    assert not servers(copy)


def test_a_taken_port_is_named_and_the_champion_stays(copy: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        for arguments in (("run", "houses", "--stop"), ("deploy", "houses"), ("serve",)):
            code, error = _error(*arguments, "--port", port)
            assert (code, error["code"]) == (2, "port_in_use"), arguments
            assert error["received"] == f"127.0.0.1:{port}"
        assert not servers(copy)
        assert _state(copy).champions == {"houses": 1}
    code, error = _error("run", "houses", "--stop", "--port", port)
    assert (code, error) == (0, {})
    _is_whole(copy, 1)


ALL = (
    ("run", "houses", "--stop"),
    ("runs", "houses"),
    ("reopen", "abcd"),
    ("train", "houses"),
    ("evaluate", "houses"),
    ("package", "houses"),
    ("promote", "houses"),
    ("rollback", "houses"),
    ("deploy", "houses"),
    ("deploy", "houses", "--stop"),
    ("serve",),
    ("score", "houses", "houses/houses.csv", "--out", "answers.csv"),
    ("monitor", "houses"),
    ("retrain", "houses"),
    ("status",),
    ("why", "0123456789abcdef-1"),
    ("snapshots", "list"),
    ("snapshots", "diff", "abcd", "abcd"),
    ("snapshots", "restore", "abcd", "--out", "rows.csv"),
    ("snapshots", "prune", "--delete"),
)


def _content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (folder / "workspace").rglob("*") if path.is_file()}


WITHOUT_RIGHTS = """
import json, sys
from typer.testing import CliRunner
from fullcircle.cli import app
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, [*arguments, "--json"])
    whole = isinstance(result.exception, SystemExit | None)
    print(json.dumps([arguments, result.exit_code, json.loads(result.stdout) if whole else repr(result.exception)]))
"""


def test_a_workspace_that_may_only_be_read_is_refused_in_words(copy: Path) -> None:
    assert CliRunner().invoke(app, ["status"]).exit_code == 0  # whatever has to be caught up in a moved workspace
    set_rights(copy / "workspace", 0o555, 0o444)
    before = _content(copy)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS, json.dumps([*ALL, ("status",), ("audit",)])],
        cwd=copy, capture_output=True, text=True, check=False,
        timeout=120, preexec_fn=obey_rights if os.getuid() == 0 else None,
    )  # fmt: skip
    answers = {tuple(said): (code, found) for said, code, found in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0, done.stderr
    assert _content(copy) == before
    set_rights(copy / "workspace", 0o755, 0o644)
    codes = {said[0]: found["error"]["code"] for said, (code, found) in answers.items() if code == 2}
    for name in ("run", "train", "evaluate", "package", "promote", "serve", "score", "monitor", "retrain"):
        assert codes.pop(name) == "workspace_unusable", name
    assert codes.pop("deploy") in ("workspace_unusable", "server_failed")  # whichever file it meets first
    assert all(code.endswith("_not_found") for code in codes.values()), codes
    for arguments in (("runs", "houses"), ("status",), ("audit",), ("snapshots", "list")):
        assert answers[arguments][0] == 0, f"looking needs no right to write: {arguments}"
    assert [path.name for path in copy.iterdir() if "answers" in path.name] == []


def test_a_workspace_of_a_newer_format_is_left_untouched(copy: Path) -> None:
    marker = copy / "workspace" / "workspace.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "format": 2}))
    before = _content(copy)
    for arguments in (*ALL, ("audit",)):
        code, error = _error(*arguments)
        assert (code, error["code"]) == (2, "workspace_too_new"), arguments
    assert _content(copy) == before


def test_a_workspace_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    circles.write_project(tmp_path / "houses", QUICK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FULLCIRCLE_CONFIG", str(tmp_path / "config"))
    (tmp_path / "workspace").write_text("no folder")
    for arguments in (*ALL, ("audit",)):
        code, error = _error(*arguments, "--workspace", "workspace")
        assert (code, error["code"]) == (2, "workspace_unusable"), arguments
    assert (tmp_path / "workspace").read_text() == "no folder"


def test_a_fact_edited_by_hand_is_named_by_audit_and_nothing_builds_on_it(copy: Path) -> None:
    with sqlite3.connect(copy / "workspace" / "ledger.db") as database:
        (table,) = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if "seq" in {column[1] for column in database.execute(f"PRAGMA table_info({name})")}
        ]
        (seq,) = database.execute(f"SELECT seq FROM {table} WHERE kind = 'version.promoted'").fetchone()  # noqa: S608
        database.execute(f"UPDATE {table} SET body = replace(body, '1', '2') WHERE seq = ?", (seq,))  # noqa: S608
    database.close()
    result = CliRunner().invoke(app, ["audit"])
    assert result.exit_code == 1
    assert "does NOT hold" in result.stdout
    assert [(problem.kind, problem.seq) for problem in audit(settings=_settings(copy)).problems] == [("edited", seq)]
    for arguments in ALL:
        code, error = _error(*arguments)
        assert (code, error["code"]) == (1, "ledger_broken"), arguments
        assert f"fact {seq}" in error["message"]
    assert not servers(copy)
