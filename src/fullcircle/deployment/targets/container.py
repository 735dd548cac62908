"""The target "container": a build context in a folder, from which any OCI builder makes an image. It runs nothing.

No daemon is asked and no image is built here: the folder is what is deployed, and what to type then is said.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from fullcircle.deployment import context, folder, grammar, sizes
from fullcircle.deployment.target import SILENT, Plan, Running, Service
from fullcircle.errors import TargetRefused
from fullcircle.types.progress import Progress


class ContainerTarget:
    """Writes Containerfile, compose.yaml, lock, wheels, bundle and attestations, and deletes only what it wrote."""

    name = "container"
    runs = False

    def plan(self, service: Service) -> Plan:
        """What ``apply`` would write. Raises TargetRefused for a value that cannot stand in a file."""
        place = _place(service)
        found = folder.recorded(context.files(service), _about(service))
        record = folder.recall(place)
        if record is None:
            action, text = "start", f"a build context will be written to {place}"
        elif record.whole and not folder.altered(place, record) and _same(place, found):
            action, text = "keep", f"the build context in {place} is of this version already"
        else:
            action, text = "restart", f"the build context in {place} will be written again"
        return Plan(
            action=action,  # type: ignore[arg-type] # one of the three
            text=text,
            folder=str(place),
            files=found,
            steps=_steps(service, place, _size(service)),
        )

    def apply(self, service: Service, progress: Progress = SILENT) -> Running:
        """Write the context, all of it or nothing."""
        plan = self.plan(service)
        progress.note(plan.text)
        if plan.action != "keep":
            folder.write(Path(plan.folder), plan.files)
        for step in plan.steps:
            progress.note(step)
        return self.status(service)

    def status(self, service: Service) -> Running:
        """Which version lies there, whether it is whole, and whether it is the one that ``service`` means."""
        try:
            place = _place(service)
        except TargetRefused as error:
            return Running(running=False, problem=error.what)
        record = folder.recall(place)
        if record is None:
            return Running(running=False, problem="no build context was written")
        about = record.about
        altered = folder.altered(place, record)
        problem = ""
        if not record.whole:
            problem = "it was being written when that was interrupted: deploy again"
        elif altered:
            problem = f"changed since it was written: {', '.join(altered[:5])}"
        elif service.version is not None and about.get("bundle") != service.version.bundle:
            problem = f"it is of version {about.get('version')}, and {service.version.number} is the champion"
        number = about.get("version", "")
        versions = ((about.get("model", ""), int(number)),) if number.isascii() and number.isdecimal() else ()
        return Running(running=True, ready=not problem, versions=versions, problem=problem, place=str(place))

    def remove(self, service: Service) -> None:
        """Delete what was written and is unchanged. Images that were built stay: they are the builder's."""
        try:
            folder.delete(_place(service))
        except OSError as error:
            raise TargetRefused(
                f"the build context cannot be deleted: {error.strerror}",
                received=str(error.filename),
                next_step="make the folder writable",
            ) from error


def _place(service: Service) -> Path:
    if service.out is not None:
        return service.out.absolute()
    if service.version is None:
        raise TargetRefused(
            "there is no version whose build context could be meant", next_step="name a folder: --out"
        )
    model = grammar.checked("the model's name", service.version.model, grammar.MODEL, "a-z, 0-9, - and _")
    return service.state.absolute() / f"{model}-{int(service.version.number)}"


def _about(service: Service) -> dict[str, str]:
    version = service.version
    assert version is not None  # noqa: S101 - the files were made from it
    return {
        "target": ContainerTarget.name,
        "model": version.model,
        "version": str(version.number),
        "bundle": version.bundle,
        "image": context.base(service),
    }


def _same(place: Path, files: dict[str, bytes]) -> bool:
    """Whether the record there is the one that would be written: it names every file with its digest."""
    there = folder.recall(place)
    return there == msgspec.json.decode(files[folder.RECORD], type=folder.Record)


def _size(service: Service) -> sizes.Estimate:
    version = service.version
    if version is None:
        return sizes.Estimate(base=sizes.BASE, packages=0, own=0)
    environment = service.python.absolute().parent.parent
    sites = sorted(environment.glob("lib/python3*/site-packages"))
    cache = environment.with_name(f"{environment.name}.sizes.json")
    return sizes.estimate(version.lock, context.own_bytes(version), sites[0] if sites else environment, cache)


def _steps(service: Service, place: Path, size: sizes.Estimate) -> tuple[str, ...]:
    version = service.version
    assert version is not None  # noqa: S101 - the files were made from it
    name = f"{grammar.image_name(version.model)}:{version.number}"
    steps = [
        f"write a build context for {version.model} version {version.number} on {context.base(service)}",
        f"the image: {size.told()}",
        f"you type: docker build -f {context.CONTAINERFILE} -t {name} {place}",
        f"you type: docker compose -f {place / context.COMPOSE} up --build",
        "the build fails where a golden answer has other bits than the one that was evaluated",
        f"the server in it asks for keys: mount a folder with the workspace's access.json at {context.ACCESS}, or "
        "say --without-access-control where a proxy checks who calls",
        f"it speaks HTTP without TLS, and is published on this machine's loopback only, "
        f"127.0.0.1:{service.port or context.PORT}",
    ]
    if version.compiled:
        steps.append("the compiled form answers, without the libraries that trained it: /explain is off")
    if version.requires:
        steps.append(
            "what the model needs is not asked from here, but where it runs: /health/ready names what is not there, "
            f"{context.README} says how to ask before"
        )
    if version.looks_up:
        steps.append("set FULLCIRCLE_ONLINE to the online store's URL where it runs: it is in no file")
    return tuple(steps)
