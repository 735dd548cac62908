from __future__ import annotations

import gc
import importlib
import os

import pytest

# Threads that wait by spinning slow each other down many times over on a machine that does more than one thing; the
# command line says the same. Has to be said before the first library with OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Nothing of what collecting makes is garbage; looking through all of it again and again takes a quarter of its time.
gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole turns first: the long files side by side at the start, and small ones fill what is left at the end."""
    items.sort(key=lambda item: not {"flows", "cli"} & set(item.path.parts))


def pytest_collection_finish() -> None:
    """What tests make is freed as everywhere; what collecting made stays, and no collection need look at it again."""
    importlib.import_module("hypothesis")  # later it would ask the collector in vain who holds what is frozen
    gc.freeze()
    gc.enable()
