"""The public names: few, sorted, each one there."""

from __future__ import annotations

import inspect
import re

import pytest

import fullcircle


def test_the_names_are_few_sorted_and_distinct() -> None:
    names = fullcircle.__all__
    assert list(names) == sorted(set(names))
    assert len(names) <= 30
    assert not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize("name", fullcircle.__all__)
def test_each_name_resolves_and_says_what_it_is(name: str) -> None:
    thing = getattr(fullcircle, name)
    assert callable(thing)
    assert inspect.getdoc(thing)
    assert thing.__module__.startswith("fullcircle.")


def test_folders_are_nouns_and_verbs_are_functions() -> None:
    # A room and a public function of one name would fight over fullcircle.<name>.
    import pkgutil

    rooms = {module.name for module in pkgutil.iter_modules(fullcircle.__path__)}
    assert not rooms & set(fullcircle.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = fullcircle.nonsense


def test_dir_shows_the_names() -> None:
    assert set(fullcircle.__all__) <= set(dir(fullcircle))


def test_the_version_is_the_one_installed() -> None:
    from importlib.metadata import version

    assert fullcircle.__version__ == version("fullcircle")
    assert re.fullmatch(r"\d+\.\d+\.\d+", fullcircle.__version__)
