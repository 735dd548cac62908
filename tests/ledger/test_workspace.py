"""A workspace is made whole or completed later, is left alone when it is not ours, and can be shared."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fullcircle.errors import LedgerBroken, SettingInvalid, WorkspaceTooNew, WorkspaceUnusable
from fullcircle.ledger import folder as folders
from fullcircle.ledger.audit import audit
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings, load
from rights import obey_rights, set_rights


def with_values(settings: Settings, **values: str) -> Settings:
    return replace(settings, values={**settings.values, **values})


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_new_workspace_has_its_parts(settings: Settings, workspace: Workspace) -> None:
    root = settings.folder / "ws"
    assert workspace.root == root
    assert json.loads((root / "workspace.json").read_text()) == {"format": 1, "id": workspace.id}
    assert (root / ".gitignore").read_text() == "*\n"
    assert workspace.ledger.id == workspace.id
    assert workspace.mlflow_uri == f"sqlite:///{root}/mlflow.db"
    assert workspace.artifacts == f"file://{root}/artifacts"
    for path in (workspace.predictions, workspace.environments, workspace.pages, root / "artifacts"):
        assert path.is_dir()
    assert workspace.served == root / "served.json"
    assert workspace.writable


def test_opening_again_finds_what_was_there(settings: Settings, workspace: Workspace) -> None:
    digest = workspace.blobs.put(b"x")
    fact = workspace.ledger.append("snapshot.created", {"snapshot": digest})
    for create in (True, False):
        with Workspace.open(settings, create=create) as again:
            assert (again.id, again.ledger.head(), again.blobs.get(digest)) == (workspace.id, fact, b"x")


def test_git_sees_nothing_of_it(settings: Settings, workspace: Workspace) -> None:
    workspace.blobs.put(b"x")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=settings.folder, check=True)
    staged = subprocess.run(["git", "ls-files"], cwd=settings.folder, check=True, capture_output=True, text=True)
    assert [name for name in staged.stdout.split() if name.startswith("ws")] == []


def test_a_shared_mlflow_is_left_to_its_server(settings: Settings) -> None:
    with Workspace.open(with_values(settings, mlflow="http://mlflow.example:5000")) as workspace:
        assert (workspace.mlflow_uri, workspace.artifacts) == ("http://mlflow.example:5000", "")


def test_no_mlflow_is_imported() -> None:
    code = (
        "import sys; import fullcircle.ledger.workspace; print('mlflow' in sys.modules, 'sqlalchemy' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert answer.stdout.split() == ["False", "False"]


def test_an_actor_that_is_no_text_is_refused(settings: Settings) -> None:
    for name in ("x" * 501, "a\0b", "\udcff"):
        with pytest.raises(SettingInvalid, match="actor"):
            Workspace.open(with_values(settings, actor=name))


def test_without_create_nothing_is_made(settings: Settings) -> None:
    with pytest.raises(WorkspaceUnusable, match="no workspace here yet"):
        Workspace.open(settings, create=False)
    assert list(settings.folder.iterdir()) == []


# --- half-made, foreign, newer, damaged -----------------------------------------------------------------

MAKE_AND_DIE = """
import os, sys
from importlib import import_module
from pathlib import Path
import fullcircle.ledger.sqlite
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import load
def die(*args, **kwargs):
    os.kill(os.getpid(), 9)
for place in sys.argv[2:]:
    if os.fork() == 0:
        module, name = place.split(":")
        setattr(import_module("fullcircle.ledger." + module), name, die)
        folder = Path(sys.argv[1]) / name
        folder.mkdir()
        Workspace.open(load({"workspace": "ws", "config": "config", "actor": "tester"}, folder=folder))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == -9, place
"""


def test_a_workspace_whose_maker_was_killed_is_completed(settings: Settings) -> None:
    names = ["locked", "fill", "open_store", "begin", "identity", "write_marker"]
    places = [*(f"workspace:{name}" for name in names), "checkpoint:_make_key", "checkpoint:_append"]
    places.append("sqlite:sync_folder")
    subprocess.run([sys.executable, "-c", MAKE_AND_DIE, str(settings.folder), *places], check=True)
    for place in places:
        half = replace(settings, folder=settings.folder / place.partition(":")[2])
        with pytest.raises(WorkspaceUnusable, match="no workspace"):
            Workspace.open(half, create=False)
        with Workspace.open(half) as workspace:
            assert workspace.ledger.state().seq == 1, place
            workspace.ledger.append("reconciled", {})
            assert audit(workspace).passed, place
            assert workspace.ledger.id == workspace.id


def test_a_folder_of_other_things_is_left_alone(settings: Settings) -> None:
    (settings.folder / "ws").mkdir()
    (settings.folder / "ws" / "thesis.txt").write_text("do not touch")
    for create in (True, False):
        with pytest.raises(WorkspaceUnusable, match="other things"):
            Workspace.open(settings, create=create)
    assert content(settings.folder) == {"ws/thesis.txt": b"do not touch"}


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_workspace_is_left_untouched(settings: Settings, create: bool) -> None:
    Workspace.open(settings).close()
    (settings.folder / "ws" / "workspace.json").write_text('{"format": 2, "id": "x", "more": []}')
    before = content(settings.folder)
    with pytest.raises(WorkspaceTooNew, match="newer fullcircle") as caught:
        Workspace.open(settings, create=create)
    assert "upgrade" in str(caught.value.next_step)
    assert content(settings.folder) == before


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_ledger_is_left_untouched(settings: Settings, monkeypatch: pytest.MonkeyPatch, create: bool) -> None:
    from fullcircle.ledger import ledger

    monkeypatch.setattr(ledger, "FORMAT", 2)
    shared = with_values(settings, ledger="sqlite:///shared/ledger.db")
    Workspace.open(shared).close()
    monkeypatch.setattr(ledger, "FORMAT", 1)
    before = content(settings.folder)
    with pytest.raises(WorkspaceTooNew, match="newer fullcircle"):
        Workspace.open(shared, create=create)
    after = content(settings.folder)
    assert {name: data for name, data in after.items() if name in before} == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "x"}', '{"format": "one", "id": "x"}', "\xff"])
def test_a_damaged_marker_is_named(settings: Settings, text: str) -> None:
    Workspace.open(settings).close()
    (settings.folder / "ws" / "workspace.json").write_text(text, encoding="latin-1")
    for create in (True, False):
        with pytest.raises(WorkspaceUnusable, match=r"workspace\.json is damaged"):
            Workspace.open(settings, create=create)


def test_a_file_in_the_way_is_named(settings: Settings) -> None:
    (settings.folder / "ws").write_text("a file")
    for create in (True, False):
        with pytest.raises(WorkspaceUnusable, match="not a folder"):
            Workspace.open(settings, create=create)
    with pytest.raises(WorkspaceUnusable):
        Workspace.open(with_values(settings, workspace="ws/inside"))


@pytest.mark.parametrize("emptied", [True, False])
def test_a_lost_ledger_is_never_made_anew_silently(settings: Settings, emptied: bool) -> None:
    Workspace.open(settings).close()
    for path in (settings.folder / "ws").glob("ledger.db*"):
        if emptied:
            path.write_bytes(b"")
        else:
            path.unlink()
    with pytest.raises(LedgerBroken, match="ledger of this workspace is gone"):
        Workspace.open(settings)


def test_a_folder_that_another_is_making_is_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from fullcircle.errors import WorkspaceBusy
    from fullcircle.ledger import workspace as module

    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    (settings.folder / "ws").mkdir()
    with folders.locked(settings.folder / "ws" / folders.LOCK, 1), pytest.raises(WorkspaceBusy, match="at work"):
        Workspace.open(settings)
    Workspace.open(settings).close()


# --- read-only ------------------------------------------------------------------------------------------

LOOK = """
import json, sys
from pathlib import Path
from fullcircle.errors import FullcircleError
from fullcircle.ledger.audit import audit
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import load
folder, create = sys.argv[1:]
settings = load({"workspace": "ws", "config": "config", "actor": "reader"}, folder=Path(folder))
answer = {}
try:
    with Workspace.open(settings, create=create == "yes") as workspace:
        answer["seq"] = workspace.ledger.state().seq
        answer["facts"] = audit(workspace).facts
        answer["writable"] = workspace.writable
        workspace.ledger.append("reconciled", {})
except FullcircleError as error:
    answer["error"] = error.code
    answer["what"] = error.what
print(json.dumps(answer))
"""


@pytest.fixture
def readonly() -> Iterator[Settings]:
    """A workspace whose rights a test takes away."""
    folder = Path(tempfile.mkdtemp(prefix="fc-readonly-"))
    settings = load({"workspace": "ws", "config": "config", "actor": "tester", "ledger": "", "blobs": ""}, folder)
    with Workspace.open(settings) as workspace:
        for _ in range(3):
            workspace.ledger.append("reconciled", {})
    yield settings
    settings.workspace.chmod(0o755)
    set_rights(folder, 0o755, 0o644)
    shutil.rmtree(folder)


def look(settings: Settings, create: str) -> dict[str, Any]:
    """What an unprivileged process sees."""
    child = subprocess.run(
        [sys.executable, "-c", LOOK, str(settings.folder), create],
        check=True, capture_output=True, text=True, preexec_fn=obey_rights if os.getuid() == 0 else None,
    )  # fmt: skip
    return dict(json.loads(child.stdout))


def test_a_workspace_that_may_only_be_read_can_be_looked_at(readonly: Settings) -> None:
    set_rights(readonly.folder, 0o555, 0o444)
    before = content(readonly.folder)
    answer = look(readonly, "no")
    assert (answer["seq"], answer["facts"], answer["writable"]) == (4, 4, False)
    assert answer["error"] == "workspace_unusable"
    assert content(readonly.folder) == before


def test_a_workspace_that_may_only_be_read_while_others_write(readonly: Settings) -> None:
    """The log beside the database holds facts that are not in the file yet: they must be seen."""
    with Workspace.open(readonly) as workspace:
        workspace.ledger.append("reconciled", {})
        assert (readonly.workspace / "ledger.db-wal").stat().st_size > 0
        set_rights(readonly.folder, 0o555, 0o444)
        assert look(readonly, "no")["seq"] == 5
        workspace.ledger.append("reconciled", {})
        assert look(readonly, "no")["seq"] == 6


def test_a_command_that_writes_is_told_at_once(readonly: Settings) -> None:
    set_rights(readonly.folder, 0o555, 0o444)
    answer = look(readonly, "yes")
    assert answer["error"] == "workspace_unusable"
    assert "may only be read" in answer["what"]
    assert "seq" not in answer


def test_a_workspace_that_may_not_even_be_read(readonly: Settings) -> None:
    for path in (readonly.workspace / "ledger.db", readonly.workspace / "workspace.json", readonly.workspace):
        path.chmod(0o000)
        assert look(readonly, "no")["error"] == "workspace_unusable", path


# --- shared ---------------------------------------------------------------------------------------------


def check_shared(tmp_path: Path, ledger: str, blobs: str) -> None:
    clones = []
    for name in ("ann", "bob"):
        flags = {
            "workspace": f"{name}/ws",
            "config": f"{name}/config",
            "actor": name,
            "ledger": ledger,
            "blobs": blobs,
        }
        clones.append(load(flags, folder=tmp_path))
    with Workspace.open(clones[0]) as ann, Workspace.open(clones[1]) as bob:
        assert ann.ledger.id == bob.ledger.id
        assert ann.id != bob.id
        digest = ann.blobs.put(b"rows")
        ann.ledger.append("snapshot.created", {"model": "bike", "snapshot": digest, "rows": 1})
        ann.ledger.append("run.finished", {"model": "bike", "run": "r1"})
        bob.ledger.append("version.promoted", {"model": "bike", "version": 1})
        assert ann.ledger.state() == bob.ledger.state()
        assert bob.blobs.get(digest) == b"rows"
        assert ann.ledger.state().champions == {"bike": 1}
        assert list(bob.ledger.state().runs) == ["r1"]
        assert [fact.actor for fact in ann.ledger.facts(after=1)] == ["ann", "ann", "bob"]
        for one in (ann, bob):
            found = audit(one)
            assert found.passed, found.problems
    with Workspace.open(clones[1], create=False) as again:
        assert again.ledger.state().seq == 4


def test_two_clones_share_a_sqlite_ledger_and_blobs(tmp_path: Path) -> None:
    check_shared(tmp_path, "sqlite:///shared/ledger.db", "shared/blobs")
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["blobs", "ledger.db"]


def test_two_clones_share_a_postgres_ledger_and_remote_blobs(tmp_path: Path, postgres: Callable[[], str]) -> None:
    check_shared(tmp_path, postgres(), f"memory://{tmp_path.name}")


def test_a_shared_ledger_cut_by_one_is_seen_by_the_other(tmp_path: Path, postgres: Callable[[], str]) -> None:
    import psycopg

    url = postgres()
    settings = load({"workspace": "ws", "config": "config", "ledger": url}, folder=tmp_path)
    with Workspace.open(settings) as workspace:
        for _ in range(4):
            workspace.ledger.append("reconciled", {})
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DELETE FROM fullcircle_facts WHERE seq > 3")
    with Workspace.open(settings, create=False) as again:
        assert [(problem.kind, problem.seq) for problem in audit(again).problems] == [("truncated", 4)]
