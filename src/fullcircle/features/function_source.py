"""A function that was just written in a file or a notebook: its own definition, as a tree."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from types import FunctionType

from fullcircle.features.function_text import Definition, Where, checked, parsed, refused

_OURS = re.compile(r"(\w+\.)*on_demand\(")


def captured(function: object, name: str, modules: Mapping[str, str]) -> tuple[str, str, tuple[str, ...]]:
    """The feature's name, the text and the inputs of a function that was just defined; raises FunctionRefused."""
    plain = _plain_function(function)
    node, where = _definition(plain)
    decorators = [ast.unparse(each) for each in node.decorator_list]
    if len(decorators) > 1 or not all(_OURS.match(text) for text in decorators):
        raise refused(
            f"the on-demand function {node.name!r} has a decorator besides on_demand",
            f"@{' @'.join(decorators)}, {where(node)}",
            "leave it out, or do its work inside the function",
        )
    node.decorator_list = []
    return name or node.name, checked(node, name or node.name, modules, where), _arguments(node)


def _arguments(node: Definition) -> tuple[str, ...]:
    return tuple(argument.arg for argument in (*node.args.posonlyargs, *node.args.args))


def _plain_function(function: object) -> FunctionType:
    what = None
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        what = "is no plain function, or is wrapped by another decorator"
    elif function.__code__.co_name == "<lambda>":
        what = "is a lambda"
    elif "." in function.__qualname__.rpartition("<locals>.")[2]:
        what = "is a method"
    elif function.__code__.co_freevars:
        what = f"uses variables of the function around it: {', '.join(function.__code__.co_freevars)}"
    if what is None and isinstance(function, FunctionType):
        return function
    raise refused(
        f"an on-demand function {what}", repr(function), "write it with def, with all it needs as inputs or inside"
    )


def _definition(function: FunctionType) -> tuple[Definition, Where]:
    """The function's own definition in the text it was written in, and where in the file a part of it is."""
    name = function.__code__.co_name
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError, SyntaxError) as error:
        raise refused(
            f"the text of the on-demand function {name!r} cannot be had",
            f"{type(error).__name__} for {function.__code__.co_filename}",
            "write it in a file or a notebook, not at a plain prompt or in exec",
        ) from error
    wrapped = lines[0][:1].isspace()  # not dedented: that would change texts of several lines inside
    tree = parsed(("if True:\n" if wrapped else "") + "".join(lines), name)
    body = tree.body[0].body if wrapped and isinstance(tree.body[0], ast.If) else tree.body
    node = body[0] if body else None
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    if not isinstance(node, Definition) or node.name != name or _arguments(node) != names:
        raise refused(
            f"the text of the on-demand function {name!r} is not what was defined",
            f"{function.__code__.co_filename}, line {first}: {lines[0].strip()}",
            "start again: its file was changed since it was imported",
        )
    file, offset = function.__code__.co_filename, first - 1 - wrapped
    return node, lambda at: f"{file}, line {offset + getattr(at, 'lineno', 1)}"
