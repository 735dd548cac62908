"""The target "local": one server process on this machine, which outlives the command that started it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from fullcircle.deployment import client, process
from fullcircle.deployment.target import SILENT, Plan, Running, Service, log_flags
from fullcircle.errors import FullcircleError, PortInUse, ServerFailed
from fullcircle.types.progress import Progress

PATIENCE = 40.0  # seconds a server has to finish what it answers: more than the server's own grace
_SETTLED = 1.0  # seconds until the server has seen a served.json that was just written
_LAST_LINES = 12
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_TELEMETRY = "OTEL_"  # where the server sends its metrics is said by OpenTelemetry's own variables
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class _Note(msgspec.Struct, frozen=True):
    """What is remembered of a server that was started."""

    pid: int
    born: str
    url: str
    arguments: tuple[str, ...]


class _Entry(msgspec.Struct):
    version: int
    bundle: str


class _Served(msgspec.Struct):
    models: dict[str, _Entry]


class LocalTarget:
    """Starts ``python -I -m fullcircle.server`` and remembers it in the service's state folder."""

    name = "local"

    def plan(self, service: Service) -> Plan:
        """What ``apply`` would do."""
        note = _remembered(service)
        if note is None:
            return Plan(action="start", text="no server runs: one will be started")
        if note.url and note.arguments == _arguments(service):
            return Plan(action="keep", text=f"the server at {note.url} goes on and follows served.json")
        place = note.url or f"process {note.pid}"
        return Plan(action="restart", text=f"the server at {place} runs in another way and will be started again")

    def apply(self, service: Service, progress: Progress = SILENT) -> Running:
        """Start the server where needed and wait until all models answer. Raises ServerFailed or PortInUse."""
        with _locked(service):
            plan = self.plan(service)
            progress.note(plan.text)
            old = _remembered(service)
            if plan.action != "keep":
                _check_python(service)
            if old is not None and plan.action == "restart":
                _end(service, old)
                old = None
            note = old or _start(service)
            try:
                _wait(service, note)
            except BaseException:
                if note is not old:
                    _end(service, note)
                raise
            return self.status(service)

    def status(self, service: Service) -> Running:
        """What is there now."""
        note = _remembered(service)
        if note is None:
            return Running(running=False, problem="no server runs")
        problem = client.why_not_ready(note.url)
        try:
            found = client.models(note.url)
        except FullcircleError:
            found = ()
        versions = tuple((one.name, one.version) for one in found if one.version is not None)
        return Running(
            running=True, ready=not problem, url=note.url, pid=note.pid, versions=versions, problem=problem
        )

    def remove(self, service: Service) -> None:
        """End the server, if it is ours and runs."""
        if not service.state.is_dir():
            return
        with _locked(service):
            note = _remembered(service)
            if note is not None:
                _end(service, note)
            _file(service).unlink(missing_ok=True)


def _file(service: Service) -> Path:
    return service.state / "server.json"


def _log(service: Service) -> Path:
    return service.state / "server.log"


def _arguments(service: Service) -> tuple[str, ...]:
    options = {
        "--served": service.served.absolute(),
        "--predictions": service.predictions.absolute(),
        "--code-cache": service.code.absolute(),
        "--host": service.host,
        "--port": service.port,
        "--models": ",".join(service.models),
    }
    if service.hosts:  # an older bundle's server does not know this option: it is given only where it is needed
        options["--hosts"] = ",".join(service.hosts)
    if service.online:
        options["--online"] = service.online
    if service.workers != 1:
        options["--workers"] = service.workers
    flags = [str(part) for pair in options.items() for part in pair]
    flags += log_flags(service.log_bytes, service.log_full, service.log_fsync, service.log_key)
    # The link of a virtual environment is its identity: it must not be resolved.
    return (str(service.python.absolute()), "-I", "-m", "fullcircle.server", *flags)


def _remembered(service: Service) -> _Note | None:
    """The server that was started for this service, if that very process still runs."""
    try:
        note = msgspec.json.decode(_file(service).read_bytes(), type=_Note)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return note if note.born and process.born(note.pid) == note.born else None


@contextmanager
def _locked(service: Service) -> Iterator[None]:
    try:
        service.state.mkdir(parents=True, exist_ok=True)
        handle = os.open(service.state / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ServerFailed(
            f"the folder of the deployment cannot be used: {error.strerror}",
            received=service.state,
            next_step="make it writable",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _start(service: Service) -> _Note:
    if not process.can_listen(service.host, service.port):
        raise _port_in_use(service)  # before a process is started for nothing; the server itself has the last word
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(_TELEMETRY)}
    environment |= dict.fromkeys(_ONE_THREAD, "1")
    arguments = _arguments(service)
    with suppress(FileNotFoundError):
        os.replace(_log(service), service.state / "server.log.1")
    try:
        pid = process.start(arguments, environment, _log(service))
    except OSError as error:
        raise _no_python(service, error.strerror or "it is no program") from error
    note = _Note(pid=pid, born=process.born(pid), url="", arguments=arguments)
    try:
        # Noted before it listens: should this command be killed now, the next one finds the server.
        _write(_file(service), msgspec.json.encode(note))
        note = _Note(pid=pid, born=note.born, url=_listening(service, note), arguments=arguments)
        _write(_file(service), msgspec.json.encode(note))
    except BaseException:
        _end(service, note)
        raise
    return note


def _check_python(service: Service) -> None:
    """Before anything that runs is ended for it."""
    if not os.access(service.python, os.X_OK):
        raise _no_python(service, "there is no program")


def _no_python(service: Service, why: str) -> ServerFailed:
    return ServerFailed(
        f"the server's Python cannot be started: {why}",
        received=service.python,
        next_step="package the version again: its environment is rebuilt",
    )


def _listening(service: Service, note: _Note) -> str:
    """The address the server says it listens on."""
    deadline = time.monotonic() + service.timeout
    while True:
        running = process.born(note.pid) == note.born != ""
        for line in _log(service).read_bytes().splitlines():
            if line.startswith(b'{"listening":'):
                return str(msgspec.json.decode(line)["listening"])
            if line.startswith(b'{"error":') and msgspec.json.decode(line)["error"]["code"] == PortInUse.code:
                raise _port_in_use(service)
        if not running:
            raise _failed(service, "the server ended before it listened")
        if time.monotonic() > deadline:
            raise _failed(service, f"the server did not listen within {service.timeout:g} seconds")
        time.sleep(0.02)


def _wait(service: Service, note: _Note) -> None:
    """Wait until all that served.json names answers, each by the version and bundle it names."""
    begun = time.monotonic()
    while True:
        problem = _problem(service, note.url, settled=time.monotonic() - begun > _SETTLED)
        if not problem:
            return
        if process.born(note.pid) != note.born:
            raise _failed(service, "the server ended before it was ready")
        if time.monotonic() - begun > service.timeout:
            raise _failed(service, f"the server was not ready within {service.timeout:g} seconds: {problem}")
        time.sleep(0.05)


def _problem(service: Service, url: str, *, settled: bool) -> str:
    """What is still missing; raises ServerFailed where the server has tried a bundle and refused it."""
    try:
        found = {one.name: one for one in client.models(url)}
        wanted = msgspec.json.decode(service.served.read_bytes(), type=_Served).models
    except FullcircleError as error:
        return error.what
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return "there is no valid served.json"
    for name, entry in wanted.items():
        one = found.get(name, client.Served(name))
        if (service.models and name not in service.models) or (one.version, one.bundle) == (
            entry.version,
            entry.bundle,
        ):
            continue
        if settled and one.problem is not None and one.problem.get("bundle") == entry.bundle:
            raise _failed(service, f"version {entry.version} of {name} cannot answer: {one.problem.get('message')}")
        return f"version {entry.version} of {name} does not answer yet"
    return client.why_not_ready(url)


def _end(service: Service, note: _Note) -> None:
    process.end(note.pid, note.born, patience=PATIENCE)
    _file(service).unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """Replace the file as a whole: a reader sees the old note or the new one."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    os.replace(beside, path)


def _failed(service: Service, what: str) -> ServerFailed:
    try:
        lines = _log(service).read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST_LINES:]
    except OSError:
        lines = []
    return ServerFailed(
        what,
        received="\n    ".join(["its last words:", *lines]) if lines else "it said nothing",
        next_step=f"read {_log(service)}",
    )


def _port_in_use(service: Service) -> PortInUse:
    return PortInUse(
        "another program listens on this port",
        received=f"{service.host}:{service.port}",
        next_step="choose another port with --port, or --port 0 for any free one",
    )
