"""The folder of one policy: its scratch workspace, what was kept of it last, and its result.

A worker may be killed at any moment. What it did since it last kept the state is then done again, from that state on:
the same rows meet the same champion at the same moment of the played clock, so nothing comes out differently.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from fullcircle.settings import Settings
from fullcircle.tables.lines import model_folder
from fullcircle.tables.outcomes import OUTCOMES

_KEPT = re.compile(r"kept-([0-9]+)")
_OWN = ("ledger", "blobs", "features", "online", "mlflow", "environments")


class _State(msgspec.Struct):
    """What is not in the files that were kept: the last step that is done, and how long the outcomes were."""

    step: int
    outcomes: int


@dataclass(frozen=True)
class Place:
    """The folder of one policy."""

    folder: Path
    model: str

    @property
    def workspace(self) -> Path:
        """The scratch workspace, with a played clock."""
        return self.folder / "workspace"

    @property
    def result(self) -> Path:
        """What came out."""
        return self.folder / "result.json"

    @property
    def predictions(self) -> Path:
        """The log."""
        return self.workspace / "predictions"

    def settings(self, settings: Settings) -> Settings:
        """The settings with everything of a workspace in this folder."""
        own = dict.fromkeys(_OWN, "") | {
            "workspace": str(self.workspace),
            "config": str(self.folder / "config"),
            "log_fsync": "never",
        }
        return replace(settings, values={**settings.values, **own})

    def keep(self, step: int) -> None:
        """Keep the state after a step. Nobody may be at work in the workspace."""
        done, partial = self.folder / f"kept-{step}", self.folder / "kept.partial"
        if done.exists():
            return
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        for path in self._databases():
            (partial / path.relative_to(self.workspace)).parent.mkdir(exist_ok=True)
            _copy(path, partial / path.relative_to(self.workspace))
        shutil.copytree(self.folder / "config", partial / "config")
        (partial / "state.json").write_bytes(msgspec.json.encode(_State(step, self._outcomes())))
        earlier = list(self._kept())
        os.rename(partial, done)
        for number in earlier:
            if number != step:
                shutil.rmtree(self.folder / f"kept-{number}", ignore_errors=True)

    def restore(self) -> int | None:
        """Bring back the state that was kept last. Returns its step; None where nothing was, and all begins anew."""
        step = max(self._kept(), default=None)
        if step is None:
            for path in (self.workspace, self.folder / "config"):
                shutil.rmtree(path, ignore_errors=True)
            return None
        kept = self.folder / f"kept-{step}"
        state = msgspec.json.decode((kept / "state.json").read_bytes(), type=_State)
        for path in self._databases():
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        for path in kept.rglob("*.db"):
            target = self.workspace / path.relative_to(kept)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
        shutil.rmtree(self.folder / "config", ignore_errors=True)
        shutil.copytree(kept / "config", self.folder / "config")
        with suppress(FileNotFoundError):
            os.truncate(self._path_of_outcomes(), state.outcomes)
        # What was answered later would be seen before its time: the monitor counts all rows that are in the log.
        for path in model_folder(self.predictions, self.model).glob("[0-9a-f]" * 16 + ".*"):
            if int(path.name[:8], 16) >= state.step:
                path.unlink()
        return state.step

    @staticmethod
    def segment(step: int, piece: int) -> str:
        """The name of the segment with this piece of the answers of the turn that follows ``step`` others."""
        return f"{step:08x}{piece:08x}"

    def _kept(self) -> Iterator[int]:
        for path in self.folder.glob("kept-*"):
            found = _KEPT.fullmatch(path.name)
            if found:
                yield int(found[1])

    def _databases(self) -> list[Path]:
        return [*self.workspace.glob("ledger.db"), *self.workspace.glob("monitoring/*.db")]

    def _path_of_outcomes(self) -> Path:
        return model_folder(self.predictions, self.model) / OUTCOMES

    def _outcomes(self) -> int:
        path = self._path_of_outcomes()
        return path.stat().st_size if path.exists() else 0


def place_of(home: Path, model: str, name: str, changes: Mapping[str, str]) -> Place:
    """The folder of a policy under that of its rehearsal."""
    digest = hashlib.sha256(msgspec.json.encode([name, dict(sorted(changes.items()))])).hexdigest()[:12]
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return Place(home / f"{slug}-{digest}", model)


def _copy(source: Path, target: Path) -> None:
    """A database as of its last transaction, also while its writer has it open."""
    with closing(sqlite3.connect(source)) as here, closing(sqlite3.connect(target)) as there:
        there.execute("PRAGMA synchronous=OFF")
        here.backup(there)
