"""Rights of files in tests that may run as root, who passes over them."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path


def set_rights(root: Path, folders: int, files: int) -> None:
    """The same rights for every folder, and for every file, below ``root``."""
    for path in [root, *sorted(root.rglob("*"))]:
        path.chmod(folders if path.is_dir() else files)


def obey_rights() -> None:
    """In a child of root: give up, for the program that follows, what lets root pass over rights of files."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        if libc.prctl(24, capability, 0, 0, 0) != 0:  # PR_CAPBSET_DROP
            raise OSError(ctypes.get_errno(), "root cannot give up its rights here")


def files_allowed(more: int) -> int:
    """A limit of open files that leaves room for so many more, whatever this process holds already."""
    return max(int(name) for name in os.listdir("/dev/fd")) + 1 + more
