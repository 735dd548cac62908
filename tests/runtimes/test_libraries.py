"""What shipped modules import is found, named as an index knows it, and refused where nothing could install it."""

from __future__ import annotations

from textwrap import dedent

import pytest

from fullcircle.errors import ModelRefused
from fullcircle.runtimes.libraries import needed


def _of(**sources: str) -> tuple[str, ...]:
    return needed({name.replace("__", "."): dedent(text).encode() for name, text in sources.items()})


def test_distributions_are_named_as_an_index_knows_them() -> None:
    assert _of(scaling="import jinja2.sandbox as s\nfrom packaging.version import Version\n") == (
        "Jinja2",
        "packaging",
    )


def test_what_every_environment_has_is_left_out() -> None:
    text = (
        "import numpy as np, pandas, sklearn.base, scipy, skops, os.path, fullcircle\nfrom __future__ import division"
    )
    assert _of(scaling=text) == ()


def test_where_no_model_may_be_what_it_would_bring_counts() -> None:
    """On-demand functions are called in the environment of a compiled form too, which has no scikit-learn."""
    text = b"import numpy as np, pandas, sklearn.base, scipy.stats, skops, os.path, fullcircle"
    assert needed({"fullcircle.share": text}, beside_model=False) == (
        "numpy",
        "pandas",
        "scikit-learn",
        "scipy",
        "skops",
    )


def test_the_projects_own_modules_are_no_libraries() -> None:
    sources = {"scaling": b"import helping\nimport parts.numbers\nfrom . import x\nfrom .. import y", "helping": b""}
    assert needed({**sources, "parts.numbers": b"import scaling"}) == ()


def test_imports_inside_functions_count() -> None:
    assert _of(scaling="class A:\n    def transform(self, X):\n        import packaging\n        return X") == (
        "packaging",
    )


@pytest.mark.parametrize("text", ["import nowhere_to_be_found", "def f():\n    from nowhere_to_be_found.a import b"])
def test_what_is_not_installed_is_refused_by_name(text: str) -> None:
    with pytest.raises(ModelRefused, match="imports nowhere_to_be_found") as caught:
        _of(helping="import os", scaling=text)
    assert "scaling" in str(caught.value.received)


def test_what_a_module_can_do_without_may_be_absent_and_comes_along_where_it_is_not() -> None:
    text = """
        from typing import TYPE_CHECKING

        try:
            import packaging
            import nowhere_to_be_found
        except ImportError:
            packaging = None
        if TYPE_CHECKING:
            import nowhere_to_be_found
        else:
            import jinja2
        if __name__ == "__main__":
            import nowhere_to_be_found
    """
    assert _of(scaling=text) == ("Jinja2", "packaging")
    with pytest.raises(ModelRefused):
        _of(scaling="try:\n    import nowhere_to_be_found\nfinally:\n    x = 1\n")
