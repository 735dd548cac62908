"""What a model is trained in: the distributions that are loaded, and the machine."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    distributions,
    packages_distributions,
)
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOCAL = " (not from an index)"
"""Follows the version of a distribution that was installed from a folder or an address: no index has that one."""

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "OPENBLAS_CORETYPE",
    "MKL_CBWR",
    "TZ",
)
"""Variables that change what libraries compute: sums split over threads round differently."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def environment(own: Path) -> dict[str, str]:
    """Name to version of each distribution with a module loaded in this process, and of what these need; sorted.

    ``own`` is the project's folder, whose modules are its source and of no distribution. Names are normalised. What
    only an extra of a distribution needs is there where it is loaded itself. A version ends with ``LOCAL`` where it
    was installed from a folder or an address.
    """
    provided = _provided(tuple(_places()))
    loaded = {name.partition(".")[0] for name in list(sys.modules)}
    waiting = ["fullcircle", *_linked(own), *(name for top in loaded for name in provided.get(top, ()))]
    found: dict[str, str] = {}
    while waiting:
        name = waiting.pop()
        if _normal(name) in found:
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue  # a requirement of another platform or Python
        found[_normal(name)] = installed.version + (LOCAL if _local(installed) else "")
        waiting += [
            match[0]
            for line in installed.requires or ()
            if "extra ==" not in line and (match := _NAME.match(line)) is not None
        ]
    return dict(sorted(found.items()))


def machine(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What beside packages decides on bits: Python, platform, CPU, cores, and those of ``VARIABLES`` that are set."""
    found = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": str(cores()),
    }
    return found | {name: variables[name] for name in VARIABLES if variables.get(name)}


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _provided(_: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:
    """The distributions of each top name. Reads all that is installed, which takes half a second: once for a path."""
    return packages_distributions()


def _places() -> Iterator[tuple[str, int]]:
    """The folders that hold packages, with when something was last installed there."""
    for place in sys.path:
        if place.endswith("-packages") and Path(place).is_dir():
            yield place, Path(place).stat().st_mtime_ns


def _linked(own: Path) -> Iterator[str]:
    """The distributions that are links to a folder from which a module is loaded: they do not say which they have."""
    files = [str(file) for each in list(sys.modules.values()) if (file := getattr(each, "__file__", None))]
    others = [file for file in files if not Path(file).is_relative_to(own)]
    for name, folder in _links(tuple(_places())):
        if any(file.startswith(folder) and "site-packages" not in file for file in others):
            yield name


@lru_cache(maxsize=1)
def _links(_: tuple[tuple[str, int], ...]) -> tuple[tuple[str, str], ...]:
    """Each distribution that is a link, with its folder. Reads all that is installed: once for a path."""
    found = []
    for each in distributions():
        told = json.loads(each.read_text("direct_url.json") or "{}")
        if told.get("dir_info", {}).get("editable"):
            found.append((each.name, unquote(urlsplit(told["url"]).path).rstrip("/") + "/"))
    return tuple(found)


def _local(installed: Distribution) -> bool:
    """Whether it came from a folder or an address, which https://peps.python.org/pep-0610/ says so."""
    return installed.name != "fullcircle" and installed.read_text("direct_url.json") is not None


def _cpu() -> str:
    """The name of the processor; its architecture where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _normal(name: str) -> str:
    """As https://packaging.python.org/specifications/name-normalization/ compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()
