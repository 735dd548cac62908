"""From an audited bundle to something that answers, and whether it answers as it did when it was evaluated."""

from __future__ import annotations

import hashlib
import math
import struct
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import msgspec

from fullcircle import registry
from fullcircle.errors import BundleInvalid, ModelRefused
from fullcircle.packaging import machine
from fullcircle.packaging.bundle import COMPILED, COMPILED_LOCK, COMPILED_ONNX, LOCK, Bundle, GoldenRow
from fullcircle.packaging.lock import pins
from fullcircle.runtimes.form import Form
from fullcircle.runtimes.runtime import Runtime, SavedModel
from fullcircle.runtimes.scorer import Enrich, Scorer
from fullcircle.types.form import COMPILED_FORMS
from fullcircle.types.prediction import Prediction

TOLERANCE = 1e-9
"""Of the largest golden answer: another CPU may order a sum differently; more is not the packaged model."""

_FORESTS = "sklearn.ensemble._forest"
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Replay:
    """How the golden rows were answered this time.

    ``largest_difference`` is the largest absolute difference of a number (prediction or probability), infinity
    where an answer differs in anything else: class, verdict, or the values the model saw. ``differences`` tells
    the first few in words.
    """

    rows: int
    same_bits: bool
    largest_difference: float
    differences: tuple[str, ...] = ()


def scorer(
    bundle: Bundle,
    code_folder: Path,
    *,
    version: int = 0,
    digest: str | None = None,
    enrich: Enrich | None = None,
    allow_pickle: bool = False,
) -> Scorer:
    """The scorer that answers for a bundle, in the form that its certificate names.

    A compiled form answers alone: the fitted model is then not built, and ``Scorer.model`` is None (``native`` builds
    it). The source of the project's own classes is kept under ``code_folder``, which may be shared by bundles and by
    processes. ``version`` and ``digest`` (by default the bundle's own) are written into each prediction; ``enrich``
    completes rows for a bundle with a feature view. ``allow_pickle`` says that somebody consented to a model file
    that runs code when it is loaded. Raises ModelRefused where the model holds a type that may not be loaded,
    PluginUnknown where its runtime is missing, BundleInvalid where the form's file is damaged.
    """
    compiled = bundle.certificate.form in COMPILED_FORMS
    model = None if compiled else native(bundle, code_folder, allow_pickle=allow_pickle)
    return Scorer(
        bundle.contract,
        model,
        name=bundle.manifest.model,
        version=version,
        bundle=bundle.digest if digest is None else digest,
        enrich=enrich,
        form=form(bundle, model),
    )


def form(bundle: Bundle, model: Any) -> Form | None:
    """The form that the certificate of a bundle names; None for the model as it was fitted, asked with a frame.

    ``model`` is the fitted model, which a compiled form does without.
    """
    # Compiled forms need numpy, and most imports of this module load no bundle at all.
    if bundle.certificate.form == "onnx":
        from fullcircle.runtimes.forms.onnx import OnnxForm

        return OnnxForm(bundle.contract, bundle.files[COMPILED_ONNX])
    if bundle.certificate.form in COMPILED_FORMS:
        from fullcircle.runtimes.forms import stored

        found = stored.opened(bundle.files[COMPILED], bundle.contract)
        if found.name != bundle.certificate.form:
            raise _unfit(bundle, f"{COMPILED} holds another form", found.name)
        return found
    if bundle.certificate.form == "array":
        from fullcircle.runtimes.forms.array import ArrayForm
        from fullcircle.runtimes.forms.steps import NotCompiled

        try:
            return ArrayForm(bundle.contract, model)
        except NotCompiled as error:
            raise _unfit(bundle, f"its model cannot be asked so: {error}", None) from error
    return None


def _unfit(bundle: Bundle, what: str, received: str | None) -> BundleInvalid:
    return BundleInvalid(
        f"the bundle does not hold the form that its certificate names: {what}",
        received=received,
        allowed=bundle.certificate.form,
        next_step="do not use it; fetch it again, or build it again with: fullcircle package",
    )


def native(bundle: Bundle, code_folder: Path, *, allow_pickle: bool = False) -> Any:
    """The fitted model of a bundle, as its runtime loads it. Raises as ``scorer`` does."""
    return restore(bundle.manifest.runtime, bundle.saved, code_folder, allow_pickle=allow_pickle)


def restore(runtime: str, saved: SavedModel, code_folder: Path, *, allow_pickle: bool = False) -> Any:
    """The model that ``saved`` holds, by the runtime of this name.

    Whether loading runs code is the runtime's word, not the file's: such a one is only asked with ``allow_pickle``.
    Forests of scikit-learn answer in one thread, whatever they were fitted with.
    """
    found: Runtime = registry.find("runtimes", runtime)()
    if found.pickled and not allow_pickle:
        raise ModelRefused(
            "loading this model would run code that its file chooses, and nobody consented to that",
            received=f"a model of the runtime {runtime}",
            allowed="models of the other runtimes, or consent: allow_pickle=True in the project file",
            next_step="see docs/models.md",
        )
    if found.pickled != saved.pickled:
        raise BundleInvalid(
            "the model says otherwise than its runtime whether loading it runs code",
            received=f"pickled: {saved.pickled}",
            allowed=f"pickled: {found.pickled}, as the runtime {runtime} has it",
            next_step="do not use it; fetch it again, or build it again with: fullcircle package",
        )
    model = found.load(saved.data, types=saved.types, code=source(saved.code, code_folder) if saved.code else None)
    if _FORESTS in sys.modules:
        _in_order(model)
    return model


def _in_order(model: Any) -> None:
    """Have each forest in a model add its trees in their order: its threads finish in any, and so no call gives the
    bits of another.
    """
    waiting, seen = [model], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part
        elif type(part).__module__ == _FORESTS:
            part.__dict__["n_jobs"] = 1
        elif hasattr(part, "__dict__") and not isinstance(part, type | ModuleType | FunctionType):
            waiting += vars(part).values()


def source(code: Mapping[str, bytes], folder: Path) -> Path:
    """A folder under ``folder`` that holds exactly these modules as files, and nothing that could shadow them.

    It is named after its content, written beside its place and renamed. One that is there already is compared
    file by file, and replaced where it differs: what was left on disk is never trusted.
    """
    files = {f"{module.replace('.', '/')}.py": content for module, content in sorted(code.items())}
    listing = msgspec.json.encode([(name, hashlib.sha256(content).hexdigest()) for name, content in files.items()])
    home = folder.absolute() / hashlib.sha256(listing).hexdigest()[:32]
    if _holds(home, files):
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=home.parent, ignore_cleanup_errors=True) as name:
        draft = Path(name) / "code"
        for file, content in files.items():
            path = draft / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if home.exists() and not _holds(home, files):
            home.rename(Path(name) / "spoilt")
        try:
            draft.rename(home)
        except OSError:
            if not _holds(home, files):  # another process was faster, with something else
                raise
    return home


def _holds(home: Path, files: Mapping[str, bytes]) -> bool:
    """Whether a folder holds exactly these files; byte code is not there to be trusted either."""
    if not home.is_dir() or home.is_symlink():
        return False
    found = {
        path.relative_to(home).as_posix(): path for path in home.rglob("*") if path.is_symlink() or path.is_file()
    }
    return found.keys() == files.keys() and all(
        not path.is_symlink() and path.read_bytes() == files[name] for name, path in found.items()
    )


def check_golden(bundle: Bundle, scorer: Scorer, *, next_step: str) -> None:
    """Refuse a model that does not answer its golden rows as it was packaged, within ``TOLERANCE``.

    Raises BundleInvalid, naming what differs between this process and the bundle's lock, as that may be why.
    """
    found = replay(bundle, scorer)
    allowed = TOLERANCE * max([1.0, *(abs(row.value) for row in bundle.golden if isinstance(row.value, float))])
    if found.largest_difference <= allowed:
        return
    locks = {LOCK: pins(bundle.lock)}
    if bundle.compiled_lock is not None:
        locks[COMPILED_LOCK] = pins(bundle.compiled_lock)
    causes = machine.against(bundle.manifest.python, locks, machine.here())
    raise BundleInvalid(
        "the model answers its golden rows differently here than when it was packaged",
        received="; ".join([f"a difference of {found.largest_difference:g}", *found.differences, *causes]),
        allowed=f"at most {allowed:g}",
        next_step=next_step,
    )


def replay(bundle: Bundle, scorer: Scorer) -> Replay:
    """Answer the golden rows, all in one call and in one thread as they were when recorded, and compare."""
    with machine.one_thread():
        found = scorer.score([golden.row for golden in bundle.golden])
    gaps = [_gap(golden, prediction) for golden, prediction in zip(bundle.golden, found, strict=True)]
    told = [
        f"golden row {place}: {_told(golden, prediction)}"
        for place, (golden, prediction, gap) in enumerate(zip(bundle.golden, found, gaps, strict=True), start=1)
        if gap
    ]
    largest = max(gaps, default=0.0)
    return Replay(
        rows=len(gaps), same_bits=largest == 0.0, largest_difference=largest, differences=tuple(told[:_SHOWN])
    )


def _gap(golden: GoldenRow, found: Prediction) -> float:
    if golden.verdict != found.verdict or not _same(golden.inputs, found.inputs):
        return math.inf
    expected_chances, chances = golden.probabilities or {}, found.probabilities or {}
    if list(expected_chances) != list(chances):
        return math.inf
    pairs = [(golden.value, found.value), *((expected_chances[name], chances[name]) for name in chances)]
    return max(_distance(expected, value) for expected, value in pairs)


def _distance(expected: Any, value: Any) -> float:
    """0.0 for the same bits only: two zeros of different sign are the smallest number apart."""
    if _same(expected, value):
        return 0.0
    if not (isinstance(expected, float) and isinstance(value, float)) or math.isnan(expected - value):
        return math.inf
    return max(abs(expected - value), math.ulp(0.0))


def _same(a: Any, b: Any) -> bool:
    """Equal in type and bits; mappings key by key."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("<d", a) == struct.pack("<d", b)
    return bool(a == b)


def _told(golden: GoldenRow, found: Prediction) -> str:
    """What differs, without quoting any value of the row."""
    if golden.verdict != found.verdict:
        return f"verdict {golden.verdict.status} became {found.verdict.status}"
    if not _same(golden.inputs, found.inputs):
        return "the model was shown other values"
    if not _same(golden.value, found.value):
        return f"answer {golden.value!r} became {found.value!r}"
    return "the probabilities changed"
