from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fullcircle.packaging import archive

FILES = {"manifest.json": b'{"a":1}', "model.bin": bytes(range(256)), "code/a.py": b"x = 1\n", "empty.txt": b""}
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-/", min_size=1, max_size=40)


def anything(name: str) -> bool:
    return True


def unpack(data: bytes) -> dict[str, bytes]:
    return archive.unpack(data, anything)


def zipped(change: Callable[[zipfile.ZipInfo], None] | None = None, **options: int) -> bytes:
    """An ordinary zip of FILES, each entry's description changed by ``change``."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in FILES.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100644 << 16
            info.compress_type = options.get("compression", zipfile.ZIP_STORED)
            if change is not None and name == "model.bin":
                change(info)
            made.writestr(info, content)
    return out.getvalue()


@given(files=st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=8))
def test_what_is_packed_is_unpacked(files: dict[str, bytes]) -> None:
    packed = archive.pack(files)
    assert unpack(packed) == files
    assert list(unpack(packed)) == list(files)
    assert archive.first(packed) == next(iter(files.items()))


@given(files=st.dictionaries(names, st.binary(max_size=200), min_size=1, max_size=8))
def test_ordinary_tools_read_it(files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(archive.pack(files))) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == files


def test_the_standard_library_writes_the_same_layout() -> None:
    """No private format: a plain stored zip with the earliest date and mode 0644, and nothing more."""
    assert zipped() == archive.pack(FILES)


@given(data=st.data())
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    packed = bytearray(archive.pack(FILES))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(archive.Damage):
        unpack(bytes(packed))


def test_every_byte_counts() -> None:
    packed = archive.pack(FILES)
    for place in range(len(packed)):
        changed = bytearray(packed)
        changed[place] ^= 0xFF
        with pytest.raises(archive.Damage):
            unpack(bytes(changed))


def test_every_truncation_is_refused() -> None:
    packed = archive.pack(FILES)
    for size in range(len(packed)):
        with pytest.raises(archive.Damage):
            unpack(packed[:size])


@given(junk=st.binary(min_size=1, max_size=30), data=st.data())
def test_junk_before_within_or_after_is_refused(junk: bytes, data: st.DataObject) -> None:
    packed = archive.pack(FILES)
    place = data.draw(st.integers(0, len(packed)))
    changed = packed[:place] + junk + packed[place:]
    if changed == packed:  # pragma: no cover - inserting never gives the same bytes back
        return
    with pytest.raises(archive.Damage):
        unpack(changed)


@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(archive.Damage):
        unpack(noise)


@given(st.binary(max_size=400))
def test_noise_behind_a_header_is_refused(noise: bytes) -> None:
    with pytest.raises(archive.Damage):
        unpack(b"PK\x03\x04" + noise)
    with pytest.raises(archive.Damage):
        archive.first(b"PK\x03\x04" + noise[:20])


def link(info: zipfile.ZipInfo) -> None:
    info.external_attr = 0o120777 << 16


def folder(info: zipfile.ZipInfo) -> None:
    info.external_attr = 0o040755 << 16


def dated(info: zipfile.ZipInfo) -> None:
    info.date_time = (2026, 1, 1, 0, 0, 0)


def with_extra(info: zipfile.ZipInfo) -> None:
    info.extra = struct.pack("<HHL", 0x7875, 4, 0)


def with_comment(info: zipfile.ZipInfo) -> None:
    info.comment = b"hello"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (link, "symbolic link"),
        (folder, "altered"),
        (dated, "altered"),
        (with_extra, "more than a name"),
        (with_comment, "altered"),
    ],
)
def test_an_unusual_entry_is_named(change: Callable[[zipfile.ZipInfo], None], word: str) -> None:
    with pytest.raises(archive.Damage, match=word) as caught:
        unpack(zipped(change))
    assert caught.value.name == "model.bin"


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_entry_is_refused(compression: int) -> None:
    with pytest.raises(archive.Damage, match="compressed"):
        unpack(zipped(compression=compression))


def test_a_bomb_is_refused_before_it_swells() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("model.bin", bytes(50_000_000))
    assert len(out.getvalue()) < 100_000
    with pytest.raises(archive.Damage, match="compressed"):
        unpack(out.getvalue())


def test_a_size_that_lies_is_refused() -> None:
    packed = bytearray(archive.pack({"model.bin": b"1234"}))
    for claimed in (3, 5, 2**32 - 1):
        struct.pack_into("<LL", packed, 18, claimed, claimed)
        with pytest.raises(archive.Damage) as caught:
            unpack(bytes(packed))
        assert caught.value.name == "model.bin"


def test_a_streamed_or_encrypted_entry_is_refused() -> None:
    packed = bytearray(archive.pack(FILES))
    for flags in (1, 8, 0x800):
        struct.pack_into("<H", packed, 6, flags)
        with pytest.raises(archive.Damage, match="encrypted") as caught:
            unpack(bytes(packed))
        assert caught.value.name == "manifest.json"


def test_two_entries_of_one_name_are_refused() -> None:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as made:
        warnings.simplefilter("ignore", UserWarning)
        for content in (b"one", b"two"):
            info = zipfile.ZipInfo("model.bin")
            info.external_attr = 0o100644 << 16
            made.writestr(info, content)
    with pytest.raises(archive.Damage, match="two entries") as caught:
        unpack(out.getvalue())
    assert caught.value.name == "model.bin"


def test_too_many_and_too_long_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(archive.Damage, match="longer than"):
        unpack(archive.pack({"a" * (archive.MAX_NAME + 1): b""}))
    many = {f"f{number}": b"" for number in range(archive.MAX_FILES + 1)}
    with pytest.raises(archive.Damage, match="more than the 1000 files"):
        unpack(archive.pack(many))
    monkeypatch.setattr(archive, "MAX_BYTES", 100)
    with pytest.raises(archive.Damage, match="more than the 100"):
        unpack(archive.pack(FILES))


def test_names_are_asked_for() -> None:
    with pytest.raises(archive.Damage, match="may not occur") as caught:
        archive.unpack(archive.pack({"../x": b""}), lambda name: not name.startswith(".."))
    assert caught.value.name == "../x"


def test_an_empty_archive_is_refused() -> None:
    with pytest.raises(archive.Damage):
        unpack(archive.pack({}))
    assert archive.first(archive.pack({})) is None
