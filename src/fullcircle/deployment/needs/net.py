"""Reaching something over the network, and what it means when that fails."""

from __future__ import annotations

import http.client
import socket
import ssl

from fullcircle.deployment.needs.outcome import Unmet


def reach(host: str, port: int, seconds: float) -> None:
    """Open a connection and close it again. Raises Unmet."""
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except (OSError, UnicodeError) as error:
        raise unreached(error, f"{host}:{port}", seconds) from error


def unreached(error: Exception, place: str, seconds: float) -> Unmet:
    """The words for an exception that came up while somebody was asked. ``place`` must hold no secret."""
    firewall = "see that it runs, and that a firewall between lets this machine through"
    if isinstance(error, socket.gaierror | UnicodeError):
        return Unmet("the name of the host is not known here", received=place, next_step="correct it, or see the DNS")
    if isinstance(error, ssl.SSLCertVerificationError):
        return Unmet(
            f"its certificate is not accepted: {error.verify_message}",
            received=place,
            next_step="renew the certificate; for an authority of your own set SSL_CERT_FILE where the model runs",
        )
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "reason", None) or "it hung up"  # not all of them have one
        return Unmet(
            f"it does not speak TLS with us: {why.lower().replace('_', ' ')}",
            received=place,
            next_step="write http:// where it speaks no TLS, or see to its versions of TLS",
        )
    if isinstance(error, TimeoutError):
        return Unmet(f"no answer within {seconds:g} seconds", received=place, next_step=firewall)
    if isinstance(error, ConnectionRefusedError):
        return Unmet("nothing listens there", received=place, next_step="start it, or correct the address")
    if isinstance(error, http.client.HTTPException | ConnectionResetError | BrokenPipeError):
        return Unmet(
            "something listens there and does not answer in HTTP",
            received=place,
            next_step="correct the address, or write https:// where it speaks TLS",
        )
    told = getattr(error, "strerror", None) or type(error).__name__
    return Unmet(f"it cannot be reached: {told}", received=place, next_step=firewall)
