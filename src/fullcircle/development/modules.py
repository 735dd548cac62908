"""Modules of a project's own folder: found first, never taken from a cache, never mixed with another project's.

Python knows one module per name and process. Two projects may each have a ``features.py``: while one of them is
active, the name means its own. One project is active at a time in a process; threads share it.
"""

from __future__ import annotations

import importlib
import sys
import sysconfig
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import FileFinder, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from fullcircle.development.sources import is_foreign

_LIBRARIES = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


_RESERVED = sys.stdlib_module_names | {"fullcircle", "__main__"}


class FreshLoader(SourceFileLoader):
    """Compiles the file as it is now: bytecode caches tell changes apart by the second only."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


class _FolderFinder(MetaPathFinder):
    """Finds the modules of one folder, and the submodules of its packages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module of this folder, or None to let the others look."""
        places = [str(self.folder)] if path is None else [place for place in path if _inside(place, str(self.folder))]
        for place in places:
            spec = FileFinder(place, (FreshLoader, [".py"])).find_spec(fullname)
            if spec is not None and spec.loader is not None:
                return spec
        return None


@contextmanager
def active(folder: Path, modules: MutableMapping[str, ModuleType]) -> Iterator[None]:
    """Make ``folder`` the project whose modules are imported.

    ``modules`` are the ones it has imported so far; what it imports meanwhile is added. Afterwards they stay
    importable until another project with modules of the same names becomes active.
    """
    finder = _FolderFinder(folder)
    _evict(folder)
    others = set(sys.modules)
    sys.modules.update(modules)
    sys.meta_path.insert(0, finder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        added = ((name, module) for name, module in list(sys.modules.items()) if name not in others)
        modules.update({name: module for name, module in added if _of(module, str(folder))})


def is_library(name: str) -> bool:
    """Whether a module of this name belongs to Python or to an installed package."""
    if name in _RESERVED:
        return True
    return PathFinder.find_spec(name, list(_LIBRARIES)) is not None


def _evict(folder: Path) -> None:
    """Forget the modules whose names this folder takes, whosever they are, but libraries."""
    ours = {entry.stem for entry in folder.glob("*.py")}
    ours |= {entry.name for entry in folder.iterdir() if entry.is_dir() and not is_foreign(entry)}
    ours -= _RESERVED
    place, libraries = str(folder), dict[str, bool]()
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top not in libraries:  # thousands are loaded, of some hundred libraries
            libraries[top] = _is_whole_library(sys.modules.get(top))
        if not libraries[top] and ((top in ours and not _from_library(module)) or _of(module, place)):
            del sys.modules[name]


def _is_whole_library(module: ModuleType | None) -> bool:
    """Whether all below it is a library's too: it has a file, and no folder of somebody else adds to it."""
    if module is None or not isinstance(getattr(module, "__file__", None), str):
        return False
    places = [*_places(module), *map(str, getattr(module, "__path__", ()))]
    return all(any(_inside(place, library) for library in _LIBRARIES) for place in places)


def _of(module: ModuleType, folder: str) -> bool:
    file = getattr(module, "__file__", None)
    if isinstance(file, str) and not file.startswith(folder):
        return False  # most are libraries
    return any(_inside(place, folder) for place in _places(module)) and not _from_library(module)


def _from_library(module: ModuleType) -> bool:
    places = _places(module)
    return not places or any(_inside(place, library) for place in places for library in _LIBRARIES)


def _places(module: ModuleType) -> list[str]:
    file = getattr(module, "__file__", None)
    return [file] if isinstance(file, str) else [str(place) for place in getattr(module, "__path__", ())]


def _inside(place: str, folder: str) -> bool:
    return place == folder or place.startswith(f"{folder}/")
