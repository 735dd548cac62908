"""Talking to a server: requests and answers of the protocol, in JSON and in bytes."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from fullcircle.errors import SettingInvalid

Document = dict[str, Any]

DATATYPES = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d", "BYTES": "",
}  # fmt: skip
"""Every datatype of the protocol, with its format in ``struct``."""
LENGTH = "Inference-Header-Content-Length"
TIMEOUT = 30.0
"""Seconds that a request may take until its answer is there, where nobody says otherwise."""
TURNED_AWAY = {
    401: "asks who calls, and does not know this caller",
    403: "does not let this caller ask the model",
    429: "takes no more requests from this caller for the moment",
}
"""What a server says of who asks, by its status: it has not looked at the request then."""
_DAY = 86400.0


class Broken(Exception):
    """A promise that was not kept; the text says how."""


class Absent(Exception):
    """Something that the server does not offer and need not."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a server answered. ``headers`` have names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON, or the document in front of binary data."""
        length = int(self.headers.get(LENGTH.lower(), len(self.body)))
        try:
            return json.loads(self.body[:length], parse_constant=_no_number)
        except ValueError as error:
            raise Broken(f"the body of status {self.status} is not JSON") from error


@dataclass(kw_only=True)
class Peer:
    """A server and a model. ``request`` is an inference request of one row; without one it is made from metadata.

    ``headers`` go with every request, such as a key. ``manage`` lets cases unload and load the model. ``timeout`` is
    the seconds until a request has to be answered in full, above 0 and at most a day. Other values, and a ``url``
    that is none, are ``SettingInvalid``.
    """

    url: str
    model: str
    request: Document | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    manage: bool = False
    timeout: float = TIMEOUT

    def __post_init__(self) -> None:
        try:
            place = urlsplit(self.url)
            found = place.scheme in ("http", "https") and place.hostname and place.port != 0
        except ValueError:  # a port that is none, or half an IPv6 address
            found = False
        if not found:
            raise SettingInvalid(
                "this is no address of a server",
                received=self.url,
                allowed="http:// or https://, a host, and a port from 1 to 65535 where it is not the usual one",
                next_step="give it as http://127.0.0.1:8710",
            )
        if not (isinstance(self.timeout, int | float) and 0 < self.timeout <= _DAY):
            raise SettingInvalid(
                "no server can be waited for that long",
                received=f"a timeout of {self.timeout!r}",
                allowed=f"seconds above 0 and at most {_DAY:.0f}, which is a day",
                next_step=f"give a number such as 5, or leave it out, which is {TIMEOUT:g}",
            )

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request, on a connection of its own; Broken where it is not answered in time."""
        place = urlsplit(self.url)
        kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
        connection = kind(place.hostname or "", place.port, timeout=self.timeout)
        late = threading.Event()
        try:
            connection.connect()
            with _ended_after(self.timeout, connection.sock, late):
                connection.request(method, place.path.rstrip("/") + path, body, {**self.headers, **(headers or {})})
                found = connection.getresponse()
                named = {name.lower(): value for name, value in found.getheaders()}
                reply = Reply(status=found.status, headers=named, body=found.read())
        except (OSError, http.client.HTTPException) as error:
            if not late.is_set() and not isinstance(error, TimeoutError):
                raise Broken(f"{method} {path} is not answered: {type(error).__name__}") from error
            late.set()
        finally:
            connection.close()
        if late.is_set():
            raise Broken(f"{method} {path} is not answered in full within {self.timeout:g} s")
        return reply

    @property
    def place(self) -> str:
        """The model's address."""
        return f"/v2/models/{quote(self.model, safe='')}"

    def metadata(self) -> Document:
        """The model's metadata."""
        found = self.send("GET", self.place)
        expect(found.status == 200, f"the metadata are answered with {found.status}")
        document: Document = found.document
        return document

    def one(self) -> Document:
        """An inference request of one row, every input with its data as a flat list."""
        if self.request is None:
            self.request = _made(self.metadata())
        found: Document = json.loads(json.dumps(self.request))
        return found

    def infer(self, document: object, *, path: str = "", headers: Mapping[str, str] | None = None) -> Reply:
        """What is answered to a request; bytes are sent as they are."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        named = {"Content-Type": "application/json"} if headers is None else headers
        return self.send("POST", f"{self.place}{path}/infer", body, named)

    def outputs(self, document: object, **more: Any) -> dict[str, Document]:
        """The outputs of a request that has to be answered, by name, each with its data as a flat list."""
        found = self.infer(document, **more)
        expect(found.status == 200, f"a request that is right is answered with {found.status}: {said(found)}")
        return read(found)

    def steady(self, request: Document | None = None) -> dict[str, Document]:
        """The outputs that are the same when the same is asked twice; of the one row where none is given."""
        first, second = (self.outputs(request or self.one()) for _ in range(2))
        same = {name: one for name, one in first.items() if second.get(name) == one}
        if not same:
            raise Absent("no output is the same when the same is asked twice, so that nothing can be compared")
        return same

    def binary(self, document: Document) -> tuple[bytes, dict[str, str]]:
        """A request with all of its data as bytes, and its headers."""
        blobs = [in_bytes(one["datatype"], one.pop("data")) for one in document["inputs"]]
        for one, blob in zip(document["inputs"], blobs, strict=True):
            one["parameters"] = {**one.get("parameters", {}), "binary_data_size": len(blob)}
        head = json.dumps(document).encode()
        kind = {"Content-Type": "application/octet-stream", LENGTH: str(len(head))}
        return b"".join([head, *blobs]), kind


@contextmanager
def _ended_after(seconds: float, sock: socket.socket, late: threading.Event) -> Iterator[None]:
    """End the connection once the time is up: the timeout of a socket begins anew with every byte."""

    def end() -> None:
        late.set()
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # not that of TLS, which is no other thread's to end

    watch = threading.Timer(seconds, end)
    watch.daemon = True
    watch.start()
    try:
        yield
    finally:
        watch.cancel()


def expect(kept: object, otherwise: str) -> None:
    """Raise Broken with these words where a promise is not kept."""
    if not kept:
        raise Broken(otherwise)


def said(found: Reply) -> str:
    """The text of a refusal, shortened; "" where there is none."""
    try:
        return str(found.document["error"])[:200]
    except (Broken, KeyError, TypeError):
        return ""


def refused(found: Reply, what: str) -> None:
    """Raise Broken unless this is an error of the protocol: a status from 400 to 499, and ``{"error": TEXT}``.

    What is refused because of who asks, or how often, says nothing of what was asked.
    """
    expect(400 <= found.status < 500, f"{what} is answered with {found.status}, and not with 4xx")
    expect(found.status not in TURNED_AWAY, f"{what} is not looked at: it is answered with {found.status}")
    document = found.document
    text = document.get("error") if isinstance(document, dict) else None
    expect(isinstance(text, str) and text, f'{what} is refused without {{"error": TEXT}}')


def read(found: Reply) -> dict[str, Document]:
    """The outputs of an answer by name, with ``data`` as a flat list wherever they stood."""
    document = found.document
    start = int(found.headers.get(LENGTH.lower(), len(found.body)))
    outputs: dict[str, Document] = {}
    for one in document["outputs"]:
        size = (one.get("parameters") or {}).get("binary_data_size")
        if size is None:
            data = _flat(one["data"])
        else:
            data = out_of_bytes(one["datatype"], found.body[start : start + size])
            start += size
        count = 1
        for side in one["shape"]:
            count *= side
        expect(len(data) == count, f"output {one['name']!r} has {len(data)} values and the shape {one['shape']}")
        outputs[one["name"]] = {"datatype": one["datatype"], "shape": one["shape"], "data": data}
    expect(start >= len(found.body), "there are more bytes behind the document than its outputs have")
    return outputs


def in_bytes(datatype: str, data: Sequence[Any]) -> bytes:
    """Data as the binary extension has them."""
    if datatype == "BYTES":
        texts = [str(value).encode() for value in data]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    values = [float("nan") if value is None else value for value in data]
    return struct.pack(f"<{len(values)}{DATATYPES[datatype]}", *values)


def out_of_bytes(datatype: str, part: bytes) -> list[Any]:
    """The values that bytes stand for; None for NaN."""
    if datatype != "BYTES":
        found = [value for (value,) in struct.iter_unpack(f"<{DATATYPES[datatype]}", part)]
        return [None if value != value else value for value in found]
    texts: list[Any] = []
    while part:
        (length,) = struct.unpack_from("<I", part)
        expect(len(part) >= 4 + length, "a text of an output is cut off")
        texts.append(part[4 : 4 + length].decode())
        part = part[4 + length :]
    return texts


def _flat(data: Any) -> list[Any]:
    return [value for part in data for value in _flat(part)] if isinstance(data, list) else [data]


def _made(metadata: Document) -> Document:
    """A request of one row: the example of the metadata where they have one, else a neutral value for each input."""
    example = (metadata.get("properties") or {}).get("example")
    if example is not None:
        document: Document = json.loads(example)
        return document
    inputs = []
    for one in metadata["inputs"]:
        shape = [1 if side < 1 else side for side in one["shape"]]
        count = 1
        for side in shape:
            count *= side
        value: Any = "a" if one["datatype"] == "BYTES" else True if one["datatype"] == "BOOL" else 1
        inputs.append({"name": one["name"], "shape": shape, "datatype": one["datatype"], "data": [value] * count})
    return {"inputs": inputs}


def _no_number(token: str) -> float:
    raise ValueError(f"{token} is no JSON")
