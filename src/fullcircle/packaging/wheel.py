"""fullcircle's own wheel, rebuilt from what is installed, so that a bundle carries the code it was made with."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from importlib.metadata import Distribution, distribution
from pathlib import Path

from fullcircle.errors import LockFailed
from fullcircle.packaging import archive

# What counts as content. An allow-list, so that a stray file of an editor or a compiler never changes the bytes.
SUFFIXES = (".py", ".typed", ".html", ".jinja", ".css", ".js", ".json", ".svg", ".sql", ".toml", ".md", ".txt")
_WHEEL = b"Wheel-Version: 1.0\nGenerator: fullcircle\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def wheel() -> tuple[str, bytes]:
    """Rebuild the wheel of the running fullcircle: its file name and its bytes.

    Works for an editable and for a regular installation, and the same content gives the same bytes in any
    folder. The wheel format is https://packaging.python.org/specifications/binary-distribution-format/.
    Raises LockFailed where fullcircle runs without being installed.
    """
    installed = _installed()
    return build(
        Path(__file__).resolve().parents[1],
        name=installed.metadata["Name"],
        version=installed.version,
        info=_info(installed),
    )


def empty() -> tuple[str, bytes]:
    """A wheel with nothing in it, for a bundle that will never travel."""
    return "fullcircle-0-py3-none-any.whl", archive.pack({})


def build(package: Path, *, name: str, version: str, info: dict[str, bytes]) -> tuple[str, bytes]:
    """A pure-Python wheel of the folder ``package``; ``info`` are the files of its ``.dist-info`` folder."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {f"{package.name}/{path}": content for path, content in sources(package).items()}
    files |= {f"{stem}.dist-info/{path}": content for path, content in sorted({**info, "WHEEL": _WHEEL}.items())}
    lines = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    record = f"{stem}.dist-info/RECORD"
    files[record] = ("\n".join([*lines, f"{record},,"]) + "\n").encode()
    return f"{stem}-py3-none-any.whl", archive.pack(files)


def sources(package: Path) -> dict[str, bytes]:
    """The files under ``package`` that are content: path relative to it (with ``/``) to bytes, sorted."""
    found: dict[str, bytes] = {}
    for path in package.rglob("*"):
        relative = path.relative_to(package)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
        if path.suffix in SUFFIXES and not hidden and path.is_file():
            found[relative.as_posix()] = path.read_bytes()
    return dict(sorted(found.items()))


def _installed() -> Distribution:
    try:
        return distribution("fullcircle")
    except ModuleNotFoundError as error:
        raise LockFailed(
            "fullcircle is not installed, so its own wheel cannot be made",
            next_step="install it, for example with `pip install -e .` in its repository",
        ) from error


def _info(installed: Distribution) -> dict[str, bytes]:
    names = ["METADATA", "entry_points.txt"]
    texts = {name: installed.read_text(name) for name in names}
    return {name: text.encode() for name, text in texts.items() if text is not None}


def _digest(content: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode("ascii")
