"""From the path of a bundle to a scorer that was seen to answer its golden rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fullcircle.errors import BundleInvalid, ViewNotPublished
from fullcircle.features.answering import Plan
from fullcircle.features.online import OnlineStore, open_online
from fullcircle.features.serving import Enricher
from fullcircle.packaging.bundle import Bundle, open_bundle
from fullcircle.packaging.loading import check_golden, scorer
from fullcircle.runtimes.scorer import Enrich, Scorer
from fullcircle.server.follower import Entry

TOLERANCE = 1e-9  # another CPU may order a sum differently; a model that differs more is not the packaged one


class Opener:
    """Opens bundles. Their own code is laid out in a folder of ``code``, one for each bundle.

    ``online`` is the URL of the online store, where models with a feature view look their features up.
    """

    def __init__(self, code: Path, online: str = "") -> None:
        self._code, self._url = code, online
        self._online: OnlineStore | None = None

    def __call__(self, path: Path, name: str, entry: Entry) -> Scorer:
        """The scorer of the bundle at ``path``. Raises BundleInvalid, BundleTooNew or OSError, never half a model.

        ``entry.bundle`` is the SHA-256 of the archive (its name in the blob store), or the bundle's own digest.
        """
        data = path.read_bytes()
        bundle = open_bundle(data)
        archive = hashlib.sha256(data).hexdigest()
        if entry.bundle not in (archive, bundle.digest) or bundle.manifest.model != name:
            raise BundleInvalid(
                "the file holds another bundle than served.json names",
                received=f"{bundle.manifest.model} {archive}",
                allowed=f"{name} {entry.bundle}",
                next_step="deploy the version again",
            )
        found = scorer(bundle, self._code / bundle.digest, version=entry.version, digest=entry.bundle)
        difference = check_golden(bundle, found)
        if not difference <= TOLERANCE:
            raise BundleInvalid(
                "the model answers its golden rows differently here than when it was packaged",
                received=f"a difference of {difference:g}",
                allowed=f"at most {TOLERANCE:g}",
                next_step="serve it with the Python environment of its own bundle",
            )
        found.enrich = self._enrich(bundle)
        return found

    def _enrich(self, bundle: Bundle) -> Enrich | None:
        if bundle.view is None:
            return None
        if not self._url:
            raise ViewNotPublished(
                "the model looks features up, and this server was not told where",
                received=f"view {bundle.view.name}",
                next_step="start it with --online URL, or deploy it with: fullcircle deploy",
            )
        self._online = self._online or open_online(self._url, create=False)
        plan = Plan(bundle.view, self._online)
        plan.check()
        return Enricher(plan, bundle.contract)
