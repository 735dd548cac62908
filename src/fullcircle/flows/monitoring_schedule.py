"""Monitoring by a clock of the machine: a line for cron, or a service and its timer for systemd.

Both begin two minutes past the clock, when the batch that just ended can be judged.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fullcircle.deployment import folder, grammar, units
from fullcircle.development.loading import LoadedProject
from fullcircle.errors import SettingInvalid
from fullcircle.flows.monitoring_daemon import SECOND, span
from fullcircle.flows.session import loaded
from fullcircle.flows.variables import variables_of
from fullcircle.settings import SETTINGS, Settings
from fullcircle.settings import load as load_settings

EVERY = "1h"
ABOUT = "monitor"
_MINUTES, _HOURS = (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30), (1, 2, 3, 4, 6, 8, 12)
_ADDRESSES = ("ledger", "blobs", "features", "online", "mlflow")  # each may hold a password


@dataclass(frozen=True, kw_only=True)
class Scheduled:
    """What has a machine monitor a model: ``text`` to print, ``files`` by name, ``steps`` to take by hand.

    ``written`` is the folder that the files were written to, "" where they were not.
    """

    model: str
    text: str
    files: Mapping[str, str]
    steps: tuple[str, ...]
    written: str = ""


def cron(
    project: str | Path | LoadedProject,
    *,
    every: str = EVERY,
    page: bool = False,
    prometheus: str | Path | None = None,
    retrain: bool = False,
    settings: Settings | None = None,
) -> Scheduled:
    """The line for ``crontab -e``.

    Raises SettingInvalid for an ``every`` that no clock has, TargetRefused for what cannot stand in one line.
    """
    source, settings = loaded(project), settings or load_settings()
    when, _ = _calendar(every)
    own = {name: value for name, value in _changed(settings).items() if name not in _secret()}
    log = settings.workspace / "monitoring" / "cron.log"
    words = [
        *(f"{name}={value}" for name, value in own.items()),
        *_command(source, settings, page, prometheus, retrain),
    ]
    for word in (*words, str(log)):
        grammar.checked("an argument", word, grammar.ONE_LINE, "characters that can be seen in one line")
    line = f"{when} {' '.join(map(_shell, words))} >>{_shell(str(log))} 2>&1"
    hidden = _hidden(source, settings)
    notes = [f"# Say above this line what these are, they may hold a password: {', '.join(hidden)}"] if hidden else []
    text = "\n".join([*notes, line.replace("%", "\\%")])
    return Scheduled(
        model=source.project.name, text=text, files={}, steps=("you type: crontab -e, and add the line",)
    )


def systemd(
    project: str | Path | LoadedProject,
    *,
    every: str = EVERY,
    out: str | Path | None = None,
    page: bool = False,
    prometheus: str | Path | None = None,
    retrain: bool = False,
    settings: Settings | None = None,
) -> Scheduled:
    """The units, written to the folder ``out`` where one is given. Raises as ``cron`` does."""
    source, settings = loaded(project), settings or load_settings()
    _, when = _calendar(every)
    model = source.project.name
    found = units.repeated(
        model,
        ABOUT,
        _command(source, settings, page, prometheus, retrain),
        calendar=when,
        folder=source.folder,
        environment=_changed(settings),
        written=[settings.workspace, *([Path(prometheus).absolute().parent] if prometheus else [])],
        hidden=_hidden(source, settings),
        fine=(1,),
    )
    place = Path(out).absolute() if out else Path.cwd()
    if out:
        folder.write(place, folder.recorded(found, {"target": "systemd", "model": model}))
    files = {name: content.decode() for name, content in found.items()}
    return Scheduled(
        model=model,
        text="\n".join(f"# {name}\n{content}" for name, content in files.items()),
        files=files,
        steps=units.steps(list(files), place)[:2],
        written=str(place) if out else "",
    )


def _command(
    source: LoadedProject, settings: Settings, page: bool, prometheus: str | Path | None, retrain: bool
) -> list[str]:
    """What is typed, with paths that do not depend on where one stands."""
    return [
        *(sys.executable, "-I", "-m", "fullcircle", "monitor", str(source.folder / source.file)),
        *("--workspace", str(settings.workspace)),
        *(["--page"] if page else []),
        *(["--prometheus", str(Path(prometheus).absolute())] if prometheus else []),
        *(["--retrain"] if retrain else []),
    ]


def _calendar(every: str) -> tuple[str, str]:
    """When, as crontab(5) and as systemd.time(7) say it."""
    seconds, rest = divmod(span(every), SECOND)
    minutes, hours = seconds / 60, seconds / 3600
    if not rest and minutes in _MINUTES:
        past = 2 if minutes > 2 else 0
        return f"{past}-59/{minutes:.0f} * * * *", f"*-*-* *:{past:02}/{minutes:.0f}:05 UTC"
    if not rest and hours in _HOURS:
        return f"2 */{hours:.0f} * * *", f"*-*-* 00/{hours:.0f}:02:00 UTC"
    if not rest and hours == 24:
        return "2 0 * * *", "*-*-* 00:02:00 UTC"
    if not rest and hours == 168:
        return "2 0 * * 1", "Mon *-*-* 00:02:00 UTC"
    raise SettingInvalid(
        "no clock of a machine can start it that often",
        received=every,
        allowed=f"{', '.join(map(str, _MINUTES))} minutes; {', '.join(map(str, _HOURS))} hours; 1d; 7d",
        next_step="say --every 1h; without --cron and --systemd it keeps any other time by itself",
    )


def _changed(settings: Settings) -> dict[str, str]:
    """The settings that are not at their default, without the workspace, as variables."""
    found = variables_of(settings)
    return {
        one.env[0]: found[one.env[0]]
        for one in SETTINGS
        if one.name != "workspace" and settings[one.name] != one.default and one.env[0] in found
    }


def _secret() -> tuple[str, ...]:
    return tuple(one.env[0] for one in SETTINGS if one.name in _ADDRESSES)


def _hidden(source: LoadedProject, settings: Settings) -> list[str]:
    """The variables that may hold a password: addresses of ours, and those where alarms are told."""
    changed = _changed(settings)
    told = [one.removeprefix("env:") for one in source.project.monitor.notify if one.startswith("env:")]
    return [*(name for name in _secret() if name in changed), *dict.fromkeys(told)]


def _shell(word: str) -> str:
    """A word for the shell; the name of a variable before its value stays bare."""
    name, equals, value = word.partition("=")
    if equals and grammar.VARIABLE.fullmatch(name) and name.startswith("FULLCIRCLE_"):
        return f"{name}={shlex.quote(value)}"
    return shlex.quote(word)
