"""What `deploy` says of splits: begin one, end it, show how it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from fullcircle.cli.door import listening, settings_of, show

Canary = Annotated[
    str, typer.Option("--canary", metavar="STEPS", help="Try a version in steps, such as 5%,25%,100%.")
]
Bake = Annotated[
    str | None,
    typer.Option("--bake", metavar="TIME", help="How long a step of a canary lasts at least. Default: 1h."),
]
Least = Annotated[
    int | None, typer.Option("--least", min=0, help="Requests that a step of a canary needs. Default: 300.")
]
SplitShare = Annotated[str, typer.Option("--split", metavar="SHARE", help="Give a version this share, such as 50%.")]
Shadow = Annotated[bool, typer.Option("--shadow", help="Give a version a copy of all that is asked, unseen.")]
Version = Annotated[int | None, typer.Option("--version", help="The version to try. Default: the latest.")]
Entity = Annotated[
    list[str] | None, typer.Option("--entity", metavar="COLUMN", help="Assign rows by this column (repeatable).")
]
End = Annotated[bool, typer.Option("--end", help="End the split: the champion answers for all again.")]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The flags of splits as they were given."""

    canary: str = ""
    split: str = ""
    shadow: bool = False
    end: bool = False
    bake: str | None = None
    least: int | None = None
    version: int | None = None
    entity: tuple[str, ...] = ()

    @property
    def any(self) -> bool:
        """Whether a split is meant."""
        return bool(self.chosen or self.beside)

    @property
    def chosen(self) -> list[str]:
        """What is to be done; exactly one makes sense."""
        return [name for name in ("canary", "split", "shadow", "end") if getattr(self, name)]

    @property
    def beside(self) -> list[str]:
        """What is said of it."""
        given = (
            ("bake", self.bake),
            ("least", self.least),
            ("version", self.version),
            ("entity", self.entity or None),
        )
        return [name for name, value in given if value is not None]

    @property
    def fits(self) -> bool:
        """Whether these flags mean something together."""
        known = {
            "canary": {"bake", "least", "version", "entity"},
            "split": {"version", "entity"},
            "shadow": {"version"},
        }
        return len(self.chosen) == 1 and set(self.beside) <= known.get(self.chosen[0], set())


def run(project: str, asked: Asked, other: bool, workspace: Path | None, as_json: bool) -> None:
    """Begin or end a split. ``other`` says that flags of something else stand beside."""
    from fullcircle.errors import SettingInvalid
    from fullcircle.flows import split_status, splitting
    from fullcircle.types.splits import LEAST

    if not asked.fits or other:
        raise SettingInvalid(
            "these flags mean nothing together",
            received=" ".join(f"--{name}" for name in (*asked.chosen, *asked.beside))
            + (" with others" if other else ""),
            allowed="--canary with --bake, --least, --version, --entity; --split with --version, --entity; "
            "--shadow with --version; or --end",
            next_step="see fullcircle deploy --help, and docs/splits.md",
        )
    settings = settings_of(workspace)
    with listening(as_json) as progress:
        if asked.end:
            splitting.end(project, settings=settings, progress=progress)
            show(split_status.status(project, settings=settings), as_json, status_text)
            return
        (kind,) = asked.chosen
        splitting.start(
            project,
            kind=kind,  # type: ignore[arg-type]
            shares=[part for part in (asked.canary or asked.split).split(",") if part],
            bake=asked.bake or "1h",
            version=asked.version,
            entity=asked.entity,
            least=LEAST if asked.least is None else asked.least,
            settings=settings,
            progress=progress,
        )
        show(split_status.status(project, settings=settings), as_json, status_text)


def standing(project: str, running: Any, settings: Any, as_json: bool, text: Any) -> None:
    """What a target has there, with the split of the model where there is one; ``settings`` None: nothing of that."""
    from fullcircle.flows import split_status

    found = None if settings is None else split_status.status(project, settings=settings)
    if found is None or (found.split is None and not found.ended):
        show(running, as_json, text)
    elif as_json:
        import msgspec

        show({**msgspec.to_builtins(running, enc_hook=str), "split": found}, True, None)
    else:
        show(running, False, text)
        show(found, False, status_text)


def status_text(found: Any) -> Any:
    """How a split stands, in a sentence or two."""
    from rich.text import Text

    return Text(found.text)
