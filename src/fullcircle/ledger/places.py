"""Places for files that are whole or not there: a local folder, or any fsspec URL."""

from __future__ import annotations

import io
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

from fullcircle.errors import MissingExtra, SettingInvalid

_STALE_SECONDS = 86400.0
_INCOMING = "incoming"
_CREATING = threading.Lock()  # fsspec's files in memory look first and write then


class Place(Protocol):
    """Files by path relative to the place, with ``/``. Threads and processes may share it. Raises OSError."""

    def read(self, path: str) -> bytes:
        """The content of a file."""

    def write(self, path: str, data: bytes) -> None:
        """Write a file, or replace it as a whole. It is safe on disk afterwards."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file that is not there yet, and say whether this call did: of several at once one does."""

    def settle(self, path: str) -> None:
        """Make a file safe that another process may just have put there."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""

    def remove(self, path: str) -> None:
        """Delete a file."""

    def names(self, folder: str = "") -> Iterator[str]:
        """The paths of all files below a folder. Half-written ones never show."""

    def open(self, path: str) -> Any:
        """What pyarrow reads a file from without loading all of it: a path, or an open file."""


def open_place(url: str, setting: str) -> Place:
    """The place at a folder or URL; ``setting`` is where the URL was written, for errors."""
    protocol, separator, rest = url.partition("://")
    if not separator:
        return _Folder(Path(url).absolute())
    if protocol in ("file", "local"):
        return _Folder(Path("/" + rest.lstrip("/")))
    return _Remote(url, setting)


class _Folder:
    """A local folder: written beside, synchronised, renamed into place, the folder synchronised."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / _INCOMING

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        partial = self._beside(path, data)
        try:
            os.replace(partial, self._root / path)
        finally:
            partial.unlink(missing_ok=True)
        self._sync(self._root / path)

    def create(self, path: str, data: bytes) -> bool:
        partial = self._beside(path, data)
        try:
            os.link(partial, self._root / path)
        except FileExistsError:
            return False
        finally:
            partial.unlink(missing_ok=True)
        self._sync(self._root / path)
        return True

    def _beside(self, path: str, data: bytes) -> Path:
        """The content in a file that is safe on disk and does not show yet."""
        self._sweep()
        partial = self._incoming / secrets.token_hex(16)
        for folder in (self._incoming, (self._root / path).parent):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return partial

    def settle(self, path: str) -> None:
        """Make a blob safe that another process may just have renamed into place (its content was synced before)."""
        if os.access(self._root, os.W_OK):
            self._sync(self._root / path)

    def exists(self, path: str) -> bool:
        return (self._root / path).is_file()

    def remove(self, path: str) -> None:
        (self._root / path).unlink()

    def names(self, folder: str = "") -> Iterator[str]:
        for place, _, files in os.walk(self._root / folder):
            inside = Path(place).relative_to(self._root)
            if inside.parts[:1] != (_INCOMING,):
                yield from ((inside / name).as_posix() for name in files)

    def open(self, path: str) -> str:
        return str(self._root / path)

    def _sweep(self) -> None:
        """Remove what a killed process left behind, a day later."""
        for path in self._incoming.glob("*"):
            try:
                if time.time() - path.stat().st_mtime > _STALE_SECONDS:
                    path.unlink()
            except FileNotFoundError:
                continue

    def _sync(self, final: Path) -> None:
        inside = [self._root.joinpath(*parts) for parts in _steps(final.parent.relative_to(self._root).parts)]
        for folder in (*inside, self._root, self._root.parent):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


class _Remote:
    """Any other fsspec file system. Object stores show an object when it is complete."""

    def __init__(self, url: str, setting: str) -> None:
        try:
            from fsspec.core import url_to_fs
        except ImportError as error:
            raise MissingExtra(
                "a place by URL needs fsspec, which is not installed", next_step="pip install 'fullcircle[lab]'"
            ) from error
        try:
            found: Any = url_to_fs(url)
        except ImportError as error:
            raise MissingExtra(
                f"the protocol of the setting {setting} needs a library that is not installed: {error}", received=url
            ) from error
        except ValueError as error:
            raise SettingInvalid(
                f"the URL of the setting {setting} cannot be used: {error}",
                received=url,
                allowed="a folder, or an fsspec URL such as s3://bucket/path",
                next_step=f"change the setting {setting} (FULLCIRCLE_{setting.upper()})",
            ) from error
        self._files, self._root = found[0], str(found[1]).rstrip("/")
        protocols = self._files.protocol
        self._in_memory = "memory" in ((protocols,) if isinstance(protocols, str) else protocols)

    def read(self, path: str) -> bytes:
        return bytes(self._files.cat_file(f"{self._root}/{path}"))

    def write(self, path: str, data: bytes) -> None:
        self._files.makedirs(f"{self._root}/{path}".rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(f"{self._root}/{path}", data)

    def create(self, path: str, data: bytes) -> bool:
        self._files.makedirs(f"{self._root}/{path}".rpartition("/")[0], exist_ok=True)
        with _CREATING if self._in_memory else nullcontext():
            try:
                self._files.pipe_file(f"{self._root}/{path}", data, mode="create")
            except FileExistsError:
                return False
        return True

    def settle(self, path: str) -> None:
        """Nothing to do: what can be read is there."""

    def exists(self, path: str) -> bool:
        return bool(self._files.isfile(f"{self._root}/{path}"))

    def remove(self, path: str) -> None:
        self._files.rm_file(f"{self._root}/{path}")

    def names(self, folder: str = "") -> Iterator[str]:
        home = f"{self._root}/{folder}".rstrip("/")
        self._files.invalidate_cache()
        if self._files.exists(home):
            bare = self._files._strip_protocol(self._root)
            for name in self._files.find(home):
                yield str(name).removeprefix(bare).lstrip("/")

    def open(self, path: str) -> Any:
        if self._in_memory:  # its open files are one and the same for everybody, with one position
            return io.BytesIO(self.read(path))
        return self._files.open(f"{self._root}/{path}", "rb")


def _steps(parts: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The folders on a way down, the deepest first."""
    return (parts[:count] for count in range(len(parts), 0, -1))
