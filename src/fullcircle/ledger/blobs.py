"""Content-addressed blobs: a blob's name is the SHA-256 of its content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from fullcircle.errors import BlobCorrupt, BlobMissing, WorkspaceUnusable
from fullcircle.ledger.places import Place, open_place

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """Blobs under a folder or any fsspec URL (``s3://bucket/path``, ``gs://...``).

    Threads and processes may share it.
    ``get`` never hands out content that does not match its digest. Raises WorkspaceUnusable where the place
    cannot be reached, read or written.
    """

    def __init__(self, url: str) -> None:
        self.url = re.sub(r"//[^/@]*@", "//***@", url)  # a key in the URL is never shown
        self._place: Place = open_place(url, "blobs")

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its digest, once it is safe on disk. Storing twice keeps one copy.

        A damaged copy that is already there is replaced.
        """
        digest = hashlib.sha256(data).hexdigest()
        try:
            if self._place.read(_path(digest)) == data:
                self._place.settle(_path(digest))
                return digest
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._place.write(_path(digest), data)
        except OSError as error:
            raise self._unusable(error) from error
        return digest

    def get(self, digest: str) -> bytes:
        """The content of a blob, verified. Raises BlobMissing, BlobCorrupt."""
        if not is_digest(digest):
            raise self._missing(digest)
        try:
            data = self._place.read(_path(digest))
        except FileNotFoundError as error:
            raise self._missing(digest) from error
        except OSError as error:
            raise self._unusable(error) from error
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise BlobCorrupt(
                "a blob's content does not match its digest; it was not used",
                received=f"{len(data)} bytes with digest {found}",
                allowed=digest,
                next_step="restore it from a backup, or delete it and make it again; fullcircle audit checks all",
            )
        return data

    def exists(self, digest: str) -> bool:
        """Whether a blob of this name is stored. Its content is not checked."""
        try:
            return is_digest(digest) and self._place.exists(_path(digest))
        except OSError as error:
            raise self._unusable(error) from error

    def delete(self, digest: str) -> None:
        """Remove a blob; one that is not there is fine. Record the tombstone first: ``Workspace.erase`` does both."""
        if not is_digest(digest):
            return
        try:
            self._place.remove(_path(digest))
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._unusable(error) from error

    def digests(self) -> Iterator[str]:
        """The names of all stored blobs, sorted. Half-written ones never show."""
        try:
            names = sorted(path.rpartition("/")[2] for path in self._place.names())
        except OSError as error:
            raise self._unusable(error) from error
        return (name for name in names if is_digest(name))

    def _missing(self, digest: str) -> BlobMissing:
        return BlobMissing(
            "a blob is not in the store, or was deleted on purpose",
            received=digest,
            allowed=f"what is stored in {self.url}",
            next_step="fullcircle audit tells deleted from lost; a lost one comes back from a backup",
        )

    def _unusable(self, error: OSError) -> WorkspaceUnusable:
        return WorkspaceUnusable(
            f"the blob store cannot be used: {error.strerror or error}",
            received=self.url,
            next_step="check the disk's space, the setting blobs and your rights",
        )


def is_digest(name: str) -> bool:
    """Whether ``name`` has the form of a digest."""
    return _DIGEST.fullmatch(name) is not None


def _path(digest: str) -> str:
    return f"{digest[:2]}/{digest}"
