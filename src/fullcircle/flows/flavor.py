"""A bundle as the model of MLflow that it is registered as."""

from __future__ import annotations

from collections.abc import Mapping

from fullcircle.exploration import flavor
from fullcircle.packaging.bundle import Bundle
from fullcircle.packaging.lock import WHEELS, pins


def files(bundle: Bundle, archive: bytes, *, digest: str, run: str) -> Mapping[str, bytes]:
    """What belongs into the folder of the version: the archive, and what MLflow needs to load it.

    ``digest`` is the one that the ledger knows the bundle by.
    """
    (wheel,) = [name for name in bundle.files if name.startswith(f"{WHEELS}/")]
    return flavor.files(
        archive,
        digest=digest,
        contract=bundle.contract,
        rows=[golden.row for golden in bundle.golden],
        pins={name: version for name, version in pins(bundle.lock).items() if name != "fullcircle"},
        wheel=(wheel.rpartition("/")[2], bundle.files[wheel]),
        python=bundle.manifest.python,
        run=run,
        size=len(bundle.saved.data),
    )
