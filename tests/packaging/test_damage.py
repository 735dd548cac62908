"""Every file of a bundle with every kind of damage: never opened, always named. On a real bundle with every part."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from bundle_samples import archived, canonical, forged
from fullcircle.errors import BundleInvalid, ModelRefused
from fullcircle.packaging import archive, loading
from fullcircle.packaging.bundle import open_bundle, pack
from fullcircle.runtimes.runtime import SavedModel

DATA = (Path(__file__).parent / "fixtures" / "v1.zip").read_bytes()
BUNDLE = open_bundle(DATA)
FILES = archive.unpack(DATA, lambda name: True)
NAMES = list(FILES)
REST = NAMES[1:]


def central(name: str) -> int:
    """Where the directory's record of a file begins."""
    place = DATA.rindex(b"PK\x01\x02", 0, DATA.rindex(name.encode()))
    assert DATA[place + 46 : place + 46 + len(name)] == name.encode()
    return place


def local(name: str) -> int:
    """Where a file's own header begins."""
    (place,) = struct.unpack_from("<L", DATA, central(name) + 42)
    return int(place)


def patched(place: int, content: bytes) -> bytes:
    return DATA[:place] + content + DATA[place + len(content) :]


def flip(name: str) -> bytes:
    place = local(name) + 30 + len(name) + len(FILES[name]) // 2
    return patched(place, bytes([DATA[place] ^ 4]))


def truncate(name: str) -> bytes:
    return archived(FILES | {name: FILES[name][:-1]})


def empty(name: str) -> bytes:
    return archived(FILES | {name: b""})


def extend(name: str) -> bytes:
    return archived(FILES | {name: FILES[name] + b" "})


def missing(name: str) -> bytes:
    return archive.pack({other: content for other, content in FILES.items() if other != name})


def cut_within(name: str) -> bytes:
    return DATA[: local(name) + 30 + len(name) + len(FILES[name]) // 2]


def cut_from_the_middle(name: str) -> bytes:
    start = local(name) + 30 + len(name)
    return DATA[:start] + DATA[start + 1 :]


def link(name: str) -> bytes:
    return patched(central(name) + 38, struct.pack("<L", 0o120777 << 16))


def folder(name: str) -> bytes:
    return patched(central(name) + 38, struct.pack("<L", 0o040755 << 16 | 0x10))


def runnable(name: str) -> bytes:
    return patched(central(name) + 38, struct.pack("<L", 0o100755 << 16))


def compressed(name: str) -> bytes:
    return zipped({name: zipfile.ZIP_DEFLATED})


def bomb(name: str) -> bytes:
    return zipped({name: zipfile.ZIP_DEFLATED}, {name: bytes(2_000_000)})


def zipped(methods: dict[str, int], contents: dict[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in (FILES | (contents or {})).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100644 << 16
            info.compress_type = methods.get(name, zipfile.ZIP_STORED)
            made.writestr(info, content)
    return out.getvalue()


def encrypted(name: str) -> bytes:
    return patched(local(name) + 6, b"\x01\x00")


def streamed(name: str) -> bytes:
    return patched(local(name) + 6, b"\x08\x00")


def other_size_in_its_header(name: str) -> bytes:
    return patched(local(name) + 22, struct.pack("<L", len(FILES[name]) + 1))


def other_size_in_the_directory(name: str) -> bytes:
    return patched(central(name) + 24, struct.pack("<L", len(FILES[name]) + 1))


def other_checksum_in_the_directory(name: str) -> bytes:
    return patched(central(name) + 16, b"\0\0\0\0")


def other_place_in_the_directory(name: str) -> bytes:
    return patched(central(name) + 42, struct.pack("<L", local(name) ^ 1))


def other_name_in_the_directory(name: str) -> bytes:
    return patched(central(name) + 46, bytes([name.encode()[0] ^ 1]))


def other_date(name: str) -> bytes:
    return patched(local(name) + 10, b"\0\x01")


def extra_field(name: str) -> bytes:
    return patched(local(name) + 28, b"\x04\x00")


DAMAGES: tuple[Callable[[str], bytes], ...] = (
    flip,
    truncate,
    empty,
    extend,
    missing,
    cut_within,
    cut_from_the_middle,
    link,
    folder,
    runnable,
    compressed,
    bomb,
    encrypted,
    streamed,
    other_size_in_its_header,
    other_size_in_the_directory,
    other_checksum_in_the_directory,
    other_place_in_the_directory,
    other_name_in_the_directory,
    other_date,
    extra_field,
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_to_every_file_is_refused_and_named(damage: Callable[[str], bytes], name: str) -> None:
    with pytest.raises(BundleInvalid) as caught:
        open_bundle(damage(name))
    assert name in str(caught.value)
    assert caught.value.next_step


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_there_twice_is_refused_and_named(name: str) -> None:
    other = name[:-1] + ("x" if name[-1] != "x" else "y")
    twice = archive.pack(FILES | {other: b"another content"}).replace(other.encode(), name.encode())
    with pytest.raises(BundleInvalid) as caught:
        open_bundle(twice)
    assert name in str(caught.value)
    assert "two entries" in str(caught.value)


@pytest.mark.parametrize(("first", "second"), list(combinations(REST, 2)))
def test_two_files_that_changed_places_are_refused_and_named(first: str, second: str) -> None:
    with pytest.raises(BundleInvalid, match="altered") as caught:
        open_bundle(archived(FILES | {first: FILES[second], second: FILES[first]}))
    assert first in str(caught.value) or second in str(caught.value)


@pytest.mark.parametrize(
    "escape", ["../{}", "/{}", "code/../../{}", "code\\..\\{}", "C:{}", "./{}", "{}/", "{}\0.txt"]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_out_is_refused_and_named(escape: str, name: str) -> None:
    moved = {escape.format(other) if other == name else other: content for other, content in FILES.items()}
    with pytest.raises(BundleInvalid) as caught:
        open_bundle(archive.pack(moved))
    assert name in str(caught.value)


@pytest.mark.parametrize(
    "name", [*REST, "model.pkl", "code/more.py", "wheels/more-1.0-py3-none-any.whl", "form.npz.bak"]
)
def test_one_more_file_is_refused_and_named(name: str) -> None:
    added = name if name not in FILES else name.replace(".", "_2.", 1)
    with pytest.raises(BundleInvalid) as caught:
        open_bundle(archived(FILES | {added: b"x"}))
    assert added in str(caught.value)


# --- what agrees with its manifest, and not with itself ------------------------------------------------------


def rewritten(**changes: bytes | None) -> bytes:
    """A bundle whose manifest was written anew for the changed files, as a forger would."""
    names = {name.replace(".", "_").replace("-", "_").replace("/", "_"): name for name in FILES}
    files = dict(FILES)
    for key, content in changes.items():
        if content is None:
            del files[names[key]]
        else:
            files[names.get(key, key)] = content
    return forged(files)


def needs_with(change: Callable[[Any], Any]) -> bytes:
    return json.dumps(change(json.loads(FILES["requires.json"]))).encode()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"{}", "cannot be understood"),
        (b"[", "cannot be understood"),
        (needs_with(lambda told: [told[0] | {"kind": "shell"}]), "cannot be understood"),
        (needs_with(lambda told: [told[0], told[0]]), "does not name each need once"),
        (needs_with(lambda told: [told[0] | {"name": "../x"}]), "cannot be used"),
        (needs_with(lambda told: [told[0] | {"at": "postgresql://anna:hunter2@host/x"}]), "holds a password"),
        (needs_with(lambda told: [told[0] | {"at": "env:NO-VARIABLE"}]), "cannot be used"),
    ],
)
def test_needs_that_no_project_could_declare_are_refused(content: bytes, word: str) -> None:
    with pytest.raises(BundleInvalid) as caught:
        open_bundle(rewritten(requires_json=content))
    assert "requires.json" in str(caught.value)
    assert word in str(caught.value)
    assert "hunter2" not in str(caught.value)


SMALL = FILES["lock-compiled.txt"]
WHOLE = FILES["lock.txt"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"numpy\n",
        "numpy==1 --hash=sha256:é\n".encode(),
        SMALL.replace(b"numpy==2.4.6", b"numpy==2.4.5"),
        SMALL.replace(b"numpy==", b"nunpy=="),
        SMALL.replace(b"--hash=sha256:", b"--hash=sha256:0", 1)[:-1],
        SMALL[SMALL.index(b"msgspec") :],  # without fullcircle's wheel
        SMALL + b"evil==1 --hash=sha256:" + b"0" * 64 + b"\n",
        SMALL + b"--index-url x\n",
    ],
)
def test_a_lock_of_the_form_that_is_no_part_of_the_whole_lock_is_refused(content: bytes) -> None:
    with pytest.raises(BundleInvalid, match=r"lock-compiled\.txt"):
        open_bundle(rewritten(lock_compiled_txt=content))


def test_a_lock_of_a_form_that_is_not_there_is_refused() -> None:
    with pytest.raises(BundleInvalid, match=r"lock-compiled\.txt is there, and no form is compiled"):
        open_bundle(rewritten(form_json=None, form_npz=None))
    assert open_bundle(rewritten(form_json=None, form_npz=None, lock_compiled_txt=None)).compiled_lock is None


@pytest.mark.parametrize("told", [1, "yes", None])
def test_a_consent_that_is_neither_yes_nor_no_is_refused(told: Any) -> None:
    with pytest.raises(BundleInvalid, match=r"manifest\.json"):
        open_bundle(forged(FILES, lambda manifest: manifest.update(pickled=told)))


def test_a_manifest_of_before_the_word_pickled_says_no() -> None:
    assert open_bundle(forged(FILES, lambda manifest: manifest.pop("pickled"))).manifest.pickled is False


def test_a_bundle_that_lies_about_running_code_is_not_loaded(tmp_path: Path) -> None:
    lying = open_bundle(forged(FILES, lambda manifest: manifest.update(pickled=True)))
    with pytest.raises(BundleInvalid, match="says otherwise than its runtime"):
        loading.native(lying, tmp_path, allow_pickle=True)
    honest = replace(BUNDLE.saved, file="model.pickle", data=b"\x80\x05N.", types=())
    silent = open_bundle(forged(FILES, lambda manifest: manifest.update(runtime="pickled")))
    with pytest.raises(ModelRefused, match="nobody consented"):
        loading.native(silent, tmp_path)
    with pytest.raises(BundleInvalid, match="says otherwise than its runtime"):
        loading.native(silent, tmp_path, allow_pickle=True)
    with pytest.raises(BundleInvalid, match="says otherwise than its runtime"):
        loading.restore("pickled", SavedModel(file="m", data=honest.data, types=()), tmp_path, allow_pickle=True)


# --- replayed, and swapped between check and load ------------------------------------------------------------


def test_an_older_version_under_a_new_name_is_refused() -> None:
    older = forged(FILES | {"code/scaling.py": b"def twice(value):\n    return value\n"})
    assert open_bundle(older).manifest.model == BUNDLE.manifest.model
    with pytest.raises(BundleInvalid, match="not the one asked for") as caught:
        open_bundle(older, digest=BUNDLE.digest)
    assert BUNDLE.digest in str(caught.value)


def test_what_was_checked_is_what_is_loaded(tmp_path: Path) -> None:
    """The file is read once: what takes its place after that is never looked at."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(DATA)
    found = open_bundle(path.read_bytes(), digest=BUNDLE.digest)
    path.write_bytes(rewritten(code_scaling_py=b"raise SystemExit\n"))
    assert loading.replay(found, loading.scorer(found, tmp_path / "code")).same_bits
    assert pack(found) == DATA
    path.unlink()
    loading.native(found, tmp_path / "code")
    (written,) = (tmp_path / "code").rglob("scaling.py")
    assert written.read_bytes() == FILES["code/scaling.py"]


def test_code_that_was_swapped_on_disk_between_two_loads_is_written_again(tmp_path: Path) -> None:
    loading.native(BUNDLE, tmp_path)
    (written,) = tmp_path.rglob("scaling.py")
    written.write_bytes(b"raise SystemExit\n")
    loading.native(BUNDLE, tmp_path)
    assert written.read_bytes() == FILES["code/scaling.py"]


def test_the_table_is_whole() -> None:
    """Each kind of file that docs/bundle.md knows is damaged above, but for the view: it has tests of its own."""
    assert canonical(json.loads(FILES["manifest.json"])) == FILES["manifest.json"]
    assert {name.partition("/")[0].partition(".")[0] for name in NAMES} == {
        "manifest",
        "model",
        "contract",
        "golden",
        "profile",
        "lock",
        "lock-compiled",
        "form",
        "requires",
        "wheels",
        "code",
    }
