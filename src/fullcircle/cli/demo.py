"""The command that plays the demo: the lender, live, with the monitor and the loop at accelerated time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from fullcircle.cli.door import INTERRUPTED, Json, Workspace, door, out, settings_of, show

Minutes = Annotated[float, typer.Option("--minutes", min=0.0, max=600.0, help="How long it plays; 0: at once.")]
Weeks = Annotated[int, typer.Option("--weeks", min=1, max=200, help="How many weeks are played.")]
Open = Annotated[bool, typer.Option("--open", help="Open the model's page in a browser at the end.")]


def demo(
    minutes: Minutes = 3.0,
    weeks: Weeks = 26,
    open_page: Open = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Play a lender with a few troubles, live: a server, traffic, late labels, the monitor and the loop."""
    with door(as_json):
        from fullcircle.flows.demo import play

        folder = play.new_folder(Path.cwd() if workspace is None else workspace)
        settings = settings_of(folder / "workspace")
        if not as_json:
            out(f"Everything is made in {folder}; delete that folder when you have seen enough.")
        try:
            with _stage(as_json) as stage:
                found = play.demo(folder, settings=settings, stage=stage, minutes=minutes, weeks=weeks)
        except KeyboardInterrupt as error:
            sys.stderr.write(f"stopped: the server has ended, and {folder} can be deleted\n")
            raise typer.Exit(INTERRUPTED) from error
        show(found, as_json, shown)
        if open_page and found.page:
            import webbrowser

            webbrowser.open(Path(found.page).as_uri())


@contextmanager
def _stage(as_json: bool) -> Iterator[Any]:
    """Who shows it: a live view on a terminal, lines elsewhere, nobody with --json."""
    from fullcircle.cli import demo_view
    from fullcircle.flows.demo.play import Dark

    if as_json:
        yield Dark()
    elif sys.stdout.isatty():
        with demo_view.live() as stage:
            yield stage
    else:
        yield demo_view.Lines()


def shown(found: Any) -> Any:
    """What it came to, and where to look next."""
    from rich.text import Text

    did = [each.kind for each in found.happened]
    workspace = f"--workspace {found.folder}/workspace"
    lines = [
        f"{found.weeks} weeks, {found.rows:,} answers, {found.labels:,} labels in {found.seconds:.0f} s",
        f"{len(found.alarms)} alarms; the loop held {did.count('hold')} times, promoted {did.count('promote')} times "
        f"and rolled back {did.count('rollback')} times; version {found.champion} is champion",
    ]
    lines += [f"The model's page, to look at: {found.page}"] if found.page else []
    lines.append("Its versions were made as in a rehearsal: without an environment of their own, tests and proof.")
    lines.append(f"What would version 1 have answered? fullcircle replay {found.project} --version 1 {workspace}")
    lines.append(f"What happened? fullcircle status {workspace}")
    return Text("\n".join(lines))
