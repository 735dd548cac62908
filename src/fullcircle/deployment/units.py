"""systemd units: the same server, and the same schedule, for a machine where systemd is the keeper.

Values are written as systemd.syntax(7) and systemd.service(5) say: in quotes, with ``%``, ``$``, ``"`` and
backslashes escaped. What cannot be written in one line is refused.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping, Sequence
from pathlib import Path

from fullcircle.deployment import grammar, schedule
from fullcircle.deployment.target import Service
from fullcircle.deployment.targets import local
from fullcircle.errors import TargetRefused

_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - nothing is written there: units that need it see the real one
_HARDENING = """\
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
PrivateDevices=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX"""


def files(service: Service, model: str, *, login: str | None = None) -> dict[str, bytes]:
    """The units by file name: of the server, or of the schedule with its timer. ``login`` is who runs them.

    Raises TargetRefused for a path that cannot stand in a unit, or a port that is not known beforehand.
    """
    grammar.checked("the model's name", model, grammar.MODEL, "a-z, 0-9, - and _")
    user = grammar.checked("the login", login or getpass.getuser(), grammar.LOGIN, "a login of this machine")
    name = f"fullcircle-{model}"
    if service.schedule is None:
        return {f"{name}.service": _server(service, model, user)}
    return {
        f"{name}-batch.service": _batch(service, model, user),
        f"{name}-batch.timer": _timer(service, model),
        schedule.JOB: local.job(service),
    }


def repeated(
    name: str,
    about: str,
    arguments: Sequence[str],
    *,
    calendar: str,
    folder: Path,
    environment: Mapping[str, str],
    written: Sequence[Path],
    hidden: Sequence[str] = (),
    fine: Sequence[int] = (),
    login: str | None = None,
) -> dict[str, bytes]:
    """A service that runs a command in ``folder`` once, and the timer that starts it when ``calendar`` says.

    ``written`` are the folders it may write to, ``hidden`` the variables that may hold a password and are no part of
    it, ``fine`` the exit codes beside 0 that are no failure. Raises TargetRefused for what cannot stand in a unit.
    """
    grammar.checked("the model's name", name, grammar.MODEL, "a-z, 0-9, - and _")
    user = grammar.checked("the login", login or getpass.getuser(), grammar.LOGIN, "a login of this machine")
    service = [
        "[Unit]",
        f"Description=fullcircle: {about} of {name}",
        "",
        "[Service]",
        "Type=oneshot",
        *([f"SuccessExitStatus={' '.join(map(str, fine))}"] if fine else []),
        f"User={user}",
        f"ExecStart={command(arguments)}",
        f"WorkingDirectory={_word(str(folder))}",
        *(f"Environment={_quoted(f'{key}={value}')}" for key, value in _open(environment).items()),
        *_told(name, hidden),
        *_confined(written, [folder, Path(arguments[0])]),
    ]
    timer = [
        "[Unit]",
        f"Description=fullcircle: when to run {about} of {name}",
        "",
        "[Timer]",
        "# One run at most makes up for those that were missed while the machine was off.",
        f"OnCalendar={calendar}",
        "Persistent=true",
        "AccuracySec=1s",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return {f"fullcircle-{name}-{about}.service": _text(service), f"fullcircle-{name}-{about}.timer": _text(timer)}


def steps(names: Sequence[str], folder: Path) -> tuple[str, ...]:
    """What to type to have systemd take them over."""
    units = [name for name in names if name.endswith((".service", ".timer"))]
    first = next((name for name in units if name.endswith(".timer")), units[0])
    return (
        f"you type: sudo cp {' '.join(str(folder / name) for name in units)} /etc/systemd/system/",
        f"you type: sudo systemctl daemon-reload && sudo systemctl enable --now {first}",
        "after a champion with other packages, write the units again: its environment is another",
    )


def _server(service: Service, model: str, user: str) -> bytes:
    if not service.port:
        raise TargetRefused(
            "a unit needs a port that is known beforehand",
            received="port 0, any free one",
            next_step="say --port 8711, or another that is free",
        )
    written = [service.predictions, service.code, service.state]
    read = [service.served, service.python, *([service.log_key] if service.log_key else [])]
    read += [*([service.access] if service.access else []), *(service.tls or ())]
    lines = [
        "[Unit]",
        f"Description=fullcircle: a server of {model}",
        "After=network.target",
        "StartLimitIntervalSec=300",
        "StartLimitBurst=6",
        "",
        "[Service]",
        "Type=exec",
        f"User={user}",
        f"ExecStart={command(local.arguments(service))}",
        "Environment=OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1",
        *_told(model, local.variables(service)),
        "Restart=on-failure",
        "RestartSec=1",
        "KillMode=mixed",
        "TimeoutStopSec=45",
        *_confined(written, read),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return _text(lines)


def _batch(service: Service, model: str, user: str) -> bytes:
    told = service.schedule
    assert told is not None  # noqa: S101 - the caller looked
    source = Path(told.source)
    out = Path(told.out)
    written = [service.state, out.parent if out.suffix else out, *map(Path, _workspaces(told.environment))]
    lines = [
        "[Unit]",
        f"Description=fullcircle: scheduled scoring with {model}",
        "",
        "[Service]",
        "Type=oneshot",
        f"User={user}",
        f"ExecStart={command((*local.arguments(service), '--once'))}",
        f"WorkingDirectory={_word(str(told.folder))}",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in _open(told.environment).items()),
        *_told(model, (*_SECRET, *local.variables(service))),
        *_confined(written, [source]),
    ]
    return _text(lines)


def _timer(service: Service, model: str) -> bytes:
    told = service.schedule
    assert told is not None  # noqa: S101 - the caller looked
    lines = [
        "[Unit]",
        f"Description=fullcircle: when to score with {model}",
        "",
        "[Timer]",
        "# Counted from the last start: what was missed does not pile up, and no run begins while one is at work.",
        "OnActiveSec=0",
        f"OnUnitActiveSec={told.every:.0f}s",
        f"AccuracySec={min(60, max(1, int(told.every // 60)))}s",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return _text(lines)


def _told(model: str, names: Sequence[str]) -> list[str]:
    """Where the values are of what may hold a password; nothing where nothing is read."""
    if not names:
        return []
    shown = [
        grammar.checked("the name of a variable", one, grammar.VARIABLE, "letters, digits and _") for one in names
    ]
    return [
        f"# The values of these, as far as they are needed, stand in a file that only root reads: {', '.join(shown)}",
        f"EnvironmentFile=-/etc/fullcircle/{model}.env",
    ]


_SECRET = ("FULLCIRCLE_LEDGER", "FULLCIRCLE_BLOBS", "FULLCIRCLE_FEATURES", "FULLCIRCLE_ONLINE", "FULLCIRCLE_MLFLOW")


def _open(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold no address: an address may hold a password, and a unit is read by everyone."""
    return {name: value for name, value in environment.items() if name not in _SECRET and value}


def _workspaces(environment: Mapping[str, str]) -> list[str]:
    return [environment[name] for name in ("FULLCIRCLE_WORKSPACE",) if environment.get(name)]


def _confined(written: Sequence[Path], read: Sequence[Path]) -> list[str]:
    """What the unit may do, and where it may write. Its own /tmp, where nothing that it needs lies in ours."""
    paths = sorted({grammar.path("a folder", str(path.absolute())) for path in written})
    needed = [*paths, *(str(path.absolute()) for path in read)]
    private = not any(path.startswith(f"{folder}/") for path in needed for folder in _TEMPORARY)
    return [
        *_HARDENING.splitlines(),
        f"PrivateTmp={'yes' if private else 'no'}",
        f"ReadWritePaths={' '.join(_quoted(path) for path in paths)}",
    ]


def command(arguments: Sequence[str]) -> str:
    """A command line as ExecStart takes it. Raises TargetRefused for a line break in an argument."""
    grammar.path("the program", arguments[0])
    return " ".join(_quoted(one, dollars=True) for one in arguments)


def _quoted(text: str, *, dollars: bool = False) -> str:
    grammar.checked("an argument", text, grammar.ONE_LINE, "characters that can be seen in one line")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    escaped = escaped.replace("$", "$$") if dollars else escaped
    return f'"{escaped}"'


def _word(path: str) -> str:
    """A path that is a whole line by itself: not quoted, and still with specifiers."""
    return grammar.path("a folder", path).replace("%", "%%")


def _text(lines: Sequence[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()
