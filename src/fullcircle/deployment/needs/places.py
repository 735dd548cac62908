"""Where a need is: taken from the environment where it says so, and shown without what may be secret in it."""

from __future__ import annotations

import os
from urllib.parse import SplitResult, unquote, urlsplit

from fullcircle.deployment.needs.outcome import Unmet
from fullcircle.types.needs import Need


def address(need: Need) -> str:
    """The place of a need, with the secrets that may be in it. Raises Unmet where its variable says nothing."""
    if not need.at.startswith("env:"):
        return need.at
    found = os.environ.get(need.variable, "").strip()
    if not found:
        raise Unmet(
            f"the environment variable {need.variable} is {'empty' if need.variable in os.environ else 'not set'}",
            allowed=f"the address of the {need.kind}",
            next_step=restarted(need.variable),
        )
    return found


def restarted(variable: str) -> str:
    """What to do about a variable: a server that runs keeps those it was started with."""
    return f"set {variable} where the model runs; stop a server that runs (fullcircle deploy --stop) and deploy again"


def parts(text: str) -> SplitResult:
    """The parts of an address. Raises Unmet where it has none that make sense."""
    try:
        found = urlsplit(text)
        _ = found.port, found.hostname
    except ValueError as error:
        raise Unmet(
            "this is no address", allowed="scheme://host:port/...", next_step="correct the address of the need"
        ) from error
    if not text.isprintable():
        raise Unmet("the address holds unprintable characters", next_step="correct the address of the need")
    return found


def shown(text: str) -> str:
    """An address without user, password, query and fragment; a text that is none is not shown at all."""
    try:
        found = urlsplit(text)
        host, port = found.hostname or "", found.port
    except ValueError:
        return "an address that cannot be read"
    if not found.scheme or "://" not in text:
        return "an address without a scheme"
    if (
        "@" in found.path + found.query + found.fragment
    ):  # what stands before it may be a password with a character that ends the host
        return f"{found.scheme}://..."
    host = f"[{host}]" if ":" in host else host
    return f"{found.scheme}://{host}{'' if port is None else f':{port}'}{found.path}"


def unpathed(text: str, need: Need) -> str:
    """A text without the path of a web address that stands in a variable: a path may be as good as a password."""
    place = os.environ.get(need.variable, "").strip() if need.kind != "secret" and need.variable else ""
    if not place.startswith(("http://", "https://")):
        return text
    try:
        path = urlsplit(place).path.rstrip("/")
    except ValueError:
        return text
    return text.replace(path, "/...") if path else text


def without(text: str, place: str) -> str:
    """Foreign words about a place, on one line, without the user and the password that the place holds."""
    said = " ".join(text.split())
    found = parts(place)
    told = {
        found.password or "",
        found.username or "",
        found.query,
        *(one.partition("=")[2] for one in found.query.split("&")),
    }
    for secret in sorted(told | {unquote(one) for one in told}, key=len, reverse=True):
        if secret:
            said = said.replace(secret, "***")
    return said[:300]
