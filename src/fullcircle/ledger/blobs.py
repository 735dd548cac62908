"""Content-addressed blobs: a blob's name is the SHA-256 of its content."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from fullcircle.errors import BlobCorrupt, BlobMissing, MissingExtra, SettingInvalid, WorkspaceUnusable

_DIGEST = re.compile(r"[0-9a-f]{64}")
_STALE_SECONDS = 86400.0


class Blobs:
    """Blobs under a folder or any fsspec URL (``s3://bucket/path``, ``gs://...``).

    Threads and processes may share it.
    ``get`` never hands out content that does not match its digest. Raises WorkspaceUnusable where the place
    cannot be reached, read or written.
    """

    def __init__(self, url: str) -> None:
        self.url = re.sub(r"//[^/@]*@", "//***@", url)  # a key in the URL is never shown
        self._place: _Place = _place(url)

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
            names = sorted(self._place.names())
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


class _Place(Protocol):
    def read(self, path: str) -> bytes: ...
    def write(self, path: str, data: bytes) -> None: ...
    def settle(self, path: str) -> None: ...
    def exists(self, path: str) -> bool: ...
    def remove(self, path: str) -> None: ...
    def names(self) -> Iterator[str]: ...


class _Folder:
    """A local folder: written beside, synchronised, renamed into place, the folder synchronised."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        self._sweep()
        final = self._root / path
        partial = self._incoming / secrets.token_hex(16)
        for folder in (self._incoming, final.parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, final)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._sync(final)

    def settle(self, path: str) -> None:
        """Make a blob safe that another process may just have renamed into place (its content was synced before)."""
        if os.access(self._root, os.W_OK):
            self._sync(self._root / path)

    def exists(self, path: str) -> bool:
        return (self._root / path).is_file()

    def remove(self, path: str) -> None:
        (self._root / path).unlink()

    def names(self) -> Iterator[str]:
        return (path.name for path in self._root.glob("[0-9a-f][0-9a-f]/*") if path.is_file())

    def _sweep(self) -> None:
        """Remove what a killed process left behind, a day later."""
        for path in self._incoming.glob("*"):
            try:
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
            except FileNotFoundError:
                continue

    def _sync(self, final: Path) -> None:
        for folder in (final.parent, self._root, self._root.parent):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


class _Remote:
    """Any other fsspec file system. Object stores show an object when it is complete; ``get`` verifies anyway."""

    def __init__(self, url: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise MissingExtra(
                "a blob store by URL needs fsspec, which is not installed", next_step="pip install 'fullcircle[lab]'"
            ) from error
        try:
            found: Any = url_to_fs(url)
        except ImportError as error:
            raise MissingExtra(
                f"the blob store's protocol needs a library that is not installed: {error}", received=url
            ) from error
        except ValueError as error:
            raise SettingInvalid(
                f"the blob store's URL cannot be used: {error}",
                received=url,
                allowed="a folder, or an fsspec URL such as s3://bucket/path",
                next_step="change the setting blobs (FULLCIRCLE_BLOBS)",
            ) from error
        self._files, self._root = found[0], str(found[1]).rstrip("/")

    def read(self, path: str) -> bytes:
        return bytes(self._files.cat_file(f"{self._root}/{path}"))

    def write(self, path: str, data: bytes) -> None:
        self._files.makedirs(f"{self._root}/{path}".rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(f"{self._root}/{path}", data)

    def settle(self, path: str) -> None:
        """Nothing to do: what can be read is there."""

    def exists(self, path: str) -> bool:
        return bool(self._files.exists(f"{self._root}/{path}"))

    def remove(self, path: str) -> None:
        self._files.rm_file(f"{self._root}/{path}")

    def names(self) -> Iterator[str]:
        if not self._files.exists(self._root):
            return iter(())
        self._files.invalidate_cache()
        return (str(name).rpartition("/")[2] for name in self._files.find(self._root))


def _place(url: str) -> _Place:
    protocol, separator, rest = url.partition("://")
    if not separator:
        return _Folder(Path(url).absolute())
    if protocol in ("file", "local"):
        return _Folder(Path("/" + rest.lstrip("/")))
    return _Remote(url)


def _path(digest: str) -> str:
    return f"{digest[:2]}/{digest}"
