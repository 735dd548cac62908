"""Where alarms are told: Apprise's addresses, Alertmanager's API, and webhooks that get the whole message as JSON.

``deliver`` never raises and says in words why a message did not arrive. What it says holds nothing secret: of an
address only the scheme is shown, and the host where that cannot be a token. An address may stand in an environment
variable ("env:NAME").
"""

from __future__ import annotations

import base64
import http.client
import logging
import os
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from fullcircle.monitoring.alarms import Message

SECONDS = 10.0  # for a connection, and for each answer
_OWN = {"alertmanager": False, "alertmanagers": True, "webhook": False, "webhooks": True}
_HOSTED = (*_OWN, "json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos")
_NAMES = {"drift": "FullcircleDrift", "risk": "FullcircleRisk", "estimate": "FullcircleEstimate"}

_LOUD = ("apprise", "urllib3", "requests")  # whose logs hold whole addresses, at DEBUG or where something fails
_ISO = "%Y-%m-%dT%H:%M:%S.%fZ"  # as the times of batches: their order is that of the texts
_NO_WIDTH = "\u200b"
_LOADING = threading.RLock()  # which warnings are shown, and which filters loggers have, is one thing for all threads


def deliver(address: str, message: Message) -> str:
    """Send a message to an address. Returns "" when it arrived, else why not; it may have arrived all the same."""
    place, wrong = _place(address)
    if wrong:
        return wrong
    scheme = place.partition("://")[0].lower()
    if scheme in _OWN:
        found = urlsplit(place)
        body: Any = message
        path = found.path or "/"
        if scheme.startswith("alertmanager"):
            body, path = [_alert(message)], found.path.rstrip("/") + "/api/v2/alerts"
        return _post(found, path + (f"?{found.query}" if found.query else ""), body, tls=_OWN[scheme])
    return _apprise(place, message)


def unfit(address: str) -> str:
    """What is wrong with an address, "" where its form is right. Nothing is sent."""
    place, wrong = _place(address)
    if wrong:
        return wrong
    if place.partition("://")[0].lower() in _OWN:
        return ""
    try:
        return "" if _channel(place) is not None else "Apprise knows no such address"
    except ImportError:
        return "Apprise is not installed: pip install 'fullcircle[lab]'"


def masked(address: str) -> str:
    """An address as it may be shown."""
    if address.startswith("env:"):
        return address
    scheme, found, _ = address.partition("://")
    if not found or not scheme.isalnum():
        return "an address without a scheme"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return f"{scheme}://..."
    if scheme.lower() not in _HOSTED or not host or "@" in parts.path:
        return f"{scheme}://..."
    host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{host}{'' if port is None else f':{port}'}"


def travels(address: str) -> bool:
    """Whether a secret may stand in the address itself, which goes wherever the project's source goes."""
    if address.startswith("env:"):
        return False
    scheme, _, rest = address.partition("://")
    return scheme.lower() not in _HOSTED or "@" in rest


def standing(address: str) -> bool:
    """Whether whoever listens there forgets alarms that are not told again: Alertmanager."""
    place, _ = _place(address)
    return place.lower().startswith(("alertmanager://", "alertmanagers://"))


def _place(address: str) -> tuple[str, str]:
    """The address itself, and what is wrong with it as far as that can be said without Apprise."""
    place = address
    if address.startswith("env:"):
        name = address.removeprefix("env:")
        place = os.environ.get(name, "").strip()
        if not place:
            return "", f"the environment variable {name} is not set, or empty"
    scheme, found, _ = place.partition("://")
    if not found:
        return "", "an address has the form scheme://..."
    if scheme.lower() in _OWN:
        try:
            parts = urlsplit(place)
            fits = bool(parts.hostname) and parts.port != 0 and place.isprintable() and " " not in place
        except ValueError:
            fits = False
        if not fits:
            return "", f"this address has the form {scheme.lower()}://HOST:PORT/PATH"
    return place, ""


def _alert(message: Message) -> dict[str, Any]:
    """The alert of Alertmanager's API, version 2: held until ``endsAt``, which lies ahead while it is open."""
    alarm = message.alarm
    kind = str(alarm.get("kind", "test"))
    labels = {
        "alertname": _NAMES.get(kind, "FullcircleTest"),
        "alarm": str(alarm.get("id", message.id)),
        "model": str(alarm.get("model", message.id.partition("/")[0])),
        "version": str(alarm.get("version", "")),
        "kind": kind,
        "severity": message.severity,
    }
    now = datetime.now(UTC)
    # Rows whose clock was ahead: Alertmanager refuses an alert that ends before it begins.
    begun = min(str(alarm.get("opened", message.at)), now.strftime(_ISO))
    ended = message.event == "resolved"
    until = now + timedelta(seconds=message.hold)
    notes = {"summary": message.title, "description": message.text, "id": message.id}
    link = str(alarm.get("link", ""))
    found = {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": {**notes, **({"link": link} if link else {})},
        "startsAt": begun,
        "endsAt": max(min(message.at, now.strftime(_ISO)), begun) if ended else until.strftime(_ISO),
    }
    return {**found, "generatorURL": link} if link.startswith(("http://", "https://")) else found


def _post(place: SplitResult, path: str, body: Any, *, tls: bool) -> str:
    """One POST of JSON, without a proxy and without following anything. Returns "" or why it failed."""
    import msgspec

    headers = {"Content-Type": "application/json", "User-Agent": "fullcircle"}
    if place.username:
        pair = f"{unquote(place.username)}:{unquote(place.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    host, port = place.hostname or "", place.port
    kind = http.client.HTTPSConnection if tls else http.client.HTTPConnection
    connection = kind(host, port, timeout=SECONDS)
    try:
        connection.request("POST", path, msgspec.json.encode(body), headers)
        status = connection.getresponse().status
    except (OSError, ssl.SSLError, http.client.HTTPException, ValueError) as error:
        return f"nobody took it: {type(error).__name__}"
    finally:
        connection.close()
    return "" if 200 <= status < 300 else f"it was answered with status {status}"


def _channel(place: str) -> Any:
    """Apprise's channel for an address, None where it knows none."""
    with _LOADING, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a standard module that Apprise still imports
        import apprise

        with _silence():
            return apprise.Apprise.instantiate(place, suppress_exceptions=True)


class _Silent(threading.local):
    """Whether this thread is within a channel's code."""

    now = False

    def filter(self, record: logging.LogRecord) -> bool:
        """Let nothing through that is said meanwhile."""
        return not self.now


_SILENT = _Silent()


@contextmanager
def _silence() -> Iterator[None]:
    """What Apprise and what it sends with say in this thread goes into no log: it may hold what an address holds."""
    with _LOADING:
        for name in list(logging.Logger.manager.loggerDict):
            if name.partition(".")[0] in _LOUD:
                logging.getLogger(name).addFilter(_SILENT)  # one that is there already is not added again
    before, _SILENT.now = _SILENT.now, True
    try:
        yield
    finally:
        _SILENT.now = before


def _apprise(place: str, message: Message) -> str:
    try:
        channel = _channel(place)
    except ImportError:
        return "Apprise is not installed: pip install 'fullcircle[lab]'"
    if channel is None:
        return "Apprise knows no such address"
    kind = {"resolved": "success", "test": "info"}.get(message.event, "warning")
    if message.severity == "page" and message.event != "resolved":
        kind = "failure"
    import apprise

    try:
        with _silence():
            sent = channel.notify(
                body=_harmless(f"{message.text}\nMessage {message.id}"),
                title=_harmless(message.title),
                notify_type=apprise.NotifyType(kind),
                body_format="text",
            )
    except Exception as error:  # noqa: BLE001 - a stranger's code, and an alarm must not be lost by it
        return f"Apprise failed: {type(error).__name__}"
    return "" if sent else "Apprise could not deliver it; try it with fullcircle alarms test PROJECT"


def _harmless(text: str) -> str:
    """A text in which nobody is called and no word hides a link: names of columns and categories come from strangers.

    Apprise escapes the markup of those channels that it knows to have some; several call everybody at "@all" or
    "<users/all>" all the same. A character without width behind those signs changes nothing that people see.
    """
    for sign in ("@", "<", "]("):
        text = text.replace(sign, sign[0] + _NO_WIDTH + sign[1:])
    return text
