"""The settings in force, as the environment variables that make another process use the same."""

from __future__ import annotations

import os
from collections.abc import Mapping

from fullcircle.settings import SETTINGS, Settings

_PATHS = ("workspace", "config", "environments", "blobs", "features", "tls_cert", "tls_key")
_SQLITE = "sqlite:///"


def variables_of(settings: Settings) -> Mapping[str, str]:
    """The settings in force as environment variables, with paths that do not depend on where one stands."""
    found = {}
    for setting in SETTINGS:
        value = settings[setting.name]
        if value and setting.name in _PATHS and "://" not in value:
            value = os.path.abspath(settings.folder / value)
        if value.startswith(_SQLITE) and not value.startswith(f"{_SQLITE}/"):
            value = _SQLITE + os.path.abspath(settings.folder / value.removeprefix(_SQLITE))
        if value:
            found[setting.env[0]] = value
    return found
