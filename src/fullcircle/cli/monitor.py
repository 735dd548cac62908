"""The command that monitors: once, again and again, or as what a machine's own clock needs to do it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fullcircle.cli.door import Json, ProjectPath, Workspace, door, listening, out, settings_of, show

Since = Annotated[str | None, typer.Option("--since", help="UTC time, ISO 8601. Default: one window ago.")]
Every = Annotated[
    str | None, typer.Option("--every", metavar="TIME", help="Go on, a turn that often: 1h.", show_default=False)
]
Cron = Annotated[bool, typer.Option("--cron", help="Print the line for crontab instead; --every says how often.")]
Systemd = Annotated[bool, typer.Option("--systemd", help="Print systemd's units instead; --out writes them.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the units.", show_default=False)]
Page = Annotated[bool, typer.Option("--page", help="Write the model's page of monitoring too.")]
Prometheus = Annotated[
    Path | None,
    typer.Option("--prometheus", metavar="FILE", help="Write figures for Prometheus' node exporter too."),
]

Retrain = Annotated[
    bool, typer.Option("--retrain", help="Then take a turn of the loop: retrain, promote or go back where it is due.")
]


def monitor(
    project: ProjectPath,
    since: Since = None,
    every: Every = None,
    cron: Cron = False,
    systemd: Systemd = False,
    out_folder: Out = None,
    page: Page = False,
    prometheus: Prometheus = None,
    retrain: Retrain = False,
    workspace: Workspace = None,
    as_json: Json = False,
) -> None:
    """Count what is new, judge the batches that are over, tell what changed; ends with 1 while an alarm is open."""
    with door(as_json):
        _check(since=since, every=every, cron=cron, systemd=systemd, out_folder=out_folder)
        settings = settings_of(workspace)
        more: dict[str, Any] = {"page": page, "prometheus": prometheus, "retrain": retrain, "settings": settings}
        if cron or systemd:
            from fullcircle.flows import monitoring_schedule as schedule

            often = every or schedule.EVERY
            found = (
                schedule.cron(project, every=often, **more)
                if cron
                else schedule.systemd(project, every=often, out=out_folder, **more)
            )
            _show_schedule(found, as_json)
        elif every is not None:
            _again_and_again(project, every, as_json, more)
        else:
            window, step = _turn(project, since, as_json, **more)
            _show((window, step), as_json)
            if any(alarm.state == "open" and alarm.told for alarm in window.alarms):
                raise typer.Exit(1)


def _turn(
    project: str,
    since: str | None,
    as_json: bool,
    *,
    page: bool,
    prometheus: Path | None,
    retrain: bool,
    settings: Any,
) -> tuple[Any, Any]:
    """A turn, then one of the loop where wanted, and after them the page and the figures, which show both.

    Returns the window, and the step of the loop or None.
    """
    from fullcircle.flows.monitor import monitor as flow

    with listening(as_json) as progress:
        window = flow(project, since=since, settings=settings, progress=progress)
        step = None
        if retrain:
            from fullcircle.flows.loop import turn

            step = turn(project, settings=settings, progress=progress)
        if page:
            from fullcircle.flows.monitored import page as write_page

            progress.note(f"page: {write_page(project, settings=settings)}")
        if prometheus is not None:
            from fullcircle.flows.monitored import monitored
            from fullcircle.monitoring import exposition

            exposition.write(prometheus, [monitored(project, settings=settings)])
            progress.note(f"figures: {prometheus}")
        return window, step


def _again_and_again(project: str, every: str, as_json: bool, more: dict[str, Any]) -> None:
    """Keep at it. A project that cannot be loaded now is wrong use; whatever fails later is told, and tried again."""
    from functools import partial

    from fullcircle.flows.monitoring_daemon import again_and_again
    from fullcircle.flows.session import loaded

    loaded(project)
    again_and_again(
        partial(_turn, project, None, as_json, **more),
        every=every,
        told=partial(_show, as_json=as_json),
        failed=partial(_tell_failure, as_json=as_json),
    )


def _show(found: tuple[Any, Any], as_json: bool) -> None:
    """The window, and below it (or as its field ``step``) what the loop decided."""
    from fullcircle.cli import text

    window, step = found
    if as_json and step is not None:
        import msgspec

        show({**msgspec.to_builtins(window, enc_hook=str), "step": step}, True, None)
    else:
        show(window, as_json, text.window)
    if step is not None and not as_json:
        show(step, False, text.step)
    sys.stdout.flush()


def _tell_failure(error: Exception, following: int, as_json: bool) -> None:
    """What went wrong and when it is tried again: for people, or for scripts. A defect has its traceback too."""
    from fullcircle.errors import FullcircleError
    from fullcircle.monitoring.grid import iso

    again = iso(following)[:19] + "Z"
    if isinstance(error, FullcircleError):
        said = error.as_dict()
        message = f"error ({error.code}): {error}"
    else:
        import traceback

        message = "".join(traceback.format_exception(error)).rstrip()
        said = {"code": "unexpected", "message": f"{type(error).__name__}: {error}"}
    if as_json:
        out(json.dumps({"error": said, "again": again}, ensure_ascii=False))
    else:
        sys.stderr.write(f"{message}\n  this turn failed; the next begins at {again}\n")
    sys.stdout.flush()


def _show_schedule(found: Any, as_json: bool) -> None:
    """The text goes to standard output as it is, to be piped; what to do with it to standard error."""
    if as_json:
        show(found, True, None)
        return
    out(f"written to {found.written}" if found.written else found.text.rstrip("\n"))
    sys.stderr.writelines(f"- {step}\n" for step in found.steps)


def _check(*, since: str | None, every: str | None, cron: bool, systemd: bool, out_folder: Path | None) -> None:
    """Refuse flags that mean nothing together."""
    from fullcircle.errors import SettingInvalid

    wrong = [
        (cron and systemd, "--cron with --systemd", "say one of them"),
        (since is not None and bool(every or cron or systemd), "--since with what goes on", "leave --since out"),
        (out_folder is not None and not systemd, "--out without --systemd", "say --systemd, or leave --out out"),
    ]
    for found, received, step in wrong:
        if found:
            raise SettingInvalid("these flags do not go together", received=received, next_step=step)
