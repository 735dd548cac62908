"""A folder of files that we made: written as a whole, known again by a record, and deleted without anybody else's.

The record is one of the files: it names the others with their SHA-256. A new folder is made beside its place and
renamed. In one that is there, only our own files are replaced, each as a whole, with the record saying first that
it is under way; what was interrupted is made again by the next call. A file that a person changed is never replaced
or deleted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from fullcircle.errors import TargetRefused

RECORD = "fullcircle-files.json"


class Record(msgspec.Struct, frozen=True):
    """What was written: files by path with their SHA-256, and what the writer says of them. ``whole`` at the end."""

    whole: bool
    about: dict[str, str]
    files: dict[str, str]


def recall(folder: Path) -> Record | None:
    """The record of a folder; None where there is none that can be read, or one that names paths outside."""
    try:
        found = msgspec.json.decode((folder / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found if all(_inside(name) for name in found.files) else None


def recorded(files: Mapping[str, bytes], about: Mapping[str, str]) -> dict[str, bytes]:
    """The files with their record, as ``write`` makes them."""
    record = Record(whole=True, about=dict(about), files={name: _sha256(files[name]) for name in sorted(files)})
    return {**files, RECORD: msgspec.json.format(msgspec.json.encode(record)) + b"\n"}


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make the folder hold these files, of ``recorded``. Raises TargetRefused where it is not ours to change."""
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            _make(folder, files)
        else:
            _change(folder, files)
    except OSError as error:
        raise TargetRefused(
            f"the folder cannot be written: {error.strerror}",
            received=str(folder),
            next_step="make it writable, or name another with --out",
        ) from error


def altered(folder: Path, record: Record) -> tuple[str, ...]:
    """Recorded files that are not as they were written: changed, or gone."""
    return tuple(name for name, digest in record.files.items() if _digest(folder / name) != digest)


def delete(folder: Path) -> tuple[str, ...]:
    """Delete what was written and is unchanged, and folders that are empty then. Returns what was left, sorted."""
    record = recall(folder)
    if record is None:
        return ()
    for name, digest in record.files.items():
        if _digest(folder / name) == digest:
            (folder / name).unlink()
    (folder / RECORD).unlink()
    _sweep(folder, record.files)
    left = tuple(sorted(path.name for path in folder.iterdir()))
    if not left:
        folder.rmdir()
    return left


def _make(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        for name, content in files.items():
            _place(beside, name, content)
        beside.chmod(0o755)
        os.rename(beside, folder)  # also over an empty folder
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _change(folder: Path, files: Mapping[str, bytes]) -> None:
    record = recall(folder)
    if record is None:
        raise TargetRefused(
            "there is a folder already, which fullcircle did not write",
            received=str(folder),
            next_step="name another folder with --out, or empty it",
        )
    digests = {name: _sha256(content) for name, content in files.items() if name != RECORD}
    unsure = altered(folder, record) if record.whole else ()
    # What a person changed or put there may be what we would write all the same.
    theirs = [name for name in unsure if _digest(folder / name) not in ("", digests.get(name))]
    theirs += [name for name in digests if name not in record.files and _digest(folder / name)]
    if theirs:
        raise TargetRefused(
            "a file was changed by hand since it was written",
            received=", ".join(sorted(theirs)[:5]),
            allowed=f"the files of {RECORD} as they were",
            next_step="keep the change elsewhere and delete the file, or name another folder with --out",
        )
    under_way = Record(whole=False, about=record.about, files={**record.files, **digests})
    _place(folder, RECORD, msgspec.json.encode(under_way))
    for name, content in files.items():
        if name != RECORD and _digest(folder / name) != digests[name]:
            _place(folder, name, content)
    for name in sorted(record.files.keys() - digests.keys()):
        (folder / name).unlink(missing_ok=True)
    _sweep(folder, record.files)
    _place(folder, RECORD, files[RECORD])


def _sweep(folder: Path, names: Iterable[str]) -> None:
    """Remove folders of these files that are empty now."""
    below = {parent for name in names for parent in Path(name).parents} - {Path(".")}
    for one in sorted(below, key=lambda path: len(path.parts), reverse=True):
        if (folder / one).is_dir() and not any((folder / one).iterdir()):
            (folder / one).rmdir()


def _place(folder: Path, name: str, content: bytes) -> None:
    """Write one file as a whole, readable for everyone: a container's user is nobody that is known here."""
    path = folder / name
    if path.parent != folder and not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(beside, 0o644)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def _inside(name: str) -> bool:
    parts = name.split("/")
    return bool(name) and not name.startswith("/") and not {"", ".", ".."} & set(parts) and "\0" not in name


def _digest(path: Path) -> str:
    """The SHA-256 of a file, "" where there is none; a link is not followed."""
    if path.is_symlink() or not path.is_file():
        return ""
    return _sha256(path.read_bytes())


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
