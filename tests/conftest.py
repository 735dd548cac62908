from __future__ import annotations

import gc
import importlib
import os
import signal
from collections.abc import Generator

import pytest

# Threads that wait by spinning slow each other down many times over on a machine that does more than one thing; the
# command line says the same. Has to be said before the first library with OpenMP is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A shell that runs the tests in the background has them ignore Ctrl-C, and so would every process they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing of what collecting makes is garbage; looking through all of it again and again takes a quarter of its time.
gc.disable()


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Of two processes one begins at the end: in a new clone each finds half of the modules compiled by the other."""
    report = yield
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw1" and isinstance(collector, pytest.Dir):
        report.result.reverse()
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole turns first: the long files side by side at the start, and small ones fill what is left at the end."""
    items.sort(key=lambda item: (not {"flows", "cli"} & set(item.path.parts), item.path))


def pytest_collection_finish() -> None:
    """What tests make is freed as everywhere; what collecting made stays, and no collection need look at it again."""
    importlib.import_module("hypothesis")  # later it would ask the collector in vain who holds what is frozen
    gc.freeze()
    gc.enable()
