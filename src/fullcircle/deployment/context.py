"""The files of a container image: a build context that any OCI builder takes, made from one version.

Every value that enters a file passes ``deployment.grammar`` first. Commands are lists, so no shell reads them. No
file names a package index: the packages come from wherever the builder's pip is set up to take them, and only with
the hashes of the lock. The same version gives the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence

from fullcircle.deployment import grammar
from fullcircle.deployment.target import Service, Version, log_flags
from fullcircle.errors import TargetRefused

PORT = 8710
USER = 10001
HOME, DATA, SERVED = "/opt/fullcircle", "/var/lib/fullcircle", "/srv/fullcircle"
KEY = "/run/secrets/fullcircle-log-key"
ACCESS = "/run/fullcircle"  # a folder, not a file: a file that is mounted alone stays the one that was replaced
PROOF, REQUIRES = "proof.json", "requires.json"
CONTAINERFILE, COMPOSE, README, IGNORED = "Containerfile", "compose.yaml", "README.md", ".dockerignore"
_PYTHON = f"{HOME}/bin/python"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_GUARD = "fullcircle/server/guard.py"  # the server of a bundle without it asks nobody who they are
_SECONDS = 45  # that a container may take to finish what it answers


def files(service: Service) -> dict[str, bytes]:
    """Every file by path. Raises TargetRefused for a value that cannot stand in one, or an older bundle."""
    version = _checked(service)
    found = {
        CONTAINERFILE: _containerfile(service, version).encode(),
        COMPOSE: _compose(service, version).encode(),
        IGNORED: _ignored(version),
        "bundle.zip": version.archive,
        "lock.txt": grammar.lock(version.lock).encode(),
        "served.json": _served(version),
        README: _readme(service, version),
    }
    found |= {f"wheels/{name}": content for name, content in version.wheels.items()}
    found |= {f"attestations/{name}": content for name, content in version.attestations.items()}
    return found | {name: content for name, content in _beside(version).items() if content}


def _beside(version: Version) -> dict[str, bytes]:
    """What may stand beside the bundle, empty where there is none: its proof elsewhere, and its needs."""
    return {PROOF: version.proof, REQUIRES: version.requires}


def base(service: Service) -> str:
    """The base image: the one that was named, else the slim image of the bundle's Python."""
    version = service.version
    assert version is not None  # noqa: S101 - a caller's duty
    return grammar.image(service.image or f"python:{version.python}-slim")


def own_bytes(version: Version) -> int:
    """What the model brings into the image, compressed: a bundle and its wheel are."""
    return len(version.archive) + sum(map(len, version.attestations.values()))


def _readme(service: Service, version: Version) -> bytes:
    """What the folder is, and what to type."""
    name, port = f"{grammar.image_name(version.model)}:{version.number}", service.port or PORT
    text = [
        f"# {version.model}, version {version.number}",
        f"A build context for the bundle `{version.bundle}`, written by `fullcircle deploy --to container`. It is\n"
        "the same for the same version, so it can be reviewed and committed.",
        "\n".join(["```", f"docker build -f {CONTAINERFILE} -t {name} .", *_run_lines(version, name, port), "```"]),
        f"or `docker compose up --build`; `podman` takes the same words. When it runs:\n"
        f"`curl -s http://127.0.0.1:{port}/health/ready`.",
        _BUILD,
        _CALLERS.format(names=", ".join(f"`{one}`" for one in ("127.0.0.1", "localhost", *service.hosts))),
        f"**What it writes.** Predictions go to the volume `{DATA}`; nothing else is written but `/tmp`, so the\n"
        f"root file system may be read-only. The user is {USER}, without a name and without rights; a folder of the\n"
        f"host in place of the volume has to be writable for it.",
        *([_KEY] if version.hashes else []),
        *([_needs(version, name)] if version.requires else []),
        *([_NO_EXPLAIN] if version.compiled else []),
    ]
    return ("\n\n".join(text) + "\n").encode()


def _needs(version: Version, name: str) -> str:
    flags = " ".join(f"-e {variable}" for variable in _variables(version))
    return (
        "**What the model needs** stands in `requires.json`. It is asked where the container runs: the server is\n"
        "not ready before all of it was there once, and `/health/ready` names what is missing. To ask before:\n\n"
        f"```\ndocker run --rm {flags}{' ' * bool(flags)}--entrypoint {_PYTHON} {name} \\\n"
        f"  -I -m fullcircle.deployment.needs {SERVED}/{REQUIRES}\n```"
    )


_KEY = f"""\
**The key** that private values are hashed with is a file of the host; user {USER} has to be able to read it, and
nobody else: `sudo install -o {USER} -m 400 log.key /path/to/log.key`."""
_BUILD = """\
**What the build does.** It takes packages from the index that the builder's pip is set up with (no file here names
one), exactly those of `lock.txt`, by hash, no source distribution, so there is no compiler. Then it answers the
golden rows of the bundle: where one answer has other bits than the one that was evaluated, no image is built, and
what differs from where it was proven is named. The server does the same again whenever it starts, on the machine
where it starts. `podman build` keeps the health check only with `--format docker`."""
_CALLERS = f"""\
**Who may call it.** Whoever has a key. The keys are in `access.json` of the workspace (`fullcircle key create`),
without their secrets. Put a copy into a folder that user {USER} can read, and mount the folder at `{ACCESS}`;
replace the copy whenever a key was created or revoked (write beside it, then rename): the server follows it.
Without the file it does not start. Where a proxy in front checks who calls, and nobody else reaches the port, say so
at the end of `docker run`: `--without-access-control`, and leave the mount out. It speaks HTTP without TLS
(`--without-tls`): publish it on loopback, as above, behind a proxy that ends TLS. It answers requests addressed to
{{names}}."""
_NO_EXPLAIN = """\
**No `/explain`.** The compiled form of the model answers here, without the libraries that trained it; explanations
ask the fitted model, and that needs them."""


def _run_lines(version: Version, name: str, port: int) -> list[str]:
    lines = [
        "docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges \\",
        f"  -v {grammar.image_name(version.model)}-data:{DATA} -p 127.0.0.1:{port}:{PORT} \\",
        f"  -v /path/to/access:{ACCESS}:ro \\",
    ]
    lines += [f"  -e {variable} \\" for variable in _variables(version)]
    if version.hashes:
        lines += [f"  -v /path/to/log.key:{KEY}:ro \\"]
    return [*lines, f"  --stop-timeout {_SECONDS} {name}"]


def _variables(version: Version) -> list[str]:
    return [*_demanded(version), *version.passed]


def _demanded(version: Version) -> list[str]:
    """Those without which nothing is started."""
    return [*(["FULLCIRCLE_ONLINE"] if version.looks_up else []), *version.variables]


def _checked(service: Service) -> Version:
    """The version, when all that will stand in a file may."""
    version = service.version
    if version is None:
        raise TargetRefused(
            "there is no version to take along", next_step="deploy a model that has a champion: fullcircle promote"
        )
    base(service)
    grammar.checked("the model's name", version.model, grammar.MODEL, "1 to 63 of a-z, 0-9, - and _")
    grammar.checked("the version", str(version.number), grammar.NUMBER, "a number")
    grammar.checked("the bundle's digest", version.bundle, grammar.DIGEST, "a SHA-256 in hex")
    grammar.checked("the bundle's Python", version.python, grammar.PYTHON, 'such as "3.12"')
    grammar.lock(version.lock)
    for name in version.wheels:
        grammar.checked("the name of a wheel", name, grammar.WHEEL, "a wheel's file name")
    for name in version.attestations:
        grammar.checked("the name of an attestation", name, grammar.STATEMENT, "NAME.json")
    for name in service.hosts:
        grammar.checked("a name in the setting hosts", name, grammar.HOST, "the name of a host")
    for name in (*version.variables, *version.passed):
        grammar.checked("the name of a variable", name, grammar.VARIABLE, "letters, digits and _")
    for word in (service.log_full, service.log_fsync):
        grammar.checked("a setting of the log", word, grammar.WORD, "one word")
    if not any(_has_guard(content) for name, content in version.wheels.items() if name.startswith("fullcircle-")):
        raise TargetRefused(
            "the bundle was made by a fullcircle that cannot run in a container",
            received=f"{version.model} version {version.number}",
            allowed="a bundle whose own wheel has a server with access control",
            next_step="package and promote the model again: fullcircle package",
        )
    return version


def _has_guard(wheel: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as opened:
            return _GUARD in opened.namelist()
    except zipfile.BadZipFile:
        return False


def _containerfile(service: Service, version: Version) -> str:
    image = base(service)
    pip = ["python", "-m", "pip", "--python", _PYTHON, "install", "--require-hashes", "--only-binary", ":all:"]
    pip += ["--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--root-user-action=ignore"]
    make = f"import os; os.makedirs('{DATA}'); os.chown('{DATA}', {USER}, {USER})"
    prove = [_PYTHON, "-I", "-m", "fullcircle.packaging.prove", f"{SERVED}/bundle.zip", "--check"]
    prove += ["--certificate", f"{SERVED}/{PROOF}"] if version.proof else []
    prove += ["--allow-pickle"] if version.pickled else []
    copied = ["bundle.zip", "served.json", *(name for name, content in _beside(version).items() if content)]
    labels = {
        "org.opencontainers.image.title": version.model,
        "org.opencontainers.image.version": str(version.number),
        "org.fullcircle.bundle": version.bundle,
        "org.fullcircle.python": version.python,
        "org.fullcircle.form": "compiled" if version.compiled else "native",
    }
    lines = [
        f"# {version.model}, version {version.number}. Written by fullcircle; {README} says how to build and run it.",
        f"FROM {image} AS build",
        "WORKDIR /build",
        "COPY lock.txt ./",
        "COPY wheels ./wheels",
        f"RUN {_list(['python', '-m', 'venv', '--without-pip', HOME])}",
        "# Exactly the packages of the lock, by hash; wheels only, so there is no compiler.",
        f"RUN {_list([*pip, '-r', 'lock.txt'])}",
        "",
        f"FROM {image}",
        *(f'LABEL {name}="{value}"' for name, value in labels.items()),
        f"ENV {' '.join(f'{name}=1' for name in _THREADS)}",
        f"COPY --from=build {HOME} {HOME}",
        f"WORKDIR {SERVED}",
        f"COPY {' '.join(copied)} ./",
        *(["COPY attestations ./attestations"] if version.attestations else []),
        f"RUN {_list([_PYTHON, '-I', '-c', make])}",
        f"USER {USER}:{USER}",
        "# The proof: where one golden answer has other bits than the one that was evaluated, no image is built.",
        f"RUN {_list(prove)}",
        f'VOLUME ["{DATA}"]',
        f"EXPOSE {PORT}",
        "STOPSIGNAL SIGTERM",
        "HEALTHCHECK --interval=10s --timeout=5s --start-period=90s --retries=3 \\",
        f"  CMD {_list([_PYTHON, '-I', '-m', 'fullcircle.deployment.health', f'http://127.0.0.1:{PORT}'])}",
        f"ENTRYPOINT {_list(entrypoint(service, version))}",
    ]
    return "\n".join(lines) + "\n"


def entrypoint(service: Service, version: Version) -> list[str]:
    """The command of the server in the container."""
    command = [_PYTHON, "-I", "-m", "fullcircle.server"]
    command += ["--served", f"{SERVED}/served.json", "--predictions", f"{DATA}/predictions"]
    command += ["--code-cache", f"{DATA}/code", "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104 - see README
    # Who may ask is said where it runs; TLS ends in front of it, unless a certificate is given there.
    command += ["--access", f"{ACCESS}/access.json", "--without-tls"]
    if service.hosts:
        command += ["--hosts", ",".join(service.hosts)]
    if service.workers != 1:
        command += ["--workers", str(int(service.workers))]
    command += log_flags(service.log_bytes, service.log_full, service.log_fsync, None)
    return [*command, "--log-key", KEY] if version.hashes else command


def _compose(service: Service, version: Version) -> str:
    name = grammar.image_name(version.model)
    lines = [
        "services:",
        f'  "{name}":',
        "    build:",
        "      context: .",
        f"      dockerfile: {CONTAINERFILE}",
        f'    image: "{name}:{version.number}"',
        "    read_only: true",
        "    cap_drop: [ALL]",
        '    security_opt: ["no-new-privileges:true"]',
        "    tmpfs: [/tmp]",
        "    # It speaks HTTP without TLS: it is published on this machine's loopback only, for a proxy.",
        f'    ports: ["127.0.0.1:{service.port or PORT}:{PORT}"]',
        f'    volumes: ["{name}-data:{DATA}", "${{FULLCIRCLE_ACCESS_FOLDER:?is not set}}:{ACCESS}:ro"]',
        "    restart: unless-stopped",
        f"    stop_grace_period: {_SECONDS}s",
    ]
    if _variables(version):
        lines += ["    environment:", *(f'      "{one}": "${{{one}:?is not set}}"' for one in _demanded(version))]
        lines += [f'      "{one}":' for one in version.passed]
    if version.hashes:
        lines += ["    secrets: [fullcircle-log-key]"]
    lines += ["volumes:", f'  "{name}-data":']
    if version.hashes:
        lines += ["secrets:", "  fullcircle-log-key:", '    file: "${FULLCIRCLE_LOG_KEY_FILE:?is not set}"']
    return "\n".join(lines) + "\n"


def _ignored(version: Version) -> bytes:
    """Only what the Containerfile copies goes to the builder."""
    copied = ["bundle.zip", "served.json", "lock.txt", "wheels", *(["attestations"] if version.attestations else [])]
    copied += [name for name, content in _beside(version).items() if content]
    return "\n".join(["*", *(f"!{name}" for name in copied)]).encode() + b"\n"


def _served(version: Version) -> bytes:
    entry: dict[str, object] = {"version": version.number, "bundle": version.bundle, "path": "bundle.zip"}
    if version.pickled:
        entry["pickle"] = True
    return json.dumps({"models": {version.model: entry}}, indent=1, sort_keys=True).encode() + b"\n"


def _list(command: Sequence[str]) -> str:
    """The exec form: a JSON list, which no shell reads."""
    return json.dumps(list(command), ensure_ascii=True)
