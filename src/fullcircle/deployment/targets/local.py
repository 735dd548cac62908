"""The target "local": a server process on this machine, or a schedule of batches, that outlives who started it.

Each is kept by a small process of its own (``deployment.keeper``), which starts it again when it dies. What is
remembered lies in the service's state folder.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from fullcircle.deployment import client, keeper, process, schedule
from fullcircle.deployment.keeper import Note, Told, recall
from fullcircle.deployment.target import SILENT, Plan, Ran, Running, Service, access_flags, log_flags
from fullcircle.errors import Forbidden, FullcircleError, PortInUse, ServerFailed, Unauthorized
from fullcircle.types.progress import Progress
from fullcircle.types.takeover import TAKES_OVER

REPLACED = "replaced.json"  # the note of a server whose place is being taken
ONLINE = "FULLCIRCLE_ONLINE"  # the variable that a server reads where its command does not name the online store
_NO_KEY = "it does not say which versions answer: the workspace has no valid key to it; deploy again, which makes one"
_SETTLED = 1.0  # seconds until the server has seen a served.json that was just written
_LAST_LINES = 12
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_TELEMETRY = "OTEL_"  # where the server sends its metrics is said by OpenTelemetry's own variables
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PATIENCE = keeper.PATIENCE + 15.0  # for the keeper: it waits for the server first


class _Entry(msgspec.Struct):
    version: int
    bundle: str


class _Served(msgspec.Struct):
    models: dict[str, _Entry]


class LocalTarget:
    """Starts ``python -I -m fullcircle.server`` under a keeper, and remembers both in the service's state folder."""

    name = "local"
    runs = True

    def plan(self, service: Service) -> Plan:
        """What ``apply`` would do."""
        note = _remembered(service)
        what = "schedule" if service.schedule else "server"
        if note is None:
            action, text = "start", f"no {what} runs: one will be started"
        elif note.url and _as_told(service, note):
            action, text = "keep", f"the server at {note.url} goes on and follows served.json"
            if service.schedule:
                text = "the schedule goes on as it is"
            if not note.kept:
                text += "; its keeper was killed, and it gets another"
        else:
            place = note.url if note.url and not service.schedule else f"process {note.pid}"
            action, text = "restart", f"the {what} at {place} runs in another way and will be started again"
        return Plan(
            action=action,  # type: ignore[arg-type] # one of the three
            text=text,
            folder=str(service.state.absolute()),
            files=_files(service),
            steps=_steps(service),
        )

    def apply(self, service: Service, progress: Progress = SILENT) -> Running:
        """Start what is to run and wait until all models answer. Raises ServerFailed or PortInUse."""
        with _locked(service):
            _finish_taking(service)
            plan = self.plan(service)
            progress.note(plan.text)
            old = _remembered(service)
            if plan.action != "keep":
                _check_python(service)
            taken = None
            if old is not None and plan.action == "restart":
                taken = _take_place(service, old, plan.files)
                if taken is None:
                    _end(service, old)
                old = None
            if old is not None and not old.kept:
                _start(service, plan.files, taken_over=True)
            note = old or taken or _start(service, plan.files)
            try:
                if service.schedule is None:
                    _wait(service, note)
            except BaseException:
                if note is not old and note is not taken:  # one that took a place is all that answers by now
                    _end(service, note)
                raise
            return self.status(service)

    def status(self, service: Service) -> Running:
        """What is there now."""
        note = _remembered(service)
        what = "schedule" if service.schedule else "server"
        ran = _ran(service.state) if service.schedule else None
        if note is None:
            last = recall(service.state)
            problem = f"no {what} that was deployed runs"
            if last is not None and last.gave_up and last.url:
                problem += f": {last.ended}"
            return Running(running=False, problem=problem, ran=ran)
        problem = "" if note.kept else "its keeper was killed: deploy again, and it gets another"
        if not note.lives:
            problem = f"it ended and is being started again: {note.ended}"
        seen = Running(running=True, pid=note.pid, starts=note.starts, ended=note.ended, problem=problem, ran=ran)
        if service.schedule:
            return replace(seen, ready=not problem)
        return _asked(service, replace(seen, url=note.url)) if note.lives else replace(seen, url=note.url)

    def remove(self, service: Service) -> None:
        """End what runs, if it is ours."""
        if not service.state.is_dir():
            return
        with _locked(service):
            _finish_taking(service)
            note = _remembered(service)
            if note is not None:
                _end(service, note)
            (service.state / keeper.NOTE).unlink(missing_ok=True)


def _asked(service: Service, seen: Running) -> Running:
    """The same, with what the server says of itself. Where another version answers than should, it is not ready."""
    missing = client.why_not_ready(seen.url, door=service.door)
    try:
        found = client.models(seen.url, door=service.door)
    except (Unauthorized, Forbidden):  # what answers is not known here: that is no reason to say that nothing does
        return replace(seen, ready=not missing, problem=missing or _NO_KEY)
    except FullcircleError:
        found = ()
    try:
        missing = missing or "; ".join(_behind(service, found))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        missing = missing or "there is no valid served.json"
    versions = tuple((one.name, one.version) for one in found if one.version is not None)
    return replace(seen, ready=not missing, versions=versions, problem=missing or seen.problem)


def _behind(service: Service, found: Iterable[client.Served]) -> Iterator[str]:
    """A sentence for each model that does not answer by the version that served.json names."""
    for name, entry, one in _others(service, found):
        now = "none answers" if one.version is None else f"version {one.version} goes on answering"
        why = f": {one.problem.get('message')}" if one.problem and one.problem.get("bundle") == entry.bundle else ""
        yield f"version {entry.version} of {name} is to answer, and {now}{why}"


def _others(service: Service, found: Iterable[client.Served]) -> Iterator[tuple[str, _Entry, client.Served]]:
    """Each model for which another version answers than served.json names, or none: what it names, what is there."""
    there = {one.name: one for one in found}
    for name, entry in msgspec.json.decode(service.served.read_bytes(), type=_Served).models.items():
        one = there.get(name, client.Served(name))
        meant = not service.models or name in service.models
        if meant and (one.version, one.bundle) != (entry.version, entry.bundle):
            yield name, entry, one


def arguments(service: Service) -> tuple[str, ...]:
    """The command that runs: of the server, or of the schedule."""
    if service.schedule is not None:
        program = (sys.executable, "-I", "-m", "fullcircle.deployment.schedule")
        return (*program, str(service.state.absolute()))
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
    if service.online and not _private(service.online):
        options["--online"] = service.online
    if service.workers != 1:
        options["--workers"] = service.workers
    flags = [str(part) for pair in options.items() for part in pair]
    flags += log_flags(service.log_bytes, service.log_full, service.log_fsync, service.log_key)
    flags += access_flags(service)
    # The link of a virtual environment is its identity: it must not be resolved.
    return (str(service.python.absolute()), "-I", "-m", "fullcircle.server", *flags)


def job(service: Service) -> bytes:
    """The file that says what a schedule does. Its environment is not in it: that may hold passwords."""
    told = service.schedule
    assert told is not None  # noqa: S101 - asked only where there is one
    found = schedule.Job(
        command=told.command, source=told.source, out=told.out, every=told.every, folder=str(told.folder)
    )
    return msgspec.json.format(msgspec.json.encode(found)) + b"\n"


def variables(service: Service) -> tuple[str, ...]:
    """The names of the variables that what runs reads, beside those of every server. Sorted."""
    online = {ONLINE} if service.schedule is None and _private(service.online) else set()
    return tuple(sorted({*service.variables, *online}))


def _private(url: str) -> bool:
    """Whether an address may hold a password: a command line can be read by everybody, and a plan is committed."""
    return "@" in url or "?" in url


def _as_told(service: Service, note: Note) -> bool:
    """Whether what runs was told what it would be told now. Of variables only the names are known."""
    given = set(variables(service)) <= set(note.variables)
    return note.arguments == arguments(service) and given and not _other_job(service)


def _files(service: Service) -> Mapping[str, bytes]:
    made = Told(arguments=arguments(service), variables=variables(service))
    told = msgspec.json.format(msgspec.json.encode(made)) + b"\n"
    return {keeper.TOLD: told, **({schedule.JOB: job(service)} if service.schedule else {})}


def _steps(service: Service) -> tuple[str, ...]:
    kept = "a keeper starts it again whenever it ends, and gives up after 6 deaths within 10 seconds each"
    if service.schedule is not None:
        told = service.schedule
        return (f"every {told.every:g} seconds: score {told.source}, results in {told.out}", kept)
    where = f"{service.host}:{service.port}" if service.port else f"{service.host}, any free port"
    return (f"a server of {', '.join(service.models) or 'all champions'} on {where}", kept)


def _other_job(service: Service) -> bool:
    """Whether the schedule that runs was told something else."""
    if service.schedule is None:
        return False
    try:
        return (service.state / schedule.JOB).read_bytes() != job(service)
    except OSError:
        return True


def _ran(state: Path) -> Ran | None:
    """The last run of a schedule, summed up; None where none is known."""
    history = schedule.recall(state)
    if not history.runs:
        return None
    last = history.runs[-1]
    failed = [f"{one.file}: {one.words}" for one in last.files if one.code]
    return Ran(
        began=last.began,
        seconds=last.seconds,
        files=len(last.files),
        rows=sum(one.rows for one in last.files),
        rejected=sum(one.rejected for one in last.files),
        code=max((one.code for one in last.files), default=0),
        words="; ".join([last.words] * bool(last.words) + failed[:3]),
        next=history.next,
    )


def _log(service: Service) -> Path:
    return service.state / keeper.LOG


def _remembered(service: Service) -> Note | None:
    """What was started for this service, if that very program or its keeper still runs."""
    note = recall(service.state)
    return note if note is not None and (note.lives or note.kept) else None


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


def _take_place(service: Service, old: Note, files: Mapping[str, bytes]) -> Note | None:
    """A new server on the port of one that goes on answering until then; None where that cannot be.

    The old one's keeper is killed first, or it would start it again; what it keeps does not notice. The new one
    listens when its models answer, and then the old one is told to finish. Where the new one cannot answer, the old
    one goes on and gets a keeper.
    """
    port = old.url.rpartition(":")[2]
    stays = port.isdecimal() and service.port in (0, int(port)) and service.host in old.arguments
    place = service.state / keeper.TOLD
    known = old.lives and stays and place.is_file()
    if service.schedule is not None or not (sys.platform.startswith("linux") and known):
        return None
    told = place.read_bytes()
    keeper.write(service.state / REPLACED, msgspec.json.encode(old))  # should this process be killed meanwhile
    process.kill(old.keeper, old.keeper_born)
    try:
        note = _start(service, files, takes_over=port)
    except BaseException as error:
        keeper.write(place, told)
        keeper.write(service.state / keeper.NOTE, msgspec.json.encode(old))
        (service.state / REPLACED).unlink()
        if isinstance(error, PortInUse):  # a server of an older fullcircle lets nobody listen beside it
            return None
        _start(replace(service, variables=(*service.variables, *old.variables)), {}, taken_over=True)
        raise
    process.end(old.pid, old.born, patience=keeper.PATIENCE)
    (service.state / REPLACED).unlink()
    return note


def _finish_taking(service: Service) -> None:
    """Finish what a process began that was killed while a new server took the place of an old one.

    Two servers may run then. Where the new one listens the old one is ended, else the new one, and the old one is
    remembered again.
    """
    old = recall(service.state, REPLACED)
    if old is not None and old.lives:
        new = _remembered(service)
        if new is not None and new.lives and new.url and new.pid != old.pid:
            process.end(old.pid, old.born, patience=keeper.PATIENCE)
        elif new is None or new.pid != old.pid:
            if new is not None:
                _end(service, new)
            keeper.write(service.state / keeper.NOTE, msgspec.json.encode(old))
    (service.state / REPLACED).unlink(missing_ok=True)


def _start(service: Service, files: Mapping[str, bytes], *, taken_over: bool = False, takes_over: str = "") -> Note:
    """Start a keeper, and wait until what it keeps listens; where it is taken over, only for the keeper.

    ``takes_over`` is the port of a server whose place it takes.
    """
    free = bool(taken_over or takes_over or service.schedule) or process.can_listen(service.host, service.port)
    if not free:
        raise _port_in_use(service)  # before a process is started for nothing; the server itself has the last word
    for name, content in files.items():
        keeper.write(service.state / name, content)
    if not taken_over:
        (service.state / keeper.NOTE).unlink(missing_ok=True)
    if not (taken_over or takes_over):  # else somebody still writes to it
        with suppress(FileNotFoundError):
            os.replace(_log(service), service.state / f"{keeper.LOG}.1")
    begin = _log(service).stat().st_size if _log(service).exists() else 0
    command = (sys.executable, "-I", "-m", "fullcircle.deployment.keeper", str(service.state.absolute()))
    environment = _environment(service) | ({TAKES_OVER: takes_over} if takes_over else {})
    pid = process.start(command, environment, _log(service), fresh=False)
    begun = Note(pid=0, born="", url="", arguments=(), keeper=pid, keeper_born=process.born(pid))
    try:
        return _listening(service, begun, begin)
    except BaseException:
        if not taken_over:
            _end(service, begun)
        raise


def _environment(service: Service) -> dict[str, str]:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(_TELEMETRY)}
    environment |= {name: os.environ[name] for name in service.variables if name in os.environ}
    environment |= dict.fromkeys(_ONE_THREAD, "1")
    environment |= {ONLINE: service.online} if ONLINE in variables(service) and service.online else {}
    return environment | (dict(service.schedule.environment) if service.schedule else {})


def _check_python(service: Service) -> None:
    """Before anything that runs is ended for it."""
    if service.schedule is None and not os.access(service.python, os.X_OK):
        raise ServerFailed(
            "the server's Python cannot be started: there is no program",
            received=service.python,
            next_step="package the version again: its environment is rebuilt",
        )


def _listening(service: Service, begun: Note, begin: int) -> Note:
    """The note of the new keeper, once what it keeps listens. Its words begin at this byte of the log."""
    deadline = time.monotonic() + service.timeout
    while True:
        alive = begun.kept
        note = recall(service.state)
        if note is not None and note.keeper == begun.keeper and note.url:
            return note
        if not alive:
            words = _log(service).read_bytes()
            for line in words[begin if begin <= len(words) else 0 :].splitlines():
                if line.startswith(b'{"error":') and msgspec.json.decode(line)["error"]["code"] == PortInUse.code:
                    raise _port_in_use(service)
            raise _failed(service, "the server ended before it listened")
        if time.monotonic() > deadline:
            raise _failed(service, f"the server did not listen within {service.timeout:g} seconds")
        time.sleep(0.02)


def _wait(service: Service, note: Note) -> None:
    """Wait until all that served.json names answers, each by the version and bundle it names."""
    begun = time.monotonic()
    while True:
        problem = _problem(service, note.url, settled=time.monotonic() - begun > _SETTLED)
        if not problem:
            return
        if not note.kept and not note.lives:
            raise _failed(service, "the server ended before it was ready")
        if time.monotonic() - begun > service.timeout:
            raise _failed(service, f"the server was not ready within {service.timeout:g} seconds: {problem}")
        time.sleep(0.05)


def _problem(service: Service, url: str, *, settled: bool) -> str:
    """What is still missing; raises ServerFailed where the server has tried a bundle and refused it."""
    try:
        others = list(_others(service, client.models(url, door=service.door)))
    except FullcircleError as error:
        return error.what
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return "there is no valid served.json"
    for name, entry, one in others:
        if settled and one.problem is not None and one.problem.get("bundle") == entry.bundle:
            raise _failed(service, f"version {entry.version} of {name} cannot answer: {one.problem.get('message')}")
        return f"version {entry.version} of {name} does not answer yet"
    return client.why_not_ready(url, door=service.door)


def _end(service: Service, note: Note) -> None:
    """The keeper first: it ends what it keeps. One that was killed has left that to us."""
    process.end(note.keeper, note.keeper_born, patience=_PATIENCE)
    left = recall(service.state) or note
    if left.lives:
        process.end(left.pid, left.born, patience=keeper.PATIENCE)
    (service.state / keeper.NOTE).unlink(missing_ok=True)


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
