"""A skops file, judged before anything in it is made. Only zip and JSON are read; nothing is imported.

The file is a zip of ``schema.json``, a tree of nodes, and the arrays that nodes point to. Every node has to be of a
known kind, with the fields of that kind and no others, and of a type that ``allowed`` lists for it. What the
framework then loads is not the file but what ``canonical`` writes of it, so there is no second reading.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fullcircle.errors import BundleInvalid, FullcircleError, ModelRefused
from fullcircle.runtimes import allowed

PROTOCOL = 2
MOST_BYTES = 2**31
MOST_FILES = 500_000
MOST_SCHEMA = 2**27
"""Bytes of the tree of nodes, each of which is many times larger in memory."""
_DEEPEST = 150
SCHEMA = "schema.json"
_COMMON = frozenset({"__class__", "__module__", "__loader__", "__id__"})
_CONTENT = frozenset({"content"})
_FIELDS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(allowed.BY_LOADER, _CONTENT),
    "DictNode": frozenset({"content", "key_types"}),
    "JsonNode": frozenset({"content", "is_json"}),
    "TypeNode": frozenset(),
    "FunctionNode": frozenset(),
    "BytesNode": frozenset({"file"}),
    "SparseMatrixNode": frozenset({"type", "file"}),
    "NdArrayNode": frozenset({"type", "file", "content", "shape"}),
    "LossNode": frozenset({"content", "__reduce__"}),
    "TreeNode": frozenset({"content", "__reduce__"}),
    "ConstructorFromReduceNode": _CONTENT,
}
_MAPPINGS: Mapping[str, frozenset[str]] = {
    "PartialNode": frozenset({"func", "args", "kwds", "namespace"}),
    "MaskedArrayNode": frozenset({"data", "mask"}),
    "RandomGeneratorNode": frozenset({"bit_generator", "seed_seq"}),
}

_SUFFIX = {"BytesNode": ".bin", "SparseMatrixNode": ".npz", "NdArrayNode": ".npy"}
"""By which ``arrays`` tells what it has to check."""

State = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A file that was found sound: its schema, the files it points to, and the names of all types, sorted.

    ``modules`` are the project's own modules among them. ``held`` are the documents of boosters, not yet judged.
    """

    schema: State = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    types: tuple[str, ...]
    modules: frozenset[str]
    held: tuple[bytes, ...] = field(repr=False, default=())


def judge(data: bytes, own: Callable[[str], bool] = lambda module: False) -> Judged:
    """Read a file and judge all of it; ``own`` tells whether a module is one of the project's own.

    Raises ModelRefused naming every type that is not allowed, and BundleInvalid for a file of another form.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _members(archive)
            text = members.pop(SCHEMA)
            if len(text) > MOST_SCHEMA:
                raise invalid("its schema is larger than that of any model may be")
            schema = json.loads(text)
            if not isinstance(schema, dict):
                raise invalid("its schema is not an object")
            judgement = _Judgement(members, own)
            judgement.root(schema)
    except FullcircleError:
        raise
    except (
        zipfile.BadZipFile,
        KeyError,
        ValueError,
        RecursionError,
        NotImplementedError,
        RuntimeError,
        OSError,
        EOFError,
    ) as error:
        raise invalid(f"it cannot be read ({type(error).__name__})") from error
    except zlib.error as error:
        raise invalid("its compressed data is broken") from error
    return Judged(
        schema=schema,
        files={name: members[name] for name in judgement.files},
        types=tuple(sorted(judgement.types)),
        modules=frozenset(judgement.modules),
        held=tuple(members[name] for name in judgement.held),
    )


def _members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = archive.infolist()
    names = {entry.filename for entry in entries}
    if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_BYTES:
        raise invalid("it is larger than any model may be")
    if len(names) != len(entries) or SCHEMA not in names:
        raise invalid("it is not a skops file")
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise invalid("it is compressed in another way than fullcircle does")
    return {entry.filename: archive.read(entry) for entry in entries}


class _Judgement:
    """Walks the tree once and keeps what it found."""

    def __init__(self, members: Mapping[str, bytes], own: Callable[[str], bool]) -> None:
        self.members = members
        self.own = own
        self.types: set[str] = set()
        self.modules: set[str] = set()
        self.files: dict[str, None] = {}
        self.held: dict[str, None] = {}
        self.refused: dict[str, None] = {}
        self.seen: dict[int, State] = {}

    def root(self, schema: State) -> None:
        if type(schema.get("protocol")) is not int or schema["protocol"] != PROTOCOL:
            raise invalid(f"its protocol is not {PROTOCOL}")
        state = {key: value for key, value in schema.items() if key not in ("protocol", "_skops_version")}
        self.node(state, 0)
        if self.refused:
            raise refused(list(self.refused))
        if set(self.members) != set(self.files):
            raise invalid("it holds files that its schema does not mention, or lacks some")

    def node(self, state: object, depth: int) -> None:
        if not isinstance(state, dict) or depth > _DEEPEST:
            raise invalid("a node of its schema is no object, or too deep")
        loader, module, cls = (state.get(key) for key in ("__loader__", "__module__", "__class__"))
        if not isinstance(loader, str) or not isinstance(module, str) or not isinstance(cls, str):
            raise invalid("a node of its schema has no type")
        name = f"{module}.{cls}"
        self.types.add(name)
        if name not in allowed.BY_LOADER.get(loader, ()) and not self._own(loader, module):
            self.refused[f"{name} ({loader})" if loader not in allowed.BY_LOADER else name] = None
        if loader in _FIELDS and not set(state) - _COMMON <= _FIELDS[loader]:
            raise invalid(f"a node of its schema ({loader}) has fields it should not have")
        self._identity(state)
        if name == allowed.HELD:
            self._holds(loader, state)
        for child in self._children(loader, state):
            self.node(child, depth + 1)

    def _holds(self, loader: str, state: State) -> None:
        """The place of a booster is an object with bytes and nothing else."""
        content = _dict(state.get("content"))
        inner = _dict(content.get("content"))
        if loader != "ObjectNode" or content.get("__loader__") != "DictNode" or set(inner) != {"document"}:
            raise invalid("the place of a booster in it is not as it has to be")
        document = _dict(inner["document"])
        file = document.get("file")
        if document.get("__loader__") != "BytesNode" or not isinstance(file, str) or file not in self.members:
            raise invalid("the place of a booster in it is not as it has to be")
        self.held[file] = None

    def _own(self, loader: str, module: str) -> bool:
        if loader not in ("ObjectNode", "ConstructorFromReduceNode") or not self.own(module):
            return False
        self.modules.add(module)
        return True

    def _identity(self, state: State) -> None:
        """Two nodes of one id are one object, so they must say the same."""
        identity = state.get("__id__")
        if identity is None:
            return
        if type(identity) is not int:
            raise invalid("a node of its schema has an id that is no number")
        first = self.seen.setdefault(identity, state)
        if first is not state and self._said(first) != self._said(state):
            raise invalid("two nodes of its schema share an id and differ")

    def _said(self, value: object) -> object:
        """A part of the schema without its ids, and with the content of its files."""
        if isinstance(value, dict):
            return {
                key: self.members.get(str(each)) if key == "file" else self._said(each)
                for key, each in value.items()
                if key != "__id__"
            }
        return [self._said(each) for each in value] if isinstance(value, list) else value

    def _children(self, loader: str, state: State) -> Iterator[object]:
        content = state.get("content")
        if loader in ("ListNode", "SetNode", "TupleNode"):
            yield from _list(content)
        elif loader == "DictNode":
            yield from _dict(content).values()
            yield state.get("key_types")
            self._key_types(state)
        elif loader in _MAPPINGS:
            if set(_dict(content)) != _MAPPINGS[loader]:
                raise invalid(f"a node of its schema ({loader}) is incomplete")
            yield from self._mapping(loader, _dict(content))
        elif loader in ("LossNode", "TreeNode"):
            yield _dict(state.get("__reduce__")).get("args")
            yield content
        elif loader in ("BytesNode", "SparseMatrixNode", "NdArrayNode"):
            yield from self._array(loader, state)
        elif loader in ("JsonNode", "SliceNode"):
            _plain(loader, content)
        elif content is not None and loader in _FIELDS:
            yield content

    def _key_types(self, state: State) -> None:
        key_types = _dict(state.get("key_types"))
        if key_types.get("__loader__") != "ListNode":
            raise invalid("a dictionary of its schema has keys of no type")
        for key in _list(key_types.get("content")):
            if _dict(key).get("__loader__") != "TypeNode":
                raise invalid("a dictionary of its schema has keys of no type")

    def _array(self, loader: str, state: State) -> Iterator[object]:
        if loader == "NdArrayNode" and state.get("type") == "json":
            yield state.get("shape")
            yield from _list(state.get("content"))
            return
        file = state.get("file")
        if loader == "NdArrayNode" and state.get("type") != "numpy":
            raise invalid("an array of its schema is of no known form")
        if not isinstance(file, str) or file not in self.members or "content" in state:
            raise invalid("a node of its schema names a file that is not there")
        if not file.endswith(_SUFFIX[loader]):
            raise invalid("a node of its schema names a file of another kind")
        self.files[file] = None

    def _mapping(self, loader: str, content: State) -> Iterator[object]:
        if loader == "RandomGeneratorNode":
            kind = _dict(_dict(content["bit_generator"]).get("content")).get("bit_generator")
            if json.loads(str(_dict(kind).get("content"))) not in allowed.BIT_GENERATORS:
                raise invalid("a random generator of its schema is of no known kind")
        if loader != "PartialNode":
            yield from content.values()
            return
        function, words = _dict(content["func"]), _dict(_dict(content["kwds"]).get("content"))
        fits = (
            f"{function.get('__module__')}.{function.get('__class__')}" == allowed.PARTIAL
            and function.get("__loader__") == "FunctionNode"
            and not _list(_dict(content["args"]).get("content"))
            and set(words) <= allowed.PARTIAL_WORDS
            and _dict(content["namespace"]).get("content") in ("null", {})
        )
        if not fits:
            self.refused[f"functools.partial of {function.get('__module__')}.{function.get('__class__')}"] = None
        else:
            self.types.add(allowed.PARTIAL)
        yield from (content["args"], content["kwds"])


def _dict(value: object) -> State:
    if not isinstance(value, dict):
        raise invalid("a node of its schema has no content of the right form")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise invalid("a node of its schema has no content of the right form")
    return value


def _plain(loader: str, content: object) -> None:
    if loader == "JsonNode":
        json.loads(content if isinstance(content, str) else "")
        return
    if set(_dict(content)) != {"start", "stop", "step"} or not all(
        part is None or isinstance(part, int) for part in _dict(content).values()
    ):
        raise invalid("a slice of its schema is none")


def invalid(why: str) -> BundleInvalid:
    """The error for a file that is not a sound model file."""
    return BundleInvalid(
        f"the model file cannot be used: {why}",
        allowed="a skops file that fullcircle wrote",
        next_step="build the bundle again from its run",
    )


def refused(names: Collection[str]) -> ModelRefused:
    """The error for types that are not allowed."""
    shown = ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return ModelRefused(
        "the model holds a type that may not be packaged, because loading it could run code",
        received=shown,
        allowed="scikit-learn's estimators, numpy's functions of one array, classes of the project's own modules",
        next_step=_advice(shown),
    )


def _advice(shown: str) -> str:
    if "<lambda>" in shown or "<locals>" in shown:
        return "write the function as a transformer class (fit, transform) in a module beside the project file"
    if "__main__" in shown:
        return "move the class into a module beside the project file and import it from there"
    return "replace it, or write it as a class in a module beside the project file"
