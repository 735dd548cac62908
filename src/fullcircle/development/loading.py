"""From a path to a project: run the user's file, find the project in it, keep its source."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from fullcircle.development import contract_file, modules, sources
from fullcircle.development.tracebacks import own_line, told
from fullcircle.errors import FullcircleError, ProjectInvalid, ProjectNotFound
from fullcircle.types.project import Project

DEFAULT_FILE = "project.py"
_EXAMPLE = 'project = fc.Project(name="...", data=..., label="...", features=[...], fit=fit)'


@dataclass(frozen=True, kw_only=True)
class LoadedProject:
    """A project with the files it came from.

    ``file`` is the project file's name inside ``folder`` (absolute). ``source`` maps the paths of the project's own
    Python files, relative to the folder and with ``/``, to their content as it was when the project was
    loaded, and that of its contract file to what a person says there, which the project has in its ``inputs``
    already; ``code`` is its digest.
    """

    project: Project
    folder: Path
    file: str
    source: Mapping[str, bytes] = field(repr=False)
    code: str
    modules: dict[str, ModuleType] = field(repr=False, compare=False, default_factory=dict)

    @contextmanager
    def active(self) -> Iterator[None]:
        """While inside, imports find the modules of this project: ``fit`` and ``prepare`` may import lazily.

        One project at a time in a process. Classes of the project stay importable afterwards, until
        another project becomes active.
        """
        with modules.active(self.folder, self.modules):
            yield


def load(path: str | Path) -> LoadedProject:
    """Run the project file at ``path`` (or ``project.py`` in the folder at ``path``) and return its project.

    Raises ProjectNotFound where there is no such file, and ProjectInvalid for a syntax error, an exception while
    the file runs, no project, two projects, more source than a project has, or a contract file that does not fit.
    What the declarations raise themselves passes through.
    """
    file = _find(Path(path))
    _check_name(file)
    folder = file.parent
    source = sources.collect(folder)
    found: dict[str, ModuleType] = {}
    with modules.active(folder, found):
        module = _execute(file)
    said = contract_file.read(contract_file.path_of(folder, file.name))
    project = contract_file.applied(_project_in(module, file), said)
    source = dict(sorted({**source, **said.source}.items()))
    return LoadedProject(
        project=project,
        folder=folder,
        file=file.name,
        source=source,
        code=sources.digest(source),
        modules=found,
    )


def _find(path: Path) -> Path:
    path = path.expanduser().absolute().resolve()
    if path.is_file():
        if path.suffix == ".py":
            return path
        raise ProjectNotFound(
            "this file is not a project file",
            received=path,
            allowed="a Python file (.py), or a folder with project.py in it",
            next_step=f"to start from data, write: fullcircle init {path.name}",
        )
    if not path.is_dir():
        raise ProjectNotFound(
            "there is no such project file or folder",
            received=path,
            allowed="a Python file (.py), or a folder with project.py in it",
            next_step="check the path, or start with: fullcircle init DATA.csv",
        )
    if (path / DEFAULT_FILE).is_file():
        return path / DEFAULT_FILE
    others = sorted(entry.name for entry in path.glob("*.py"))[:5]
    raise ProjectNotFound(
        f"the folder holds no {DEFAULT_FILE}",
        received=path,
        allowed=f"one of {', '.join(others)}, given by its own path" if others else f"a folder with {DEFAULT_FILE}",
        next_step="give the path of the project file itself, or start with: fullcircle init DATA.csv",
    )


def _check_name(file: Path) -> None:
    name = file.stem
    if "." in name or name.startswith("__") or modules.is_library(name):
        raise ProjectInvalid(
            "the project file has the name of a library, or one that cannot be imported",
            received=file.name,
            allowed="a name that no installed library has, without dots, such as project.py",
            next_step="rename the file",
        )


def _execute(file: Path) -> ModuleType:
    loader = modules.FreshLoader(file.stem, str(file))
    module = importlib.util.module_from_spec(ModuleSpec(file.stem, loader, origin=str(file)))
    module.__file__ = str(file)
    sys.modules[file.stem] = module
    try:
        loader.exec_module(module)
    except FullcircleError as error:
        if line := own_line(error, file.parent):
            error.add_note(line)
        raise
    except SyntaxError as error:
        raise _not_python(error, file) from error
    except (Exception, SystemExit) as error:
        raise ProjectInvalid(
            f"the project file stopped with {told(error)}",
            received=own_line(error, file.parent) or file.name,
            next_step=_advice(error),
        ) from error
    return module


def _not_python(error: SyntaxError, file: Path) -> ProjectInvalid:
    name = Path(error.filename).name if error.filename else file.name
    line = f", line {error.lineno}" if error.lineno else ""
    text = f": {error.text.strip()}" if error.text else ""
    return ProjectInvalid(
        f"the project file is not valid Python: {error.msg}",
        received=f"{name}{line}{text}",
        next_step="mend the line",
    )


def _advice(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"install {error.name}, or put {error.name}.py beside the project file"
    return "mend the line; python can run the file alone, too"


def _project_in(module: ModuleType, file: Path) -> Project:
    found = {id(value): (name, value) for name, value in vars(module).items() if isinstance(value, Project)}
    if len(found) == 1:
        ((_, project),) = found.values()
        return project
    if not found:
        raise ProjectInvalid(
            "the file declares no project",
            received=file.name,
            allowed=_EXAMPLE,
            next_step="add the declaration at the end of the file, at its top level",
        )
    raise ProjectInvalid(
        "the file holds more than one project",
        received=", ".join(name for name, _ in found.values()),
        allowed="one fc.Project in one file",
        next_step="give each project a file of its own",
    )
