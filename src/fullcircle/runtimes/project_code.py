"""The project's own classes: found in its folder, shipped as source, imported again under a name of their own.

A class counts as the project's own when its module is a file in the project's folder, the project file itself
included. Its module travels with the project's modules that it imports. What a shipped module does at its top
level has to be imports, definitions and assignments to its own names: a server that loads it must be the same
server afterwards.

Loading puts the modules under one package per content of the source, so that two bundles whose modules have the
same names never meet in one process. An absolute import between shipped modules finds the shipped one.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from fullcircle.errors import BundleInvalid, ModelRefused

BUILT_IN = sys.stdlib_module_names | {"fullcircle", "__main__"}
RESERVED = BUILT_IN | {"numpy", "pandas", "scipy", "skops", "sklearn"}
_PREFIX = "fullcircle_code_"
_LOCK = threading.RLock()


def find(module: str, folder: Path) -> Path | None:
    """The file of a module in the project's folder, None where it is not one of the project's own."""
    parts = module.split(".")
    if parts[0] in RESERVED or not all(part.isidentifier() for part in parts):
        return None
    inside = folder.resolve()
    for path in (inside.joinpath(*parts).with_suffix(".py"), inside.joinpath(*parts, "__init__.py")):
        if path.is_file() and path.resolve().is_relative_to(inside):
            loaded = getattr(sys.modules.get(module), "__file__", None)
            return path if loaded is None or Path(loaded).resolve() == path.resolve() else None
    return None


def collect(classes: Sequence[str], folder: Path) -> dict[str, bytes]:
    """The source of the modules of these classes (``module.Class``) and of all own modules they import.

    Raises ModelRefused for a class that is not at its module's top level, and for a module that does more than
    define when it is imported.
    """
    sources: dict[str, bytes] = {}
    left = sorted({name.rpartition(".")[0] for name in classes})
    while left:
        module = left.pop()
        path = find(module, folder)
        key = f"{module}.__init__" if path is not None and path.name == "__init__.py" else module
        if path is None or key in sources:
            continue
        sources[key] = path.read_bytes()
        tree = ast.parse(sources[key])
        _refuse_effects(tree, path.name)
        left.extend(_imports(tree, key))
    for name in classes:
        _refuse_hidden(name, sources)
    return dict(sorted(sources.items()))


def _imports(tree: ast.Module, key: str) -> Iterator[str]:
    """Every module that could be meant, with the packages around it."""
    package = key.split(".")[:-1]
    for position in range(1, len(package) + 1):
        yield ".".join(package[:position])
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _refuse_hidden(name: str, sources: Mapping[str, bytes]) -> None:
    module, _, cls = name.rpartition(".")
    tree = ast.parse(sources.get(module) or sources.get(f"{module}.__init__") or b"")
    if not any(isinstance(node, ast.ClassDef) and node.name == cls for node in tree.body):
        raise ModelRefused(
            "the model holds a class that cannot be imported again",
            received=name,
            allowed="a class defined at the top level of a module in the project's folder",
            next_step="move the class to the top level of its module",
        )


def _refuse_effects(tree: ast.Module, file: str) -> None:
    line = next(_effects(tree.body), None)
    if line is not None:
        raise ModelRefused(
            "a class of the model lives in a module that does more than define things when it is imported",
            received=f"{file}, line {line}",
            allowed="imports, definitions and assignments to the module's own names",
            next_step="move the class into a module of its own, or that line into a function",
        )


def _effects(body: Sequence[ast.stmt]) -> Iterator[int]:
    for node in body:
        match node:
            case (
                ast.Import()
                | ast.ImportFrom()
                | ast.FunctionDef()
                | ast.AsyncFunctionDef()
                | ast.ClassDef()
                | ast.Pass()
            ):
                continue
            case ast.Assign(targets=targets) if all(_own_name(target) for target in targets):
                continue
            case ast.AnnAssign(target=target) | ast.AugAssign(target=target) if _own_name(target):
                continue
            case ast.Expr(value=ast.Constant()):
                continue
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                continue
            case ast.If():
                yield from _effects([*node.body, *node.orelse])
            case ast.Try():
                handlers = [statement for handler in node.handlers for statement in handler.body]
                yield from _effects([*node.body, *handlers, *node.orelse, *node.finalbody])
            case _:
                yield node.lineno


def _own_name(target: ast.expr) -> bool:
    if isinstance(target, ast.Tuple | ast.List):
        return all(_own_name(element) for element in target.elts)
    return isinstance(target, ast.Name)


def read(folder: Path) -> dict[str, bytes]:
    """The shipped sources of a bundle's code folder, by module name."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        name = ".".join(PurePosixPath(path.relative_to(folder)).with_suffix("").parts)
        if name.split(".")[0] in RESERVED or not all(part.isidentifier() for part in name.split(".")):
            raise BundleInvalid(
                "the bundle ships a module under a name that is not allowed",
                received=name,
                next_step="build the bundle again from its run",
            )
        found[name] = path.read_bytes()
    return found


class Namespace:
    """Shipped modules, imported under a package whose name is the digest of their sources."""

    def __init__(self, sources: Mapping[str, bytes], folder: Path) -> None:
        digest = hashlib.sha256()
        for name, source in sorted(sources.items()):
            digest.update(f"{name}\0{len(source)}\0".encode() + source)
        self.package = _PREFIX + digest.hexdigest()[:32]
        self.folder = folder
        self._sources = {name.removesuffix(".__init__"): (name, source) for name, source in sources.items()}
        for name in list(self._sources):
            for count in range(1, name.count(".") + 1):
                package = ".".join(name.split(".")[:count])
                self._sources.setdefault(package, (f"{package}.__init__", b""))

    @property
    def names(self) -> Mapping[str, str]:
        """The name that each shipped module has in this process."""
        return {name: f"{self.package}.{name}" for name in self._sources}

    def load(self) -> None:
        """Import all shipped modules, or take them from an earlier load of the same sources."""
        with _LOCK:
            if self.package not in sys.modules:
                sys.modules[self.package] = self._module(self.package, is_package=True)
            for name in sorted(self._sources):
                self._load(name)

    def _load(self, name: str) -> ModuleType:
        full = f"{self.package}.{name}"
        if full in sys.modules:
            return sys.modules[full]
        parent, _, last = full.rpartition(".")
        if parent not in sys.modules:
            self._load(name.rpartition(".")[0])
        key, source = self._sources[name]
        module = self._module(full, is_package=key.endswith(".__init__"))
        module.__file__ = str(self.folder.joinpath(*key.split(".")).with_suffix(".py"))
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        sys.modules[full] = module
        try:
            exec(compile(source, module.__file__, "exec"), module.__dict__)  # noqa: S102 - verified source of the bundle
        except BaseException:
            del sys.modules[full]
            raise
        setattr(sys.modules[parent], last, module)
        return module

    def _module(self, full: str, *, is_package: bool) -> ModuleType:
        module = ModuleType(full)
        module.__package__ = full if is_package else full.rpartition(".")[0]
        if is_package:
            module.__path__ = []
        return module

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """What ``import`` means inside a shipped module."""
        wanted = name
        if level:
            package = str((globals or {}).get("__package__", ""))[len(self.package) + 1 :].split(".")
            start = [part for part in package[: len(package) - level + 1] if part]
            wanted = ".".join([*start, *([name] if name else [])])
        if not level and wanted.split(".")[0] not in self._sources:
            return builtins.__import__(name, globals, locals, tuple(fromlist or ()), level)
        if wanted and wanted not in self._sources:
            raise ModuleNotFoundError(f"the bundle ships no module {wanted!r}", name=wanted)
        with _LOCK:
            module = self._load(wanted) if wanted else sys.modules[self.package]
            for item in fromlist or ():
                child = f"{wanted}.{item}" if wanted else item
                if child in self._sources and not hasattr(module, item):
                    self._load(child)
            return module if fromlist or level else self._load(wanted.split(".")[0])
