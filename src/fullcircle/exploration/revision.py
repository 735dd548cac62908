"""The git commit that a folder is at."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def commit(folder: Path) -> str | None:
    """The commit of the folder's work tree, with "-dirty" where files in it were changed; None without git."""
    git = shutil.which("git")
    if git is None:
        return None
    head = _ask(git, folder, "rev-parse", "HEAD")
    if not head:
        return None
    changed = _ask(git, folder, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{head}-dirty" if changed else head


def _ask(git: str, folder: Path, *words: str) -> str | None:
    try:
        answer = subprocess.run(
            [git, "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
