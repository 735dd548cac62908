"""What is under test as one file, for the project's own tests, which run in a process of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fullcircle.packaging.bundle import open_bundle
from fullcircle.packaging.loading import restore
from fullcircle.packaging.loading import scorer as scorer_of
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.runtimes.scorer import Scorer
from fullcircle.types.contract import Contract

_CONSENT = "allow-pickle"


@dataclass(frozen=True, kw_only=True)
class Unpackaged:
    """A model that has no bundle yet, and good rows for it. A private column holds its fill in them."""

    contract: Contract
    runtime: str
    saved: SavedModel
    rows: tuple[Mapping[str, Any], ...]


def write(thing: Unpackaged | bytes, folder: Path, *, allow_pickle: bool = False) -> Path:
    """Write a model or the archive of a bundle to a file in ``folder``, for ``opened``.

    With ``allow_pickle`` a file beside it says that the ledger holds consent to a model that runs code when loaded.
    """
    if allow_pickle:
        (folder / _CONSENT).touch()
    path = folder / ("bundle.zip" if isinstance(thing, bytes) else "model.json")
    path.write_bytes(thing if isinstance(thing, bytes) else msgspec.json.encode(thing))
    return path


def opened(path: Path, code_folder: Path) -> tuple[Scorer, list[dict[str, Any]]]:
    """The scorer of what is under test, and good rows for it.

    The source of the project's own classes is laid out under ``code_folder``. Raises BundleInvalid for a bundle that
    does not pass its audit.
    """
    content, consented = path.read_bytes(), (path.parent / _CONSENT).is_file()
    if path.suffix == ".zip":
        bundle = open_bundle(content)
        return scorer_of(bundle, code_folder, allow_pickle=consented), [dict(golden.row) for golden in bundle.golden]
    found = msgspec.json.decode(content, type=Unpackaged)
    model = restore(found.runtime, found.saved, code_folder, allow_pickle=consented)
    scorer = Scorer(found.contract, model)
    return scorer, [dict(row) for row in found.rows]
