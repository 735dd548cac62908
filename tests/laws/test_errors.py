"""Errors are designed once: one base, one class per cause, one code each."""

from __future__ import annotations

import re

import pytest

from fullcircle import errors
from fullcircle.errors import FullcircleError

CLASSES = [
    thing
    for thing in vars(errors).values()
    if isinstance(thing, type) and issubclass(thing, FullcircleError) and thing is not FullcircleError
]


def test_codes_are_unique_and_stable_words() -> None:
    codes = [each.code for each in CLASSES]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_class_has_a_code_of_its_own_a_cause_and_a_base(kind: type[FullcircleError]) -> None:
    assert "code" in vars(kind)
    assert kind.exit_code in (1, 2)
    assert kind.__doc__
    assert kind.__doc__ != FullcircleError.__doc__
    direct = [base for base in kind.__bases__ if base is not FullcircleError]
    assert all(base.__module__ == "builtins" for base in direct)
    assert FullcircleError in kind.__bases__


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_class_says_what_was_received_what_is_allowed_and_what_to_do(kind: type[FullcircleError]) -> None:
    error = kind("something is wrong", received=3, allowed="1 or 2", next_step="write 1")
    assert str(error) == "something is wrong\n  received: 3\n  allowed: 1 or 2\n  next: write 1"
    assert error.as_dict() == {
        "code": kind.code,
        "message": "something is wrong",
        "received": "3",
        "allowed": "1 or 2",
        "next": "write 1",
    }
    assert str(kind("short")) == "short"
    assert kind("short").as_dict() == {"code": kind.code, "message": "short"}


def test_all_classes_live_in_one_module() -> None:
    # Importing every room brings no error class of another home.
    import importlib
    import pkgutil

    import fullcircle

    for module in pkgutil.walk_packages(fullcircle.__path__, "fullcircle."):
        if "__main__" not in module.name and ".testing" not in module.name:
            importlib.import_module(module.name)

    def below(kind: type[FullcircleError]) -> list[type[FullcircleError]]:
        return [kind, *(each for child in kind.__subclasses__() for each in below(child))]

    assert {kind.__module__ for kind in below(FullcircleError)} == {"fullcircle.errors"}
