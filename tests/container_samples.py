"""A real version with a real lock, and what executes the steps of a Containerfile without a builder."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingRegressor

from bundle_samples import PROFILE, WHEEL, lock_of
from fullcircle.deployment.target import Version
from fullcircle.packaging import machine, uv
from fullcircle.packaging.bundle import Bundle, build, pack
from fullcircle.packaging.lock import lock, travelling
from fullcircle.packaging.wheel import wheel
from fullcircle.runtimes.contracts import examine, to_frame
from fullcircle.runtimes.forms.certificate import choose
from fullcircle.runtimes.scorer import Scorer
from fullcircle.runtimes.sklearn import SklearnRuntime
from fullcircle.types.bundle import Proof
from sample_models import ROWS
from serving import contract

PLACES = ("/opt/fullcircle", "/srv/fullcircle", "/var/lib/fullcircle")


def compiled_bundle(number: int = 1) -> Bundle:
    """A small model whose compiled form answers, with the real lock and fullcircle's real wheel."""
    frame = to_frame(contract(), [examine(contract(), row)[1] for row in ROWS])
    target = pd.Series(1000.0 * number + np.arange(len(ROWS)) / 10)
    model = HistGradientBoostingRegressor(max_iter=5, random_state=0, categorical_features="from_dtype")
    model.fit(frame, target)
    chosen = choose(contract(), model, ROWS)
    assert chosen.data is not None
    own = wheel()
    locked = lock(wheel=own, packages=SklearnRuntime.packages, compiled=True, offline=True)
    scorer = Scorer(contract(), model, form=chosen.form)
    return build(
        model="m",
        runtime="sklearn",
        saved=SklearnRuntime().save(model, Path.cwd()),
        contract=contract(),
        golden=list(zip(ROWS[:9], scorer.score(ROWS[:9]), strict=True)),
        profile=PROFILE,
        lock=locked.text,
        wheel=own,
        certificate=chosen.certificate,
        compiled=chosen.data,
        compiled_lock=locked.compiled,
    )


def version_of(bundle: Bundle, number: int = 1, **changes: Any) -> Version:
    """What a target takes along of a bundle, as the flow gives it."""
    archive, text = pack(bundle), bundle.compiled_lock or bundle.lock
    here = machine.here()
    proof = Proof(
        bundle=bundle.digest, python=here.python, platform=here.platform, packages=(), golden_rows=len(bundle.golden),
        largest_difference=0.0, same_bits=True, environment="e", seconds=1.0, cpu=here.cpu,
    )  # fmt: skip
    found: dict[str, Any] = {
        "model": bundle.manifest.model,
        "number": number,
        "bundle": hashlib.sha256(archive).hexdigest(),
        "python": bundle.manifest.python,
        "archive": archive,
        "lock": text,
        "wheels": {path.rpartition("/")[2]: bundle.files[path] for path in travelling(text)},
        "attestations": {"certificate.json": b'{"predicate": {}}'},
        "compiled": bundle.compiled_lock is not None,
        "proof": msgspec.json.encode(proof),
        "requires": b"[]",
    }
    return Version(**(found | changes))


def sample_version(**changes: Any) -> Version:
    """A version of bytes only: its wheel has the health check's name and nothing else."""
    from fullcircle.packaging import archive

    name, content = WHEEL[0], archive.pack({"fullcircle/server/guard.py": b""})
    found: dict[str, Any] = {
        "model": "bike-demand",
        "number": 3,
        "bundle": hashlib.sha256(b"bundle").hexdigest(),
        "python": "3.12",
        "archive": b"bundle",
        "lock": lock_of((name, content)),
        "wheels": {name: content},
        "attestations": {"report.json": b"{}", "approval.json": b"{}"},
    }
    return Version(**(found | changes))


def _without_rights() -> None:
    """Drop every capability for good: PR_CAPBSET_DROP, before a program is executed."""
    call = ctypes.CDLL(None).prctl
    for right in range(64):
        call(24, right, 0, 0, 0)


@dataclass
class Image:
    """What a Containerfile says of the image's last stage."""

    user: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)
    ran: list[list[str]] = field(default_factory=list)


class Builder:
    """Executes the steps of a Containerfile below a folder, each as it stands there but for where it happens.

    The base image is a folder with this interpreter in it. pip's words are given to uv, which has the packages in
    its cache. A step that is not known is an error.
    """

    def __init__(self, context: Path, root: Path) -> None:
        self.context, self.root = context, root
        self._stages: dict[str, Path] = {}
        self._here = root
        self._folder = "/"

    def build(self, name: str = "Containerfile") -> Image:
        """Execute every step in order."""
        image, stages = Image(), 0
        text = (self.context / name).read_text().replace("\\\n", " ")
        for line in text.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            step, _, rest = line.partition(" ")
            if step == "FROM":
                image, stages, self._folder = Image(), stages + 1, "/"
                self._here = self.root / f"stage{stages}"
                self._here.mkdir(parents=True)
                match = re.fullmatch(r"\S+(?: AS (\w+))?", rest)
                assert match, rest
                if match[1]:
                    self._stages[match[1]] = self._here
            else:
                getattr(self, f"_{step.lower()}")(rest, image)
        return image

    @property
    def last(self) -> Path:
        """The root folder of the image."""
        return self._here

    def moved(self, text: str) -> str:
        """The text with the places of the image where they are here."""
        for place in PLACES:
            text = re.sub(rf"(?<![\w/]){place}(?![\w-])", f"{self._here}{place}", text)
        return text

    def _workdir(self, rest: str, image: Image) -> None:
        self._folder = rest
        self._in(rest).mkdir(parents=True, exist_ok=True)

    def _copy(self, rest: str, image: Image) -> None:
        *sources, target = rest.split()
        origin = self.context
        if sources[0].startswith("--from="):
            origin = self._stages[sources.pop(0).removeprefix("--from=")]
        goal = self._in(target)
        for source in sources:
            found = origin / source.lstrip("/")
            if found.is_dir():
                shutil.copytree(found, goal, symlinks=True, dirs_exist_ok=True)
            else:
                goal.mkdir(parents=True, exist_ok=True)
                shutil.copy2(found, goal / found.name)

    def _run(self, rest: str, image: Image) -> None:
        command = json.loads(rest)
        image.ran.append(command)
        moved = [self.moved(one) for one in command]
        if moved[0] == "python":
            moved[0] = str(Path(sysconfig.get_path("scripts", vars={"base": sys.base_prefix})) / "python3")
        if moved[1:4] == ["-m", "pip", "--python"]:
            moved = self._with_uv(moved)
        done = subprocess.run(
            moved, cwd=self._in(self._folder), env=self.surroundings(image), capture_output=True, text=True,
            check=False, **self.identity(image),
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)

    def _with_uv(self, pip: list[str]) -> list[str]:
        python, further = pip[4], pip[6:]
        kept = [
            one for one in further if one not in ("--no-cache-dir",) and not one.startswith(("--disable", "--root"))
        ]
        return [str(uv.find()), "pip", "install", "--offline", "--quiet", "--python", python, *kept]

    def surroundings(self, image: Image) -> dict[str, str]:
        """The variables of a process in the image, and the cache where uv has its packages."""
        cache = subprocess.run([uv.find(), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
        return {"PATH": os.defpath, "UV_CACHE_DIR": cache, **image.environment}

    def identity(self, image: Image) -> dict[str, Any]:
        """As whom a process of the image runs: as its user where that one may use this interpreter.

        Where the interpreter lies in a folder that is only root's, root without any right of root: file permissions
        hold for it as for anybody else.
        """
        if not image.user or os.getuid():
            return {}
        if not self.as_its_user:
            return {"preexec_fn": _without_rights}
        user, _, group = image.user.partition(":")
        return {"user": int(user), "group": int(group), "extra_groups": []}

    @property
    def as_its_user(self) -> bool:
        """Whether a user without a name may reach the interpreter that stands for the base image's."""
        reached = Path(sys.base_prefix).resolve()
        return os.getuid() == 0 and all(one.stat().st_mode & 0o001 for one in (reached, *reached.parents))

    def _label(self, rest: str, image: Image) -> None:
        name, _, value = rest.partition("=")
        image.labels[name] = json.loads(value)

    def _env(self, rest: str, image: Image) -> None:
        image.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))

    def _user(self, rest: str, image: Image) -> None:
        image.user = rest

    def _volume(self, rest: str, image: Image) -> None:
        image.volumes = json.loads(rest)

    def _entrypoint(self, rest: str, image: Image) -> None:
        image.entrypoint = json.loads(rest)

    def _healthcheck(self, rest: str, image: Image) -> None:
        _, _, command = rest.partition("CMD ")
        image.health = json.loads(command)

    def _expose(self, rest: str, image: Image) -> None:
        assert rest == "8710"

    def _stopsignal(self, rest: str, image: Image) -> None:
        assert rest == "SIGTERM"

    def _in(self, path: str) -> Path:
        return self._here / (path if path.startswith("/") else f"{self._folder}/{path}").lstrip("/")
