"""Asking uv for exact versions, and finding where what a project says contradicts what its model was trained with."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fullcircle.errors import LockFailed
from fullcircle.packaging import uv
from fullcircle.packaging.versions import allowed, normal
from fullcircle.types.environments import Wanted

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*([^;]*?)\s*(?:;\s*(.*))?")
_EXACT = re.compile(r"==\s*([A-Za-z0-9.+!-]+)")
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!-]+)", re.MULTILINE)
_WHEEL = re.compile(r"\./[a-z]+/([A-Za-z0-9_.]+)-([A-Za-z0-9_.+!]+)-")
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Target:
    """The Python ("3.12") and the platform (as uv calls it, "" for this machine's) that a lock is for."""

    python: str
    platform: str = ""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How uv is asked: in ``folder``, which is the caller's and holds the wheels, for a target."""

    folder: Path
    target: Target
    offline: bool = False

    def resolve(
        self,
        lines: Sequence[str],
        *bounds: Sequence[str],
        more: Sequence[str] = (),
        known: Mapping[str, str] | None = None,
    ) -> str:
        """The lock of these requirements with all that they need, each package within all ``bounds``.

        ``more`` are further options of uv. ``known`` maps normalised names to the only versions that are allowed of
        them: a lock of these alone is taken from uv's cache, without a word over the network. Raises LockFailed.
        """
        self._write("requirements.in", lines)
        arguments = ["pip", "compile", "requirements.in", "--output-file", "lock.txt", *more]
        for number, lines_of in enumerate(bounds):
            self._write(f"bounds-{number}.txt", lines_of)
            arguments += ["--constraints", f"bounds-{number}.txt"]
        arguments += ["--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate", "--quiet"]
        arguments += ["--no-emit-index-url", "--no-emit-find-links"]
        arguments += ["--python", sys.executable, "--python-version", self.target.python]
        if self.target.platform:
            arguments += ["--python-platform", self.target.platform]
        if known and not self.offline:
            try:
                text = self._compile(arguments, offline=True)
            except LockFailed:
                text = ""  # not in the cache, or no solution: the network decides
            found = {normal(name): version for name, version in _PIN.findall(text)}
            if found and found.items() <= known.items():
                return text
        return self._compile(arguments, offline=self.offline)

    def _compile(self, arguments: Sequence[str], *, offline: bool) -> str:
        (self.folder / "lock.txt").unlink(missing_ok=True)  # uv would keep to the versions in it
        uv.run(arguments, what="locking the environment", folder=self.folder, offline=offline)
        return (self.folder / "lock.txt").read_text(encoding="utf-8")

    def _write(self, name: str, lines: Sequence[str]) -> None:
        (self.folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def bounded(asked: Asked, lines: Sequence[str], installed: Mapping[str, str], wanted: Wanted) -> str:
    """The lock of ``lines`` with what is installed here, within what a project says.

    ``installed`` maps normalised names to versions. Raises LockFailed naming the package, the version that the model
    was trained with and what the project says, where these contradict each other.
    """
    here = [f"{name}=={version}" for name, version in installed.items()]
    said = [bound for line in wanted.lines if (bound := bound_of(line))]
    try:
        return asked.resolve(lines, here, said, known=installed)
    except LockFailed as error:
        found = _contradictions(asked, lines, installed, said) if said else []
        if not found:
            raise
        raise contradiction(wanted.source, found) from error


def bound_of(line: str) -> str:
    """What a requirement says of versions, without its extras; "" where it says nothing of them."""
    match = _LINE.fullmatch(line.strip())
    if match is None or not match[2]:
        return ""
    return f"{match[1]}{match[2]}" + (f" ; {match[3]}" if match[3] else "")


def exact(line: str) -> tuple[str, str] | None:
    """The normalised name and the version of a requirement that is one version everywhere; None of any other."""
    match = _LINE.fullmatch(line.strip())
    version = _EXACT.fullmatch(match[2]) if match is not None and not match[3] else None
    return (normal(match[1]), version[1]) if match is not None and version is not None else None


def contradiction(source: str, found: Sequence[tuple[str, str, str]]) -> LockFailed:
    """The refusal for packages, each with the version that the model was trained with and what the project says."""
    name, version, said = found[0]
    return LockFailed(
        f"the model was trained with {name} {version}, and {source} says {said}",
        received="; ".join(f"{name} {version}, not {said}" for name, version, said in found[:_SHOWN]),
        allowed=f"training with versions that {source} allows",
        next_step=f"install what {source} says (for example: uv sync, or pip install -r) and train again, "
        f"or change {source} to what the model was trained with",
    )


def _contradictions(
    asked: Asked, lines: Sequence[str], installed: Mapping[str, str], said: Sequence[str]
) -> list[tuple[str, str, str]]:
    """(package, installed version, what the project says) for each line that keeps an installed package out.

    Only packages that the model needs count. Whether a version is within bounds is uv's to say, so each line is
    tried alone, those of one and the same version apart.
    """
    here = [f"{name}=={version}" for name, version in installed.items()]
    try:
        needed = asked.resolve(lines, here)
    except LockFailed:
        return []  # what is installed here cannot be locked whatever the project says
    names = {match[1] for line in needed.splitlines() if (match := re.match(r"([a-z0-9][a-z0-9._-]*)==", line))}
    exactly = {name: f"{name}=={version}" for name, version in installed.items()}
    for line in lines:  # fullcircle's own wheel
        if match := _WHEEL.match(line):
            names.add(normal(match[1]))
            installed, exactly = {**installed, normal(match[1]): match[2]}, {**exactly, normal(match[1]): line}
    found: list[tuple[str, str, str]] = []
    for bound in said:
        match = _LINE.fullmatch(bound)
        name = normal(match[1]) if match is not None else ""
        if name not in names or name not in installed or len(found) == _SHOWN:
            continue
        one = exact(bound)
        here_too = _resolves(asked, exactly[name], bound) if one is None else allowed(one[1], installed[name])
        if not here_too:
            found.append((name, installed[name], bound))
    return found


def _resolves(asked: Asked, line: str, bound: str) -> bool:
    try:
        asked.resolve([line], [bound], more=["--no-deps"])
    except LockFailed:
        return False
    return True
