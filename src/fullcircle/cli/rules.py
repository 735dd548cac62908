"""The command that prints Prometheus' rules for a project."""

from __future__ import annotations

from typing import Any

from fullcircle.cli.door import Json, ProjectPath, door, show


def rules(project: ProjectPath, as_json: Json = False) -> None:
    """Print the rules for Prometheus that fit a project: what to record, and when to call somebody."""
    with door(as_json):
        from fullcircle.flows.rules import rules as flow

        show(flow(project), as_json, rules_text)


def rules_text(found: Any) -> Any:
    """The file, as it is."""
    return found.text
