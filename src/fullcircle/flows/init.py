"""Init: look at a table and write a commented project file that ``run`` accepts unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fullcircle.errors import ProjectInvalid
from fullcircle.exploration.proposal import Proposal, propose


@dataclass(frozen=True, kw_only=True)
class Written:
    """The project file that was written, and what was proposed in it."""

    path: str
    proposal: Proposal


def init(table: str | Path, *, out: str | Path | None = None, name: str | None = None) -> Written:
    """Write ``project.py`` into the current folder (or to ``out``). An existing file is not overwritten."""
    path = Path(out) if out else Path("project.py")
    if path.is_dir():
        path = path / "project.py"
    if path.exists():
        raise ProjectInvalid(
            "there is a file of this name already, and it is not overwritten",
            received=str(path),
            next_step="choose another with --out, or remove it",
        )
    if not path.absolute().parent.is_dir():
        raise ProjectInvalid(
            "the folder to write the project file into does not exist",
            received=str(path.absolute().parent),
            next_step="make the folder first, or choose another with --out",
        )
    proposal = propose(Path(table), name, folder=path.absolute().parent)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(proposal.text, encoding="utf-8")
    partial.replace(path)
    return Written(path=str(path), proposal=proposal)
