"""The libraries that a project's shipped modules import, and the distributions that they come from."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions

from fullcircle.errors import ModelRefused
from fullcircle.runtimes.project_code import BUILT_IN, RESERVED


def needed(sources: Mapping[str, bytes], *, beside_model: bool = True) -> tuple[str, ...]:
    """The names of the installed distributions that these modules import, sorted, for the bundle's environment.

    ``sources`` are as ``project_code.collect`` gives them. Left out are Python's own library, these modules, and what
    the environment has for a fitted model of scikit-learn; without ``beside_model`` there need not be one, and that
    counts too. Imports inside functions count. What is imported in a ``try`` with handlers counts where it is
    installed. Raises ModelRefused for any other that no installed distribution provides: the bundle's environment
    could not have it.
    """
    own = {module.partition(".")[0] for module in sources} | (RESERVED if beside_model else BUILT_IN)
    found = {
        (top, required, module)
        for module, source in sources.items()
        for top, required in _imports(ast.parse(source), True)
        if top not in own
    }
    if not found:
        return ()
    installed = packages_distributions()  # reads all that is installed: a third of a second
    for top, required, module in sorted(found):
        if required and not installed.get(top):
            raise ModelRefused(
                f"a class of the model lives in a module that imports {top}, which is not an installed distribution",
                received=f"{module.removesuffix('.__init__')}, which is shipped with the model",
                allowed="Python's own library, installed distributions, modules in the project's folder",
                next_step=f"install {top} from an index, or move its file into the project's folder",
            )
    return tuple(sorted({name for top, _, _ in found for name in installed.get(top, ())}))


def _imports(node: ast.AST, required: bool) -> Iterator[tuple[str, bool]]:
    """The top names of all absolute imports, and whether the module can do without."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                yield from ((alias.name.partition(".")[0], required) for alias in names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module.partition(".")[0], required
            case ast.If(test=test) if _never_runs(test):
                yield from _imports(ast.Module(body=child.orelse, type_ignores=[]), required)
            case ast.Try(handlers=[_, *_]):
                yield from _imports(child, False)
            case _:
                yield from _imports(child, required)


def _never_runs(test: ast.expr) -> bool:
    """Whether a condition is false in a server: code for type checkers, or for a module run as a script."""
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()]):
            return True
    return False
