"""The text of an on-demand function: brought to one form, and checked by the names it uses.

The checks find what a function does not bring along and what would tie its answers to the process it runs in. They
are no sandbox: a declared library can do anything, so a bundle is to be trusted as far as its libraries and digest.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import symtable
from collections.abc import Callable, Mapping, Sequence

from fullcircle.errors import FunctionRefused

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_IMPORT = re.compile(r"\s*([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\s+as\s+([A-Za-z_]\w*))?\s*", re.ASCII)
_DIFFERS = "its answers differ from one process or moment to the next"
_OUTSIDE = "it reads or changes what is outside of the function"
_PAST = "it reaches past what can be checked in the text"
_ENDS = "it would end the server"
_BUILTINS = {
    **dict.fromkeys(("open", "input", "print", "breakpoint", "help", "license", "credits", "copyright"), _OUTSIDE),
    **dict.fromkeys(("eval", "exec", "compile", "__import__", "globals", "locals", "vars"), _PAST),
    **dict.fromkeys(("getattr", "setattr", "delattr"), _PAST),
    **dict.fromkeys(("id", "hash"), _DIFFERS),
    **dict.fromkeys(("exit", "quit", "BaseException", "SystemExit", "KeyboardInterrupt", "GeneratorExit"), _ENDS),
}
_MODULES = {
    **dict.fromkeys(("random", "secrets", "time", "uuid", "numpy.random"), _DIFFERS),
    **dict.fromkeys(("datetime.date.today", "pandas.Timestamp.now", "pandas.Timestamp.today"), _DIFFERS),
    **{f"datetime.datetime.{call}": _DIFFERS for call in ("now", "utcnow", "today")},
    **dict.fromkeys(("os", "sys", "io", "pathlib", "subprocess", "socket", "threading", "multiprocessing"), _OUTSIDE),
    **dict.fromkeys(("builtins", "importlib", "ctypes", "posix", "nt"), _PAST),
}
_ALLOWED = frozenset(name for name in dir(builtins) if not name.startswith("_")) - set(_BUILTINS)
Where = Callable[[ast.AST], str]
Definition = ast.FunctionDef | ast.AsyncFunctionDef
_NO_STATE = "compute each answer from the inputs alone"
_ASK_FOR_IT = "take the value as an input of the function: a request column"
_BUILD_AGAIN = "build it again from its project: this text was changed"


def declared(imports: Sequence[str]) -> dict[str, str]:
    """The module that each declared import means, by the name it has in the function, sorted.

    Raises FunctionRefused for what is not "module" or "module as alias", and for modules that tie an answer to its
    surroundings.
    """
    if isinstance(imports, str):
        raise refused("imports are given as one text", repr(imports), f"write imports=[{imports!r}]")
    found: dict[str, str] = {}
    for text in imports:
        match = _IMPORT.fullmatch(text) if isinstance(text, str) else None
        if match is None or (match[2] is None and "." in match[1]):
            raise refused(
                "an import of an on-demand function cannot be read",
                repr(text),
                'write "module" or "module as alias"; a dotted module needs an alias',
            )
        module, alias = match[1], match[2] or match[1]
        if alias in found or keyword.iskeyword(alias) or alias in _ALLOWED | set(_BUILTINS):
            raise refused("an import takes a name that is taken", repr(text), f"give {module} another alias")
        reason = _PAST if module.startswith("_") else _reason(module)
        if reason is not None:
            raise refused(f"an on-demand function cannot import {module}: {reason}", repr(text), _ASK_FOR_IT)
        found[alias] = module
    return dict(sorted(found.items()))


def read(text: str, name: str, inputs: Sequence[str], modules: Mapping[str, str]) -> str:
    """The text of a stored function, checked as if it was written now; nothing of it was run.

    Raises FunctionRefused where it is not exactly one function of this name with exactly these inputs.
    """
    body: Sequence[ast.stmt] = parsed(text, name).body
    node = body[0] if len(body) == 1 else None
    if not isinstance(node, ast.FunctionDef) or node.name != name or node.decorator_list:
        received = ", ".join(type(each).__name__ for each in body[:9]) or "nothing"
        raise refused(f"the text of {name!r} is not one plain function of this name", received, _BUILD_AGAIN)
    found = tuple(argument.arg for argument in node.args.args)
    if found != tuple(inputs):
        raise refused(f"the text of {name!r} takes other inputs", f"{found}, not {tuple(inputs)}", _BUILD_AGAIN)
    return checked(node, name, modules, lambda at: f"line {getattr(at, 'lineno', 1)} of its text")


def checked(node: Definition, name: str, modules: Mapping[str, str], where: Where) -> str:
    """The one form of a definition under this name: no annotations, docstrings, comments or layout of its own."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name in modules:
        raise refused("the name of an on-demand function cannot be used", repr(name), "give it another name")
    _refuse_signature(node, where)
    old = node.name
    used = _global_names(_unparsed(node))
    for part in ast.walk(node):
        fault = _fault(part, used, modules)
        if fault is not None:
            raise refused(f"the on-demand function {old!r} {fault[0]}", where(part), fault[1])
    _refuse_names(node, used, modules, where)
    if old != name and used & {old, name}:
        raise refused(f"{old!r} calls a function of one of its two names", f"{old}, {name}", "leave out name=")
    node.name = name
    return _unparsed(node)


def parsed(text: str, name: str) -> ast.Module:
    """The tree of a text, or FunctionRefused."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise refused(f"the text of {name!r} cannot be read", error, "write the function plainly") from error


def refused(what: str, received: object, next_step: str, allowed: str | None = None) -> FunctionRefused:
    """The error of this room."""
    return FunctionRefused(what, received=received, allowed=allowed, next_step=next_step)


def _unparsed(node: Definition) -> str:
    """The plain text of a definition, which is sure to mean the same."""
    try:
        tree = ast.Module(body=[_Plain().visit(node)], type_ignores=[])
        text = ast.unparse(tree)
        compile(text, f"<on-demand {node.name}>", "exec", dont_inherit=True)
        received: object = None if ast.dump(ast.parse(text)) == ast.dump(tree) else "a text of another meaning"
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        received = error
    if received is None:
        return text
    raise refused(f"{node.name!r} cannot be written as text", received, "write it more plainly, in shorter steps")


class _Plain(ast.NodeTransformer):
    """Takes out what does not change an answer."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = node.type_comment = None
        if hasattr(node, "type_params"):
            node.type_params = []
        while node.body and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
        node.body = node.body or [ast.Pass()]
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        plain = ast.Pass() if node.value is None else ast.Assign(targets=[node.target], value=node.value)
        return self.generic_visit(ast.copy_location(plain, node))

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        node.kind = None
        return node


def _refuse_signature(node: Definition, where: Where) -> None:
    given = node.args
    special = [given.vararg, given.kwarg, *given.kwonlyargs, *given.posonlyargs, *given.defaults]
    if any(each is not None for each in special) or not given.args:
        raise refused(
            f"the on-demand function {node.name!r} takes something else than plain arguments",
            f"({ast.unparse(given)}), {where(node)}",
            "write def name(first, second): no *, no **, no /, no defaults, and at least one argument",
        )


def _global_names(text: str) -> set[str]:
    """Every name that some scope of the text takes from outside of the function."""
    found: set[str] = set()
    left: list[symtable.SymbolTable] = symtable.symtable(text, "<on-demand>", "exec").get_children()
    while left:
        table = left.pop()
        found.update(symbol.get_name() for symbol in table.get_symbols() if symbol.is_global())
        left.extend(table.get_children())
    return found


def _fault(part: ast.AST, used: set[str], modules: Mapping[str, str]) -> tuple[str, str] | None:
    """What is wrong with a part of a function whatever its names are, and what to do instead."""
    match part:
        case ast.Global() | ast.Nonlocal():
            return f"declares {', '.join(part.names)} to be from outside", _NO_STATE
        case ast.Import() | ast.ImportFrom():
            return f"imports in its body: {ast.unparse(part)}", 'declare it: on_demand(imports=["module as alias"])'
        case ast.AsyncFunctionDef() | ast.AsyncFor() | ast.AsyncWith() | ast.Await() | ast.comprehension(is_async=1):
            return "is asynchronous", "write a plain function that returns its answer"
        case ast.Yield() | ast.YieldFrom():
            return "is or has a generator", "write a plain function that returns its answer"
        case ast.ClassDef():
            return f"defines a class: {part.name}", "write a plain function that returns its answer"
        case ast.Attribute(attr=str(name)) if name.startswith("__"):
            return f"uses {name}: {_PAST}", "use public attributes"
        case ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del()):
            if _root(part) in used:
                return f"changes {ast.unparse(part)}, which is not its own", _NO_STATE
        case ast.Attribute():
            path = _path(part, modules) if _root(part) in used else None
            reason = _reason(path or "")
            return None if reason is None else (f"uses {path}: {reason}", _ASK_FOR_IT)
    return None


def _root(node: ast.AST) -> str | None:
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner):
                node = inner
            case _:
                return None
    return node.id


def _path(node: ast.AST, modules: Mapping[str, str]) -> str | None:
    """What an attribute of a declared import is called in full."""
    match node:
        case ast.Name(id=name):
            return modules.get(name)
        case ast.Attribute(value=inner, attr=attr):
            before = _path(inner, modules)
            return before and f"{before}.{attr}"
    return None


def _reason(path: str) -> str | None:
    parts = path.split(".")
    reasons = (_MODULES.get(".".join(parts[: count + 1])) for count in range(len(parts)))
    return next((reason for reason in reasons if reason is not None), None)


def _refuse_names(node: Definition, used: set[str], modules: Mapping[str, str], where: Where) -> None:
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name) and part.id in used]
    called = {id(part.func) for part in ast.walk(node) if isinstance(part, ast.Call)}
    for part in sorted(names, key=lambda name: (name.lineno, name.col_offset)):
        if part.id == node.name and id(part) not in called:
            what, next_step = "uses itself other than by a call", _NO_STATE
        elif part.id in {node.name, *modules, *_ALLOWED}:
            continue
        elif part.id in _BUILTINS:
            what, next_step = f"uses {part.id}: {_BUILTINS[part.id]}", _NO_STATE
        else:
            what = f"uses {part.id!r}, which it does not bring along"
            next_step = f"declare it in imports, or move the value of {part.id} into the function"
        raise refused(
            f"the on-demand function {node.name!r} {what}",
            where(part),
            next_step,
            allowed=", ".join(["its inputs", "Python's builtins", *sorted(modules)]),
        )
