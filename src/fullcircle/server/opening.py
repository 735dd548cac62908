"""From the path of a bundle to a scorer that was seen to answer its golden rows."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fullcircle.errors import BundleInvalid, FullcircleError, ViewNotPublished
from fullcircle.features.answering import Plan
from fullcircle.features.online import OnlineStore, open_online
from fullcircle.features.serving import Enricher
from fullcircle.packaging import machine
from fullcircle.packaging.bundle import Bundle, open_bundle
from fullcircle.packaging.loading import check_golden, scorer
from fullcircle.runtimes.scorer import Enrich, Scorer
from fullcircle.server.follower import Entry, Loaded
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.needs import Need

QUICK = 0.002  # seconds for one call of the model, up to which it is asked on the event loop
MEASURING = 0.1  # seconds to find out how quick a model is, where the first calls do not show it
_LEAST, _MOST = 3, 50  # calls for that

_logger = logging.getLogger(__name__)


class Opener:
    """Opens bundles. Their own code is laid out in a folder of ``code``, one for each bundle.

    ``online`` is the URL of the online store, where models with a feature view look their features up.
    """

    def __init__(self, code: Path, online: str = "") -> None:
        self.code, self.online = code, online
        self._online: OnlineStore | None = None
        self._seconds: dict[str, tuple[float, int]] = {}
        self._needs: dict[str, tuple[tuple[Need, ...], ViewSpec | None]] = {}

    def __call__(self, path: Path, name: str, entry: Entry) -> Scorer:
        """The scorer of the bundle at ``path``. Raises BundleInvalid, BundleTooNew or OSError, never half a model.

        ``entry.bundle`` is the bundle's digest, the SHA-256 of its archive.
        """
        bundle = _named(path, name, entry)
        machine.check_python(bundle.manifest.python)
        found = scorer(
            bundle,
            self.code / bundle.digest,
            version=entry.version,
            digest=entry.bundle,
            allow_pickle=entry.pickle,
        )
        check_golden(bundle, found, next_step="serve it with the Python environment of its own bundle")
        found.enrich = self._enrich(bundle)
        found.background = [golden.inputs for golden in bundle.golden if golden.inputs is not None]
        self._needs[entry.bundle] = (bundle.needs, bundle.view)
        self._seconds[entry.bundle] = _measured(found, [golden.row for golden in bundle.golden])
        return found

    def shell(self, path: Path, name: str, entry: Entry) -> Scorer:
        """The contract of a version that a process of its own answers for: nothing of its model is loaded here.

        Raises as opening does; that the version answers as it should is for that process to find out.
        """
        return Scorer(_named(path, name, entry).contract, None, name=name, version=entry.version, bundle=entry.bundle)

    def before(self, folder: Path, name: str, entry: Entry) -> Scorer | None:
        """The scorer of the champion before, where the entry names one that still can be opened; else None."""
        if entry.previous is None or entry.previous.bundle == entry.bundle:
            return None  # where the model cannot answer, the same model cannot either
        before = entry.previous
        earlier = Entry(version=before.version, bundle=before.bundle, path=before.path, pickle=before.pickle)
        try:
            return self(folder / earlier.path, name, earlier)
        except Exception as error:  # noqa: BLE001 - foreign code; the version itself is served all the same
            told = str(error) if isinstance(error, (FullcircleError, OSError)) else type(error).__name__
            _logger.warning("the champion before cannot stand in, its place is taken by the prior: %s", told)
            return None

    def quick(self, loaded: Loaded) -> bool:
        """Whether the model may be asked on the event loop: its calls are short, and none waits for a network."""
        seconds, _ = self._seconds[loaded.bundle]
        return seconds <= QUICK and (loaded.scorer.enrich is None or self.online.startswith("sqlite:"))

    def needs(self, loaded: Loaded) -> tuple[tuple[Need, ...], ViewSpec | None]:
        """What the version needs at run time, and the feature view that it looks up."""
        return self._needs.get(loaded.bundle, ((), None))

    def per_row(self, loaded: Loaded) -> float:
        """Seconds that the model takes for a row, when it answers its golden rows in one call."""
        seconds, rows = self._seconds[loaded.bundle]
        return seconds / rows

    def _enrich(self, bundle: Bundle) -> Enrich | None:
        if bundle.view is None:
            return None
        if not self.online:
            raise ViewNotPublished(
                "the model looks features up, and this server was not told where",
                received=f"view {bundle.view.name}",
                next_step="start it with --online URL, or deploy it with: fullcircle deploy",
            )
        self._online = self._online or open_online(self.online, create=False)
        plan = Plan(bundle.view, self._online)
        plan.check()
        return Enricher(plan, bundle.contract)


def _named(path: Path, name: str, entry: Entry) -> Bundle:
    """The bundle that an entry names. Raises BundleInvalid, BundleTooNew or OSError."""
    bundle = open_bundle(_content(path))
    if entry.bundle != bundle.digest or bundle.manifest.model != name:
        raise BundleInvalid(
            "the file holds another bundle than served.json names",
            received=f"{bundle.manifest.model} {bundle.digest}",
            allowed=f"{name} {entry.bundle}",
            next_step="deploy the version again",
        )
    return bundle


def _measured(scorer: Scorer, rows: Sequence[Any]) -> tuple[float, int]:
    """Seconds of a call of the model for its golden rows (the quickest of several), and how many they are."""
    inputs = [found.inputs for found in scorer.score(rows) if found.inputs is not None]
    if not inputs:
        return 0.0, 1
    if scorer.encoder.encodable:
        matrix = scorer.encoder.matrix(inputs)
        return _timed(lambda: scorer.block(matrix)), len(inputs)
    return _timed(lambda: scorer.score(rows)), len(rows)


def _timed(work: Callable[[], object]) -> float:
    """Seconds of the quickest call: while others compute, most calls are interrupted somewhere, but hardly all.

    Not the time that the thread computed: a model may wait, for a network or for threads of its own, and whoever
    asks it on the event loop would wait too.
    """
    best = math.inf
    until = time.perf_counter() + MEASURING
    for number in range(_MOST):
        if number >= _LEAST and (best <= QUICK / 2 or time.perf_counter() > until):
            break
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best


def _content(path: Path) -> bytes:
    """The bytes of a plain file. What is none, such as a pipe, could be read for ever."""
    if path.exists() and not path.is_file():
        raise BundleInvalid(
            "what served.json names is no file", received=path.name, next_step="deploy the version again"
        )
    return path.read_bytes()
