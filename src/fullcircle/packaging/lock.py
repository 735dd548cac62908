"""The lock: exactly the packages a model needs to answer, by version and hash."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

from fullcircle.errors import BundleInvalid, LockFailed
from fullcircle.packaging import uv
from fullcircle.types.progress import Progress, Silent

# What the serving side imports beyond fullcircle's own base requirements, which its wheel brings along.
INFERENCE = ("numpy", "pandas", "scikit-learn", "skops")
WHEELS = "wheels"

_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.+!-]*)")
_WHEEL = re.compile(rf"\./{WHEELS}/([A-Za-z0-9_.]+)-([A-Za-z0-9_.+!]+)-[a-z0-9.]+-[a-z0-9]+-[a-z0-9_.]+\.whl")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?\s*(?:[<>=!~(][^;@/]*)?(?:;.*)?")


def lock(
    *,
    wheel: tuple[str, bytes],
    requirements: Sequence[str] = (),
    python: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> str:
    """Lock what ``wheel`` (fullcircle's own, by file name and bytes) and scikit-learn models need to answer.

    ``requirements`` are further lines such as ``"lightgbm>=4"``. Every package that is installed here is pinned at
    the version installed here; ``python`` ("3.12") is by default the running one. Wheels only: what is compiled on
    the spot has no stable bits. The text holds no index address, and names fullcircle's wheel as
    ``./wheels/<file>``, so it installs with ``uv pip sync --require-hashes`` in a folder that holds both.
    Raises LockFailed with uv's own words.
    """
    progress = progress or Silent()
    _check(requirements)
    filename, content = wheel
    version = python or f"{sys.version_info.major}.{sys.version_info.minor}"
    progress.note(f"locking the packages for Python {version}")
    with tempfile.TemporaryDirectory(prefix="fullcircle-lock-") as name:
        folder = Path(name)
        (folder / WHEELS).mkdir()
        (folder / WHEELS / filename).write_bytes(content)
        lines = [f"./{WHEELS}/{filename}", *INFERENCE, *requirements]
        (folder / "requirements.in").write_text("\n".join(lines) + "\n", encoding="utf-8")
        pinned = [f"{package}=={installed}" for package, installed in installed_versions().items()]
        (folder / "installed.txt").write_text("\n".join(pinned) + "\n", encoding="utf-8")
        uv.run(_arguments(version), what="locking the environment", folder=folder, offline=offline)
        text = (folder / "lock.txt").read_text(encoding="utf-8")
    _accept(text, filename)
    return text


def installed_versions() -> dict[str, str]:
    """Name to version of what is installed here, normalised and sorted, without fullcircle itself."""
    found: dict[str, str] = {}
    for distribution in distributions():
        name = normal(distribution.metadata["Name"] or "")
        if name and name != "fullcircle" and _PIN.fullmatch(f"{name}=={distribution.version}"):
            found.setdefault(name, distribution.version)  # the first one on the path is the one that is imported
    return dict(sorted(found.items()))


def pins(text: str) -> Mapping[str, str]:
    """The packages of a lock: normalised name to version, the wheels that travel along included.

    Raises BundleInvalid for a line that is neither a pin with hashes nor such a wheel: an address, an option.
    """
    return {name: version for name, version, _, _ in _entries(text)}


def travelling(text: str) -> Mapping[str, str]:
    """The wheels that a lock expects beside it: path such as ``wheels/<file>`` to SHA-256."""
    return {path: digests[0] for _, _, path, digests in _entries(text) if path}


def normal(name: str) -> str:
    """A package name as https://packaging.python.org/specifications/name-normalization/ compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _arguments(version: str) -> list[str]:
    return [
        *("pip", "compile", "requirements.in", "--output-file", "lock.txt", "--constraints", "installed.txt"),
        *("--generate-hashes", "--only-binary", ":all:", "--no-header", "--no-annotate", "--quiet"),
        *("--no-emit-index-url", "--no-emit-find-links"),
        *("--python", sys.executable, "--python-version", version),
    ]


def _check(requirements: Sequence[str]) -> None:
    for line in requirements:
        if not _REQUIREMENT.fullmatch(line.strip()):
            raise LockFailed(
                "a requirement cannot be locked",
                received=repr(line),
                allowed='a package name and versions, such as "lightgbm>=4"; no address, path or option',
                next_step="name the package as an index knows it",
            )


def _accept(text: str, filename: str) -> None:
    try:
        found = travelling(text)
    except BundleInvalid as error:
        raise LockFailed(
            f"uv wrote a lock that cannot travel: {error.what}",
            received=error.received,
            next_step="take packages from an index rather than from an address or a folder",
        ) from error
    if set(found) != {f"{WHEELS}/{filename}"}:
        raise LockFailed("uv wrote a lock without fullcircle's own wheel", next_step="check uv's settings")


def _entries(text: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(normalised name, version, path of a wheel beside the lock or "", SHA-256s) of each entry."""
    found: dict[str, tuple[str, str, str, tuple[str, ...]]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        head, *hashes = line.split() or [""]
        pin, wheel = _PIN.fullmatch(head), _WHEEL.fullmatch(head)
        match = pin or wheel
        digests = tuple(digest[1] for each in hashes if (digest := _HASH.fullmatch(each)))
        if match is None or not digests or len(digests) != len(hashes) or (wheel and len(digests) != 1):
            raise BundleInvalid(
                "lock.txt has a line that is not a pinned package with its hashes",
                received=repr(line[:120]),
                allowed="name==version --hash=sha256:..., or ./wheels/<file> with one hash",
                next_step="build the bundle again",
            )
        name = normal(match[1])
        if name in found:
            raise BundleInvalid("lock.txt names a package twice", received=name, next_step="build the bundle again")
        found[name] = (name, match[2], f"{WHEELS}/{head.rpartition('/')[2]}" if wheel else "", digests)
    if not found:
        raise BundleInvalid("lock.txt is empty", next_step="build the bundle again")
    return list(found.values())
