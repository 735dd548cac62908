"""Names and versions of packages, compared as the packaging specifications compare them."""

from __future__ import annotations

import re

_SPELLINGS = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc", "rev": "post", "r": "post"}


def normal(name: str) -> str:
    """A package name as https://packaging.python.org/specifications/name-normalization/ compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def same(one: str, other: str) -> bool:
    """Whether two texts are one version: https://packaging.python.org/specifications/version-specifiers/."""
    return _key(one) == _key(other)


def allowed(pinned: str, version: str) -> bool:
    """Whether ``==pinned`` lets a version through: where it has no local part ("+cpu"), any will do."""
    return same(pinned, version if "+" in pinned else version.partition("+")[0])


def _key(text: str) -> tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Epoch, release without zeros at its end, what follows it, and the local part."""
    public, _, local = text.strip().lower().removeprefix("v").partition("+")
    epoch, marked, rest = public.partition("!")
    epoch, rest = (epoch, rest) if marked else ("0", epoch)
    release, suffix = (match[1], match[2]) if (match := re.fullmatch(r"([0-9.]*)(.*)", rest)) else ("", rest)
    numbers = _parts(release)
    while numbers and numbers[-1] == "0":
        numbers = numbers[:-1]
    if re.fullmatch(r"-[0-9]+", suffix):  # the short spelling of a post-release
        suffix = f"post{suffix[1:]}"
    return (epoch.lstrip("0") or "0", numbers, _parts(suffix), _parts(local))


def _parts(text: str) -> tuple[str, ...]:
    found = re.findall(r"[0-9]+|[a-z]+", text)
    return tuple(part.lstrip("0") or "0" if part.isdigit() else _SPELLINGS.get(part, part) for part in found)
