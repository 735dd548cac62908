"""The door of the server: the socket it listens on, and how that closes without turning away who already came."""

from __future__ import annotations

import ctypes
import errno
import select
import socket
import struct
import sys
from contextlib import suppress

from fullcircle.errors import PortInUse, ServerFailed, SettingInvalid
from fullcircle.settings import is_loopback

BACKLOG = 2048
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER of Linux; the module socket does not name it
_NO_NEW_CONNECTION = (
    (0x30, 0, 0, 13),  # load the flags of the TCP header
    (0x54, 0, 0, 0x12),  # keep SYN and ACK
    (0x15, 0, 1, 0x02),  # SYN alone begins a connection:
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # let everything else pass
)


def listen(host: str, port: int, *, beside: bool = False) -> socket.socket:
    """A socket bound to the address; port 0 is any free one. Raises PortInUse or ServerFailed.

    Nobody else may listen there. With ``beside`` another server of the same user may, which this one takes over from:
    it is bound only, and whoever calls ``listen`` on it gets a share of the connections from then on (Linux).
    """
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ServerFailed(
            "this is not an address of this machine", received=ascii(host), next_step="use 127.0.0.1"
        ) from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if beside:
            _share(bound)
        bound.bind(address)
        if not beside:
            # Said after the bind, it lets a later one in that says it before, and keeps out all others.
            _share(bound)
            bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                "another program listens on this port",
                received=f"{host}:{port}",
                next_step="choose another port with --port, or --port 0 for any free one",
            ) from error
        raise ServerFailed(
            f"the server cannot listen there: {error.strerror}",
            received=f"{host}:{port}",
            next_step="choose another address or port",
        ) from error
    bound.setblocking(False)
    return bound


def _share(bound: socket.socket) -> None:
    if sys.platform.startswith("linux"):
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def check_reach(host: str, *, controlled: bool, encrypted: bool) -> None:
    """Refuse an address beyond loopback without access control, or without TLS, where nobody said so.

    Raises SettingInvalid.
    """
    if is_loopback(host):
        return
    if not controlled:
        raise SettingInvalid(
            "beyond loopback the server asks for keys, and there are none",
            received=ascii(host),
            allowed="127.0.0.1, localhost, ::1; any address with keys, or with --without-access-control",
            next_step="make a key: fullcircle key create NAME --role scorer; or say --without-access-control where "
            "whoever reaches the port may ask everything",
        )
    if not encrypted:
        raise SettingInvalid(
            "beyond loopback the server speaks TLS, and has no certificate",
            received=ascii(host),
            allowed="127.0.0.1, localhost, ::1; any address with --tls-cert and --tls-key, or with --without-tls",
            next_step="give it a certificate and its key; or say --without-tls where a proxy in front ends TLS",
        )


def url(bound: socket.socket, *, encrypted: bool = False) -> str:
    """The address of a bound socket, for people and clients; where it listens on all, that of loopback."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - no address to listen on
    scheme = "https" if encrypted else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def shut(bound: socket.socket) -> None:
    """Let nobody begin a connection any more, while those in the queue can still be accepted.

    A socket that is closed resets who waits in its queue, and somebody may join between the last accept and the
    close. So the kernel is told first to drop packets that begin a connection: their senders try again within a
    second and are refused then, having sent nothing. Other systems than Linux have no such filter; there a
    connection that comes at the very moment of the close is reset.
    """
    if not sys.platform.startswith("linux"):
        return
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _NO_NEW_CONNECTION))
    with suppress(OSError):  # a sandbox may forbid it: the same as on other systems
        bound.setsockopt(
            socket.SOL_SOCKET,
            _ATTACH_FILTER,
            struct.pack("HL", len(_NO_NEW_CONNECTION), ctypes.addressof(program)),
        )


def somebody_waits(bound: socket.socket) -> bool:
    """Whether a connection waits to be accepted."""
    poll = select.poll()
    poll.register(bound, select.POLLIN)
    return bool(poll.poll(0))
