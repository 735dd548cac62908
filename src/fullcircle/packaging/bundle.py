"""The bundle: one archive that holds a model and everything needed to answer, and to prove the answers.

``docs/bundle.md`` is the format, file by file. The digest of a bundle is the SHA-256 of its archive, so that any tool
can tell it; as each byte of an archive follows from its files, it is the same wherever the same bundle is built.
Opening parses and audits; nothing of the model is built.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

import msgspec

from fullcircle.errors import BundleInvalid, BundleTooNew, ProjectInvalid
from fullcircle.packaging import archive
from fullcircle.packaging.lock import WHEELS, is_part, pins, travelling
from fullcircle.runtimes.runtime import SavedModel
from fullcircle.types.bundle import BUNDLE_FORMAT, Manifest
from fullcircle.types.contract import Contract, Value, Verdict
from fullcircle.types.definitions import ViewSpec
from fullcircle.types.form import COMPILED_FORMS, Certificate
from fullcircle.types.monitoring import Profile
from fullcircle.types.needs import FILE as REQUIRES
from fullcircle.types.needs import Need, needs
from fullcircle.types.prediction import Prediction

MANIFEST = "manifest.json"
CONTRACT = "contract.json"
GOLDEN = "golden.json"
PROFILE = "profile.json"
LOCK = "lock.txt"
FEATURES = "features.json"
FORM = "form.json"
COMPILED = "form.npz"
COMPILED_ONNX = "form.onnx"
COMPILED_LOCK = "lock-compiled.txt"

_MODULE = r"[A-Za-z_][A-Za-z0-9_]*"
_NAME = re.compile(
    rf"manifest\.json|contract\.json|golden\.json|profile\.json|lock\.txt|lock-compiled\.txt|features\.json"
    rf"|form\.json|form\.npz|form\.onnx|requires\.json"
    rf"|model\.[a-z0-9]{{1,16}}|{WHEELS}/[A-Za-z0-9_.+!-]+\.whl|code/(?:{_MODULE}/)*{_MODULE}\.py"
)
_FIELDS = {
    "model": re.compile(r"[a-z0-9][a-z0-9_-]{0,62}"),
    "runtime": re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}"),
    "python": re.compile(r"3\.[0-9]{1,3}"),
}
_REBUILD = "do not use it; fetch it again, or build it again with: fullcircle package"
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class GoldenRow:
    """A row and the answer that was evaluated. ``inputs`` are the values that the model saw."""

    row: Mapping[str, Any]
    value: Value
    verdict: Verdict
    probabilities: Mapping[str, float] | None = None
    inputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that passed its audit. ``files`` maps names to contents, without the manifest itself.

    ``digest`` is the SHA-256 of its archive, in hex.
    """

    manifest: Manifest
    files: Mapping[str, bytes]
    digest: str

    @cached_property
    def contract(self) -> Contract:
        """The input contract."""
        return _decode(self.files[CONTRACT], Contract, CONTRACT)

    @cached_property
    def golden(self) -> tuple[GoldenRow, ...]:
        """The golden rows."""
        return _decode(self.files[GOLDEN], tuple[GoldenRow, ...], GOLDEN)

    @cached_property
    def profile(self) -> Profile:
        """The reference profile."""
        return _decode(self.files[PROFILE], Profile, PROFILE)

    @cached_property
    def view(self) -> ViewSpec | None:
        """The definition of the feature view, None where callers send the features themselves."""
        return _decode(self.files[FEATURES], ViewSpec, FEATURES) if FEATURES in self.files else None

    @cached_property
    def certificate(self) -> Certificate:
        """Which form of the model answers, and why it may."""
        return _decode(self.files[FORM], Certificate, FORM) if FORM in self.files else Certificate()

    @cached_property
    def lock(self) -> str:
        """The text of the lock."""
        return _plain(self.files[LOCK], LOCK)

    @cached_property
    def compiled_lock(self) -> str | None:
        """The text of the lock of what the compiled form alone needs; None where there is no such lock."""
        return _plain(self.files[COMPILED_LOCK], COMPILED_LOCK) if COMPILED_LOCK in self.files else None

    @cached_property
    def needs(self) -> tuple[Need, ...]:
        """What has to be there where the model answers, beside the bundle itself."""
        return _decode(self.files[REQUIRES], tuple[Need, ...], REQUIRES) if REQUIRES in self.files else ()

    @cached_property
    def saved(self) -> SavedModel:
        """The model as its runtime wrote it: bytes, not yet an object."""
        (name,) = [name for name in self.files if name.startswith("model.")]
        code = {module: self.files[_source(module)] for module in self.manifest.code}
        return SavedModel(
            data=self.files[name],
            file=name,
            types=self.manifest.types,
            code=code,
            pickled=self.manifest.pickled,
        )


def build(
    *,
    model: str,
    runtime: str,
    saved: SavedModel,
    contract: Contract,
    golden: Sequence[tuple[Mapping[str, Any], Prediction]],
    profile: Profile,
    lock: str,
    wheel: tuple[str, bytes],
    python: str | None = None,
    view: ViewSpec | None = None,
    certificate: Certificate | None = None,
    compiled: bytes | None = None,
    compiled_lock: str | None = None,
    requires: Sequence[Need] = (),
) -> Bundle:
    """Put a bundle together and audit it as if it had come from elsewhere.

    ``golden`` are rows with their predictions, all scored in one call of exactly these rows: a matrix product may
    round a row differently in another batch. ``python`` is the version the lock is for, by default the running
    one ("3.12"). ``certificate`` says which form answered them, ``compiled`` is that form's file where it has
    one, and ``compiled_lock`` the packages that this form needs without the fitted model. ``requires`` are the needs
    of the project. The same inputs give the same digest. Raises BundleInvalid for what cannot be written down
    exactly, such as a golden row holding NaN.
    """
    answers = tuple(
        GoldenRow(row=dict(row), value=p.value, verdict=p.verdict, probabilities=p.probabilities, inputs=p.inputs)
        for row, p in golden
    )
    files = {
        "model." + saved.file.rpartition(".")[2]: saved.data,
        CONTRACT: _encode(contract, Contract, CONTRACT),
        GOLDEN: _encode(answers, tuple[GoldenRow, ...], GOLDEN),
        PROFILE: _encode(profile, Profile, PROFILE),
        LOCK: lock.encode(),
        **({} if view is None else {FEATURES: _encode(view, ViewSpec, FEATURES)}),
        **({} if certificate is None else {FORM: _encode(certificate, Certificate, FORM)}),
        **({} if compiled is None else {_form_file(certificate): compiled}),
        **({} if compiled_lock is None else {COMPILED_LOCK: compiled_lock.encode()}),
        **({REQUIRES: _encode(tuple(requires), tuple[Need, ...], REQUIRES)} if requires else {}),
        f"{WHEELS}/{wheel[0]}": wheel[1],
        **{_source(module): source for module, source in saved.code.items()},
    }
    manifest = Manifest(
        format=BUNDLE_FORMAT,
        model=model,
        runtime=runtime,
        python=python or f"{sys.version_info.major}.{sys.version_info.minor}",
        files=tuple((name, _sha256(files[name])) for name in sorted(files)),
        code=tuple(sorted(saved.code)),
        types=tuple(sorted(saved.types)),
        pickled=saved.pickled,
    )
    return open_bundle(_pack(_canonical(manifest), files))


def pack(bundle: Bundle) -> bytes:
    """The archive of a bundle. The same bundle gives the same bytes anywhere."""
    return _pack(_canonical(bundle.manifest), bundle.files)


def open_bundle(data: bytes, *, digest: str | None = None) -> Bundle:
    """Read and audit an archive. Nothing is written to disk, imported or constructed.

    ``digest`` is the one expected, where it is known: another bundle, even a sound one, is then refused. Raises
    BundleInvalid naming the file that is damaged, missing, superfluous or lying, BundleTooNew for a newer format.
    20 MB take 30 to 40 ms: most of it are two SHA-256 of every byte, one for the manifest and one for the digest.
    """
    with ThreadPoolExecutor(max_workers=1) as beside:
        hashing = beside.submit(_sha256, data)  # as long as all the rest, which goes on meanwhile
        bundle = _audited(data, hashing)
    if digest is not None and digest != bundle.digest:
        raise _invalid("this is a sound bundle, but not the one asked for", received=bundle.digest, allowed=digest)
    return bundle


def _audited(data: bytes, digest: Future[str]) -> Bundle:
    files = _unpacked(data)
    raw = files.get(MANIFEST)
    if raw is None:
        raise _invalid(f"{MANIFEST} is missing")
    if list(files) != [MANIFEST, *sorted(files.keys() - {MANIFEST})]:
        raise _invalid("the files are not in their order", received=", ".join(files)[:200])
    del files[MANIFEST]
    manifest = _manifest(raw)
    _check_files(manifest, files)
    bundle = Bundle(manifest=manifest, files=files, digest=digest.result())
    _check_content(bundle)
    return bundle


def _unpacked(data: bytes) -> dict[str, bytes]:
    try:
        if (first := archive.first(data)) is not None and first[0] == MANIFEST:
            _check_format(first[1])
        return archive.unpack(data, lambda name: _NAME.fullmatch(name) is not None)
    except archive.Damage as damage:
        raise _invalid(f"the archive is damaged: {damage}", received=damage.name or None) from damage


def _check_format(raw: bytes) -> None:
    """Whether this code may read on. Looked at before anything else: a newer format may differ in all the rest."""
    head = _untyped(raw)
    found = head.get("format") if isinstance(head, dict) else None
    if type(found) is not int or found < 1:
        raise _invalid(f"{MANIFEST} says no format", received=repr(found)[:80], allowed=f"1 to {BUNDLE_FORMAT}")
    if found > BUNDLE_FORMAT:
        raise BundleTooNew(
            "the bundle was written by a newer fullcircle; it was left untouched",
            received=f"format {found}",
            allowed=f"format 1 to {BUNDLE_FORMAT}",
            next_step="update fullcircle: pip install --upgrade fullcircle",
        )


def _manifest(raw: bytes) -> Manifest:
    _check_format(raw)
    head = _untyped(raw)
    if _canonical(head) != raw:
        raise _invalid(f"{MANIFEST} is not in canonical form")
    unknown = sorted(set(head) - {field.name for field in fields(Manifest)})
    if unknown:
        raise _invalid(f"{MANIFEST} has a field of no meaning", received=unknown[0][:80])
    manifest = _decode(raw, Manifest, MANIFEST)
    for name, pattern in _FIELDS.items():
        if not pattern.fullmatch(getattr(manifest, name)):
            raise _invalid(f"{MANIFEST} has a {name} that cannot be", received=repr(getattr(manifest, name))[:80])
    return manifest


def _check_files(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Whether exactly the files of the manifest are there, each with the content it had."""
    listed = dict(manifest.files)
    if [name for name, _ in manifest.files] != sorted(listed):
        raise _invalid(f"{MANIFEST} lists files twice or out of order")
    code = {_source(module) for module in manifest.code}
    required = {CONTRACT, GOLDEN, PROFILE, LOCK, *code}
    models = [name for name in listed if name.startswith("model.")]
    for name in sorted((set(listed) | required) - set(files)):
        raise _invalid(f"{name} is missing", received=name)
    for name in sorted(set(files) - set(listed)):
        raise _invalid(f"{name} does not belong to the bundle", received=name)
    for name, digest in manifest.files:
        if _sha256(files[name]) != digest:
            raise _invalid(f"{name} was altered", received=_sha256(files[name]), allowed=digest)
    for name in sorted(name for name in listed if name.startswith("code/") and name not in code):
        raise _invalid(f"{name} is not among the modules that {MANIFEST} declares", received=name)
    if len(models) != 1:
        raise _invalid("there is not exactly one model file", received=", ".join(models) or "none")


def _check_content(bundle: Bundle) -> None:
    """Whether contract, golden rows, profile and lock can be read, and the lock names the wheels that are there."""
    pins(bundle.lock)
    expected = travelling(bundle.lock)
    found = {name: digest for name, digest in bundle.manifest.files if name.startswith(f"{WHEELS}/")}
    for name in sorted(set(expected) ^ set(found)):
        raise _invalid(f"{LOCK} and the wheels do not agree", received=name)
    for name, digest in found.items():
        if expected[name] != digest:
            raise _invalid(f"{name} is not the one that {LOCK} names", received=digest, allowed=expected[name])
    _check_needs(bundle.needs)
    if bundle.compiled_lock is not None:
        _check_compiled(bundle, bundle.compiled_lock)
    if not bundle.golden:
        raise _invalid(f"{GOLDEN} holds no row, so nothing could be proven", allowed="at least one row")
    names = set(bundle.contract.names)
    if not names or len(names) != len(bundle.contract.columns):
        raise _invalid(f"{CONTRACT} has no columns, or two of one name")
    _ = bundle.profile
    if bundle.view is not None:
        _check_view(bundle.view)
    wanted = {_form_file(bundle.certificate)} if bundle.certificate.form in COMPILED_FORMS else set()
    if wanted != {COMPILED, COMPILED_ONNX} & bundle.files.keys():
        raise _invalid(f"{FORM} and {COMPILED} do not agree", received=bundle.certificate.form)


def _form_file(certificate: Certificate | None) -> str:
    """The file that a compiled form is kept in."""
    return COMPILED_ONNX if certificate is not None and certificate.form == "onnx" else COMPILED


def _check_compiled(bundle: Bundle, text: str) -> None:
    """Whether the lock of the compiled form has its form beside it, and only packages of the whole lock."""
    if bundle.certificate.form not in COMPILED_FORMS:
        raise _invalid(f"{COMPILED_LOCK} is there, and no form is compiled", received=bundle.certificate.form)
    try:
        part = is_part(text, bundle.lock)
        wheels = travelling(text) == travelling(bundle.lock)
    except BundleInvalid as error:
        raise _invalid(f"{COMPILED_LOCK} cannot be used: {error.what}", received=error.received) from error
    if not part or not wheels:
        raise _invalid(f"{COMPILED_LOCK} is not a part of {LOCK}, with the same wheels, versions and hashes")


def _check_needs(found: Sequence[Need]) -> None:
    """Whether a project could have said this: a need that is understood otherwise elsewhere is never looked for."""
    told = {need.name: {key: value for key, value in asdict(need).items() if key != "name"} for need in found}
    try:
        if needs(told) != tuple(found):
            raise _invalid(f"{REQUIRES} does not name each need once")
    except ProjectInvalid as error:
        raise _invalid(
            f"{REQUIRES} cannot be used: {error.what}", received=error.received, allowed=error.allowed
        ) from error


def _check_view(view: ViewSpec) -> None:
    """Whether a definition holds together: every feature once, of a table that it names with its keys."""
    names = [*(one.name for one in view.features), *(one.name for one in view.functions)]
    tables = {table.name: len(table.key) for table in view.tables}
    if sorted(view.order) != sorted(set(names)) or len(set(names)) != len(names):
        raise _invalid(f"{FEATURES} does not name each of its features once")
    if twice := {*view.key_columns} & {*view.order}:
        raise _invalid(f"{FEATURES} has a feature with the name of a key", received=", ".join(sorted(twice)))
    for columns in (view.keys, view.key_kinds):
        if {name: len(found) for name, found in columns.items()} != tables:
            raise _invalid(f"{FEATURES} does not give each of its tables its keys")
    if strange := {one.table for one in view.features} - tables.keys():
        raise _invalid(
            f"{FEATURES} has a feature of a table that it does not name", received=", ".join(sorted(strange))
        )


def _plain(raw: bytes, name: str) -> str:
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise _invalid(f"{name} is not plain text: {error.reason}") from error


def _source(module: str) -> str:
    return f"code/{module.replace('.', '/')}.py"


def _pack(manifest: bytes, files: Mapping[str, bytes]) -> bytes:
    return archive.pack({MANIFEST: manifest, **{name: files[name] for name in sorted(files)}})


def _canonical(value: object) -> bytes:
    return msgspec.json.encode(value, order="sorted")


def _encode(value: T, kind: type[T], name: str) -> bytes:
    """JSON that reads back as the same value, in the order given: what cannot be written exactly is refused."""
    try:
        encoded = msgspec.json.encode(value)
        same = msgspec.json.decode(encoded, type=kind) == value
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _invalid(f"{name} cannot be written: {error}") from error
    if not same:
        raise _invalid(f"{name} holds a value that JSON cannot carry exactly", allowed="no NaN, no infinity")
    return encoded


def _decode(raw: bytes, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"{name} cannot be understood: {error}") from error


def _untyped(raw: bytes) -> Any:
    return _decode(raw, dict[str, Any], MANIFEST)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _invalid(what: str, *, received: object = None, allowed: object = None) -> BundleInvalid:
    return BundleInvalid(what, received=received, allowed=allowed, next_step=_REBUILD)
