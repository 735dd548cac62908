"""The signing key stays in the config folder and private; checkpoints survive crashes and races."""

from __future__ import annotations

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fullcircle.errors import SettingInvalid, WorkspaceUnusable
from fullcircle.ledger.checkpoint import Checkpoints
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import Settings, load


def test_every_append_is_witnessed(workspace: Workspace) -> None:
    facts = [workspace.ledger.append("reconciled", {}) for _ in range(3)]
    good, bad = Checkpoints(workspace.config).read(workspace.id)
    assert bad == ()
    assert [(found.seq, found.hash) for found in good[1:]] == [(fact.seq, fact.hash) for fact in facts]
    assert good[0].seq == 1


def test_the_key_is_private_and_outside_of_the_workspace(workspace: Workspace) -> None:
    key = workspace.config / "signing-key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((workspace.config / "checkpoints" / f"{workspace.id}.jsonl").stat().st_mode) == 0o600
    assert not workspace.config.is_relative_to(workspace.root)
    secret = key.read_bytes()
    assert all(secret not in path.read_bytes() for path in workspace.root.rglob("*") if path.is_file())


@pytest.mark.parametrize("config", ["ws/config", "ws", "other/../ws/x"])
def test_a_config_folder_inside_the_workspace_is_refused(tmp_path: Path, config: str) -> None:
    with pytest.raises(SettingInvalid, match="inside the workspace"):
        Workspace.open(load({"workspace": "ws", "config": config}, folder=tmp_path))
    assert not (tmp_path / "ws").exists()


def test_by_default_the_users_own_config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with Workspace.open(load({"workspace": "ws", "config": ""}, folder=tmp_path)) as workspace:
        assert workspace.config.is_relative_to(tmp_path / "home")
        assert workspace.config.name == "fullcircle"
        assert (workspace.config / "signing-key.pem").exists()


def test_many_who_make_a_key_agree_on_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: Checkpoints(tmp_path).sign("led", n, "h"), range(30)))
    good, bad = Checkpoints(tmp_path).read("led")
    assert (len(good), bad) == (30, ())
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["checkpoints", "signing-key.pem"]


def test_a_line_cut_short_by_a_crash_is_dropped_and_not_a_problem(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.sign("led", 1, "a")
    checkpoints.sign("led", 2, "b")
    path = checkpoints.path("led")
    whole = path.read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole)):
        path.write_bytes(whole[:length])
        assert ([found.seq for found in checkpoints.read("led")[0]], checkpoints.read("led")[1]) == ([1], ())
        if length % 50 == 0:
            checkpoints.sign("led", 3, "c")
            assert [found.seq for found in checkpoints.read("led")[0]] == [1, 3]


def test_a_signature_holds_for_one_ledger_place_and_hash_only(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.sign("led", 1, "a")
    line = checkpoints.path("led").read_text()
    for forged in (line.replace('"led"', '"del"'), line.replace('"seq":1', '"seq":2'), line.replace('"a"', '"b"')):
        checkpoints.path("led").write_text(forged)
        good, bad = checkpoints.read("led")
        assert (good, len(bad)) == ((), 1)
    checkpoints.path("del").write_text(line)
    assert checkpoints.read("del")[0] == ()
    other = Checkpoints(tmp_path / "other")
    other.sign("led", 1, "a")
    checkpoints.path("led").write_text(other.path("led").read_text())
    assert checkpoints.read("led")[0] == ()


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"])
def test_a_damaged_key_is_met_before_anything_is_recorded(settings: Settings, content: bytes) -> None:
    with Workspace.open(settings) as workspace:
        (workspace.config / "signing-key.pem").write_bytes(content)
    with Workspace.open(settings) as workspace:
        with pytest.raises(WorkspaceUnusable, match=r"signing-key\.pem"):
            workspace.ledger.append("reconciled", {})
        assert workspace.ledger.state().seq == 1


def test_a_config_folder_that_cannot_be_made(settings: Settings) -> None:
    (settings.folder / "config").write_text("in the way")
    with pytest.raises(WorkspaceUnusable, match="config folder") as caught:
        Workspace.open(settings)
    assert "FULLCIRCLE_CONFIG" in str(caught.value.next_step)
    (settings.folder / "config").unlink()
    with Workspace.open(settings) as workspace:
        assert workspace.ledger.state().seq == 1


def test_a_missing_library_says_which_extra_to_install(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from fullcircle.errors import MissingExtra
from fullcircle.ledger.workspace import Workspace
from fullcircle.settings import load
settings = load({"workspace": "ws", "config": "c"}, folder=Path(sys.argv[1]))
for name in ("sqlalchemy", "cryptography", "fsspec"):
    sys.modules[name] = None
    try:
        Workspace.open(settings)
    except MissingExtra as error:
        print(error.received, error.next_step)
    del sys.modules[name]
"""
    answer = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    names = ("sqlalchemy", "cryptography", "fsspec")
    assert answer.stdout.splitlines() == [f"{name} pip install 'fullcircle[lab]'" for name in names]
    assert not (tmp_path / "ws").exists()
