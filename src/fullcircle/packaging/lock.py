"""The lock: exactly the packages a model needs to answer, by version and hash."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from fullcircle.errors import BundleInvalid, LockFailed
from fullcircle.packaging import resolving
from fullcircle.packaging.resolving import Target
from fullcircle.packaging.versions import normal
from fullcircle.types.environments import REQUIREMENT, Wanted
from fullcircle.types.progress import Progress, Silent

LOCK = "lock.txt"
WHEELS = "wheels"

_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.+!-]*)")
_WHEEL = re.compile(rf"\./{WHEELS}/([A-Za-z0-9_.]+)-([A-Za-z0-9_.+!]+)-[a-z0-9.]+-[a-z0-9]+-[a-z0-9_.]+\.whl")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Lock:
    """``text`` pins all that the model needs, ``compiled`` the part of it that a compiled form answers with.

    ``compiled`` has the same versions and hashes, and None where nobody asked for it.
    """

    text: str
    compiled: str | None = None


def lock(
    *,
    wheel: tuple[str, bytes],
    packages: Sequence[str] = (),
    wanted: Wanted | None = None,
    serving: Sequence[str] = (),
    compiled: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
) -> Lock:
    """Lock what ``wheel`` (fullcircle's own, by file name and bytes) and a model need to answer, and nothing else.

    ``packages`` are the distributions of the model, such as ``"scikit-learn"``, ``serving`` those that any form of it
    needs beside fullcircle's own requirements. ``wanted`` bounds versions: every package that is installed here is
    pinned at the version installed here, the one that the model was trained with, and where that is not what the
    project says, nothing is locked. Wheels only: what is compiled on the spot has no stable bits. The texts hold no
    index address, and name fullcircle's wheel as ``./wheels/<file>``, so that they install with
    ``uv pip sync --require-hashes`` in a folder that holds both. Raises LockFailed, with uv's own words where they
    are uv's.
    """
    progress, wanted = progress or Silent(), wanted or Wanted()
    _check([*packages, *serving], "a package cannot be locked")
    _check(wanted.lines, f"a line of {wanted.source or 'the project'} cannot be used")
    target = Target(python=wanted.python or running(), platform=wanted.platform)
    progress.note(f"locking the packages for Python {target.python}{target.platform and f' on {target.platform}'}")
    present = _installed()
    installed = {name: version for name, (version, _) in present.items()}
    with tempfile.TemporaryDirectory(prefix="fullcircle-lock-") as name:
        folder = Path(name)
        (folder / WHEELS).mkdir()
        (folder / WHEELS / wheel[0]).write_bytes(wheel[1])
        own = f"./{WHEELS}/{wheel[0]}"
        asked = resolving.Asked(folder=folder, target=target, offline=offline)
        text = resolving.bounded(asked, [own, *packages, *serving], installed, wanted)
        _accept(text, wheel[0])
        small = None
        if compiled:
            known = {name: version for name, version in pins(text).items() if name != "fullcircle"}
            small = asked.resolve(
                [own, *serving], [f"{name}=={version}" for name, version in known.items()], known=known
            )
            _accept_part(small, text, wheel[0])
    _refuse_addresses(text, present)
    _tell(progress, sorted(pins(text).keys() - installed.keys() - {"fullcircle"}), wanted)
    return Lock(text=text, compiled=small)


def nothing(wheel: tuple[str, bytes]) -> Lock:
    """A lock of nothing but ``wheel``, by file name and bytes, for a bundle that will never travel."""
    name, content = wheel
    return Lock(text=f"./{WHEELS}/{name} --hash=sha256:{hashlib.sha256(content).hexdigest()}\n", compiled=None)


def running() -> str:
    """The version of the running Python as a lock names it: "3.12"."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def installed_versions() -> dict[str, str]:
    """Name to version of what is installed here, normalised and sorted, without fullcircle itself."""
    return {name: version for name, (version, _) in _installed().items()}


def pins(text: str, file: str = LOCK) -> Mapping[str, str]:
    """The packages of a lock: normalised name to version, the wheels that travel along included.

    ``file`` is the one that the lock is told as.
    Raises BundleInvalid for a line that is neither a pin with hashes nor such a wheel: an address, an option.
    """
    return {name: version for name, version, _, _ in _entries(text, file)}


def travelling(text: str, file: str = LOCK) -> Mapping[str, str]:
    """The wheels that a lock expects beside it: path such as ``wheels/<file>`` to SHA-256."""
    return {path: digests[0] for _, _, path, digests in _entries(text, file) if path}


def is_part(small: str, text: str) -> bool:
    """Whether a lock holds only what another one holds too, with the same versions and hashes."""
    return set(_entries(small)) <= set(_entries(text))


def _installed() -> dict[str, tuple[str, Distribution]]:
    """The version and the distribution of each name. Every look at a distribution's metadata parses it anew."""
    found: dict[str, tuple[str, Distribution]] = {}
    for distribution in distributions():
        told = distribution.metadata
        name, version = normal(told["Name"] or ""), told["Version"]
        if name and name != "fullcircle" and _PIN.fullmatch(f"{name}=={version}"):
            found.setdefault(name, (version, distribution))  # the first one on the path is the one that is imported
    return dict(sorted(found.items()))


def _check(lines: Sequence[str], what: str) -> None:
    for line in lines:
        if not REQUIREMENT.fullmatch(line.strip()):
            raise LockFailed(
                what,
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


def _accept_part(small: str, text: str, filename: str) -> None:
    _accept(small, filename)
    if not is_part(small, text):
        raise LockFailed(
            "uv wrote a lock of the compiled form that is no part of the model's own",
            received=", ".join(sorted(name for name, *_ in set(_entries(small)) - set(_entries(text)))),
            next_step="package again; an index that changes while it is asked gives two answers",
        )


def _refuse_addresses(text: str, installed: Mapping[str, tuple[str, Distribution]]) -> None:
    """Refuse what is installed here from a folder or an address: an index may have another one of that name.

    https://packaging.python.org/specifications/direct-url/ says where it came from. A wheel file that the lock has
    by its hash is the same one, and conda builds all that it has from folders.
    """
    for name, _, path, digests in _entries(text):
        version, found = ("", None) if path else installed.get(name, ("", None))
        origin = found.read_text("direct_url.json") if found is not None else None
        if found is None or origin is None or set(re.findall(r"\b[0-9a-f]{64}\b", origin)) & set(digests):
            continue
        if (found.read_text("INSTALLER") or "").strip() == "conda":
            continue
        raise LockFailed(
            f"the model needs {name}, installed here from a folder or an address; a lock takes from an index",
            received=f"{name} {version}",
            allowed="packages from an index, and modules in the project's own folder, which travel along",
            next_step=f"install {name} from an index, or move its modules into the project's folder",
        )


def _tell(progress: Progress, new: Sequence[str], wanted: Wanted) -> None:
    """Say which versions nobody trained with: an index chose them, within what the project says."""
    if new:
        said = f"; versions are the latest that {wanted.source} allows" if wanted.lines else "; the latest were taken"
        more = f" and {len(new) - _SHOWN} more" if len(new) > _SHOWN else ""
        progress.note(f"not installed here: {', '.join(new[:_SHOWN])}{more}{said}")


def _entries(text: str, file: str = LOCK) -> list[tuple[str, str, str, tuple[str, ...]]]:
    """(normalised name, version, path of a wheel beside the lock or "", SHA-256s) of each entry."""
    found: dict[str, tuple[str, str, str, tuple[str, ...]]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        head, *hashes = line.split() or [""]
        pin, wheel = _PIN.fullmatch(head), _WHEEL.fullmatch(head)
        match = pin or wheel
        digests = tuple(digest[1] for each in hashes if (digest := _HASH.fullmatch(each)))
        if match is None or not digests or len(digests) != len(hashes) or (wheel and len(digests) != 1):
            raise BundleInvalid(
                f"{file} has a line that is not a pinned package with its hashes",
                received=repr(line[:120]),
                allowed="name==version --hash=sha256:..., or ./wheels/<file> with one hash",
                next_step="build the bundle again",
            )
        name = normal(match[1])
        if name in found:
            raise BundleInvalid(f"{file} names a package twice", received=name, next_step="build the bundle again")
        found[name] = (name, match[2], f"{WHEELS}/{head.rpartition('/')[2]}" if wheel else "", digests)
    if not found:
        raise BundleInvalid(f"{file} is empty", next_step="build the bundle again")
    return list(found.values())
