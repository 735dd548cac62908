"""Who may ask a server what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Verb = Literal["read", "predict", "explain", "label", "manage"]
"""What is done at an address: look (models, metrics, documents), predict, explain, send labels, load and unload."""
Role = Literal["viewer", "scorer", "engineer", "approver"]

ROLES: Mapping[Role, frozenset[Verb]] = {
    "viewer": frozenset({"read"}),
    "scorer": frozenset({"read", "predict", "explain", "label"}),
    "engineer": frozenset({"read", "predict", "explain", "label", "manage"}),
    "approver": frozenset({"read"}),
}
"""What each role may do at a server. An approver's own business is ``fullcircle approve``."""
