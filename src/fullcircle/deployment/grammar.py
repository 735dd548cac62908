"""What may stand in a file that another program reads as instructions. All else is refused, never escaped away.

A value that reaches a Containerfile, a compose file or a systemd unit passes one of these; a name that holds a line
break, a quote or a blank where none belongs does not.
"""

from __future__ import annotations

import re

from fullcircle.errors import TargetRefused

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?(?::[0-9]{1,5})?"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
IMAGE = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?::{_TAG})?(?:@sha256:[0-9a-f]{{64}})?")
MODEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
PYTHON = re.compile(r"3\.[0-9]{1,3}")
DIGEST = re.compile(r"[0-9a-f]{64}")
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")
WHEEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+!-]{0,200}\.whl")
STATEMENT = re.compile(r"[a-z0-9][a-z0-9_.-]{0,80}\.json")
NUMBER = re.compile(r"[0-9]{1,9}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}\$?")
WORD = re.compile(r"[A-Za-z0-9_.:/,@%+=-]{0,200}")
_LOCKED = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!-]+|\./wheels/[A-Za-z0-9_.+!-]+\.whl)"
    r"(?:(?: \\\n   )? --hash=sha256:[0-9a-f]{64})+"
)
ONE_LINE = re.compile(r"[^\x00-\x1f\x7f\u0085\u2028\u2029\ud800-\udfff]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029\ud800-\udfff]")


def checked(what: str, value: str, pattern: re.Pattern[str], allowed: str) -> str:
    """The value, where all of it is of the pattern. Raises TargetRefused."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _refused(f"{what} cannot stand in the files of a target", value, allowed)
    return value


def image(value: str) -> str:
    """The name of a base image, such as "python:3.12-slim" or "registry.example.org/python@sha256:..."."""
    allowed = "an image by name, with a tag or a digest, such as python:3.12-slim"
    if isinstance(value, str) and len(value) > 400:
        raise _refused("the base image cannot stand in the files of a target", value, allowed)
    return checked("the base image", value, IMAGE, allowed)


def lock(text: str) -> str:
    """The text of a lock: pinned packages with hashes, and nothing else that a line could say."""
    for entry in re.split(r"\n(?! )", text.strip("\n")):
        checked("a line of the lock", entry, _LOCKED, "name==version, or ./wheels/FILE, with hashes")
    return text


def path(what: str, value: str) -> str:
    """An absolute path without line breaks or other control characters."""
    if _CONTROL.search(value) or not value.startswith("/") or value != value.strip():
        raise _refused(
            f"{what} cannot stand in a unit", value, "an absolute path of characters that can be seen in one line"
        )
    return value


def image_name(model: str) -> str:
    """What an image of the model is called: the model's name, without what no image's name may hold."""
    found = checked("the model's name", model, MODEL, "a-z, 0-9, - and _").replace("_", "-").rstrip("-")
    return found or "model"


def _refused(what: str, value: object, allowed: str) -> TargetRefused:
    return TargetRefused(what, received=repr(value)[:120], allowed=allowed, next_step="change the value")
