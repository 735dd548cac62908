"""``python -I -m fullcircle.deployment.health URL``: ends with 0 when the server there is ready, else with 1.

For the health check of a container: it loads nothing but the standard library, and needs no other program.
"""

from __future__ import annotations

import http.client
import sys
from urllib.parse import urlsplit

SECONDS = 2.5


def healthy(url: str, *, timeout: float = SECONDS) -> bool:
    """Whether all models that are wanted answer at ``url``. Never raises."""
    try:
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException):
        return False


if __name__ == "__main__":
    sys.exit(0 if healthy(sys.argv[1]) else 1)
