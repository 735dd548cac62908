"""The command around targets: start, plan, look at, stop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fullcircle.cli import splits
from fullcircle.cli.door import Json, ModelOrPath, Workspace, door, listening, settings_of, show

To = Annotated[str, typer.Option("--to", metavar="TARGET", help="local (here), or container (a build context).")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for files that are written.", show_default=False)]
Base = Annotated[str, typer.Option("--base", metavar="IMAGE", help="Base image of a container.")]
Source = Annotated[str | None, typer.Option("--batch", metavar="INPUT", help="Score this file, folder or pattern.")]
Every = Annotated[str, typer.Option("--every", metavar="TIME", help="How often, such as 15m, 1h or 1d.")]
Results = Annotated[str, typer.Option("--results", help="Where the scored files go: a folder, or PATH with {name}.")]


def deploy(
    project: ModelOrPath,
    to: To = "local",
    plan: Annotated[bool, typer.Option("--plan", help="Show what would be made, and make nothing.")] = False,
    out_folder: Out = None,
    base: Base = "",
    batch: Source = None,
    every: Every = "1h",
    results: Results = "",
    systemd: Annotated[bool, typer.Option("--systemd", help="Write systemd units instead of starting.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show what is there.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the server instead, or delete the files.")] = False,
    scheduled: Annotated[bool, typer.Option("--scheduled", help="--stop or --status of the schedule.")] = False,
    canary: splits.Canary = "",
    bake: splits.Bake = None,
    least: splits.Least = None,
    split: splits.SplitShare = "",
    shadow: splits.Shadow = False,
    version: splits.Version = None,
    entity: splits.Entity = None,
    end: splits.End = False,
    port: Annotated[int | None, typer.Option("--port", help="Port. 0: any free one.")] = None,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Start (or stop) a server of the champion, make what another target needs, or try a version beside it."""
    with door(as_json):
        from fullcircle.cli import text
        from fullcircle.flows import deploy as flow
        from fullcircle.flows.taken_along import Batch

        asked = splits.Asked(
            canary=canary, split=split, shadow=shadow, end=end, bake=bake, least=least,
            version=version, entity=tuple(entity or ()),
        )  # fmt: skip
        if asked.any:
            more = to != "local" or any(
                (plan, out_folder, base, batch, systemd, status, stop, scheduled, port is not None)
            )
            splits.run(project, asked, more, workspace, as_json)
            return
        _check(
            to, plan=plan, out=out_folder, base=base, batch=batch, systemd=systemd, looks=(status, stop, scheduled)
        )
        settings = settings_of(workspace, port=None if port is None else str(port))
        place: dict[str, Any] = {"to": to, "out": out_folder, "settings": settings}
        given = None if batch is None else Batch(source=batch, every=every, results=results)
        if status:
            running = flow.status(project, scheduled=scheduled, **place)
            here = to == "local" and not scheduled
            splits.standing(project, running, settings if here else None, as_json, status_text)
            return
        with listening(as_json) as progress:
            if stop:
                shown = text.removed if to == "local" and not scheduled else removed_text
                show(flow.remove(project, scheduled=scheduled, progress=progress, **place), as_json, shown)
            elif plan or systemd:
                write = out_folder is not None or not plan
                found = flow.plan(
                    project, base=base, batch=given, systemd=systemd, write=write, progress=progress, **place
                )
                show(found, as_json, planned_text)
            else:
                made = flow.deploy(project, base=base, batch=given, progress=progress, **place)
                show(made, as_json, text.deployed if made.url else made_text)


def _check(
    to: str,
    *,
    plan: bool,
    out: Path | None,
    base: str,
    batch: str | None,
    systemd: bool,
    looks: tuple[bool, bool, bool],
) -> None:
    """Refuse flags that mean nothing together: each is understood, or refused."""
    from fullcircle.errors import SettingInvalid

    status, stop, scheduled = looks
    wrong = (
        (status and stop, "--status and --stop"),
        ((status or stop) and (plan or systemd or batch is not None or bool(base)), "--status or --stop with a plan"),
        (scheduled and not (status or stop), "--scheduled without --status or --stop"),
        (to != "local" and (systemd or scheduled or batch is not None), f"--to {to} with what is of this machine"),
        (to == "local" and bool(base), "--base without --to container"),
        (to == "local" and out is not None and not (plan or systemd), "--out without --plan or --systemd"),
    )
    for found, words in wrong:
        if found:
            raise SettingInvalid(
                "these flags mean nothing together",
                received=words,
                next_step="see fullcircle deploy --help, and docs/targets.md",
            )


def planned_text(found: Any) -> Any:
    """A plan: what, which files, and what is done with them."""
    from rich.text import Text

    lines = [f"{found.action}: {found.text}"]
    lines += [f"  {one.bytes:>10,}  {one.name}" for one in found.files]
    lines += [f"- {step}" for step in found.steps]
    end = f"written to {found.written}" if found.written else "nothing was made; --out FOLDER writes the files"
    return Text("\n".join([*lines, end]))


def made_text(found: Any) -> Any:
    """What was made by a target that has no address."""
    from rich.text import Text

    head = f"{found.model} version {found.version}, {found.target}: {found.place}"
    return Text("\n".join([head, *(f"- {step}" for step in found.steps)]))


def removed_text(found: Any) -> Any:
    """What was ended or deleted."""
    from rich.text import Text

    return Text(f"removed {found.url}" if found.url else f"nothing of {found.model} is there")


def status_text(found: Any) -> Any:
    """What a target has there."""
    from rich.text import Text

    if found.running:
        where = found.url or found.place or f"process {found.pid}"
        versions = ", ".join(f"{name} version {number}" for name, number in found.versions)
        lines = [f"{where}{': ' + versions if versions else ''}{', ready' if found.ready else ''}"]
    else:
        lines = []
    lines += [found.problem] if found.problem else []
    if found.starts > 1:
        lines.append(f"started {found.starts} times; {found.ended}")
    if found.ran is not None:
        ran = found.ran
        lines.append(
            f"last run {ran.began}: {ran.files} files, {ran.rows} rows, {ran.rejected} rejected, "
            f"{ran.seconds:.1f} seconds, exit code {ran.code}; next run {ran.next}"
        )
        lines += [ran.words] if ran.words else []
    return Text("\n".join(lines))
