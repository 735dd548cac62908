"""The container target: what it writes, what it refuses, and that its steps give a server that answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from access_samples import key_of, token_of
from container_samples import Builder, Image, compiled_bundle, sample_version, version_of
from fullcircle import registry
from fullcircle.deployment import client, context, folder
from fullcircle.deployment.target import Service, Target
from fullcircle.deployment.targets.container import ContainerTarget
from fullcircle.errors import TargetRefused, Unauthorized
from fullcircle.testing.targets import TargetSuite
from fullcircle.types.access import Access
from serving import GOOD


def service_of(folder: Path, **changes: object) -> Service:
    found = Service(
        python=Path(sys.executable),
        served=folder / "served.json",
        predictions=folder / "predictions",
        code=folder / "code",
        state=folder / "containers",
        port=0,
        version=sample_version(),
    )
    return replace(found, **changes)  # type: ignore[arg-type]


class TestContainerTarget(TargetSuite):
    @pytest.fixture
    def target(self) -> Target:
        found: Target = registry.find("targets", "container")()
        assert isinstance(found, ContainerTarget)
        return found

    @pytest.fixture
    def service(self, tmp_path: Path) -> Service:
        return service_of(tmp_path)


def text_of(service: Service, name: str) -> str:
    return context.files(service)[name].decode()


def test_the_same_version_gives_the_same_bytes_and_the_folder_names_it(tmp_path: Path) -> None:
    service = service_of(tmp_path)
    first = ContainerTarget().plan(service)
    assert ContainerTarget().plan(replace(service, python=tmp_path / "none" / "bin" / "python")).files == first.files
    assert first.folder == str(tmp_path / "containers" / "bike-demand-3")
    assert set(first.files) == {
        "Containerfile", "compose.yaml", "README.md", ".dockerignore", "bundle.zip", "lock.txt", "served.json",
        "wheels/fullcircle-0.1.0-py3-none-any.whl", "attestations/report.json", "attestations/approval.json",
        folder.RECORD,
    }  # fmt: skip
    assert not list(tmp_path.iterdir())
    steps = " ".join(first.steps)
    assert "docker build -f Containerfile -t bike-demand:3 " in steps
    assert "asks for keys: mount a folder with the workspace's access.json" in steps
    assert "HTTP without TLS" in steps
    assert "127.0.0.1:8710" in steps
    assert re.search(r"about \d+ MB compressed", steps)


def test_what_stands_in_the_files(tmp_path: Path) -> None:
    service = service_of(tmp_path, port=9000, hosts=("models.example.org",), workers=2, log_full="count")
    container = text_of(service, "Containerfile")
    assert container.count("\nFROM python:3.12-slim") == 2
    assert "\nUSER 10001:10001\n" in container
    assert "curl" not in container
    assert "apt-get" not in container
    steps = [line.partition(" ")[2] for line in container.splitlines() if line.startswith("RUN ")]
    assert all(isinstance(json.loads(step), list) for step in steps), "no shell reads them"
    install = next(step for step in steps if '"pip"' in step)
    assert all(word in install for word in ('"--require-hashes"', '"--only-binary"', '":all:"', '"--no-deps"'))
    # The proof is of the finished image, by the user that will answer.
    assert container.index("USER") < container.index("fullcircle.packaging.prove") < container.index("ENTRYPOINT")
    entry = json.loads(container.partition("ENTRYPOINT ")[2])
    assert entry[entry.index("--host") : entry.index("--host") + 2] == ["--host", "0.0.0.0"]  # noqa: S104
    for words in (
        ["--access", "/run/fullcircle/access.json"],
        ["--without-tls"],
        ["--hosts", "models.example.org"],
        ["--workers", "2"],
        ["--log-full", "count"],
    ):
        assert entry[entry.index(words[0]) : entry.index(words[0]) + len(words)] == words
    compose = text_of(service, "compose.yaml")
    for line in ("read_only: true", "cap_drop: [ALL]", 'ports: ["127.0.0.1:9000:8710"]', "no-new-privileges:true"):
        assert line in compose
    assert "environment:" not in compose
    readme = text_of(service, "README.md")
    assert "docker run --read-only --tmpfs /tmp" in readme
    assert "-p 127.0.0.1:9000:8710" in readme
    assert "`models.example.org`" in readme
    assert "/explain" not in readme
    everything = b"".join(context.files(service).values()).decode(errors="replace")
    assert "index-url" not in everything
    assert not re.search(r"https?://(?!127\.0\.0\.1)", everything)
    assert str(tmp_path) not in everything, "the folder can go to another machine"


def test_only_what_is_copied_goes_to_the_builder(tmp_path: Path) -> None:
    files = context.files(service_of(tmp_path))
    copied = {
        source
        for line in files["Containerfile"].decode().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    first, *kept = files[".dockerignore"].decode().split()
    assert first == "*"
    assert {one.removeprefix("!") for one in kept} == copied


def test_what_a_model_needs_is_asked_for_and_never_written_down(tmp_path: Path) -> None:
    needing = sample_version(
        looks_up=True, hashes=True, pickled=True, compiled=True, variables=("API_TOKEN",), passed=("SSL_CERT_FILE",)
    )
    service = service_of(tmp_path, version=needing, online="redis://user:hunter2@example.org")
    files = context.files(service)
    assert b"hunter2" not in b"".join(files.values())
    compose = files["compose.yaml"].decode()
    assert '"FULLCIRCLE_ONLINE": "${FULLCIRCLE_ONLINE:?is not set}"' in compose
    assert '"API_TOKEN": "${API_TOKEN:?is not set}"' in compose
    assert '      "SSL_CERT_FILE":\n' in compose, "passed on where it is set"
    assert f"install -o {context.USER} -m 400" in files["README.md"].decode()
    assert "secrets: [fullcircle-log-key]" in compose
    assert "-e API_TOKEN" in files["README.md"].decode()
    assert "No `/explain`" in files["README.md"].decode()
    assert f'"--log-key", "{context.KEY}"' in files["Containerfile"].decode()
    assert '"--check", "--allow-pickle"' in files["Containerfile"].decode()
    assert json.loads(files["served.json"])["models"]["bike-demand"]["pickle"] is True
    assert "/explain is off" in " ".join(ContainerTarget().plan(service).steps)


def test_the_needs_and_the_proof_travel_along_and_the_build_names_what_differs(tmp_path: Path) -> None:
    travelling = sample_version(requires=b"[]", proof=b"{}", variables=("API_TOKEN",))
    files = context.files(service_of(tmp_path, version=travelling))
    assert (files["requires.json"], files["proof.json"]) == (b"[]", b"{}")
    container = files["Containerfile"].decode()
    assert "COPY bundle.zip served.json proof.json requires.json ./" in container
    assert f'"--certificate", "{context.SERVED}/proof.json"' in container
    assert {"!proof.json", "!requires.json"} <= set(files[".dockerignore"].decode().split())
    asked = "docker run --rm -e API_TOKEN --entrypoint /opt/fullcircle/bin/python bike-demand:3"
    assert asked in files["README.md"].decode()
    steps = " ".join(ContainerTarget().plan(service_of(tmp_path, version=travelling)).steps)
    assert "is not asked from here" in steps
    without = context.files(service_of(tmp_path))
    assert not {"requires.json", "proof.json"} & without.keys()
    assert "--certificate" not in without["Containerfile"].decode()


def test_packages_are_installed_from_the_lock_once(tmp_path: Path) -> None:
    (install,) = [line for line in text_of(service_of(tmp_path), "Containerfile").splitlines() if '"pip"' in line]
    command = json.loads(install.partition(" ")[2])
    assert command.count("-r") == command.count("lock.txt") == 1


HOSTILE: list[dict[str, object]] = [
    {"image": "python:3.12\nRUN id"},
    {"image": "x; rm -rf /"},
    {"hosts": ('a", "--models',)},
    {"hosts": ("a\nb",)},
    {"log_full": "stop\nx"},
    {"version": sample_version(model="a b")},
    {"version": sample_version(model="../up")},
    {"version": sample_version(number=-1)},
    {"version": sample_version(python="3.12 AS x")},
    {"version": sample_version(bundle="x")},
    {"version": sample_version(lock="--index-url https://evil.example.org\n")},
    {"version": sample_version(attestations={"../../x.json": b""})},
    {"version": sample_version(attestations={"x\n.json": b""})},
    {"version": sample_version(wheels={**sample_version().wheels, "../x.whl": b""})},
    {"version": sample_version(variables=("A: b\nc",))},
    {"version": sample_version(passed=('A": b',))},
    {"version": None},
]


@pytest.mark.parametrize("change", HOSTILE, ids=[f"{min(one)}{n}" for n, one in enumerate(HOSTILE)])
def test_a_value_that_means_more_than_it_says_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    service = service_of(tmp_path, **change)
    with pytest.raises(TargetRefused):
        ContainerTarget().apply(service)
    assert not list(tmp_path.iterdir())
    assert not ContainerTarget().status(service).running


def test_a_bundle_of_before_containers_is_refused(tmp_path: Path) -> None:
    for wheel in (b"no zip", b""):
        old = sample_version(wheels=dict.fromkeys(sample_version().wheels, wheel))
        with pytest.raises(TargetRefused, match="cannot run in a container") as caught:
            ContainerTarget().plan(service_of(tmp_path, version=old))
        assert "fullcircle package" in (caught.value.next_step or "")


def test_status_tells_another_champion_and_a_change_by_hand(tmp_path: Path) -> None:
    target, service = ContainerTarget(), service_of(tmp_path, out=tmp_path / "out")
    found = target.apply(service)
    assert (found.ready, found.place, found.versions) == (True, str(tmp_path / "out"), (("bike-demand", 3),))
    newer = replace(service, version=sample_version(number=4, archive=b"other", bundle="0" * 64))
    assert target.status(newer).problem == "it is of version 3, and 4 is the champion"
    assert target.plan(newer).action == "restart"
    assert target.apply(newer).ready
    other = replace(newer, image="registry.example.org/python:3.12")
    assert target.plan(other).action == "restart"
    (tmp_path / "out" / "Containerfile").write_text("FROM scratch\n")
    assert target.status(newer).problem == "changed since it was written: Containerfile"
    with pytest.raises(TargetRefused, match="changed by hand"):
        target.apply(newer)
    target.remove(newer)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["Containerfile"]


@pytest.fixture(scope="module")
def built() -> Iterator[tuple[Builder, Image]]:
    """The steps of a real Containerfile, executed in a clean directory that its user may read."""
    place = Path(tempfile.mkdtemp(prefix="fullcircle-image-"))
    try:
        place.chmod(0o755)
        service = service_of(place, version=version_of(compiled_bundle()), out=place / "context")
        assert ContainerTarget().apply(service).ready
        builder = Builder(place / "context", place / "image")
        image = builder.build()
        yield builder, image
    finally:
        subprocess.run(["chmod", "-R", "u+w", place], check=True)
        shutil.rmtree(place)


def test_the_steps_prove_the_version_and_the_entrypoint_answers_on_a_read_only_root(
    built: tuple[Builder, Image],
) -> None:
    builder, image = built
    assert image.labels["org.fullcircle.form"] == "compiled"
    (prove,) = (command for command in image.ran if "fullcircle.packaging.prove" in command)
    assert prove[-2:] == ["--certificate", f"{context.SERVED}/proof.json"]
    needs = [image.entrypoint[0], "-I", "-m", "fullcircle.deployment.needs", f"{context.SERVED}/requires.json"]
    assert _code([builder.moved(one) for one in needs], builder, image) == 0, "as the README says"
    installed = {path.name for path in builder.last.glob("opt/fullcircle/lib/python3*/site-packages/*")}
    assert "numpy" in installed
    assert not {"sklearn", "pandas", "scipy", "pip", "uv"} & installed
    # The compiler and the caches of the first stage are not in the second.
    assert not (builder.last / "build").exists()
    data = builder.last / "var/lib/fullcircle"
    subprocess.run(["chmod", "-R", "a-w", builder.last], check=True)
    data.chmod(0o755)
    if not builder.as_its_user:
        os.chown(data, os.getuid(), os.getgid())
    command = [builder.moved(one) for one in image.entrypoint]
    command[command.index("--port") + 1] = "0"
    access = builder.last / "access.json"  # a mount, where there is a container
    access.write_bytes(msgspec.json.encode(Access(required=True, keys=(key_of("viewer", "scorer"),))))
    access.chmod(0o644)
    command[command.index("--access") + 1] = str(access)
    door = client.Door(token=token_of("viewer"))
    with subprocess.Popen(
        command, env=builder.surroundings(image), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/",
        **builder.identity(image),
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line, (server.stderr and server.stderr.read(), command)
            port = json.loads(line)["listening"].rpartition(":")[2]
            url = f"http://127.0.0.1:{port}"
            check = [builder.moved(one) for one in image.health[:-1]]
            deadline = time.monotonic() + 20
            while _code([*check, url], builder, image) != 0:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert _code([*check, "http://127.0.0.1:9"], builder, image) == 1
            with pytest.raises(Unauthorized):
                client.predict(url, "m", [GOOD])
            (prediction,) = client.predict(url, "m", [GOOD], door=door)
            assert (prediction.version, prediction.verdict.status) == (1, "ok")
            assert abs(float(str(prediction.value)) - 1000) < 50
            assert {path.name for path in data.iterdir()} >= {"predictions"}
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(20) == 0


def test_an_image_whose_answers_differ_is_never_built(built: tuple[Builder, Image]) -> None:
    builder, image = built
    packages = next(builder.last.glob("opt/fullcircle/lib/python3*/site-packages"))
    (prove,) = (command for command in image.ran if "fullcircle.packaging.prove" in command)
    subprocess.run(["chmod", "-R", "u+w", packages], check=True)
    scorer = packages / "fullcircle" / "runtimes" / "scorer.py"
    before = scorer.read_bytes()
    scorer.unlink()
    scorer.write_bytes(before + b"\n# another line\n")
    try:
        done = subprocess.run(
            [builder.moved(one) for one in prove], env=builder.surroundings(image), capture_output=True, text=True,
            check=False, cwd="/",
        )  # fmt: skip
    finally:
        scorer.write_bytes(before)
    assert done.returncode == 1
    assert "scorer.py of fullcircle was altered" in done.stdout


def _code(command: list[str], builder: Builder, image: Image) -> int:
    identity = builder.identity(image)
    return subprocess.run(command, env=builder.surroundings(image), check=False, cwd="/", **identity).returncode
