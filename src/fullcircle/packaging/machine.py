"""What beside a model decides on the bits of its answers: Python, platform, processor, threads, libraries."""

from __future__ import annotations

import os
import platform
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from fullcircle.errors import BundleInvalid
from fullcircle.packaging import surroundings
from fullcircle.packaging.lock import running
from fullcircle.packaging.versions import same
from fullcircle.types.bundle import Proof

FLAGS = ("sse4_2", "avx", "fma", "avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni", "amx_tile")
FLAGS_OF_ARM = ("asimd", "asimdhp", "asimddp", "sve", "sve2")
"""The features of a processor by which numeric libraries choose among kernels, and so among orders of a sum."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OPENBLAS_CORETYPE")
COUNTS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_POOLS = threading.RLock()
_LIBC = re.compile(r"manylinux_2_([0-9]+)$")
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Here:
    """What a process finds, as a certificate tells it. ``packages`` are names and versions, sorted."""

    python: str
    platform: str
    packages: tuple[tuple[str, str], ...]
    cpu: str = ""
    flags: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()


def here(cpuinfo: str = "/proc/cpuinfo") -> Here:
    """Look around. The threads of libraries that are loaded already are told too, where threadpoolctl is there."""
    cpu, flags = processor(cpuinfo)
    return Here(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=tuple(surroundings.installed().items()),
        cpu=cpu,
        flags=flags,
        threads=_threads(),
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Numeric libraries that are loaded compute in one thread meanwhile, as in a server.

    A sum that is split over threads rounds differently, so that golden answers would tell how many there were. Where
    threadpoolctl is not installed, nothing is done: who starts the process sets ``COUNTS`` to 1 then.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with _POOLS, threadpool_limits(limits=1):  # two at once could not both put back what they found
        yield


def processor(cpuinfo: str = "/proc/cpuinfo") -> tuple[str, tuple[str, ...]]:
    """The processor's name and those of its features that matter, as far as the system tells them."""
    found: dict[str, str] = {}
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                found.setdefault(name.strip().lower(), value.strip())
    except OSError:
        pass  # not Linux
    told = set((found.get("flags") or found.get("features") or "").split())
    name = found.get("model name") or platform.processor() or platform.machine()
    return name, tuple(flag for flag in (*FLAGS, *FLAGS_OF_ARM) if flag in told)


def differences(certificate: Proof | Here, found: Here) -> tuple[str, ...]:
    """What differs between where a bundle was proven and here, in words, the likeliest cause of other answers first.

    A package that only one of them has is told where the certificate names any. Empty where nothing known differs.
    """
    told: list[str] = []
    if certificate.python != found.python:
        told.append(f"Python was {certificate.python}, and is {found.python} here")
    then, now = dict(certificate.packages), dict(found.packages)
    for name in sorted(then):
        if name not in now:
            told.append(f"{name} was {then[name]}, and is not installed here")
        elif not same(then[name], now[name]):
            told.append(f"{name} was {then[name]}, and is {now[name]} here")
    if certificate.cpu and certificate.cpu != found.cpu:
        told.append(f"the CPU was {certificate.cpu}, and is {found.cpu or 'unknown'} here")
    if certificate.cpu and certificate.flags != found.flags:
        gone = [flag for flag in certificate.flags if flag not in found.flags]
        new = [flag for flag in found.flags if flag not in certificate.flags]
        told.append(f"the CPU's features differ: without {_list(gone)}, with {_list(new)} here")
    if certificate.platform != found.platform:
        told.append(f"the platform was {certificate.platform}, and is {found.platform} here")
    told += _other_threads(certificate.threads, found.threads)
    return tuple(told[:_SHOWN])


def against(python: str, locks: Mapping[str, Mapping[str, str]], found: Here) -> tuple[str, ...]:
    """Where this process is not what a bundle says it should be: its Python, and the versions of a lock.

    ``locks`` are those of the bundle, name to pins, of which the one counts that is nearer. Packages that no lock
    names are not told. Where nothing differs, what is left is told: the processor and the threads.
    """
    told = [words] if (words := other_python(python)) else []
    have = dict(found.packages)
    misfits = [surroundings.misfits(pins, {n: v for n, v in have.items() if n in pins}) for pins in locks.values()]
    told += min(misfits, key=len, default=[])[:_SHOWN]
    return tuple(told) or (
        f"Python and packages are those of the lock; the CPU here is {found.cpu} ({_list(found.flags)}), "
        f"threads: {_list(found.threads)}",
    )


def other_python(python: str) -> str:
    """In words, that this is not the Python that a bundle is for ("3.12"); "" where it is."""
    return "" if python == running() else f"this is Python {running()}, and the bundle is for {python}"


def check_python(python: str) -> None:
    """Refuse a bundle that is for another Python ("3.12"): its golden rows are few, and prove nothing for the rest.

    Raises BundleInvalid.
    """
    if words := other_python(python):
        raise BundleInvalid(
            words,
            received=f"Python {running()}",
            allowed=f"Python {python}, in the environment that its lock makes",
            next_step=f"use it in its own environment (fullcircle deploy makes it), or package it for {running()}",
        )


def is_here(wanted: str) -> bool:
    """Whether a platform, as uv names it, is this machine's: system, processor, and a C library no newer than here.

    "" is this machine's. See the option --python-platform of uv for the names.
    """
    name = {"linux": "x86_64-unknown-linux-gnu", "macos": "aarch64-apple-darwin", "windows": "x86_64-pc-windows"}.get(
        wanted, wanted
    )
    if not name:
        return True
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    systems = {"linux": ("linux",), "darwin": ("darwin", "macos"), "win32": ("windows",)}.get(sys.platform, ())
    libc, version = platform.libc_ver()
    if not name.startswith(f"{machine}-") or not any(system in name for system in systems):
        return False
    if "musl" in name:
        return libc != "glibc"
    newest = _LIBC.search(name)
    return newest is None or (libc == "glibc" and int(version.split(".")[1]) >= int(newest[1]))


def _threads() -> tuple[str, ...]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = [f"cores {cores}", *(f"{name}={os.environ[name]}" for name in THREADS if os.environ.get(name))]
    if "threadpoolctl" in sys.modules:  # loading it would tell nothing: it asks libraries that are loaded
        for pool in sys.modules["threadpoolctl"].threadpool_info():
            told = (pool["internal_api"], pool.get("version"), pool.get("architecture"))
            found.append(f"{' '.join(str(part) for part in told if part)}, threads {pool['num_threads']}")
    return tuple(dict.fromkeys(found))


def _other_threads(then: tuple[str, ...], now: tuple[str, ...]) -> list[str]:
    """What of the threads differs. A library that is loaded on one side only says nothing, a variable does."""
    if not then or not now:
        return []
    before, after = _by_name(then), _by_name(now)
    keys = {name for name in before.keys() | after.keys() if name in THREADS or name in before.keys() & after.keys()}
    return [
        f"threads: it was {' and '.join(before.get(name, [f'{name} unset']))}, "
        f"and is {' and '.join(after.get(name, [f'{name} unset']))} here"
        for name in sorted(keys)
        if not {*before.get(name, ())} & {*after.get(name, ())}  # a library can be there twice, numpy's and scipy's
    ]


def _by_name(texts: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in texts:
        found.setdefault(re.split("[ =]", text)[0], []).append(text)
    return found


def _list(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names) or "none"
