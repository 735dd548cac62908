"""A compiled form as a file: arrays without objects, and every index in them checked before it is followed."""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.lib import format as npy

from fullcircle.errors import BundleInvalid
from fullcircle.runtimes.forms.linear import LinearForm, Weights
from fullcircle.runtimes.forms.links import LINKS_OF
from fullcircle.runtimes.forms.preparing import MOST_BINS, OPERATIONS, Array, Chains, Prepared, Tables, arrays
from fullcircle.runtimes.forms.trees import MOST_LEAVES, MOST_NODES, MOST_TABLE_BYTES, Forest, TreesForm, table_bytes
from fullcircle.types.contract import Contract

MOST_BYTES = 2**30
_MOST_FILES = 64
_MOST_OPERATIONS = 1000


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is not an array: which form, and how scores become answers."""

    form: str
    decision: str
    link: str
    divisor: float = 1.0
    single: bool = False
    takes_missing: bool = False


_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)\{'descr': '(?P<kind>[<|][a-z][0-9])', 'fortran_order': False, "
    rb"'shape': \((?P<shape>[0-9]{1,10},|[0-9]{1,10}, [0-9]{1,10})\), \} *\n",
    re.DOTALL,
)
_COMMON = {
    "width": ("<i4", 1),
    "chain.sources": ("<i4", 1),
    "chain.operations": ("|u1", 1),
    "chain.values": ("<f8", 2),
    "chain.marks": ("|b1", 2),
    "table.columns": ("<i4", 1),
    "table.keys": ("<f8", 1),
    "table.starts": ("<i4", 1),
    "table.refused": ("|b1", 1),
    "feature.chain": ("<i4", 1),
    "feature.entry": ("<i4", 1),
    "feature.values": ("<f8", 1),
    "feature.first": ("<i4", 1),
}
_TREES = {
    "node.feature": ("<i4", 1),
    "node.threshold": ("<f8", 1),
    "node.left": ("<i4", 1),
    "node.right": ("<i4", 1),
    "node.missing_left": ("|b1", 1),
    "node.category": ("<i4", 1),
    "node.members": ("|b1", 2),
    "node.value": ("<f8", 2),
    "tree.starts": ("<i4", 1),
    "tree.start": ("<f8", 1),
}
_LINEAR = {"weights": ("<f8", 2), "intercept": ("<f8", 1)}


def trees(prepared: Prepared, forest: Forest, decision: str, link: str) -> bytes:
    """A form of trees as a file. The same form gives the same bytes."""
    words = Words(
        form="trees",
        decision=decision,
        link=link,
        divisor=forest.divisor,
        single=forest.single,
        takes_missing=forest.takes_missing,
    )
    found = {
        "node.feature": forest.feature,
        "node.threshold": forest.threshold,
        "node.left": forest.left,
        "node.right": forest.right,
        "node.missing_left": forest.missing_left,
        "node.category": forest.category,
        "node.members": forest.members,
        "node.value": forest.value,
        "tree.starts": forest.starts,
        "tree.start": forest.start,
    }
    return _packed(words, arrays(prepared) | found, _COMMON | _TREES)


def linear(prepared: Prepared, weights: Weights, decision: str, link: str) -> bytes:
    """A linear form as a file. The same form gives the same bytes."""
    words = Words(form="linear", decision=decision, link=link)
    found = {"weights": weights.weights, "intercept": weights.intercept}
    return _packed(words, arrays(prepared) | found, _COMMON | _LINEAR)


def opened(data: bytes, contract: Contract) -> TreesForm | LinearForm:
    """The form in a file, when all of it is sound. Raises BundleInvalid, before anything large is allocated."""
    words, found = _unpacked(data)
    prepared = _prepared(found, len(contract.columns))
    scores = max(1, len(contract.classes)) if words.decision == "largest" else 1
    _require(words.link in LINKS_OF.get(words.decision, ()), "how it decides")
    _require((words.decision == "value") == (contract.task == "regression"), "how it decides")
    _require(words.decision == "value" or len(contract.classes) >= 2, "how it decides")
    two = ("positive", "nonnegative", "likelier")
    _require(words.decision not in two or len(contract.classes) == 2, "how it decides")
    if words.form == "linear":
        return _linear(words, prepared, found, scores)
    return _trees(words, prepared, found, scores)


def _linear(words: Words, prepared: Prepared, found: Mapping[str, Array], scores: int) -> LinearForm:
    weights, intercept = found["weights"], found["intercept"]
    _require(weights.shape == (scores, len(prepared.chain)) and intercept.shape == (scores,), "its weights")
    _require(bool(np.isfinite(weights).all() and np.isfinite(intercept).all()), "its weights")
    return LinearForm(prepared, Weights(weights=weights, intercept=intercept), words.decision, words.link)


def _trees(words: Words, prepared: Prepared, found: Mapping[str, Array], scores: int) -> TreesForm:
    feature, left, right, category = (
        found[f"node.{name}"].astype(np.intp) for name in ("feature", "left", "right", "category")
    )
    starts, members, value = found["tree.starts"].astype(np.intp), found["node.members"], found["node.value"]
    count = len(feature)
    _require(words.link != "none", "how it decides")
    _require(count <= MOST_NODES, "the number of its nodes")
    for name in ("node.threshold", "node.left", "node.right", "node.missing_left", "node.category", "node.value"):
        _require(len(found[name]) == count, "its nodes")
    _require(len(starts) >= 2 and starts[0] == 0 and starts[-1] == count, "its trees")
    _require(bool((np.diff(starts) > 0).all()), "its trees")
    _require(bool(((feature >= -1) & (feature < len(prepared.chain))).all()), "the features of its nodes")
    inner = np.flatnonzero(feature >= 0)
    end = np.repeat(starts[1:], np.diff(starts))
    for child in (left, right):  # children after parents and in the same tree, so every walk ends
        _require(bool(((child[inner] > inner) & (child[inner] < end[inner])).all()), "the branches of its nodes")
    reached = np.bincount(np.concatenate((left[inner], right[inner])), minlength=count)
    reached[starts[:-1]] += 1
    _require(bool((reached == 1).all()), "the branches of its nodes")
    threshold = found["node.threshold"]
    _require(not np.isnan(threshold).any() and bool(np.isfinite(value).all()), "the numbers of its nodes")
    _require(members.shape[1] == 256 and bool(((category >= -1) & (category < len(members))).all()), "its categories")
    _categories(prepared, feature, category)
    _require(math.isfinite(words.divisor) and words.divisor >= 1.0, "its divisor")
    each, base = value.shape[1], found["tree.start"]
    trees = len(starts) - 1
    _require(bool(np.isfinite(base).all()) and len(base) == scores, "its scores")
    _require((each == 1 and trees % scores == 0) or each == scores, "its scores")
    forest = Forest(
        feature=feature,
        threshold=threshold,
        left=left,
        right=right,
        missing_left=found["node.missing_left"],
        category=category,
        members=members,
        value=value,
        starts=starts,
        start=base,
        divisor=words.divisor,
        single=words.single,
        takes_missing=words.takes_missing,
    )
    if forest.most_leaves <= MOST_LEAVES:
        _require(table_bytes(prepared, forest) <= MOST_TABLE_BYTES, "the size of its tables")
    else:
        _require(not (category >= 0).any(), "its categories")
    return TreesForm(prepared, forest, words.decision, words.link)


def _categories(prepared: Prepared, feature: Array, category: Array) -> None:
    """A split by category may only meet the numbers 0 to 255, or a missing value."""
    split = np.unique(feature[(category >= 0) & (feature >= 0)])
    _require(not ((category >= 0) & (feature < 0)).any(), "its categories")
    for one in split.tolist():
        _require(prepared.chain[one] < 0, "its categories")
        values = prepared.table(one)
        known = values[~np.isnan(values)]
        _require(bool(((known >= 0) & (known < 256) & (known == np.floor(known))).all()), "its categories")


def _prepared(found: Mapping[str, Array], width: int) -> Prepared:
    _require(found["width"].tolist() == [width], "its columns")
    chains = Chains(
        sources=found["chain.sources"].astype(np.intp),
        operations=found["chain.operations"].astype(np.intp),
        values=found["chain.values"],
        marks=found["chain.marks"],
    )
    shape = (len(chains.operations), len(chains.sources))
    _require(len(chains.operations) <= _MOST_OPERATIONS, "the number of its operations")
    _require(_within(chains.sources, width) and _within(chains.operations, len(OPERATIONS)), "its columns")
    _require(chains.values.shape == shape and chains.marks.shape == shape, "its columns")
    tables = Tables(
        columns=found["table.columns"].astype(np.intp),
        keys=found["table.keys"],
        starts=found["table.starts"].astype(np.intp),
        refused=found["table.refused"],
    )
    starts = tables.starts
    _require(_within(tables.columns, width) and len(starts) == len(tables.columns) + 1, "its tables")
    _require(starts[0] == 0 and starts[-1] == len(tables.keys) and bool((np.diff(starts) > 0).all()), "its tables")
    _require(len(tables.refused) == len(tables.keys) + len(tables.columns), "its tables")
    for entry in range(len(tables.columns)):
        keys = tables.keys_of(entry)
        _require(keys[-1] == np.inf and bool((np.diff(keys) > 0).all()), "its tables")
    return _features(found, chains, tables, width)


def _features(found: Mapping[str, Array], chains: Chains, tables: Tables, width: int) -> Prepared:
    chain, entry, first = (found[f"feature.{name}"].astype(np.intp) for name in ("chain", "entry", "first"))
    values = found["feature.values"]
    direct = chain >= 0
    _require(len(chain) <= MOST_BINS, "the number of its features")
    _require(len(chain) > 0 and len(entry) == len(chain) and len(first) == len(chain) + 1, "its features")
    _require(sorted(chain[direct].tolist()) == list(range(len(chains.sources))), "its features")
    _require(_within(entry[~direct], len(tables.columns)) and bool((entry[direct] == -1).all()), "its features")
    lengths = np.zeros(len(chain), dtype=np.intp)
    lengths[~direct] = tables.bins[entry[~direct]]
    _require(first[0] == 0 and bool((np.diff(first) == lengths).all()) and first[-1] == len(values), "its features")
    _require(len(values) <= MOST_BINS and len(tables.keys) <= MOST_BINS, "the size of its tables")
    return Prepared(width=width, chains=chains, tables=tables, chain=chain, entry=entry, values=values, first=first)


def _packed(words: Words, found: Mapping[str, Array], kinds: Mapping[str, tuple[str, int]]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("words.json"), msgspec.json.encode(words, order="sorted"))
        for name in sorted(found):
            stream = io.BytesIO()
            npy.write_array(stream, np.ascontiguousarray(found[name], dtype=kinds[name][0]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), stream.getvalue())
    return out.getvalue()


def _unpacked(data: bytes) -> tuple[Words, dict[str, Array]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _require(len(entries) <= _MOST_FILES, "its files")
            # Nothing is compressed, so entries that lie over each other are all that could be more than the file.
            _require(sum(entry.file_size for entry in entries) <= min(MOST_BYTES, len(data)), "its size")
            _require(all(entry.compress_type == zipfile.ZIP_STORED for entry in entries), "its files")
            files = {entry.filename: archive.read(entry) for entry in entries}
            words = msgspec.json.decode(files.pop("words.json", b""), type=Words)
    except BundleInvalid:
        raise
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError, RuntimeError) as error:
        raise _invalid("it cannot be read") from error
    kinds = _COMMON | {"trees": _TREES, "linear": _LINEAR}.get(words.form, {})
    _require(words.form in ("trees", "linear"), "its name")
    _require(len(files) + 1 == len(entries) and {f"{name}.npy" for name in kinds} == files.keys(), "its files")
    return words, {name: _array(files[f"{name}.npy"], *kind) for name, kind in kinds.items()}


def _array(content: bytes, kind: str, dimensions: int) -> Array:
    """An array of version 1.0 of numpy's format as ``_packed`` writes it, read without numpy's own lenient parser."""
    head = _HEADER.match(content)
    if head is None:
        raise _invalid("an array in it cannot be read")
    start = 10 + int.from_bytes(head["length"], "little")
    shape = tuple(int(length) for length in head["shape"].split(b",") if length.strip())
    rest = content[start:]
    _require(head.end() == start and head["kind"].decode() == kind and len(shape) == dimensions, "its arrays")
    _require(math.prod(shape) * np.dtype(kind).itemsize == len(rest), "its arrays")
    if kind == "|b1":
        _require(not rest.translate(None, b"\x00\x01"), "its arrays")
    return np.frombuffer(rest, dtype=kind).reshape(shape)


def _within(indices: Array, count: int) -> bool:
    return bool(((indices >= 0) & (indices < count)).all())


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise _invalid(f"{what} cannot be")


def _invalid(what: str) -> BundleInvalid:
    return BundleInvalid(
        f"the compiled form of the model is damaged: {what}",
        next_step="do not use it; fetch it again, or build it again with: fullcircle package",
    )
