"""A judged model file, written so that the same model gives the same bytes, in any process and at any time.

skops names nodes and files by memory addresses and keeps the clock in the zip, and numpy writes whatever
lies between the fields of a record: a digest of that says nothing.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from fullcircle.runtimes import arrays
from fullcircle.runtimes.skopsfile import PROTOCOL, SCHEMA, Judged, State

_DATE = (1980, 1, 1, 0, 0, 0)


def write(judged: Judged, rename: Mapping[str, str] | None = None, *, compress: bool = True) -> bytes:
    """The file in canonical form: the same model gives the same bytes, in any process and at any time.

    ``rename`` gives modules of the project another name.
    """
    rewriting = _Rewriting(judged, rename or {})
    schema = rewriting.node(judged.schema)
    schema["protocol"] = PROTOCOL
    schema["_skops_version"] = judged.schema.get("_skops_version", "")
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", compression=method, compresslevel=6 if compress else None) as archive:
        for name, content in [(SCHEMA, json.dumps(schema).encode()), *rewriting.files.items()]:
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = method
            archive.writestr(entry, content)
    return buffer.getvalue()


class _Rewriting:
    """Numbers ids and files in the order they come, and drops ids that nothing else refers to."""

    def __init__(self, judged: Judged, rename: Mapping[str, str]) -> None:
        self.judged = judged
        self.rename = rename
        self.files: dict[str, bytes] = {}
        self.names: dict[tuple[bytes, str], str] = {}
        self.ids: dict[int, int] = {}
        self.shared = _shared(judged.schema)

    def node(self, state: State) -> State:
        found = {key: self.value(value) for key, value in state.items() if key not in ("__id__", "file")}
        found["__module__"] = self.rename.get(state["__module__"], state["__module__"])
        if state["__loader__"] == "SetNode":
            found["content"] = sorted(found["content"], key=json.dumps)
        if "file" in state:
            found["file"] = self.file(state["file"])
        if state.get("__id__") in self.shared:
            found["__id__"] = self.ids.setdefault(state["__id__"], len(self.ids) + 1)
        return found

    def value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            is_node = isinstance(value.get("__loader__"), str)
            return self.node(value) if is_node else {key: self.value(each) for key, each in value.items()}
        return value

    def file(self, name: str) -> str:
        content = self.judged.files[name]
        if name.endswith(".npy"):
            content = arrays.without_padding(content)
        found = f"{len(self.names) + 1}.{name.rpartition('.')[2][:3]}"
        found = self.names.setdefault((content, found.rpartition(".")[2]), found)
        self.files[found] = content
        return found


def _shared(value: object) -> frozenset[int]:
    """The ids of nodes that occur more than once. Plain values are equal without being the same."""
    counts: dict[int, int] = {}
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            if isinstance(each.get("__id__"), int) and each.get("__loader__") not in ("JsonNode", "TypeNode"):
                counts[each["__id__"]] = counts.get(each["__id__"], 0) + 1
            left.extend(each.values())
        elif isinstance(each, list):
            left.extend(each)
    return frozenset(identity for identity, count in counts.items() if count > 1)
