"""The workspace's folder: made by one process at a time, marked when complete, never mixed with other things."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fullcircle.errors import WorkspaceBusy, WorkspaceTooNew, WorkspaceUnusable
from fullcircle.types import clock

FORMAT = 1
MARKER = "workspace.json"
LOCK = "workspace.lock"
FOLDERS = ("artifacts", "environments", "pages", "predictions")


def check_folder(root: Path) -> None:
    """Refuse what is no folder, and a folder of somebody else's things."""
    if root.exists() and not root.is_dir():
        raise unusable(root, "it is not a folder")
    ours = any((root / name).exists() for name in (MARKER, LOCK))
    if root.is_dir() and not ours and any(path.name != clock.NAME for path in root.iterdir()):
        raise WorkspaceUnusable(
            "this folder holds other things and is no workspace; nothing was changed",
            received=str(root),
            allowed="a workspace, an empty folder, or one that does not exist yet",
            next_step="name another folder with --workspace or FULLCIRCLE_WORKSPACE",
        )


def fill(root: Path) -> None:
    """Make the folders, and keep all of it out of git."""
    for name in FOLDERS:
        (root / name).mkdir(exist_ok=True)
    if not (root / ".gitignore").exists():
        (root / ".gitignore").write_text("*\n", encoding="utf-8")


def read_marker(root: Path) -> str | None:
    """The workspace's id, or None where it is not complete yet. Raises WorkspaceTooNew, WorkspaceUnusable."""
    try:
        text = (root / MARKER).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise unusable(root, f"{MARKER} is damaged") from error
    try:
        content = json.loads(text)
        id, form = str(content["id"]), int(content["format"])
    except (ValueError, TypeError, KeyError) as error:
        raise unusable(root, f"{MARKER} is damaged") from error
    if form > FORMAT:
        raise WorkspaceTooNew(
            "the workspace was made by a newer fullcircle; nothing was changed",
            received=f"format {form} in {root / MARKER}",
            allowed=f"format {FORMAT}",
            next_step="pip install --upgrade 'fullcircle[lab]'",
        )
    return id


def write_marker(root: Path, id: str) -> None:
    """The last step of making a workspace: whole or not at all."""
    if (root / MARKER).exists():
        return
    partial = root / f".{MARKER}-partial"
    with partial.open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, "id": id}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, root / MARKER)
    for folder in (root, root.parent):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Only one process at a time does what the file ``path`` stands for. The lock goes when its holder ends.

    Raises WorkspaceBusy after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise WorkspaceBusy(
                        "another process is at work on this part of the workspace",
                        received=str(path),
                        next_step="wait for it to end, then repeat",
                    ) from error
                time.sleep(0.02)
        yield


def unusable(root: Path, why: str) -> WorkspaceUnusable:
    """The error for a folder that does not serve."""
    return WorkspaceUnusable(
        f"the workspace cannot be used: {why}",
        received=str(root),
        allowed="a folder you may read and write",
        next_step="mend it, or name another folder with --workspace or FULLCIRCLE_WORKSPACE",
    )


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole, readable by its owner only: a reader sees the old or the new."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
