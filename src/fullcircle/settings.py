"""One table of settings. A flag wins over the environment, that over ``fullcircle.toml``, that over the default.

``docs/settings.md`` shows the same table (a test compares the two).
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fullcircle.errors import ProjectInvalid, SettingInvalid
from fullcircle.types.durations import byte_count

FILE = "fullcircle.toml"
LEAST_LOG = 1_000_000
MOST_WORKERS = 256
_ADDRESS = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


@dataclass(frozen=True)
class Setting:
    """One row of the table: name in the file, environment variables in order of rank, default, meaning."""

    name: str
    env: tuple[str, ...]
    default: str
    help: str


SETTINGS: tuple[Setting, ...] = (
    Setting("workspace", ("FULLCIRCLE_WORKSPACE",), ".fullcircle", "The folder where everything lives."),
    Setting(
        "ledger",
        ("FULLCIRCLE_LEDGER",),
        "",
        "Database URL of the ledger, to share it (sqlite:///... or postgresql://...). Empty: in the workspace.",
    ),
    Setting("blobs", ("FULLCIRCLE_BLOBS",), "", "fsspec URL of the blob store. Empty: in the workspace."),
    Setting("features", ("FULLCIRCLE_FEATURES",), "", "fsspec URL of the feature tables. Empty: in the workspace."),
    Setting(
        "online",
        ("FULLCIRCLE_ONLINE",),
        "",
        "URL of the online store (sqlite:///... or redis://...). Empty: a SQLite file in the workspace.",
    ),
    Setting(
        "mlflow",
        ("FULLCIRCLE_MLFLOW", "MLFLOW_TRACKING_URI"),
        "",
        "MLflow tracking URI. Empty: a database in the workspace.",
    ),
    Setting("config", ("FULLCIRCLE_CONFIG",), "", "Folder of your signing key. Empty: your user config folder."),
    Setting("actor", ("FULLCIRCLE_ACTOR",), "", "Who acts, as written in facts. Empty: your login name."),
    Setting(
        "host", ("FULLCIRCLE_HOST",), "127.0.0.1", "Address a server listens on; beyond loopback with keys and TLS."
    ),
    Setting("port", ("FULLCIRCLE_PORT",), "8710", "Port the server listens on, 0 to 65535; 0: any free one."),
    Setting(
        "hosts",
        ("FULLCIRCLE_HOSTS",),
        "",
        "Names beside loopback's that requests may be addressed to, separated by commas: those of a proxy.",
    ),
    Setting("tls_cert", ("FULLCIRCLE_TLS_CERT",), "", "File of the certificate that servers show (PEM)."),
    Setting("tls_key", ("FULLCIRCLE_TLS_KEY",), "", "File of its private key (PEM, not encrypted)."),
    Setting(
        "without_tls",
        ("FULLCIRCLE_WITHOUT_TLS",),
        "no",
        "yes: servers may listen beyond loopback unencrypted, because a proxy in front ends TLS.",
    ),
    Setting(
        "environments",
        ("FULLCIRCLE_ENVIRONMENTS",),
        "",
        "Folder of the bundles' environments, to share it. Empty: in the workspace.",
    ),
    Setting("workers", ("FULLCIRCLE_WORKERS",), "1", "Processes of a server that answer, 0 to 256; 0: one per core."),
    Setting("offline", ("FULLCIRCLE_OFFLINE",), "no", "yes: lock and build environments from uv's cache only."),
    Setting("log_bytes", ("FULLCIRCLE_LOG_BYTES",), "10GB", "How large the prediction log may grow, such as 500MB."),
    Setting(
        "log_full",
        ("FULLCIRCLE_LOG_FULL",),
        "stop",
        "When it is as large, or the disk is full: stop answering (503), or count the rows that are not logged.",
    ),
    Setting(
        "log_fsync",
        ("FULLCIRCLE_LOG_FSYNC",),
        "interval",
        "When rows survive the death of the machine: interval (within a second), always (before the answer), never.",
    ),
)
_BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings in force. ``values`` holds every name of the table, ``paths`` the table [paths] of the file."""

    values: Mapping[str, str]
    paths: Mapping[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=Path.cwd)

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    @property
    def workspace(self) -> Path:
        """The workspace folder, absolute."""
        return (self.folder / self.values["workspace"]).absolute()

    @property
    def port(self) -> int:
        """The port as a number."""
        return int(self.values["port"])

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names beside loopback's that requests may be addressed to."""
        return tuple(name.strip() for name in self.values["hosts"].split(",") if name.strip())

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """The files of the certificate and its key; None without TLS. Raises SettingInvalid for one of them alone."""
        told = [name for name in ("tls_cert", "tls_key") if self.values[name]]
        if not told:
            return None
        if len(told) < 2:
            raise SettingInvalid(
                "TLS is only half described",
                received=told[0],
                allowed="tls_cert, tls_key together",
                next_step="see docs/access.md",
            )
        return self.folder / self.values["tls_cert"], self.folder / self.values["tls_key"]

    @property
    def without_tls(self) -> bool:
        """Whether servers may listen beyond loopback unencrypted."""
        return self.values["without_tls"] == "yes"

    @property
    def workers(self) -> int:
        """How many processes of a server answer; 0 is one for each core."""
        return int(self.values["workers"])

    @property
    def log_bytes(self) -> int:
        """How many bytes the prediction log may take."""
        return byte_count(self.values["log_bytes"])

    @property
    def offline(self) -> bool:
        """Whether nothing may be downloaded."""
        return self.values["offline"] == "yes"


def load(flags: Mapping[str, str | None] | None = None, folder: Path | None = None) -> Settings:
    """Read the settings in force in ``folder`` (the current one by default).

    Raises SettingInvalid for an unknown name or a value that is not allowed.
    """
    folder = (folder or Path.cwd()).absolute()
    written, paths = _read_file(folder / FILE)
    values: dict[str, str] = {}
    for setting in SETTINGS:
        value = (flags or {}).get(setting.name)
        if value is None:
            value = next((os.environ[name] for name in setting.env if os.environ.get(name)), None)
        values[setting.name] = written.get(setting.name, setting.default) if value is None else value
    unknown = set(flags or {}) - set(_BY_NAME)
    if unknown:
        raise _unknown(sorted(unknown)[0], "a flag")
    _check(values)
    return Settings(values=values, paths=paths, folder=folder)


def _read_file(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    if not path.is_file():
        return {}, {}
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingInvalid(f"{path} is not valid TOML: {error}", next_step="mend the file") from error
    except OSError as error:
        raise SettingInvalid(f"{path} cannot be read: {error.strerror}", next_step="make it readable") from error
    paths = content.pop("paths", {})
    if not isinstance(paths, dict):
        raise SettingInvalid(f"[paths] in {path} is not a table", next_step='write [paths] and NAME = "path"')
    for name in content:
        if name not in _BY_NAME:
            raise _unknown(name, str(path))
    values = {name: _text(name, value) for name, value in content.items()}
    return values, {name: _text(f"[paths] {name}", value) for name, value in paths.items()}


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, str | int | float):
        raise SettingInvalid(
            f"{name} in {FILE} is not a single value",
            received=repr(value),
            allowed="text, a number, true or false",
            next_step=f'write {name.rpartition(" ")[2]} = "..."',
        )
    return str(value)


def _check(values: Mapping[str, str]) -> None:
    port = values["port"]
    if not port.isdecimal() or len(port) > 5 or int(port) > 65535:
        raise SettingInvalid(
            "port is not a port number",
            received=repr(port),
            allowed="0 to 65535",
            next_step="change the setting or the flag --port",
        )
    if values["offline"] not in ("yes", "no"):
        raise SettingInvalid(
            "offline is neither yes nor no",
            received=repr(values["offline"]),
            allowed="yes, no",
            next_step="change the setting",
        )
    _check_workers(values["workers"])
    _check_log(values)
    for name in values["hosts"].split(","):
        if name.strip() and not _HOST.fullmatch(name.strip()):
            raise SettingInvalid(
                "hosts holds something that is not the name of a host",
                received=repr(name.strip()),
                allowed="names without port or scheme, separated by commas, such as models.example.org",
                next_step="change the setting",
            )
    _check_host(values["host"])
    _check_access(values)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    return host in ("127.0.0.1", "localhost", "::1")


def _check_host(host: str) -> None:
    if not _ADDRESS.fullmatch(host):
        raise SettingInvalid(
            "host is not an address to listen on",
            received=repr(host),
            allowed="127.0.0.1, localhost, ::1, 0.0.0.0, or another address of this machine",
            next_step="change the setting",
        )


def _check_access(values: Mapping[str, str]) -> None:
    """Of TLS: what cannot be."""
    if values["without_tls"] not in ("yes", "no"):
        raise SettingInvalid(
            "without_tls is neither yes nor no",
            received=repr(values["without_tls"]),
            allowed="yes, no",
            next_step="change the setting",
        )


def _check_workers(workers: str) -> None:
    if not (workers.isascii() and workers.isdecimal()) or len(workers) > 3 or int(workers) > MOST_WORKERS:
        raise SettingInvalid(
            "workers is not a number of processes",
            received=repr(workers),
            allowed=f"0 to {MOST_WORKERS}; 0 is one for each core",
            next_step="change the setting",
        )


def _check_log(values: Mapping[str, str]) -> None:
    for name, allowed in (("log_full", ("stop", "count")), ("log_fsync", ("interval", "always", "never"))):
        if values[name] not in allowed:
            raise SettingInvalid(
                f"{name} is none of its values",
                received=repr(values[name]),
                allowed=", ".join(allowed),
                next_step="change the setting",
            )
    try:
        enough = byte_count(values["log_bytes"]) >= LEAST_LOG
    except ProjectInvalid:
        enough = False
    if not enough:
        raise SettingInvalid(
            "log_bytes is not a size that a log can have",
            received=repr(values["log_bytes"]),
            allowed="1MB or more, as a number and kB, MB or GB",
            next_step="change the setting, for example to 10GB",
        )


def _unknown(name: str, where: str) -> SettingInvalid:
    return SettingInvalid(
        f"there is no setting of this name ({where})",
        received=repr(name),
        allowed=", ".join(_BY_NAME) + ", and the table [paths] in the file",
        next_step="see docs/settings.md",
    )
