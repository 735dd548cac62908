"""How large an image will be, told before it is built: what would be installed, compressed as a layer is.

Layers travel as gzip, level 6. Measured are the files of packages that are installed here, in the versions of the
lock; of a file above 1 MB eight samples are compressed and the rest is taken to be like them (2 to 5 % too much for
numpy, scipy and pandas). pip also writes byte code: compressed it is about twice its source (measured: 2.0 times for
scikit-learn and rich, 2.3 times for pandas).
"""

from __future__ import annotations

import csv
import re
import zlib
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

import msgspec

from fullcircle.deployment.keeper import write

BASE = 45_000_000
"""Bytes that are assumed for the base image, compressed, about what a slim Python for amd64 takes. Nothing here can
ask a registry: docs/targets.md says how to check it. Every base image is counted as this one."""
_LARGE, _SAMPLES, _SAMPLE = 1_000_000, 8, 65_536
_BYTE_CODE = 2.1
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!-]+)", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes of an image, compressed: the ``base`` image, the packages, and what the model brings (``own``).

    ``unknown`` are packages of the lock that are not installed here in its version: they are not counted.
    """

    base: int
    packages: int
    own: int
    unknown: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All of it."""
        return self.base + self.packages + self.own

    def told(self) -> str:
        """One sentence for people."""
        parts = f"packages {_mb(self.packages)}, model and attestations {_mb(self.own)}, base image {_mb(self.base)}"
        sentence = f"about {_mb(self.total)} compressed ({parts} assumed)"
        if not self.unknown:
            return sentence
        names = ", ".join(self.unknown[:5]) + (", ..." if len(self.unknown) > 5 else "")
        return f"{sentence}, without {len(self.unknown)} packages that are not installed here: {names}"


def estimate(lock: str, own: int, site: Path, cache: Path | None = None) -> Estimate:
    """What an image with the packages of ``lock`` and ``own`` further bytes comes to.

    ``site`` is the folder of an environment that has the packages. What was measured is kept in the file ``cache``.
    """
    known: dict[str, int] = {}
    if cache is not None:
        with suppress(OSError, msgspec.MsgspecError):
            known = msgspec.json.decode(cache.read_bytes(), type=dict[str, int])
    before = len(known)
    wanted = pinned(lock)
    missing = {pin for pin in wanted if pin not in known}
    if missing and site.is_dir():
        for found in distributions(path=[str(site)]):
            pin = f"{_normal(found.metadata['Name'] or '')}=={found.version}"
            if pin in missing:
                known[pin] = compressed(found)
    if cache is not None and len(known) > before:
        with suppress(OSError):  # only asked again then
            write(cache, msgspec.json.encode(known))
    return Estimate(
        base=BASE,
        packages=sum(known.get(pin, 0) for pin in wanted),
        own=own,
        unknown=tuple(sorted(pin for pin in wanted if pin not in known)),
    )


def pinned(lock: str) -> tuple[str, ...]:
    """The packages of a lock as "name==version", names normalised, sorted."""
    plain = {f"{_normal(name)}=={version}" for name, version in _PIN.findall(lock)}
    wheels = re.findall(r"^\./wheels/([A-Za-z0-9_.]+)-([A-Za-z0-9_.+!]+)-", lock, re.MULTILINE)
    return tuple(sorted(plain | {f"{_normal(name)}=={version}" for name, version in wheels}))


def compressed(distribution: Distribution) -> int:
    """Bytes that an installed package takes in a layer, its byte code included."""
    total = 0.0
    for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()):
        path = Path(str(distribution.locate_file(row[0]))) if row else Path()
        if path.suffix == ".pyc" or not path.is_file():
            continue
        found = _compressed(path)
        total += found * (1 + _BYTE_CODE) if path.suffix == ".py" else found
    return round(total)


def _compressed(path: Path) -> float:
    size = path.stat().st_size
    if size <= _LARGE:
        return len(zlib.compress(path.read_bytes(), 6))
    taken = packed = 0
    with open(path, "rb") as opened:
        for place in range(_SAMPLES):
            opened.seek(place * (size // _SAMPLES))
            sample = opened.read(_SAMPLE)
            taken, packed = taken + len(sample), packed + len(zlib.compress(sample, 6))
    return packed / taken * size


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _mb(size: int) -> str:
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB"
