"""TLS: the certificate that the server shows, and what it refuses to begin with."""

from __future__ import annotations

import ssl
from pathlib import Path

from fullcircle.errors import SettingInvalid


def context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What encrypts connections (TLS 1.2 or later); None without a certificate. Raises SettingInvalid."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise SettingInvalid(
            "TLS needs a certificate and its key",
            received="one of them",
            next_step="give both: --tls-cert FILE --tls-key FILE",
        )
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl's own errors are kinds of OSError
        raise SettingInvalid(
            "the certificate or its key cannot be used",
            received=f"{certificate}, {key}: {getattr(error, 'reason', None) or getattr(error, 'strerror', error)}",
            allowed="two files in PEM that belong together, the key not encrypted",
            next_step="see that both can be read by who runs the server",
        ) from error
    return made


def _no_password() -> str:
    """Nobody is there to type one: an encrypted key is refused rather than waited for."""
    raise ValueError("the key is encrypted")
